"""Which models are closer than which others, and how sure that is: ranks, and who is above whom."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from platorep.errors import AbsentError
from platorep.parameters.figures import DifferencesFigure
from platorep.plots.labels import decimals, metric_text, shorten, text_width
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import DOUBLE, FAINT, HUES, LINE, MISSING, SINGLE, SMALL
from platorep.plots.tables import Points, Tables, of_metric

RANK, CELL = "rank", "cell"
ABOVE, BELOW, UNSURE = "above", "below", "not told apart"
COLOURS = {ABOVE: HUES[0], BELOW: HUES[5], UNSURE: MISSING}
CONTROL = {"random weights": "its random weights", "changed view": "its changed view"}
GAP = 0.4  # between models and controls, in cells


def differences_points(tables: Tables, parameters: DifferencesFigure) -> Points:
    """Rows of `role`, `row` (the place of a model, best first), `model` and what belongs to a role.

    rank: `score`, `rank`, `low`, `high`, `num_models`.
    cell: `column` and `other` (what the model is held against: another one, or a control),
        `difference` (of the model from the other), `p_adjusted`, and `verdict`: above, below, or
        not told apart at `alpha`.

    Raises:
        AbsentError: the tables have no ranks, or none of that side and partner.
    """
    found = of_metric(tables.of_analysis("ranks", "differences"), parameters.metric)
    for key in ("side", "against", "partner"):
        wanted = getattr(parameters, key, None) or (found[key].iloc[0] if len(found) else None)
        found = found[found[key] == wanted]
    if found.empty:
        raise AbsentError(
            "nothing to draw: ranks.csv has no ranks of that side and partner; it has them of "
            "models that share partners."
        )
    first = found.iloc[0]
    found = found[found["num_models"] == first["num_models"]]
    ranked = found.sort_values(["rank", "model"], kind="stable").reset_index(drop=True)
    place = {model: row for row, model in enumerate(ranked["model"])}
    larger_is_closer = ranked["score"].iloc[0] >= ranked["score"].iloc[-1]
    sign = 1 if larger_is_closer else -1
    cells = _cells(tables, first, place, sign, parameters.alpha)
    columns = ["model", "score", "rank", "low", "high", "num_models"]
    points = pd.concat(
        [ranked[columns].assign(role=RANK, row=ranked.index), pd.DataFrame(cells)],
        ignore_index=True,
    )
    about = {key: first[key] for key in ("metric", "side", "against", "partner")}
    return Points(points.assign(**about, alpha=parameters.alpha))


def _cells(
    tables: Tables, first: pd.Series, place: dict[str, int], sign: int, alpha: float
) -> list[dict[str, Any]]:
    """Every two models both ways round, then each model against its controls.

    Args:
        sign: -1 where smaller scores are closer.
    """
    table = tables.of_analysis("differences", "differences")
    for key in ("metric", "side", "against", "partner"):
        table = table[table[key] == first[key]]
    table = table[table["x1"].isin(place)]
    controls: dict[str, int] = {}
    cells = []
    for _, row in table.iterrows():
        ways = [(row["x1"], row["x2"], row["difference"])]
        if row["kind"] == "models":
            if row["x2"] not in place:
                continue
            ways.append((row["x2"], row["x1"], -row["difference"]))
        for model, other, difference in ways:
            name = other if row["kind"] in ("models", "baseline") else CONTROL[row["kind"]]
            column = place.get(name)
            if column is None:
                column = len(place) + controls.setdefault(name, len(controls))
            sure = row["p_adjusted"] <= alpha
            verdict = (ABOVE if sign * difference > 0 else BELOW) if sure else UNSURE
            cells.append(
                {"role": CELL, "row": place[model], "model": model, "column": column}
                | {"other": name, "difference": difference}
                | {"p_adjusted": row["p_adjusted"], "verdict": verdict}
            )
    return cells


def say_differences(points: pd.DataFrame, parameters: DifferencesFigure) -> str:
    """What is drawn where, in words."""
    return (
        "Beside the names: the score, its rank and the interval of the rank. A cell: the model of "
        "the row against that of the column, p corrected for all comparisons."
    )


def draw_differences(points: pd.DataFrame, parameters: DifferencesFigure) -> Figure:
    """Draw what `differences_points` selected."""
    ranked = points[points["role"] == RANK].sort_values("row")
    cells = points[points["role"] == CELL]
    num, columns = len(ranked), cells.drop_duplicates("column").sort_values("column")
    names = [shorten(str(name), 1.1) for name in ranked["model"]]
    scores = [decimals(float(score), 3) for score in ranked["score"]]
    left = max(map(text_width, names)) + max(map(text_width, scores)) + 0.2
    heads = [shorten(str(name), 1.1) for name in columns["other"]]
    above = max(map(text_width, heads), default=0.2) + 0.12
    across = (max(columns["column"], default=num - 1) + 1) + GAP
    width = DOUBLE if parameters.width == "double" else SINGLE
    beside = 0.85  # the ranks
    cell = min(0.19, max(0.1, (width - left - beside - 0.25) / across))
    width = max(width, left + beside + 0.25 + cell * across)
    height_row = max(cell, LINE)
    alpha = decimals(float(points["alpha"].iloc[0]))
    texts = [f"row above (p ≤ {alpha})", "row below", UNSURE]
    footer, below = legend_height(texts, width - 0.1), 0.34
    height = above + height_row * num + below + footer
    figure = Figure(figsize=(width, height))

    def axes(start: float, size: float) -> Axes:
        box = (start / width, (footer + below) / height, size / width, height_row * num / height)
        ax = figure.add_axes(box)
        ax.set_ylim(num - 0.5, -0.5)
        return ax

    _draw_ranks(axes(left, beside), ranked, names, scores)
    _draw_cells(axes(left + beside + 0.12, cell * across), cells, columns, heads, num)
    handles = [Patch(color=COLOURS[verdict]) for verdict in (ABOVE, BELOW, UNSURE)]
    add_legend(figure, handles, texts, (0.03, 0.0, 0.97, footer / height))
    first = points.iloc[0]
    against = first["against"] if first["partner"] == "all" else shorten(first["partner"], 1.3)
    lines = [metric_text(str(first["metric"])), f"{first['side']} models", f"against {against}"]
    figure.text(
        0.05 / width, 1 - 0.05 / height, "\n".join(lines), va="top", fontsize=SMALL, gid="what"
    )
    return figure


def _draw_ranks(ax: Axes, ranked: pd.DataFrame, names: list[str], scores: list[str]) -> None:
    """A dot at the rank of each model, its interval, name and score."""
    num = len(ranked)
    for row, (_, model) in enumerate(ranked.iterrows()):
        ax.plot([1, num], [row, row], color=FAINT, lw=0.4, zorder=0)
        ends = [model["low"], model["high"]]
        ax.plot(ends, [row, row], color=HUES[0], lw=1.6, solid_capstyle="butt", gid="interval")
        ax.plot([model["rank"]], [row], "o", color=HUES[0], gid=f"rank|{model['model']}")
    widest = max(map(text_width, scores))
    for row, (name, score) in enumerate(zip(names, scores, strict=True)):
        for text, offset in ((score, 0.0), (name, widest + 0.08)):
            ax.annotate(
                text,
                (0, row),
                xycoords=("axes fraction", "data"),
                xytext=(-72 * (0.06 + offset), 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=SMALL,
                gid="label",
            )
    ax.set_xlim(0.6, num + 0.4)
    ax.set_xticks(range(1, num + 1, max(1, round(num / 5))))
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("rank")


def _draw_cells(
    ax: Axes, cells: pd.DataFrame, columns: pd.DataFrame, heads: list[str], num: int
) -> None:
    """Blue where the model of the row is above that of the column."""

    def centre(column: float) -> float:
        return column + (GAP if column >= num else 0.0)

    for _, cell in cells.iterrows():
        x, y = centre(cell["column"]), cell["row"]
        colour = COLOURS[str(cell["verdict"])]
        ax.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5), 1, 1, fc=colour, ec="white", lw=0.6,
                gid=f"cell|{cell['model']}|{cell['other']}",
            )
        )  # fmt: skip
    places = [centre(column) for column in columns["column"]]
    ax.set_xlim(-0.5, max(places, default=num - 1.0) + 0.5)
    ax.set_xticks(places, heads, rotation=90)
    ax.set_yticks([])
    ax.tick_params(length=0, pad=2, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
