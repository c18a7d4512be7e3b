"""A user's own features against the models of a finished extraction."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from platorep.align.models import find_cell
from platorep.align.scoring import asked_metrics, score_pair, summarize_features
from platorep.align.tables import best_layers
from platorep.config import ExperimentConfig, ModelSpec
from platorep.models.arrays import read_arrays
from platorep.reporting import Reporter
from platorep.results import Failures, Results


def score_file(
    config: ExperimentConfig,
    specs: Sequence[ModelSpec],
    file: Path,
    results: Results,
    root: Path,
    device: torch.device,
    report: Reporter,
    *,
    keep_going: bool = True,
) -> tuple[Failures, pd.DataFrame]:
    """The file's layers against every model: one row per model and metric, the best layer pair.

    Preprocessing and metrics are the experiment's. Writes nothing.

    Raises:
        DataError: the file's rows are not the experiment's.
        IntegrityError: the file cannot be read as features.
        AbsentError: there is no such file, or no model of the experiment was extracted.
    """
    failures = Failures("score", results, report, keep_going)
    asked = asked_metrics(config)
    rows = results.read_table(results.rows, "extract")
    loaded = read_arrays(file)
    for note in loaded.notes:
        report.warn(note)
    features = loaded.take(range(len(rows)), tuple(rows["id"]))
    own = summarize_features(config.align.preprocess, asked, file.name, features, device)
    found = []
    with report.task(f"score {file.name}", len(specs), "models") as advance:
        for spec in specs:
            with failures.catch(spec.label):
                cell = find_cell(spec, results, root).cell
                theirs = summarize_features(
                    config.align.preprocess, asked, spec.label, cell.read(), device
                )
                table = score_pair(asked, own, theirs, shuffled=None)
                for a in asked:
                    grid = table[table["metric"] == a.label]
                    found.append(
                        {"x": file.name, "y": spec.label, "metric": a.label}
                        | best_layers(grid, a.metric.claims.larger_is_closer)
                        | {"chance": a.metric.chance(len(rows)), "n": len(rows)}
                    )
            advance(1)
    failures.raise_if_all(len(specs))
    return failures, pd.DataFrame(found)
