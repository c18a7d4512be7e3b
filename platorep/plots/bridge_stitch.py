"""What a stitch costs, by layer of front and back, and beside the alignment of these layers."""

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from platorep.plots.labels import decimals, interval_text, metric_text, shorten
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import (
    DOUBLE,
    FAINT,
    GREY,
    HUES,
    LINE,
    MISSING,
    SEQUENTIAL,
    SMALL,
    mark,
    text_colour,
)
from platorep.plots.words import RANDOM_WEIGHTS
from platorep.plots.words import RHO as SYMBOL
from platorep.statistics import mean_spearman_within, spearman

CELL, RHO = "stitch", "correlation"
CONTROLS = (RANDOM_WEIGHTS, "noise")
"""As they stand below each map."""
SCORES = {"linear_cka": "linear CKA", "linear_predictivity": "linear predictivity", "score": ""}
"""Columns of alignment; the last is named by its metric."""
MAP, GAP = 1.05, 0.24  # of a map: its side, and what lies between two, inches


def stitch_points(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `role`, and what belongs to it.

    stitch: `x`, `y`, `control`, `layer_x`, `layer_y`, `penalty` (the mean over seeds), `matched`
        (the same of the stitch that is not trained), and a column for each score.
    correlation: `x` is the column of a score; `rho` of penalty and score over all stitches, with
        `low` and `high`; `within`, its mean over pairs and layers of the back; `matched`, the rho
        of those that are not trained. A network with itself at one layer takes no part.
    """
    places = ["measure", "x", "y", "control", "layer_x", "layer_y"]
    values = {"penalty": "mean", "matched_penalty": "mean"} | dict.fromkeys(SCORES, "first")
    cells = table.groupby(places, sort=False).agg({**values, "metric": "first"}).reset_index()
    found = cells.rename(columns={"matched_penalty": "matched"}).assign(role=CELL)
    itself = (found["x"] == found["y"]) & (found["layer_x"] == found["layer_y"])
    counted = found[(found["control"] == "") & ~itself]
    groups = list(zip(counted["x"], counted["y"], counted["layer_y"], strict=True))
    rows = []
    for column in SCORES:
        penalty, matched, score = (
            counted[name].to_numpy(dtype=float) for name in ("penalty", "matched", column)
        )
        rho = spearman(penalty, score)
        rows.append(
            {"role": RHO, "x": column, "rho": rho.value, "low": rho.low, "high": rho.high}
            | {"within": mean_spearman_within(penalty, score, groups), "num": rho.num_points}
            | {"matched": spearman(matched, score).value}
        )
    return pd.concat([found, pd.DataFrame(rows)], ignore_index=True)


def say_stitches(table: pd.DataFrame) -> str:
    """What is drawn where, in words."""
    judged, seeds = int(table["num_test"].iloc[0]), table["seed"].nunique()
    mean = f", mean of {seeds} seeds" if seeds > 1 else ""
    return (
        f"Penalty: what the back loses on {judged:,} rows by the stitch{mean}. Below: a point per "
        f"stitch. {SYMBOL}: Spearman over all stitches with its 95\N{NO-BREAK SPACE}% interval."
    )


def draw_stitches(points: pd.DataFrame) -> Figure:
    """Draw what `stitch_points` selected: a map for each front and back; below, penalty against
    alignment."""
    cells = points[points["role"] == CELL]
    maps = cells[cells["control"] != "same layer"]
    pairs = list(dict.fromkeys(zip(maps["x"], maps["y"], strict=True)))
    backs = list(dict.fromkeys(maps["y"]))
    left, bar, names = 0.56, 0.62, LINE + 0.06
    columns = min(len(pairs), int((DOUBLE - left - bar) / (MAP + GAP)))
    num_rows = -(-len(pairs) // columns)
    width = DOUBLE
    below = CONTROL_ROW * len(CONTROLS) + 0.1
    row = names + MAP + below + 0.26
    texts = [f"back: {shorten(back, 1.4)}" for back in backs] + [TRAINED, MATCHED]
    legend = legend_height(texts, width - left) + 0.05
    scatter, above = 1.35, 0.2 + 3 * LINE + 0.1
    height = num_rows * row + above + scatter + 0.36 + legend
    figure = Figure(figsize=(width, height))
    finite = maps["penalty"].to_numpy(dtype=float)
    worst = max(float(np.nanmax(finite)), 1e-6)

    def box(x: float, y: float, across: float, down: float) -> tuple[float, float, float, float]:
        """From inches, y from the top."""
        return x / width, 1 - (y + down) / height, across / width, down / height

    for k, (front, back) in enumerate(pairs):
        i, j = divmod(k, columns)
        x, y = left + j * (MAP + GAP), i * row + names
        name = shorten(f"{front} \N{RIGHTWARDS ARROW} {back}", MAP + GAP - 0.04)
        figure.text(
            (x + MAP / 2) / width, 1 - (y - names + 0.02) / height, name,
            ha="center", va="top", fontsize=SMALL, gid="name",
        )  # fmt: skip
        ax = figure.add_axes(box(x, y, MAP, MAP + below))
        _draw_map(ax, maps[(maps["x"] == front) & (maps["y"] == back)], worst, labelled=j == 0)
    figure.text(
        left / width, 1 - (num_rows * row - 0.04) / height,
        "down: layer of the front; across: layer of the back", va="top", fontsize=SMALL, gid="name",
    )  # fmt: skip
    scale = figure.add_axes(box(left + columns * (MAP + GAP), names, 0.09, MAP))
    colours = ScalarMappable(Normalize(0, worst), CMAP)
    figure.colorbar(colours, cax=scale, extend="min").outline.set_visible(False)
    scale.set_ylabel(f"penalty ({UNITS.get(str(cells['measure'].iloc[0]), '')})", fontsize=SMALL)
    top = num_rows * row + above
    panel = (width - left - 0.1) / len(SCORES) - 0.12
    hues = {back: HUES[k % len(HUES)] for k, back in enumerate(backs)}
    for k, column in enumerate(SCORES):
        ax = figure.add_axes(box(left + k * (panel + 0.12), top, panel, scatter))
        _draw_scatter(ax, points, column, hues, labelled=k == 0)
    handles = [Line2D([], [], **mark(k, hues[back])) for k, back in enumerate(backs)]
    handles += [Line2D([], [], **mark(0, GREY)), Line2D([], [], **mark(0, GREY, filled=False))]
    add_legend(figure, handles, texts, (left / width, 0.0, 1 - left / width, legend / height))
    return figure


TRAINED, MATCHED = "trained stitch", "least squares alone"
CMAP = mpl.colormaps[f"{SEQUENTIAL}_r"]
CONTROL_ROW = 0.17
UNITS = {"area under the ROC curve": "area under ROC", "bits per byte": "bits per byte"}


def _draw_map(ax: Axes, own: pd.DataFrame, worst: float, *, labelled: bool) -> None:
    """Front by back, and below them the controls, which have one layer of the front for each of
    the back."""
    grid = own[own["control"] == ""].pivot(index="layer_x", columns="layer_y", values="penalty")
    rows, columns = grid.shape
    size = MAP / rows
    for (i, x), (j, y) in ((a, b) for a in enumerate(grid.index) for b in enumerate(grid.columns)):
        _cell(ax, (float(j), i * size, size), float(grid.loc[x, y]), worst, f"{x}|{y}")
    places, names = [(i + 0.5) * size for i in range(rows)], [str(int(x)) for x in grid.index]
    for k, control in enumerate(CONTROLS):
        of = own[own["control"] == control].set_index("layer_y")["penalty"]
        top = MAP + 0.07 + k * CONTROL_ROW
        for j, y in enumerate(grid.columns):
            if y in of.index:
                _cell(ax, (float(j), top, CONTROL_ROW), float(of[y]), worst, f"{control}|{y}")
        places.append(top + CONTROL_ROW / 2)
        names.append(control.split()[0])
    ax.set_xlim(0, columns)
    ax.set_ylim(MAP + 0.1 + CONTROL_ROW * len(CONTROLS), 0)
    ax.set_xticks([j + 0.5 for j in range(columns)], [str(int(y)) for y in grid.columns])
    ax.set_yticks(places, names if labelled else [""] * len(places))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _cell(ax: Axes, at: tuple[float, float, float], value: float, worst: float, gid: str) -> None:
    column, top, size = at
    face = MISSING if math.isnan(value) else to_hex(CMAP(max(value, 0.0) / worst))
    ax.add_patch(Rectangle((column, top), 1, size, fc=face, ec="white", lw=0.5, gid=gid))
    if not math.isnan(value) and size >= 0.12:
        ax.text(
            column + 0.5, top + size / 2, decimals(value), ha="center", va="center",
            fontsize=SMALL - 0.5, color=text_colour(to_rgb(face)), gid="value",
        )  # fmt: skip


def _draw_scatter(
    ax: Axes, points: pd.DataFrame, column: str, hues: dict[str, str], *, labelled: bool
) -> None:
    cells = points[points["role"] == CELL]
    counted = cells[cells["control"] == ""]
    for k, (back, hue) in enumerate(hues.items()):
        own = counted[counted["y"] == back]
        ax.plot(own[column], own["matched"], **mark(k, hue, filled=False), gid=f"matched|{back}")
        ax.plot(own[column], own["penalty"], **mark(k, hue), gid=f"points|{back}")
    noise = cells[cells["control"] == "noise"]["penalty"].mean()
    ax.axhline(noise, color=GREY, lw=0.6, ls=(0, (3, 2)), gid="noise")
    ax.axhline(0, color=FAINT, lw=0.5, zorder=0)
    rho = points[(points["role"] == RHO) & (points["x"] == column)].iloc[0]
    lines = [f"\N{GREEK SMALL LETTER RHO} = {interval_text(rho['rho'], rho['low'], rho['high'])}"]
    if np.isfinite(rho["within"]):
        lines.append(f"within pair and back's layer: {decimals(rho['within'])}")
    if np.isfinite(rho["matched"]):
        lines.append(f"{MATCHED}: {decimals(rho['matched'])}")
    ax.text(
        0.02, 1.02, "\n".join(lines), transform=ax.transAxes, va="bottom", fontsize=SMALL,
        gid="rho",
    )  # fmt: skip
    name = SCORES[column] or metric_text(str(counted["metric"].iloc[0]))
    ax.set_xlabel(name)
    ax.tick_params(labelleft=labelled)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    shown = cells[["penalty", "matched"]].to_numpy(dtype=float)
    top = max(float(np.nanmax(shown)), 1e-6)
    ax.set_ylim(min(0.0, float(np.nanmin(shown))) - 0.04 * top, 1.05 * top)
    if labelled:
        ax.set_ylabel("penalty")
        ax.annotate(
            "noise", (1, noise), xycoords=("axes fraction", "data"), xytext=(-1, 1.5),
            textcoords="offset points", ha="right", va="bottom", fontsize=SMALL, color=GREY,
        )  # fmt: skip
