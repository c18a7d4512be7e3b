"""Rows of Arrow tables that the `datasets` library made: memory-mapped, with random access."""

import bisect
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from platorep.config import DatasetConfig
from platorep.data.hub import Repository, snapshot
from platorep.data.source import (
    FileReference,
    Row,
    as_cells,
    file_beside,
    require_columns,
)
from platorep.errors import AbsentError, DataError, StorageError, short
from platorep.files import (
    atomic_path,
    cache_root,
    canonical_json,
    digest,
    reading,
    storage_errors,
    write_json,
)
from platorep.hub import hub_errors, verify_blob
from platorep.kinds import KINDS
from platorep.parameters.views import KindName
from platorep.stamps import Stamp, settled_stamp, stamp

COPY_VERSION = 1  # raise when a parquet file gives another copy
COPY_OF = "platorep_copy_of"
ROWS_AT_ONCE = 256
ENCODED = (datasets.Image, datasets.Audio, datasets.Video)
"""Features of `datasets` that hold an encoded sample, and would decode it."""
STRINGS = (datasets.Value("string"), datasets.Value("large_string"))


def read_parquet(path: Path) -> datasets.Dataset:
    """The rows of one parquet file, which is copied once into an Arrow file, for single rows.

    The copy is taken for what it is only as long as neither file has changed since.

    Raises:
        DataError: it is no parquet file, or broken.
        UnreadableError: it may not be read.
        StorageError: the copy cannot be written.
    """
    copy = cache_root() / "tables" / f"{digest(str(path.resolve()))}.arrow"
    note = copy.with_suffix(".json")
    with table_errors(str(path)), reading(path):
        of = canonical_json([COPY_VERSION, settled_stamp(path)])
        if not (_source_of(copy) == of and _noted(note) == list(stamp(copy) or ())):
            with pq.ParquetFile(path) as file, atomic_path(copy) as partial:
                _copy_rows(file, partial, of)
            write_json(note, stamp(copy))
        return datasets.Dataset.from_file(str(copy))


def parquet_rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of one parquet file from the first on, without a copy.

    Raises:
        ConfigError: it lacks a column.
        DataError: it is no parquet file, or broken.
    """
    with table_errors(str(path)), reading(path), pq.ParquetFile(path) as file:
        require_columns(columns, file.schema_arrow.names, str(path), "text")
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            yield from batch.to_pylist()


def _copy_rows(file: pq.ParquetFile, target: Path, of: str) -> None:
    schema = file.schema_arrow
    schema = schema.with_metadata((schema.metadata or {}) | {COPY_OF: of})
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            writer.write_batch(batch)


def _source_of(copy: Path) -> str | None:
    """What a copy says that it is a copy of."""
    try:
        with pa.OSFile(str(copy)) as file, pa.ipc.open_stream(file) as stream:
            return str((stream.schema.metadata or {})[COPY_OF.encode()].decode())
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None


def _noted(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def table_errors(location: str) -> Iterator[None]:
    """Name the file that `datasets` could not read; say so when it could not write its cache."""
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        with _bars_on_terminals_only():
            yield
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, OSError):
            with storage_errors(cache):
                raise error.__cause__ from error
        if isinstance(error.__cause__, ImportError):
            raise AbsentError(
                f"{location} cannot be read by the library datasets: {error.__cause__} Or name the "
                "files in a captions.csv beside them, which needs no such package."
            ) from error
        raise DataError(
            f"{location} cannot be read: {short(str(error.__cause__ or error))}"
        ) from error
    except (pa.ArrowException, NotImplementedError) as error:
        raise DataError(f"{location} cannot be read: {short(str(error))}") from error
    except OSError as error:
        if "disk space" not in str(error):
            raise
        raise StorageError(f"{location} cannot be unpacked into {cache}: {error}") from error


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    hidden = datasets.are_progress_bars_disabled() or sys.stderr.isatty()
    if hidden or "HF_DATASETS_DISABLE_PROGRESS_BARS" in os.environ:
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


@dataclass(frozen=True)
class DataFile:
    """The rows of one data file, or of the several that `datasets` reads as one table."""

    table: datasets.Dataset
    file: str
    stamps: Mapping[str, Stamp | None] = field(default_factory=dict)
    """Of the files, as they were before; none where a commit says what they hold."""
    made_by_datasets: bool = False
    """Whether paths in image cells are what `datasets` found, and not what the file says."""


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
        cell = self.table[self.index][self.column]
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


def parquet_files(paths: Iterable[Path], *, pinned: bool = False) -> Iterator[DataFile]:
    """Each file as a table, when its turn comes; what is pinned by a commit needs no stamps."""
    for path in paths:
        stamps = {} if pinned else {str(path): settled_stamp(path)}
        yield DataFile(read_parquet(path), str(path), stamps)


def tables_of(repository: Repository, split: str, *, offline: bool) -> Iterator[DataFile]:
    """A split's rows as tables: file by file where the format allows, else all at once."""
    source, subset, commit = repository.source, repository.subset, repository.commit
    if repository.builder == "parquet":
        yield from parquet_files(
            repository.paths(split, offline=offline), pinned=commit is not None
        )
        return
    files = repository.splits[split]
    stamps = {} if commit else {file: settled_stamp(file) for file in files}
    with hub_errors(source, commit, "dataset"), table_errors(source):
        if commit is None:  # `datasets` itself knows the files by their times alone
            own = cache_root() / "datasets" / digest([source, stamps])
            table = datasets.load_dataset(source, subset, split=split, cache_dir=str(own))
        elif offline:
            folder = snapshot(source, commit)
            for file in files:
                verify_blob(Path(folder) / file)
            table = datasets.load_dataset(folder, subset, split=split)
        else:
            table = datasets.load_dataset(source, subset, split=split, revision=commit)
    yield DataFile(table, source, stamps, repository.builder.endswith("folder"))


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
        identity = str(index)
        if self._config.id is not None:
            identity = str(part.columns[self._config.id][place][self._config.id])
        return Row(identity, cells, f"row {place} of {part.file}", part.file, problem)

    def cells(self, number: int, view: str) -> tuple[Any, ...]:
        return self._cells(*self._found(number), view)

    def count(self) -> int:
        while self._load_next():
            pass
        return self._num_rows

    def strings(self, numbers: Sequence[int]) -> tuple[list[str], dict[str, list[Any]]] | None:
        columns = {name: view.columns[0] for name, view in self._views.items()}
        identity = self._config.id
        for view in self._views.values():
            if len(view.columns) > 1 or view.captions not in (0, "first", "all"):
                return None
        ids: list[str] = []
        texts: dict[str, list[Any]] = {name: [] for name in columns}
        for part, places in self._of_parts(numbers):
            if any(part.columns[c].features[c] not in STRINGS for c in columns.values()):
                return None
            for name, column in columns.items():
                texts[name] += _values(part.columns[column], column, places)
            if identity is not None:
                ids += map(str, _values(part.columns[identity], identity, places))
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
        if KINDS[view.kind].in_files:
            (column,) = view.columns
            return (TableCell(columns[column], column, place, view.kind, folder, anywhere),)

        def refer(name: str) -> FileReference:
            return FileReference(file_beside(folder, name, anywhere=anywhere))

        values = [_named(columns[c].features[c], columns[c][place][c]) for c in view.columns]
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
            if isinstance(decoding, ENCODED):  # keep encoded bytes
                column = column.cast_column(name, type(decoding)(decode=False))
            columns[name] = column
        self._read.append(_Part(columns, len(data.table), data.file, data.made_by_datasets))
        self._starts.append(self._num_rows)
        self.stamps |= data.stamps
        self._num_rows += len(data.table)
        return True


@dataclass(frozen=True)
class _Part:
    """The columns of a data file that are read."""

    columns: Mapping[str, datasets.Dataset]
    num_rows: int
    file: str
    made_by_datasets: bool


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
