"""The tidy tables of scores: one row per layer pair, and one row per model pair."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from platorep.align.models import Aligned
from platorep.align.scoring import Asked

Tables = Mapping[tuple[str, str], pd.DataFrame]
"""Labels of x and y -> the scores of their layer pairs, as `score_pair` makes them."""


def scores_table(dataset: str, tables: Tables) -> pd.DataFrame:
    """One row per model pair, metric, control and layer pair."""
    labelled = []
    for (x, y), table in tables.items():
        labels = pd.DataFrame({"dataset": dataset, "x": x, "y": y}, index=table.index)
        labelled.append(pd.concat([labels, table], axis=1))
    return pd.concat(labelled, ignore_index=True)


def best_table(
    dataset: str,
    num_rows: int,
    asked: Sequence[Asked],
    models: Mapping[str, Aligned],
    tables: Tables,
) -> pd.DataFrame:
    """One row per model pair, metric and control: the best of the layer pairs that count."""
    rows: list[dict[str, Any]] = []
    for (x, y), table in tables.items():
        for a in asked:
            of_metric = table[table["metric"] == a.label]
            for control, grid in of_metric.groupby("control"):
                rows.append(
                    {"dataset": dataset, "x": x, "y": y}
                    | _side("x", models[x])
                    | _side("y", models[y])
                    | {"control": control, "metric": a.label}
                    | best_layers(grid, a.metric.claims.larger_is_closer)
                    | {
                        "chance": a.metric.chance(num_rows),
                        "n": num_rows,
                        "k": getattr(a.config.parameters, "k", None),
                    }
                )
    return pd.DataFrame(rows).astype({"k": "Int64", "chance": "float64"})


def _side(side: str, model: Aligned) -> dict[str, Any]:
    return {
        f"{side}_family": model.spec.family,
        f"{side}_modality": model.spec.modality,
        f"{side}_random": model.spec.random_init,
        f"num_layers_{side}": len(model.cell.layers),
    }


def best_layers(grid: pd.DataFrame, larger_is_closer: bool) -> dict[str, Any]:
    """The best layer pair (of several the first in order of layers), or why there is none."""
    counts = grid[~grid["degenerate"] & grid["score"].notna()]
    if counts.empty:
        reasons = grid.loc[grid["degenerate"], "reason"]
        reason = reasons.iloc[0] if len(reasons) else "the metric is not defined on these features"
        return {"layer_x": -1, "layer_y": -1, "score": np.nan, "reason": reason}
    scores = counts["score"]
    best = counts.iloc[int(np.argmax(scores) if larger_is_closer else np.argmin(scores))]
    return {name: best[name] for name in ("layer_x", "layer_y", "score")} | {"reason": ""}
