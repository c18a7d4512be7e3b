"""A folder of results belongs to one run at a time: runs of other settings are told whose it is."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platorep.errors import DamagedError, StorageError
from platorep.files import ByteLocks, read_json, write_json

_held: set[Path] = set()


@contextmanager
def held(folder: Path, settings: str, models: str | None) -> Iterator[None]:
    """Hold `folder` for as long as the block lasts; may be nested.

    Several processes may hold it with the same settings, so that they can divide the work.

    Args:
        settings: Names all settings that move a number.
        models: Names the models that are worked on; None: they move no number of others.

    Raises:
        StorageError: a process with other settings holds it; says which.
    """
    path = folder.absolute()
    if path in _held:
        yield
        return
    with ByteLocks(folder / ".run.lock") as locks:
        _enter(locks, folder, settings, models)
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)


def _enter(locks: ByteLocks, folder: Path, settings: str, models: str | None) -> None:
    """Take the lock together with others if theirs is the same work, else alone.

    Who takes it alone writes down what for, and then lets others in.
    """
    note = folder / ".run.json"
    ended = time.monotonic() + 1.0
    while True:
        if locks.acquire(0, wait=False):
            write_json(note, _own_note(settings, models))
            locks.acquire(0, wait=False, shared=True)
            return
        if locks.acquire(0, wait=False, shared=True):
            holder = _read_note(note)
            same_models = None in (models, holder.get("models")) or models == holder["models"]
            if holder.get("settings") == settings and same_models:
                return
            locks.release(0)  # it may be the note of one that has just ended
            if time.monotonic() > ended:
                raise StorageError(_whose(folder, holder))
        time.sleep(0.02)


def _own_note(settings: str, models: str | None) -> dict[str, Any]:
    return {
        "settings": settings,
        "models": models,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(["platorep", *sys.argv[1:]]),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _read_note(note: Path) -> dict[str, Any]:
    try:
        return read_json(note, "")
    except (FileNotFoundError, DamagedError):
        return {}


def _whose(folder: Path, holder: dict[str, Any]) -> str:
    return (
        f"{folder} is in use by another run, with other settings or models: "
        f"`{holder.get('command', '?')}`, process {holder.get('process', '?')} on "
        f"{holder.get('host', '?')}, since {holder.get('since', '?')}. Wait until it has ended, or "
        "give this run a folder of its own: --output FOLDER."
    )
