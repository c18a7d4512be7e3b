"""Filters and the Gabor functions nearest to them: how near, which orientations, how they look."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.plots.labels import shorten, text_width
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import DOUBLE, FAINT, GREY, HUES, SMALL

COLOURS = {"gabor": HUES[0], "spot": HUES[5], "noise": "#b0b0b0"}
TEXTS = {
    "gabor": "Gabor function",
    "spot": "above noise, but two spots do as well",
    "noise": "not above noise as smooth",
}
TILES = 10  # filters of each bank in the gallery
BANKS = 16  # rows of the gallery
ROW = 0.3  # inches
BINS = 12  # of orientation, and of frequency
SLOWEST, FASTEST = 0.03, 0.5  # cycles per pixel

SAID = (
    "A line per objective (its seeds together) or layer, left a dot per filter (height: to tell "
    "them apart), in per cent the share of Gabor functions; right the shares of these by "
    "orientation and frequency, dotted: spread evenly."
)
SAID_OF_TILES = f"The best {TILES} filters of each line; below each the function fitted to it."

Tile = tuple[int, float, str, Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]
"""Unit, R2, kind, the filter and the function fitted to it."""


def gabor_points(table: pd.DataFrame) -> pd.DataFrame:
    """One row per filter: what `units_filters.csv` says, and `row`, the line that it is drawn in:
    one for each objective and its images, all seeds together, or network and layer."""
    learned = table["objective"] != ""
    on = np.where(table["images"] == "white noise", " on white noise", "")
    own = table["network"] + ": " + table["layer_name"]
    columns = ["network", "layer_name", "unit", "r2", "r2_null", "kind", "orientation", "frequency"]
    return table[columns].assign(row=np.where(learned, table["objective"] + on, own))


def draw_gabors(points: pd.DataFrame) -> Figure:
    """A line per objective or layer: R2 of each filter, then orientations and frequencies of those
    that are Gabor functions."""
    rows = list(dict.fromkeys(points["row"]))
    names = [shorten(row, 1.6) for row in rows]
    left = max(map(text_width, names)) + 0.15
    texts = [*TEXTS.values(), "95 % of such noise stay below (median)"]
    footer, bottom, top = legend_height(texts, DOUBLE - 0.2), 0.36, 0.2
    height = top + ROW * len(rows) + bottom + footer
    figure = Figure(figsize=(DOUBLE, height))
    widths = (DOUBLE - left - 1.0) * np.array([0.44, 0.28, 0.28])
    starts = left + np.cumsum([0, widths[0] + 0.62, widths[1] + 0.16])
    for line, (row, name) in enumerate(zip(rows, names, strict=True)):
        own = points[points["row"] == row]
        low = (footer + bottom + ROW * (len(rows) - 1 - line)) / height
        axes = [
            figure.add_axes((s / DOUBLE, low, w / DOUBLE, 0.86 * ROW / height))
            for s, w in zip(starts, widths, strict=True)
        ]
        _draw_shares(axes[0], own, name)
        gabors = own[own["kind"] == "gabor"]
        _draw_counts(axes[1], gabors["orientation"], np.linspace(0, 180, BINS + 1))
        edges = np.geomspace(SLOWEST, FASTEST, BINS + 1)
        _draw_counts(axes[2], gabors["frequency"].clip(SLOWEST, FASTEST), edges)
        axes[1].set_xticks([0, 45, 90, 135, 180])
        axes[2].set_xscale("log")
        axes[2].set_xticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
        axes[2].minorticks_off()
        for ax in axes:
            ax.tick_params(labelbottom=line == len(rows) - 1)
    labels = ("R² of the fit", "orientation of the stripes (°)", "frequency (cycles / pixel)")
    for ax, label in zip(axes, labels, strict=True):
        ax.set_xlabel(label)
    shares = (starts[0] + widths[0] + 0.56) / DOUBLE
    figure.text(shares, 1 - 0.14 / height, "Gabor", ha="right", fontsize=SMALL)
    dots = [Line2D([], [], ls="", marker="o", color=colour) for colour in COLOURS.values()]
    null = Line2D([], [], color="black", lw=1.0)
    add_legend(figure, [*dots, null], texts, (0.02, 0.0, 0.98, footer / height))
    return figure


def _draw_shares(ax: Axes, own: pd.DataFrame, name: str) -> None:
    """A dot per filter, spread out so that all can be seen, and the share of Gabor functions."""
    spread = (np.arange(len(own)) * 0.618) % 1
    for kind, colour in COLOURS.items():
        which = (own["kind"] == kind).to_numpy()
        ax.plot(own["r2"][which], spread[which], ".", ms=2.2, color=colour, alpha=0.8)
    ax.axvline(own["r2_null"].median(), color="black", lw=1.0)
    ax.set_xlim(0, 1.01)
    ax.set_ylim(-0.12, 1.12)
    ax.set_yticks([0.5], [name])
    ax.tick_params(axis="y", length=0)
    share = f"{(own['kind'] == 'gabor').mean():.0%}"
    ax.annotate(
        share, (1, 0.5), xycoords="axes fraction", xytext=(40, 0), textcoords="offset points",
        ha="right", va="center", fontsize=SMALL,
    )  # fmt: skip


def _draw_counts(ax: Axes, values: pd.Series, edges: Float[np.ndarray, " e"]) -> None:
    """Shares of each bin, beside what each would hold if they were spread evenly."""
    counts, _ = np.histogram(values, edges)
    shares = counts / max(len(values), 1)
    ax.stairs(shares, edges, fill=True, color=HUES[0] if len(values) >= 5 else FAINT)
    ax.axhline(1 / BINS, color=GREY, lw=0.5, ls=":")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, max(0.35, 1.05 * float(shares.max(initial=0))))
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def gallery_points(banks: Sequence[tuple[str, Sequence[Tile]]]) -> pd.DataFrame:
    """One row per pixel of the best filters of each bank, Gabor functions first, then by R2: `row`,
    `tile`, `unit`, `r2`, `kind`, `line` and `column` of the pixel, `filter` and `fit` (of which the
    largest absolute value of the filter is 1)."""
    found = []
    for row, tiles in banks[:BANKS]:
        best = sorted(tiles, key=lambda tile: (tile[2] != "gabor", -np.nan_to_num(tile[1])))
        for place, (unit, r2, kind, own, fit) in enumerate(best[:TILES]):
            scale = np.abs(own).max() or 1.0
            line, column = np.indices(own.shape)
            pixels = {"line": line.ravel(), "column": column.ravel()}
            values = {"filter": (own / scale).ravel(), "fit": (fit / scale).ravel()}
            about = {"row": row, "tile": place, "unit": unit, "r2": r2, "kind": kind}
            found.append(pd.DataFrame(about | pixels | values))
    return pd.concat(found, ignore_index=True).round({"filter": 4, "fit": 4})


def draw_gallery(points: pd.DataFrame) -> Figure:
    """The best filters of each bank, and below each the function that was fitted to it."""
    rows = list(dict.fromkeys(points["row"]))
    names = [shorten(row, 1.5) for row in rows]
    left = max(map(text_width, names)) + 0.12
    side = (DOUBLE - left - 0.05) / TILES
    texts = list(TEXTS.values())
    footer, step = legend_height(texts, DOUBLE - 0.2), 2 * side * 0.94 + 0.08
    height = footer + step * len(rows) + 0.04
    figure = Figure(figsize=(DOUBLE, height))
    for line, (row, name) in enumerate(zip(rows, names, strict=True)):
        own = points[points["row"] == row]
        top = height - 0.04 - line * step
        figure.text(0.03 / DOUBLE, (top - step / 2) / height, name, va="center", fontsize=SMALL)
        for place, tile in own.groupby("tile"):
            shape = tile["line"].max() + 1, tile["column"].max() + 1
            for below, column in enumerate(("filter", "fit")):
                start = left + int(place) * side
                low = top - (below + 1) * side * 0.94
                box = (start / DOUBLE, low / height, 0.9 * side / DOUBLE, 0.9 * side / height)
                ax = figure.add_axes(box)
                picture = tile[column].to_numpy().reshape(shape)
                ax.imshow(picture, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
                ax.set_xticks([])
                ax.set_yticks([])
                ax.spines[:].set_visible(True)
                ax.spines[:].set_color(COLOURS[str(tile["kind"].iloc[0])])
                ax.spines[:].set_linewidth(0.9)
    marks = [Line2D([], [], color=colour, lw=1.5) for colour in COLOURS.values()]
    add_legend(figure, marks, texts, (0.02, 0.0, 0.98, footer / height))
    return figure
