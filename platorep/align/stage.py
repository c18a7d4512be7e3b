"""The stage: what is to score, scoring it, and the tables.

The scores of one model pair are one finished piece on disk (`parts/`), so that a killed run goes
on where it was.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from platorep.align.models import Aligned, find_cell, model_pairs
from platorep.align.scoring import Asked, Summaries, asked_metrics, score_pair, summarize_features
from platorep.align.tables import best_table, scores_table
from platorep.config import ExperimentConfig, ModelSpec
from platorep.errors import ConfigError
from platorep.files import digest
from platorep.reporting import Reporter
from platorep.results import Failures, Results, write_csv, write_parquet

PART_VERSION = 1  # raise when a score's meaning changes


def align(
    config: ExperimentConfig,
    specs: Sequence[ModelSpec],
    results: Results,
    root: Path,
    device: torch.device,
    report: Reporter,
    *,
    keep_going: bool = True,
    overwrite: bool = False,
) -> tuple[Failures, pd.DataFrame]:
    """Score all pairs, write `scores.parquet` and `best.csv`, and return the latter.

    Raises:
        ConfigError: no two models make a pair, or a metric cannot be had with these settings.
        AbsentError: cells are not there (with `keep_going`: all of them).
        IntegrityError: a cell is damaged, or holds other rows than the experiment.
    """
    started = time.monotonic()
    failures = Failures("align", results, report, keep_going)
    asked = asked_metrics(config)
    wanted = model_pairs(config, specs)
    if not wanted:
        raise ConfigError("align.pairs: no two of the models make a pair.")
    models: dict[str, Aligned] = {}
    for spec in specs:
        if any(spec.label in pair for pair in wanted):
            with failures.catch(spec.label):
                models[spec.label] = find_cell(spec, results, root)
    pairs = [(models[x], models[y]) for x, y in wanted if x in models and y in models]

    facts = results.read_json(results.run, "extract")["dataset"]
    parts = {(x.label, y.label): _part(config, x, y, results) for x, y in pairs}
    todo = [(x, y) for x, y in pairs if overwrite or not parts[x.label, y.label].exists()]
    _score(config, asked, todo, parts, facts["num_rows"], device, failures, report)

    tables = {pair: pd.read_parquet(part) for pair, part in parts.items() if part.exists()}
    if not tables:
        failures.raise_if_all(1)
    scores = scores_table(facts["name"], tables)
    best = best_table(facts["name"], facts["num_rows"], asked, models, tables)
    write_parquet(results.scores, scores)
    write_csv(results.best, best)
    _warn_of_degenerate_layers(scores, report)
    results.record(
        "align",
        {
            "device": str(device),
            "failed": sorted(failures.errors),
            "metrics": [entry.model_dump(mode="json") for entry in config.align.metrics],
            "num_pairs": len(tables),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": report.warnings,
        },
    )
    return failures, best


def _score(
    config: ExperimentConfig,
    asked: Sequence[Asked],
    pairs: Sequence[tuple[Aligned, Aligned]],
    parts: Mapping[tuple[str, str], Path],
    num_rows: int,
    device: torch.device,
    failures: Failures,
    report: Reporter,
) -> None:
    """Write the part of every pair."""
    if not pairs:
        return
    summaries: dict[str, Summaries] = {}
    used = {model.label: model for pair in pairs for model in pair}
    with report.task("summarize", len(used), "models") as advance:
        for model in used.values():
            with failures.catch(model.label):
                summaries[model.label] = summarize_features(
                    config.align.preprocess, asked, model.label, model.cell.read(), device
                )
            advance(1)
    shuffled = None
    if config.controls.shuffled_pairs:
        shuffled = np.random.default_rng(config.controls.seed).permutation(num_rows)
    ready = [(x.label, y.label) for x, y in pairs if {x.label, y.label} <= summaries.keys()]
    with report.task("align", len(ready), "pairs") as advance:
        for x, y in ready:
            with failures.catch(f"{x} x {y}"):
                scores = score_pair(asked, summaries[x], summaries[y], shuffled)
                write_parquet(parts[x, y], scores)
            advance(1)


def _part(config: ExperimentConfig, x: Aligned, y: Aligned, results: Results) -> Path:
    """The file of one pair's scores, named by all that decides them."""
    decides: dict[str, Any] = {
        "version": PART_VERSION,
        "x": x.key,
        "y": y.key,
        "preprocess": config.align.preprocess.model_dump(mode="json"),
        "metrics": [entry.model_dump(mode="json") for entry in config.align.metrics],
        "shuffled": config.controls.seed if config.controls.shuffled_pairs else None,
    }
    return results.parts / f"{digest(decides)}.parquet"


def _warn_of_degenerate_layers(scores: pd.DataFrame, report: Reporter) -> None:
    reasons = scores.loc[scores["degenerate"], ["x", "y", "reason"]]
    if len(reasons):
        first = reasons.iloc[0]
        report.warn(
            f"{len(reasons)} layer pairs are left out of the maximum, such as {first['x']} x "
            f"{first['y']}, {first['reason']}; scores.parquet has the reason of each"
        )
