"""What an experiment file may say about each figure. Light: pydantic only."""

from typing import Annotated, Literal

from pydantic import Field

from platorep.parameters.section import Section

Modality = Literal["language", "vision", "truth", "other"]


class _Figure(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """File name without its ending; the kind (numbered where it repeats) when absent."""
    metric: str | None = None
    """Label of a metric of this experiment, or its bare name; the first one when absent."""
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


FigureConfig = Annotated[
    ScalingFigure | HeatmapFigure | LayerHeatmapFigure, Field(discriminator="kind")
]
