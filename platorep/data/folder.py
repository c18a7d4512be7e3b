"""A folder of images with a captions file: `captions` or `metadata`, `.csv` or `.jsonl`."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.source import FileImage, Row, as_captions, as_labels, require_columns
from platorep.errors import AbsentError, ConfigError, DataError

CAPTION_FILES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")


def find_captions_file(folder: Path, split: str) -> Path | None:
    """The captions file in `folder`, or in its subfolder named like the split.

    Raises:
        ConfigError: there is more than one.
    """
    for place in (folder, folder / split):
        found = [place / name for name in CAPTION_FILES if (place / name).is_file()]
        if len(found) > 1:
            raise ConfigError(
                f"{place} has more than one captions file: {', '.join(p.name for p in found)}. "
                "Keep one of them."
            )
        if found:
            return found[0]
    return None


class FolderSource:
    """Rows in the order in which the captions file first names each image.

    Several lines that name the same image are several captions of it. A CSV cell that is a JSON
    list of strings is a list of captions. Paths are relative to the captions file.
    """

    commit = None

    def __init__(self, config: DatasetConfig, *, labels: bool = False) -> None:
        folder = Path(config.source)
        if not folder.is_dir():
            raise AbsentError(f"dataset.source: there is no folder {folder}.")
        file = find_captions_file(folder, config.split)
        if file is None:
            raise AbsentError(
                f"{folder} has no captions file. Expected one of {', '.join(CAPTION_FILES)} with "
                "the columns file_name and text."
            )
        self._rows = list(_grouped(file, config, labels))

    def row(self, index: int) -> Row:
        return self._rows[index]

    def count(self) -> int:
        return len(self._rows)


def _grouped(file: Path, config: DatasetConfig, labels: bool) -> Iterator[Row]:
    as_texts = as_labels if labels else as_captions
    text = (config.text,) if isinstance(config.text, str) else config.text
    first: dict[str, tuple[str, int]] = {}
    captions: dict[str, tuple[str | None, ...]] = {}
    for line, cells in _lines(file):
        image = config.image if config.image in cells else "file_name"
        if not first:
            require_columns([image], cells, str(file), "image")
            require_columns(text, cells, str(file), "text")
            if config.id is not None:
                require_columns([config.id], cells, str(file), "id")
        name = str(cells[image] or "")
        identity = name if config.id is None else str(cells.get(config.id) or "")
        first.setdefault(name, (identity, line))
        for key in text:
            found = as_texts(_listed(cells.get(key)))
            if found is None:
                raise DataError(
                    f"{file}, line {line}: {key} must be a string or a list of strings, "
                    f"found {cells[key]!r}."
                )
            captions[name] = captions.get(name, ()) + found
    for name, (identity, line) in first.items():
        path = file.parent / name
        there = bool(name) and path.is_file()
        yield Row(
            id=identity,
            captions=captions.get(name, ()),
            image=FileImage(path) if there else None,
            place=f"line {line} of {file} (image {name!r})",
            file=name,
            problem=None if there else f"there is no file {path}",
        )


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and cells of each entry."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            if file.suffix == ".jsonl":
                for line, content in enumerate(stream, start=1):
                    if content.strip():
                        yield line, _json_object(content, f"{file}, line {line}")
                return
            reader = csv.DictReader(stream, strict=True)
            names = list(reader.fieldnames or ())
            if twice := [name for name in names if names.count(name) > 1]:
                raise DataError(f"{file} names the column {twice[0]!r} twice. Rename one of them.")
            for cells in reader:
                if None in cells or None in cells.values():
                    raise DataError(
                        f"{file}, line {reader.line_num}: expected {len(reader.fieldnames or ())} "
                        "cells as in the header, found another number. Quote cells with commas."
                    )
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as UTF-8 {file.suffix[1:]}: {error}.") from error


def _json_object(content: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: expected a JSON object, found {type(value).__name__}.")
    return value


def _listed(cell: Any) -> Any:
    """A CSV cell that spells a JSON list of strings, as that list; everything else as it is."""
    if isinstance(cell, str) and cell.startswith("["):
        try:
            value = json.loads(cell)
        except json.JSONDecodeError:
            return cell
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return cell
