"""Which rows belong together, from a file that an experiment names."""

from pathlib import Path

from platorep.data.csv_rows import csv_header, csv_rows
from platorep.errors import AbsentError, DataError, listed, shown
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
    if missing := {"id", "group"} - set(columns := csv_header(path)):
        raise DataError(
            f"{path} lacks the column {sorted(missing)[0]!r}; it has {listed(columns) or 'none'}."
        )
    groups: dict[str, str] = {}
    for line, cells in csv_rows(path):
        row_id, group = cells["id"], cells["group"]
        if row_id in groups or not group.strip():
            problem = "was named before" if row_id in groups else "has no group"
            raise DataError(f"{path}, line {line}: row {shown(row_id)} {problem}.")
        groups[row_id] = group
    ids = results.read_table(results.rows, "extract")["id"]
    unknown = [row_id for row_id in ids if row_id not in groups]
    if unknown:
        raise DataError(
            f"{path} has no group for row {shown(unknown[0])} ({len(unknown)} such rows)."
        )
    return [groups[row_id] for row_id in ids]
