"""Which rows belong together, from a file that an experiment names."""

import itertools
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from platorep.data.csv_rows import csv_header, csv_rows
from platorep.errors import AbsentError, DataError, listed, shown
from platorep.experiment_rows import open_rows
from platorep.results import Results
from platorep.rows import BLOCK_ROWS


def groups_of_rows(file: str, key: str, results: Results) -> list[str]:
    """The group of every row of the experiment, from a CSV file with the columns `id` and `group`.

    Args:
        key: Where the experiment names the file, for messages.

    Raises:
        AbsentError: there is no such file.
        DataError: it lacks a column or a row, names one twice or without a group; says where.
    """
    path = Path(file)
    if not path.is_file():
        raise AbsentError(f"{key}: there is no file {path}.")
    if missing := {"id", "group"} - set(columns := csv_header(path)):
        raise DataError(
            f"{path} lacks the column {sorted(missing)[0]!r}; it has {listed(columns) or 'none'}."
        )
    named, groups = _named(path)
    ids = open_rows(results).ids()
    places = pc.index_in(ids.arrow, value_set=named)
    if places.null_count:
        unknown = ids.arrow.filter(pc.is_null(places))
        raise DataError(
            f"{path} has no group for row {shown(unknown[0].as_py())} ({len(unknown)} such rows)."
        )
    found: list[str] = groups[places.to_numpy()].tolist()
    return found


def _named(path: Path) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Ids that a file names, and the group of each.

    Raises:
        DataError: one is named twice, or without a group.
    """
    ids: list[pa.Array] = []
    codes: list[np.ndarray] = []
    groups: dict[str, int] = {}
    rows = csv_rows(path)
    while block := list(itertools.islice(rows, BLOCK_ROWS)):
        for line, cells in block:
            if not cells["group"].strip():
                raise DataError(f"{path}, line {line}: row {shown(cells['id'])} has no group.")
        ids.append(pa.array([cells["id"] for _, cells in block], pa.string()))
        of_block = [groups.setdefault(cells["group"], len(groups)) for _, cells in block]
        codes.append(np.array(of_block))
    named = pa.chunked_array(ids, pa.string())
    if pc.count_distinct(named).as_py() < len(named):
        _refuse_twice(path)
    names = np.array([*groups], dtype=object)
    return named, names[np.concatenate([np.empty(0, dtype=np.int64), *codes])]


def _refuse_twice(path: Path) -> NoReturn:
    before: set[str] = set()
    for line, cells in csv_rows(path):
        if cells["id"] in before:
            raise DataError(f"{path}, line {line}: row {shown(cells['id'])} was named before.")
        before.add(cells["id"])
    raise AssertionError("an id is there twice")
