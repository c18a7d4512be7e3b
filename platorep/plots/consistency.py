"""Do model pairs rank the same on several sets of samples? Two sets: pair by pair; more: tau."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.plots.about import data_text
from platorep.plots.heatmap import plain_matrix
from platorep.plots.labels import interval_text, legible_frame, metric_text, shorten, wrap
from platorep.plots.panels import Grid, add_legend, legend_height
from platorep.plots.style import FAINT, HUES, SINGLE, SMALL, mark

SIDE = 2.4  # of the panel of pairs, inches


def consistency_points(scores: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Of the first metric: a row per model pair of two experiments, or per cell of a matrix.

    pair: `x`, `y`, `family`, its score in the `first` and the `second` experiment, and the `tau`
        of all of them with its ends.
    cell: `x` and `y` (experiments), `value` (tau, or 1 of an experiment with itself).

    Args:
        scores: As `platorep.comparing.common_scores` has them.
        table: As `platorep.comparing.consistency` has it.
    """
    table = table[table["metric"] == table["metric"].iloc[0]]
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    if len(names) == 2:
        of_metric = scores[scores["metric"] == table["metric"].iloc[0]]
        wide = of_metric.pivot_table(
            index=["x", "y"], columns="experiment", values="score", sort=False
        )
        pairs = wide[names].dropna().set_axis(["score_first", "score_second"], axis=1).reset_index()
        family = of_metric.drop_duplicates(["x", "y"]).set_index(["x", "y"])["family"]
        pairs["family"] = [family[x, y] for x, y in zip(pairs["x"], pairs["y"], strict=True)]
        of_pairs: pd.DataFrame = pairs.assign(role="pair", **table.iloc[0])
        return of_pairs
    tau = {(a, b): t for a, b, t in zip(table["first"], table["second"], table["tau"], strict=True)}
    tau |= {(b, a): t for (a, b), t in tau.items()} | {(a, a): 1.0 for a in names}
    cells = [
        {"row": i, "column": j, "x": a, "y": b, "value": tau.get((a, b), np.nan)}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    return pd.DataFrame(cells).assign(role="cell", metric=table["metric"].iloc[0])


def say_consistency(scores: pd.DataFrame, table: pd.DataFrame) -> str:
    """What is drawn where, in words."""
    metric = table["metric"].iloc[0]
    pairs = len(scores[scores["metric"] == metric].drop_duplicates(["x", "y"]))
    data = data_text(" and ".join(dict.fromkeys([*table["first"], *table["second"]])), (), [metric])
    return f"{data} Over {pairs:,} pairs of models, each at its best layers."


def draw_consistency(points: pd.DataFrame) -> Figure:
    """Draw what `consistency_points` selected."""
    shown, _ = legible_frame(points)
    metric = metric_text(str(points["metric"].iloc[0]))
    if points["role"].iloc[0] == "cell":
        names = {name: wrap(str(name), 1.2) for name in shown["x"]}
        return plain_matrix(shown, names, f"Kendall's tau of {metric} over model pairs", None)
    return _draw_pairs(shown, metric)


def _draw_pairs(shown: pd.DataFrame, metric: str) -> Figure:
    families = list(dict.fromkeys(shown["family"]))
    footer = legend_height(families, SINGLE - 0.1)
    grid = Grid(rows=1, columns=1, panel=(SIDE, SIDE), left=0.6, strip=0.2, footer=footer)
    figure = Figure(figsize=(SINGLE, grid.height))
    left, bottom, width, height = grid.box(0, 0)
    stretch = grid.width / SINGLE
    ax = figure.add_axes((left * stretch, bottom, width * stretch, height))
    handles = []
    for number, family in enumerate(families):
        rows = shown[shown["family"] == family]
        style = mark(number, HUES[number % len(HUES)])
        ax.plot(rows["score_first"], rows["score_second"], **style, gid=f"family|{family}")
        handles.append(Line2D([], [], **style))
    ends = [min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])]
    ax.plot(ends, ends, color=FAINT, lw=0.6, zorder=0)
    ax.set(xlim=ends, ylim=ends)
    first = shown.iloc[0]
    names = [shorten(str(first[side]), SIDE - 0.4) for side in ("first", "second")]
    ax.set(xlabel=f"score on {names[0]}", ylabel=f"score on {names[1]}")
    tau = interval_text(first["tau"], first["low"], first["high"])
    text = f"{metric}: Kendall's tau {tau} over {len(shown)} pairs"
    ax.text(0, 1.02, text, transform=ax.transAxes, fontsize=SMALL, va="bottom", gid="tau")
    add_legend(figure, handles, families, (0.02, 0.0, 0.98, footer / grid.height))
    return figure
