"""From a finished experiment to what the page consists of.

Axes: n rows that were scored, m rows on the page.
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from platorep.config.report import ReportConfig
from platorep.files import storage_errors
from platorep.opened import Opened
from platorep.report.answer import Rules, answer, best_trained, p_of
from platorep.report.content import Content, Model
from platorep.report.method import asked_of, method_of, metrics_of
from platorep.report.models import TRAINED, measures_of, models_of
from platorep.report.neighbors import (
    MOST_ALL,
    chosen_rows,
    lists_of,
    neighbor_rule,
    wanted_layers,
)
from platorep.report.pairs import pairs_of, pairs_table
from platorep.report.settings import changes_since, scored_config
from platorep.report.shared import rows_of
from platorep.report.tables import tables_of
from platorep.report.warned import merged, without_answered

Failure = tuple[str, str, str]
"""What failed, why, and the warning that said so."""


def build_content(opened: Opened, command: str = "", shows: ReportConfig | None = None) -> Content:
    """All that the page of an experiment says.

    Args:
        command: That makes it.
        shows: What goes on the page; as the experiment says if absent.

    Raises:
        AbsentError: there are no scores yet.
        IntegrityError: a table is damaged, or two do not go together.
    """
    shows = shows or opened.run.config.report
    warned = len(opened.run.report.warnings)
    tables, n = opened.tables, len(opened.ids)
    scored, pairs, models = scored_config(opened), pairs_table(tables), models_of(tables)
    metrics = metrics_of(opened, scored)
    shown_pairs, map_note = pairs_of(tables, pairs)
    rule = neighbor_rule(opened, pairs)
    rules = Rules(
        alpha=scored.align.null.alpha,
        larger_is_closer={metric.name: metric.larger_is_closer for metric in metrics},
        layers={model.label: model.layers for model in models},
    )
    chosen = chosen_rows(opened, best_trained(pairs, rules), rule, shows.rows)
    all_layers = _trained_first(models) if n <= MOST_ALL else {}
    lists = lists_of(opened, wanted_layers(pairs, all_layers), chosen, rule)
    shown = rows_of(opened, chosen, images=shows.images, texts=shows.texts)
    if len(chosen) < n:
        shown.notes.insert(0, _some_rows(len(chosen), n))
    failures = failures_of(opened)
    notes = {"map": [map_note], "neighbors": lists.notes, "rows": shown.notes}
    return Content(
        title=opened.run.config.name,
        asked=asked_of(opened, models, n),
        answer=answer(tables, pairs, rules),
        warnings=warnings_of(
            opened,
            failures,
            [*changes_since(opened, scored), *opened.run.report.warnings[warned:]],
            pairs,
            rules,
        ),
        failures=[(cell, why) for cell, why, _ in failures],
        models=models,
        measures=measures_of(tables),
        metrics=metrics,
        pairs=shown_pairs,
        n=n,
        alpha=rules.alpha,
        level=_level(opened),
        rows=shown.rows,
        neighbors=lists.found,
        tables=tables_of(opened, pairs),
        method=method_of(opened, scored, pairs, command),
        notes={part: " ".join(said) for part, said in notes.items() if any(said)},
    )


def _level(opened: Opened) -> float | None:
    interval = opened.align.interval
    return None if interval is None else interval.level


def _trained_first(models: Sequence[Model]) -> dict[str, int]:
    ordered = sorted(models, key=lambda model: model.kind != TRAINED)
    return {model.label: len(model.layers) for model in ordered}


def _some_rows(m: int, n: int) -> str:
    return (
        f"{m:,} of {n:,} rows are on the page: some that are spread evenly over the data, and "
        "those that are near them in the best pair of trained models. Neighbors are sought among "
        f"all {n:,}; one that is not on the page is known by its number alone."
    )


def warnings_of(
    opened: Opened,
    failures: Sequence[Failure],
    now: Sequence[str],
    pairs: pd.DataFrame,
    rules: Rules,
) -> list[str]:
    """What each stage warned of, but failures, and what is wrong with the results as they are;
    alike ones once.

    Args:
        now: What was warned of while they were read.
    """
    run = opened.results.read_json(opened.results.run, "extract")
    said = [
        text
        for stage in ("extract", "measure", "align")
        for text in run.get(stage, {}).get("warnings", ())
    ]
    failed = {text for _, _, text in failures}
    kept = [text for text in [*said, *now] if text not in failed]
    trained = pairs[pairs["kind"] == TRAINED]
    found = [p_of(row) for _, row in trained.iterrows()]
    significant = any(p is not None and p <= rules.alpha for p in found)
    return merged(without_answered(kept, significant), rules.layers)


def failures_of(opened: Opened) -> list[Failure]:
    """From failures.jsonl, but for the page's own."""
    path = opened.results.failures
    if not path.exists():
        return []
    with storage_errors(path):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found = []
    for line in lines:
        try:
            entry: dict[str, Any] = json.loads(line)
            stage, cell, error = (str(entry[key]) for key in ("stage", "cell", "error"))
            why = f"{error}: {entry['message']}"
        except (ValueError, KeyError, TypeError):  # cut off in the middle
            continue
        if stage != "report":
            found.append((f"{stage}: {cell}", why, f"{stage} {cell} failed: {why}"))
    return found
