"""Rows of scaling panels: many metrics, or raw scores above calibrated ones.

Figures 13 and 14 of arXiv:2405.07987; the calibration is that of arXiv:2602.14486.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError
from platorep.parameters.figures import CalibrationFigure, MetricGridFigure, ScalingFigure
from platorep.plots.labels import text_width, wrap
from platorep.plots.lines import TRAINED, draw_panel, legend_entries, marker_numbers
from platorep.plots.panels import (
    LEADER,
    Grid,
    add_legend,
    guide,
    label_above,
    legend_height,
    strip_height,
)
from platorep.plots.scaling import (
    line_names,
    point_labels,
    say_scaling,
    scaled_pairs,
    set_limits,
    x_label,
)
from platorep.plots.style import DOUBLE, HUES, NORMAL, mark
from platorep.plots.tables import Points, Tables, of_metric
from platorep.plots.words import CALIBRATED, alignment_text


def metric_grid_points(tables: Tables, parameters: MetricGridFigure) -> Points:
    """The points of `scaling` for each metric; `facet` is the row of panels they are in.

    Raises:
        AbsentError: no metric has anything to draw.
    """
    of_metric(tables.best, None)  # refuses an empty table
    metrics = parameters.metrics or [str(label) for label in tables.best["metric"].unique()]
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    for metric in metrics:
        one = ScalingFigure(
            metric=metric,
            x=parameters.x,
            points=parameters.points,
            lines=parameters.lines,
            controls=parameters.controls,
        )
        try:
            part = scaled_pairs(tables, one, baselines=True)
        except AbsentError as error:
            notes.append(f"{metric}: {error}")
            continue
        parts.append(part.frame.assign(facet=alignment_text(str(part.frame["metric"].iloc[0]))))
        notes += [f"{metric}: {note}" for note in part.notes]
    if not parts:
        raise AbsentError("; ".join(notes))
    return Points(pd.concat(parts, ignore_index=True), tuple(notes))


def calibration_points(tables: Tables, parameters: CalibrationFigure) -> Points:
    """Trained pairs and levels twice: `facet` alignment (the raw score) and calibrated.

    `significant`: the adjusted p-value (else the p-value) is at most `alpha`.

    Raises:
        AbsentError: the scores have no null.
    """
    one = ScalingFigure(
        metric=parameters.metric,
        x=parameters.x,
        points=parameters.points,
        lines=parameters.lines,
        controls=False,
    )
    part = scaled_pairs(tables, one, baselines=True)
    raw = part.frame
    if "calibrated" not in raw or raw["calibrated"].isna().all():
        raise AbsentError(
            "nothing to draw: the scores have no null, so no calibrated score. "
            "Give `align: {null: ...}` in the experiment and run `platorep align` again."
        )
    p = next((raw[c] for c in ("p_adjusted", "p") if c in raw and raw[c].notna().any()), None)
    raw = raw.assign(significant=True if p is None else p <= parameters.alpha)
    metric = str(raw["metric"].iloc[0])
    facet = alignment_text(metric, CALIBRATED)
    below = raw[raw["calibrated"].notna()].assign(facet=facet)
    below = below.assign(score=below["calibrated"])
    hidden = [c for c in ("chance", "threshold", "null_mean", "low", "high") if c in below]
    below[hidden] = float("nan")  # they are levels of the raw score
    above = raw.assign(facet=alignment_text(metric))
    return Points(pd.concat([above, below], ignore_index=True), part.notes)


def say_calibration(points: pd.DataFrame, parameters: CalibrationFigure) -> str:
    """What is drawn where, in words."""
    of_null = "Calibrated: 0 at the threshold of the permutation null, 1 at perfect agreement."
    return f"{say_scaling(points, parameters)} {of_null}"


def draw_facets(points: pd.DataFrame, parameters: MetricGridFigure | CalibrationFigure) -> Figure:
    """Draw what one of the above selected: a row per `facet`, a column per family."""
    facets = list(dict.fromkeys(points["facet"]))
    families = list(dict.fromkeys(points.sort_values("line_order")["line_family"]))
    trained = points[points["role"] == TRAINED]
    people, texts = point_labels(trained)
    names = {family: line_names(points, family) for family in families}
    gutter = LEADER + 0.06 + max(text_width(t) for named in names.values() for t in named.values())
    height = 1.05 if len(facets) > 2 else 1.4
    labels = {facet: wrap(facet, height + 0.05, NORMAL) for facet in facets}
    left = 0.38 + 0.12 * max(1 + label.count("\n") for label in labels.values())
    columns = len(families)
    width = min(1.9, max(0.6, (DOUBLE - left) / columns - gutter))
    room = width + gutter - 0.03
    titles = {family: wrap(family, room, NORMAL * 1.1) for family in families}
    title = max(1 + text.count("\n") for text in titles.values()) * 0.13 + 0.04
    handles, entries = legend_entries(points, parameters.points, parameters.lines)
    if isinstance(parameters, CalibrationFigure) and not trained["significant"].all():
        handles.append(Line2D([], [], **mark(0, "#444444", filled=False)))
        adjusted = "p_adjusted" in trained and trained["p_adjusted"].notna().any()
        entries.append(f"{'adjusted ' if adjusted else ''}p > {parameters.alpha:g}")
    total = left + columns * (width + gutter)
    grid = Grid(
        rows=len(facets),
        columns=columns,
        panel=(width, height),
        left=left,
        gutter=gutter,
        strip=strip_height(texts, room) + title,
        gap=0.14,
        footer=legend_height(entries, total - left) if entries else 0.0,
    )
    figure = Figure(figsize=(grid.width, grid.height))
    panels = grid.add_axes(figure, len(facets) * columns, own_rows=True)
    markers = marker_numbers(points)
    connect = "family" if parameters.x == "num_parameters" else "all"
    for index, ax in enumerate(panels):
        facet, column = facets[index // columns], index % columns
        rows = points[points["facet"] == facet]
        if column == 0:
            set_limits(ax, rows, parameters.x, 0.04)
            ax.set_ylabel(labels[facet])
        family = families[column]
        guide(ax, list(people["x"]))
        own = rows[rows["line_family"] == family]
        draw_panel(ax, own, HUES[column % len(HUES)], markers, names[family], connect)
    for ax, family in zip(panels[:columns], families, strict=True):
        label_above(ax, list(people["x"]), texts, room)
        bold: dict[str, Any] = {
            "va": "bottom",
            "fontweight": "bold",
            "linespacing": 1.0,
            "gid": "title",
        }
        top = 1 + (grid.strip - title + 0.02) / height
        ax.text(0, top, titles[family], transform=ax.transAxes, **bold)
    grid.label_axes(figure, x_label(points, parameters.x, parameters.points), "")
    if handles:
        box = (left / total, 0.0, 1 - left / total, (grid.footer - 0.04) / grid.height)
        add_legend(figure, handles, entries, box)
    return figure
