"""Performance that others measured: a CSV file."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from platorep.config import TableConfig
from platorep.errors import AbsentError, ConfigError, DataError, nearest


@dataclass(frozen=True)
class TableEntry:
    value: float
    source: str
    """The row's own source, else the file's name."""


def read_table(config: TableConfig) -> dict[str, TableEntry]:
    """Label or name of each model -> its number. An empty cell is a number nobody knows.

    Raises:
        AbsentError: the file is not there.
        ConfigError: it lacks a column.
        DataError: a cell is no number, or a model is named twice; names the line.
    """
    path = Path(config.table)
    if not path.is_file():
        raise AbsentError(f"performance {config.name}: there is no table {path}.")
    entries: dict[str, TableEntry] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        for column in ("model", config.value):
            if column not in columns:
                raise ConfigError(
                    f"{path} has no column {column!r}.{nearest(column, columns)} "
                    f"Columns: {', '.join(columns)}."
                )
        for row in reader:
            place, model = f"{path}, line {reader.line_num}", row["model"]
            if model in entries:
                raise DataError(f"{place}: model {model!r} was named before.")
            text = (row[config.value] or "").strip()
            if text:
                entries[model] = TableEntry(_number(text, place), row.get("source") or path.name)
    return entries


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: expected a number, found {text!r}.")
    return value
