"""Whether what lies in a bundle is what it lists, and no more than that: nothing is believed."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from platorep.bundles.about import CARD, CURE, MAX_JSON, About, Listed, read_about
from platorep.config.paths import ABOUT
from platorep.errors import ConfigError, DamagedError, IntegrityError, shown
from platorep.files import reading, sha256_file

LIMIT = "PLATOREP_BUNDLE_LIMIT"
VALUES_PER_BYTE, FEW_VALUES = 100, 1_000_000
"""A table holds no more values than so many for each of its bytes, or than so many at all."""
BESIDE = (CARD, ABOUT)
IGNORED = (".gitattributes", ".cache", ".git")
"""What the hub, or its tool, puts beside the files of a repository."""
DEEPEST = 4
"""Folders in folders."""


@dataclass(frozen=True)
class Limits:
    """How large a bundle may be."""

    num_bytes: int = 64 * 2**30
    num_files: int = 200_000
    ratio: int = 100
    """Bytes that a byte of an archive may become."""


def limits() -> Limits:
    """The usual ones, or as many GiB as PLATOREP_BUNDLE_LIMIT says.

    Raises:
        ConfigError: that is no number of GiB.
    """
    said = os.environ.get(LIMIT)
    if not said:
        return Limits()
    try:
        gib = float(said)
        if not 0 < gib < 1e9:
            raise ValueError
    except ValueError as error:
        raise ConfigError(f"{LIMIT}={said}: expected a number of GiB, such as 200.") from error
    return Limits(num_bytes=int(gib * 2**30))


def refuse_too_large(about: About, where: str, allowed: Limits) -> None:
    """Raises IntegrityError: what is listed is more than one may want to have."""
    if about.num_bytes > allowed.num_bytes or len(about.files) > allowed.num_files:
        raise IntegrityError(
            f"{where} lists {len(about.files)} files of {about.num_bytes / 2**30:.1f} GiB, at most "
            f"{allowed.num_files} of {allowed.num_bytes / 2**30:.1f} GiB are taken. If that is "
            f"what you want, allow it: {LIMIT}=<GiB>."
        )


def checked_folder(folder: Path, where: str) -> About:
    """What a bundle says of itself, after every file of it was read and found to be as listed.

    Raises:
        DamagedError: a file is missing, or is another.
        IntegrityError: as `read_about`; or there is a link, or a file that is not listed.
    """
    there = _files(folder, where)
    try:
        about = read_about(folder / ABOUT, where)
    except FileNotFoundError as error:
        raise IntegrityError(f"{where} is no bundle: there is no {ABOUT} in it.") from error
    refuse_too_large(about, where, limits())
    listed = {file.path for file in about.files}
    if more := sorted(there - listed - {*BESIDE}):
        raise IntegrityError(
            f"{where} holds {shown(more[0])}, which {ABOUT} does not list ({len(more)} such). "
            "Remove it, or get the bundle anew."
        )
    for file in about.files:
        refuse_other_file(folder / file.path, file, where)
    for file in about.files:
        refuse_bad_content(folder / file.path, where)
    return about


def refuse_other_file(path: Path, listed: Listed, where: str) -> None:
    """Raises DamagedError: the file is missing, or not the one that is listed."""
    why = ""
    try:
        with reading(path):
            size = path.stat().st_size
            if size != listed.size:
                why = f"has {size} bytes, expected {listed.size}"
            elif sha256_file(path) != listed.sha256:
                why = "is damaged: its checksum is another"
    except FileNotFoundError:
        why = "is missing"
    except IsADirectoryError:
        why = "is a folder, expected a file"
    if why:
        raise DamagedError(f"{where}: {listed.path} {why}. {CURE}")


def refuse_bad_content(path: Path, where: str) -> None:
    """Refuse what would take far more memory than disk, or names code.

    Raises:
        IntegrityError: says what.
    """
    if path.suffix == ".json" and path.stat().st_size > MAX_JSON:
        raise IntegrityError(
            f"{where}: {path.name} has {path.stat().st_size} bytes, at most {MAX_JSON} are read."
        )
    if path.suffix != ".parquet":
        return
    try:
        with pq.ParquetFile(path) as file:
            num_values = file.metadata.num_rows * file.metadata.num_columns
            extensions = [name for field in file.schema_arrow for name in (field.metadata or {})]
    except (OSError, ValueError) as error:
        raise DamagedError(f"{where}: {path.name} is no table: {error}. {CURE}") from error
    most = max(FEW_VALUES, VALUES_PER_BYTE * path.stat().st_size)
    if num_values > most or any(b"extension" in name for name in extensions):
        raise IntegrityError(
            f"{where}: {path.name} holds {num_values} values in {path.stat().st_size} bytes, or "
            "types that are no plain ones: no table of platorep does. Do not trust whoever made it."
        )


def _files(folder: Path, where: str) -> set[str]:
    """Paths of all files below, from the folder on; but what the hub puts beside them.

    Raises:
        IntegrityError: there is a link, what is neither file nor folder, or folders in folders that
            no bundle has.
    """
    found: set[str] = set()
    waiting = [(folder, "")]
    while waiting:
        inside, name = waiting.pop()
        for path in sorted(inside.iterdir()):
            if not name and path.name in IGNORED:
                continue
            whole = f"{name}{path.name}"
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.add(whole)
            elif stat.S_ISDIR(mode) and whole.count("/") < DEEPEST:
                waiting.append((path, f"{whole}/"))
            else:
                raise IntegrityError(
                    f"{where}: {shown(whole)} is a link, or no file, or folders too deep, none of "
                    "which a bundle holds. Nothing of it was used; do not trust whoever made it."
                )
    return found
