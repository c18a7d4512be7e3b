"""The dataset."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from platorep.config.place import Place
from platorep.parameters.section import Section
from platorep.parameters.toyworld import WorldParameters

DatasetFormat = Literal["hub", "folder", "class_folders", "parquet", "webdataset", "toyworld"]


class DatasetConfig(Section):
    """Image-caption pairs. Rows are shuffled, bad rows and duplicates dropped, then limited."""

    source: Place
    """A hub identifier, a folder with a captions file, `*.parquet`, a pattern of tar shards, or
    `toyworld`, the built-in world (1024 pairs unless `limit` says otherwise)."""
    format: DatasetFormat | None = None
    """How to read `source`; worked out from it when absent. `class_folders`: a subfolder of images
    per class, whose name is the text."""
    world: WorldParameters = WorldParameters()
    """The world of `source: toyworld`."""
    subset: str | None = None
    """The hub dataset's configuration name."""
    revision: str | None = None
    """Branch, tag or commit of the hub dataset."""
    split: str = "train"
    image: str = "image"
    """Column (or file ending, in tar shards) of the image."""
    text: str | tuple[str, ...] = "text"
    """Column of the captions (a string or a list of strings), or several columns."""
    id: str | None = None
    """Column of the row ids; the file name, tar key or row number when absent."""
    caption_index: NonNegativeInt | tuple[NonNegativeInt, ...] | Literal["first", "all"] = 0
    """One caption, several joined, the first that is not empty, or all that are not, joined."""
    separator: str = " "
    """Stands between joined captions."""
    limit: PositiveInt | None = None
    shuffle: NonNegativeInt | None = None
    """Seed of the shuffle; absent: the order of the source."""
    deduplicate: bool = False
    """Drop every row whose image or text is the exact copy of an earlier row's."""
    on_bad_row: Literal["error", "drop"] = "error"
    """A broken image or an empty caption: stop, or drop the pair and list it in run.json."""

    @model_validator(mode="after")
    def _world_needs_toyworld(self) -> "DatasetConfig":
        if "world" in self.model_fields_set and self.source != "toyworld":
            raise ValueError(f"`world` has no effect with `source: {self.source}`; delete it")
        return self
