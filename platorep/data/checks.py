"""Rows of a source -> what is known of each alone: hashes, texts, places, or why it is unusable."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from platorep.config import DatasetConfig
from platorep.data.events import changed_hash, changed_sample
from platorep.data.source import PLACE, Row, RowSource, place_of
from platorep.errors import ConfigError, DataError, shown
from platorep.files import sha256
from platorep.kinds import Reference, find_kind
from platorep.kinds.text import encode_text, num_words
from platorep.machine import MOST_DECODERS, num_cores
from platorep.parameters.views import ObservedView
from platorep.stamps import Stamp, settled_stamp

DECODED_AT_ONCE = 128
TEXTS_AT_ONCE = 1 << 13
"""Rows that are checked together; no influence on the result."""


@dataclass
class Block:
    """Rows that follow each other in the order asked for, before any is compared with another."""

    numbers: Sequence[int]
    """In the source's own order, from 0."""
    ids: list[str]
    row: Callable[[int], Row]
    """By place in the block: what the source says of it."""
    columns: dict[str, list[Any]]
    """By name of the table's column; anything where the row has a problem."""
    problems: dict[int, str] = field(default_factory=dict)
    """By place in the block: why the row cannot be used."""
    stamps: dict[str, Stamp | None] = field(default_factory=dict)
    """Of samples' own files, as they were before they were read."""

    def __len__(self) -> int:
        return len(self.ids)


def table_schema(config: DatasetConfig, source: RowSource) -> pa.Schema:
    """The columns of the table of checked rows."""
    columns = {"row": pa.int64(), "id": pa.string()}
    for view, kind in config.kinds.items():
        columns[f"sha256:{view}"] = pa.string()
        if kind == "text":
            columns |= {f"text:{view}": pa.string(), f"words:{view}": pa.int32()}
        elif view in config.observed and not source.numbered:
            columns[f"place:{view}"] = PLACE
        if view in config.changed:
            columns[f"same:{view}"] = pa.bool_()
        elif config.deduplicate == "near" and find_kind(kind).looks is not None:
            columns[f"looks:{view}"] = pa.uint64()
    return pa.schema(columns)


class Checks:
    """Reads, decodes and changes the samples of rows, in every view."""

    def __init__(self, config: DatasetConfig, source: RowSource) -> None:
        self._source, self._placed = source, not source.numbered
        self._observed, self._changed = config.observed, config.changed
        self._kinds = {name: find_kind(kind) for name, kind in config.kinds.items()}
        self._near = config.deduplicate == "near"
        if self._near and not any(self._kinds[view].looks for view in self._observed):
            raise ConfigError(
                "dataset.deduplicate: near is for images, and the dataset has none. Use true."
            )
        self._names = [name for name in table_schema(config, source).names if ":" in name]
        self._only_texts = all(kind.name == "text" for kind in self._kinds.values())
        self._pool = ThreadPoolExecutor(min(num_cores(), MOST_DECODERS))
        self.at_once = TEXTS_AT_ONCE if self._only_texts else DECODED_AT_ONCE

    def close(self) -> None:
        self._pool.shutdown()

    def block(self, numbers: Sequence[int]) -> Block:
        """These rows, or as many of them as there are before the source ends."""
        block = self._texts(numbers) if self._only_texts else None
        if block is not None:
            return block
        rows: list[Row] = []
        for number in numbers:
            try:
                rows.append(self._source.row(int(number)))
            except IndexError:
                break
        block = self._empty(numbers[: len(rows)], [row.id for row in rows], rows.__getitem__)
        each = map if self._only_texts else self._pool.map
        for place, found in enumerate(each(self._outcome, rows)):
            stamps, values, problem = found
            block.stamps |= {file: of for file, of in stamps.items() if file not in block.stamps}
            if problem is not None:
                block.problems[place] = problem
            for name, column in block.columns.items():
                column.append(values.get(name))
        return block

    def _empty(self, numbers: Sequence[int], ids: list[str], row: Callable[[int], Row]) -> Block:
        return Block(numbers, ids, row, {name: [] for name in self._names})

    def _texts(self, numbers: Sequence[int]) -> Block | None:
        """Where a row is nothing but strings in columns of Arrow, all at once."""
        read = self._source.strings(numbers)
        if read is None:
            return None
        ids, texts = read
        numbers = numbers[: len(ids)]

        def row(place: int) -> Row:
            return self._source.row(int(numbers[place]))

        block = self._empty(numbers, ids, row)
        samples: dict[str, list[str]] = {}
        for view, column in texts.items():
            chosen = _chosen(column, self._observed[view])
            empty = [i for i, text in enumerate(chosen) if not text or text.isspace()]
            block.problems |= dict.fromkeys(empty, "")
            samples[view] = [text or "" for text in chosen]
            block.columns[f"sha256:{view}"] = _hashes(samples[view])
        for view, change in self._changed.items():
            kind, before = self._kinds[view], samples[change.of]
            hashes = block.columns[f"sha256:{change.of}"]
            samples[view] = [
                changed_sample(kind, text, change, of)
                for text, of in zip(before, hashes, strict=True)
            ]
            block.columns[f"sha256:{view}"] = _hashes(samples[view])
            block.columns[f"same:{view}"] = list(map(str.__eq__, before, samples[view]))
        for view, of_view in samples.items():
            block.columns[f"text:{view}"] = of_view
            block.columns[f"words:{view}"] = list(map(len, map(str.split, of_view)))
        for place in block.problems:  # told as of any other row
            block.problems[place] = str(self._outcome(row(place))[2])
        return block

    def _outcome(self, row: Row) -> tuple[dict[str, Stamp | None], Mapping[str, Any], str | None]:
        """Of a row the stamps of its own files, its columns, and why it cannot be used."""
        stamps: dict[str, Stamp | None] = {}
        if row.problem is not None:
            return stamps, {}, row.problem
        try:
            return stamps, self._checked(row, stamps), None
        except UnicodeEncodeError as error:
            return stamps, {}, f"{shown(error.object)} is no text in Unicode: {error.reason}"
        except (DataError, OSError) as error:
            return stamps, {}, str(error)

    def _checked(self, row: Row, stamps: dict[str, Stamp | None]) -> Mapping[str, Any]:
        """The columns of a row; samples' own files are noted in `stamps` before they are read."""
        row.id.encode()  # raises here what cannot be written later
        samples: dict[str, Any] = {}
        found: dict[str, Any] = {}
        for view, settings in self._observed.items():
            encoded = self._encoded(view, settings, row.cells[view], stamps)
            kind = self._kinds[view]
            with _named(view, kind.name):
                samples[view] = kind.decode(encoded)
            found[f"sha256:{view}"] = sha256(encoded)
            if self._placed and kind.name != "text":
                found[f"place:{view}"] = place_of(row.cells[view][0], encoded)
            if self._near and kind.looks is not None:
                found[f"looks:{view}"] = kind.looks(samples[view])
        for view, change in self._changed.items():
            kind, before, of = self._kinds[view], samples[change.of], found[f"sha256:{change.of}"]
            with _named(view, kind.name):
                samples[view] = changed_sample(kind, before, change, of)
            found[f"sha256:{view}"] = changed_hash(kind, samples[view], change, of)
            found[f"same:{view}"] = kind.same(before, samples[view])
        for view, kind in self._kinds.items():
            if kind.name == "text":
                found[f"text:{view}"] = samples[view]
                found[f"words:{view}"] = num_words(samples[view])
        return found

    def _encoded(
        self,
        view: str,
        settings: ObservedView,
        cells: tuple[Any, ...],
        stamps: dict[str, Stamp | None],
    ) -> bytes:
        kind = self._kinds[view]
        for reference in cells:
            if isinstance(reference, Reference):
                stamps |= {str(f): settled_stamp(f) for f in reference.own_files()}
        with _named(view, kind.name):
            return kind.encode(cells, settings)


def _chosen(column: Sequence[tuple[Any, ...]], view: ObservedView) -> list[str | None]:
    """The text of each row, given what its columns hold; None where there is none."""
    plain = len(view.columns) == 1 and view.captions in (0, "first", "all")
    if plain and not any(isinstance(cells[0], list) for cells in column):
        return [cells[0] for cells in column]
    texts: list[str | None] = []
    for cells in column:
        captions = [c for cell in cells for c in (cell if isinstance(cell, list) else (cell,))]
        try:
            texts.append(encode_text(captions, view).decode())
        except DataError:
            texts.append(None)
    return texts


def _hashes(texts: Sequence[str]) -> list[str]:
    """`sha256` of each, without a call for each."""
    new = hashlib.sha256
    return [new(content).hexdigest() for content in map(str.encode, texts)]


@contextmanager
def _named(view: str, kind: str) -> Iterator[None]:
    """Say which view cannot be used, where its name is not that of its kind."""
    try:
        yield
    except (DataError, OSError) as error:
        if view == kind:
            raise
        raise DataError(f"view {view!r}: {error}") from error
