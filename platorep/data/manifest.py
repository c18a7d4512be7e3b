"""What checking the rows of a source gave, kept in the cache, so that it is checked once.

A manifest is one file of the cache, `manifests/<key>`. Its key names all that decides what is read
and how: the settings of the dataset, the names of its files, the commit of a hub dataset, the
versions of the packages that decode. It holds the rows, kept and dropped, and the stamp of each
file that was read, and counts only as long as all of these files are what they were: see `stamps`.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from platorep.config import DatasetConfig
from platorep.data.events import Copies, DroppedRow
from platorep.data.select import CheckedRow, Selection, select_rows
from platorep.data.source import RowSource
from platorep.errors import DamagedError, StorageError
from platorep.files import cache_root, digest, sha256, write_bytes
from platorep.kinds import KINDS
from platorep.stamps import stamp

FORMAT_VERSION = 2  # raise when the file, or the outcome of the checks, changes
_STAMP = ("size_bytes", "content_ns", "status_ns", "inode")


@dataclass(frozen=True)
class Located:
    """A source that was found, and not opened."""

    files: Sequence[str]
    """Its data files, in order: with the settings they decide which rows it has."""
    open: Callable[[], RowSource]
    commit: str | None = None
    """The resolved revision, where the source has revisions."""


def checked_rows(config: DatasetConfig, kind: str, labels: bool, located: Located) -> Selection:
    """The rows of a source, as `select_rows`: from the manifest where it still holds.

    Raises:
        DataError: a row cannot be used and `on_bad_row` is `error`.
    """
    settings = config.model_dump(mode="json", exclude={"format"})
    how = [FORMAT_VERSION, _versions(config), kind, labels, settings]
    names = sha256(b"\0".join(map(os.fsencode, located.files)))
    key = digest([*how, located.commit, names])
    path = cache_root() / "manifests" / key
    known = _read(path, key)
    if known is not None and all(stamp(file) == of for file, of in known.stamps.items()):
        return known
    selection = select_rows(config, located.open())
    with suppress(StorageError):  # whoever must write says so; `plan` need not
        _write(path, key, selection)
    return selection


def _versions(config: DatasetConfig) -> dict[str, str]:
    """Of the packages that decode; "" for one that is not here (its kind says so, and how)."""
    versions: dict[str, str] = {}
    for package in {KINDS[kind].package for kind in config.kinds.values()}:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    return versions


def refuse_damaged_manifest(path: Path) -> None:
    """For whoever looks after the cache: a damaged manifest is never used, and made anew.

    Raises:
        DamagedError: it is not what was written.
    """
    if _read(path, path.name) is None:
        raise DamagedError(
            f"{path} is damaged: its checksum or key is not that of its content. The next command "
            "that needs it makes it anew."
        )


def _write(path: Path, key: str, selection: Selection) -> None:
    """A line with the checksum of the rest, and three tables as Arrow streams."""
    rows: list[dict[str, Any]] = [asdict(row) for row in selection.rows]
    for row in rows:
        for per_view in ("hashes", "texts", "looks"):
            row[per_view] = list(row[per_view].items())
    dropped: list[dict[str, Any]] = [asdict(row) for row in selection.dropped]
    files = [
        {
            "file": os.fsencode(file),
            "stamp": None if of is None else dict(zip(_STAMP, of, strict=True)),
        }
        for file, of in selection.stamps.items()
    ]
    about = {"key": key, "copies": {what: asdict(of) for what, of in selection.copies.items()}}
    sink = pa.BufferOutputStream()
    for table, schema in ((rows, _ROWS), (dropped, _DROPPED), (files, _FILES)):
        schema = schema.with_metadata({"platorep": json.dumps(about)})
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_table(pa.Table.from_pylist(table, schema))
    content = sink.getvalue().to_pybytes()
    write_bytes(path, sha256(content).encode() + b"\n" + content)


def _read(path: Path, key: str) -> Selection | None:
    """None: there is none that is whole."""
    try:
        checksum, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if checksum.decode(errors="replace") != sha256(content):
        return None
    source = pa.BufferReader(content)
    rows, dropped, files = (pa.ipc.open_stream(source).read_all() for _ in range(3))
    about = json.loads(rows.schema.metadata[b"platorep"])
    if about["key"] != key:
        return None
    return Selection(
        rows=[
            CheckedRow(
                row=row["row"],
                id=row["id"],
                hashes=dict(row["hashes"]),
                texts=dict(row["texts"]),
                looks=dict(row["looks"]),
                unchanged=tuple(row["unchanged"]),
            )
            for row in rows.to_pylist()
        ],
        dropped=[DroppedRow(**row) for row in dropped.to_pylist()],
        copies={
            what: Copies(of["count"], tuple((copy, first) for copy, first in of["first"]))
            for what, of in about["copies"].items()
        },
        stamps={
            os.fsdecode(row["file"]): None
            if row["stamp"] is None
            else tuple(row["stamp"][k] for k in _STAMP)
            for row in files.to_pylist()
        },
    )


_ROWS = pa.schema(
    {
        "row": pa.int64(),
        "id": pa.string(),
        "hashes": pa.map_(pa.string(), pa.string()),
        "texts": pa.map_(pa.string(), pa.string()),
        "looks": pa.map_(pa.string(), pa.uint64()),
        "unchanged": pa.list_(pa.string()),
    }
)
_DROPPED = pa.schema(
    {"row": pa.int64(), "id": pa.string(), "file": pa.string(), "reason": pa.string()}
)
_FILES = pa.schema(
    {"file": pa.binary(), "stamp": pa.struct([(name, pa.int64()) for name in _STAMP])}
)
