"""Every sense with every other: does alignment rise as networks grow, and which sense tells most?

A matrix. Its lower half is a small scaling figure per pair of senses, its upper half says the same
in numbers, and its diagonal names the senses, the most telling first.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from platorep.errors import AbsentError
from platorep.parameters.figures import SIZE, ScalingFigure, SensesFigure
from platorep.plots.labels import decimals
from platorep.plots.lines import RANDOM_LINE, RANDOM_POINT, TRAINED, draw_null
from platorep.plots.measures import measure_text, values_of
from platorep.plots.panels import Grid, add_legend, legend_height
from platorep.plots.scaling import scaled_pairs, set_x_limits, set_y_limits
from platorep.plots.style import (
    DOUBLE,
    FAINT,
    GREY,
    HUES,
    LINE,
    MISSING,
    NORMAL,
    SINGLE,
    SMALL,
    readable,
    shades,
)
from platorep.plots.tables import Points, Tables, missing_scores, of_metric
from platorep.plots.words import CHANCE, NOT_ABOVE_NULL, RANDOM_WEIGHTS, RHO, alignment_text
from platorep.statistics import spearman

PAIR, SENSE = "pair of senses", "sense"
TRUTH = "truth"  # no sense, but what all of them are of
_CONTROLS: Any = {RANDOM_LINE: (0, (3, 1.5)), RANDOM_POINT: (0, (1, 1))}  # dashes


def senses_points(tables: Tables, parameters: SensesFigure) -> Points:
    """Rows of `role`, `row`, `column` (senses), `score` and what belongs to each role.

    sense: one per sense in the order of the figure; `score` is the mean over its pairs with other
        senses (each sense counts once, the truth does not), `with_truth` that over its pairs with
        the truth, `within` that over its pairs among its own models.
    pair of senses: `score` is the mean over all pairs of trained models (NaN, and `num_pairs` 0,
        where none has one), `smallest` and `largest` the mean of those in which both models are at
        the lower or upper end of x, `rho_column` and `rho_row` Spearman's correlation with x of a
        model's mean over the other sense, `num_above` the pairs above the permutation null.
    trained, random line, random point: as in `scaled_pairs`; the lines are models of the row's
        sense, x is that of a model of the column's.

    Order: the sense first that agrees most with the truth, or with the other senses where not all
    were scored against the truth (`told`). Those whose models have no x come after those that
    have, and the truth last.

    Raises:
        AbsentError: fewer than two senses were scored against each other.
    """
    best = of_metric(tables.best, parameters.metric)
    pairs = _both_ways(best, parameters.senses)
    if pairs["row"].eq(pairs["column"]).all():
        raise AbsentError(
            "nothing to draw: no two models of different modalities have a score. Name such pairs "
            "in align.pairs, as [vision, language]. " + "; ".join(missing_scores(best))
        )
    pairs["x"] = pairs["column_model"].map(values_of(parameters.x, tables)).astype(float)
    pairs["row_x"] = pairs["row_model"].map(values_of(parameters.x, tables)).astype(float)
    summary = _senses(pairs)
    order = list(summary["row"])
    rows, notes = [summary], missing_scores(best)
    for column, row in itertools.combinations(order, 2):
        found = pairs[(pairs["row"] == row) & (pairs["column"] == column)]
        rows.append(_pair_of_senses(found, row, column))
        wanted = ScalingFigure(
            metric=parameters.metric, x=parameters.x, points=column, lines=row,
            controls=parameters.controls,
        )  # fmt: skip
        try:
            scaled = scaled_pairs(tables, wanted)
        except AbsentError:
            why = f"no {parameters.x}" if len(found) else "no pair of models has a score"
            notes += (f"{column} x {row}: {why}, so no panel",)
            continue
        shown = _thinned(scaled.frame)
        rows.append(shown.assign(row=row, column=column))
        notes += tuple(note for note in scaled.notes if note not in notes)
    frame = pd.concat(rows, ignore_index=True)
    measure = measure_text(parameters.x, tables)
    return Points(frame.assign(metric=str(best["metric"].iloc[0]), measure=measure), notes)


def _both_ways(best: pd.DataFrame, senses: Sequence[str] | None) -> pd.DataFrame:
    """Pairs of trained models with a score, each once as (row, column) and once the other way."""
    random = best["x_random"].astype(bool) | best["y_random"].astype(bool)
    rows = best[~random & (best["control"].fillna("") == "") & best["score"].notna()]
    if senses is not None:
        rows = rows[rows["x_modality"].isin(senses) & rows["y_modality"].isin(senses)]
    turned = []
    for row, column in (("x", "y"), ("y", "x")):
        names = {f"{row}_modality": "row", f"{column}_modality": "column"}
        names |= {row: "row_model", column: "column_model"}
        kept = [*names, *(c for c in ("score", "chance", "calibrated") if c in rows)]
        turned.append(rows[kept].rename(columns=names))
    return pd.concat(turned, ignore_index=True)


def _senses(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per sense, in the order of the figure."""
    mean = pairs.groupby(["row", "column"])["score"].mean()
    sized = set(pairs.loc[pairs["x"].notna(), "column"])
    rows = []
    for sense in dict.fromkeys(pairs["row"]):
        others = mean[sense]
        rows.append(
            {
                "role": SENSE,
                "row": sense,
                "column": sense,
                "score": others.drop([sense, TRUTH], errors="ignore").mean(),
                "with_truth": others.get(TRUTH, np.nan) if sense != TRUTH else np.nan,
                "within": others.get(sense, np.nan),
            }
        )
    table = pd.DataFrame(rows)
    senses = table[table["row"] != TRUTH]
    told = "with_truth" if senses["with_truth"].notna().all() else "score"
    table = table.assign(last=table["row"] == TRUTH, unsized=~table["row"].isin(sized))
    table = table.sort_values(
        ["last", "unsized", told], ascending=[True, True, False], kind="stable"
    )
    return table.drop(columns=["last", "unsized"]).assign(told=told)


def _pair_of_senses(pairs: pd.DataFrame, row: str, column: str) -> pd.DataFrame:
    """What the upper half says of two senses."""
    found: dict[str, object] = {"role": PAIR, "row": row, "column": column}
    found |= {"score": pairs["score"].mean(), "num_pairs": len(pairs)}
    found |= {"smallest": np.nan, "largest": np.nan}
    grows = pairs["x"].nunique() > 1 or pairs["row_x"].nunique() > 1
    for name, end in (("smallest", "min"), ("largest", "max")) if grows else ():
        at = pd.Series(True, index=pairs.index)
        for x in (pairs["x"], pairs["row_x"]):
            at &= (x == x.agg(end)) | x.isna()
        found[name] = pairs.loc[at, "score"].mean()
    for side, place in (("column", "x"), ("row", "row_x")):
        means = pairs.groupby(f"{side}_model")[[place, "score"]].mean().dropna()
        found[f"rho_{side}"] = spearman(means[place].to_numpy(), means["score"].to_numpy()).value
    known = "calibrated" in pairs and pairs["calibrated"].notna().any()
    found["num_above"] = int((pairs["calibrated"] > 0).sum()) if known else np.nan
    return pd.DataFrame([found])


def _thinned(scaled: pd.DataFrame) -> pd.DataFrame:
    """Trained pairs as they are; each kind of random control as its mean at every x."""
    trained = scaled[scaled["role"] == TRAINED]
    random = scaled[scaled["role"].isin(_CONTROLS)]
    means = random.groupby(["role", "x"])[["score"]].mean().reset_index()
    return pd.concat([trained, means], ignore_index=True) if len(means) else trained


def say_senses(points: pd.DataFrame, parameters: SensesFigure) -> str:
    """What is drawn where, in words."""
    said = "Each pair at its best layers. Below the diagonal a point per pair, lines: the mean of "
    said += "each model of the row"
    if RANDOM_POINT in set(points["role"]):
        said += "; a random model of the column stands at the x of its trained twin"
    return said + "."


def draw_senses(points: pd.DataFrame, parameters: SensesFigure) -> Figure:
    """Draw what `senses_points` selected."""
    of_sense = points[points["role"] == SENSE].set_index("row")
    of_pair = points[points["role"] == PAIR].set_index(["row", "column"])
    scaled = points[~points["role"].isin([SENSE, PAIR])]
    senses = [str(sense) for sense in of_sense.index]
    hues = {sense: HUES[i % len(HUES)] for i, sense in enumerate(senses)}
    handles, texts = _legend(scaled, str(of_sense["told"].iloc[0]))
    grid = _layout(parameters, len(senses), texts)
    figure = Figure(figsize=(grid.width, grid.height))
    colours = _colours(of_pair["score"].astype(float))
    drawn: dict[tuple[int, int], Axes] = {}
    for (i, row), (j, column) in itertools.product(enumerate(senses), repeat=2):
        ax = figure.add_axes(grid.box(i, j))
        panel = scaled[(scaled["row"] == row) & (scaled["column"] == column)]
        if i > j and len(panel):
            set_x_limits(ax, scaled[scaled["column"] == column], parameters.x)
            set_y_limits(ax, scaled, 0.02)
            _draw_panel(ax, panel, hues[row])
            drawn[i, j] = ax
            continue
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if i == j:
            _write_sense(ax, row, of_sense.T[row], readable(hues[row]))
        elif i < j:
            _write_pair(ax, of_pair.T[(column, row)], row, column, colours)
        else:
            _write(ax, ["no panel"], MISSING)
    _name_ticks(drawn)
    _name_axes(figure, grid, points, parameters, hues)
    box = (0.04 / grid.width, 0.0, 1 - 0.04 / grid.width, (grid.footer - 0.04) / grid.height)
    add_legend(figure, handles, texts, box)
    return figure


def _layout(parameters: SensesFigure, num_senses: int, legend: Sequence[str]) -> Grid:
    left, gutter = 0.68, 0.07
    wide = parameters.width or ("single" if num_senses == 2 else "double")
    width = SINGLE if wide == "single" else DOUBLE
    panel = max(_NARROWEST, (width - left) / num_senses - gutter)
    width = left + num_senses * (panel + gutter)
    return Grid(
        rows=num_senses,
        columns=num_senses,
        panel=(panel, min(panel, max(0.8 * panel, 6 * LINE))),
        left=left,
        gutter=gutter,
        gap=gutter,
        bottom=0.47,
        footer=legend_height(legend, width - 0.04) + 0.04,
    )


_NARROWEST = 1.02  # panel that its texts fit in, inches


def _colours(means: pd.Series) -> ScalarMappable:
    """From 0 (white) to the highest mean, a tint that black reads well on."""
    return ScalarMappable(Normalize(0.0, max(float(means.max()), 1e-9) / 0.55), "Blues")


def _draw_panel(ax: Axes, points: pd.DataFrame, hue: str) -> None:
    """Trained pairs as points, a line for each model of the row; null, chance, random controls."""
    trained = points[points["role"] == TRAINED]
    draw_null(ax, trained)
    chance = trained.groupby("x")["chance"].mean().dropna()
    if len(chance) == 1:  # one size has a level, and no line
        ax.axhline(chance.iloc[0], color=GREY, lw=0.6, zorder=1, gid="chance")
    else:
        ax.plot(chance.index, chance, color=GREY, lw=0.6, zorder=1, gid="chance")
    for role, dashes in _CONTROLS.items():
        rows = points[points["role"] == role].sort_values("x")
        alone = "." if len(rows) == 1 else ""
        style: Any = {"ls": dashes, "marker": alone, "color": GREY, "lw": 0.9}
        ax.plot(rows["x"], rows["score"], **style, zorder=2, gid=role)
    lines = trained.drop_duplicates("line").sort_values(["line_num_parameters", "line_order"])
    for label, colour in zip(lines["line"], shades(hue, len(lines)), strict=True):
        rows = trained[trained["line"] == label]
        mean = rows.groupby("x")["score"].mean()
        ax.plot(mean.index, mean, color=colour, lw=0.7, zorder=3, gid=f"join|{label}")
        ax.plot(rows["x"], rows["score"], "o", ms=2, color=colour, zorder=4, gid=f"trained|{label}")


def _write_sense(ax: Axes, sense: str, row: pd.Series, colour: str) -> None:
    """On the diagonal: the name of a sense, and how much it agrees with the others."""
    said = [
        (row["score"], "with the senses" if sense == TRUTH else "with the others"),
        (row["with_truth"], "with the truth"),
        (row["within"], "among themselves"),
    ]
    lines = [f"{decimals(value)} {what}" for value, what in said if np.isfinite(value)]
    at: Any = {"transform": ax.transAxes, "ha": "center", "color": colour}
    ax.text(0.5, 0.6, sense, **at, va="bottom", fontsize=1.4 * NORMAL, fontweight="bold")
    ax.text(0.5, 0.54, "\n".join(lines), **at, va="top", fontsize=SMALL, linespacing=1.2)


def _write_pair(ax: Axes, pair: pd.Series, row: str, column: str, colours: ScalarMappable) -> None:
    """In the upper half: what its panel in the lower half says, in numbers.

    `row` and `column` are where it is written; the panel's are the other way round.
    """
    if not pair["num_pairs"]:
        _write(ax, ["not scored"], MISSING)
        return
    lines = []
    if np.isfinite(pair["smallest"]):
        ends = [decimals(pair[name]) for name in ("smallest", "largest")]
        lines.append(" \N{RIGHTWARDS ARROW} ".join(ends))
    for sense, rho in ((row, pair["rho_column"]), (column, pair["rho_row"])):
        if np.isfinite(rho):
            lines.append(f"{RHO} {sense} {decimals(rho)}")
    if np.isfinite(pair["num_above"]):
        lines.append(f"{int(pair['num_above'])} of {int(pair['num_pairs'])} above null")
    colour = colours.to_rgba(np.array([pair["score"]]))[0].tolist()
    _write(ax, [decimals(pair["score"]), *lines], colour)


def _write(ax: Axes, lines: Sequence[str], background: Any) -> None:
    """Lines in a cell, the first one large if there are more."""
    ax.set_facecolor(background)
    at: Any = {"transform": ax.transAxes, "ha": "center"}
    if len(lines) == 1:
        ax.text(0.5, 0.5, lines[0], **at, va="center", fontsize=SMALL)
        return
    ax.text(0.5, 0.62, lines[0], **at, va="bottom", fontsize=1.6 * NORMAL)
    ax.text(0.5, 0.58, "\n".join(lines[1:]), **at, va="top", fontsize=SMALL, linespacing=1.2)


def _name_ticks(drawn: dict[tuple[int, int], Axes]) -> None:
    """Numbers at the first panel of each row and the last of each column."""
    for (i, j), ax in drawn.items():
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        first = j == min(column for row, column in drawn if row == i)
        last = i == max(row for row, column in drawn if column == j)
        ax.tick_params(labelleft=first, labelbottom=last)


def _name_axes(
    figure: Figure, grid: Grid, points: pd.DataFrame, parameters: SensesFigure, hues: dict[str, str]
) -> None:
    """The name of each sense along its row and its column, and what the axes are."""
    width, height = grid.width, grid.height
    for number, (sense, hue) in enumerate(hues.items()):
        left, bottom, across, up = grid.box(number, number)
        style: Any = {"color": readable(hue), "fontweight": "bold", "ha": "center", "va": "center"}
        if number:
            figure.text(0.25 / width, bottom + up / 2, sense, rotation=90, **style)
        if number < len(hues) - 1:
            middle = (grid.footer + grid.bottom - 0.22) / height
            figure.text(left + across / 2, middle, sense, **style)
    x = "parameters" if parameters.x == SIZE else str(points["measure"].iloc[0])
    grid.label_axes(
        figure, f"{x} of the column's models", alignment_text(str(points["metric"].iloc[0]))
    )


def _legend(scaled: pd.DataFrame, told: str) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = [Line2D([], [], marker="o", ms=2, color="#444444", lw=0.7)]
    texts = ["a model of the row (dark: large)"]
    roles = set(scaled["role"])
    for role, text in ((RANDOM_LINE, "row's"), (RANDOM_POINT, "column's")):
        if role in roles:
            handles.append(Line2D([], [], ls=_CONTROLS[role], color=GREY, lw=0.9))
            texts.append(f"{text} models, {RANDOM_WEIGHTS}, mean")
    if scaled["chance"].notna().any():
        handles.append(Line2D([], [], color=GREY, lw=0.6))
        texts.append(CHANCE)
    if "threshold" in scaled and scaled["threshold"].notna().any():
        handles.append(Patch(color=FAINT, lw=0))
        texts.append(NOT_ABOVE_NULL)
    handles.append(Line2D([], [], ls=""))
    texts.append(
        f"upper half: mean, smallest \N{RIGHTWARDS ARROW} largest models, {RHO}: Spearman with x"
    )
    handles.append(Line2D([], [], ls=""))
    others = "truth" if told == "with_truth" else "others"
    texts.append(f"senses in the order of their mean with the {others}")
    return handles, texts
