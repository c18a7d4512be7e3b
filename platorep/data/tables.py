"""Rows of Arrow tables that the `datasets` library made: memory-mapped, with random access."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from platorep.config import DatasetConfig
from platorep.data.source import Row, as_captions, as_labels, require_columns
from platorep.errors import ConfigError, DataError, StorageError
from platorep.files import storage_errors


def read_parquet(path: Path, split: str) -> datasets.Dataset:
    """The rows of one parquet file, written once as Arrow into the cache of `datasets`."""
    with table_errors(str(path)):
        return datasets.load_dataset("parquet", data_files={split: [str(path)]}, split=split)


@contextmanager
def table_errors(place: str) -> Iterator[None]:
    """Name the file that `datasets` could not read; say so when it could not write its cache."""
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        with _bars_on_terminals_only():
            yield
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, OSError):
            with storage_errors(cache):
                raise error.__cause__ from error
        raise DataError(f"{place} cannot be read: {error.__cause__ or error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{place} cannot be read: {error}") from error
    except OSError as error:
        if "disk space" not in str(error):
            raise
        raise StorageError(f"{place} cannot be unpacked into {cache}: {error}") from error


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
class Part:
    """The rows of one data file."""

    table: datasets.Dataset
    file: str


@dataclass(frozen=True)
class TableImage:
    """An image cell; pickles as the path of the memory-mapped table and a row number."""

    table: datasets.Dataset  # the image column only
    column: str
    index: int
    folder: Path

    def read(self) -> bytes:
        value = self.table[self.index][self.column]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            return (self.folder / value).read_bytes()
        if not isinstance(value, bytes):
            raise DataError("the image is missing")
        return value


class TableSource:
    """The rows of the parts in order; a part is loaded when one of its rows is asked for."""

    def __init__(
        self,
        config: DatasetConfig,
        parts: Iterator[Part],
        commit: str | None = None,
        *,
        labels: bool = False,
    ) -> None:
        self.commit = commit
        self._config = config
        self._as_texts = as_labels if labels else as_captions
        self._text = (config.text,) if isinstance(config.text, str) else config.text
        self._unread = parts
        self._parts: list[tuple[int, Part, datasets.Dataset, datasets.Dataset]] = []
        self._num_rows = 0

    def row(self, index: int) -> Row:
        while self._num_rows <= index:
            if not self._load_next():
                raise IndexError(index)
        first, part, images, texts = next(p for p in reversed(self._parts) if p[0] <= index)
        cells = texts[index - first] if texts.column_names else {}
        place = f"row {index - first} of {part.file}"
        captions: tuple[str | None, ...] = ()
        for column in self._text:
            found = self._as_texts(_named(texts.features[column], cells[column]))
            if found is None:
                raise ConfigError(
                    f"{place}: dataset.text names the column {column!r}, which holds "
                    f"{type(cells[column]).__name__}. Expected a string or a list of strings."
                )
            captions += found
        return Row(
            id=str(index) if self._config.id is None else str(cells[self._config.id]),
            captions=captions,
            image=TableImage(images, self._config.image, index - first, Path(part.file).parent),
            place=place,
            file=part.file,
        )

    def count(self) -> int:
        while self._load_next():
            pass
        return self._num_rows

    def _load_next(self) -> bool:
        part = next(self._unread, None)
        if part is None:
            return False
        columns = part.table.column_names
        image, identity = self._config.image, self._config.id
        require_columns([image], columns, part.file, "image")
        require_columns(self._text, columns, part.file, "text")
        require_columns([identity] if identity else [], columns, part.file, "id")
        images = part.table.select_columns([image])
        if isinstance(images.features[image], datasets.Image):
            images = images.cast_column(image, datasets.Image(decode=False))  # keep encoded bytes
        texts = part.table.select_columns([*self._text, *([identity] if identity else [])])
        self._parts.append((self._num_rows, part, images, texts))
        self._num_rows += len(part.table)
        return True


def _named(feature: Any, cell: Any) -> Any:
    """The name of a class that is stored as its number; -1 is a label that was withheld."""
    if not isinstance(feature, datasets.ClassLabel) or cell is None:
        return cell
    return None if cell < 0 else feature.int2str(cell)
