"""What stands below a figure: its data, rows and metric, and what is drawn where."""

from collections.abc import Callable, Iterable

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from platorep.plots.fonts import needed_fonts
from platorep.plots.labels import legible, legible_frame, metric_text, wrap
from platorep.plots.style import LINE, SMALL, figure_style
from platorep.plots.words import rows_text

MARGIN = 0.04  # inches
COLOUR = "#444444"


def data_text(dataset: str, num_rows: Iterable[float], metrics: Iterable[str]) -> str:
    """`toyworld, n = 1,024 rows; mutual_knn, k = 10.`; of several metrics their number."""
    known = [metric_text(metric) for metric in dict.fromkeys(metrics)]
    named = known[0] if len(known) == 1 else f"{len(known)} metrics" if known else ""
    data = ", ".join(part for part in (dataset, rows_text(num_rows)) if part)
    return "; ".join(part for part in (data, named) if part) + "."


def framed(
    draw: Callable[[pd.DataFrame], Figure], points: pd.DataFrame, about: str | None
) -> Figure:
    """`draw(points)` in our style and the fonts that its texts need, and `about` below it.

    Names that no font can write are escaped, very long ones shortened.
    """
    shown, _ = legible_frame(points)
    about = legible(about or "")
    with figure_style(needed_fonts([*_texts(shown), about])):
        figure = draw(shown)
        if about:
            write_below(figure, about)
    return figure


def write_below(figure: Figure, text: str) -> None:
    """Make `figure` taller and write `text` into the new room; all else stays where it was."""
    width, old = (float(inches) for inches in figure.get_size_inches())
    lines = wrap(text, 0.985 * width - 2 * MARGIN)  # what is drawn is a little wider
    room = LINE * (1 + lines.count("\n")) + 2 * MARGIN
    new = old + room
    up = Affine2D().scale(1, old / new).translate(0, room / new)  # of figure shares
    to_figure = figure.transFigure
    for ax in figure.axes:
        ax.set_position(ax.get_position(original=True).transformed(up))
    for legend in figure.legends:
        anchor = legend.get_bbox_to_anchor().transformed(to_figure.inverted())
        legend.set_bbox_to_anchor(anchor.transformed(up), to_figure)
    for artist in (*figure.texts, *figure.lines):
        artist.set_transform(up + artist.get_transform())
    figure.set_figheight(new)
    figure.text(
        MARGIN / width, MARGIN / new, lines, fontsize=SMALL, color=COLOUR, va="bottom",
        linespacing=1.15, gid="about",
    )  # fmt: skip


def _texts(frame: pd.DataFrame) -> Iterable[str]:
    for name in frame:
        yield from {value for value in frame[name] if isinstance(value, str)}
