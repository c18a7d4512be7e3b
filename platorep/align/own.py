"""A user's own features against the models of a finished extraction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from platorep.align.asked import Asked, asked_metrics
from platorep.align.attempts import attempt
from platorep.align.layers import describe, warn_of_degenerate, warn_of_drowned
from platorep.align.models import find_cell
from platorep.align.prepared import ModelLayers
from platorep.align.scoring import Settings, score_pair
from platorep.align.summaries import ALL, OnRows, Summaries, Summarized, prepared_layers, summarize
from platorep.align.tables import best_layers
from platorep.config import AlignConfig, ModelSpec, NullConfig
from platorep.experiment_rows import open_rows
from platorep.failures import Failures
from platorep.models.arrays import read_arrays
from platorep.run import Run


def score_file(run: Run, file: Path) -> tuple[Failures, pd.DataFrame]:
    """The file's layers against every model: one row per model and metric, the best layer pair.

    Preprocessing and metrics are the experiment's. Writes nothing.

    Raises:
        DataError: the file's rows are not the experiment's.
        IntegrityError: the file cannot be read as features.
        AbsentError: there is no such file, or no model of the experiment was extracted.
    """
    config = run.config
    failures = run.failures("score")
    asked = [a for a in asked_metrics(config) if a.config.best_of is None]
    align = config.align.model_copy(update={"null": NullConfig(permutations=0)})
    settings = Settings(align, {ALL: None}, run.device)
    there = open_rows(run.results)
    rows = there.read(stop=align.scored_rows(there.num_rows))
    loaded = read_arrays(file)
    for note in loaded.notes:
        run.report.warn(note)
    features = loaded.take(range(len(rows)), tuple(rows["id"]))
    prepared = prepared_layers(align, file.name, features)
    described = [
        describe(number, name, raw, layer.to(run.device))
        for number, (name, raw, layer) in enumerate(
            zip(loaded.layers, features, prepared, strict=False)  # without all side by side
        )
    ]
    layers = pd.DataFrame(described)
    warn_of_drowned(file.name, layers, align.preprocess, run.report)
    own = _summaries(run, file.name, prepared, asked, failures)
    table: list[dict[str, Any]] = []
    grids: list[pd.DataFrame] = []
    with run.report.task(f"score {file.name}", len(run.specs), "models") as advance:
        for spec in run.specs:
            theirs: Summaries = {}
            with failures.catch(spec.label):
                theirs = _of_model(run, spec, align, asked, failures)
            pair = {"x": file.name, "y": spec.label}
            for a in asked:
                if a.label not in own or a.label not in theirs:
                    continue
                with failures.catch(f"{spec.label}, {a.label}"):
                    scores = score_pair(a, own[a.label], theirs[a.label], settings)
                    grids.append(scores.grid.assign(**pair))
                    table.append(
                        pair
                        | {"metric": a.label}
                        | best_layers(scores.grid, a.metric.claims.larger_is_closer)
                        | {"chance": a.metric.chance(len(rows)), "n": len(rows)}
                    )
            advance(1)
    if not table:
        failures.raise_if_all(1)
    warn_of_degenerate(pd.concat(grids), run.report)
    return failures, pd.DataFrame(table)


def _of_model(
    run: Run,
    spec: ModelSpec,
    align: AlignConfig,
    asked: Sequence[Asked],
    failures: Failures,
) -> Summaries:
    """A model of the experiment; from its neighbor lists, where a bundle holds no more."""
    if run.bundle is None or run.bundle.has_features:
        prepared = list(ModelLayers(spec.label, find_cell(run, spec).cell, align))
        return _summaries(run, spec.label, prepared, asked, failures)
    lists = run.bundle.lists(spec.label)

    def listed(some: Sequence[Asked]) -> dict[str, OnRows]:
        numbers = {a.label: a.layers(len(lists.layers)) for a in some}
        return {
            a.label: {
                ALL: Summarized(
                    numbers[a.label], [lists.summary(i, a.metric) for i in numbers[a.label]]
                )
            }
            for a in some
        }

    return attempt(listed, asked, lambda a: f"{spec.label}, {a.label}", failures)


def _summaries(
    run: Run,
    label: str,
    layers: Sequence[Float[Tensor, "n _"]],
    asked: Sequence[Asked],
    failures: Failures,
) -> Summaries:
    """The layers as the metrics see them that can take them."""
    return attempt(
        lambda some: dict(summarize(some, layers, {ALL: None}, run.device)),
        asked,
        lambda a: f"{label}, {a.label}",
        failures,
    )
