"""One panel of a scaling figure: lines of models, their controls, chance and the null."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from platorep.plots.ceilings import draw_ceiling
from platorep.plots.labels import shorten
from platorep.plots.panels import label_right
from platorep.plots.style import FAINT, GREY, mark, readable, shades
from platorep.plots.trends import TREND
from platorep.plots.words import NOT_ABOVE_NULL, SHUFFLED_PAIRS, random_text

TRAINED = "trained"
RANDOM_LINE = "random line"  # the line's model has random weights
RANDOM_POINT = "random point"  # the point's model has
CHANGED_LINE = "changed line"  # the line's model reads a changed view
CHANGED_POINT = "changed point"  # the point's model does
SHUFFLED = "shuffled"
BASELINE_LINE = "baseline line"  # what stands in the line's place needs no network
LEVEL = "level"  # a baseline or a reference in the point's place, at no x


End = tuple[str, tuple[float, float], str]
"""What the end of a line is, where it lies, and its colour."""


@dataclass(frozen=True)
class Markers:
    """The numbers of what is told apart by its marker."""

    families: Mapping[str, int]
    """Of point models (`mark`)."""
    views: Mapping[str, int]
    """Changed views (`_STICKS`)."""
    levels: Mapping[str, int]
    """What is at no x, and baselines in the place of lines (`_DASHES`)."""


def draw_panel(
    ax: Axes,
    points: pd.DataFrame,
    hue: str,
    markers: Markers,
    names: Mapping[str, str],
    connect: str = "all",
) -> Axes:
    """Draw the lines of one family, their controls, chance and null; the limits must be set.

    Args:
        ax: Where to draw. The caller owns the figure and its size (inches).
        points: Rows of `scaling_points` with one `line_family`. Where a column `significant` is
            false, the marker is open.
        hue: Colour of the family; its models are shades of it, dark for large.
        markers: Of the whole figure (`marker_numbers`).
        names: Label of a line -> what its end says; also `random`, `chance` and `ceiling`.
        connect: Join all points of a line (all), those of one family (family), or none (trend:
            the rows of that role are drawn in their place).
    """
    trained = points[points["role"] == TRAINED]
    lines = trained.drop_duplicates("line").sort_values(["line_num_parameters", "line_order"])
    colour = dict(zip(lines["line"], shades(hue, len(lines)), strict=True))
    draw_null(ax, trained)
    ends = [*_draw_chance(ax, trained), *_draw_control_lines(ax, points, colour)]
    if (height := draw_ceiling(ax, trained)) is not None:
        ends.append(("ceiling", (1.0, height), GREY))
    _draw_baselines(ax, points, colour, markers.levels)
    trends = points[points["role"] == TREND]
    for line, rows in trained.groupby("line", sort=False):
        own = colour[str(line)]
        _draw_joins(ax, rows, trends[trends["line"] == line], own, connect)
        _draw_marks(ax, rows, own, markers.families)
        ends.append((str(line), (float(rows["x"].iloc[-1]), float(rows["score"].iloc[-1])), own))
    _draw_random_points(ax, points, colour, markers.families)
    _draw_changed(ax, points, colour, markers.views, connect)
    right = ax.get_xlim()[1]
    label_right(
        ax,
        [(right if label in ("chance", "ceiling") else x, y) for label, (x, y), _ in ends],
        [names[label] for label, _, _ in ends],
        [readable(own) for _, _, own in ends],
    )
    return ax


def marker_numbers(points: pd.DataFrame) -> Markers:
    """The markers of the families and changed views of a figure."""
    trained = points[points["role"] == TRAINED].sort_values("point_order")
    changed = points[points["role"].isin([CHANGED_LINE, CHANGED_POINT])]
    changed = changed.sort_values(["point_order", "line_order"], kind="stable")
    views = dict.fromkeys(changed["view"]) if len(changed) else {}
    families = dict.fromkeys(trained["point_family"])
    level, line = points[points["role"] == LEVEL], points[points["role"] == BASELINE_LINE]
    flat = dict.fromkeys([*level.sort_values("point_order")["point"], *line["line"]])
    return Markers(
        *({str(name): i for i, name in enumerate(names)} for names in (families, views, flat))
    )


def _draw_chance(ax: Axes, trained: pd.DataFrame) -> list[End]:
    chance = trained.drop_duplicates("x").sort_values("x")[["x", "chance"]].dropna()
    if chance.empty:
        return []
    if chance["chance"].nunique() == 1:
        ax.axhline(float(chance["chance"].iloc[0]), color=GREY, lw=0.6, zorder=1, gid="chance")
    else:
        ax.plot(chance["x"], chance["chance"], color=GREY, lw=0.6, zorder=1, gid="chance")
    return [("chance", (1.0, float(chance["chance"].iloc[-1])), GREY)]


def _draw_control_lines(ax: Axes, points: pd.DataFrame, colour: Mapping[str, str]) -> list[End]:
    """Shuffled pairs, and line models with random weights: one name for the highest of these."""
    for role, order in ((SHUFFLED, 1.5), (RANDOM_LINE, 2.0)):
        for label, rows in points[points["role"] == role].groupby("line", sort=False):
            own = colour.get(str(label), GREY) if role == SHUFFLED else GREY
            ax.plot(
                rows["x"],
                rows["score"],
                **_control(rows, role),
                color=own,
                zorder=order,
                gid=f"{role}|{label}",
            )
    lines = points[points["role"] == RANDOM_LINE].drop_duplicates("line", keep="last")
    if lines.empty:
        return []
    highest = lines.iloc[int(lines["score"].to_numpy().argmax())]
    return [("random", (float(highest["x"]), float(highest["score"])), GREY)]


def _draw_baselines(
    ax: Axes, points: pd.DataFrame, colour: Mapping[str, str], numbers: Mapping[str, int]
) -> None:
    """Levels in the colours of their lines, over the whole width; baselines as lines in grey."""
    for _, row in points[points["role"] == LEVEL].iterrows():
        own, name = colour.get(str(row["line"]), GREY), str(row["point"])
        style = _dashed(numbers[name], own)
        ax.axhline(row["score"], **style, zorder=2.2, gid=f"{LEVEL}|{name}|{row['line']}")
    for label, rows in points[points["role"] == BASELINE_LINE].groupby("line", sort=False):
        style, gid = _dashed(numbers[str(label)], GREY), f"{BASELINE_LINE}|{label}"
        ax.plot(rows["x"], rows["score"], **style, zorder=2.1, gid=gid)


_DASHES = ((6, 1.5), (1, 1), (6, 1.5, 1, 1.5), (6, 1.5, 1, 1.5, 1, 1.5), (2.5, 2.5), (9, 3))


def _dashed(number: int, colour: str) -> dict[str, Any]:
    """A broken line, as `plot` takes it."""
    return {"ls": (0, _DASHES[number % len(_DASHES)]), "lw": 0.8, "color": colour}


def _draw_joins(
    ax: Axes, rows: pd.DataFrame, trend: pd.DataFrame, colour: str, connect: str
) -> None:
    """What joins the points of one line: itself, one per family, or straight lines."""
    label = rows["line"].iloc[0]
    families = [family for _, family in rows.groupby("point_family", sort=False)]
    for joined in _joined(rows, families, connect):
        ax.plot(joined["x"], joined["score"], "-", color=colour, zorder=3, gid=f"join|{label}")
    for _, fitted in trend.groupby("point_family", sort=False):
        ax.plot(fitted["x"], fitted["score"], "-", lw=0.6, color=colour, gid=f"trend|{label}")


def _draw_marks(ax: Axes, rows: pd.DataFrame, colour: str, markers: Mapping[str, int]) -> None:
    """The points of one line and their intervals."""
    label = rows["line"].iloc[0]
    significant = rows.get("significant", pd.Series(True, index=rows.index)).astype(bool)
    for (family, filled), marked in rows.groupby(["point_family", significant], sort=False):
        style = mark(markers[str(family)], colour, filled=bool(filled))
        ax.plot(marked["x"], marked["score"], **style, zorder=4, gid=f"trained|{label}")
    if {"low", "high"} <= set(rows):
        ax.vlines(rows["x"], rows["low"], rows["high"], color=colour, lw=0.5, gid="interval")


def _draw_random_points(
    ax: Axes, points: pd.DataFrame, colour: Mapping[str, str], markers: Mapping[str, int]
) -> None:
    random = points[points["role"] == RANDOM_POINT]
    for (label, family), marked in random.groupby(["line", "point_family"], sort=False):
        own = colour.get(str(label), GREY)
        style = mark(markers.get(str(family), 0), own, filled=False)
        ax.plot(marked["x"], marked["score"], **style, zorder=3.5, gid=f"random point|{label}")


def _draw_changed(
    ax: Axes,
    points: pd.DataFrame,
    colour: Mapping[str, str],
    numbers: Mapping[str, int],
    connect: str,
) -> None:
    """Copies on changed views: marks without a face, in the colour of the line's original."""
    changed = points[points["role"].isin([CHANGED_LINE, CHANGED_POINT])]
    keys = ["role", "line", "line_twin", "view"] if len(changed) else ["role"]
    for (role, line, twin, view), rows in changed.groupby(keys, sort=False):
        own, gid = colour.get(str(twin), GREY), f"{role}|{line}"
        families = [family for _, family in rows.groupby("point_family", sort=False)]
        for joined in _joined(rows, families, connect):
            ax.plot(joined["x"], joined["score"], color=own, zorder=2.5, gid="join", **_CHANGED)
        ax.plot(rows["x"], rows["score"], **_stick(numbers[str(view)], own), zorder=3.5, gid=gid)


_CHANGED: Any = {"ls": (0, (4, 1.2, 1, 1.2)), "lw": 0.5}
_STICKS = ("x", "+", "1", "2", "3", "4", "_", "|")


def _stick(number: int, colour: str) -> dict[str, Any]:
    """A marker of strokes, as `plot` takes it: no family's is one."""
    marker = _STICKS[number % len(_STICKS)]
    return {"ls": "", "marker": marker, "color": colour, "ms": 3.4, "mew": 0.7}


def legend_entries(
    points: pd.DataFrame, modality: str, lines: str
) -> tuple[list[Artist], list[str]]:
    """What is not said by a label in a panel."""
    handles: list[Artist] = []
    texts: list[str] = []
    trained = points[points["role"] == TRAINED].sort_values("point_order")
    markers = marker_numbers(points)
    for family, number in markers.families.items() if len(markers.families) > 1 else ():
        handles.append(Line2D([], [], **mark(number, "#444444")))
        texts.append(family)
    roles = set(points["role"])
    if RANDOM_POINT in roles:
        handles.append(Line2D([], [], ls="", marker="o", mfc="white", mec="#444444", mew=0.5))
        texts.append(random_text(modality))
    if RANDOM_LINE in roles:
        random = points[points["role"] == RANDOM_LINE]
        handles.append(Line2D([], [], color=GREY, **_control(random, RANDOM_LINE)))
        texts.append(random_text(lines))
    for role, who in ((CHANGED_POINT, modality), (CHANGED_LINE, lines)):
        read = set(points.loc[points["role"] == role, "view"]) if role in roles else set()
        for view in (view for view in markers.views if view in read):
            style = _stick(markers.views[view], "#444444") | _CHANGED
            handles.append(Line2D([], [], **style))
            texts.append(f"{who} models read {shorten(view, 1.2)}")
    for name, number in markers.levels.items():
        handles.append(Line2D([], [], **_dashed(number, "#444444")))
        texts.append(shorten(name, 1.4))
    if TREND in roles:
        handles.append(Line2D([], [], ls="-", color="#444444", lw=0.6))
        texts.append("least squares within a family")
    if SHUFFLED in roles:
        shuffled = points[points["role"] == SHUFFLED]
        handles.append(Line2D([], [], color="#444444", **_control(shuffled, SHUFFLED)))
        texts.append(SHUFFLED_PAIRS)
    if "threshold" in trained and trained["threshold"].notna().any():
        handles.append(Patch(color=FAINT, lw=0))
        texts.append(NOT_ABOVE_NULL)
    return handles, texts


def _joined(rows: pd.DataFrame, families: list[pd.DataFrame], connect: str) -> list[pd.DataFrame]:
    if connect == TREND:
        return []
    return families if connect == "family" else [rows]


def _control(rows: pd.DataFrame, role: str) -> dict[str, Any]:
    """How a control is drawn: a thin line; marks where points lie above each other, as checkpoints
    over their size do, or where there is one point only."""
    style, mark, size = _CONTROLS[role]
    apart = bool(rows.duplicated(["line", "x"]).any())
    marked = apart or rows["x"].nunique() == 1
    return {"ls": "none" if apart else style, "marker": mark if marked else "", "ms": size,
            "lw": 0.7}  # fmt: skip


_CONTROLS: dict[str, tuple[Any, str, float]] = {
    RANDOM_LINE: ((0, (3, 1.5)), ".", 1.8),
    SHUFFLED: (":", "_", 3.5),
}


def draw_null(ax: Axes, trained: pd.DataFrame) -> None:
    """Where scores of unrelated rows fall: from the null's mean to its threshold, widest pair."""
    if "threshold" not in trained or trained["threshold"].notna().sum() == 0:
        return
    floor = trained["null_mean"] if "null_mean" in trained else trained["chance"]
    band = trained.assign(floor=floor).groupby("x").agg({"floor": "min", "threshold": "max"})
    x = band.index.to_numpy(dtype=float)
    low, high = band["floor"].to_numpy(dtype=float), band["threshold"].to_numpy(dtype=float)
    left, right = ax.get_xlim()
    x, low, high = (
        np.r_[left, x, right],
        np.r_[low[:1], low, low[-1:]],
        np.r_[high[:1], high, high[-1:]],
    )
    ax.fill_between(x, low, high, color=FAINT, lw=0, zorder=0.5, gid="null")
