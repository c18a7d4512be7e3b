"""CSV files that people write: every row has the cells of the header, or it is said where not."""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platorep.errors import DataError, shown
from platorep.files import reading


def csv_header(file: Path) -> list[str]:
    """The names of the columns; none if the file is empty.

    Raises:
        DataError: it is no CSV file in UTF-8, or names a column twice.
        UnreadableError: it may not be read.
    """
    with _reader(file) as reader:
        return list(reader.fieldnames or ())


def csv_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of its (last) line and the cells of each row; empty lines are passed over.

    Raises:
        DataError, UnreadableError: as `csv_header`; or a row has more cells or fewer.
    """
    with _reader(file) as reader:
        for cells in reader:
            if None in cells or None in cells.values():
                raise DataError(
                    f"{file}, line {reader.line_num}: expected {len(reader.fieldnames or ())} "
                    "cells as in the header, found another number. Quote cells with commas."
                )
            yield reader.line_num, cells


@contextmanager
def _reader(file: Path) -> Iterator["csv.DictReader[Any]"]:
    try:
        with reading(file), file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            counts = Counter(reader.fieldnames or ())
            if twice := [name for name, count in counts.items() if count > 1]:
                raise DataError(
                    f"{file} names the column {shown(twice[0])} twice. Rename one of them."
                )
            yield reader
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: {error}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as CSV: {error}.") from error
