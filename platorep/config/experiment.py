"""What an experiment file may say.

Relative paths in a file mean: relative to the file's own folder.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializeAsAny,
    Tag,
    ValidationError,
    model_validator,
)

from platorep.errors import PlatorepError, nearest
from platorep.parameters.figures import FigureConfig
from platorep.parameters.metrics import PRESETS, MetricParameters, MutualKnn, parse
from platorep.parameters.section import Section
from platorep.parameters.toyworld import ToyTraining, WorldParameters

Modality = Literal["language", "vision", "truth", "other"]
Backend = Literal["transformers", "timm", "features", "toyworld"]
Pool = Literal["mean", "last", "cls"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def _resolve_place(name: str, info: Any) -> str:  # info: ValidationInfo, which beartype refuses
    """The full path of what lies beside the experiment's file; other names stay as they are."""
    folder = (info.context or {}).get("folder")
    prefix = "local-dir:" if name.startswith("local-dir:") else ""
    path = Path(name.removeprefix(prefix)).expanduser()
    if folder is None or path.is_absolute():
        return f"{prefix}{path}" if path.is_absolute() else name
    is_pattern = any(character in name for character in "*{") and (folder / path.parent).is_dir()
    if prefix or name.startswith(("./", "../")) or (folder / path).exists() or is_pattern:
        return f"{prefix}{Path(os.path.normpath(folder / path))}"
    return name


Place = Annotated[str, AfterValidator(_resolve_place)]
"""A hub identifier, or a path relative to the experiment's file (an existing path wins)."""


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
    deduplicate: bool = False
    """Drop every row whose image or text is the exact copy of an earlier row's."""
    on_bad_row: Literal["error", "drop"] = "error"
    """A broken image or an empty caption: stop, or drop the pair and list it in run.json."""

    @model_validator(mode="after")
    def _world_needs_toyworld(self) -> "DatasetConfig":
        if "world" in self.model_fields_set and self.source != "toyworld":
            raise ValueError(f"`world` has no effect with `source: {self.source}`; delete it")
        return self


class TransformConfig(Section):
    """Replaces parts of the image transform that timm knows for a network."""

    input_size: PositiveInt | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    crop_mode: Literal["center", "squash", "border"] | None = None


class ModelSettings(Section):
    """How a model is loaded and tapped; a family's settings hold for its models."""

    backend: Backend | None = None
    """transformers for language, timm for vision, features for a user's own arrays, toyworld for
    tiny networks that are trained in the world of the dataset on first use (modality: truth: the
    model called `truth`, the true attributes of the scenes)."""
    revision: str | None = None
    pool: Pool | None = None
    """Over real tokens: mean, last, cls (the first). Absent: language mean; vision cls, or the
    mean where the network has no class token."""
    layers: Literal["all"] | tuple[int, ...] = "all"
    """Tap points to keep, counted from 0 (negative: from the end)."""
    dtype: Dtype | None = None
    """Overrides `extract.dtype`."""
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    """Attention implementation (transformers); absent: the library's choice."""
    device_map: str | None = None
    """`auto` spreads a model over several GPUs (transformers; needs accelerate)."""
    random_init: bool = False
    """The same architecture with seeded random weights: a control."""
    seed: NonNegativeInt = 0
    """Seed of `random_init`."""
    trust_remote_code: bool = False
    prompt: str | None = None
    """A template with `{text}` in it, filled with each caption."""
    max_tokens: PositiveInt | None = None
    """Truncate texts to this many tokens; absent: a text that is too long is an error."""
    checkpoint: Place | None = None
    """A weight file for a timm architecture."""
    arguments: Mapping[str, bool | int | float | str] = Field(default_factory=dict)
    """Further arguments of `timm.create_model`."""
    transform: TransformConfig = TransformConfig()
    training: ToyTraining = ToyTraining()
    """How a network of the toy world is trained; each kept step is a model of its own. What a
    model says here is added to what its family says."""


class ModelConfig(ModelSettings):
    """One model, where its family's settings are not enough."""

    name: Place
    """A hub or timm identifier, a local folder, or (backend: features) a file of arrays."""
    label: str | None = None
    """What tables and figures call it; absent: the last part of the name."""


def _named(entry: object) -> object:
    """A bare name is short for `{name: ...}`."""
    return {"name": entry} if isinstance(entry, str) else entry


class FamilyConfig(ModelSettings):
    """Models that belong together: a line, or a panel, of a figure."""

    name: str
    modality: Modality
    models: tuple[Annotated[ModelConfig, BeforeValidator(_named)], ...]


class ModelSpec(ModelConfig):
    """A model with all its settings, as the stages see it."""

    label: str
    family: str
    modality: Modality
    backend: Backend
    world: WorldParameters = WorldParameters()
    """Where a toy network is trained."""
    step: int | None = None
    """Which checkpoint of a toy network."""
    random_of: str = ""
    """Label of the model that a random-weight control belongs to."""


class ExtractConfig(Section):
    dtype: Dtype = "auto"
    """Compute precision; auto: bfloat16 on a GPU (language), else float32."""
    store: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision on disk."""
    batch: PositiveInt | Literal["auto"] = "auto"
    """Tokens per batch (language) or images per batch (vision)."""
    workers: NonNegativeInt | Literal["auto"] = "auto"
    """Processes that decode images."""
    rows_per_shard: PositiveInt = 256
    """A killed run loses at most this many rows of one model."""


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


class SelectorConfig(Section):
    """Some models of the experiment: all that match everything said here."""

    modality: Modality | None = None
    family: str | None = None
    model: str | None = None
    """A label."""


class PairConfig(Section):
    """Every model of `x` with every model of `y`; within one set, every unordered pair once."""

    x: SelectorConfig
    y: SelectorConfig

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:
        """`[language, vision]` and `{x: language, y: {family: dinov2}}` are short forms."""
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            value = {"x": value[0], "y": value[1]}
        if isinstance(value, Mapping):
            value = {k: {"modality": v} if isinstance(v, str) else v for k, v in value.items()}
        return value


class PreprocessConfig(Section):
    clip_quantile: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Features are clipped to this quantile of |value|; 1 turns clipping off."""
    clip_scope: Literal["model", "layer"] = "model"
    """One threshold for all layers of a model, or one for each layer."""
    clip_estimate: Literal["sample_mean", "exact"] = "sample_mean"
    """The mean over samples of each sample's quantile, or the quantile over all values."""
    normalize: Literal["l2", "none"] = "l2"


class MetricConfig(Section):
    """A metric with its parameters, and the layers it is asked at."""

    name: str
    layers: (
        Literal["all", "last"] | Annotated[str, Field(pattern="^best of ")] | tuple[int, ...]
    ) = "all"
    """All layer pairs, the last layers only, `best of METRIC` (the pair of layers at which another
    metric of this list is best), or these of either model (negative: from the end)."""
    parameters: SerializeAsAny[MetricParameters]


def _split_metric(entry: object) -> object:
    """`{name: mutual_knn, k: 10}` or a bare name: what is no key of ours is a parameter."""
    entry = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or "parameters" in entry:
        return entry
    if not isinstance(entry.get("name"), str):
        raise ValueError("a metric needs a name, such as {name: mutual_knn, k: 10}")
    own = {key: value for key, value in entry.items() if key in ("name", "layers")}
    try:
        rest = {key: value for key, value in entry.items() if key not in own}
        return own | {"parameters": parse(entry["name"], rest)}
    except PlatorepError as error:
        raise ValueError(str(error)) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ValueError("; ".join(problems)) from error


def _expand_preset(value: object) -> object:
    """The name of a preset is short for its list of metrics."""
    if not isinstance(value, str):
        return value
    if value not in PRESETS:
        raise ValueError(f"unknown preset {value!r}.{nearest(value, PRESETS)} Or give a list.")
    return PRESETS[value]


class NullConfig(Section):
    """What the reported score would be if the samples had nothing in common (arXiv:2602.14486)."""

    permutations: NonNegativeInt = 1000
    """0 turns the null off. The smallest p is 1 / (permutations + 1)."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Level of the threshold above which a calibrated score is positive."""
    seed: NonNegativeInt = 0
    correction: Literal["benjamini_hochberg", "holm", "westfall_young"] = "benjamini_hochberg"
    """Over model pairs: false discovery rate, or family-wise (the latter two)."""
    within: Place | None = None
    """A CSV file with the columns `id` and `group`: rows change places inside their group only."""


class IntervalConfig(Section):
    """Where the score of other samples of this kind would lie, at the chosen layers."""

    method: Literal["disjoint", "subsamples"] = "disjoint"
    """From the scores of disjoint parts of the rows, or of m-out-of-n subsamples."""
    parts: Annotated[int, Field(ge=2)] = 8
    """Disjoint parts, or subsamples drawn."""
    size: Annotated[int, Field(ge=4)] | None = None
    """Rows of a subsample; half of all when absent."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: NonNegativeInt = 0


class AlignConfig(Section):
    pairs: tuple[PairConfig, ...] = (
        PairConfig(x=SelectorConfig(modality="language"), y=SelectorConfig(modality="vision")),
    )
    preprocess: PreprocessConfig = PreprocessConfig()
    metrics: Annotated[
        tuple[Annotated[MetricConfig, BeforeValidator(_split_metric)], ...],
        BeforeValidator(_expand_preset),
        Field(min_length=1),
    ] = (MetricConfig(name="mutual_knn", parameters=MutualKnn()),)
    """A list of metrics, or `prh-code` or `prh-paper` for the paper's eight."""
    null: NullConfig = NullConfig()
    interval: IntervalConfig | None = None
    held_out: bool = False
    """Also choose the layers on one half of the rows and report the score on the other."""
    concatenated: bool = False
    """One more candidate layer per model, after the last: all layers side by side."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?(MiB|GiB)$")] | None = None
    """Most that summaries of layers may take, such as `6GiB`; absent: a quarter of what there is.
    No score depends on it."""

    @model_validator(mode="after")
    def _best_of_names_a_metric(self) -> "AlignConfig":
        labels = {entry.parameters.label(): entry for entry in self.metrics}
        if len(labels) < len(self.metrics):
            raise ValueError("metrics: the same metric with the same parameters stands there twice")
        for entry in self.metrics:
            if isinstance(entry.layers, str) and entry.layers.startswith("best of "):
                wanted = entry.layers.removeprefix("best of ")
                same = [e for label, e in labels.items() if wanted in (label, label.split("{")[0])]
                if len(same) != 1 or (isinstance(same[0].layers, str) and same[0].layers != "all"):
                    raise ValueError(
                        f"metrics: `layers: {entry.layers}` must name one other metric of the "
                        f"list, asked at all layers. There are: {', '.join(labels)}."
                    )
        return self


class ControlsConfig(Section):
    """What a score must be held against; each adds rows to the tables, none replaces any."""

    random_weights: bool = False
    """A random-weight copy of every model."""
    shuffled_pairs: bool = False
    """Every model pair once more with the rows of y in a seeded random order."""
    seed: NonNegativeInt = 0


class ExperimentConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: DatasetConfig
    families: tuple[FamilyConfig, ...]
    extract: ExtractConfig = ExtractConfig()
    performance: tuple[PerformanceConfig, ...] = ()
    align: AlignConfig = AlignConfig()
    controls: ControlsConfig = ControlsConfig()
    figures: tuple[FigureConfig, ...] = ()

    def models(self) -> tuple[ModelSpec, ...]:
        """Every model with its family's settings filled in, controls included, in file order."""
        specs = [
            spec
            for family in self.families
            for entry in family.models
            for spec in _specs(family, entry, self.dataset)
        ]
        if self.controls.random_weights:
            trained = [s for s in specs if _has_random_copy(s)]
            specs += [
                s.model_copy(
                    update={
                        "random_init": True,
                        "seed": self.controls.seed,
                        "label": f"{s.label} (random)",
                        "random_of": s.label,
                    }
                )
                for s in trained
            ]
        return tuple(specs)

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> "ExperimentConfig":
        empty = [family.name for family in self.families if not family.models]
        if empty or not self.families:
            raise ValueError(f"no models in {', '.join(empty) or 'families'}: list at least one")
        _refuse_repeats("family name", [family.name for family in self.families])
        _refuse_repeats("measure", [measure.name for measure in self.performance])
        specs = self.models()
        _refuse_repeats("model label (set `label`)", [spec.label for spec in specs])
        known: dict[str, set[str]] = {
            "modality": {str(spec.modality) for spec in specs},
            "family": {spec.family for spec in specs},
            "model": {spec.label for spec in specs},
        }
        for pair in self.align.pairs:
            for selector in (pair.x, pair.y):
                for field, value in selector.model_dump(exclude_none=True).items():
                    if value not in known[field]:
                        raise ValueError(
                            f"align.pairs names the {field} {value!r}, which no model has."
                            f"{nearest(value, known[field])} There are: "
                            f"{', '.join(sorted(known[field]))}."
                        )
        return self


_BACKENDS: Mapping[Modality, Backend] = {
    "language": "transformers",
    "vision": "timm",
    "truth": "features",
    "other": "features",
}


def _has_random_copy(spec: ModelSpec) -> bool:
    """Whether a copy with random weights means anything: once per toy network, at its last step."""
    if spec.backend == "features" or spec.modality == "truth" or spec.random_init:
        return False
    return spec.step is None or spec.step == spec.training.steps


def _specs(family: FamilyConfig, entry: ModelConfig, dataset: DatasetConfig) -> Iterator[ModelSpec]:
    settings = {k: v for k, v in _said(family).items() if k != "models"} | _said(entry)
    settings["training"] = ToyTraining.model_validate(
        _said(family.training) | _said(entry.training)
    )
    backend = settings.get("backend") or _BACKENDS[family.modality]
    label = str(settings.get("label") or settings["name"].rstrip("/").rsplit("/", 1)[-1])
    if "label" not in settings:
        label += f"@{settings['revision']}" if settings.get("revision") else ""
        seed = settings["training"].seed
        label += f"-seed{seed}" if seed else ""
        label += " (random)" if settings.get("random_init") else ""
    spec = ModelSpec.model_validate(
        settings | {"label": label, "family": family.name, "backend": backend}
    )
    if backend != "toyworld":
        yield spec
        return
    if dataset.source != "toyworld":
        raise ValueError(f"{label}: `backend: toyworld` needs `dataset: {{source: toyworld}}`")
    if spec.modality == "truth":
        yield spec.model_copy(update={"world": dataset.world})
        return
    steps = sorted({*spec.training.checkpoints, spec.training.steps})
    for step in steps:
        own = f"{label}@{step}" if len(steps) > 1 else label
        yield spec.model_copy(update={"world": dataset.world, "step": step, "label": own})


def _said(section: Section) -> dict[str, Any]:
    """The fields that the file sets, not those left at their defaults."""
    return {name: getattr(section, name) for name in section.model_fields_set}


def _refuse_repeats(kind: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"repeated {kind}: {', '.join(repeated)}")
