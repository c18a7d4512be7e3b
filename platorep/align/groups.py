"""Which rows belong together, from a file that an experiment names."""

from pathlib import Path

import pandas as pd

from platorep.errors import AbsentError, DataError
from platorep.results import Results


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
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # empty, not UTF-8, lines of unequal length
        raise DataError(f"{path} is no CSV file in UTF-8: {error}.") from error
    if missing := {"id", "group"} - set(table.columns):
        raise DataError(f"{path} lacks the column {sorted(missing)[0]!r}; it has {list(table)}.")
    for problem, rows in (
        ("has no group", table["group"].fillna("").str.strip() == ""),
        ("was named before", table["id"].duplicated()),
    ):
        if rows.any():
            line = int(rows.to_numpy().argmax()) + 2
            raise DataError(f"{path}, line {line}: row {table['id'][line - 2]!r} {problem}.")
    groups = dict(zip(table["id"], table["group"], strict=True))
    ids = results.read_table(results.rows, "extract")["id"]
    unknown = [row_id for row_id in ids if row_id not in groups]
    if unknown:
        raise DataError(f"{path} has no group for row {unknown[0]!r} ({len(unknown)} such rows).")
    return [groups[row_id] for row_id in ids]
