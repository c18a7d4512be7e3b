"""Every error platorep raises on purpose; anything else is a bug.

PlatorepError
|- ConfigError        exit code 2  a YAML or command-line value is wrong
|- UnknownNameError             2  no metric, model or dataset has that name
|- FailedCellsError             3  the rest is done, but some cells failed
|- AbsentError                  4  something needed is not there and may not be fetched
|- DataError                    5  a row of the dataset or an array cannot be used
|- IntegrityError               5  what is there is not what was asked for (rows, checksum, format)
|  `- DamagedError              5  a file of platorep's own is not what was written
|- UnreadableError              6  the operating system refuses to read something
|- WorkerDiedError              6  a worker of an engine died, again and again
`- StorageError                 6  the disk is full or the cache cannot be written
"""

import difflib
from collections.abc import Iterable
from typing import Any

MOST_NAMES, MOST_COMPARED, MOST_CHARACTERS = 100, 5000, 200
"""Of names in a message, of names looked through for a similar one, of one value in a message."""


class PlatorepError(Exception):
    """Base class, never raised itself. `str(error)` is the whole message a user needs."""

    exit_code: int  # 1 is left to bugs


class ConfigError(PlatorepError):
    exit_code = 2


class FailedCellsError(PlatorepError):
    exit_code = 3


class AbsentError(PlatorepError):
    exit_code = 4


class NotComputedError(AbsentError):
    """`--overwrite never` forbids to compute what is not there."""


class DataError(PlatorepError):
    exit_code = 5


class IntegrityError(PlatorepError):
    exit_code = 5


class DamagedError(IntegrityError):
    """A file is cut, changed, or belongs to something else: made again, it would be right."""


class UnreadableError(PlatorepError):
    exit_code = 6


class WorkerDiedError(PlatorepError):
    exit_code = 6


class StorageError(PlatorepError):
    exit_code = 6


class UnknownNameError(PlatorepError):
    """A lookup by name failed. Keeps its parts, so that tests need not parse the message."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(
            f"unknown {kind} {shown(name)}.{nearest(name, self.known)} Known: {listed(self.known)}."
        )

    def __reduce__(self) -> tuple[Any, ...]:  # pickled by its parts, not by its message
        return type(self), (self.kind, self.name, self.known), self.__dict__


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the known name most like `name`, or nothing.

    Nothing either where there are so many names, or so long ones, that looking would take minutes.
    """
    names = [other for other in known if len(other) <= MOST_CHARACTERS]
    if len(names) > MOST_COMPARED or len(name) > MOST_CHARACTERS:
        return ""
    close = [other for other in names if other.lower() == name.lower()]
    close = close or difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def listed(names: Iterable[str]) -> str:
    """Names for a message, separated by commas: not more of them, nor longer ones, than one reads.

    What stands in a message may be anything that a file holds: a million columns, an image.
    """
    every = list(names)
    more = len(every) - MOST_NAMES
    return ", ".join(map(short, every[:MOST_NAMES])) + (f" and {more} more" if more > 0 else "")


def short(text: str) -> str:
    """A text for a message, cut where it is long."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}... ({len(text)} characters)"


def shown(value: object) -> str:
    """A value for a message: its `repr`, cut where it is long."""
    try:
        return short(repr(value))
    except (RecursionError, ValueError):  # nested too deep; an integer of thousands of digits
        return f"a value of type {type(value).__name__} that is too large to be shown"
