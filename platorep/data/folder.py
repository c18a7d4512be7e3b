"""A folder of images with a captions file: `captions` or `metadata`, `.csv` or `.jsonl`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.csv_rows import csv_rows
from platorep.data.source import (
    FileImage,
    Row,
    as_captions,
    as_labels,
    file_beside,
    parse_json,
    require_columns,
)
from platorep.errors import AbsentError, ConfigError, DataError, shown
from platorep.files import reading
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


def require_captions_file(config: DatasetConfig) -> Path:
    """The captions file of `config.source`.

    Raises:
        AbsentError: there is none.
        ConfigError: there are two.
    """
    folder = Path(config.source)
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
    """Rows in the order in which the captions file first names each image.

    Several lines that name the same image are several captions of it. A CSV cell that is a JSON
    list of strings is a list of captions. Paths are relative to the captions file.
    """

    def __init__(self, config: DatasetConfig, file: Path, *, labels: bool = False) -> None:
        self.stamps = {str(file): settled_stamp(file)}
        self._file, self._anywhere = file, config.files_anywhere
        self._entries = _grouped(file, config, labels)

    def row(self, index: int) -> Row:
        entry = self._entries[index]
        problem, image = None, None
        try:
            image = FileImage(file_beside(self._file.parent, entry.name, anywhere=self._anywhere))
        except DataError as error:
            problem = str(error)
        return Row(
            id=entry.id,
            captions=tuple(entry.captions),
            image=image,
            location=f"line {entry.line} of {self._file} (image {shown(entry.name)})",
            file=entry.name,
            problem=problem if entry.name else "no image is named",
        )

    def count(self) -> int:
        return len(self._entries)


@dataclass
class _Entry:
    """What the lines that name one image say of it."""

    name: str
    id: str
    line: int
    """The first such line."""
    captions: list[str | None] = field(default_factory=list)


def _grouped(file: Path, config: DatasetConfig, labels: bool) -> list[_Entry]:
    as_texts = as_labels if labels else as_captions
    text = (config.text,) if isinstance(config.text, str) else config.text
    entries: dict[str, _Entry] = {}
    for line, cells in _lines(file):
        image = config.image if config.image in cells else "file_name"
        if not entries:
            require_columns([image], cells, str(file), "image")
            require_columns(text, cells, str(file), "text")
            if config.id is not None:
                require_columns([config.id], cells, str(file), "id")
        name = str(cells[image] or "")
        identity = name if config.id is None else str(cells.get(config.id) or "")
        entry = entries.setdefault(name, _Entry(name, identity, line))
        for key in text:
            captions = as_texts(_listed(cells.get(key)))
            if captions is None:
                raise DataError(
                    f"{file}, line {line}: {key} must be a string or a list of strings, "
                    f"found {shown(cells[key])}."
                )
            entry.captions += captions
    return list(entries.values())


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and cells of each entry."""
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


def _listed(cell: Any) -> Any:
    """A CSV cell that spells a JSON list of strings, as that list; everything else as it is."""
    if isinstance(cell, str) and cell.startswith("["):
        try:
            value = parse_json(cell)
        except ValueError:
            return cell
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return cell
