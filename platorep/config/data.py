"""The dataset, and the numbers on the x axis."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, NonNegativeInt, PositiveInt, Tag, model_validator

from platorep.config.place import Place
from platorep.parameters.section import Section
from platorep.parameters.toyworld import WorldParameters


class DatasetConfig(Section):
    """Image-caption pairs. Rows are shuffled, bad rows and duplicates dropped, then limited."""

    source: Place
    """A hub identifier, a folder with a captions file, `*.parquet`, a pattern of tar shards, or
    `toyworld`, the built-in world (1024 pairs unless `limit` says otherwise)."""
    format: Literal["hub", "folder", "parquet", "webdataset", "toyworld"] | None = None
    """How to read `source`; worked out from it when absent."""
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
    deduplicate: bool | Literal["near"] = False
    """Drop every row whose image or text is the exact copy of an earlier row's; `near`: also those
    whose image is nearly an earlier one's (64-bit perceptual hash, at most 2 bits apart)."""
    on_bad_row: Literal["error", "drop"] = "error"
    """A broken image or an empty caption: stop, or drop the pair and list it in run.json."""

    @model_validator(mode="after")
    def _world_needs_toyworld(self) -> "DatasetConfig":
        if "world" in self.model_fields_set and self.source != "toyworld":
            raise ValueError(f"`world` has no effect with `source: {self.source}`; delete it")
        return self


class BitsPerByteConfig(Section):
    """Bits per UTF-8 byte of causal language models; docs/performance.md has the definition."""

    name: str = "bits_per_byte"
    source: Place
    """`captions` (those of the experiment), a text file, or a hub dataset."""
    documents: Literal["lines", "file"] = "lines"
    """What is one document of a text file; blank lines are none."""
    subset: str | None = None
    revision: str | None = None
    split: str = "train"
    text: str = "text"
    """Column of a hub dataset."""
    limit_documents: PositiveInt | None = None
    limit_bytes: PositiveInt | None = None
    """Stop after the document in which this many bytes are reached, cut at a character."""
    context: PositiveInt | None = None
    """Window in tokens; absent: the model's own context."""
    score_end: bool = False
    """Also score a closing end-of-text token after each document."""


class TableConfig(Section):
    """Performance from a CSV file with the columns `model`, `value` and, if known, `source`."""

    name: str
    table: Place
    value: str = "value"
    """Column of the numbers."""


def _performance_kind(value: object) -> str:
    keys = value.keys() if isinstance(value, Mapping) else vars(value).keys()
    return "a table" if "table" in keys else "bits per byte"  # names of no key of theirs


PerformanceConfig = Annotated[
    Annotated[BitsPerByteConfig, Tag("bits per byte")] | Annotated[TableConfig, Tag("a table")],
    Discriminator(_performance_kind),
]
