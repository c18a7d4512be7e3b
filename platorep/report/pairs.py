"""The pairs of models, and their maps of layers.

Axes: l_x and l_y layers of the two models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from platorep.plots.tables import Tables
from platorep.report.content import Number, Pair
from platorep.report.models import TRAINED, model_kinds, number

MAP_DIGITS = 5
MOST_CELLS = 250_000
"""Layer pairs on the page, of all pairs and metrics together: about 2 MB."""

Map = Sequence[Sequence[Number]]
Key = tuple[str, str, str, str]
"""x, y, metric, control."""


def pair_kind(kinds: Mapping[str, str], x: str, y: str, control: str) -> str:
    """`trained` if both models are; else what makes the pair a control."""
    if control:
        return control
    controls = dict.fromkeys(kind for kind in (kinds[x], kinds[y]) if kind != TRAINED)
    return ", ".join(controls) or TRAINED


def pairs_table(tables: Tables) -> pd.DataFrame:
    """`Tables.best` of the first data set, with the column `kind`."""
    kinds, best = model_kinds(tables.models), tables.best
    best = best.assign(control=best["control"].fillna(""))
    if len(best):
        best = best[best["dataset"] == best["dataset"].iloc[0]]
    rows = zip(best["x"], best["y"], best["control"], strict=True)
    return best.assign(kind=[pair_kind(kinds, x, y, control) for x, y, control in rows])


def pairs_of(tables: Tables, pairs: pd.DataFrame) -> tuple[list[Pair], str]:
    """Every row of `pairs_table`; and what is said of maps that are left out."""
    maps, left_out = _maps(tables.scores, pairs)
    found = []
    for row in pairs.to_dict("records"):
        key = (row["x"], row["y"], row["metric"], row["control"])
        numbers = {name: number(row.get(name)) for name in _NUMBERS}
        found.append(
            Pair(
                x=row["x"],
                y=row["y"],
                metric=row["metric"],
                kind=row["kind"],
                layer_x=int(row["layer_x"]),
                layer_y=int(row["layer_y"]),
                ceiling_share=number(row.get("share_of_ceiling")),
                n=int(row["n"]),
                reason=row["reason"] if isinstance(row["reason"], str) else "",
                map=maps.get(key),
                **numbers,
            )
        )
    note = (
        f"{left_out} of {len(found)} maps of layers are not on the page, which holds "
        f"{MOST_CELLS:,} layer pairs, those of trained models first; scores.parquet has them."
    )
    return found, note if left_out else ""


_NUMBERS = (
    *("score", "chance", "null_mean", "threshold", "p", "p_adjusted", "calibrated"),
    *("low", "high", "k"),
)


def _maps(scores: pd.DataFrame, pairs: pd.DataFrame) -> tuple[dict[Key, Map], int]:
    """Maps of as many pairs as there is room for, those of trained models first."""
    if scores.empty:
        return {}, 0
    scores = scores.assign(control=scores["control"].fillna(""))
    by_key = scores.groupby(["x", "y", "metric", "control"], sort=False).indices
    columns = {
        name: scores[name].to_numpy() for name in ("layer_x", "layer_y", "score", "degenerate")
    }
    maps: dict[Key, Map] = {}
    cells = left_out = 0
    for row in pairs.sort_values("kind", key=lambda kinds: kinds != TRAINED, kind="stable").to_dict(
        "records"
    ):
        key = (row["x"], row["y"], row["metric"], row["control"])
        rows = by_key.get(key)
        if rows is None:
            continue
        room = int(columns["layer_x"][rows].max() + 1) * int(columns["layer_y"][rows].max() + 1)
        if cells + room > MOST_CELLS:  # of layers that are not asked for, too
            left_out += 1
            continue
        cells += room
        maps[key] = _map({name: values[rows] for name, values in columns.items()})
    return maps, left_out


def _map(columns: Mapping[str, Any]) -> Map:
    """Degenerate layers have no score here: they take no part in the maximum."""
    shape = columns["layer_x"].max() + 1, columns["layer_y"].max() + 1
    grid = np.full(shape, np.nan)
    shown = np.where(columns["degenerate"].astype(bool), np.nan, columns["score"])
    grid[columns["layer_x"], columns["layer_y"]] = shown
    return [[number(value, MAP_DIGITS) for value in line] for line in grid.tolist()]
