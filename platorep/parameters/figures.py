"""What an experiment file may say about each figure. Light: pydantic only."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_validator,
)

from platorep.errors import ConfigError, PlatorepError, listed, nearest
from platorep.parameters.section import Section
from platorep.parameters.views import Modality
from platorep.plugins import require_plugin

SIZE = "num_parameters"
"""What a figure may put on an axis besides the measures: the models' sizes."""


LayerColumn = Literal[
    "effective_rank",
    "effective_dimension",
    "spectral_slope",
    "intrinsic_dimension",
    "hubness",
    "mean_cosine",
    "largest_share",
    "largest_share_before",
]
"""What layers.csv says of a layer's geometry."""


class FigureParameters(Section):
    """What every figure may be told; those of an installed package derive from it too."""

    MENTIONS: ClassVar[Mapping[str, str]] = {}
    """Keys, besides `metric`, that name something of the experiment, and what: the check of the
    file knows them."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """File name without its ending; the kind (numbered where it repeats) when absent."""
    metric: str | None = None
    """Label of a metric of this experiment, or its bare name; the first one when absent. A figure
    of several metrics pays no heed to it."""
    width: Literal["single", "double"] | None = None
    """Column width in print: 3.3 or 6.9 inches, more where names would not fit; what the content
    needs when absent."""
    kind: str

    about: bool = True
    """Say below the figure what the data, the number of rows and the metric are, and what is drawn
    where."""

    def mentions(self) -> Iterator[tuple[str, str, str]]:
        """Key, what it names, and the name, of all that must be there for this figure."""
        for key, what in ({"metric": "metric"} | dict(self.MENTIONS)).items():
            value = getattr(self, key)
            for name in (value,) if isinstance(value, str) else value or ():
                yield key, what, name


class ScalingFigure(FigureParameters):
    """Alignment against performance or size: a panel per family, a line per model."""

    MENTIONS: ClassVar[Mapping[str, str]] = {
        **FigureParameters.MENTIONS,
        "x": "measure",
        "references": "model",
    }
    kind: Literal["scaling"] = "scaling"
    x: str = "bits_per_byte"
    """`num_parameters` (log axis), or a performance measure; one of which less is better (bits per
    byte, an error) is shown as 1 - its value, so that better is to the right."""
    points: Modality = "language"
    """The models along the x axis."""
    lines: Modality = "vision"
    """The models that a line belongs to; their families are the panels."""
    connect: Literal["all", "family", "trend"] | None = None
    """A line joins all its points, or only those of one family, or gives way to a straight line of
    least squares within each family of points (over log10 of num_parameters); absent: all, but
    trend where x is num_parameters."""
    references: tuple[str, ...] = ()
    """Labels of models of `points` that are drawn as a level over the whole width, as baselines
    are: such as have no x."""
    controls: bool = True
    """Draw controls where the tables have them: random weights, shuffled pairs, changed views,
    baselines."""
    names: bool = True
    """Name every point above the panels. For checkpoints of few models rather not: their families
    are in the legend."""
    correlation: bool = True
    """Print Spearman's correlation in each panel; the CSV has it, and others, in any case."""


class HeatmapFigure(FigureParameters):
    """Best score of every model pair as a matrix, models grouped by family."""

    kind: Literal["heatmap"] = "heatmap"
    value: Literal["score", "calibrated"] = "score"
    """The score itself, or what is left of it above the null."""
    values: bool | None = None
    """Print the numbers; when they fit, if absent."""
    controls: bool = True
    """Show random-weight controls, in rows and columns of their own, and baselines."""


class LayerHeatmapFigure(FigureParameters):
    """Score of every layer pair of one model pair; the best is ringed."""

    MENTIONS: ClassVar[Mapping[str, str]] = {"pair": "model"}
    kind: Literal["layer_heatmap"] = "layer_heatmap"
    pair: tuple[str, str] | None = None
    """Labels of model x and model y; the pair with the best score when absent."""


class MetricGridFigure(FigureParameters):
    """`scaling` for many metrics: a row per metric, a column per family."""

    MENTIONS: ClassVar[Mapping[str, str]] = {"metrics": "metric", "x": "measure"}
    kind: Literal["metric_grid"] = "metric_grid"
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Labels or bare names of the metrics; all of them when absent."""
    x: str = "bits_per_byte"
    """As of `scaling`."""
    points: Modality = "language"
    """As of `scaling`."""
    lines: Modality = "vision"
    """As of `scaling`."""
    controls: bool = False
    """Draw controls too."""


class CalibrationFigure(FigureParameters):
    """Raw scores above, null-calibrated scores below; open markers: not significant."""

    MENTIONS: ClassVar[Mapping[str, str]] = {"x": "measure"}
    kind: Literal["calibration"] = "calibration"
    x: str = "bits_per_byte"
    """As of `scaling`."""
    points: Modality = "language"
    """As of `scaling`."""
    lines: Modality = "vision"
    """As of `scaling`."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Level that the adjusted p-value (else the p-value) is held against."""


class KSweepFigure(FigureParameters):
    """A neighborhood metric over k: mean score beside chance, and its trend with performance."""

    MENTIONS: ClassVar[Mapping[str, str]] = {"metric": "metric scored at several k", "x": "measure"}
    kind: Literal["k_sweep"] = "k_sweep"
    metric: str | None = None
    """Bare name of the metric; the first that was scored at several k when absent."""
    x: str = "bits_per_byte"
    """As of `scaling`."""
    points: Modality = "language"
    """As of `scaling`."""
    lines: Modality = "vision"
    """As of `scaling`."""


class MetricCorrelationFigure(FigureParameters):
    """Spearman correlation between metrics over all model pairs."""

    kind: Literal["metric_correlation"] = "metric_correlation"
    controls: bool = False
    """Let random-weight models take part."""


class LayersFigure(FigureParameters):
    """Where in depth the best layers lie, and alignment along depth."""

    kind: Literal["layers"] = "layers"
    x: Modality = "language"
    """The models that the panels are of."""
    y: Modality = "vision"
    """The modalities of the two sides; pairs of others are not mixed with them."""


class GeometryFigure(FigureParameters):
    """The geometry of layers beside their alignment along depth: which of it goes with the score?

    Over each panel the mean over models of Spearman's correlation over layers, and two p-values
    that know that neighboring layers are alike (`platorep/statistics/profiles.py`).
    """

    kind: Literal["geometry"] = "geometry"
    columns: Annotated[tuple[LayerColumn, ...], Field(min_length=1)] = (
        "effective_rank",
        "spectral_slope",
        "intrinsic_dimension",
        "hubness",
        "largest_share",
    )
    """Of layers.csv, a row of panels each. (Where the mean is subtracted `mean_cosine` is 0.)"""
    x: Modality = "language"
    """The models on the left."""
    y: Modality = "vision"
    """The modalities whose alignment it is; the models of each have a column of panels."""


class ReferenceModels(Section):
    """The models that others are aligned to: all that match everything said here."""

    modality: Modality | None = None
    """All models of it."""
    family: str | None = None
    """All models of the family so named."""
    model: str | None = None
    """A label."""


class DownstreamFigure(FigureParameters):
    """A benchmark against alignment to reference models, a line against a sigmoid."""

    MENTIONS: ClassVar[Mapping[str, str]] = {
        **FigureParameters.MENTIONS,
        "y": "measure",
        "held_out": "family",
    }
    kind: Literal["downstream"] = "downstream"
    y: str = "bits_per_byte"
    """A performance measure; one of which less is better is shown as 1 - its value."""
    points: Modality = "language"
    """The models that are measured: one point each."""
    reference: ReferenceModels = ReferenceModels(modality="vision")
    """x is the mean alignment to these, such as `{family: DINOv2}`; random copies are left out."""
    floor: float = 0.0
    """Where the sigmoid starts: what guessing scores (0.25 for HellaSwag, 0 for GSM8K)."""
    held_out: tuple[str, ...] = ()
    """Families of points that the curves are not fitted to, only tested on (arXiv:2604.18572)."""
    names: bool = True
    """Name every point above the panel."""


class ConvergenceFigure(FigureParameters):
    """Alignment among models that solve as many tasks, and a map of all models."""

    MENTIONS: ClassVar[Mapping[str, str]] = {"measure": "measure"}
    kind: Literal["convergence"] = "convergence"
    measure: str = "tasks_solved"
    """The performance measure that models are binned and coloured by."""
    models: Modality = "vision"
    """All pairs of these must have been scored: `align: {pairs: [[vision, vision]]}`."""
    bins: Annotated[int, Field(ge=1, le=50)] = 5
    """Bins of equal width; a value on the edge of two belongs to the upper one."""
    range: tuple[float, float] | None = (0.0, 1.0)
    """Ends of the first and the last bin; null: the smallest and the largest value."""
    controls: bool = False
    """Let the random-weight copies of `controls: {random_weights: true}` take part. A model that
    the experiment lists with `random_init: true` always does."""
    layout: Literal["auto", "umap", "mds"] = "auto"
    """The map: umap-learn, or metric multidimensional scaling; auto: umap-learn if it is installed
    and there are at least 15 models."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the map."""

    @model_validator(mode="after")
    def _range_rises(self) -> "ConvergenceFigure":
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range: the first end must be the lower one; got {self.range}")
        return self


class DensityFigure(FigureParameters):
    """Alignment against the number of words in the caption: the mean over all model pairs."""

    MENTIONS: ClassVar[Mapping[str, str]] = {
        **FigureParameters.MENTIONS,
        "views": "view",
    }
    kind: Literal["density"] = "density"
    views: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """Names of the views of text to show; all of them when absent. Those of one figure should be
    of one kind (joined, cut, ordered by length), since one line goes through them."""
    lines: Modality = "vision"
    """The models that the language models are aligned with."""
    spread: Literal["pairs", "models"] = "pairs"
    """Bars: the standard error over model pairs, or the standard deviation over language models (of
    their means), which is what the paper shows."""
    controls: bool = True
    """Draw random-weight and shuffled controls where the tables have them."""


class GalleryFigure(FigureParameters):
    """Alignment against the size of the gallery, at fixed k and at k a share of n."""

    kind: Literal["gallery"] = "gallery"
    controls: bool = True
    """Draw random-weight and shuffled controls where the tables have them."""


class SensesFigure(FigureParameters):
    """A panel per pair of senses: does their alignment rise with size, and which tells most?"""

    MENTIONS: ClassVar[Mapping[str, str]] = {
        **FigureParameters.MENTIONS,
        "senses": "modality",
        "x": "measure",
    }
    kind: Literal["senses"] = "senses"
    senses: Annotated[tuple[Modality, ...], Field(min_length=2)] | None = None
    """Modalities to show; all of which models were scored when absent."""
    x: str = SIZE
    """What grows along a panel, of the models of its column: `num_parameters` (log axis), or a
    performance measure that several senses have; a sense without it is shown in rows only."""
    controls: bool = True
    """Draw random-weight controls where the tables have them."""


class ChangesFigure(FigureParameters):
    """What the score lives on: what is left of it on each changed view (`controls.changed_views`).

    A panel per pair of modalities, a line per changed view, the mean over model pairs.
    """

    kind: Literal["changes"] = "changes"
    controls: bool = True
    """A line for the same models with random weights, where the tables have them."""


class DifferencesFigure(FigureParameters):
    """Ranks with their intervals, and who is surely above whom (`align.differences`)."""

    kind: Literal["differences"] = "differences"
    side: Modality | None = None
    """The modality whose models are ranked; the first of ranks.csv when absent."""
    against: Modality | None = None
    """That of their partners, likewise."""
    partner: str | None = None
    """The label of one partner; when absent all of them together, or the only one."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The corrected p at which one model is surely above another."""


class ObservationsFigure(FigureParameters):
    """Alignment against the number of observations that features are averaged over: a line per
    averaged model, the mean over its trained partners, and where it would end."""

    kind: Literal["observations"] = "observations"
    law: Literal["attenuation", "power"] = "attenuation"
    """The curve, and so the end: averaged noise on the scale on which it multiplies, or the power
    law of arXiv:2511.02767 (docs/metrics.md, "Observations")."""
    partner: Literal["one", "all"] = "one"
    """How many of the partners' own observations are averaged."""
    controls: bool = True
    """Draw random weights and baselines where the tables have them."""


class GroupsFigure(FigureParameters):
    """Groups of rows: which two models agree on, and how much of it the groups alone would give."""

    MENTIONS: ClassVar[Mapping[str, str]] = {**FigureParameters.MENTIONS, "pair": "model"}
    kind: Literal["groups"] = "groups"
    pair: tuple[str, str] | None = None
    """Labels of model x and model y; the trained pair of two modalities with the best score when
    absent."""
    by: Literal["file", "words", "clusters of x", "clusters of y"] | None = None
    """Which division; the first that `align.groups` makes when absent."""


FigureConfig = Annotated[
    ScalingFigure
    | HeatmapFigure
    | LayerHeatmapFigure
    | MetricGridFigure
    | CalibrationFigure
    | KSweepFigure
    | MetricCorrelationFigure
    | LayersFigure
    | GeometryFigure
    | DownstreamFigure
    | ConvergenceFigure
    | DensityFigure
    | GalleryFigure
    | SensesFigure
    | ChangesFigure
    | DifferencesFigure
    | ObservationsFigure
    | GroupsFigure,
    Field(discriminator="kind"),
]


FIGURE_KINDS: tuple[str, ...] = tuple(
    one.model_fields["kind"].default for one in get_args(get_args(FigureConfig)[0])
)


def _of_a_package(figure: Any, check: Callable[[Any], Any]) -> Any:
    """The parameters of a figure, those of an installed package's by what it says they are."""
    kind = figure.get("kind") if isinstance(figure, Mapping) else getattr(figure, "kind", None)
    if not isinstance(kind, str) or kind in FIGURE_KINDS:
        return check(figure)
    try:
        plugin = require_plugin("figures", kind, FIGURE_KINDS)
        parameters = getattr(plugin.load(), "parameters", None)
    except PlatorepError as error:
        raise ValueError(str(error)) from error
    if (
        not isinstance(parameters, type)
        or not issubclass(parameters, FigureParameters)
        or parameters.model_fields["kind"].default != kind
    ):
        raise ValueError(
            f"{plugin.whose}: expected a platorep.plots.Figure, whose `parameters` derive from "
            f"platorep.parameters.figures.FigureParameters and have `kind: str = {kind!r}`; found "
            f"{parameters!r}. Update the package, or uninstall it."
        )
    if isinstance(figure, Mapping):
        _refuse_unknown_keys(figure, parameters)
    try:
        return parameters.model_validate(figure)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ValueError("; ".join(problems)) from error


def _refuse_unknown_keys(figure: Mapping[str, Any], parameters: type[FigureParameters]) -> None:
    known = parameters.model_fields
    if unknown := [key for key in figure if key not in known]:
        raise ValueError(
            f"unknown key {unknown[0]!r}.{nearest(unknown[0], known)} Known: {listed(known)}"
        )


AnyFigure = Annotated[SerializeAsAny[FigureConfig], WrapValidator(_of_a_package)]
"""An entry of `figures`: a figure that is built in, or an installed package's."""


def figure_parameters(said: Mapping[str, Any]) -> FigureParameters:
    """Checked parameters of one figure, from what a file would say of it.

    Raises:
        ConfigError: there is no such kind, or a parameter is wrong.
    """
    kind = said.get("kind")
    try:
        for section in get_args(get_args(FigureConfig)[0]):
            if section.model_fields["kind"].default == kind:
                _refuse_unknown_keys(said, section)
        found: FigureParameters = TypeAdapter(AnyFigure).validate_python(said)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"] if part != kind)
            message = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{where}: {message}".removeprefix(": "))
        raise ConfigError(f"figure {kind!r}: {'; '.join(problems)}") from error
    except ValueError as error:
        raise ConfigError(f"figure {kind!r}: {error}") from error
    return found


def figure_names(figures: Iterable[FigureParameters]) -> list[str]:
    """A file name, without ending, for each figure: its `name`, or its kind, numbered if taken."""
    names: list[str] = []
    for figure in figures:
        wanted = figure.name or figure.kind
        name, number = wanted, 1
        while name in names:
            number += 1
            name = f"{wanted}-{number}"
        names.append(name)
    return names
