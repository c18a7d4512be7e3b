"""Which models and layers are scored against each other, how, and against what null."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from platorep.config.analyses import (
    ANALYSIS_TABLES,
    CeilingConfig,
    DifferencesConfig,
    GroupsConfig,
    ObservationsConfig,
)
from platorep.config.paths import NameOrPath
from platorep.errors import PlatorepError, nearest
from platorep.parameters.metrics import PRESETS, MetricParameters, MutualKnn, parse
from platorep.parameters.preprocess import PreprocessConfig
from platorep.parameters.section import Section
from platorep.parameters.views import Modality


class SelectorConfig(Section):
    """Some models of the experiment: all that match everything said here."""

    modality: Modality | None = None
    """All models of it."""
    family: str | None = None
    """All models of the family so named."""
    model: str | None = None
    """A label."""


class PairConfig(Section):
    """Every model of `x` with every model of `y`; within one set, every unordered pair once."""

    x: SelectorConfig
    """The models on one side."""
    y: SelectorConfig
    """The models on the other."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:
        """`[language, vision]` and `{x: language, y: {family: dinov2}}` are short forms."""
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            value = {"x": value[0], "y": value[1]}
        if isinstance(value, Mapping):
            value = {k: {"modality": v} if isinstance(v, str) else v for k, v in value.items()}
        return value


BEST_OF = "best of "


class MetricConfig(Section):
    """A metric with its parameters, and the layers it is asked at."""

    name: str
    """From `platorep list metrics`, or `package.module:metric` of your own."""
    layers: (
        Literal["all", "last"] | Annotated[str, Field(pattern=f"^{BEST_OF}")] | tuple[int, ...]
    ) = "all"
    """All layer pairs, the last layers only, `best of METRIC` (the pair of layers at which another
    metric of this list is best), or these of either model (negative: from the end)."""
    parameters: SerializeAsAny[MetricParameters]

    @property
    def label(self) -> str:
        return self.parameters.label()

    @property
    def best_of(self) -> str | None:
        """Name or label of the metric whose best layers these are, or None."""
        if not isinstance(self.layers, str) or not self.layers.startswith(BEST_OF):
            return None
        return self.layers.removeprefix(BEST_OF)


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
    """Which permutations are drawn."""
    correction: Literal["benjamini_hochberg", "holm", "westfall_young"] = "benjamini_hochberg"
    """Over model pairs: false discovery rate, or family-wise (the latter two)."""
    within: NameOrPath | None = None
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
    """Of the interval."""
    seed: NonNegativeInt = 0
    """Which rows go together."""


class GalleryConfig(Section):
    """Alignment against the number of samples that neighbors are looked for among
    (arXiv:2604.18572). docs/metrics.md, "Large galleries", has the definition."""

    queries: Annotated[int, Field(ge=4)] = 1024
    """The first rows of the dataset. Everything else that `align` does is done on these alone: the
    layers are chosen here and kept."""
    sizes: Annotated[tuple[PositiveInt | Literal["all"], ...], Field(min_length=1)] = (1024, "all")
    """Rows of each gallery, the queries among them; `all` rows of the dataset."""
    k: Annotated[
        tuple[PositiveInt | Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")], ...],
        Field(min_length=1),
    ] = (1, 10, "1%")
    """Neighbors per query: a number, or a share of the gallery (rounded, at least 1)."""
    groups: NameOrPath | None = None
    """A CSV file with the columns `id` and `group`: rows of one group have the same source, and a
    neighbor counts if its source is right."""
    seed: NonNegativeInt = 0
    """The order in which the other rows join the galleries."""

    def neighbors(self, rule: int | str, n: int) -> int:
        """The k that `rule`, an entry of `k`, means in a gallery of n."""
        if isinstance(rule, int):
            return rule
        return max(1, math.floor(n * float(rule[:-1]) / 100 + 0.5))

    @model_validator(mode="after")
    def _sizes_fit(self) -> "GalleryConfig":
        numbers = [size for size in self.sizes if size != "all"]
        if list(self.sizes) != sorted(set(numbers)) + ["all"] * (len(self.sizes) - len(numbers)):
            raise ValueError("sizes: must rise, `all` last and once")
        smallest = min([*numbers, self.queries]) if numbers else self.queries
        if smallest < self.queries:
            raise ValueError(
                f"sizes: a gallery holds the queries, so {smallest} is too few for {self.queries}"
            )
        for rule in self.k:
            if self.neighbors(rule, smallest) >= smallest:
                raise ValueError(f"k: {rule} must be fewer than the {smallest - 1} other rows")
            if isinstance(rule, str) and float(rule[:-1]) == 0:
                raise ValueError("k: 0% of a gallery are no neighbors")
        said = [rule if isinstance(rule, int) else f"{float(rule[:-1]):g}%" for rule in self.k]
        if len(set(said)) < len(said):
            raise ValueError("k: the same stands there twice")
        return self


class AlignConfig(Section):
    pairs: tuple[PairConfig, ...] = (
        PairConfig(x=SelectorConfig(modality="language"), y=SelectorConfig(modality="vision")),
    )
    """Models x and models y; two modalities are short for all models of each."""
    preprocess: PreprocessConfig = PreprocessConfig()
    """The steps before any metric, or `paper` for the paper's."""
    metrics: Annotated[
        tuple[Annotated[MetricConfig, BeforeValidator(_split_metric)], ...],
        BeforeValidator(_expand_preset),
        Field(min_length=1),
    ] = (MetricConfig(name="mutual_knn", parameters=MutualKnn()),)
    """A list of metrics, or `prh-code` or `prh-paper` for the paper's eight."""
    null: NullConfig = NullConfig()
    """The permutation null."""
    interval: IntervalConfig | None = None
    held_out: bool = False
    """Also choose the layers on one half of the rows and report the score on the other."""
    concatenated: bool = False
    """One more candidate layer per model, after the last: all layers side by side."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?(MiB|GiB)$")] | None = None
    """Most that summaries of layers, and the layer that is worked on, may take, such as `6GiB`;
    absent: a quarter of what there is. No score depends on it."""
    gallery: GalleryConfig | None = None
    """Also score the chosen layers in galleries of growing size."""
    repeats: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """View -> views that observe the same anew: other captions of a photograph, other crops, other
    recordings. What reads the former is also extracted on these, for `ceiling` and `observations`
    alone: such a copy is scored against nothing else."""
    ceiling: CeilingConfig | None = None
    """Also say how much two models can agree at most; needs `repeats`."""
    observations: ObservationsConfig | None = None
    """Also score features averaged over several observations; needs `repeats`."""
    differences: DifferencesConfig | None = None
    """Also hold the scores of every two models against each other."""
    groups: GroupsConfig | None = None
    """Also say on which groups of rows models agree."""

    def scored_rows(self, num_rows: int) -> int:
        """How many of the dataset's rows, from the first, the layers are scored on."""
        return num_rows if self.gallery is None else min(self.gallery.queries, num_rows)

    def asked_analyses(self) -> tuple[str, ...]:
        return tuple(name for name in ANALYSIS_TABLES if getattr(self, name) is not None)

    def further_tables(self) -> tuple[str, ...]:
        """Names of the tables of the analyses that are asked for."""
        return tuple(table for name in self.asked_analyses() for table in ANALYSIS_TABLES[name])

    def read_anew(self) -> dict[str, tuple[str, ...]]:
        """View -> all views on which what reads it is extracted once more."""
        joined = {} if self.observations is None else self.observations.joined
        return {
            view: (*others, *joined.get(view, {}).values()) for view, others in self.repeats.items()
        }

    def gallery_metric(self) -> MutualKnn:
        """The metric whose chosen layers, and whose idea of near, the galleries take."""
        return next(e.parameters for e in self.metrics if isinstance(e.parameters, MutualKnn))

    @model_validator(mode="after")
    def _gallery_has_a_metric(self) -> "AlignConfig":
        if self.gallery is None:
            return self
        knn = [e.parameters for e in self.metrics if isinstance(e.parameters, MutualKnn)]
        if not knn or knn[0].ties != "shared":
            raise ValueError(
                "gallery: takes its layers from the first mutual_knn of `metrics`, which must be "
                "there, with `ties: shared`"
            )
        return self

    def chosen_by(self, entry: MetricConfig) -> MetricConfig:
        """The metric at whose best layers `entry` is asked (`best of`).

        Raises:
            ValueError: not one other metric of the list, asked at all layers, is called so.
        """
        same = [e for e in self.metrics if entry.best_of in (e.name, e.label)]
        if len(same) != 1 or same[0].best_of is not None or same[0].layers == "last":
            raise ValueError(
                f"metrics: `layers: {entry.layers}` must name one other metric of the list, asked "
                f"at all layers. There are: {', '.join(e.label for e in self.metrics)}."
            )
        return same[0]

    @model_validator(mode="after")
    def _repeats_are_for_something(self) -> "AlignConfig":
        needs = self.ceiling is not None or self.observations is not None
        if needs and not self.repeats:
            raise ValueError(
                "ceiling, observations: need `repeats`, the views that observe again what a view "
                "observes, such as {text: [text_1, text_2]}"
            )
        if self.repeats and not needs:
            raise ValueError("repeats: has no effect without `ceiling` or `observations`")
        joined = {} if self.observations is None else self.observations.joined
        if others := [view for view in joined if view not in self.repeats]:
            raise ValueError(
                f"observations.joined: names the view {others[0]!r}, which has no `repeats`."
                f"{nearest(others[0], self.repeats)}"
            )
        return self

    @model_validator(mode="after")
    def _best_of_names_a_metric(self) -> "AlignConfig":
        if len({entry.label for entry in self.metrics}) < len(self.metrics):
            raise ValueError("metrics: the same metric with the same parameters stands there twice")
        for entry in self.metrics:
            if entry.best_of is not None:
                self.chosen_by(entry)
        return self
