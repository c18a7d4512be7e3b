"""The stage: what is to score, scoring it, and the tables.

The scores of one model pair are one finished piece on disk (`parts/`), so that a killed run goes
on where it was.
"""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from platorep.align.asked import Asked, asked_metrics
from platorep.align.gallery import open_galleries
from platorep.align.groups import groups_of_rows
from platorep.align.models import Aligned, find_cell, model_pairs
from platorep.align.pieces import Pieces
from platorep.align.scoring import Layers, PairScores, Settings, score_block
from platorep.align.summaries import (
    PART,
    RowSets,
    Summaries,
    blocks,
    budget_bytes,
    prepared_layers,
    row_sets,
    summarize,
)
from platorep.align.tables import best_layers, best_table, family_of_tests, scores_table
from platorep.config import AlignConfig, ExperimentConfig
from platorep.errors import ConfigError
from platorep.files import storage_errors
from platorep.reporting import Advance, Reporter
from platorep.results import Failures, write_csv, write_parquet
from platorep.run import Run
from platorep.statistics import FEW_ROWS, shuffled_order, warn_too_few

Pair = tuple[Aligned, Aligned]
LAYERS_TOGETHER = 128


def align(run: Run) -> tuple[Failures, pd.DataFrame]:
    """Score all pairs, write `scores.parquet` and `best.csv`, and return the latter.

    With `align.gallery` all of that is done on the queries alone, and `gallery.csv` is written too.

    Raises:
        ConfigError: no two models make a pair, or a metric or gallery cannot be had with these
            settings.
        AbsentError: cells are not there (with `keep_going`: all of them).
        IntegrityError: a cell is damaged, or holds other rows than the experiment.
    """
    started = time.monotonic()
    config, results, report = run.config, run.results, run.report
    overwrite = run.options.overwrite == "always"
    failures = run.failures("align")
    asked = asked_metrics(config)
    wanted = model_pairs(config, run.specs)
    if not wanted:
        raise ConfigError("align.pairs: no two of the models make a pair.")
    models: dict[str, Aligned] = {}
    for spec in run.specs:
        if any(spec.label in pair for pair in wanted):
            with failures.catch(spec.label):
                models[spec.label] = find_cell(spec, results, run.root)
    pairs = [(models[x], models[y]) for x, y in wanted if x in models and y in models]

    if not pairs:
        failures.raise_if_all(1)
    extracted = results.read_json(results.run, "extract")
    facts = extracted["dataset"]
    _warn_of_changes(config, extracted.get("config"), report)
    galleries = open_galleries(config.align, int(facts["num_rows"]), results)
    n = config.align.scored_rows(int(facts["num_rows"]))
    groups = None
    if config.align.null.within is not None:
        groups = groups_of_rows(config.align.null.within, "align.null.within", results)[:n]
    pieces = Pieces(results, config, groups)
    todo = [pair for pair in pairs if overwrite or not pieces.has(*pair)]
    if todo:
        _warn_of_nulls(config.align, asked, pairs, report)
        sets = row_sets(config.align, n)
        _warn_of_small_parts(sets, report)
        settings = Settings(
            config.align,
            shuffled_order(n, config.controls.seed, groups)
            if config.controls.shuffled_pairs
            else None,
            groups,
        )
        with report.task("align", len(todo), "pairs") as advance:
            _Scoring(asked, settings, sets, run.device, failures).run(todo, n, pieces, advance)

    found = {(x.label, y.label): pieces.read(x, y) for x, y in pairs if pieces.has(x, y)}
    if not found:
        failures.raise_if_all(1)
    scores = scores_table(facts["name"], found)
    best = best_table(facts["name"], n, config.align, asked, models, found)
    write_parquet(results.scores, scores)
    write_csv(results.best, best)
    _warn_of_degenerate_layers(scores, report)
    if galleries is None:  # an earlier run's would be drawn as if it were this one's
        with storage_errors(results.gallery):
            results.gallery.unlink(missing_ok=True)
    else:
        grown = galleries.score(
            best, models, run.device, failures, report,
            shuffle=config.controls.seed if config.controls.shuffled_pairs else None,
            overwrite=overwrite,
        )  # fmt: skip
        write_csv(results.gallery, grown)
    results.record(
        "align",
        {
            "device": str(run.device),
            "failed": sorted(failures.errors),
            "settings": config.align.model_dump(mode="json"),
            "num_pairs": len(found),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": report.warnings,
        },
    )
    return failures, best


class _Scoring:
    """Scores pairs block by block, so that the summaries in memory keep to the budget."""

    def __init__(
        self,
        asked: Sequence[Asked],
        settings: Settings,
        sets: RowSets,
        device: torch.device,
        failures: Failures,
    ) -> None:
        self._first = [a for a in asked if a.best_of is None]
        self._then = [a for a in asked if a.best_of is not None]
        self._settings, self._sets, self._device = settings, sets, device
        self._failures = failures

    def run(self, pairs: Sequence[Pair], n: int, pieces: Pieces, advance: Advance) -> None:
        """Write the piece of every pair."""
        half = budget_bytes(self._settings.align, self._device) // 2
        sides = [
            list({model.label: model for model in side}.values())
            for side in zip(*pairs, strict=True)
        ]
        blocks_x, blocks_y = (blocks(side, self._first, self._sets, n, half) for side in sides)
        wanted = {(x.label, y.label) for x, y in pairs}
        for block_x in blocks_x:
            summaries: dict[str, Summaries] = {}
            for block_y in blocks_y:
                here = [(x, y) for x in block_x for y in block_y if (x.label, y.label) in wanted]
                self._summarize(summaries, (model for pair in here for model in pair))
                self._score(here, summaries, pieces, advance)
                for model in block_y:
                    if model not in block_x:
                        summaries.pop(model.label, None)

    def _summarize(self, summaries: dict[str, Summaries], models: Iterable[Aligned]) -> None:
        for model in models:
            if model.label not in summaries and model.label not in self._failures.errors:
                with self._failures.catch(model.label):
                    summaries[model.label] = summarize(
                        self._first, self._layers(model), self._sets, self._device
                    )

    def _score(
        self,
        pairs: Sequence[Pair],
        summaries: Mapping[str, Summaries],
        pieces: Pieces,
        advance: Advance,
    ) -> None:
        ready = [(x, y) for x, y in pairs if x.label in summaries and y.label in summaries]
        found: list[tuple[Pair, PairScores]] = []
        for chunk in _chunks(ready):
            xs, ys = ([*{m.label: m for m in side}.values()] for side in zip(*chunk, strict=True))
            with self._failures.catch(", ".join(x.label for x in xs)):
                scored = score_block(
                    self._first,
                    [summaries[x.label] for x in xs],
                    [summaries[y.label] for y in ys],
                    [(xs.index(x), ys.index(y)) for x, y in chunk],
                    self._settings,
                )
                for (x, y), scores in zip(chunk, scored, strict=True):
                    if self._then:
                        found.append(((x, y), scores))
                    else:
                        pieces.write(x, y, scores)
                        advance(1)
        if self._then:
            self._score_at_the_best(found, pieces, advance)

    def _score_at_the_best(
        self, found: Sequence[tuple[Pair, PairScores]], pieces: Pieces, advance: Advance
    ) -> None:
        """The metrics that are asked at the best layers of another one, and then the pieces."""
        chosen = [{a.label: self._best_of(a, scores) for a in self._then} for _, scores in found]
        at: dict[str, dict[str, set[int]]] = {}
        models = {model.label: model for pair, _ in found for model in pair}
        for ((x, y), _), layers in zip(found, chosen, strict=True):
            for label, (i, j) in layers.items():
                at.setdefault(x.label, {}).setdefault(label, set()).add(i)
                at.setdefault(y.label, {}).setdefault(label, set()).add(j)
        summaries: dict[str, Summaries] = {}
        for label in at:
            with self._failures.catch(label):
                summaries[label] = summarize(
                    self._then,
                    self._layers(models[label]),
                    self._sets,
                    self._device,
                    {a.label: sorted(at[label][a.label] - {-1}) for a in self._then},
                )
        for ((x, y), scores), layers in zip(found, chosen, strict=True):
            if x.label not in summaries or y.label not in summaries:
                continue
            defined = [a for a in self._then if layers[a.label] != (-1, -1)]
            with self._failures.catch(f"{x.label} x {y.label}"):
                if defined:
                    (more,) = score_block(
                        defined,
                        [summaries[x.label]],
                        [summaries[y.label]],
                        [(0, 0)],
                        self._settings,
                        {a.label: layers[a.label] for a in defined},
                    )
                    scores = PairScores(
                        pd.concat([scores.grid, more.grid], ignore_index=True),
                        scores.statistics | more.statistics,
                    )
                pieces.write(x, y, scores)
            advance(1)

    def _best_of(self, a: Asked, scores: PairScores) -> Layers:
        named = next(f for f in self._first if a.best_of in (f.label, f.metric.name))
        grid = scores.grid[(scores.grid["metric"] == named.label) & (scores.grid["control"] == "")]
        best = best_layers(grid, named.metric.claims.larger_is_closer)
        return int(best["layer_x"]), int(best["layer_y"])

    def _layers(self, model: Aligned) -> list[Any]:
        align = self._settings.align
        features = model.cell.read(align.scored_rows(model.cell.num_rows))
        return prepared_layers(align, model.label, features)


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


def _warn_of_changes(
    config: ExperimentConfig, extracted: Mapping[str, Any] | None, report: Reporter
) -> None:
    """Cells are found by what `extract` wrote, whatever the file says now: do not let that pass."""
    now = config.model_dump(mode="json")
    sections = ("dataset", "families", "extract", "controls")
    changed = [name for name in sections if extracted and extracted.get(name) != now[name]]
    if changed:
        report.warn(
            f"{', '.join(changed)} changed since these features were extracted, and the scores are "
            "of the features as they are; `platorep extract` brings them up to date"
        )


def _warn_of_nulls(
    align: AlignConfig, asked: Sequence[Asked], pairs: Sequence[Pair], report: Reporter
) -> None:
    null = align.null
    if not null.permutations:
        return
    tests = Counter(family_of_tests(x.spec, y.spec) for x, y in pairs)
    if warning := warn_too_few(null.permutations, tests, null.alpha, null.correction):
        report.warn(warning)
    for a in asked:
        if not a.has_null:
            report.warn(
                f"{a.label} costs each layer pair its own time, so it has no null at all layers; "
                "`layers: best of mutual_knn`, `last` or a list gives it one there"
            )


def _warn_of_small_parts(sets: RowSets, report: Reporter) -> None:
    sizes = [len(r) for name, r in sets.items() if name.startswith(PART) and r is not None]
    if sizes and min(sizes) < FEW_ROWS:
        report.warn(
            f"align.interval: a part has {min(sizes)} rows, and below {FEW_ROWS} an interval may "
            "hold the truth less often than its level says. Use more rows, fewer parts, or "
            "method: subsamples."
        )


def _warn_of_degenerate_layers(scores: pd.DataFrame, report: Reporter) -> None:
    reasons = scores.loc[scores["degenerate"], ["x", "y", "reason"]]
    if len(reasons):
        first = reasons.iloc[0]
        report.warn(
            f"{len(reasons)} layer pairs are left out of the maximum, such as {first['x']} x "
            f"{first['y']}, {first['reason']}; scores.parquet has the reason of each"
        )
