"""Rows of Arrow tables that the `datasets` library made: memory-mapped, with random access."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets

from platorep.config import DatasetConfig
from platorep.data.source import Row, as_captions, require_columns
from platorep.errors import ConfigError, DataError


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
        self, config: DatasetConfig, parts: Iterator[Part], commit: str | None = None
    ) -> None:
        self.commit = commit
        self._config = config
        self._text = (config.text,) if isinstance(config.text, str) else config.text
        self._unread = parts
        self._parts: list[tuple[int, Part, datasets.Dataset, datasets.Dataset]] = []
        self._num_rows = 0

    def row(self, index: int) -> Row:
        while self._num_rows <= index:
            if not self._load_next():
                raise IndexError(index)
        first, part, images, texts = next(p for p in reversed(self._parts) if p[0] <= index)
        cells = texts[index - first]
        place = f"row {index - first} of {part.file}"
        captions: tuple[str | None, ...] = ()
        for column in self._text:
            found = as_captions(cells[column])
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
