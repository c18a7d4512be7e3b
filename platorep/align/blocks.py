"""Scoring pairs block by block, so that the summaries in memory keep to the budget."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from platorep.align.asked import Asked
from platorep.align.attempts import attempt
from platorep.align.layers import LayerReader
from platorep.align.models import Aligned
from platorep.align.pieces import Pieces
from platorep.align.scoring import (
    Layers,
    PairScores,
    Settings,
    not_scored,
    score_block,
    together,
)
from platorep.align.summaries import OnRows, RowSets, Summaries, blocks, budget_bytes, summarize
from platorep.align.tables import best_layers
from platorep.failures import Failures
from platorep.reporting import Advance

Pair = tuple[Aligned, Aligned]
Labels = tuple[str, str]
LAYERS_TOGETHER = 128


class BlockScoring:
    """Scores pairs. What one metric cannot do for one model, or one pair, leaves all else alone."""

    def __init__(
        self,
        asked: Sequence[Asked],
        settings: Settings,
        sets: RowSets,
        reader: LayerReader,
        pieces: Pieces,
        failures: Failures,
    ) -> None:
        self._first = [a for a in asked if a.config.best_of is None]
        self._then = [a for a in asked if a.config.best_of is not None]
        self._settings, self._sets = settings, sets
        self._reader, self._pieces, self._failures = reader, pieces, failures
        self.unfinished: dict[Labels, PairScores] = {}
        """What is known of the pairs that lack a metric, and so have no piece."""

    def run(self, pairs: Sequence[Pair], n: int, advance: Advance) -> None:
        """Write the piece of every pair."""
        half = budget_bytes(self._settings.align, self._reader.device) // 2
        sides = [
            list({model.label: model for model in side}.values())
            for side in zip(*pairs, strict=True)
        ]
        blocks_x, blocks_y = (blocks(side, self._first, self._sets, n, half) for side in sides)
        labels = {(x.label, y.label) for x, y in pairs}
        for block_x in blocks_x:
            summaries: dict[str, Summaries] = {}
            for block_y in blocks_y:
                here = [(x, y) for x in block_x for y in block_y if (x.label, y.label) in labels]
                self._summarize(summaries, (model for pair in here for model in pair))
                later: dict[Labels, PairScores] = {}
                for chunk in _chunks(here):
                    scored = self._scored(chunk, summaries)
                    if self._then:  # whose models are read once more, so all of them together
                        later |= scored
                    else:
                        self._finish(chunk, scored, advance)
                if self._then:
                    models = {model.label: model for pair in here for model in pair}
                    self._finish(here, self._with_the_rest(later, models), advance)
                for model in block_y:
                    if model not in block_x:
                        summaries.pop(model.label, None)

    def _summarize(self, summaries: dict[str, Summaries], models: Iterable[Aligned]) -> None:
        for model in models:
            if model.label not in summaries and model.label not in self._failures.errors:
                with self._failures.catch(model.label):
                    layers = self._reader.prepared(model)
                    summaries[model.label] = self._summaries(model, layers, self._first)

    def _summaries(
        self,
        model: Aligned,
        layers: Sequence[Float[Tensor, "n _"]],
        asked: Sequence[Asked],
        chosen: Mapping[str, Sequence[int]] | None = None,
    ) -> Summaries:
        def name(a: Asked) -> str:
            return f"{model.label}, {a.label}"

        return attempt(
            lambda some: dict(summarize(some, layers, self._sets, self._reader.device, chosen)),
            [a for a in asked if name(a) not in self._failures.errors],
            name,
            self._failures,
        )

    def _scored(
        self, pairs: Sequence[Pair], summaries: Mapping[str, Summaries]
    ) -> dict[Labels, PairScores]:
        """All metrics, but those at the best layers of another one, on some pairs."""
        known: dict[Labels, list[PairScores]] = {(x.label, y.label): [] for x, y in pairs}
        for a in self._first:
            ready = [
                labels
                for labels in known
                if all(a.label in summaries.get(label, {}) for label in labels)
            ]
            for labels, scores in self._together(a, ready, summaries).items():
                known[labels].append(scores)
        return {labels: together(scores) for labels, scores in known.items() if scores}

    def _finish(
        self, pairs: Sequence[Pair], scored: Mapping[Labels, PairScores], advance: Advance
    ) -> None:
        """Write the piece of every pair that has all metrics; keep what there is of the others."""
        for x, y in pairs:
            scores = scored.get((x.label, y.label))
            if scores is not None and len(scores.statistics) == len(self._first) + len(self._then):
                self._pieces.write(x, y, scores)
            elif scores is not None:
                self.unfinished[x.label, y.label] = scores
            advance(1)

    def _together(
        self, a: Asked, pairs: Sequence[Labels], summaries: Mapping[str, Summaries]
    ) -> dict[Labels, PairScores]:
        """One metric on some pairs, those left out on which it fails."""

        def score(some: Sequence[Labels]) -> dict[Labels, PairScores]:
            xs, ys = (list(dict.fromkeys(side)) for side in zip(*some, strict=True))
            of_x, of_y = ([summaries[m][a.label] for m in side] for side in (xs, ys))
            places = [(xs.index(x), ys.index(y)) for x, y in some]
            scores = score_block(a, of_x, of_y, places, self._settings)
            return dict(zip(some, scores, strict=True))

        return attempt(score, pairs, lambda pair: _name(pair, a), self._failures)

    def _with_the_rest(
        self, scored: Mapping[Labels, PairScores], models: Mapping[str, Aligned]
    ) -> dict[Labels, PairScores]:
        """Also the metrics that are asked at the best layers of another one."""
        chosen = {
            (labels, a.label): layers
            for labels, scores in scored.items()
            for a in self._then
            if (layers := self._best_of(a, scores)) is not None
        }
        at: dict[str, dict[str, set[int]]] = {}
        for (labels, metric), layers in chosen.items():
            for model, layer in zip(labels, layers, strict=True):
                at.setdefault(model, {}).setdefault(metric, set()).add(layer)
        summaries: dict[str, Summaries] = {}
        for label, of_metric in at.items():
            numbers = {metric: sorted(best - {-1}) for metric, best in of_metric.items()}
            asked = [a for a in self._then if numbers.get(a.label)]
            with self._failures.catch(label):
                prepared = self._reader.prepared(models[label])
                summaries[label] = self._summaries(models[label], prepared, asked, numbers)
        return {
            labels: together([scores, *self._at_the_best(labels, chosen, summaries)])
            for labels, scores in scored.items()
        }

    def _at_the_best(
        self,
        pair: Labels,
        chosen: Mapping[tuple[Labels, str], Layers],
        summaries: Mapping[str, Summaries],
    ) -> Iterator[PairScores]:
        for a in self._then:
            layers = chosen.get((pair, a.label))
            if layers is None:
                continue
            if -1 in layers:
                yield not_scored(a, f"{a.config.best_of} has no best layers")
                continue
            sides: list[OnRows] = []
            for label, layer in zip(pair, layers, strict=True):
                if a.label in summaries.get(label, {}):
                    of_metric = summaries[label][a.label]
                    sides.append({name: rows.at(layer) for name, rows in of_metric.items()})
            if len(sides) == 2:
                with self._failures.catch(_name(pair, a)):
                    yield from score_block(a, sides[:1], sides[1:], [(0, 0)], self._settings)

    def _best_of(self, a: Asked, scores: PairScores) -> Layers | None:
        """The layers at which a pair is best under the metric that `a` names; -1 and -1 where it
        has none, None where that metric failed."""
        label = self._settings.align.chosen_by(a.config).label
        if label not in scores.statistics:
            return None
        named = next(first for first in self._first if first.label == label)
        grid = scores.grid[(scores.grid["metric"] == label) & (scores.grid["control"] == "")]
        best = best_layers(grid, named.metric.claims.larger_is_closer)
        return int(best["layer_x"]), int(best["layer_y"])


def _name(pair: Labels, a: Asked) -> str:
    return f"{pair[0]} x {pair[1]}, {a.label}"


def _chunks(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Pairs that are scored, and finished, together: some models x with all their models y.

    Together, because a permutation of y then serves many x; not all, so that a killed run has
    something to go on from.
    """
    chunk: list[Pair] = []
    num_layers = 0
    for _, of_x in itertools.groupby(sorted(pairs, key=lambda p: p[0].label), lambda p: p[0].label):
        added = list(of_x)
        chunk += added
        num_layers += len(added[0][0].cell.layers)
        if num_layers >= LAYERS_TOGETHER:
            yield chunk
            chunk, num_layers = [], 0
    if chunk:
        yield chunk
