"""A folder of images per class: the folder's name is the text of its images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from platorep.config import DatasetConfig
from platorep.data.source import FileImage, Row
from platorep.errors import AbsentError, listed
from platorep.stamps import Stamp

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def find_class_folders(folder: Path, split: str) -> dict[Path, list[Path]]:
    """Class folder -> its images, both by name; of the split's own subfolder where it has one."""
    own = folder / split
    if own.is_dir() and any(path.is_dir() for path in own.iterdir()):
        folder = own
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    images = {path: sorted(p for p in path.rglob("*") if _is_image(p)) for path in classes}
    return {path: files for path, files in images.items() if files}


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
    classes = find_class_folders(folder, config.split)
    if not classes:
        raise AbsentError(
            f"{folder} has no class folders. Expected {folder}/CLASS/IMAGE or "
            f"{folder}/{config.split}/CLASS/IMAGE."
        )
    return classes


class ClassFolderSource:
    """Rows by class, then by name: `folder/class/image` or `folder/split/class/image`."""

    def __init__(self, classes: Mapping[Path, Sequence[Path]]) -> None:
        self.stamps: dict[str, Stamp | None] = {}
        self._images = [(folder, path) for folder, files in classes.items() for path in files]

    def row(self, index: int) -> Row:
        folder, path = self._images[index]
        return Row(
            id=path.relative_to(folder.parent).as_posix(),
            captions=(folder.name,),
            image=FileImage(path),
            location=str(path),
            file=path.name,
        )

    def count(self) -> int:
        return len(self._images)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
