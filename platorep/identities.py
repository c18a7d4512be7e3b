"""Which rows there are, known by hashes: of all of them, and of blocks, which say where two differ.

docs/format.md is the specification of what lies on disk; keep the two together.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from platorep.files import canonical_json, reading
from platorep.rows import Strings

BLOCK_ROWS = 4096
"""Rows that share a hash; part of the format."""
GROUP_ROWS = 4 * BLOCK_ROWS  # rows that a file keeps, and gives, together
_NAMED = b"platorep rows"

Blocks = Sequence[str]
"""Of a column of strings: the SHA-256 of the JSON list of each `BLOCK_ROWS` of them, in order."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What tells whether rows are the same, however many there are."""

    fingerprint: str
    """SHA-256 of the JSON list `[ids, hashes]`."""
    ids: Blocks
    hashes: Blocks

    def __post_init__(self) -> None:
        for name in ("ids", "hashes"):  # lists, as JSON has them, would be equal to no tuple
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class RowIdentities:
    """Which samples a cell holds, in order: their ids and the hashes of what the model saw."""

    ids: Sequence[str]
    hashes: Sequence[str]
    known: Identity | None = field(default=None, compare=False, repr=False)
    """Theirs, if somebody has worked it out."""

    @cached_property
    def identity(self) -> Identity:
        return self.known or identify(self.ids, {"": self.hashes})[""]

    @property
    def fingerprint(self) -> str:
        return self.identity.fingerprint

    def __len__(self) -> int:
        return len(self.ids)


def identify(ids: Sequence[str], columns: Mapping[str, Sequence[str]]) -> dict[str, Identity]:
    """The identity of the same rows with each of these columns of hashes, in one pass over each."""
    begun = hashlib.sha256(b"[")
    of_ids = _hashed(ids, begun)
    begun.update(b",")
    found = {}
    for name, hashes in columns.items():
        whole = begun.copy()
        of_hashes = _hashed(hashes, whole)
        whole.update(b"]")
        found[name] = Identity(fingerprint=whole.hexdigest(), ids=of_ids, hashes=of_hashes)
    return found


def _hashed(column: Sequence[str], whole: "hashlib._Hash") -> tuple[str, ...]:
    """The hashes of the blocks; the JSON list of all values is added to `whole`."""
    found = []
    whole.update(b"[")
    for number, block in enumerate(Strings.of(column).blocks(BLOCK_ROWS)):
        text = canonical_json(block).encode()
        found.append(hashlib.sha256(text).hexdigest())
        whole.update(b"," if number else b"")
        whole.update(text[1:-1])
    whole.update(b"]")
    return tuple(found)


def other_block(found: Blocks, expected: Blocks) -> range | None:
    """The rows of the first block that differs; None: there is none."""
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return range(number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)
    return None


def write_rows(path: Path, columns: Mapping[str, Sequence[str]], named: str) -> None:
    """Write a parquet file of strings, some rows at a time.

    Args:
        named: What the rows are known by; stands in the file, for `names_in`.
    """
    strings = {name: Strings.of(column) for name, column in columns.items()}
    schema = pa.schema(dict.fromkeys(strings, pa.string()), {_NAMED: named})
    num_rows = len(next(iter(strings.values())))
    # hashes share no values, and half the bits of a hexadecimal digit are the same in all
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as file:
        for start in range(0, num_rows, GROUP_ROWS):
            stop = start + GROUP_ROWS
            parts = [column[start:stop].arrow for column in strings.values()]
            file.write_table(pa.Table.from_arrays(parts, schema=schema), GROUP_ROWS)


@dataclass(frozen=True)
class RowsFile:
    """Such a file, which is read no further than it must."""

    path: Path

    def about(self) -> tuple[str | None, int]:
        """What its rows are known by (older versions wrote nothing), and how many there are.

        Raises: as `read`.
        """
        with reading(self.path), pq.ParquetFile(self.path) as file:
            named = (file.schema_arrow.metadata or {}).get(_NAMED)
            return None if named is None else named.decode(), file.metadata.num_rows

    def read(self, blocks: Mapping[str, Blocks], rows: range) -> dict[str, Strings]:
        """Some rows, verified.

        Args:
            blocks: Of each column that is wanted.

        Raises:
            OSError, ValueError: it is not there, damaged, or holds other rows.
            UnreadableError: it may not be read.
        """
        first, last = rows.start // BLOCK_ROWS, -(-rows.stop // BLOCK_ROWS)
        with reading(self.path), pq.ParquetFile(self.path) as file:
            table, start = _groups(file, [*blocks], range(first * BLOCK_ROWS, last * BLOCK_ROWS))
        found = {}
        for name, expected in blocks.items():
            column = _strings(table, name)[first * BLOCK_ROWS - start :]
            column = column[: (last - first) * BLOCK_ROWS]
            if _hashed(column, hashlib.sha256()) != tuple(expected[first:last]):
                raise ValueError(f"its rows or their order are others in {name!r}")
            found[name] = column[rows.start - first * BLOCK_ROWS :][: len(rows)]
        return found

    def read_all(self) -> dict[str, Strings]:
        """All rows, unverified.

        Raises: as `read`.
        """
        with reading(self.path):
            table = pq.read_table(self.path)
        return {name: _strings(table, name) for name in table.column_names}


def _groups(file: pq.ParquetFile, columns: list[str], rows: range) -> tuple[pa.Table, int]:
    """What the file keeps together with any of these rows, and the number of its first row."""
    ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
    starts = ends - [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    wanted = np.flatnonzero((starts < rows.stop) & (ends > rows.start)).tolist()
    start = int(starts[wanted[0]]) if wanted else 0
    return file.read_row_groups(wanted, columns), start


def _strings(table: pa.Table, name: str) -> Strings:
    """A column, of whatever type of text pandas has written.

    Raises:
        ValueError: there is none, or not of texts alone.
    """
    if name not in table.column_names:
        raise ValueError(f"it has no column {name!r}")
    column = table[name].cast(pa.string())
    if column.null_count:
        raise ValueError(f"{name!r} has holes")
    return Strings(column)
