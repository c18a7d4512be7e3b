"""What an experiment file may say about each figure. Light: pydantic only."""

from typing import Annotated, Literal

from pydantic import Field

from platorep.parameters.section import Section

Modality = Literal["language", "vision", "truth", "other"]


class _Figure(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """File name without its ending; the kind (numbered where it repeats) when absent."""
    metric: str | None = None
    """Label of a metric of this experiment, or its bare name; the first one when absent. A figure
    of several metrics pays no heed to it."""
    width: Literal["single", "double"] | None = None
    """Column width in print: 3.3 or 6.9 inches; what the content needs when absent."""


class ScalingFigure(_Figure):
    """Alignment against performance or size: a panel per family, a line per model."""

    kind: Literal["scaling"] = "scaling"
    x: str = "bits_per_byte"
    """`num_parameters` (log axis), or a performance measure; bits_per_byte is shown as
    1 - bits per byte, so that better is to the right."""
    points: Modality = "language"
    """The models along the x axis."""
    lines: Modality = "vision"
    """The models that a line belongs to; their families are the panels."""
    connect: Literal["all", "family"] | None = None
    """A line joins all its points, or only those of one family; absent: all, but within families
    where x is num_parameters."""
    controls: bool = True
    """Draw random-weight and shuffled controls where the tables have them."""
    names: bool = True
    """Name every point above the panels. For checkpoints of few models rather not: their families
    are in the legend."""


class HeatmapFigure(_Figure):
    """Best score of every model pair as a matrix, models grouped by family."""

    kind: Literal["heatmap"] = "heatmap"
    value: Literal["score", "calibrated"] = "score"
    values: bool | None = None
    """Print the numbers; when they fit, if absent."""
    controls: bool = True
    """Show random-weight controls, in rows and columns of their own."""


class LayerHeatmapFigure(_Figure):
    """Score of every layer pair of one model pair; the best is ringed."""

    kind: Literal["layer_heatmap"] = "layer_heatmap"
    pair: tuple[str, str] | None = None
    """Labels of model x and model y; the pair with the best score when absent."""


class MetricGridFigure(_Figure):
    """`scaling` for many metrics: a row per metric, a column per family."""

    kind: Literal["metric_grid"] = "metric_grid"
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Labels or bare names of the metrics; all of them when absent."""
    x: str = "bits_per_byte"
    points: Modality = "language"
    lines: Modality = "vision"
    controls: bool = False


class CalibrationFigure(_Figure):
    """Raw scores above, null-calibrated scores below; open markers: not significant."""

    kind: Literal["calibration"] = "calibration"
    x: str = "bits_per_byte"
    points: Modality = "language"
    lines: Modality = "vision"
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Level that the adjusted p-value (else the p-value) is held against."""


class KSweepFigure(_Figure):
    """A neighborhood metric over k: mean score beside chance, and its trend with performance."""

    kind: Literal["k_sweep"] = "k_sweep"
    metric: str | None = None
    """Bare name of the metric; the first that was scored at several k when absent."""
    x: str = "bits_per_byte"
    points: Modality = "language"
    lines: Modality = "vision"


class MetricCorrelationFigure(_Figure):
    """Spearman correlation between metrics over all model pairs."""

    kind: Literal["metric_correlation"] = "metric_correlation"
    controls: bool = False
    """Let random-weight models take part."""


class LayersFigure(_Figure):
    """Where in depth the best layers lie, and alignment along depth."""

    kind: Literal["layers"] = "layers"


class GalleryFigure(_Figure):
    """Alignment against the size of the gallery, at fixed k and at k a share of n."""

    kind: Literal["gallery"] = "gallery"
    controls: bool = True
    """Draw random-weight and shuffled controls where the tables have them."""


FigureConfig = Annotated[
    ScalingFigure
    | HeatmapFigure
    | LayerHeatmapFigure
    | MetricGridFigure
    | CalibrationFigure
    | KSweepFigure
    | MetricCorrelationFigure
    | LayersFigure
    | GalleryFigure,
    Field(discriminator="kind"),
]
