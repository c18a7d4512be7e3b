"""Performance that others measured: a CSV file."""

import calendar
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from platorep.config import ModelSpec, TableConfig
from platorep.config.performance import usually_better
from platorep.data.csv_rows import csv_header, csv_rows
from platorep.errors import AbsentError, ConfigError, DataError, listed, nearest, shown
from platorep.performance.job import Job, Planned, Row


@dataclass(frozen=True)
class TableEntry:
    value: float
    source: str
    """The row's own source, else the file's name."""


def table_rows(job: Job, config: TableConfig) -> Iterator[Row]:
    """A row for each trained model that the table has a number of."""
    of_measure = {"measure": config.name, "better": config.better or usually_better(config.name)}
    for label, entry in numbers_of_models(job, config.name, read_table(config)):
        yield {"model": label} | of_measure | asdict(entry)


def plan_table(config: TableConfig, planned: Planned) -> dict[str, Any]:
    table = read_table(config)
    known = sum(entry_of(table, spec) is not None for spec in planned.trained)
    return {"note": f"{known} of {len(planned.trained)} models have a number"}


def numbers_of_models(
    job: Job, measure: str, entries: Mapping[str, TableEntry]
) -> Iterator[tuple[str, TableEntry]]:
    """Label and number of the trained models that have one."""
    for spec in job.trained:
        entry = entry_of(entries, spec)
        if entry is None:
            job.report.detail(f"{measure}: the table has no number for {spec.label}")
        else:
            yield spec.label, entry


def read_table(config: TableConfig) -> dict[str, TableEntry]:
    """Label or name of each model -> its number. An empty cell is a number nobody knows.

    Raises:
        AbsentError: the file is not there.
        ConfigError: it lacks a column.
        DataError: a cell is neither a number nor a date, or a model is named twice; names the line.
    """
    path = Path(config.table)
    columns = table_columns(path, config.name)
    for column in ("model", config.value):
        if column not in columns:
            raise ConfigError(
                f"{path} has no column {column!r}.{nearest(column, columns)} "
                f"Columns: {listed(columns)}."
            )
    entries: dict[str, TableEntry] = {}
    seen = set()
    for line, row in csv_rows(path):
        location, model = f"{path}, line {line}", row["model"]
        if model in seen:
            raise DataError(f"{location}: model {shown(model)} was named before.")
        seen.add(model)
        text = row[config.value].strip()
        if text:
            entries[model] = TableEntry(_number(text, location), row.get("source") or path.name)
    return entries


def entry_of(table: Mapping[str, TableEntry], spec: ModelSpec) -> TableEntry | None:
    """A trained model's number, by its label or its name.

    A random copy has none of its own, nor has another revision, or a checkpoint of a toy network,
    that of the name: these are found by their labels.
    """
    if spec.random_init:
        return None
    itself = spec.revision in (None, "main") and spec.step is None
    return table.get(spec.label) or (table.get(spec.name) if itself else None)


def table_columns(path: Path, measure: str) -> list[str]:
    """The header of a table.

    Raises:
        AbsentError: the file is not there.
    """
    if not path.is_file():
        raise AbsentError(f"performance {measure}: there is no table {path}.")
    return csv_header(path)


def decimal_year(day: date) -> float:
    """The year with the share of it that is over when the day begins: 2023-01-01 is 2023.0."""
    length = 366 if calendar.isleap(day.year) else 365
    return day.year + (day.timetuple().tm_yday - 1) / length


def _number(text: str, location: str) -> float:
    try:
        value = float(text)
    except ValueError:
        try:
            value = decimal_year(date.fromisoformat(text))
        except ValueError:
            value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{location}: expected a number or a date (2023-02-27), found {shown(text)}."
        )
    return value
