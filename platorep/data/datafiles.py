"""Data files as tables of the `datasets` library: memory-mapped, with random access."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from platorep.data.hub import Repository, snapshot
from platorep.data.source import require_columns
from platorep.errors import AbsentError, DataError, StorageError, short, shown
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
from platorep.stamps import Stamp, settled_stamp, stamp

COPY_VERSION = 1  # raise when a parquet file gives another copy
COPY_OF = "platorep_copy_of"
ROWS_AT_ONCE = 256


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
                _refuse_twice(file.schema_arrow.names, path)
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
        _refuse_twice(file.schema_arrow.names, path)
        require_columns(columns, file.schema_arrow.names, str(path), "text")
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            yield from batch.to_pylist()


def _refuse_twice(names: list[str], path: Path) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path} names the column {shown(twice[0])} twice. Rename one of them.")


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
    except (pa.ArrowException, NotImplementedError, UnicodeDecodeError) as error:
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
