"""The checked rows of a dataset as a table in the cache: made in one pass, then mapped into memory.

A folder of the cache, `rows/<key>`, holds three Arrow files: the rows that are kept, those that
were dropped, and the files that were read with the stamp of each. `about.json`, written last, has
their checksums. The key names all that decides what is read and how: the settings of the dataset,
the names of its files, the commit of a hub dataset, the versions of the packages that decode. The
table counts only as long as all files are what they were: see `stamps`.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.events import Copies, DroppedRow, read_copies
from platorep.data.passes import DROPPED, FILES, PARTS, ROWS, changed, make_table
from platorep.data.source import RowSource
from platorep.errors import DamagedError, PlatorepError, StorageError
from platorep.files import (
    ByteLocks,
    cache_root,
    digest,
    read_sealed,
    remove,
    sha256,
    sha256_file,
    write_sealed,
)
from platorep.identities import Identity
from platorep.kinds import find_kind
from platorep.parameters.views import KIND_NAMES
from platorep.plugins import require_plugin
from platorep.reporting import Reporter
from platorep.rows import MappedTable
from platorep.stamps import stamp

FORMAT_VERSION = 3  # raise when the files, or the outcome of the checks, change
CURE = "The next command that needs it makes it anew."
ABOUT = "about.json"
MOST_LISTED = 1000
"""Dropped rows that are told with their reasons; the table in the cache has all."""


@dataclass(frozen=True)
class Located:
    """A source that was found, and not opened."""

    files: Sequence[str]
    """Its data files, in order: with the settings they decide which rows it has."""
    open: Callable[[], RowSource]
    commit: str | None = None
    """The resolved revision, where the source has revisions."""


@dataclass(frozen=True)
class RowTable:
    """The checked rows of a dataset."""

    folder: Path
    rows: MappedTable
    about: Mapping[str, Any]

    @property
    def copies(self) -> dict[str, Copies]:
        return read_copies(self.about["copies"])

    @property
    def identities(self) -> dict[str, Identity]:
        return {column: Identity(**of) for column, of in self.about["identities"].items()}

    def dropped(self) -> list[DroppedRow]:
        """The first of them."""
        table = MappedTable(self.folder / DROPPED).arrow[:MOST_LISTED]
        return [DroppedRow(**row) for row in table.to_pylist()]


def checked_rows(
    config: DatasetConfig, kind: str, labels: bool, located: Located, report: Reporter
) -> RowTable:
    """The rows of a source: from the cache where they are there and still hold, else checked now.

    Raises:
        DataError: a row cannot be used and `on_bad_row` is `error`.
    """
    settings = config.model_dump(mode="json", exclude={"format"})
    how = [FORMAT_VERSION, decoders(config), kind, labels, settings]
    names = sha256(b"\0".join(map(os.fsencode, located.files)))
    key = digest([*how, located.commit, names])
    folder = cache_root() / "rows" / key
    known = _still_good(folder, key)
    if known is not None:
        return known
    try:
        with ByteLocks(folder.with_suffix(".lock")) as locks:
            if not locks.acquire(0, wait=False):
                report.say(f"waiting for another process, which checks the rows of {config.source}")
                locks.acquire(0, wait=True)
            # another process may just have made it
            return _still_good(folder, key) or _made(folder, key, config, located, report)
    except StorageError:  # whoever must write says so; `plan` need not
        folder = Path(tempfile.mkdtemp(prefix="platorep-rows-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return _made(folder, key, config, located, report)


def _made(
    folder: Path, key: str, config: DatasetConfig, located: Located, report: Reporter
) -> RowTable:
    about = make_table(folder, key, config, located.open(), report)
    tables = {
        name: {"stamp": stamp(folder / name), "sha256": sha256_file(folder / name)}
        for name in (ROWS, DROPPED, FILES)
    }
    write_sealed(folder / ABOUT, about | {"tables": tables}, of=key)
    remove(folder / PARTS)  # not before: who is killed goes on after them
    made = _opened(folder, key)
    assert made is not None, "a table that was just written"
    return made


def decoders(config: DatasetConfig) -> dict[str, str]:
    """Of the packages that decode; "" for one that is not here (its kind says so, and how)."""
    versions: dict[str, str] = {}
    for package in {find_kind(kind).package for kind in config.kinds.values()}:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    for kind in {*config.kinds.values()} - {*KIND_NAMES}:
        versions[f"kind {kind}"] = digest(require_plugin("kinds", kind, KIND_NAMES).identity())
    return versions


def _still_good(folder: Path, key: str) -> RowTable | None:
    """The table, if it is whole and no file has changed since."""
    table = _opened(folder, key)
    if table is None:
        return None
    return None if changed(MappedTable(folder / FILES).arrow) else table


def _opened(folder: Path, key: str) -> RowTable | None:
    """The table, if it is whole; as files that were not touched since they were written are."""
    try:
        about = read_sealed(folder / ABOUT, of=key, cure=CURE)
        moved = _refuse_other_content(folder, about, thorough=False)
    except (OSError, PlatorepError, KeyError, TypeError):
        return None
    if moved:
        with suppress(StorageError):
            write_sealed(folder / ABOUT, about, of=key)
    return RowTable(folder, MappedTable(folder / ROWS), about)


def _refuse_other_content(folder: Path, about: dict[str, Any], *, thorough: bool) -> bool:
    """Check the tables against their stamps or, where these differ, their checksums.

    Returns:
        Whether a stamp has changed, of the same content: `about` has the new one then.

    Raises:
        DamagedError: a table is not what was written.
        OSError: it is not there.
    """
    moved = False
    for name, of in about["tables"].items():
        now = stamp(folder / name)
        if now is not None and list(now) == list(of["stamp"]) and not thorough:
            continue
        if sha256_file(folder / name) != of["sha256"]:
            raise DamagedError(
                f"{folder / name} is damaged: its checksum is not that of its content. {CURE}"
            )
        moved = moved or list(now or ()) != list(of["stamp"])
        of["stamp"] = now
    return moved


def refuse_damaged_table(folder: Path) -> None:
    """For whoever looks after the cache: a damaged table is never used, and made anew.

    Raises:
        DamagedError: it is not what was written.
    """
    try:
        about = read_sealed(folder / ABOUT, of=folder.name, cure=CURE)
        _refuse_other_content(folder, about, thorough=True)
    except (OSError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder} is damaged: {error!r}. {CURE}") from error
