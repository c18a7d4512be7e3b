"""A user's own features against the models of a finished extraction."""

from pathlib import Path

import pandas as pd

from platorep.align.asked import asked_metrics
from platorep.align.models import find_cell
from platorep.align.scoring import Settings, score_block
from platorep.align.summaries import ALL, prepared_layers, summarize
from platorep.align.tables import best_layers
from platorep.config import NullConfig
from platorep.models.arrays import read_arrays
from platorep.results import Failures
from platorep.run import Run


def score_file(run: Run, file: Path) -> tuple[Failures, pd.DataFrame]:
    """The file's layers against every model: one row per model and metric, the best layer pair.

    Preprocessing and metrics are the experiment's. Writes nothing.

    Raises:
        DataError: the file's rows are not the experiment's.
        IntegrityError: the file cannot be read as features.
        AbsentError: there is no such file, or no model of the experiment was extracted.
    """
    config, results = run.config, run.results
    failures = run.failures("score")
    asked = [a for a in asked_metrics(config) if a.best_of is None]
    align = config.align.model_copy(update={"null": NullConfig(permutations=0)})
    settings, sets = Settings(align, shuffled=None, within=None), {ALL: None}
    rows = results.read_table(results.rows, "extract")
    rows = rows[: align.scored_rows(len(rows))]
    loaded = read_arrays(file)
    for note in loaded.notes:
        run.report.warn(note)
    features = loaded.take(range(len(rows)), tuple(rows["id"]))
    own = summarize(asked, prepared_layers(align, file.name, features), sets, run.device)
    found = []
    with run.report.task(f"score {file.name}", len(run.specs), "models") as advance:
        for spec in run.specs:
            with failures.catch(spec.label):
                cell = find_cell(spec, results, run.root).cell
                layers = prepared_layers(align, spec.label, cell.read(len(rows)))
                theirs = summarize(asked, layers, sets, run.device)
                (scores,) = score_block(asked, [own], [theirs], [(0, 0)], settings)
                for a in asked:
                    grid = scores.grid[scores.grid["metric"] == a.label]
                    found.append(
                        {"x": file.name, "y": spec.label, "metric": a.label}
                        | best_layers(grid, a.metric.claims.larger_is_closer)
                        | {"chance": a.metric.chance(len(rows)), "n": len(rows)}
                    )
            advance(1)
    failures.raise_if_all(len(run.specs))
    return failures, pd.DataFrame(found)
