"""Rows of Arrow tables, file after file: any of them is read by its number."""

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from platorep.config import DatasetConfig
from platorep.data.datafiles import DataFile
from platorep.data.source import FileReference, Row, as_cells, file_beside, require_columns
from platorep.errors import DataError
from platorep.kinds import find_kind
from platorep.parameters.views import KindName
from platorep.stamps import Stamp

ENCODED: Mapping[type, KindName] = {
    datasets.Image: "image",
    datasets.Audio: "audio",
    datasets.Video: "video",
}
"""Features of `datasets` that hold an encoded sample, and would decode it; which kind it is of."""


@dataclass(frozen=True)
class TableCell:
    """A sample in a cell; pickles as the path of the memory-mapped table and a row number."""

    table: datasets.Dataset  # the sample's column only
    column: str
    index: int
    kind: KindName
    folder: Path
    anywhere: bool

    def own_files(self) -> Sequence[Path]:
        content = self._content()
        return () if isinstance(content, bytes) else content.own_files()

    def read(self) -> bytes:
        content = self._content()
        return content if isinstance(content, bytes) else content.read()

    def _content(self) -> bytes | FileReference:
        """The encoded sample, or its file."""
        cell = _cell(self.table, self.column, self.index)
        if isinstance(cell, dict) and {"bytes", "path"} & cell.keys():
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes):
            return cell
        if isinstance(cell, str):
            return FileReference(file_beside(self.folder, cell, anywhere=self.anywhere))
        if cell is None:
            raise DataError(f"the {self.kind} is missing")
        raise DataError(
            f"the column {self.column!r} holds {type(cell).__name__}, expected encoded samples "
            f"({self.kind}) or names of files"
        )


class TableSource:
    """The rows of the parts in order; a part is loaded when one of its rows is asked for.

    Pickles as the memory-mapped tables of the parts that are loaded.
    """

    numbered = True

    def __init__(
        self, config: DatasetConfig, files: Iterator[DataFile], *, labels: bool = False
    ) -> None:
        self.stamps: dict[str, Stamp | None] = {}
        self._config = config
        self._labels = labels
        self._views = config.observed
        self._unread = files
        self._read: list[_Part] = []
        self._starts: list[int] = []
        self._num_rows = 0

    def row(self, index: int) -> Row:
        part, place = self._found(index)
        cells: dict[str, tuple[Any, ...]] = {}
        problem = None
        for name in self._views:
            try:
                cells[name] = self._cells(part, place, name)
            except DataError as error:
                problem = problem or str(error)
        identity, column = str(index), self._config.id
        if column is not None:
            try:
                identity = str(_cell(part.columns[column], column, place))
            except DataError as error:
                problem = problem or str(error)
        return Row(identity, cells, f"row {place} of {part.file}", part.file, problem)

    def cells(self, number: int, view: str) -> tuple[Any, ...]:
        return self._cells(*self._found(number), view)

    def count(self) -> int:
        while self._load_next():
            pass
        return self._num_rows

    def strings(self, numbers: Sequence[int]) -> tuple[list[str], dict[str, list[Any]]] | None:
        columns = {name: view.columns for name, view in self._views.items()}
        identity = self._config.id
        ids: list[str] = []
        texts: dict[str, list[Any]] = {name: [] for name in columns}
        for part, places in self._of_parts(numbers):
            read = {c: part.columns[c] for c in {c for of in columns.values() for c in of}}
            if not all(_holds_strings(table, c) for c, table in read.items()):
                return None
            read |= {} if identity is None else {identity: part.columns[identity]}
            try:
                values = {c: _values(table, c, places) for c, table in read.items()}
            except UnicodeDecodeError:  # `row` says where
                return None
            for name, of_view in columns.items():
                texts[name] += zip(*(values[c] for c in of_view), strict=True)
            if identity is not None:
                ids += map(str, values[identity])
        if identity is None:
            ids = [str(number) for number in numbers[: len(next(iter(texts.values())))]]
        return ids, texts

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_unread": iter(())}

    def _found(self, index: int) -> "tuple[_Part, int]":
        while self._num_rows <= index:
            if not self._load_next():
                raise IndexError(index)
        at = bisect.bisect_right(self._starts, index) - 1
        return self._read[at], index - self._starts[at]

    def _of_parts(self, numbers: Sequence[int]) -> "Iterator[tuple[_Part, Sequence[int]]]":
        """Rows by number as places in the parts, part by part; ends where the source does."""
        at = 0
        while at < len(numbers):
            try:
                part, place = self._found(int(numbers[at]))
            except IndexError:
                return
            if isinstance(numbers, range):
                places: Sequence[int] = range(place, min(place + len(numbers) - at, part.num_rows))
            else:
                first = int(numbers[at]) - place
                here = range(first, first + part.num_rows)
                inside = itertools.takewhile(here.__contains__, map(int, numbers[at:]))
                places = [number - first for number in inside]
            yield part, places
            at += len(places)

    def _cells(self, part: "_Part", place: int, name: str) -> tuple[Any, ...]:
        view, columns = self._views[name], part.columns
        assert view.kind is not None
        folder = Path(part.file).parent
        anywhere = self._config.files_anywhere or part.made_by_datasets
        if find_kind(view.kind).in_files:
            (column,) = view.columns
            return (TableCell(columns[column], column, place, view.kind, folder, anywhere),)

        def refer(name: str) -> FileReference:
            return FileReference(file_beside(folder, name, anywhere=anywhere))

        values = [_named(columns[c].features[c], _cell(columns[c], c, place)) for c in view.columns]
        return as_cells(view, values, refer, labels=self._labels)

    def _load_next(self) -> bool:
        data = next(self._unread, None)
        if data is None:
            return False
        there, identity = data.table.column_names, self._config.id
        for name, view in self._views.items():
            require_columns(view.columns, there, data.file, name)
        require_columns([identity] if identity else [], there, data.file, "id")
        columns: dict[str, datasets.Dataset] = {}
        for name in {c for view in self._views.values() for c in view.columns} | (
            {identity} if identity else set()
        ):
            column = data.table.select_columns([name])
            decoding = column.features[name]
            if type(decoding) in ENCODED:  # keep encoded bytes
                column = column.cast_column(name, type(decoding)(decode=False))
            columns[name] = column
        self._read.append(_Part(columns, len(data.table), data.file, data.made_by_datasets))
        self._starts.append(self._num_rows)
        self.stamps |= data.stamps
        self._num_rows += len(data.table)
        return True


def plain_rows(table: datasets.Dataset, num: int) -> Iterator[dict[str, Any]]:
    """The first rows as they are stored: encoded samples as bytes or paths, classes by name."""
    for name, feature in table.features.items():
        if type(feature) in ENCODED:
            table = table.cast_column(name, type(feature)(decode=False))
    for place in range(min(num, len(table))):
        row = {name: _cell(table, name, place) for name in table.column_names}
        yield {name: _named(table.features[name], cell) for name, cell in row.items()}


@dataclass(frozen=True)
class _Part:
    """The columns of a data file that are read."""

    columns: Mapping[str, datasets.Dataset]
    num_rows: int
    file: str
    made_by_datasets: bool


def _holds_strings(table: datasets.Dataset, column: str) -> bool:
    """Whether cells are strings, or lists of strings."""
    kind = table.features.arrow_schema.field(column).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _cell(table: datasets.Dataset, column: str, place: int) -> Any:
    """A cell of a column.

    Raises:
        DataError: it is a text that cannot be read.
    """
    try:
        return table[place][column]
    except UnicodeDecodeError as error:  # whoever writes parquet need not look at texts
        raise DataError(f"the column {column!r} holds a text that is not UTF-8: {error}") from error


def _values(table: datasets.Dataset, column: str, places: Sequence[int]) -> list[Any]:
    """Some cells of a column, as Python objects."""
    wanted: Any = places
    if isinstance(places, range):
        wanted = slice(places.start, places.stop)
    values: list[Any] = table.with_format("arrow")[wanted].column(column).to_pylist()
    return values


def _named(feature: Any, cell: Any) -> Any:
    """The name of a class that is stored as its number; -1 is a label that was withheld."""
    if not isinstance(feature, datasets.ClassLabel) or cell is None:
        return cell
    return None if cell < 0 else feature.int2str(cell)
