"""What every kind of source gives: rows by number, and images as references to their bytes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from platorep.errors import ConfigError, DataError, listed, nearest, short, shown
from platorep.stamps import Stamp


@runtime_checkable
class ImageReference(Protocol):
    """Where an encoded image lies. Small and picklable, so that worker processes can read it."""

    def own_file(self) -> Path | None:
        """The file that holds this image and nothing else, if there is one."""
        ...

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            DataError: it is not there; says why.
        """
        ...


@dataclass(frozen=True)
class FileImage:
    """An image that is a file of its own."""

    path: Path

    def own_file(self) -> Path:
        return self.path

    def read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError as error:
            raise DataError(f"there is no file {short(str(self.path))}") from error
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            why = getattr(error, "strerror", None) or error
            raise DataError(f"cannot read {short(str(self.path))}: {why}") from error


@dataclass(frozen=True)
class Row:
    """One row of a source, unchecked."""

    id: str
    captions: tuple[str | None, ...]
    image: ImageReference | None
    location: str
    """For messages: which row of which file."""
    file: str
    problem: str | None = None
    """Why the row cannot be used, if reading it already showed that."""


@runtime_checkable
class RowSource(Protocol):
    """Rows in a fixed order. Reads no further than it must."""

    @property
    def stamps(self) -> Mapping[str, Stamp | None]:
        """The data files that were opened so far, as they were before; images of their own apart.

        Empty where a commit says what they hold.
        """
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


def require_columns(names: Iterable[str], known: Iterable[str], location: str, key: str) -> None:
    """Check the columns named under `dataset.<key>`.

    Raises:
        ConfigError: one is not there; lists those that are.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{location} has no column {name!r} (dataset.{key}).{nearest(name, known)} "
                f"Columns: {listed(known)}."
            )


def file_beside(folder: Path, name: str, *, anywhere: bool) -> Path:
    """The file that data call `name`, in the folder that the data lie in.

    A link in the folder may lead out of it: whoever owns the folder has put it there.

    Raises:
        DataError: the name leads out of the folder, and `anywhere` does not allow it.
    """
    if not anywhere and (Path(name).is_absolute() or ".." in Path(name).parts):
        raise DataError(
            f"{shown(name)} names a file outside the folder {folder}. If these data may do so, "
            "set dataset.files_anywhere: true"
        )
    return folder / name


def parse_json(text: str | bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is not JSON, or is nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


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
