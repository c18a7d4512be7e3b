"""Colours as people see them, as they meet in images, as language models read them.

`platorep theory color`, figure 8 of arXiv:2405.07987: a panel per view, its points in their own
colours and turned to lie on CIELAB. Below: how much of each view the best fit leaves over.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from mpl_toolkits.mplot3d import Axes3D, proj3d

from platorep.plots.labels import legible_frame, text_width
from platorep.plots.style import DOUBLE, FAINT, GREY, HUES, NORMAL, SMALL

REFERENCE = "CIELAB"
HUE = {"vision": HUES[0], "language": HUES[1]}
COLUMNS = 3
PANEL, TITLE = 1.95, 0.42  # height of a view and of what stands above it, inches
ROW, HEAD, FOOT = 0.125, 0.48, 0.62  # of the chart of residuals
WORD = 4.6  # font size of the colour words
DOT = 0.035  # half the width of a point, inches
AWAY = np.array([0.05, 0.12, 0.2])  # from a point to its name, inches
TURN = {"elev": 22, "azim": -58}


def color_points(geometry: pd.DataFrame, agreement: pd.DataFrame) -> pd.DataFrame:
    """What the figure shows, `panel` by panel: a row per point of a view, or per residual.

    Of a language model its last layer; random-weight copies and CIEDE2000 have no view of their
    own, and CIEDE2000 no residual.
    """
    layers = geometry.groupby("space", sort=False)["layer"].last()
    last = geometry["layer"] == geometry["space"].map(layers)
    views = geometry[last & ~geometry["random"] & (geometry["space"] != "CIEDE2000")]
    at_last = agreement["layer"] == agreement["y"].map(layers)
    residuals = agreement[at_last & (agreement["x"] != "CIEDE2000")]
    points: pd.DataFrame = pd.concat(
        [views.assign(panel="view"), residuals.assign(panel="residual")], ignore_index=True
    )
    return points


def say_color(points: pd.DataFrame) -> str:
    """What is drawn where, in words."""
    views = points[points["panel"] == "view"].groupby("items", sort=False)
    num = " and ".join(f"{rows['item'].nunique():,} {items}" for items, rows in views)
    return (
        f"{num}. Each colour in its own colour, turned onto {REFERENCE} by Procrustes; of a "
        "language model its last layer. Residual: 0 where two views are the same shape, 1 where "
        "they have nothing in common; p over relabelled colours."
    )


def draw_color(points: pd.DataFrame) -> Figure:
    """Draw the points of `color_points`."""
    points, _ = legible_frame(points)
    shown, residuals = (points[points["panel"] == name] for name in ("view", "residual"))
    rows = [
        [str(space) for space in dict.fromkeys(views["space"])]
        for items in ("words", "cells")
        if len(views := _reference_first(shown[shown["items"] == items]))
    ]
    lines = sum(math.ceil(len(spaces) / COLUMNS) for spaces in rows)
    entries = residuals.drop_duplicates(["items", "y"])
    chart = HEAD + ROW * len(entries) + FOOT
    height = lines * (PANEL + TITLE) + chart
    figure = Figure(figsize=(DOUBLE, height))
    line = 0
    for items, spaces in zip(("words", "cells"), rows, strict=False):
        for index, space in enumerate(spaces):
            row, column = divmod(index, COLUMNS)
            top = (line + row) * (PANEL + TITLE) + TITLE
            box = (column / COLUMNS, 1 - (top + PANEL) / height, 1 / COLUMNS, PANEL / height)
            of_space = shown[(shown["space"] == space) & (shown["items"] == items)]
            ax = figure.add_axes(box, projection="3d")
            assert isinstance(ax, Axes3D)
            draw_view(ax, of_space, labelled=items == "words")
            fit = residuals[
                (residuals["items"] == items)
                & (residuals["x"] == REFERENCE)
                & (residuals["y"] == space)
            ]
            x, y = (column + 0.5) / COLUMNS, 1 - (top - 0.18) / height
            title = space if items == "words" else f"{space}: cells of the RGB grid"
            figure.text(x, y, title, ha="center", va="bottom", fontsize=NORMAL, fontweight="bold")
            figure.text(x, y - 0.02 / height, _fit(fit), ha="center", va="top", fontsize=SMALL)
        line += math.ceil(len(spaces) / COLUMNS)
    if len(residuals):
        _draw_residuals(figure, residuals, chart, height)
    return figure


def draw_view(ax: Axes3D, view: pd.DataFrame, *, labelled: bool) -> Axes3D:
    """The colours of one view in three dimensions, each in its own colour.

    Args:
        view: One row per colour: `item`, `color`, and its place `L`, `a`, `b`.
        labelled: Write the colours' names.
    """
    ax.set_proj_type("ortho")
    ax.view_init(**TURN)
    places = view[["a", "b", "L"]].to_numpy(dtype=float)
    low, high = places.min(0), places.max(0)
    room = 0.06 * (high - low)
    for axis, (start, stop) in zip("xyz", zip(low - room, high + room, strict=True), strict=True):
        getattr(ax, f"set_{axis}lim")(start, stop)
        getattr(ax, f"set_{axis}ticks")([])
        of_axis = getattr(ax, f"{axis}axis")
        of_axis.set_pane_color((1, 1, 1, 0))
        of_axis.line.set_color(GREY)
        of_axis.line.set_linewidth(0.5)
    for name, axis in (("a*", "x"), ("b*", "y"), ("L*", "z")):
        getattr(ax, f"set_{axis}label")(name, labelpad=-15, fontsize=SMALL, color=GREY)
    floor = low[2] - room[2]
    for a, b, lightness in places:
        ax.plot([a, a], [b, b], [floor, lightness], color=FAINT, lw=0.4, zorder=1)
    ax.scatter(
        *places.T,
        c=view["color"].tolist(),
        s=22 if labelled else 9,
        edgecolors=GREY,
        linewidths=0.3,
        depthshade=False,
    )
    ax.set_box_aspect(tuple(np.maximum(high - low, 1e-9)), zoom=1.05)
    if labelled:
        _label(ax, places, view["item"].tolist())
    return ax


def _label(ax: Axes3D, places: np.ndarray, names: list[str]) -> None:
    """Write each name beside its point, where it covers least; far ones with a line to it."""
    figure = ax.figure
    size = figure.get_size_inches()
    ax.apply_aspect()
    x, y, _ = proj3d.proj_transform(*places.T, ax.get_proj())
    at = ax.transData.transform(np.stack([x, y], axis=1)) / figure.dpi  # inches
    panel = ax.bbox.extents[None] / figure.dpi
    taken = np.concatenate([at - DOT, at + DOT], axis=1)  # left, bottom, right, top
    turns = math.tau * np.arange(16) / 16
    away = np.repeat(AWAY, len(turns))
    toward = np.tile(np.stack([np.cos(turns), np.sin(turns)], axis=1), (len(AWAY), 1))
    for i in np.argsort(-at[:, 1]).tolist():
        half = np.array([text_width(names[i], WORD), WORD / 72]) / 2
        centers = at[i] + toward * (away[:, None] + half)
        boxes = np.concatenate([centers - half, centers + half], axis=1)
        outside = 4 * half.prod() - _shared(boxes, panel)[:, 0]
        best = int(np.argmin(away + 400 * (_shared(boxes, taken).sum(1) + outside)))
        taken = np.concatenate([taken, boxes[best : best + 1]])
        if away[best] > AWAY[0]:
            ends = np.stack([at[i], centers[best]]) / size
            line = Line2D(*ends.T, color=GREY, lw=0.3, transform=figure.transFigure, zorder=0)
            figure.add_artist(line)
        figure.text(*(centers[best] / size), names[i], fontsize=WORD, ha="center", va="center")


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that each box shares with each other one."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: np.ndarray = np.maximum(high - low, 0).prod(-1)
    return area


def _draw_residuals(figure: Figure, residuals: pd.DataFrame, chart: float, height: float) -> None:
    """A column per view that others are fitted to, a row per view that is fitted."""
    rows = residuals.drop_duplicates(["items", "y"])
    entries = list(zip(rows["items"].astype(str), rows["y"].astype(str), strict=True))
    names = [name if items == "words" else f"{name}, cells" for items, name in entries]
    left = 0.15 + max(text_width(name, SMALL) for name in names)
    targets = list(dict.fromkeys(residuals["x"]))
    room = (DOUBLE - left - 0.05) / len(targets)
    for column, target in enumerate(targets):
        box = (
            (left + column * room) / DOUBLE,
            FOOT / height,
            (room - 0.12) / DOUBLE,
            (chart - HEAD - FOOT) / height,
        )
        ax = figure.add_axes(box)
        draw_residuals(ax, residuals[residuals["x"] == target], entries)
        ax.set_title(f"fitted to {target}", fontsize=NORMAL, pad=3)
        ax.set_yticks(range(len(entries)), names if column == 0 else [""] * len(entries))
    middle = (left + (DOUBLE - left) / 2) / DOUBLE
    figure.text(middle, 0.36 / height, "residual (Procrustes)", ha="center", va="bottom")
    shown = [
        Line2D([], [], color=HUE["vision"], marker="o", ls=""),
        Line2D([], [], color=HUE["language"], marker="o", ls=""),
        Line2D([], [], color=GREY, marker="o", mfc="white", ls=""),
        Patch(color=FAINT),
    ]
    texts = ["images", "language model", "random weights", "chance: 5 % quantile to mean"]
    figure.legend(shown, texts, loc="lower center", ncols=4, fontsize=SMALL, columnspacing=1.4)


def draw_residuals(ax: Axes, residuals: pd.DataFrame, entries: list[tuple[str, str]]) -> Axes:
    """The residual of each view, and those of relabelled colours: their mean and 5 % quantile.

    Args:
        residuals: One row per view that was fitted: `items`, `y`, `y_kind`, `random`, `residual`,
            `residual_null`, `residual_low`, `residual_p`.
        entries: `items` and `y` of the rows of the chart, from above.
    """
    for _, fit in residuals.iterrows():
        row = entries.index((fit["items"], fit["y"]))
        low, mean = float(fit["residual_low"]), float(fit["residual_null"])
        ax.barh(row, mean - low, left=low, height=0.7, color=FAINT, zorder=1)
        ax.plot([mean, mean], [row - 0.35, row + 0.35], color=GREY, lw=0.7, zorder=2)
        colour = GREY if fit["random"] else HUE[str(fit["y_kind"])]
        face = "white" if fit["random"] else colour
        ax.plot(fit["residual"], row, "o", color=colour, mfc=face, mew=0.7, zorder=3)
        ax.text(1.02, row, _p(float(fit["residual_p"])), fontsize=WORD, va="center")
    ax.set_xlim(0, 1.25)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.spines["bottom"].set_bounds(0, 1)
    ax.set_ylim(len(entries) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    return ax


def _reference_first(views: pd.DataFrame) -> pd.DataFrame:
    return views.sort_values("space", key=lambda names: names != REFERENCE, kind="stable")


def _fit(fit: pd.DataFrame) -> str:
    if fit.empty:
        return ""
    found = fit.iloc[0]
    return f"residual {found['residual']:.2f}, {_p(float(found['residual_p']))}"


def _p(p: float) -> str:
    return f"p = {p:.1g}" if p < 0.001 else f"p = {p:.2g}"
