"""Figures: data frames in, a figure out. No score is computed here.

To add a figure: its parameters in `platorep.parameters.figures`, a function that selects its
points, one that draws them, and an entry below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import figure as mpl

from platorep.parameters.figures import (
    CalibrationFigure,
    ChangesFigure,
    ConvergenceFigure,
    DensityFigure,
    DifferencesFigure,
    DownstreamFigure,
    FigureParameters,
    GalleryFigure,
    GeometryFigure,
    GroupsFigure,
    HeatmapFigure,
    KSweepFigure,
    LayerHeatmapFigure,
    LayersFigure,
    MetricCorrelationFigure,
    MetricGridFigure,
    ObservationsFigure,
    ScalingFigure,
    SensesFigure,
)
from platorep.parameters.section import Section
from platorep.plots.about import data_text, framed
from platorep.plots.changes import changes_points, draw_changes, say_changes
from platorep.plots.convergence import convergence_points, draw_convergence, say_convergence
from platorep.plots.correlation import (
    draw_metric_correlation,
    metric_correlation_points,
    say_metric_correlation,
)
from platorep.plots.density import density_points, draw_density, say_density
from platorep.plots.depth import draw_layers, layers_points, say_layers
from platorep.plots.differences import differences_points, draw_differences, say_differences
from platorep.plots.downstream import downstream_points, draw_downstream, say_downstream
from platorep.plots.gallery import draw_gallery, gallery_points, say_gallery
from platorep.plots.geometry import draw_geometry, geometry_points, say_geometry
from platorep.plots.grids import (
    calibration_points,
    draw_facets,
    metric_grid_points,
    say_calibration,
)
from platorep.plots.groups import draw_groups, groups_points, say_groups
from platorep.plots.heatmap import draw_heatmap, heatmap_points, say_heatmap
from platorep.plots.k_sweep import draw_k_sweep, k_sweep_points, say_k_sweep
from platorep.plots.labels import legible_frame
from platorep.plots.layer_heatmap import draw_layer_heatmap, layer_heatmap_points, say_layer_heatmap
from platorep.plots.observations import draw_observations, observations_points, say_observations
from platorep.plots.saving import write_figure
from platorep.plots.scaling import draw_scaling, say_scaling, scaling_points
from platorep.plots.senses import draw_senses, say_senses, senses_points
from platorep.plots.style import figure_style
from platorep.plots.tables import Points, Tables
from platorep.plugins import require_plugin
from platorep.registry import index_by_name

__all__ = [
    "FIGURES",
    "Figure",
    "Points",
    "SavedFigure",
    "Tables",
    "draw_figure",
    "figure_kind",
    "save_figure",
]


def _nothing(points: pd.DataFrame, parameters: object) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One kind of figure. `draw` sees nothing but the points: they are its CSV."""

    name: str
    parameters: type[Section]
    points: Callable[[Tables, Any], Points]
    draw: Callable[[pd.DataFrame, Any], mpl.Figure]
    says: Callable[[pd.DataFrame, Any], str] = _nothing
    """What is drawn where: a sentence or two that stand below the figure."""
    sweeps: bool = False
    """The number of rows and k stand at its axes and lines: there is no one of them."""
    changed_views: bool = False
    """It shows models' copies on changed views; for all other figures they are not there."""
    baselines: bool = False
    """It shows baselines; for all other figures they are not there."""


FIGURES = index_by_name(
    (
        Figure(
            name="scaling",
            parameters=ScalingFigure,
            points=scaling_points,
            draw=draw_scaling,
            says=say_scaling,
            changed_views=True,
            baselines=True,
        ),
        Figure(
            name="heatmap",
            parameters=HeatmapFigure,
            points=heatmap_points,
            draw=draw_heatmap,
            says=say_heatmap,
            baselines=True,
        ),
        Figure(
            name="layer_heatmap",
            parameters=LayerHeatmapFigure,
            points=layer_heatmap_points,
            draw=draw_layer_heatmap,
            says=say_layer_heatmap,
        ),
        Figure(
            name="metric_grid",
            parameters=MetricGridFigure,
            points=metric_grid_points,
            draw=draw_facets,
            says=say_scaling,
            baselines=True,
        ),
        Figure(
            name="calibration",
            parameters=CalibrationFigure,
            points=calibration_points,
            draw=draw_facets,
            says=say_calibration,
            baselines=True,
        ),
        Figure(
            name="k_sweep",
            parameters=KSweepFigure,
            points=k_sweep_points,
            draw=draw_k_sweep,
            says=say_k_sweep,
        ),
        Figure(
            name="metric_correlation",
            parameters=MetricCorrelationFigure,
            points=metric_correlation_points,
            draw=draw_metric_correlation,
            says=say_metric_correlation,
        ),
        Figure(
            name="layers",
            parameters=LayersFigure,
            points=layers_points,
            draw=draw_layers,
            says=say_layers,
        ),
        Figure(
            name="geometry",
            parameters=GeometryFigure,
            points=geometry_points,
            draw=draw_geometry,
            says=say_geometry,
        ),
        Figure(
            name="downstream",
            parameters=DownstreamFigure,
            points=downstream_points,
            draw=draw_downstream,
            says=say_downstream,
        ),
        Figure(
            name="convergence",
            parameters=ConvergenceFigure,
            points=convergence_points,
            draw=draw_convergence,
            says=say_convergence,
        ),
        Figure(
            name="density",
            parameters=DensityFigure,
            points=density_points,
            draw=draw_density,
            says=say_density,
        ),
        Figure(
            name="groups",
            parameters=GroupsFigure,
            points=groups_points,
            draw=draw_groups,
            says=say_groups,
        ),
        Figure(
            name="gallery",
            parameters=GalleryFigure,
            points=gallery_points,
            draw=draw_gallery,
            says=say_gallery,
            sweeps=True,
        ),
        Figure(
            name="changes",
            parameters=ChangesFigure,
            points=changes_points,
            draw=draw_changes,
            says=say_changes,
            changed_views=True,
        ),
        Figure(
            name="differences",
            parameters=DifferencesFigure,
            points=differences_points,
            draw=draw_differences,
            says=say_differences,
            changed_views=True,
        ),
        Figure(
            name="observations",
            parameters=ObservationsFigure,
            points=observations_points,
            draw=draw_observations,
            says=say_observations,
            baselines=True,
        ),
        Figure(
            name="senses",
            parameters=SensesFigure,
            points=senses_points,
            draw=draw_senses,
            says=say_senses,
        ),
    )
)


@dataclass(frozen=True)
class SavedFigure:
    """The files of a figure, and what it leaves out and why."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def figure_kind(name: str) -> Figure:
    """The kind of figure that is called so: built in, or an installed package's.

    Raises:
        UnknownNameError: there is none.
        ConfigError: the package's cannot be imported, or is none.
    """
    if name in FIGURES:
        return FIGURES[name]
    return require_plugin("figures", name, FIGURES).load_as(Figure)


def draw_figure(tables: Tables, parameters: FigureParameters) -> tuple[mpl.Figure, Points]:
    """Draw one figure of an experiment; the points are what it shows.

    Raises:
        AbsentError: there is nothing to draw; says what is missing.
        UnknownNameError: the tables have no such metric.
    """
    kind = figure_kind(parameters.kind)
    shown_tables = tables if kind.changed_views else tables.without_changed_views()
    shown_tables = shown_tables if kind.baselines else shown_tables.without_baselines()
    points = kind.points(shown_tables, parameters)
    _, changed = legible_frame(points.frame)
    about = _about(kind, points.frame, shown_tables.best, parameters) if parameters.about else None
    figure = framed(lambda shown: kind.draw(shown, parameters), points.frame, about)
    return figure, replace(points, notes=(*points.notes, *_told(changed)))


def _about(
    kind: Figure, points: pd.DataFrame, best: pd.DataFrame, parameters: FigureParameters
) -> str:
    """What stands below the figure."""
    metrics = _known(points if "metric" in points else best, "metric")
    bare = list(dict.fromkeys(metric.split("{")[0] for metric in metrics))
    rows = best[best["metric"].str.split("{").str[0].isin(bare)] if len(best) else best
    num_rows = [] if kind.sweeps else [float(n) for n in _known(rows, "n")]
    dataset = ", ".join(_known(rows, "dataset"))
    data = data_text(dataset, num_rows, bare if kind.sweeps else metrics)
    return f"{data} {kind.says(points, parameters)}".strip()


def _known(table: pd.DataFrame, column: str) -> list[Any]:
    return table[column].dropna().unique().tolist() if column in table else []


def _told(changed: Mapping[str, str]) -> tuple[str, ...]:
    """What the figure calls otherwise than the tables do."""
    texts = [f"{text!r} as {shown!r}" for text, shown in changed.items()]
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return (f"drawn {', '.join(texts[:3])}{more}; the CSV has them in full",) if texts else ()


def save_figure(stem: Path, tables: Tables, parameters: FigureParameters) -> SavedFigure:
    """Draw one figure and write `stem`.pdf, `stem`.png (300 dpi) and `stem`.csv.

    The same tables give the same bytes, up to the version of matplotlib.

    Raises:
        AbsentError: there is nothing to draw; says what is missing.
        UnknownNameError: the tables have no such metric.
        StorageError: the disk is full or the folder cannot be written.
    """
    figure, points = draw_figure(tables, parameters)
    with figure_style():
        return SavedFigure(write_figure(stem, figure, points.frame), points.notes)
