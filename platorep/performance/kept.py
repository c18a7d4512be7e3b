"""Finished measurements in the cache, so that none is made twice, whatever experiment asks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platorep.errors import IntegrityError
from platorep.files import ByteLocks, write_json


def is_kept(root: Path, key: str) -> bool:
    return _path(root, key).exists()


def _path(root: Path, key: str) -> Path:
    return root / "measurements" / f"{key}.json"


def kept(
    root: Path, key: str, make: Callable[[], dict[str, Any]], *, overwrite: bool
) -> dict[str, Any]:
    """The measurement called `key`; made now if it is not there, by one process at a time.

    Raises:
        IntegrityError: the file is damaged.
    """
    path = _path(root, key)
    if overwrite or not path.exists():  # without a lock: a cache that is complete may be read-only
        with ByteLocks(path.with_suffix(".lock")) as locks:
            locks.acquire(0, wait=True)
            if overwrite or not path.exists():
                write_json(path, make())
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, expected an object")
    except ValueError as error:
        raise IntegrityError(
            f"{path} is damaged: {error}. Delete it; the same command measures again."
        ) from error
    return found
