"""What every kind of source gives: rows by number, and samples as references to their bytes."""

import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from platorep.errors import ConfigError, DataError, listed, nearest, short, shown
from platorep.kinds import KINDS, Reference, find_kind
from platorep.parameters.views import ObservedView
from platorep.stamps import Stamp


@dataclass(frozen=True)
class FileReference:
    """A sample that is a file of its own, or a folder of files (the frames of a film)."""

    path: Path

    def own_files(self) -> Sequence[Path]:
        """With the folder itself, whose times change when a file joins it."""
        return [self.path, *self._frames()] if self._is_folder else [self.path]

    @property
    def _is_folder(self) -> bool:
        try:
            return self.path.is_dir()
        except (OSError, ValueError):  # a name that no file can have
            return False

    def read(self) -> bytes:
        try:
            return _as_tar(self._frames()) if self._is_folder else self.path.read_bytes()
        except FileNotFoundError as error:
            raise DataError(f"there is no file {short(str(self.path))}") from error
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            why = getattr(error, "strerror", None) or error
            raise DataError(f"cannot read {short(str(self.path))}: {why}") from error

    def _frames(self) -> list[Path]:
        """The images of a folder by name; what else a system leaves there is no part of a film."""
        endings = KINDS["image"].endings
        return sorted(
            path
            for path in self.path.iterdir()
            if path.suffix.lower().removeprefix(".") in endings and not path.name.startswith(".")
        )


@dataclass(frozen=True)
class Encoded:
    """A sample that is here already, to be sent to where its source is not."""

    content: bytes

    def own_files(self) -> Sequence[Path]:
        return ()

    def read(self) -> bytes:
        return self.content


def _as_tar(files: Sequence[Path]) -> bytes:
    """The files by name, and nothing that differs from machine to machine."""
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in files:
            content = file.read_bytes()
            member = tarfile.TarInfo(file.name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return archive.getvalue()


@dataclass(frozen=True)
class Stretch:
    """A sample that is a part of a file, such as a member of an uncompressed tar."""

    path: Path
    offset: int
    size: int

    def own_files(self) -> Sequence[Path]:
        return ()

    def read(self) -> bytes:
        if self.path.stat().st_size < self.offset + self.size:
            raise DataError(f"{self.path} ends before the member does")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


PLACE = pa.struct(
    {"path": pa.binary(), "offset": pa.int64(), "size": pa.int64(), "encoded": pa.binary()}
)
"""Where an encoded sample lies: a file, a stretch of one, or (numbers in a cell) right here."""


def place_of(cell: Any, encoded: bytes) -> dict[str, Any]:
    """What a table keeps of a sample's place, as `PLACE`."""
    if isinstance(cell, FileReference):
        return {"path": os.fsencode(cell.path)}
    if isinstance(cell, Stretch):
        return {"path": os.fsencode(cell.path), "offset": cell.offset, "size": cell.size}
    return {"encoded": encoded}


def reference_at(place: Mapping[str, Any]) -> Reference:
    """The sample at a place."""
    if place["path"] is None:
        return Encoded(place["encoded"])
    path = Path(os.fsdecode(place["path"]))
    if place["offset"] is None:
        return FileReference(path)
    return Stretch(path, place["offset"], place["size"])


@dataclass(frozen=True)
class Row:
    """One row of a source, unchecked."""

    id: str
    cells: Mapping[str, tuple[Any, ...]]
    """Of each view: its captions, the numbers of an array, or a reference to its file."""
    location: str
    """For messages: which row of which file."""
    file: str
    problem: str | None = None
    """Why the row cannot be used, if reading it already showed that."""


@runtime_checkable
class RowSource(Protocol):
    """Rows in a fixed order. Reads no further than it must."""

    numbered: bool
    """Whether what a row holds is found by its number at once, however often it is opened. Else the
    place of each sample is noted."""

    @property
    def stamps(self) -> Mapping[str, Stamp | None]:
        """The data files that were opened so far, as they were before; samples' own files apart.

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

    def strings(self, numbers: Sequence[int]) -> tuple[list[str], dict[str, list[Any]]] | None:
        """Ids, and by view what the columns of each row hold, all rows at once.

        Fewer rows than asked for where the source ends; None where it cannot do so, or a column
        holds anything but strings, lists of strings, and nothing.
        """
        ...


@runtime_checkable
class NumberedSource(RowSource, Protocol):
    """One whose cells are found by number; picklable."""

    def cells(self, number: int, view: str) -> tuple[Any, ...]:
        """What a row holds of a view.

        Raises:
            IndexError: the source has no such row.
        """
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


def as_cells(
    view: ObservedView,
    values: Sequence[Any],
    refer: Callable[[str], Reference],
    *,
    labels: bool = False,
) -> tuple[Any, ...]:
    """What the columns of a view hold in one row, as its kind's `encode` takes it.

    Args:
        refer: The file that a cell names.
        labels: The texts are names of classes, and may be numbers.

    Raises:
        DataError: a value is none of this kind.
    """
    if view.kind == "text":
        captions: tuple[str | None, ...] = ()
        for column, value in zip(view.columns, values, strict=True):
            of_column = (as_labels if labels else as_captions)(value)
            if of_column is None:
                raise DataError(
                    f"the column {column!r} holds {type(value).__name__}, expected a string or a "
                    "list of strings"
                )
            captions += of_column
        return captions
    (value,) = values
    assert view.kind is not None
    if value is None or value == "":
        raise DataError(f"the {view.kind} is missing")
    if not isinstance(value, str):
        return (value,)
    if find_kind(view.kind).in_files:
        return (refer(value),)
    try:
        numbers = parse_json(value)  # a cell of a CSV spells them
    except ValueError as error:
        if not value.lstrip().startswith("["):
            return (refer(value),)
        raise DataError(f"{shown(value)} is no list of numbers: {error}") from error
    return (numbers,)


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
