"""A bundle as one zip archive: written byte for byte the same from the same content, and unpacked
without trust in anything that it says."""

import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from platorep.bundles.about import CARD, CURE, MAX_JSON, About, is_allowed, read_about
from platorep.bundles.checking import (
    Limits,
    checked_folder,
    limits,
    refuse_bad_content,
    refuse_too_large,
)
from platorep.config.paths import ABOUT
from platorep.errors import DamagedError, IntegrityError, StorageError, shown
from platorep.files import (
    alone,
    atomic_path,
    cache_root,
    reading,
    remove,
    sha256,
    storage_errors,
)

CHUNK = 1 << 20
BEGINNING = (1980, 1, 1, 0, 0, 0)
"""What every file in an archive is dated: the first time that the format knows."""
MAX_CARD = 1 << 20
"""Bytes of the card."""


def write_archive(folder: Path, target: Path) -> None:
    """Put all files of a folder into an archive, stored as they are."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    with atomic_path(target) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name in sorted(names, key=lambda name: (name != ABOUT, name)):
            entry = zipfile.ZipInfo(name, BEGINNING)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            entry.file_size = names[name].stat().st_size
            with names[name].open("rb") as source, archive.open(entry, "w") as into:
                shutil.copyfileobj(source, into, CHUNK)


def unpacked(archive: Path) -> tuple[Path, About]:
    """The folder of the cache in which an archive lies unpacked, and what it says of itself, both
    checked. Made once, and anew when somebody has changed what lies there.

    Raises:
        DamagedError: it is no whole archive, or a file of it is not what is listed.
        IntegrityError: it is no bundle, or holds what none has.
        StorageError: the disk has too little room.
    """
    with _opened(archive) as zipped:
        entries = _entries(zipped, archive, limits())
        about_json = _content(zipped, entries[ABOUT], MAX_JSON, archive)
        target = cache_root() / "bundles" / sha256(about_json)[:32]
        about = _whole(target, archive)  # without the lock, which a cache to read only has not
        if about is None:
            with storage_errors(target), alone(target.with_name(f"{target.name}.lock")):
                about = _whole(target, archive)
                if about is None:
                    remove(target)
                    about = _unpack(zipped, entries, about_json, target, archive)
    return target, about


def _whole(folder: Path, archive: Path) -> About | None:
    """What an archive says that is unpacked here, if all of it is."""
    try:
        return checked_folder(folder, str(archive)) if folder.exists() else None
    except IntegrityError:
        return None


def _unpack(
    zipped: zipfile.ZipFile,
    entries: dict[str, zipfile.ZipInfo],
    about_json: bytes,
    target: Path,
    archive: Path,
) -> About:
    where = str(archive)
    partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        (partial / ABOUT).write_bytes(about_json)
        about = read_about(partial / ABOUT, where)
        _refuse_other_entries(about, entries, where)
        if CARD in entries:
            card = _content(zipped, entries[CARD], MAX_CARD, archive)
            (partial / CARD).write_bytes(card)
        for file in about.files:
            path = partial / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if _extract(zipped, entries[file.path], path) != (file.size, file.sha256):
                raise DamagedError(f"{where}: {file.path} is not the file that is listed. {CURE}")
            refuse_bad_content(path, where)
        partial.rename(target)
    finally:
        remove(partial)
    return about


def _refuse_other_entries(about: About, entries: dict[str, zipfile.ZipInfo], where: str) -> None:
    refuse_too_large(about, where, limits())
    listed = {file.path: file.size for file in about.files}
    for name in sorted(listed.keys() - entries.keys()):
        raise DamagedError(f"{where}: {name} is missing. {CURE}")
    for name in sorted(entries.keys() - listed.keys() - {ABOUT, CARD}):
        raise IntegrityError(f"{where} holds {shown(name)}, which {ABOUT} does not list. {CURE}")
    for name, size in listed.items():
        if entries[name].file_size != size:
            raise DamagedError(
                f"{where}: {name} has {entries[name].file_size} bytes, expected {size}. {CURE}"
            )
    free = shutil.disk_usage(cache_root()).free
    if about.num_bytes > free:
        raise StorageError(
            f"{where} takes {about.num_bytes / 2**30:.1f} GiB unpacked, {free / 2**30:.1f} GiB are "
            f"free in {cache_root()}. Free some, or move the cache (PLATOREP_CACHE)."
        )


def _entries(zipped: zipfile.ZipFile, archive: Path, allowed: Limits) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name, as far as its table of contents can be trusted.

    Raises:
        IntegrityError: a name that no bundle has, a link, one name twice, or more bytes than the
            archive could honestly become.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in zipped.infolist():
        if entry.is_dir():
            continue
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        why = ""
        if name in found:
            why = "is there twice"
        elif kind not in (0, stat.S_IFREG):
            why = "is a link, or no file"
        elif name not in (ABOUT, CARD) and not is_allowed(name):
            why = "is no name of a bundle's file (docs/format.md)"
        elif entry.flag_bits & 1:
            why = "is encrypted"
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            why = "is compressed in a way that is not read"
        if why:
            raise IntegrityError(f"{archive}: {shown(name)} {why}. Nothing was unpacked.")
        found[name] = entry
    if ABOUT not in found:
        raise IntegrityError(f"{archive} is no bundle: there is no {ABOUT} at its top.")
    total, size = sum(entry.file_size for entry in found.values()), archive.stat().st_size
    if total > allowed.ratio * size or total > allowed.num_bytes + MAX_JSON:
        raise IntegrityError(
            f"{archive} has {size} bytes and would become {total}, more than {allowed.ratio} times "
            "as much, or than is taken (PLATOREP_BUNDLE_LIMIT=<GiB>). Nothing was unpacked."
        )
    return found


def _content(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int, archive: Path) -> bytes:
    with zipped.open(entry) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise IntegrityError(f"{archive}: {entry.filename} has more than {most} bytes.")
    return content


def _extract(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> tuple[int, str]:
    """Write one file, no byte more than it claims to have; returns what was written."""
    checksum, left = hashlib.sha256(), entry.file_size
    with zipped.open(entry) as file, path.open("xb") as into:
        while left > 0 and (part := file.read(min(CHUNK, left))):
            into.write(part)
            checksum.update(part)
            left -= len(part)
    return entry.file_size - left, checksum.hexdigest()


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with reading(archive), zipfile.ZipFile(archive) as zipped:
            yield zipped
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise DamagedError(f"{archive} is no whole zip archive: {error}. {CURE}") from error
