"""Patterns of local files: `shard-{000..012}.tar`, `{train,extra}/*.parquet`.

What exists is itself: `x[12].parquet` is a pattern only where no file is called so, and the folder
`run[1]` of `run[1]/*.parquet` is that folder, if it is there, and not `run1`.
"""

import glob
import os
import re
from pathlib import Path

from platorep.errors import AbsentError, ConfigError

MAX_NAMES = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")


def expand_pattern(pattern: str) -> list[Path]:
    """The files, in the order of the braces, then sorted by name.

    Raises:
        AbsentError: a name or pattern between the braces has no file.
    """
    folder, rest = _existing_folder(pattern)
    if Path(pattern).is_file():
        return [Path(pattern)]
    files: list[Path] = []
    for name in expand_braces(rest):
        matching = matching_files(os.path.join(folder, name))  # noqa: PTH118  may be ""
        if not matching:
            raise AbsentError(f"dataset.source: no file matches {os.path.join(folder, name)}.")  # noqa: PTH118
        files += matching
    return files


def matching_files(pattern: str) -> list[Path]:
    """The file of this name; if there is none, those that match it, sorted by name."""
    if Path(pattern).is_file():
        return [Path(pattern)]
    folder, rest = _existing_folder(pattern)
    escaped = os.path.join(glob.escape(folder), rest)  # noqa: PTH118
    found = glob.glob(escaped, recursive=True)  # noqa: PTH207  absolute patterns
    return [Path(path) for path in sorted(found)]


def expand_braces(pattern: str) -> list[str]:
    """`{a,b}` and `{008..012}` spelled out, as a shell does.

    Raises:
        ConfigError: a range has a million numbers or more.
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if ends:
        first, last = int(ends[1]), int(ends[2])
        if last - first >= MAX_NAMES:
            raise ConfigError(f"dataset.source: {match[0]} names more than {MAX_NAMES} files.")
        width = len(ends[1]) if ends[1].startswith("0") or len(ends[1]) == len(ends[2]) else 0
        choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
    else:
        choices = match[1].split(",")
    return [name for choice in choices for name in expand_braces(head + choice + tail)]


def _existing_folder(pattern: str) -> tuple[str, str]:
    """The longest beginning of a pattern that is a folder ("" if none), and the rest."""
    for folder in Path(pattern).parents:
        if folder != Path() and folder.is_dir():
            return str(folder), str(Path(pattern).relative_to(folder))
    return "", pattern
