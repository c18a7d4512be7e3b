"""Patterns of local files: `shard-{000..012}.tar`, `{train,extra}/*.parquet`."""

import re
from glob import glob
from pathlib import Path

from platorep.errors import AbsentError

_BRACES = re.compile(r"\{([^{}]*)\}")


def expand_pattern(pattern: str) -> list[Path]:
    """The files, in the order of the braces, then sorted by name.

    Raises:
        AbsentError: a name or pattern between the braces has no file.
    """
    files: list[Path] = []
    for name in [pattern] if Path(pattern).is_file() else expand_braces(pattern):
        found = [Path(name)] if Path(name).is_file() else [Path(p) for p in sorted(glob(name))]  # noqa: PTH207  absolute patterns
        if not found:
            raise AbsentError(f"dataset.source: no file matches {name}.")
        files += found
    return files


def expand_braces(pattern: str) -> list[str]:
    """`{a,b}` and `{008..012}` spelled out, as a shell does."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if ends:
        first, last = int(ends[1]), int(ends[2])
        width = len(ends[1]) if ends[1].startswith("0") or len(ends[1]) == len(ends[2]) else 0
        choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
    else:
        choices = match[1].split(",")
    return [name for choice in choices for name in expand_braces(head + choice + tail)]
