"""How many items are matched rightly without any pair: against their number, and by alignment."""

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from platorep.plots.labels import shorten
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import DOUBLE, FAINT, GREY, HUES, mark
from platorep.plots.words import CHANCE, PAIR_CONTROLS, alignment_text

TRAINED = "pairs"
SAID = (
    "A line per model pair (colour: x, marker: y): mean over random subsets of the items, with its "
    "interval. Right: the same against the alignment of the rows."
)
COLUMNS = (
    *("x", "y", "kind", "metric", "alignment", "n", "accuracy", "low", "high", "chance"),
    *("null_low", "null_high"),
)


def match_points(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table that were searched, one per model pair and number of items."""
    points: pd.DataFrame = table[[*COLUMNS]].reset_index(drop=True)
    return points


def draw_match(points: pd.DataFrame) -> Figure:
    """Draw what `match_points` selected."""
    trained = points[points["kind"] == TRAINED]
    hues = {x: HUES[i % len(HUES)] for i, x in enumerate(trained["x"].unique())}
    marks = {y: i for i, y in enumerate(trained["y"].unique())}
    handles, texts = _legend(points, hues, marks)
    footer = legend_height(texts, DOUBLE - 0.1)
    height = 0.08 + 1.9 + 0.36 + footer
    figure = Figure(figsize=(DOUBLE, height))
    panel = (DOUBLE - 0.5 - 0.55 - 0.1) / 2
    left, right = (
        figure.add_axes((at / DOUBLE, (footer + 0.36) / height, panel / DOUBLE, 1.9 / height))
        for at in (0.5, 0.5 + panel + 0.55)
    )
    top = max(1.05 * points["high"].max(), 1.5 * points["chance"].max())
    for ax in (left, right):
        ax.set_ylim(0, min(top, 1.03))
    _draw_numbers(left, points, hues, marks)
    _draw_alignment(right, points, hues, marks)
    add_legend(figure, handles, texts, (0.03, 0.0, 0.97, footer / height))
    return figure


def _style(pair: pd.Series, hues: dict[str, str], marks: dict[str, int]) -> dict[str, Any]:
    if pair["kind"] == TRAINED:
        return mark(marks[pair["y"]], hues[pair["x"]])
    return {
        "marker": PAIR_CONTROLS[pair["kind"]][0],
        "color": GREY,
        "ls": "",
        "ms": 3.2,
        "mew": 0.6,
    }


def _draw_numbers(
    ax: Axes, points: pd.DataFrame, hues: dict[str, str], marks: dict[str, int]
) -> None:
    """A line per model pair; behind them chance and what the null reaches."""
    null = points.groupby("n").agg({"null_low": "min", "null_high": "max", "chance": "first"})
    ax.fill_between(null.index, null["null_low"], null["null_high"], color=FAINT, lw=0, gid="null")
    ax.plot(null.index, null["chance"], color=GREY, lw=0.6, ls=(0, (1, 1.5)), gid="chance")
    for (x, y), pair in points.groupby(["x", "y"], sort=False):
        pair = pair.sort_values("n")
        style = _style(pair.iloc[0], hues, marks)
        control = pair["kind"].iloc[0] != TRAINED
        colour = style["color"]
        lw = 0.4 if control else 0.9
        ax.plot(
            pair["n"], pair["accuracy"], zorder=1 if control else 3, **style | {"ls": "-", "lw": lw}
        )
        if not control:
            ax.vlines(pair["n"], pair["low"], pair["high"], color=colour, lw=0.5, zorder=2)
        ax.lines[-1].set_gid(f"line|{x}|{y}")
    numbers = sorted(points["n"].unique())
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(numbers))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticklabels([str(n) for n in numbers])
    ax.set_xlim(numbers[0] / 1.15, numbers[-1] * 1.15)
    ax.set_xlabel("items")
    ax.set_ylabel("share matched rightly")


def _draw_alignment(
    ax: Axes, points: pd.DataFrame, hues: dict[str, str], marks: dict[str, int]
) -> None:
    """A point per model pair, at the middle one of the numbers of items."""
    numbers = sorted(points["n"].unique())
    shown = points[points["n"] == numbers[len(numbers) // 2]]
    ax.axhline(shown["chance"].iloc[0], color=GREY, lw=0.6, ls=(0, (1, 1.5)), gid="chance")
    for _, pair in shown.iterrows():
        style = _style(pair, hues, marks)
        ends = [pair["low"], pair["high"]]
        ax.plot([pair["alignment"]] * 2, ends, color=style["color"], lw=0.5, zorder=1)
        ax.plot([pair["alignment"]], [pair["accuracy"]], gid=f"{pair['x']}|{pair['y']}", **style)
    ax.set_xlabel(alignment_text(str(shown["metric"].iloc[0])))
    ax.set_ylabel(f"share of {shown['n'].iloc[0]} matched rightly")


def _legend(
    points: pd.DataFrame, hues: dict[str, str], marks: dict[str, int]
) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = [Line2D([], [], color=hue, lw=1.6) for hue in hues.values()]
    handles += [Line2D([], [], **mark(i, "black")) for i in marks.values()]
    texts = [shorten(str(name), 1.5) for name in (*hues, *marks)]
    for kind, (marker, text) in PAIR_CONTROLS.items():
        if (points["kind"] == kind).any():
            handles.append(Line2D([], [], ls="", marker=marker, color=GREY, ms=3.2, mew=0.6))
            texts.append(text)
    handles += [Line2D([], [], color=GREY, lw=0.6, ls=(0, (1, 1.5))), Patch(color=FAINT)]
    return handles, [*texts, CHANCE, "the same search on items that are not these"]
