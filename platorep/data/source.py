"""What every kind of source gives: rows by number, and images as references to their bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from platorep.errors import ConfigError, nearest


@runtime_checkable
class ImageReference(Protocol):
    """Where an encoded image lies. Small and picklable, so that worker processes can read it."""

    def read(self) -> bytes: ...


@dataclass(frozen=True)
class FileImage:
    """An image that is a file of its own."""

    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True)
class Row:
    """One row of a source, unchecked."""

    id: str
    captions: tuple[str | None, ...]
    image: ImageReference | None
    place: str
    """For messages: which row of which file."""
    file: str
    problem: str | None = None
    """Why the row cannot be used, if reading it already showed that."""


@runtime_checkable
class Source(Protocol):
    """Rows in a fixed order. Reads no further than it must."""

    @property
    def commit(self) -> str | None:
        """The resolved revision, where the source has revisions."""
        ...

    def row(self, index: int) -> Row:
        """Row `index`, counted from 0.

        Raises:
            IndexError: the source has no such row.
        """
        ...

    def count(self) -> int:
        """The number of rows; may have to read the whole source."""
        ...


def require_columns(asked: Iterable[str], known: Iterable[str], place: str, key: str) -> None:
    """Check the columns named under `dataset.<key>`.

    Raises:
        ConfigError: one is not there; lists those that are.
    """
    known = list(known)
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"{place} has no column {name!r} (dataset.{key}).{nearest(name, known)} "
                f"Columns: {', '.join(known)}."
            )


def as_captions(value: Any) -> tuple[str | None, ...] | None:
    """The captions in one cell: a string, a list of strings, or nothing; None for other types."""
    if value is None or isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple) and all(v is None or isinstance(v, str) for v in value):
        return tuple(value)
    return None


def as_labels(value: Any) -> tuple[str | None, ...] | None:
    """The class in one cell, a name or a whole number, as text; None for other types."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)
    return as_captions(value)
