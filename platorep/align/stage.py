"""The stage: what is to score, scoring it, and the tables.

The scores of one model pair are one finished piece on disk (`parts/`), so that a killed run goes
on where it was.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from platorep.align.analyses import Context, analyse
from platorep.align.asked import Asked, asked_metrics
from platorep.align.blocks import BlockScoring, Pair
from platorep.align.gallery import open_galleries
from platorep.align.hook import ScoresHook
from platorep.align.jobs import Scoring
from platorep.align.layers import Descriptions, warn_of_degenerate, warn_of_drowned
from platorep.align.models import (
    Aligned,
    asked_pairs,
    find_cell,
    warn_of_copies,
    warn_of_same_observations,
)
from platorep.align.pieces import Pieces
from platorep.align.scoring import Labels, PairScores, Settings
from platorep.align.summaries import PART, RowSets, row_sets
from platorep.align.summarizing import Summarizing
from platorep.align.tables import best_table, family_of_tests, scores_table
from platorep.align.todo import open_pieces
from platorep.config import AlignConfig, ExperimentConfig
from platorep.experiment_rows import open_rows
from platorep.failures import Failures
from platorep.files import digest
from platorep.reporting import Reporter
from platorep.results import MadeFrom, differences
from platorep.run import Run
from platorep.statistics import FEW_ROWS, shuffled_order, warn_too_few
from platorep.workplace import home_of


def align(run: Run) -> tuple[Failures, pd.DataFrame]:
    """Score all pairs, write `scores.parquet`, `best.csv` and `layers.csv`, and return `best.csv`.

    With `align.gallery` all of that is done on the queries alone, and `gallery.csv` is written too.

    Raises:
        ConfigError: no two models make a pair, or a metric or gallery cannot be had with these
            settings.
        AbsentError: cells are not there (with `keep_going`: all of them).
        IntegrityError: a cell is damaged, or holds other rows than the experiment.
    """
    started, hook = time.monotonic(), ScoresHook(run)
    config, results, report = run.config, run.results, run.report
    failures = run.failures("align")
    asked = asked_metrics(config)
    pairs = _pairs(run, failures)
    facts = results.dataset()
    _warn_of_changes(config, results.read_json(results.run, "extract").get("config"), report)
    galleries = open_galleries(run, int(facts["num_rows"]))
    n = config.align.scored_rows(int(facts["num_rows"]))
    there = open_rows(results)
    rows = there.read(there.columns, stop=n)
    warn_of_copies(pairs, rows, report)
    warn_of_same_observations(config.align.repeats, rows, report)
    scored, layers = _scored(run, asked, pairs, n, failures, hook)
    models = {model.label: model for pair in pairs for model in pair}
    scores = scores_table(facts["name"], scored)
    best = best_table(facts["name"], n, config.align, asked, models, scored)
    made_from = _made_from(config, facts, models)
    context = Context(
        run=run,
        asked=asked,
        models=models,
        best=best,
        rows=rows,
        failures=failures,
    )
    best = analyse(context, made_from)
    results.write_table(results.scores, scores, made_from)
    results.write_table(results.best, best, made_from)
    results.write_table(results.layers, layers, made_from)
    warn_of_degenerate(scores, report)
    for label, of_model in layers.groupby("model", sort=False):
        warn_of_drowned(str(label), of_model, config.align.preprocess, report)
    if galleries is not None:
        grown = galleries.score(best, models, failures)
        results.write_table(results.gallery, grown, made_from)
    results.record(
        "align",
        {
            "device": str(run.device),
            "failed": sorted(failures.errors),
            "settings": config.align.model_dump(mode="json"),
            "num_pairs": len(scored),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": report.warnings,
        },
    )
    hook.tables({"best": best, "scores": scores, "layers": layers})
    return failures, best


def _pairs(run: Run, failures: Failures) -> list[Pair]:
    """The models that are scored against each other and whose features are there."""
    labels = asked_pairs(run)
    models: dict[str, Aligned] = {}
    for spec in run.specs:
        if any(spec.label in pair for pair in labels):
            with failures.catch(spec.label):
                models[spec.label] = find_cell(run, spec)
    pairs = [(models[x], models[y]) for x, y in labels if x in models and y in models]
    if not pairs:
        failures.raise_if_all(1)
    return pairs


def _scored(
    run: Run,
    asked: Sequence[Asked],
    pairs: Sequence[Pair],
    n: int,
    failures: Failures,
    hook: ScoresHook,
) -> tuple[dict[Labels, PairScores], pd.DataFrame]:
    """The scores of all pairs without what failed, and `layers.csv`."""
    descriptions = Descriptions(run.config.align, run.results, overwrite=run.anew)
    pieces, groups = open_pieces(run, n)
    settings = _settings(run, n, groups)
    with home_of(run) as home:
        summarizing = Summarizing(run, home, settings, descriptions, failures)
        scoring = Scoring(run, settings, failures)
        blocks = BlockScoring(asked, settings, summarizing, scoring, pieces)
        scored = _score(run, pairs, pieces, blocks, failures, hook)
        models = {model.label: model for pair in pairs for model in pair}
        labels = [s.label for s in run.specs if s.label in models]
        whole = [models[label] for label in labels if label not in failures.errors]
        summarizing.describe(whole)
    return scored, descriptions.table(whole)


def _settings(run: Run, n: int, groups: Sequence[str] | None) -> Settings:
    align, controls = run.config.align, run.config.controls
    shuffled = shuffled_order(n, controls.seed, groups) if controls.shuffled_pairs else None
    return Settings(align, row_sets(align, n), run.worker_device, shuffled, groups)


def _score(
    run: Run,
    pairs: Sequence[Pair],
    pieces: Pieces,
    scoring: BlockScoring,
    failures: Failures,
    hook: ScoresHook,
) -> dict[Labels, PairScores]:
    """The scores of all pairs, read where they are finished; without what failed."""
    report = run.report
    scored = {} if run.anew else pieces.read(pairs, report)
    todo = [(x, y) for x, y in pairs if (x.label, y.label) not in scored]
    for x, y in todo:
        with failures.catch(f"{x.label} x {y.label}"):
            run.must_compute(f"the score of {x.label} x {y.label}")
    if todo and run.options.overwrite != "never":
        _warn_of_nulls(run.config.align, scoring.asked, pairs, report)
        _warn_of_small_parts(scoring.settings.sets, report)
        with report.task("align", len(todo), "pairs") as advance:

            def finished(pair: Pair, scores: PairScores | None) -> None:
                hook.pair(pair, scores)
                advance(1)

            scoring.run(todo, finished)
        scored |= pieces.read(todo, report) | scoring.unfinished
    if not scored:
        failures.raise_if_all(1)
    return {
        (x.label, y.label): scored[x.label, y.label]
        for x, y in pairs
        if (x.label, y.label) in scored
    }


def _made_from(
    config: ExperimentConfig, facts: Mapping[str, Any], models: Mapping[str, Aligned]
) -> MadeFrom:
    settings = [config.align.model_dump(mode="json"), config.controls.model_dump(mode="json")]
    cells = {f"cell {label}": model.key for label, model in models.items()}
    return {"rows": facts["fingerprint"], "alignment settings": digest(settings), **cells}


def _warn_of_changes(
    config: ExperimentConfig, extracted: Mapping[str, Any] | None, report: Reporter
) -> None:
    """Cells are found by what `extract` wrote, whatever the file says now: do not let that pass."""
    now = config.model_dump(mode="json")
    sections = ("dataset", "families", "extract", "controls")
    changed = [
        name
        for name in sections
        if extracted and differences({name: extracted.get(name)}, {name: now[name]})
    ]
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
