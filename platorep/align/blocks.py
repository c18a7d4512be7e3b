"""Scoring pairs block by block, so that the summaries in memory keep to the budget."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from platorep.align.asked import Asked
from platorep.align.jobs import Scoring, Task
from platorep.align.models import Aligned
from platorep.align.pieces import Pieces
from platorep.align.prepared import working_bytes
from platorep.align.scoring import (
    Job,
    Labels,
    Layers,
    PairScores,
    Settings,
    not_scored,
    together,
)
from platorep.align.summaries import blocks, budget_bytes
from platorep.align.summarizing import Held, Summarizing
from platorep.align.tables import best_layers

Pair = tuple[Aligned, Aligned]
Finished = Callable[[Pair, PairScores | None], None]
"""Called when a pair is done, with what could be scored of it."""
LAYERS_TOGETHER = 128


class BlockScoring:
    """Scores pairs. What one metric cannot do for one model, or one pair, leaves all else alone."""

    def __init__(
        self,
        asked: Sequence[Asked],
        settings: Settings,
        summarizing: Summarizing,
        scoring: Scoring,
        pieces: Pieces,
    ) -> None:
        self.asked, self.settings = asked, settings
        self._first = [a for a in asked if a.config.best_of is None]
        self._then = [a for a in asked if a.config.best_of is not None]
        self._summarizing, self._scoring, self._pieces = summarizing, scoring, pieces
        self.unfinished: dict[Labels, PairScores] = {}
        """What is known of the pairs that lack a metric, and so have no piece."""

    def run(self, pairs: Sequence[Pair], finished: Finished) -> None:
        """Write the piece of every pair, and tell of it."""
        sides = [
            list({model.label: model for model in side}.values())
            for side in zip(*pairs, strict=True)
        ]
        blocks_x, blocks_y = (self._blocks(side) for side in sides)
        labels = {(x.label, y.label) for x, y in pairs}
        for block_x in blocks_x:
            held: dict[str, Held] = {}
            for block_y in blocks_y:
                here = [(x, y) for x in block_x for y in block_y if (x.label, y.label) in labels]
                self._hold(held, (model for pair in here for model in pair))
                later: dict[Labels, PairScores] = {}
                for chunk, scored in self._scored(here, held):
                    if self._then:  # whose models are read once more, so all of them together
                        later |= scored
                    else:
                        self._finish(chunk, scored, finished)
                if self._then:
                    models = {model.label: model for pair in here for model in pair}
                    self._finish(here, self._with_the_rest(later, models), finished)
                for model in block_y:
                    if model not in block_x:
                        held.pop(model.label, None)

    def _blocks(self, models: Sequence[Aligned]) -> list[list[Aligned]]:
        """Half of what the layer that is worked on leaves of the budget is for the summaries of
        each side."""
        align, sets, device = self.settings.align, self.settings.sets, self.settings.device
        n = align.scored_rows(models[0].cell.num_rows)
        working = max(working_bytes(model.cell, align) for model in models)
        room = max(0, budget_bytes(align, device) - working) // 2
        return blocks(models, self._first, sets, n, room)

    def _hold(self, held: dict[str, Held], models: Iterable[Aligned]) -> None:
        """Have the summaries made that are not there."""
        lacking = {
            model.label: model
            for model in models
            if model.label not in {*held, *self._summarizing.failures.errors}
        }
        wanted = [(model, self._layers(model)) for model in lacking.values()]
        held |= self._summarizing.summarize(self._first, wanted)

    def _layers(self, model: Aligned) -> dict[str, list[int]]:
        """The layers at which each metric is asked, of those that can take the model."""
        num_layers = len(model.cell.layers) + self.settings.align.concatenated
        layers = {}
        for a in self._first:
            name = f"{model.label}, {a.label}"
            if name not in self._summarizing.failures.errors:
                with self._summarizing.failures.catch(name):
                    layers[a.label] = a.layers(num_layers)
        return layers

    def _scored(
        self, pairs: Sequence[Pair], held: Mapping[str, Held]
    ) -> Iterator[tuple[list[Pair], dict[Labels, PairScores]]]:
        """Chunks of the pairs under all metrics, but those at the best layers of another one."""
        chunks = {}
        for number, chunk in enumerate(_chunks(pairs), 1):
            chunks[f"pairs, block {number}"] = chunk
        tasks = [self._task(name, chunk, held) for name, chunk in chunks.items()]
        yield from ((chunks[task.name], {}) for task in tasks if not task.jobs)
        for task, found in self._scoring.score([task for task in tasks if task.jobs], held):
            scores = {
                pair: together([of[a.label] for a in self._first if a.label in of])
                for pair, of in found.items()
            }
            yield chunks[task.name], scores

    def _task(self, name: str, pairs: Sequence[Pair], held: Mapping[str, Held]) -> Task:
        jobs = []
        for a in self._first:
            able = {label for label, model in held.items() if a.label in model.metrics}
            ready = [(x.label, y.label) for x, y in pairs if {x.label, y.label} <= able]
            if ready:
                jobs.append(Job(a.config, tuple(ready)))
        labels = dict.fromkeys(label for job in jobs for pair in job.pairs for label in pair)
        return Task(name, tuple(jobs), {label: list(held[label].layers) for label in labels})

    def _finish(
        self, pairs: Sequence[Pair], scored: Mapping[Labels, PairScores], finished: Finished
    ) -> None:
        """Write the piece of every pair that has all metrics; keep what there is of the others."""
        for x, y in pairs:
            scores = scored.get((x.label, y.label))
            if scores is not None and len(scores.statistics) == len(self._first) + len(self._then):
                self._pieces.write(x, y, scores)
            elif scores is not None:
                self.unfinished[x.label, y.label] = scores
            finished((x, y), scores)

    def _with_the_rest(
        self, scored: Mapping[Labels, PairScores], models: Mapping[str, Aligned]
    ) -> dict[Labels, PairScores]:
        """Also the metrics that are asked at the best layers of another one."""
        then = {a.label: a for a in self._then}
        chosen = {
            (pair, a.label): layers
            for pair, scores in scored.items()
            for a in self._then
            if (layers := self._best_of(a, scores)) is not None
        }
        at: dict[str, dict[str, set[int]]] = {}
        for (pair, metric), layers in chosen.items():
            for model, layer in zip(pair, layers, strict=True):
                if layer >= 0:
                    at.setdefault(model, {}).setdefault(metric, set()).add(layer)
        wanted = [
            (models[label], {metric: sorted(layers) for metric, layers in of.items()})
            for label, of in at.items()
        ]
        held = self._summarizing.summarize(self._then, wanted)
        more: dict[Labels, dict[str, PairScores]] = {pair: {} for pair in scored}
        tasks: list[Task] = []
        for (pair, metric), layers in chosen.items():
            a = then[metric]
            if -1 in layers:
                more[pair][metric] = not_scored(a, f"{a.config.best_of} has no best layers")
            elif all(label in held and metric in held[label].metrics for label in pair):
                at_layers = {label: [layer] for label, layer in zip(pair, layers, strict=True)}
                name = f"{pair[0]} x {pair[1]}, {metric}"
                tasks.append(Task(name, (Job(a.config, (pair,)),), at_layers))
        for _, found in self._scoring.score(tasks, held):
            for pair, of in found.items():
                more[pair] |= of
        return {
            pair: together(
                [scores, *(more[pair][metric] for metric in then if metric in more[pair])]
            )
            for pair, scores in scored.items()
        }

    def _best_of(self, a: Asked, scores: PairScores) -> Layers | None:
        """The layers at which a pair is best under the metric that `a` names; -1 and -1 where it
        has none, None where that metric failed."""
        label = self.settings.align.chosen_by(a.config).label
        if label not in scores.statistics:
            return None
        named = next(first for first in self._first if first.label == label)
        grid = scores.grid[(scores.grid["metric"] == label) & (scores.grid["control"] == "")]
        best = best_layers(grid, named.metric.claims.larger_is_closer)
        return int(best["layer_x"]), int(best["layer_y"])


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
