"""One panel of a scaling figure: lines of models, their controls, chance and the null."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from platorep.plots.panels import label_right
from platorep.plots.style import FAINT, GREY, MARKERS, readable, shades
from platorep.plots.trends import TREND

TRAINED = "trained"
RANDOM_LINE = "random line"  # the line's model has random weights
RANDOM_POINT = "random point"  # the point's model has
SHUFFLED = "shuffled"


def draw_panel(
    ax: Axes,
    points: pd.DataFrame,
    hue: str,
    markers: dict[str, str],
    names: dict[str, str],
    connect: str = "all",
) -> Axes:
    """Draw the lines of one family, their controls, chance and null; the limits must be set.

    Args:
        ax: Where to draw. The caller owns the figure and its size (inches).
        points: Rows of `scaling_points` with one `line_family`. Where a column `significant` is
            false, the marker is open.
        hue: Colour of the family; its models are shades of it, dark for large.
        markers: Family of point models -> marker.
        names: Label of a line -> what its end says; also `random` and `chance`.
        connect: Join all points of a line (all), those of one family (family), or none (trend:
            the rows of that role are drawn in their place).
    """
    trained = points[points["role"] == TRAINED]
    lines = trained.drop_duplicates("line").sort_values(["line_num_parameters", "line_order"])
    colour = dict(zip(lines["line"], shades(hue, len(lines)), strict=True))
    ends: list[tuple[str, tuple[float, float], str]] = []

    _draw_null(ax, trained)
    chance = trained.drop_duplicates("x").sort_values("x")[["x", "chance"]].dropna()
    if len(chance):
        ends.append(("chance", (1.0, float(chance["chance"].iloc[-1])), GREY))
        if chance["chance"].nunique() == 1:
            ax.axhline(float(chance["chance"].iloc[0]), color=GREY, lw=0.6, zorder=1, gid="chance")
        else:
            ax.plot(chance["x"], chance["chance"], color=GREY, lw=0.6, zorder=1, gid="chance")
    for label, rows in points[points["role"] == SHUFFLED].groupby("line", sort=False):
        ax.plot(
            rows["x"],
            rows["score"],
            **_control(rows, SHUFFLED),
            color=colour.get(str(label), GREY),
            zorder=1.5,
            gid=f"shuffled|{label}",
        )
    random_ends = []
    for label, rows in points[points["role"] == RANDOM_LINE].groupby("line", sort=False):
        ax.plot(
            rows["x"],
            rows["score"],
            **_control(rows, RANDOM_LINE),
            color=GREY,
            zorder=2,
            gid=f"random line|{label}",
        )
        random_ends.append((float(rows["x"].iloc[-1]), float(rows["score"].iloc[-1])))
    if random_ends:
        ends.append(("random", max(random_ends, key=lambda end: end[1]), GREY))
    for line, rows in trained.groupby("line", sort=False):
        label = str(line)
        own = colour[label]
        families = [family for _, family in rows.groupby("point_family", sort=False)]
        for joined in _joined(rows, families, connect):
            ax.plot(joined["x"], joined["score"], "-", color=own, zorder=3, gid=f"join|{label}")
        trend = points[(points["role"] == TREND) & (points["line"] == line)]
        for _, fitted in trend.groupby("point_family", sort=False):
            ax.plot(fitted["x"], fitted["score"], "-", lw=0.6, color=own, gid=f"trend|{label}")
        significant = rows.get("significant", pd.Series(True, index=rows.index)).astype(bool)
        for key, marked in rows.groupby(["point_family", significant], sort=False):
            ax.plot(
                marked["x"],
                marked["score"],
                markers[str(key[0])],
                color=own,
                mfc=own if key[1] else "white",
                mew=0 if key[1] else 0.5,
                zorder=4,
                gid=f"trained|{label}",
            )
        if {"low", "high"} <= set(rows):
            ax.vlines(rows["x"], rows["low"], rows["high"], color=own, lw=0.5, gid="interval")
        ends.append((label, (float(rows["x"].iloc[-1]), float(rows["score"].iloc[-1])), own))
    random = points[points["role"] == RANDOM_POINT]
    for key, marked in random.groupby(["line", "point_family"], sort=False):
        label, family = map(str, key)
        ax.plot(
            marked["x"],
            marked["score"],
            markers.get(str(family), "o"),
            mfc="white",
            mew=0.5,
            mec=colour.get(str(label), GREY),
            zorder=3.5,
            gid=f"random point|{label}",
        )
    right = ax.get_xlim()[1]
    label_right(
        ax,
        [(right if label == "chance" else x, y) for label, (x, y), _ in ends],
        [names[label] for label, _, _ in ends],
        [readable(own) for _, _, own in ends],
    )
    return ax


def legend_entries(
    points: pd.DataFrame, modality: str, lines: str
) -> tuple[list[Artist], list[str]]:
    """What is not said by a label in a panel."""
    handles: list[Artist] = []
    texts: list[str] = []
    trained = points[points["role"] == TRAINED].sort_values("point_order")
    families = list(dict.fromkeys(trained["point_family"]))
    for index, family in enumerate(families if len(families) > 1 else ()):
        handles.append(
            Line2D([], [], ls="", marker=MARKERS[index % len(MARKERS)], color="#444444", mew=0)
        )
        texts.append(str(family))
    roles = set(points["role"])
    if RANDOM_POINT in roles:
        handles.append(Line2D([], [], ls="", marker="o", mfc="white", mec="#444444", mew=0.5))
        texts.append(f"{modality} model, random weights")
    if RANDOM_LINE in roles:
        random = points[points["role"] == RANDOM_LINE]
        handles.append(Line2D([], [], color=GREY, **_control(random, RANDOM_LINE)))
        texts.append(f"{lines} model, random weights")
    if TREND in roles:
        handles.append(Line2D([], [], ls="-", color="#444444", lw=0.6))
        texts.append("least squares within a family")
    if SHUFFLED in roles:
        shuffled = points[points["role"] == SHUFFLED]
        handles.append(Line2D([], [], color="#444444", **_control(shuffled, SHUFFLED)))
        texts.append("shuffled pairs")
    if "threshold" in trained and trained["threshold"].notna().any():
        handles.append(Patch(color=FAINT, lw=0))
        texts.append("not above the permutation null")
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


def _draw_null(ax: Axes, trained: pd.DataFrame) -> None:
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
