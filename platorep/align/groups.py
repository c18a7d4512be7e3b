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
        DataError: it lacks a column or a row.
    """
    path = Path(file)
    if not path.is_file():
        raise AbsentError(f"{key}: there is no file {path}.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := {"id", "group"} - set(table.columns):
        raise DataError(f"{path} lacks the column {sorted(missing)[0]!r}; it has {list(table)}.")
    groups = dict(zip(table["id"], table["group"], strict=True))
    ids = results.read_table(results.rows, "extract")["id"]
    unknown = [row_id for row_id in ids if row_id not in groups]
    if unknown:
        raise DataError(f"{path} has no group for row {unknown[0]!r} ({len(unknown)} such rows).")
    return [groups[row_id] for row_id in ids]
