"""Files that are either whole or absent, their checksums, and locks between processes."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from platorep.errors import DamagedError, PlatorepError, StorageError, UnreadableError

_UNREADABLE = {
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its links lead in a circle",
    errno.EIO: "the disk does not answer (input/output error)",
    errno.ESTALE: "the network file system has lost it",
    errno.ENOTDIR: "a file is in the place of a folder",
}
_UNWRITABLE = _UNREADABLE | {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file-size limit is reached",
    errno.EROFS: "the file system is read-only",
    errno.EEXIST: "a file is in the place of a folder",
    errno.EISDIR: "a folder is in the place of a file",
    errno.ENOTEMPTY: "a folder is in the place of a file",
}
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_SEAL = "seal"


def cache_root() -> Path:
    """PLATOREP_CACHE, else `platorep` in the user's cache folder."""
    if own := os.environ.get("PLATOREP_CACHE"):
        return expanded(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return expanded(base) / "platorep"


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `target` into `StorageError`."""
    try:
        yield
    except Exception as error:
        why = _UNWRITABLE.get(_errno(error))
        if why is None or isinstance(error, PlatorepError):
            raise
        cure = "Remove it" if "in the place of" in why else "Mend that"
        raise StorageError(
            f"cannot write {target}: {why}. {cure} or choose another place "
            "(PLATOREP_CACHE moves the cache, --output the results) and run the same command "
            "again: what is finished is kept."
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to read `path` into `UnreadableError`.

    What is not there, or is a folder, is for the caller to tell: FileNotFoundError and
    IsADirectoryError pass.
    """
    try:
        yield
    except Exception as error:
        why = _UNREADABLE.get(_errno(error))
        if why is None or isinstance(error, PlatorepError):
            raise
        raise UnreadableError(f"cannot read {path}: {why}.") from error


def refusal(error: BaseException) -> PlatorepError | None:
    """The sentence for a refusal of the operating system that nobody has told yet, if it is one."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    why = _UNWRITABLE.get(error.errno or 0)
    return UnreadableError(f"{error.filename}: {why}.") if why else None


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


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    with atomic_path(target) as partial:
        partial.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    write_bytes(target, content.encode())


def canonical_json(value: Any) -> str:
    """One spelling of a JSON value: the text that keys and fingerprints are hashes of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def yaml_text(value: Any, **layout: Any) -> str:
    """A value as YAML for people; ends of lines that only Unicode knows are escaped, since what
    reads YAML takes some of them for others."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, **layout)
    if any(end in text for end in "\x85\u2028\u2029"):
        text = yaml.safe_dump(value, sort_keys=False, **layout)
    return str(text)


def expanded(path: str | Path) -> Path:
    """With the home folder for `~`; where nobody has that home the path as it stands."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def write_json(target: Path, value: Any) -> None:
    write_text(target, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path, cure: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        cure: What to do if it is damaged, as a sentence.

    Raises:
        FileNotFoundError: it is not there.
        DamagedError: it is no JSON object.
        UnreadableError: it may not be read.
    """
    try:
        with reading(path):
            content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}, expected an object")
    except IsADirectoryError as error:
        raise DamagedError(f"a folder is in the place of {path}. {cure}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: not JSON as expected: {error}. {cure}") from error
    return content


def write_sealed(
    path: Path, content: Mapping[str, Any], *, of: str, files: Iterable[str] = ()
) -> None:
    """Write a JSON object that carries a seal: its checksum and the name of what it belongs to.

    Args:
        of: An experiment, or the key of a cell, measurement or piece.
        files: Names of finished files beside it; the seal guards them too.
    """
    body = json.loads(json.dumps(content))  # as it will be read: keys as text, tuples as lists
    beside = {name: sha256_file(path.parent / name) for name in files}
    seal = {"of": of, "files": beside, "sha256": _sealed(body, of, beside)}
    write_json(path, body | {_SEAL: seal})


def read_sealed(path: Path, *, of: str | None, cure: str) -> dict[str, Any]:
    """What `write_sealed` wrote, without the seal. An object without one (of 0.1.0) is taken as is.

    Args:
        of: What it must belong to; None: anything.
        cure: What to do if it is damaged, as a sentence.

    Raises:
        FileNotFoundError: it is not there.
        DamagedError: it, or a file beside it that it guards, is not what was written, or
            belongs to something else.
        UnreadableError: it may not be read.
    """
    content = read_json(path, cure)
    if _SEAL not in content:
        return content
    seal = content.pop(_SEAL)
    try:
        owner, beside, checksum = seal["of"], dict(seal["files"]), seal["sha256"]
        if elsewhere := [name for name in beside if not _lies_below(name)]:
            raise ValueError(f"it guards {elsewhere[0]!r}, which lies elsewhere")
    except (TypeError, KeyError, ValueError) as error:
        raise DamagedError(f"{path} is damaged: its seal is none. {cure}") from error
    if checksum != _sealed(content, owner, beside):
        raise DamagedError(f"{path} is damaged: its checksum is not that of its content. {cure}")
    if of not in (None, owner):
        raise DamagedError(f"{path} belongs to {owner!r}, expected {of!r}. {cure}")
    for name, expected in beside.items():
        why = _unlike(path.parent / name, expected)
        if why:
            raise DamagedError(f"{path.parent / name} {why}. {cure}")
    return content


def _lies_below(name: str) -> bool:
    """Whether a name that a folder's file gives is of a file in that folder, or below it."""
    path = Path(name)
    return path.parts != () and not path.is_absolute() and ".." not in path.parts


def _sealed(content: Any, owner: Any, beside: Any) -> str:
    text = canonical_json([content, owner, beside])
    return sha256(text.encode(errors="surrogatepass"))  # a damaged one must not break the check


def _unlike(path: Path, expected: str) -> str:
    """What is wrong with a file that should have this checksum; empty if nothing is."""
    try:
        with reading(path):
            found = sha256_file(path)
    except FileNotFoundError:
        return "is missing"
    except IsADirectoryError:
        return "is a folder, expected a file"
    return "" if found == expected else "is damaged: its checksum is another"


def sha256(content: bytes | memoryview) -> str:
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
    """Locks between processes: byte i of one lock file stands for the i-th thing.

    POSIX record locks, because the kernel frees them when the process dies, forked worker
    processes do not inherit them, and NFS (version 4, or 3 with lockd) honours them. They do not
    exclude threads of one process, and a process that opens the file twice loses all its locks on
    it with the first close. Where a file system has no locks at all, work may be done twice, but
    never wrongly: files are written atomically.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")

    def acquire(self, index: int, *, wait: bool, shared: bool = False) -> bool:
        """Take lock `index`; without `wait`, False if another process holds it.

        Args:
            shared: With others that ask for it so; False: alone.

        Raises:
            StorageError: the file system fails.
        """
        flags = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            self._lock(flags, index)
        except BlockingIOError:
            return False
        return True

    def acquire_all(self) -> bool:
        """Take every lock, unless another process holds one."""
        try:
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 0)  # from 0, without end
        except BlockingIOError:
            return False
        return True

    def release(self, index: int) -> None:
        self._lock(fcntl.LOCK_UN, index)

    def close(self) -> None:
        self._file.close()  # frees every lock on it

    def __enter__(self) -> "ByteLocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self, flags: int, index: int, length: int = 1) -> None:
        try:
            fcntl.lockf(self._file, flags, length, index)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise BlockingIOError(errno.EAGAIN, "held by another process") from error
            if error.errno in _NO_LOCKS:
                return
            raise StorageError(
                f"cannot lock {self._path}: {error.strerror}. Look after its file system, or "
                "choose another place (PLATOREP_CACHE moves the cache, --output the results), and "
                "run the same command again."
            ) from error


_HELD: set[Path] = set()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; other processes wait. May be nested."""
    if path in _HELD:
        yield
        return
    with ByteLocks(path) as locks:
        locks.acquire(0, wait=True)
        _HELD.add(path)
        try:
            yield
        finally:
            _HELD.discard(path)
