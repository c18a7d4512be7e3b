"""The best score of every model pair as a matrix."""

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from platorep.errors import AbsentError
from platorep.parameters.figures import HeatmapFigure
from platorep.plots.labels import (
    decimals,
    name_and_size,
    numbers_text,
    short_names,
    shorten,
    spread,
    text_width,
    wrap,
)
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import (
    DOUBLE,
    GREY,
    HATCH,
    LINE,
    MISSING,
    SEQUENTIAL,
    SINGLE,
    SMALL,
    text_colour,
)
from platorep.plots.tables import (
    Points,
    Tables,
    is_baseline,
    missing_scores,
    not_above_null,
    of_metric,
)
from platorep.plots.words import CALIBRATED, NOT_ABOVE_NULL, RANDOM_WEIGHTS, alignment_text

RANDOM = f" ({RANDOM_WEIGHTS})"
GAP = 0.25  # between families, in cells
NAMES, GROUPS = 0.35, 0.2  # most of the width that names of models and of families take
SMALLEST = 0.085  # cell that the names beside it still fit, inches
BESIDE = 0.06  # what a cell is wider than its number, inches
MOST = 4  # digits of a number


def heatmap_points(tables: Tables, parameters: HeatmapFigure) -> Points:
    """One row per cell: `row`, `column` (places), `x`, `y`, their groups, `value`, and whether the
    score is `not_above_null`.

    A pair that was scored one way round is one cell: nothing is mirrored, since not every metric
    is symmetric. Shuffled controls are not shown.

    Raises:
        AbsentError: no pair has a value.
    """
    best = of_metric(tables.best, parameters.metric)
    rows = best[best["control"].fillna("") != "shuffled"]
    if not parameters.controls:
        models = tables.models
        controls = set(models.loc[models["random"].astype(bool) | is_baseline(models), "label"])
        rows = rows[~(rows["x"].isin(controls) | rows["y"].isin(controls))]
    rows = rows.assign(
        value=rows.get(parameters.value, np.nan), not_above_null=not_above_null(rows)
    )
    if rows["value"].notna().sum() == 0:
        raise AbsentError(
            f"nothing to draw: no model pair has a {parameters.value}. "
            + "; ".join(missing_scores(best))
        )
    models = tables.models.set_index("label")
    for side, place in (("x", "row"), ("y", "column")):
        order = _order(models, rows[side])
        rows = rows.join(order.rename(columns={"place": place}).add_prefix(f"{side}_"), on=side)
        rows = rows.rename(columns={f"{side}_{place}": place})
    rows = rows.sort_values(["row", "column"], kind="stable").reset_index(drop=True)
    return Points(rows[[c for c in _COLUMNS if c in rows]], missing_scores(best))


_COLUMNS = [
    *("row", "column", "x", "y", "x_group", "y_group", "x_name", "y_name"),
    *("x_num_parameters", "y_num_parameters"),
    *("metric", "dataset", "n", "k", "value", "score", "chance", "threshold", "p", "p_adjusted"),
    *("calibrated", "layer_x", "layer_y", "reason", "not_above_null"),
]


def _order(models: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Place and group of each model: families in order, random-weight models last."""
    chosen = models.loc[[label for label in models.index if label in set(labels)]]
    chosen = chosen.assign(random=chosen["random"].astype(bool))
    first = chosen.groupby(["random", "family"])["order"].transform("min")
    chosen = chosen.assign(first=first).sort_values(["random", "first", "order"], kind="stable")
    group = chosen["family"].where(~chosen["random"], chosen["family"] + RANDOM)
    return pd.DataFrame(
        {
            "place": np.arange(len(chosen)),
            "group": group,
            "name": _names(chosen),
            "num_parameters": chosen["num_parameters"].astype(float),
        },
        index=chosen.index,
    )


def _names(models: pd.DataFrame) -> pd.Series:
    """A random-weight model is called like its trained twin, unless it has several copies."""
    twin = models["random_of"].where(models["random"])
    return twin.mask(twin.duplicated(keep=False)).fillna(models.index.to_series())


def say_heatmap(points: pd.DataFrame, parameters: HeatmapFigure) -> str:
    """What is drawn where, in words."""
    said = "A cell is a pair at its best layers, shuffled pairs left out."
    if parameters.value == "calibrated":
        said += " Calibrated: 0 at the threshold of the permutation null, 1 at perfect agreement."
    names = pd.concat([points["x_name"], points["y_name"]])
    sizes = pd.concat([points["x_num_parameters"], points["y_num_parameters"]])
    return f"{said} {numbers_text(names, sizes)}".strip()


def draw_heatmap(points: pd.DataFrame, parameters: HeatmapFigure) -> Figure:
    """Draw what `heatmap_points` selected."""
    kind = "alignment" if parameters.value == "score" else CALIBRATED
    label = alignment_text(str(points["metric"].iloc[0]), kind)
    return frame_matrix(points, label, parameters.width, parameters.values)


def plain_matrix(
    points: pd.DataFrame, names: Mapping[str, str], label: str, print_width: str | None
) -> Figure:
    """A matrix of things that have neither families nor sizes.

    Args:
        points: One row per cell: `row`, `column`, `value`, `x`, `y`.
        names: What the cells' `x` and `y` are called.
    """
    return frame_matrix(
        points.assign(
            x_name=points["x"].map(names),
            y_name=points["y"].map(names),
            x_group="",
            y_group="",
            x_num_parameters=np.nan,
            y_num_parameters=np.nan,
        ),
        label,
        print_width,
        None,
    )


def frame_matrix(
    points: pd.DataFrame, label: str, print_width: str | None, values: bool | None
) -> Figure:
    """A matrix with names, families and colour bar, at the size that its labels and cells need.

    Args:
        points: One row per cell: `row`, `column`, `value`, and of `x` (rows) and `y` (columns)
            the `_name`, `_group` and `_num_parameters`.
        label: What the colours mean.
        print_width: `single` or `double` column; None: the narrowest that will do.
        values: Print each value into its cell, which grows if it must; None: if it fits.
    """
    width = SINGLE if print_width == "single" else DOUBLE
    rows, columns = (_axis(points, *side, width) for side in (("row", "x"), ("column", "y")))
    left = max(text_width(text) for text in rows["text"]) + 0.1
    above = max(text_width(text) for text in columns["text"]) + 0.1
    brackets_right = max(_bracket_width(text) for text in rows["group"].unique())
    bar = 0.7
    room = width - left - brackets_right - bar - 0.1
    cells_x, cells_y = columns["centre"].max() + 1, rows["centre"].max() + 1
    digits = num_digits(points)
    printed = max(map(text_width, _numbers(points, digits)), default=0.0) + BESIDE
    cell = max(SMALLEST, min(max(0.36, printed), room / cells_x, 6.5 / cells_y))
    cell = max(cell, printed) if values else cell
    texts_below = _fit_below(columns, cell)
    turned = max(level for _, _, _, level in texts_below) > 1
    below = 0.12 + (
        max(text_width(name) for name, _, _, _ in texts_below)
        if turned
        else LINE * max(level + 1 + name.count("\n") for name, _, _, level in texts_below)
    )
    beside = sum(LINE * (1 + name.count("\n")) for name, _, _ in _groups(rows))
    below = max(below, beside - cell * cells_y + 0.05)
    handles, texts = _key(points)
    needed = left + cell * cells_x + brackets_right + bar + 0.1
    needed = max(needed, 0.55 + max(map(text_width, texts), default=0.0))
    width = needed if print_width is None else max(width, needed)
    footer = legend_height(texts, width - 0.1) if texts else 0.0
    below += footer
    height = above + cell * cells_y + below
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes(
        (left / width, below / height, cell * cells_x / width, cell * cells_y / height)
    )
    shown = values if values is not None else bool(cell >= printed)
    colours = draw_matrix(ax, points, rows, columns, digits if shown else None)
    _draw_groups(ax, rows, texts_below, cell, turned=turned)
    if texts:
        add_legend(figure, handles, texts, (0.05 / width, 0.0, 1 - 0.1 / width, footer / height))
    bar_height = min(1.6, cell * cells_y)
    left_of_bar = left + cell * cells_x + brackets_right + 0.08
    top = below + cell * cells_y
    colour_bar = figure.colorbar(
        colours,
        cax=figure.add_axes(
            (left_of_bar / width, (top - bar_height) / height, 0.1 / width, bar_height / height)
        ),
        ticks=MaxNLocator(5, steps=[1, 2, 5, 10]),
    )
    colour_bar.outline.set_visible(False)
    colour_bar.set_label(wrap(label, max(bar_height, 0.7)), fontsize=SMALL)
    return figure


def num_digits(points: pd.DataFrame) -> int:
    """As few as tell every value from the threshold of its null, but no more than `MOST`."""
    value = points["value"].astype(float)
    fewest = 2 if value.abs().max() >= 0.095 else 3
    if "threshold" not in points:
        return fewest
    level = points["threshold"].astype(float).where(value == points["score"], 0.0)
    for digits in range(fewest, MOST):
        if not (value.round(digits).eq(level.round(digits)) & value.ne(level)).any():
            return digits
    return MOST


def _numbers(points: pd.DataFrame, digits: int) -> list[str]:
    return [decimals(value, digits) for value in points["value"].dropna()]


def _key(points: pd.DataFrame) -> tuple[list[Patch], list[str]]:
    """What the cells' looks mean besides their colour."""
    handles, texts = [], []
    if points.get("not_above_null", pd.Series(False)).any():
        handles.append(Patch(fc="white", ec="#444444", hatch=2 * HATCH, lw=0.4))
        texts.append(NOT_ABOVE_NULL)
    if len(points.dropna(subset="value")) < points["row"].nunique() * points["column"].nunique():
        handles.append(Patch(fc=MISSING, lw=0))
        texts.append("no score")
    return handles, texts


def draw_matrix(
    ax: Axes, points: pd.DataFrame, rows: pd.DataFrame, columns: pd.DataFrame, digits: int | None
) -> ScalarMappable:
    """Draw the cells and the models' names; returns the colours, for a bar.

    Args:
        ax: Where to draw. The caller owns the figure and its size (inches).
        points: Rows of `heatmap_points`.
        rows: Per place `centre` (in cells from the top) and `text`.
        columns: The same from the left.
        digits: Print each value into its cell, with so many; None: do not.
    """
    value = points["value"].astype(float)
    low, high = float(value.min()), float(value.max())
    pad = 0.0 if high > low else 0.1 * abs(high) or 0.1  # a single value gets the middle colour
    colours = ScalarMappable(Normalize(low - pad, high + pad), SEQUENTIAL)
    across, down = columns["centre"], rows["centre"]
    known = points[value.notna()]
    filled = set(zip(known["row"], known["column"], strict=True))
    for column, x in across.items():
        for row, y in down.items():
            if (row, column) in filled:
                continue
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=MISSING, ec="white", lw=0.4))
    for _, cell in known.iterrows():
        x, y = float(across[cell["column"]]), float(down[cell["row"]])
        colour = colours.to_rgba(np.array([cell["value"]]))[0].tolist()
        ax.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5),
                1,
                1,
                fc=colour,
                ec="white",
                lw=0.4,
                gid=f"cell|{cell['x']}|{cell['y']}",
            )
        )
        if cell.get("not_above_null"):
            lines: Any = {"fc": "none", "ec": text_colour(colour), "lw": 0, "hatch": HATCH}
            ax.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, **lines, gid=f"null|{cell['x']}|{cell['y']}")
            )
        if digits is not None:
            ax.text(
                x,
                y,
                decimals(float(cell["value"]), digits),
                ha="center",
                va="center_baseline",
                fontsize=SMALL,
                color=text_colour(colour),
                bbox={"fc": colour, "ec": "none", "pad": 0.4},
                gid="value",
            )
    ax.set_xlim(-0.5, float(across.max()) + 0.5)
    ax.set_ylim(float(down.max()) + 0.5, -0.5)
    ax.set_xticks(across, columns["text"], rotation=90)
    ax.set_yticks(down, rows["text"])
    ax.tick_params(length=0, pad=2, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    return colours


def _axis(points: pd.DataFrame, place: str, side: str, width: float) -> pd.DataFrame:
    """What stands along one side: per place its centre, text and group; short names in families.

    Args:
        width: Of the figure, inches.
    """
    models = points.drop_duplicates(place).sort_values(place).set_index(place)
    group = models[f"{side}_group"]
    gaps = (group != group.shift()).cumsum() - 1
    texts: dict[str, str] = {}
    for name, labels in models.groupby(f"{side}_group", sort=False)[f"{side}_name"]:
        texts |= short_names(list(labels)) if name else dict(zip(labels, labels, strict=True))
    sizes = models[f"{side}_num_parameters"]
    return pd.DataFrame(
        {
            "centre": np.arange(len(models)) + GAP * gaps,
            "text": [
                shorten(name_and_size(texts[label], size), NAMES * width)
                for label, size in zip(models[f"{side}_name"], sizes, strict=True)
            ],
            "group": group.map(lambda name: _group_text(name, GROUPS * width)),
        }
    )


def _group_text(group: str, width: float) -> str:
    family = group.removesuffix(RANDOM)
    return wrap(family, width) + (f"\n{RANDOM_WEIGHTS}" if family != group else "")


def _bracket_width(text: str) -> float:
    return text_width(text) + 0.14


def _groups(axis: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Name, first and last centre of each family."""
    runs = groupby(zip(axis["group"], axis["centre"], strict=True), key=lambda pair: pair[0])
    spans = [(str(name), [float(centre) for _, centre in run]) for name, run in runs]
    return [(name, centres[0], centres[-1]) for name, centres in spans]


def _fit_below(columns: pd.DataFrame, cell: float) -> list[tuple[str, float, float, int]]:
    """Families of the columns with the line that each name goes to, so that none overlap."""
    placed: list[tuple[str, float, float, int]] = []
    ends: list[float] = []  # of each line, inches
    for name, first, last in _groups(columns):
        half, middle = text_width(name) / 2 + 0.03, cell * ((first + last) / 2 + 0.5)
        lines = 1 + name.count("\n")
        level = 0
        while any(end > middle - half for end in ends[level : level + lines]):
            level += 1
        ends += [-math.inf] * (level + lines - len(ends))
        ends[level : level + lines] = [middle + half] * lines
        placed.append((name, first, last, level))
    return placed


def _draw_groups(
    ax: Axes,
    rows: pd.DataFrame,
    below: list[tuple[str, float, float, int]],
    cell: float,
    *,
    turned: bool,
) -> None:
    """A thin bracket and the name for each family: of the rows at the right, the columns below."""
    right, bottom = ax.get_xlim()[1], ax.get_ylim()[0]
    style: Any = {"color": GREY, "lw": 0.6, "clip_on": False, "solid_capstyle": "butt"}
    groups = _groups(rows)
    sizes = [LINE * (1 + name.count("\n")) + 0.02 for name, _, _ in groups]
    middles = [cell * ((first + last) / 2 + 0.5) for _, first, last in groups]
    beside = spread(middles, sizes, -LINE / 2, max(sum(sizes), cell * (bottom + 0.5)) + LINE / 2)
    for (name, first, last), middle in zip(groups, beside, strict=True):
        if not name:
            continue
        x = right + 0.05 / cell
        ax.plot([x, x], [first - 0.45, last + 0.45], **style)
        y = middle / cell - 0.5
        ax.text(x + 0.05 / cell, y, name, va="center", fontsize=SMALL, gid="label")
    centres = [(first + last) / 2 for _, first, last, _ in below]
    if turned:
        sizes = [LINE * (1 + name.count("\n")) + 0.02 for name, _, _, _ in below]
        most = max(sum(sizes), cell * (right + 0.5)) + LINE / 2
        placed = spread([cell * (c + 0.5) for c in centres], sizes, -LINE / 2, most)
        centres = [middle / cell - 0.5 for middle in placed]
    for (name, first, last, level), centre in zip(below, centres, strict=True):
        if not name:
            continue
        y = bottom + 0.05 / cell
        ax.plot([first - 0.45, last + 0.45], [y, y], **style)
        ax.text(
            centre,
            y + (0.03 + (0 if turned else level * LINE)) / cell,
            name,
            ha="center",
            va="top",
            rotation=90 if turned else 0,
            fontsize=SMALL,
            linespacing=1.12,
            gid="label",
        )
