"""The built-in world as a dataset: written once as an ordinary folder, then read as one."""

from platorep.config import DatasetConfig
from platorep.files import cache_root, digest
from platorep.toyworld.captions import MAX_LEVEL
from platorep.toyworld.folder import level_column, write_kept_folder

DEFAULT_PAIRS = 1024
WORLD_VERSION = 1  # raise when the same parameters give other pictures or captions
LEVELS = tuple(range(1, MAX_LEVEL + 1))


def tell_levels(config: DatasetConfig) -> DatasetConfig:
    """The section in the words of the folder: where there are variants, levels are captions."""
    if not config.variants:
        return config
    own = config.world.caption_level
    variants = tuple(
        variant.model_copy(update={"caption_index": (variant.caption_level or own) - LEVELS[0]})
        for variant in config.variants
    )
    return config.model_copy(update={"variants": variants, "caption_index": own - LEVELS[0]})


def made_toyworld(config: DatasetConfig) -> DatasetConfig:
    """The section that reads the first pairs of `config.world` from their folder in the cache.

    Raises:
        StorageError: the cache cannot be written.
    """
    num = config.limit or DEFAULT_PAIRS
    levels = LEVELS if config.variants else ()
    named = [WORLD_VERSION, config.world.model_dump(mode="json"), num]
    folder = cache_root() / "toyworld" / f"pairs-{digest([*named, levels] if levels else named)}"
    write_kept_folder(folder, config.world, num, levels=levels)
    text = tuple(map(level_column, levels)) or "caption"
    return config.model_copy(update={"source": str(folder), "text": text})
