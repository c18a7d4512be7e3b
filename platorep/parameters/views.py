"""What a row can be observed as: views, and changes of views.

A row of a dataset is one event of the world; a view is one observation of it, and a model reads
one view. A view observes (columns of the source) or is a changed view (`of`, `change`): a control.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    Tag,
    WithJsonSchema,
)

from platorep.parameters.section import Section
from platorep.plugins import name_check

Modality = Literal["language", "vision", "audio", "video", "truth", "other"]
"""What a model is of; the sense of its family."""
KIND_NAMES: tuple[str, ...] = ("image", "text", "audio", "video", "array")
KindName = Annotated[
    str,
    AfterValidator(name_check("kinds", KIND_NAMES)),
    WithJsonSchema({"enum": list(KIND_NAMES), "type": "string"}),
]
"""A kind of view: one of these, or an installed package's (`platorep.plugins`)."""
CaptionChoice = (
    NonNegativeInt
    | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    | Literal["first", "all"]
)


class ObservedView(Section):
    """A view that the source has. What only texts have is refused for other kinds."""

    kind: KindName | None = None
    """What the samples are; absent: the view's name says it."""
    column: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Column (in tar shards: file ending) of the samples, or several columns of captions; absent:
    called like the view."""
    captions: CaptionChoice = 0
    """Text: one of the row's captions, several joined, the first that is not empty, or all that are
    not, joined."""
    separator: str = " "
    """Text: stands between joined captions."""
    order: Literal["given", "shortest_first", "longest_first"] = "given"
    """Text: order of a row's captions, by number of words, before `captions` counts them; empty
    ones are left out then, and equally long ones stay in the order of the source."""
    level: Annotated[int, Field(ge=1, le=5)] | None = None
    """Text, `source: toyworld` only: what the caption tells, in place of `world.caption_level`. Toy
    language models that read it are trained on captions of this level."""
    again: Annotated[int, Field(ge=0, le=99)] = 0
    """`source: toyworld` only: another recording of the same scenes, numbered from 1: other words,
    another nuisance. For `align.repeats`."""

    @property
    def columns(self) -> tuple[str, ...]:
        column = self.column or ()
        return (column,) if isinstance(column, str) else column


class Change(Section):
    """A view of the same rows in which something is taken away: what does a score live on?

    It depends on the sample alone (and on the seed of a `Drawn` one), not on the row's place.
    """

    kind: ClassVar[KindName]
    of: str
    """The view that is changed."""
    change: str


class Drawn(Change):
    """A change in which something is drawn."""

    seed: NonNegativeInt = 0
    """Of what is drawn for each row."""


class WordOrder(Drawn):
    """The words of a text in another order, if two of them differ."""

    kind = "text"
    change: Literal["word_order"]


class FirstWords(Change):
    """A text, cut after `n` words. A word is what white space divides."""

    kind = "text"
    change: Literal["first_words"]
    n: PositiveInt
    """So many words are left."""


class Case(Change):
    """A text in lower (or upper) case."""

    kind = "text"
    change: Literal["case"]
    to: Literal["lower", "upper"] = "lower"
    """Which case."""


class ContentWords(Change):
    """A text without the function words of English (the, of, is, ...)."""

    kind = "text"
    change: Literal["content_words"]


class Grey(Change):
    """An image without its colours."""

    kind = "image"
    change: Literal["grey"]


class Rotate(Change):
    """An image turned counterclockwise."""

    kind = "image"
    change: Literal["rotate"]
    degrees: Literal[90, 180, 270] = 90
    """By how much."""


class Patches(Drawn):
    """An image whose square blocks are shuffled."""

    kind = "image"
    change: Literal["patches"]
    size: PositiveInt = 16
    """Pixels per side of a block."""


class Blur(Change):
    """An image without its fine detail (Gaussian)."""

    kind = "image"
    change: Literal["blur"]
    radius: Annotated[float, Field(gt=0, le=1000)] = 4.0
    """Standard deviation in pixels."""


class Crop(Drawn):
    """A part of an image, at a place that is drawn."""

    kind = "image"
    change: Literal["crop"]
    scale: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Its sides, as a share of the image's."""


class Reverse(Change):
    """A sound, backwards."""

    kind = "audio"
    change: Literal["reverse"]


class Noise(Drawn):
    """A sound with white noise."""

    kind = "audio"
    change: Literal["noise"]
    snr_db: FiniteFloat = 10.0
    """Power of the sound above that of the noise, in decibels."""


class FrameOrder(Drawn):
    """The frames of a film in another order."""

    kind = "video"
    change: Literal["frame_order"]


AnyChange = (
    WordOrder
    | FirstWords
    | Case
    | ContentWords
    | Grey
    | Rotate
    | Patches
    | Blur
    | Crop
    | Reverse
    | Noise
    | FrameOrder
)


def _tag(view: Any) -> str:
    """Whether an entry of the file observes or changes."""
    keys = view.keys() if isinstance(view, dict) else getattr(type(view), "model_fields", {}).keys()
    return "changed" if keys & {"of", "change"} else ObservedView.__name__


ViewConfig = Annotated[
    Annotated[ObservedView, Tag(ObservedView.__name__)]
    | Annotated[AnyChange, Field(discriminator="change"), Tag("changed")],
    Discriminator(_tag),
    BeforeValidator(lambda view: {} if view is None else view),
]
"""One view of a file; nothing (`image:`) says that everything is as its name says."""
CHANGES: dict[str, type[Change]] = {
    get_args(change.model_fields["change"].annotation)[0]: change for change in get_args(AnyChange)
}
"""Each change by its name."""
