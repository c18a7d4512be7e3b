"""A neighborhood metric over k: figure 10 of arXiv:2405.07987."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from platorep.errors import AbsentError
from platorep.parameters.figures import KSweepFigure, ScalingFigure
from platorep.plots.labels import text_width, wrap
from platorep.plots.lines import TRAINED
from platorep.plots.measures import measure_text
from platorep.plots.panels import LEADER, Grid, label_right, set_log_axis
from platorep.plots.scaling import scaled_pairs
from platorep.plots.style import DOUBLE, GREY, HUES, MARKERS, NORMAL, SINGLE, readable
from platorep.plots.tables import Points, Tables
from platorep.plots.words import alignment_text
from platorep.statistics import mean_spearman_within

SCORE, TREND = "score", "trend"


def k_sweep_points(tables: Tables, parameters: KSweepFigure) -> Points:
    """Rows of `panel`, `family`, `k`, `value`, `num_pairs`, `measure`.

    score: the mean over the trained pairs of a family of line models; family `chance` is its own.
    trend: the mean over line models of the Spearman correlation of score and performance.

    Raises:
        AbsentError: no metric was scored at two values of k.
    """
    best = tables.best
    if len(best):
        best = best.assign(base=best["metric"].str.split("{").str[0])
        sweep = best[best["k"].notna()].groupby("base", sort=False)["k"].nunique()
        swept = [str(base) for base, num in sweep.items() if num > 1]
    else:
        swept = []
    base = parameters.metric or (swept[0] if swept else None)
    if base not in swept:
        raise AbsentError(
            f"nothing to draw: {base or 'no metric'} was scored at several k. List it more than "
            "once in the experiment, with other values of k, and run `platorep align` again."
        )
    labels = best.loc[(best["base"] == base) & best["k"].notna(), "metric"].unique()
    rows: list[dict[str, object]] = []
    notes: tuple[str, ...] = ()
    for label in labels:
        one = ScalingFigure(
            metric=str(label), x=parameters.x, points=parameters.points, lines=parameters.lines
        )
        part = scaled_pairs(tables, one)
        notes = part.notes
        rows += _of_one_k(part.frame[part.frame["role"] == TRAINED], str(base))
    points = pd.DataFrame(rows).drop_duplicates(["panel", "family", "k"])
    families = {family: i for i, family in enumerate(dict.fromkeys(points["family"]))}
    order = points["family"].map(families)
    points = points.assign(order=order).sort_values(["panel", "order", "k"], kind="stable")
    points = points.drop(columns="order").reset_index(drop=True)
    return Points(points.assign(measure=measure_text(parameters.x, tables)), notes)


def _of_one_k(trained: pd.DataFrame, metric: str) -> list[dict[str, object]]:
    """The points of one k."""
    k = int(trained["k"].iloc[0])
    rows: list[dict[str, object]] = []

    def add(panel: str, family: str, value: float, num_pairs: int) -> None:
        if np.isfinite(value):
            rows.append(
                {"panel": panel, "family": family, "metric": metric, "k": k, "value": value}
                | {"num_pairs": num_pairs}
            )

    for family, pairs in trained.groupby("line_family", sort=False):
        add(SCORE, str(family), float(pairs["score"].mean()), len(pairs))
        x, score = pairs["x"].to_numpy(dtype=float), pairs["score"].to_numpy(dtype=float)
        trend = mean_spearman_within(x, score, list(pairs["line"]))
        add(TREND, str(family), trend, len(pairs))
    add(SCORE, "chance", float(trained["chance"].mean()), len(trained))
    return rows


def say_k_sweep(points: pd.DataFrame, parameters: KSweepFigure) -> str:
    """What is drawn where, in words."""
    said = f"Mean over the trained pairs of each {parameters.lines} family, each at its best layers"
    if TREND in set(points["panel"]):
        said += (
            f"; Spearman over {parameters.points} models, mean over the {parameters.lines} models"
        )
    return said + "."


def draw_k_sweep(points: pd.DataFrame, parameters: KSweepFigure) -> Figure:
    """Draw what `k_sweep_points` selected."""
    panels = list(dict.fromkeys(points["panel"]))
    families = [f for f in dict.fromkeys(points["family"]) if f != "chance"]
    names = {family: wrap(family, 0.8) for family in [*families, "chance"]}
    gutter = LEADER + 0.06 + max(text_width(text) for text in names.values())
    left, between = 0.5, 0.5
    width = DOUBLE if (parameters.width or "double") == "double" and len(panels) > 1 else SINGLE
    columns = len(panels) if width == DOUBLE else 1
    panel = (width - left - between * (columns - 1)) / columns - gutter
    grid = Grid(
        rows=len(panels) // columns,
        columns=columns,
        panel=(panel, max(1.2, min(2.0, 0.75 * panel))),
        left=left,
        gutter=gutter + (between if columns > 1 else 0.0),
        gap=0.42,
    )
    figure = Figure(figsize=(grid.width - (grid.gutter - gutter), grid.height))
    shrink = grid.width / (grid.width - (grid.gutter - gutter))
    for index, name in enumerate(panels):
        x, y, w, h = grid.box(*divmod(index, columns))
        ax = figure.add_axes((x * shrink, y, w * shrink, h))
        rows = points[points["panel"] == name]
        metric = str(rows["metric"].iloc[0])
        ax.set_xlabel("neighbors k")
        trend = f"Spearman with {points['measure'].iloc[0]}"
        label = alignment_text(metric, "mean alignment") if name == SCORE else trend
        ax.set_ylabel(wrap(label, grid.panel[1] + 0.1, NORMAL))
        _draw(ax, rows, families, names)
    return figure


def _draw(ax: Axes, rows: pd.DataFrame, families: list[str], names: dict[str, str]) -> None:
    """One line per family."""
    k = rows["k"].to_numpy(dtype=float)
    ax.set_xlim(k.min() * 0.85, k.max() * 1.18)
    set_log_axis(ax)
    ax.set_xticks(sorted(set(k.tolist())), [f"{value:g}" for value in sorted(set(k.tolist()))])
    ax.minorticks_off()
    ends, texts, colours = [], [], []
    for family, line in rows.groupby("family", sort=False):
        chance = family == "chance"
        index = 0 if chance else families.index(str(family))
        colour = GREY if chance else HUES[index % len(HUES)]
        marker = "" if chance else MARKERS[index % len(MARKERS)]
        style = "--" if chance else "-"
        ax.plot(line["k"], line["value"], style, marker=marker, color=colour, gid=f"line|{family}")
        ends.append((float(line["k"].iloc[-1]), float(line["value"].iloc[-1])))
        texts.append(names[str(family)])
        colours.append(readable(colour))
    ax.margins(y=0.08)
    ax.autoscale_view(scalex=False)
    label_right(ax, ends, texts, colours)
