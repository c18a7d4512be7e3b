"""A folder of files with a captions file: `captions` or `metadata`, `.csv` or `.jsonl`, or any
name that is given in full."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.csv_rows import csv_rows
from platorep.data.source import (
    FileReference,
    Row,
    as_cells,
    file_beside,
    parse_json,
    require_columns,
)
from platorep.errors import AbsentError, ConfigError, DataError, shown
from platorep.files import reading
from platorep.kinds import find_kind
from platorep.parameters.views import ObservedView
from platorep.stamps import settled_stamp

CAPTION_FILES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")


def find_captions_file(folder: Path, split: str) -> Path | None:
    """The captions file in `folder`, or in its subfolder named like the split.

    One in `folder` itself is of no split: it does not count where another than `train` is named.

    Raises:
        ConfigError: there is more than one.
    """
    for parent in (folder, folder / split) if split == "train" else (folder / split,):
        files = [parent / name for name in CAPTION_FILES if (parent / name).is_file()]
        if len(files) > 1:
            raise ConfigError(
                f"{parent} has more than one captions file: {', '.join(f.name for f in files)}. "
                "Keep one of them."
            )
        if files:
            return files[0]
    return None


def is_captions_file(source: str) -> bool:
    """Whether the source is such a file itself, which may have any name then."""
    return source.endswith((".csv", ".jsonl")) and Path(source).is_file()


def require_captions_file(config: DatasetConfig) -> Path:
    """The captions file of `config.source`, or that file itself.

    Raises:
        AbsentError: there is none.
        ConfigError: there are two.
    """
    folder = Path(config.source)
    if is_captions_file(config.source):
        return folder
    if not folder.is_dir():
        raise AbsentError(f"dataset.source: there is no folder {folder}.")
    file = find_captions_file(folder, config.split)
    if file is None:
        raise AbsentError(
            f"{folder} has no captions file of the split {config.split!r}. Expected one of "
            f"{', '.join(CAPTION_FILES)} with the columns file_name and text, in a subfolder "
            f"{config.split} or, where there are no splits, in the folder itself."
        )
    return file


class FolderSource:
    """Rows in the order in which the captions file first names each file.

    The file is that of the first view that lies in files: an image, say. Several lines that name
    the same one are one row, with the captions of all of them. Without such a view every line is a
    row, called by its number unless `id` names a column. A CSV cell that is a JSON list of strings
    is a list of captions. Paths are relative to the captions file.
    """

    numbered = False

    def __init__(self, config: DatasetConfig, file: Path, *, labels: bool = False) -> None:
        self.stamps = {str(file): settled_stamp(file)}
        self._file, self._labels, self._anywhere = file, labels, config.files_anywhere
        self._views = config.observed
        self._entries = _grouped(file, config)

    def row(self, index: int) -> Row:
        entry = self._entries[index]
        location = f"line {entry.line} of {self._file}"
        if entry.name is not None:
            location += f" ({entry.named_by} {shown(entry.name)})"
        cells: dict[str, tuple[Any, ...]] = {}
        problem = None
        for name, view in self._views.items():
            try:
                cells[name] = self._cells(view, entry.values[name])
            except DataError as error:
                problem = problem or str(error)
        return Row(entry.id, cells, location, entry.name or str(self._file), problem)

    def _cells(self, view: ObservedView, lines: list[list[Any]]) -> tuple[Any, ...]:
        """Of a text the captions of all lines, of anything else what the first one says."""

        def refer(name: str) -> FileReference:
            return FileReference(file_beside(self._file.parent, name, anywhere=self._anywhere))

        lines = lines if view.kind == "text" else lines[:1]
        of_lines = [as_cells(view, values, refer, labels=self._labels) for values in lines]
        return tuple(cell for cells in of_lines for cell in cells)

    def count(self) -> int:
        return len(self._entries)

    def strings(self, numbers: Sequence[int]) -> None:
        return None


@dataclass
class _Entry:
    """What the lines that name one file say of it."""

    name: str | None
    """Of the file; None where no view lies in files."""
    named_by: str
    """The view whose file it is."""
    id: str
    line: int
    """The first such line."""
    values: dict[str, list[list[Any]]]
    """Of each view, line by line, what its columns hold."""


def _grouped(file: Path, config: DatasetConfig) -> list[_Entry]:
    views = config.observed
    in_files = [n for n, v in views.items() if v.kind is not None and find_kind(v.kind).in_files]
    key = in_files[0] if in_files else None
    entries: dict[str | int, _Entry] = {}
    columns: dict[str, tuple[str, ...]] = {}
    for number, (line, cells) in enumerate(lines_of(file)):
        if not entries:
            for name, view in views.items():
                columns[name] = _columns(view, cells, only_file=in_files == [name])
                require_columns(columns[name], cells, str(file), name)
            require_columns([config.id] if config.id else [], cells, str(file), "id")
        values = {n: [listed_cell(cells.get(column)) for column in columns[n]] for n in views}
        named = None if key is None else str(values[key][0] or "")
        identity = named or str(number)
        if config.id is not None:
            identity = str(cells.get(config.id) or "")
        entry = entries.setdefault(
            number if named is None else named,
            _Entry(named, key or "", identity, line, {name: [] for name in views}),
        )
        for name in views:
            entry.values[name].append(values[name])
    return list(entries.values())


def _columns(view: ObservedView, there: Mapping[str, Any], *, only_file: bool) -> tuple[str, ...]:
    """The view's columns; of the only one that lies in files, `file_name` too is a usual name."""
    other = ("file_name",)
    return other if only_file and view.columns[0] not in there else view.columns


def lines_of(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and cells of each entry of a captions file.

    Raises:
        DataError: it is not UTF-8, or a line is no entry.
    """
    if file.suffix == ".csv":
        yield from csv_rows(file)
        return
    try:
        with reading(file), file.open(encoding="utf-8-sig") as stream:
            for line, content in enumerate(stream, start=1):
                if content.strip():
                    yield line, _json_object(content, f"{file}, line {line}")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: {error}.") from error


def _json_object(content: str, location: str) -> dict[str, Any]:
    try:
        value = parse_json(content)
    except ValueError as error:
        raise DataError(f"{location}: not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DataError(f"{location}: expected a JSON object, found {type(value).__name__}.")
    return value


def listed_cell(cell: Any) -> Any:
    """A CSV cell that spells a JSON list of strings, as that list; everything else as it is."""
    if isinstance(cell, str) and cell.startswith("["):
        try:
            value = parse_json(cell)
        except ValueError:
            return cell
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return cell
