"""Every error platorep raises on purpose; anything else is a bug.

PlatorepError
|- ConfigError        exit code 2  a YAML or command-line value is wrong
|- UnknownNameError             2  no metric, model or dataset has that name
|- FailedCellsError             3  the rest is done, but some cells failed
|- AbsentError                  4  something needed is not there and may not be fetched
|- DataError                    5  a row of the dataset or an array cannot be used
|- IntegrityError               5  what is there is not what was asked for (rows, checksum, format)
`- StorageError                 6  the disk is full or the cache cannot be written
"""

import difflib
from collections.abc import Iterable


class PlatorepError(Exception):
    """Base class, never raised itself. `str(error)` is the whole message a user needs."""

    exit_code: int  # 1 is left to bugs


class ConfigError(PlatorepError):
    exit_code = 2


class FailedCellsError(PlatorepError):
    exit_code = 3


class AbsentError(PlatorepError):
    exit_code = 4


class DataError(PlatorepError):
    exit_code = 5


class IntegrityError(PlatorepError):
    exit_code = 5


class StorageError(PlatorepError):
    exit_code = 6


class UnknownNameError(PlatorepError):
    """A lookup by name failed. Keeps its parts, so that tests need not parse the message."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(
            f"unknown {kind} {name!r}.{nearest(name, self.known)} Known: {', '.join(self.known)}."
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the known name most like `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
