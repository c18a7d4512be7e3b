"""What is known of rows, column by column: strings that stay in Arrow, however many there are.

A column of ten million ids as a tuple takes a gigabyte and seconds; memory-mapped it takes neither.
"""

import hashlib
import operator
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, SupportsIndex, overload

import pyarrow as pa
import pyarrow.compute as pc

from platorep.errors import IntegrityError
from platorep.stamps import Stamp, stamp

BLOCK_ROWS = 1 << 16
"""Rows that are Python objects at once."""


class MappedTable:
    """An Arrow IPC file of columns, memory-mapped. Pickles as its path and what the file is.

    Args:
        expected: The stamp that the file must have.

    Raises:
        IntegrityError: it is another file now, or none.
    """

    def __init__(self, path: Path, expected: Stamp | None = None) -> None:
        self.path, self._stamp = path, stamp(path)
        self._refuse_other(expected)

    @cached_property
    def arrow(self) -> pa.Table:
        with pa.memory_map(str(self.path)) as file:
            table = pa.ipc.open_file(file).read_all()
        self._refuse_other(stamp(self.path))
        return table

    def _refuse_other(self, expected: Stamp | None) -> None:
        if self._stamp is None or expected not in (None, self._stamp):
            raise IntegrityError(f"{self.path} changed while it was in use. Run the command again.")

    def strings(self, column: str) -> "Strings":
        return Strings(self.arrow.column(column), (self, column, range(len(self.arrow))))

    def __reduce__(self) -> tuple[type["MappedTable"], tuple[Path, Stamp | None]]:
        return MappedTable, (self.path, self._stamp)


class Strings(Sequence[str]):
    """Strings in Arrow, read-only: one is decoded when it is asked for, a slice copies nothing.

    Equal to every sequence of the same strings. Pickles as a place in a file if it is mapped.
    """

    def __init__(
        self, arrow: pa.ChunkedArray, mapped: tuple[MappedTable, str, range] | None = None
    ) -> None:
        assert (arrow.type, arrow.null_count) == (pa.string(), 0), "strings"
        self.arrow, self._mapped = arrow, mapped

    @classmethod
    def of(cls, values: Iterable[str]) -> "Strings":
        """The same strings, in memory; what is in Arrow already stays as it is."""
        if isinstance(values, cls):
            return values
        return cls(pa.chunked_array([pa.array(list(values), pa.string())]))

    @classmethod
    def repeated(cls, value: str, count: int) -> "Strings":
        """`value` again and again; takes the memory of one block."""
        whole, rest = divmod(count, BLOCK_ROWS)
        block = pa.repeat(value, BLOCK_ROWS if whole else rest).cast(pa.string())
        return cls(pa.chunked_array([block] * whole + [block[:rest]], pa.string()))

    def __len__(self) -> int:
        return len(self.arrow)

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Strings": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "str | Strings":
        if not isinstance(index, slice):
            value: str = self.arrow[operator.index(index)].as_py()
            return value
        rows = range(len(self))[index]
        if rows.step != 1:
            return Strings(self.arrow.take(pa.array(rows, pa.int64())))
        mapped = None
        if self._mapped is not None:
            table, column, ours = self._mapped
            mapped = (table, column, ours[rows.start : rows.stop])
        return Strings(self.arrow.slice(rows.start, len(rows)), mapped)

    @property
    def size_bytes(self) -> int:
        """Of all of them in UTF-8."""
        return int(pc.sum(pc.binary_length(self.arrow)).as_py() or 0)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[list[str]]:
        """All of them, some at a time."""
        for start in range(0, len(self), rows):
            yield self.arrow.slice(start, rows).to_pylist()

    def in_memory(self) -> "Strings":
        """The same, sent as themselves."""
        return Strings(self.arrow)

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks():
            yield from block

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return bool(self.arrow.equals(other.arrow))
        if isinstance(other, (tuple, list)):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self[:3]))
        return f"Strings({first}{', ...' if len(self) > 3 else ''}; {len(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._mapped is not None:
            return _mapped_strings, self._mapped
        sink = pa.BufferOutputStream()
        table = pa.table({"": self.arrow})
        with pa.ipc.new_stream(sink, table.schema) as stream:  # of a slice, no more than it is
            stream.write_table(table)
        return _sent_strings, (sink.getvalue().to_pybytes(),)


def _sent_strings(content: bytes) -> Strings:
    return Strings(pa.ipc.open_stream(content).read_all().column(0))


def _mapped_strings(table: MappedTable, column: str, rows: range) -> Strings:
    return table.strings(column)[rows.start : rows.stop]


def rows_sha256(*columns: Sequence[str]) -> str:
    """The SHA-256 of `files.canonical_json` of a list of rows, each a list of its strings."""
    spelled = hashlib.sha256(b"[")
    blocks = zip(*(Strings.of(column).blocks() for column in columns), strict=True)
    for number, block in enumerate(blocks):
        cells = [map(encode_basestring, column) for column in block]
        spelled.update(b",[" if number else b"[")
        spelled.update("],[".join(map(",".join, zip(*cells, strict=True))).encode())
        spelled.update(b"]")
    spelled.update(b"]")
    return spelled.hexdigest()
