"""The tables of an experiment, as the page has them."""

from typing import Any

import numpy as np
import pandas as pd

from platorep.opened import Opened
from platorep.report.content import Number, Table
from platorep.report.models import number

TITLES = {
    "best": "Every pair of models, control and metric at its best layers",
    "performance": "Every measure of every model",
    "models": "The models",
}


def tables_of(opened: Opened, pairs: pd.DataFrame) -> list[Table]:
    """The tables without columns that are empty throughout.

    Args:
        pairs: best.csv with the column `kind`.
    """
    first = ["x", "y", "kind", "metric", "score", "chance", "threshold", "p_adjusted", "layer_x"]
    frames = {
        "best": _first(pairs, first),
        "performance": opened.performance,
        "models": opened.models,
    }
    return [_table(name, frame) for name, frame in frames.items() if len(frame)]


def _first(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    names = [name for name in columns if name in frame]
    return frame[[*names, *(name for name in frame if name not in names)]]


def _table(name: str, frame: pd.DataFrame) -> Table:
    known = frame.loc[:, [bool((~_empty(frame[column])).any()) for column in frame]]
    columns = [[_cell(value) for value in known[column]] for column in known]
    return Table(
        name=name,
        title=TITLES[name],
        columns=[str(column) for column in known],
        rows=[list(row) for row in zip(*columns, strict=True)],
    )


def _empty(column: pd.Series) -> pd.Series:
    return column.isna() | (column == "")


def _cell(value: Any) -> str | Number | bool:
    if isinstance(value, str | bool):
        return value
    return bool(value) if isinstance(value, np.bool_) else number(value)
