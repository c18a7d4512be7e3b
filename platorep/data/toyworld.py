"""The built-in world as a dataset: written once as an ordinary folder, then read as one."""

from platorep.config import DatasetConfig
from platorep.data.folder import FolderSource
from platorep.files import cache_root, digest
from platorep.toyworld.folder import write_folder

DEFAULT_PAIRS = 1024
WORLD_VERSION = 1  # raise when the same parameters give other pictures or captions


def open_toyworld(config: DatasetConfig) -> FolderSource:
    """The first pairs of `config.world`; the folder is kept in the cache.

    Raises:
        StorageError: the cache cannot be written.
    """
    num = config.limit or DEFAULT_PAIRS
    name = digest([WORLD_VERSION, config.world.model_dump(mode="json"), num])
    folder = cache_root() / "toyworld" / f"pairs-{name}"
    if not (folder / "captions.csv").exists():  # written last: the folder is whole
        write_folder(folder, config.world, num)
    return FolderSource(config.model_copy(update={"source": str(folder), "text": "caption"}))
