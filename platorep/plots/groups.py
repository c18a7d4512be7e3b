"""Groups of rows: which are agreed on, what of it the groups alone would give, what is left.

A line per group, all rows first: the mean score of its rows beside that of as many rows at random;
the score in its parts; and the score where neighbors are looked for in the group alone.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from platorep.errors import AbsentError
from platorep.parameters.figures import GroupsFigure
from platorep.plots.labels import metric_text, shorten, text_width, wrap
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import DOUBLE, FAINT, GREY, HUES, LINE, NORMAL, SINGLE
from platorep.plots.tables import AS_ASKED, Points, Tables, highest_of, of_metric
from platorep.plots.words import CHANCE, TIMES

ALL = "all rows"
ALPHA = 0.05
FINE, COARSE = HUES[0], HUES[5]
_ROW = 1.5 * LINE  # height of a line of the figure, inches


def groups_points(tables: Tables, parameters: GroupsFigure) -> Points:
    """One row per group, that of all rows first, then from the most agreed on to the least.

    The columns of groups.csv, and `beyond_alone`, `beyond_random`: how far the score in the group
    alone, and in as many rows at random, is from chance (0) to perfect (1).

    Raises:
        AbsentError: there are no groups, or not this pair or division.
    """
    table = of_metric(tables.of_analysis("groups", "groups"), parameters.metric)
    found = (*parameters.pair, AS_ASKED) if parameters.pair else _best_pair(table, tables.models)
    x, y, chosen = found
    pair = table[(table["x"] == x) & (table["y"] == y)]
    if pair.empty:
        pair = table[(table["x"] == y) & (table["y"] == x)]
    if pair.empty:
        raise AbsentError(f"nothing to draw: groups.csv has no pair [{x}, {y}] of this metric.")
    by = parameters.by or str(pair["by"].iloc[0])
    rows = pair[pair["by"] == by]
    if rows.empty:
        raise AbsentError(
            f"nothing to draw: groups.csv has no groups by {by!r}. It has them by "
            f"{', '.join(pair['by'].unique())}."
        )
    name = rows["group"].fillna("")
    rows = rows.assign(group=name.where(name != "", ALL), whole=name == "")
    rows = rows.sort_values(["whole", "score"], ascending=False, kind="stable")
    for column in ("alone", "alone_random"):
        beyond = (rows[column] - rows["alone_chance"]) / (1 - rows["alone_chance"])
        rows = rows.assign(**{"beyond_" + column.rpartition("_")[2]: beyond})
    return Points(rows.reset_index(drop=True).assign(chosen=chosen))


def _best_pair(table: pd.DataFrame, models: pd.DataFrame) -> tuple[str, str, str]:
    """The pair of trained models with the best score, of two modalities where there are any; and in
    words, how it was chosen."""
    of = models.set_index("label")
    whole = table[table["group"].fillna("") == ""]
    sides = [whole[side].map(of["modality"]) for side in ("x", "y")]
    random = whole["x"].map(of["random"]).astype(bool) | whole["y"].map(of["random"]).astype(bool)
    kinds = {
        "pair of trained models of two modalities": whole[~random & (sides[0] != sides[1])],
        "pair of trained models": whole[~random],
        "pair (none is of trained models)": whole,
    }
    for kind, pairs in kinds.items():
        if len(pairs):
            row = pairs.iloc[int(pairs["score"].to_numpy().argmax())]
            return str(row["x"]), str(row["y"]), highest_of(len(pairs), kind)
    raise AbsentError("nothing to draw: groups.csv is empty.")


def say_groups(points: pd.DataFrame, parameters: GroupsFigure) -> str:
    """What is drawn where, in words."""
    return f"{points['chosen'].iloc[0]} In brackets: rows of the group."


def draw_groups(points: pd.DataFrame, parameters: GroupsFigure) -> Figure:
    """Draw what `groups_points` selected."""
    split = bool(points["coarse"].notna().any())
    number = 3 if split else 1
    width = {"single": SINGLE, "double": DOUBLE, None: DOUBLE if split else SINGLE}[
        parameters.width
    ]
    sizes = zip(points["group"], points["num_rows"], strict=True)
    names = [f"{shorten(str(group), 1.2)} ({rows:,})" for group, rows in sizes]
    left, gap, right = 0.14 + max(map(text_width, names)), 0.26, 0.1
    panel = (width - left - right - (number - 1) * gap) / number
    handles, texts = _legend(split)
    footer = legend_height(texts, width - 0.1) + 0.04
    first = points.iloc[0]
    title = wrap(
        f"{first['x']} {TIMES} {first['y']}, {metric_text(str(first['metric']))}; "
        f"groups: {first['by']}",
        width - 0.2,
        NORMAL,
    )
    head = 0.12 + 1.3 * NORMAL / 72 * (1 + title.count("\n"))
    tall, bottom = _ROW * len(points), 0.36
    height = head + tall + bottom + footer
    figure = Figure(figsize=(width, height))
    figure.text(0.06 / width, 1 - 0.04 / height, title, fontsize=NORMAL, va="top")
    draw = (_draw_scores, _draw_parts, _draw_alone)[:number]
    for place, (one, label) in enumerate(zip(draw, _LABELS, strict=False)):
        start = left + place * (panel + gap)
        box = (start / width, (footer + bottom) / height, panel / width, tall / height)
        ax = figure.add_axes(box)
        one(ax, points)
        ax.set_ylim(0.6 - len(points), 0.6)
        ax.set_yticks([-i for i in range(len(points))], names if place == 0 else [""] * len(names))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color="#eeeeee", lw=0.5, zorder=0)
        ax.axhline(-0.5, color=GREY, lw=0.4)
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.set_xlabel(wrap(label, panel + gap / 2, NORMAL))
    box = (0.06 / width, 0.0, 1 - 0.1 / width, (footer - 0.04) / height)
    add_legend(figure, handles, texts, box)
    return figure


_LABELS = (
    "mean score of the group's rows",
    "the same in parts",
    "in the group alone (0: chance)",
)


def _draw_scores(ax: Axes, points: pd.DataFrame) -> None:
    places = -np.arange(len(points))
    ax.hlines(places, points["null_low"], points["null_high"], color=FAINT, lw=4, zorder=1,
              gid="null")  # fmt: skip
    ax.axvline(float(points["score"].iloc[0]), color=GREY, lw=0.6, zorder=2, gid="all")
    sure = (points["p_adjusted"] <= ALPHA) | points["whole"].astype(bool)
    for chosen, face in ((sure, "black"), (~sure, "white")):
        ax.plot(points["score"][chosen], places[chosen], "o", color="black", mfc=face, mew=0.6,
                ms=3.6, zorder=4, gid="score")  # fmt: skip
    ax.set_xlim(left=0)


def _draw_parts(ax: Axes, points: pd.DataFrame) -> None:
    """Chance, what the groups add, and what is shared beyond them."""
    places = -np.arange(len(points))
    score, chance = points["score"].to_numpy(), points["chance"].to_numpy()
    coarse = np.minimum(points["coarse"].to_numpy(), score)
    base = np.minimum(chance, coarse)
    for low, high, colour in (
        (0 * base, base, GREY),
        (base, coarse, COARSE),
        (coarse, score, FINE),
    ):
        ax.barh(places, high - low, left=low, height=0.62, color=colour, zorder=2, gid="part")
    ax.set_xlim(left=0)


def _draw_alone(ax: Axes, points: pd.DataFrame) -> None:
    places = -np.arange(len(points))
    ax.axvline(0, color=GREY, lw=0.6, zorder=1, gid="chance")
    ax.hlines(places, points["beyond_alone"], points["beyond_random"], color=FINE, lw=0.7, zorder=2)
    ax.plot(points["beyond_random"], places, "o", color="black", mfc="white", mew=0.6, ms=4.4,
            ls="", zorder=3, gid="random")  # fmt: skip
    ax.plot(points["beyond_alone"], places, "o", color=FINE, ms=3.2, ls="", zorder=4, gid="alone")


def _legend(split: bool) -> tuple[list[Artist], list[str]]:
    dot: dict[str, Any] = {"ls": "", "marker": "o", "color": "black", "mew": 0.6, "ms": 3.6}
    handles: list[Artist] = [
        Patch(color=FAINT),
        Line2D([], [], **dot),
        Line2D([], [], **dot | {"mfc": "white"}),
    ]
    texts = [".95 of as many rows at random", "outside (adjusted p \N{LESS-THAN OR EQUAL TO} .05)",
             "not"]  # fmt: skip
    if split:
        handles += [Patch(color=colour) for colour in (GREY, COARSE, FINE)]
        texts += [CHANCE, "what the groups alone would give", "what is beyond them"]
        handles += [
            Line2D([], [], ls="", marker="o", color=FINE, ms=3.2),
            Line2D([], [], **dot | {"mfc": "white", "ms": 4.4}),
        ]
        texts += ["neighbors among the group alone", "among as many rows at random"]
    return handles, texts
