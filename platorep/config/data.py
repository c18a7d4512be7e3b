"""The dataset."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_serializer, model_validator

from platorep.config.paths import NameOrPath
from platorep.parameters.section import Section
from platorep.parameters.toyworld import WorldParameters

DatasetFormat = Literal["hub", "folder", "class_folders", "parquet", "webdataset", "toyworld"]
CaptionChoice = NonNegativeInt | tuple[NonNegativeInt, ...] | Literal["first", "all"]


class VariantConfig(Section):
    """One of several texts for every row: images, ids and order of the rows are the same in all."""

    name: Annotated[str, Field(pattern=r"\S")]
    """Stands in brackets behind the label of each language model that reads this text."""
    caption_index: CaptionChoice | None = None
    """Which of the row's captions, as in the dataset; the dataset's own choice when absent."""
    order: Literal["given", "shortest_first", "longest_first"] = "given"
    """Order of a row's captions, by number of words, before `caption_index` counts them; empty ones
    are left out then, and equally long ones stay in the order of the source."""
    max_words: PositiveInt | None = None
    """Cut the text after so many words. A word is what white space divides."""
    caption_level: Annotated[int, Field(ge=1, le=5)] | None = None
    """`source: toyworld` only: what the caption tells, in place of `world.caption_level`. Toy
    language models are trained on captions of this level too."""


class DatasetConfig(Section):
    """Image-caption pairs. Rows are shuffled, bad rows and duplicates dropped, then limited."""

    source: NameOrPath
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
    caption_index: CaptionChoice = 0
    """One caption, several joined, the first that is not empty, or all that are not, joined."""
    separator: str = " "
    """Stands between joined captions."""
    variants: tuple[VariantConfig, ...] = ()
    """Several texts per row, for alignment against the density of captions. Each language model
    becomes one model per variant, with that text and the same images; what reads images is
    extracted once. A row that is bad in one variant is a bad row. The text of `caption_index` still
    is what `deduplicate` compares."""
    limit: PositiveInt | None = None
    shuffle: NonNegativeInt | None = None
    """Seed of the shuffle; absent: the order of the source."""
    deduplicate: bool | Literal["near"] = False
    """Drop every row whose image or text is the exact copy of an earlier row's; `near`: also those
    whose image is nearly an earlier one's (64-bit perceptual hash, at most 2 bits apart)."""
    on_bad_row: Literal["error", "drop"] = "error"
    """A broken image or an empty caption: stop, or drop the pair and list it in run.json."""
    files_anywhere: bool = False
    """Whether a captions file, or a cell of a table, may name images outside its own folder, by an
    absolute path or through `..`. Links are followed either way."""

    @model_validator(mode="after")
    def _world_needs_toyworld(self) -> "DatasetConfig":
        if "world" in self.model_fields_set and self.source != "toyworld":
            raise ValueError(f"`world` has no effect with `source: {self.source}`; delete it")
        return self

    @model_validator(mode="after")
    def _variants_have_an_effect(self) -> "DatasetConfig":
        names = [variant.name for variant in self.variants]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"variants: the name {repeated[0]!r} stands there twice")
        for variant in self.variants:
            toy = self.source == "toyworld"
            one_caption = {"caption_index", "order"} & variant.model_fields_set
            if toy and one_caption:
                raise ValueError(
                    f"variants: {sorted(one_caption)[0]} of {variant.name!r} has no effect, since "
                    "a scene of the toy world has one caption; use caption_level"
                )
            if not toy and variant.caption_level is not None:
                raise ValueError(
                    f"variants: caption_level of {variant.name!r} has no effect with `source: "
                    f"{self.source}`; use caption_index"
                )
        return self

    @model_serializer(mode="wrap")
    def _say_nothing_of_what_is_not_used(self, handler: Any) -> dict[str, Any]:
        """A dataset without the settings of later versions is written down as it was before."""
        settings: dict[str, Any] = handler(self)
        unused = {name for name in ("variants", "files_anywhere") if not getattr(self, name)}
        return {key: value for key, value in settings.items() if key not in unused}
