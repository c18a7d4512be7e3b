"""A grid of panels of one size, laid out in inches, and labels along their edges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from platorep.plots.labels import format_count, spread, text_width, thin
from platorep.plots.style import FAINT, GREY, LINE, SMALL

LEADER = 0.10  # from the edge of a panel to a label beside it, inches


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`rows x columns` panels, each with a gutter at its right; a strip is above the first row."""

    rows: int
    columns: int
    panel: tuple[float, float]  # width and height of a panel, inches
    left: float = 0.5
    gutter: float = 0.1
    strip: float = 0.06
    gap: float = 0.2  # between rows
    bottom: float = 0.34
    footer: float = 0.0  # under everything, for a legend

    @property
    def width(self) -> float:
        return self.left + self.columns * (self.panel[0] + self.gutter)

    @property
    def height(self) -> float:
        above = self.strip + self.rows * self.panel[1] + (self.rows - 1) * self.gap
        return above + self.bottom + self.footer

    def box(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Place of a panel as matplotlib wants it: left, bottom, width, height in figure shares."""
        left = self.left + column * (self.panel[0] + self.gutter)
        top = self.strip + row * (self.panel[1] + self.gap)
        width, height = self.width, self.height
        return (
            left / width,
            1 - (top + self.panel[1]) / height,
            self.panel[0] / width,
            self.panel[1] / height,
        )

    def add_axes(self, figure: Figure, count: int, *, own_rows: bool = False) -> list[Axes]:
        """The first `count` panels, row by row; only the outer ones carry tick labels.

        They share one x axis, and one y axis or (`own_rows`) one y axis per row.
        """
        panels: list[Axes] = []
        for index in range(count):
            row, column = divmod(index, self.columns)
            first = panels[0] if panels else None
            beside = panels[row * self.columns] if own_rows and column else None
            ax = figure.add_axes(
                self.box(row, column), sharex=first, sharey=beside if own_rows else first
            )
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            ax.tick_params(labelleft=column == 0, labelbottom=index + self.columns >= count)
            panels.append(ax)
        panels[0].xaxis.set_major_locator(
            MaxNLocator(4 if self.panel[0] < 2 else 6, steps=[1, 2, 5, 10])
        )
        return panels

    def label_axes(self, figure: Figure, xlabel: str, ylabel: str) -> None:
        """One label for all x axes and one for all y axes."""
        width, height = self.width, self.height
        right = width - self.gutter
        middle = self.footer + self.bottom + (height - self.strip - self.footer - self.bottom) / 2
        figure.text(
            (self.left + right) / 2 / width,
            (self.footer + 0.02) / height,
            xlabel,
            ha="center",
            va="bottom",
        )
        figure.text(0.04 / width, middle / height, ylabel, ha="left", va="center", rotation=90)


def label_above(ax: Axes, x: Sequence[float], texts: Sequence[str], room: float) -> list[str]:
    """Name places on the x axis in a strip above `ax`, upright if they fit, else turned.

    Args:
        ax: Its limits and scale must be final.
        x: Places, in data.
        texts: One line each.
        room: Width that the strip may take from the left end of `ax`, inches.

    Returns:
        The texts there was no room for.
    """
    panel, height = size_of(ax)
    places = [
        float(ax.transAxes.inverted().transform(ax.transData.transform((v, 0)))[0]) for v in x
    ]
    widths = [text_width(text) + 0.06 for text in texts]
    turned = sum(widths) > room
    order = sorted(range(len(x)), key=lambda i: places[i])
    shown = [order[i] for i in thin(len(x), LINE, room)] if turned else order
    sizes = [LINE if turned else widths[i] for i in shown]
    centres = spread([places[i] * panel for i in shown], sizes, 0.0, room)
    for i, centre in zip(shown, centres, strict=True):
        end = (centre / panel, 1 + LEADER / height)
        _leader(ax, (places[i], 1.0), end, GREY)
        ax.text(
            *end,
            texts[i],
            transform=ax.transAxes,
            rotation=90 if turned else 0,
            ha="center",
            va="bottom",
            fontsize=SMALL,
            gid="label",
        )
    return [texts[i] for i in range(len(x)) if i not in shown]


def strip_height(texts: Sequence[str], room: float) -> float:
    """Height of the strip that `label_above` needs for `texts`, inches."""
    widths = [text_width(text) for text in texts]
    return LEADER + 0.08 + (max(widths) if sum(widths) + 0.06 * len(texts) > room else LINE)


def label_right(
    ax: Axes, ends: Sequence[tuple[float, float]], texts: Sequence[str], colours: Sequence[str]
) -> list[str]:
    """Name lines at their right ends, in the gutter of `ax`; its limits must be final.

    Returns:
        The texts there was no room for.
    """
    width, height = size_of(ax)
    places = [ax.transAxes.inverted().transform(ax.transData.transform(end)) for end in ends]
    sizes = [LINE * (1 + text.count("\n")) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: float(places[i][1]))
    shown = [order[i] for i in thin(len(order), max(sizes, default=LINE), height + LINE)]
    if sum(sizes) <= height + LINE:
        shown = order
    centres = spread(
        [float(places[i][1]) * height for i in shown],
        [sizes[i] for i in shown],
        -LINE / 2,
        height + LINE / 2,
    )
    for i, centre in zip(shown, centres, strict=True):
        end = (1 + LEADER / width, centre / height)
        _leader(ax, (float(places[i][0]), float(places[i][1])), end, colours[i])
        ax.text(
            1 + (LEADER + 0.03) / width,
            centre / height,
            texts[i],
            transform=ax.transAxes,
            va="center",
            fontsize=SMALL,
            linespacing=1.0,
            color=colours[i],
            gid="label",
        )
    return [texts[i] for i in range(len(texts)) if i not in shown]


def _leader(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """A hairline from `start` to `end`, in shares of `ax`."""
    x, y = zip(start, end, strict=True)
    ax.plot(x, y, transform=ax.transAxes, color=colour, lw=0.4, clip_on=False, gid="leader")


def legend_columns(texts: Sequence[str], width: float) -> int:
    """How many legend entries stand side by side in `width` inches."""
    widths = [text_width(text) + 0.42 for text in texts]
    for columns in range(len(texts), 1, -1):
        per_column = [max(part) for part in np.array_split(widths, columns)]
        if sum(per_column) <= width:
            return columns
    return 1


def legend_height(texts: Sequence[str], width: float) -> float:
    """Height of a legend of `texts` that is `width` inches wide."""
    return math.ceil(len(texts) / legend_columns(texts, width)) * (LINE + 0.02) + 0.06


def add_legend(
    figure: Figure, handles: Sequence[Artist], texts: Sequence[str], box: tuple[float, ...]
) -> Legend:
    """A legend whose upper left corner is that of `box` (figure shares), outside the data."""
    left, bottom, width, height = box
    return figure.legend(
        list(handles),
        list(texts),
        loc="upper left",
        bbox_to_anchor=(left, bottom + height),
        ncols=legend_columns(texts, width * float(figure.get_figwidth())),
        borderaxespad=0,
        borderpad=0.2,
        columnspacing=1.2,
        handletextpad=0.5,
        labelspacing=0.35,
    )


def set_log_axis(ax: Axes) -> None:
    """Make the x axis logarithmic, its ticks written as counts: 300k, 1M, 10B."""
    low, high = ax.get_xlim()
    ax.set_xscale("log")
    decades = math.log10(high / low)
    powers = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1  # of ten, within
    subs = (
        (1.0,) if decades > 1.5 and powers > 1 else (1.0, 3.0) if decades > 0.8 else (1.0, 2.0, 5.0)
    )
    within = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = sum(low <= sub * 10.0**power <= high for sub in subs for power in within)
    # Of fewer than two, LogLocator makes more than there is room for.
    ax.xaxis.set_major_locator(
        LogLocator(subs=subs, numticks=8) if ticks > 1 else MaxNLocator(4, steps=[1, 2, 5, 10])
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(low, high)


def guide(ax: Axes, x: Sequence[float]) -> None:
    """Faint upright lines at `x`, behind everything."""
    for place in x:
        ax.axvline(place, color=FAINT, lw=0.4, zorder=0, gid="guide")


def size_of(ax: Axes) -> tuple[float, float]:
    """Width and height of `ax`, inches."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    box = ax.get_position()
    return box.width * float(figure.get_figwidth()), box.height * float(figure.get_figheight())
