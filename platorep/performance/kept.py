"""Finished measurements in the cache, so that none is made twice, whatever experiment asks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from platorep.errors import DamagedError
from platorep.files import alone, read_sealed, write_sealed
from platorep.reporting import Reporter


def is_kept(root: Path, key: str) -> bool:
    return _path(root, key).exists()


def kept(
    root: Path,
    key: str,
    make: Callable[[], dict[str, Any]],
    report: Reporter,
    *,
    overwrite: bool,
) -> dict[str, Any]:
    """The measurement called `key`; made now if it is not there, by one process at a time.

    One that is damaged is told and made again.
    """
    path = _path(root, key)
    try:
        found = None if overwrite else _read(path)
    except DamagedError as error:
        report.warn(str(error))
        found = None
    if found is not None:  # without a lock: a cache that is complete may be read-only
        return found
    with alone(path.with_suffix(".lock")):
        try:
            found = None if overwrite else _read(path)  # another process may just have made it
        except DamagedError:
            found = None
        if found is None:
            write_sealed(path, make(), of=key)
    made = _read(path)
    assert made is not None, "it was just written"
    return made


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_sealed(path, of=path.stem, cure="It is measured again.")
    except FileNotFoundError:
        return None


def _path(root: Path, key: str) -> Path:
    return root / "measurements" / f"{key}.json"
