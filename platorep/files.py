"""Files that are either whole or absent, their checksums, and locks between processes."""

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from platorep.errors import StorageError

_STORAGE_ERRNOS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file-size limit is reached",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOTDIR: "a file is in the place of a folder",
    errno.EEXIST: "a file is in the place of a folder",
    errno.EISDIR: "a folder is in the place of a file",
}


def cache_root() -> Path:
    """PLATOREP_CACHE, else `platorep` in the user's cache folder."""
    if own := os.environ.get("PLATOREP_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "platorep"


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `target` into `StorageError`."""
    try:
        yield
    except Exception as error:
        why = _STORAGE_ERRNOS.get(_errno(error))
        if why is None:
            raise
        raise StorageError(
            f"cannot write {target}: {why}. Free or choose another place "
            "(PLATOREP_CACHE moves the cache, --output the results) and run the same command "
            "again: what is finished is kept."
        ) from error


def _errno(error: Exception) -> int:
    """The operating system's number; libraries in Rust (safetensors, tokenizers) spell it out."""
    if isinstance(error, OSError):
        return error.errno or 0
    said = re.search(r"\(os error (\d+)\)", str(error))
    return int(said[1]) if said else 0


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a sibling path to write to; it becomes `target` only if the block succeeds.

    A killed run leaves at most a `.partial` file, never half a result, and the last writer wins.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")  # same filesystem, own name
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    with atomic_path(target) as partial:
        partial.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    write_bytes(target, content.encode())


def canonical_json(value: Any) -> str:
    """One spelling of a JSON value: the text that keys and fingerprints are hashes of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def write_json(target: Path, value: Any) -> None:
    write_text(target, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """16 hexadecimal digits that name a JSON value."""
    return sha256(canonical_json(value).encode())[:16]


def slug(name: str) -> str:
    """`name` as one folder name: `org/model` becomes `org--model`, odd characters become `_`."""
    kept = "".join(c if c.isalnum() or c in "-_.@+=" else "_" for c in name.replace("/", "--"))
    kept = kept.strip(".") or "_"
    return kept if len(kept) <= 100 else f"{kept[:80]}-{sha256(kept.encode())[:12]}"


class ByteLocks:
    """Exclusive locks between processes: byte i of one lock file stands for the i-th thing.

    POSIX record locks, because the kernel frees them when the process dies, forked worker
    processes do not inherit them, and NFS (version 4, or 3 with lockd) honours them. They do not
    exclude threads of one process. Where a file system has no locks at all, work may be done
    twice, but never wrongly: files are written atomically.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")

    def acquire(self, index: int, *, wait: bool) -> bool:
        """Take lock `index`; without `wait`, False if another process holds it."""
        flags = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(self._file, flags, 1, index)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
                return True
            raise
        return True

    def release(self, index: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, index)

    def close(self) -> None:
        self._file.close()  # frees every lock on it

    def __enter__(self) -> "ByteLocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
