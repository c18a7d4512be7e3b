"""The built-in world as a dataset: written once as an ordinary folder, then read as one."""

from collections.abc import Mapping

from platorep.config import DatasetConfig
from platorep.files import cache_root, digest
from platorep.parameters.views import KindName, ObservedView
from platorep.toyworld.captions import MAX_LEVEL
from platorep.toyworld.folder import Recording, again_column, level_column, write_kept_folder

DEFAULT_PAIRS = 1024
WORLD_VERSION = 1  # raise when the same parameters give other pictures or captions
LEVELS = tuple(range(1, MAX_LEVEL + 1))
RECORDINGS: Mapping[KindName, Recording] = {"audio": "sound", "video": "film"}
"""What the folder has beside pictures and captions where a view of this kind asks for it."""


def made_toyworld(config: DatasetConfig) -> DatasetConfig:
    """The section that reads the first rows of `config.world` from their folder in the cache.

    Raises:
        StorageError: the cache cannot be written.
    """
    num = config.limit or DEFAULT_PAIRS
    texts = {name: view for name, view in config.observed.items() if view.kind == "text"}
    levels = LEVELS if any(view.level is not None for view in texts.values()) else ()
    kinds = {view.kind for view in config.observed.values()}
    recordings = tuple(name for kind, name in RECORDINGS.items() if kind in kinds)
    again = tuple(sorted({view.again for view in config.observed.values()} - {0}))
    named = [WORLD_VERSION, config.world.model_dump(mode="json"), num]
    named += [part for part in (levels, recordings) if part]
    named += [{"again": again}] if again else []
    folder = cache_root() / "toyworld" / f"pairs-{digest(named)}"
    write_kept_folder(folder, config.world, num, levels=levels, recordings=recordings, again=again)
    columns: dict[str, str] = {}
    for name, view in config.observed.items():
        level = (view.level or config.world.caption_level) if levels else None
        columns[name] = again_column(_column(view, level), view.again)
    views = {
        name: view.model_copy(update={"column": columns[name], "level": None, "again": 0})
        for name, view in config.observed.items()
    }
    return config.model_copy(update={"source": str(folder), "views": views | config.changed})


def _column(view: ObservedView, level: int | None) -> str:
    """Where the folder has a view."""
    if view.kind == "text":
        return "caption" if level is None else level_column(level)
    assert view.kind is not None
    return RECORDINGS.get(view.kind, "file_name")
