"""A folder of images (sounds, films) per class: the folder's name is the text of its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.source import FileReference, Row
from platorep.errors import AbsentError, ConfigError, listed
from platorep.kinds import Kind, find_kind
from platorep.stamps import Stamp


def find_class_folders(config: DatasetConfig) -> dict[Path, list[Path]]:
    """Class folder -> its files, both by name; of the split's own subfolder where it has one."""
    folder, endings = Path(config.source), _kind(config).endings
    own = folder / config.split
    if own.is_dir() and any(path.is_dir() for path in own.iterdir()):
        folder = own
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = {path: sorted(p for p in path.rglob("*") if _is_sample(p, endings)) for path in classes}
    return {path: of_class for path, of_class in files.items() if of_class}


def sample_view(config: DatasetConfig) -> str:
    """The view that lies in the folders; every other one is the class.

    Raises:
        ConfigError: there are several that would, or none.
    """
    in_files = [name for name, view in config.observed.items() if view.kind != "text"]
    if len(in_files) != 1:
        raise ConfigError(
            f"{config.source} has one file per row, and the dataset's views {in_files} lie in "
            "files. Expected one."
        )
    return in_files[0]


def require_class_folders(config: DatasetConfig) -> dict[Path, list[Path]]:
    """The class folders of `config.source`, as `find_class_folders`.

    Raises:
        AbsentError: there is no such folder, no such split, or no class.
    """
    folder = Path(config.source)
    if not folder.is_dir():
        raise AbsentError(f"dataset.source: there is no folder {folder}.")
    if config.split != "train" and not (folder / config.split).is_dir():
        subfolders = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise AbsentError(
            f"{folder} has no subfolder for the split {config.split!r}. Its subfolders: "
            f"{listed(subfolders) or 'none'}."
        )
    classes = find_class_folders(config)
    if not classes:
        sample = _kind(config).name.upper()
        raise AbsentError(
            f"{folder} has no class folders. Expected {folder}/CLASS/{sample} or "
            f"{folder}/{config.split}/CLASS/{sample}."
        )
    return classes


def _kind(config: DatasetConfig) -> Kind:
    return find_kind(config.kinds[sample_view(config)])


class ClassFolderSource:
    """Rows by class, then by name: `folder/class/image` or `folder/split/class/image`."""

    numbered = False

    def __init__(self, config: DatasetConfig, classes: Mapping[Path, Sequence[Path]]) -> None:
        self.stamps: dict[str, Stamp | None] = {}
        self._of_file, self._views = sample_view(config), tuple(config.observed)
        self._files = [(folder, path) for folder, files in classes.items() for path in files]

    def row(self, index: int) -> Row:
        folder, path = self._files[index]
        cells: dict[str, tuple[Any, ...]] = dict.fromkeys(self._views, (folder.name,))
        return Row(
            id=path.relative_to(folder.parent).as_posix(),
            cells=cells | {self._of_file: (FileReference(path),)},
            location=str(path),
            file=path.name,
        )

    def count(self) -> int:
        return len(self._files)

    def strings(self, numbers: Sequence[int]) -> None:
        return None


def _is_sample(path: Path, endings: Sequence[str]) -> bool:
    ending = path.suffix.lower().removeprefix(".")
    return ending in endings and not path.name.startswith(".") and path.is_file()
