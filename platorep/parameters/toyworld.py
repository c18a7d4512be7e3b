"""What an experiment file may say about the toy world and the networks trained in it."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_serializer,
    model_validator,
)

from platorep.errors import ConfigError, nearest
from platorep.parameters.section import Section

TEXTURES = ("plain", "striped", "barred", "slanted", "checked", "dotted")
SHAPES = ("disc", "square", "triangle", "diamond", "cross", "ring", "bar", "crescent")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "medium", "large")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
CELLS = tuple(f"{row} {column}" for row in ROWS for column in COLUMNS)
ATTRIBUTES = (*TEXTURES, *SHAPES, *COLORS, *SIZES, *CELLS)
"""What can be true of a scene or of an object in it; the columns of the truth layer `all`."""


def _known_attribute(name: str) -> str:
    if name not in ATTRIBUTES:
        raise ValueError(
            f"no such attribute.{nearest(name, ATTRIBUTES)} Known: {', '.join(ATTRIBUTES)}"
        )
    return name


Seed = Annotated[int, Field(ge=0, lt=2**32)]


class WorldParameters(Section):
    """A world of scenes. Two worlds with the same parameters are the same on every machine."""

    seed: Seed = 0
    """Another seed is another world: other places, with other habits."""
    num_places: Annotated[int, Field(ge=1, le=1024)] = 32
    """Hidden places; the r-th is drawn with weight 1/r. What is seen depends on the place alone."""
    concentration: Annotated[float, Field(ge=0.01, le=1000)] = 0.06
    """Dirichlet concentration of a place's textures, shapes and colours: the strength of the
    statistics. 0.06: nearly every place has one or two of each; 50: a flat world, all alike."""
    layout_concentration: Annotated[float, Field(ge=0.01, le=1000)] = 0.8
    """The same for a place's sizes, rows, columns and number of objects."""
    uniform_share: Annotated[float, Field(ge=0, le=1)] = 0.04
    """Share of draws that ignore the place, so that nothing is impossible anywhere."""
    nuisance: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Strength of what one sense alone has. A picture: tint, stripe width and phase, brightness,
    hue, noise, a shift of the objects. A film: these, grain, direction and speed. A sound: phases,
    tuning, tempo, loudness, noise. 0 turns it off."""
    image_size: Annotated[int, Field(ge=16, le=256, multiple_of=8)] = 32
    """Pixels per side of pictures and films, a multiple of 8."""
    caption_level: Annotated[int, Field(ge=1, le=5)] = 5
    """What a caption tells: 1 shapes, 2 colours too, 3 texture, 4 positions, 5 sizes."""
    pairs: Literal["same_scene", "same_place"] = "same_scene"
    """What a picture and its caption have in common: all that there is to see, or only the hidden
    place, as two scenes of one place do. Training does not depend on it: it never sees a pair."""
    shared: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of its attributes (texture, number of objects, their cells, and of each object shape,
    colour and size) that a caption takes from the scene in the picture; the rest is that of another
    scene, of any place. 0: caption and picture have nothing in common."""

    @model_validator(mode="after")
    def _one_way_to_differ(self) -> "WorldParameters":
        if self.shared < 1 and self.pairs != "same_scene":
            raise ValueError(f"shared: {self.shared} needs `pairs: same_scene`")
        return self

    @model_serializer(mode="wrap")
    def _without_what_was_not_there(
        self, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        """What 0.1.0 did not know is left out at its default: names made of a world stay."""
        content = handler(self)
        if content.get("shared") == 1:
            del content["shared"]
        return content


class ToyTraining(Section):
    """How a toy network is trained: language by the next token, others by SimCLR or on tasks."""

    seed: Seed = 0
    """Of the initial weights and of the order of the batches."""
    steps: NonNegativeInt = 160
    """Optimizer steps; 0 leaves the network as it was initialised."""
    checkpoints: tuple[NonNegativeInt, ...] = ()
    """Steps at which the network is kept besides the last; 0 keeps the initial weights."""
    num_scenes: PositiveInt = 3000
    """Scenes to train on; none of them is ever among the evaluation pairs."""
    num_frames: Annotated[int, Field(ge=2, le=64)] = 3
    """Pictures, films or sounds per scene: objects, sizes and texture stay, cells and nuisance do
    not. For language, captions per scene: other words in another order."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Scenes per step."""
    learning_rate: PositiveFloat = 1e-2
    """Peak of AdamW's learning rate: ten steps of warm-up, then a half cosine down to zero."""
    temperature: PositiveFloat = 0.2
    """Of the contrastive loss (not of language)."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW's."""
    tasks: tuple[Annotated[str, AfterValidator(_known_attribute)], ...] = ()
    """Attributes to tell, yes or no, in the place of SimCLR (not of language): `striped`, `disc`,
    `red`, `large`, `top left`."""

    @model_validator(mode="after")
    def _checkpoints_are_reached(self) -> "ToyTraining":
        beyond = [step for step in self.checkpoints if step > self.steps]
        if beyond:
            raise ValueError(f"checkpoints: step {beyond[0]} is beyond the last, {self.steps}")
        return self


ToyModality = Literal["vision", "language", "audio", "video"]


class ToyNetwork(Section):
    """A tiny network of a common architecture. Its name in an experiment file says it all."""

    kind: Literal["conv", "vit", "llama", "sound", "film"]
    """A residual network (timm's ResNet), a vision transformer (timm), a Llama (transformers); a
    residual network that hears sounds, as loudness by pitch and time, or sees films, all frames at
    once."""
    width: Annotated[int, Field(ge=2, le=1024)]
    """Channels of the first convolution and stage (conv, sound, film; the last of four stages has
    eight times as many), or the embedding dimension (vit, llama)."""
    depth: Annotated[int, Field(ge=1, le=12)]
    """Residual blocks per stage (conv, sound, film), or transformer blocks."""

    @property
    def modality(self) -> ToyModality:
        return _MODALITIES[self.kind]

    @property
    def name(self) -> str:
        default = _DEFAULT_DEPTH[self.kind]
        return f"{self.kind}{self.width}" + ("" if self.depth == default else f"x{self.depth}")


TRUTH = "truth"
"""The name that stands in an experiment file for the true attributes of the scenes."""

_DEFAULT_DEPTH = {"conv": 1, "vit": 3, "llama": 1, "sound": 1, "film": 1}
_MODALITIES: dict[str, ToyModality] = {
    "conv": "vision",
    "vit": "vision",
    "llama": "language",
    "sound": "audio",
    "film": "video",
}


def parse_network(name: str) -> ToyNetwork:
    """The network called `name`: kind, width, and after an `x` the depth if not the usual one.

    `conv8` is a residual network of width 8, `vit32` a vision transformer of width 32 with three
    blocks, `llama16x2` a Llama of width 16 with two, `sound8` and `film8` are `conv8` for sounds
    and films.

    Raises:
        ConfigError: the name says something else; says what names there are.
    """
    match = re.fullmatch(r"([a-z]+)(\d+)(?:x(\d+))?", name)
    problem = (
        "expected conv8, vit32, llama16, sound8, film8 or the like, with x2 after it for two blocks"
    )
    if match and match[1] in _DEFAULT_DEPTH:
        kind, width, depth = match.groups()
        try:
            network = ToyNetwork.model_validate(
                {"kind": kind, "width": int(width), "depth": int(depth or _DEFAULT_DEPTH[kind])}
            )
        except ValidationError as error:
            problem = "; ".join(
                f"{e['loc'][0]}: {e['msg']}, got {e['input']}" for e in error.errors()
            )
        else:
            if kind not in ("vit", "llama") or network.width % 2 == 0:
                return network
            problem = f"width must be even, got {width}"
    raise ConfigError(f"toy network {name!r}: {problem}.")
