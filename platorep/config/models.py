"""Families of models, and how they are loaded and tapped."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StrictInt,
    WithJsonSchema,
)

from platorep.config.paths import NameOrPath
from platorep.parameters.section import Section
from platorep.parameters.toyworld import ToyTraining, WorldParameters
from platorep.parameters.views import KindName, Modality
from platorep.plugins import name_check

BACKENDS = ("transformers", "timm", "features", "module", "toyworld", "baseline", "bundle")
Backend = Annotated[
    str,
    AfterValidator(name_check("backends", BACKENDS)),
    WithJsonSchema({"enum": list(BACKENDS), "type": "string"}),
]
"""One of these, or an installed package's (`platorep.plugins`)."""
Pool = Literal["mean", "last", "cls", "patches_mean"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class TransformConfig(Section):
    """Replaces parts of the image transform that timm knows for a network."""

    input_size: PositiveInt | None = None
    """Pixels per side that the network reads."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from each channel."""
    std: tuple[float, float, float] | None = None
    """Each channel is divided by it."""
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None
    """How images are resized."""
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the resized image's side that is read."""
    crop_mode: Literal["center", "squash", "border"] | None = None
    """Cut out the middle, squash the whole, or fill up its borders."""


class ModelSettings(Section):
    """How a model is loaded and tapped; a family's settings hold for its models."""

    backend: Backend | None = None
    """transformers for language, timm for vision, features for a user's own arrays, module for a
    network that a function of the user's own returns (docs/models.md), toyworld for tiny networks
    that are trained in the world of the dataset on first use (modality: truth: the model called
    `truth`, the true attributes of the scenes), baseline for what needs no network (docs/models.md
    has the list; `controls.baselines` adds them all), bundle for the features of somebody else's
    model (`bundle` says where; the model's name is its label there)."""
    bundle: NameOrPath | None = None
    """A bundle with features (docs/bundle.md): a folder, an archive, or hub:user/name."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    pool: Pool | tuple[Pool, ...] | None = None
    """Over real tokens: mean, last, cls (the first), patches_mean (the mean without tokens before
    the patches of an image). Several make a model of each, from one forward pass. Absent: language
    mean; vision cls, or the mean where the network has no class token."""
    layers: Literal["all"] | tuple[StrictInt, ...] | tuple[str, ...] = "all"
    """Tap points to keep, counted from 0 (negative: from the end); or modules by name, as globs
    over `named_modules()` (`["blocks.*", norm]`): `*` stops at dots, `**` does not, and `output` is
    what the network returns. docs/models.md says what layer i is."""
    dtype: Dtype | None = None
    """Overrides `extract.dtype`."""
    side: Literal["text", "vision", "audio", "language"] | None = None
    """Which part of a network of several senses is read (transformers): text or vision of CLIP,
    vision or language of LLaVA, text (encoder) or language (decoder) of T5. Absent: the one that
    reads the kind of the view."""
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    """Attention implementation (transformers); absent: the library's choice."""
    device_map: str | None = None
    """`auto` spreads a model over several GPUs (transformers)."""
    random_init: bool = False
    """The same architecture with seeded random weights: a control."""
    seed: NonNegativeInt = 0
    """Seed of `random_init`."""
    trust_remote_code: bool = False
    """Run code that comes with a hub model."""
    adapter: NameOrPath | None = None
    """A PEFT adapter (LoRA and its like) that is merged into the weights: a folder or a hub name
    (transformers; needs peft)."""
    prompt: str | None = None
    """A template with `{text}` in it, filled with each caption."""
    max_tokens: PositiveInt | None = None
    """Truncate texts to this many tokens; absent: a text that is too long is an error."""
    special_tokens: Literal["keep", "drop"] = "keep"
    """drop: beginning and end of text, class and separation tokens are read, but left out of the
    pooled vector (mean, last), where their states may be far larger than those of words."""
    checkpoint: NameOrPath | None = None
    """A weight file for a timm architecture, or for a network of one's own: safetensors, or what
    `torch.save` wrote of a `state_dict`."""
    inputs: str | None = None
    """`package.module:function` from a decoded sample to what the network reads (module): a tensor,
    several (a tuple), or names with tensors."""
    arguments: Mapping[str, bool | int | float | str] = Field(default_factory=dict)
    """Further arguments of the architecture, as `timm.create_model` hands them on, or of the
    function that returns the network (module)."""
    transform: TransformConfig = TransformConfig()
    """Where images are prepared otherwise than timm says."""
    training: ToyTraining = ToyTraining()
    """How a network of the toy world is trained; each kept step is a model of its own. What a
    model says here is added to what its family says."""


class ModelConfig(ModelSettings):
    """One model, where its family's settings are not enough."""

    name: NameOrPath
    """A hub or timm identifier, a local folder, a file of arrays (backend: features), or a function
    that returns a network, `package.module:function` (backend: module)."""
    label: str | None = None
    """What tables and figures call it; absent: the last part of the name."""


def _listed(entry: object) -> object:
    return (entry,) if isinstance(entry, str) else entry


def _named(entry: object) -> object:
    """A bare name is short for `{name: ...}`."""
    return {"name": entry} if isinstance(entry, str) else entry


class FamilyConfig(ModelSettings):
    """Models that belong together: a line, or a panel, of a figure."""

    name: str
    """What tables and figures call the family."""
    modality: Modality
    """What its models are: figures and `align.pairs` go by it."""
    reads: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """The view of the dataset that its models read, or several: a model for each. Absent: the view
    that is called as its kind is (language: text, vision: image, audio, video), or the only one of
    that kind. What reads another view has that view's name in brackets behind its label."""
    models: tuple[Annotated[ModelConfig, BeforeValidator(_named)], ...]
    """The models: names, or sections where one differs from its family."""


KIND_OF: Mapping[Modality, KindName] = {
    "language": "text",
    "vision": "image",
    "audio": "audio",
    "video": "video",
    "truth": "image",
}
"""What a modality reads where `reads` says nothing."""


def hashes_column(view: str) -> str:
    """The column of rows.parquet that holds the hashes of a view."""
    return f"{view}_sha256"


def _usual_kind(spec: dict[str, Any]) -> KindName | None:
    return None if spec["backend"] == "features" else KIND_OF.get(spec["modality"])


class ModelSpec(ModelConfig):
    """A model with all its settings, as the stages see it."""

    label: str
    family: str
    modality: Modality
    backend: Backend
    pool: Pool | None = None
    world: WorldParameters = WorldParameters()
    """Where a toy network is trained."""
    step: int | None = None
    """Which checkpoint of a toy network."""
    kind: KindName | None = Field(default_factory=_usual_kind)
    """The kind of the view that it reads; None: none, a user's arrays are known by ids."""
    view: str = Field(default_factory=lambda spec: spec["kind"] or "")
    """Which view of the dataset it reads; "": none."""
    random_of: str = ""
    """Label of the model that a random-weight control belongs to."""
    changed_of: str = ""
    """Label of the model of which this is a copy that reads a changed view."""
    repeat_of: str = ""
    """Label of the model of which this is a copy that reads another observation of the same."""
    pools: tuple[Pool, ...] = ()
    """What to pool in each forward pass, said by whoever loads one network for several cells; none:
    `pool`."""

    @property
    def is_control(self) -> bool:
        """Whether it is no finding but what findings are held against."""
        return self.random_init or self.is_baseline or bool(self.changed_of or self.repeat_of)

    @property
    def is_baseline(self) -> bool:
        """Whether there is no network behind it."""
        return self.backend == "baseline"

    @property
    def is_own_code(self) -> bool:
        """Whether what makes it is no part of platorep, and may decide weights itself."""
        return self.backend == "module" or self.backend not in BACKENDS

    @property
    def hashes_column(self) -> str | None:
        """The column of rows.parquet that says what the model sees; None: its rows have ids only.

        The one place where this is decided: features are of the rows of which they are kept, and
        are scored if the experiment's rows have the same hashes.
        """
        return hashes_column(self.view) if self.view else None


class ExtractConfig(Section):
    dtype: Dtype = "auto"
    """Compute precision; auto: bfloat16 on a GPU (language), else float32, but what another machine
    has made by its own choice is taken."""
    store: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision on disk."""
    batch: PositiveInt | Literal["auto"] = "auto"
    """Tokens per batch (language), or images, sounds, films."""
    workers: NonNegativeInt | Literal["auto"] = "auto"
    """Processes that decode images, sounds and films."""
    rows_per_shard: PositiveInt = 256
    """A killed run loses at most this many rows of one model."""
