"""What tells, without reading a file again, that it is still the one that was read.

A stamp is the size of a file, its times (of its content, and of the last change of anything about
it, which no program can set back) and its inode. Another file in its place has another inode, and
whoever writes into it moves its times: `cp -p`, `rsync` and `touch -d` can make the time of the
content what it was, and not the other. What goes unnoticed is what changes nothing of these, such
as a bit that the disk itself turns.
"""

import os
import time
from functools import cache
from pathlib import Path

Stamp = tuple[int, int, int, int]
"""Bytes, nanoseconds of the two times, inode."""
CLOCK_S = 0.02
"""The clock of file times moves in steps that are shorter."""


def stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """The stamp of a file, links followed; None if there is none that may be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116  names that are no path at all may be asked for
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def settled_stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """The stamp of a file that is about to be read: a later change of the file will change it.

    A file that was written a moment ago could be written once more in the same step of the clock,
    so that the step is waited for.
    """
    found = stamp(path)
    if found is not None and 0 <= time.time() - max(found[1:3]) / 1e9 < CLOCK_S:
        time.sleep(CLOCK_S)
        return stamp(path)
    return found


@cache
def code_stamps() -> tuple[Stamp | None, ...]:
    """The stamps of the code of this package, for what must be made anew when it changes."""
    return tuple(stamp(file) for file in sorted(Path(__file__).parent.rglob("*.py")))
