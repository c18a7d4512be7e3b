"""The one pass over a source: blocks of rows are checked and selected, sealed in parts, joined.

A killed pass goes on after its last part. No byte of the joined rows depends on where parts end.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from platorep.config import DatasetConfig, hashes_column
from platorep.data.checks import Checks, table_schema
from platorep.data.events import Copies, DroppedRow, read_copies
from platorep.data.select import Selector, shuffled
from platorep.data.source import RowSource
from platorep.files import atomic_path, remove, sha256, write_bytes
from platorep.identities import identify
from platorep.reporting import Reporter
from platorep.rows import BLOCK_ROWS, MappedTable, Strings, rows_sha256
from platorep.stamps import Stamp, stamp

ROWS, DROPPED, FILES = "rows.arrow", "dropped.arrow", "files.arrow"
PARTS = "parts"
PART_BYTES = 64 << 20
PART_S = 60.0
"""A part is sealed when it is so large, or so long after the one before."""
BATCH_BYTES = 1 << 30
"""Of texts in one array, which Arrow cannot make of 2 GiB."""
NOTE_BYTES = 512
"""Of a dropped row, about."""
HEAD = 128
"""Bytes before the streams of a part: its checksum. A multiple of 64: its columns are mapped."""
STAMP = ("size_bytes", "content_ns", "status_ns", "inode")
DROPPED_SCHEMA = pa.schema(
    {"row": pa.int64(), "id": pa.string(), "file": pa.string(), "reason": pa.string()}
)
FILES_SCHEMA = pa.schema(
    {"file": pa.binary(), "stamp": pa.struct([(name, pa.int64()) for name in STAMP])}
)


@dataclass
class Part:
    """What came of some rows of the order asked for."""

    rows: pa.Table
    dropped: pa.Table
    files: pa.Table
    examined: int
    """Rows of the order, up to here."""
    copies: Mapping[str, Copies]
    """By observed view, up to here."""


@dataclass
class _Open:
    """The part that rows are added to."""

    rows: list[pa.Table] = field(default_factory=list)
    dropped: list[DroppedRow] = field(default_factory=list)
    files: dict[str, Stamp | None] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def is_full(self) -> bool:
        size = sum(table.nbytes for table in self.rows) + NOTE_BYTES * len(self.dropped)
        return size >= PART_BYTES or time.monotonic() - self.begun >= PART_S


def make_table(
    folder: Path, key: str, config: DatasetConfig, source: RowSource, report: Reporter
) -> dict[str, Any]:
    """Check the rows of a source and write the three tables; parts stay until they are sealed.

    Returns:
        What `about.json` says besides their checksums.

    Raises:
        DataError: a row cannot be used and `on_bad_row` is `error`.
    """
    schema = table_schema(config, source)
    with closing(Pass(folder / PARTS, key, config, source)) as going:
        parts = going.run(report)
    _write(folder / ROWS, schema, (part.rows for part in parts))
    _write(folder / DROPPED, DROPPED_SCHEMA, (part.dropped for part in parts))
    _write(folder / FILES, FILES_SCHEMA, (part.files for part in parts))
    table = MappedTable(folder / ROWS)
    ids = table.strings("id")
    hashes = {view: table.strings(f"sha256:{view}") for view in config.kinds}
    columns = {hashes_column(view): of_view for view, of_view in hashes.items()}
    identities = identify(ids, {"": Strings.repeated("", len(ids))} | columns)
    return {
        "num_rows": len(ids),
        "num_dropped": sum(len(part.dropped) for part in parts),
        "copies": {view: asdict(of) for view, of in going.selector.copies.items()},
        "unchanged": _sums(table.arrow, "same"),
        "words": _sums(table.arrow, "words"),
        "fingerprint": rows_sha256(ids, *(hashes[view] for view in sorted(config.observed))),
        "identities": {column: asdict(of) for column, of in identities.items()},
    }


def _sums(table: pa.Table, what: str) -> dict[str, int]:
    """By view."""
    names = [name for name in table.column_names if name.startswith(f"{what}:")]
    sums = {name.partition(":")[2]: pc.sum(table.column(name)).as_py() or 0 for name in names}
    return {view: int(total) for view, total in sums.items()}


class Pass:
    """Goes through the rows of a source until `limit` good ones are found, or it ends."""

    def __init__(self, folder: Path, key: str, config: DatasetConfig, source: RowSource) -> None:
        self._folder, self._key, self._config, self._source = folder, key, config, source
        self._schema = table_schema(config, source)
        self._checks = Checks(config, source)
        self.selector = Selector(config, self._schema)
        self._noted: set[str] = set()  # data files whose stamps a part has
        self._parts = self._earlier_parts()

    def close(self) -> None:
        self._checks.close()

    def run(self, report: Reporter) -> list[Part]:
        """All parts; those that were sealed lie in files."""
        config, selector = self._config, self.selector
        examined, limit = 0, config.limit
        for part in self._parts:
            selector.replay(part.rows, dict(part.copies))
            examined = part.examined
        order, num_rows = None, limit
        if config.shuffle is not None:
            order = shuffled(self._source.count(), config.shuffle)
            num_rows = len(order) if limit is None else min(limit, len(order))
        growing = _Open()
        with report.task(f"check {config.source}", num_rows, "rows") as advance:
            advance(selector.num_kept)
            while limit is None or selector.num_kept < limit:
                most = self._checks.at_once
                if limit is not None:
                    most = min(most, limit - selector.num_kept)
                numbers: Sequence[int] = range(examined, examined + most)
                if order is not None:
                    numbers = order[examined : examined + most].tolist()
                block = self._checks.block(numbers)
                if not len(block):
                    break
                kept, dropped = selector.take(block)
                examined += len(block)
                growing.rows.append(kept)
                growing.dropped += dropped
                growing.files |= {f: s for f, s in block.stamps.items() if f not in growing.files}
                advance(len(kept))
                if growing.is_full():
                    self._seal(self._closed(growing, examined), len(growing.rows))
                    growing = _Open()
        return [*self._parts, self._closed(growing, examined)]

    def _closed(self, growing: _Open, examined: int) -> Part:
        of_data = {f: s for f, s in self._source.stamps.items() if f not in self._noted}
        self._noted |= set(of_data)
        files = [
            {"file": os.fsencode(f), "stamp": s and dict(zip(STAMP, s, strict=True))}
            for f, s in (growing.files | of_data).items()
        ]
        return Part(
            rows=pa.concat_tables([self._schema.empty_table(), *growing.rows]),
            dropped=pa.Table.from_pylist([asdict(row) for row in growing.dropped], DROPPED_SCHEMA),
            files=pa.Table.from_pylist(files, FILES_SCHEMA),
            examined=examined,
            copies=dict(self.selector.copies),
        )

    def _seal(self, part: Part, num_tables: int) -> None:
        """Write a part, and know its rows from the file."""
        about = {
            "key": self._key,
            "examined": part.examined,
            "copies": {view: asdict(of) for view, of in part.copies.items()},
        }
        sink = pa.BufferOutputStream()
        for table in (part.rows, part.dropped, part.files):
            schema = table.schema.with_metadata({"platorep": json.dumps(about)})
            with pa.ipc.new_stream(sink, schema) as stream:
                stream.write_table(table)
        content = sink.getvalue().to_pybytes()
        path = self._folder / f"part-{len(self._parts):05d}"
        write_bytes(path, sha256(content).encode().ljust(HEAD) + content)
        sealed = _mapped(path, self._key)
        assert sealed is not None, "a part of this pass"
        self._parts.append(sealed)
        self.selector.sealed(num_tables, sealed.rows)

    def _earlier_parts(self) -> list[Part]:
        """Those of a killed pass, if no file that they are of has changed since."""
        parts: list[Part] = []
        for path in sorted(self._folder.glob("part-*")):
            part = _read(path, self._key)
            if part is None or path.name != f"part-{len(parts):05d}" or changed(part.files):
                break
            parts.append(part)
        else:
            return parts
        remove(self._folder)
        return []


def changed(files: pa.Table) -> bool:
    """Whether a file is another now than when it was read."""
    for batch in files.to_batches(BLOCK_ROWS):
        for row in batch.to_pylist():
            noted = row["stamp"] and tuple(row["stamp"][name] for name in STAMP)
            if stamp(os.fsdecode(row["file"])) != noted:
                return True
    return False


def _read(path: Path, key: str) -> Part | None:
    """A part; None if it is not whole."""
    with path.open("rb") as file:
        checksum = file.read(HEAD).rstrip().decode(errors="replace")
        whole = checksum == hashlib.file_digest(file, "sha256").hexdigest()
    return _mapped(path, key) if whole else None


def _mapped(path: Path, key: str) -> Part | None:
    """A whole part, its columns mapped into memory; None if it is another dataset's."""
    with pa.memory_map(str(path)) as file:
        source = pa.BufferReader(file.read_buffer()[HEAD:])
    rows, dropped, files = (pa.ipc.open_stream(source).read_all() for _ in range(3))
    about = json.loads(rows.schema.metadata[b"platorep"])
    if about["key"] != key:
        return None
    rows, dropped, files = (t.replace_schema_metadata() for t in (rows, dropped, files))
    return Part(rows, dropped, files, about["examined"], read_copies(about["copies"]))


def _write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """One Arrow file of batches whose sizes do not depend on those of the tables."""
    with (
        atomic_path(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for batch in _batches(tables):
            for part in _within(BATCH_BYTES, batch):
                # copied: the bytes of a slice depend on what it is a slice of
                writer.write_table(part.combine_chunks().take(pa.array(range(len(part)))))


def _within(most: int, rows: pa.Table) -> Iterator[pa.Table]:
    """The rows in halves of halves, until no column of texts has more bytes."""
    texts = (column for column in rows.columns if pa.types.is_string(column.type))
    sizes = (pc.sum(pc.binary_length(column)).as_py() or 0 for column in texts)
    largest = max(sizes, default=0)
    if largest <= most or len(rows) == 1:
        yield rows
        return
    middle = len(rows) // 2
    yield from _within(most, rows.slice(0, middle))
    yield from _within(most, rows.slice(middle))


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    rest: pa.Table | None = None
    for table in tables:
        rest = table if rest is None else pa.concat_tables([rest, table])
        while len(rest) >= BLOCK_ROWS:
            yield rest.slice(0, BLOCK_ROWS)
            rest = rest.slice(BLOCK_ROWS)
    if rest is not None and len(rest):
        yield rest
