"""Alignment against the number of averaged observations, and where it would end
(arXiv:2511.02767, figure of captions and frames)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError
from platorep.parameters.figures import ObservationsFigure
from platorep.plots.labels import text_width, wrap
from platorep.plots.panels import LEADER, Grid, add_legend, label_right, legend_height
from platorep.plots.style import DOUBLE, GREY, HUES, MARKERS, NORMAL, SINGLE, readable
from platorep.plots.tables import Points, Tables, is_baseline, of_metric
from platorep.plots.words import BASELINE, CHANCE, RANDOM_WEIGHTS, alignment_text

TRAINED, RANDOM = "trained", RANDOM_WEIGHTS
AVERAGE, JOINED, END = "average", "joined", "end"
_STAR: Any = {"ls": "", "marker": "*", "ms": 5, "mew": 0.5, "mfc": "white", "zorder": 4}


def observations_points(tables: Tables, parameters: ObservationsFigure) -> Points:
    """Rows of `panel`, `role`, `line`, `what`, `m`, `value`, `low`, `high`, `r2`, `num_pairs`.

    `panel`: modality of the averaged model, which is `line`; `role`: trained, random weights or
    baseline. `what`: average (the mean over subsets and trained partners), joined, end (m is
    infinite: the mean asymptote and the mean ends of its intervals; only where every partner has
    one), chance.

    Raises:
        AbsentError: nothing was averaged, or no partner is trained.
    """
    table = tables.of_analysis("observations", "observations")
    ends = tables.of_analysis("asymptotes", "observations")
    table = of_metric(table, parameters.metric)
    ends = ends[ends["metric"] == table["metric"].iloc[0]]
    table, ends = (_of_lines(part, tables.models, parameters) for part in (table, ends))
    table = table[table["layers"] == "kept"]
    if table.empty:
        raise AbsentError("nothing to draw: no averaged model was scored with a trained one.")
    rows: list[dict[str, Any]] = []
    notes = []
    for (panel, role, line), of_line in table.groupby(["panel", "role", "line"], sort=False):
        said: dict[str, Any] = {
            "panel": panel,
            "role": role,
            "line": line,
            "low": np.nan,
            "high": np.nan,
        }
        said |= {"num_pairs": of_line["partner"].nunique(), "r2": np.nan}
        means = of_line.groupby(["joined", "m"], as_index=False)["score"].mean()
        for joined, m, score in zip(means["joined"], means["m"], means["score"], strict=True):
            what = JOINED if joined else AVERAGE
            rows.append(said | {"what": what, "m": float(m), "value": float(score)})
        own = ends[(ends["line"] == line) & (ends["panel"] == panel)]
        own = own[own["law"] == parameters.law]
        if len(own) and own["asymptote"].notna().all():
            numbers = {
                name: float(own[column].astype(float).mean())
                for name, column in (
                    ("value", "asymptote"),
                    *((c, c) for c in ("low", "high", "r2")),
                )
            }
            rows.append(said | {"what": END, "m": np.inf} | numbers)
        elif len(own):
            lacking = own[own["asymptote"].isna()]
            notes.append(
                f"{line}: no end by the {parameters.law} law with {len(lacking)} of {len(own)} "
                f"partners ({lacking['reason'].iloc[0]})"
            )
    for panel, of_panel in ends.groupby("panel", sort=False):
        chance = {"panel": panel, "role": CHANCE, "line": "", "what": CHANCE, "m": 1.0}
        rows.append(chance | {"value": float(of_panel["floor"].mean())})
    frame = pd.DataFrame(rows).assign(metric=str(table["metric"].iloc[0]), law=parameters.law)
    return Points(frame, tuple(notes))


def _of_lines(
    table: pd.DataFrame, models: pd.DataFrame, parameters: ObservationsFigure
) -> pd.DataFrame:
    """With trained partners only: who is averaged, in which role, and with whom."""
    known = models.set_index("label")
    random, baseline = (
        set(known.index[control]) for control in (known["random"].astype(bool), is_baseline(known))
    )
    own = table["x"].where(table["side"] == "x", table["y"])
    partner = table["y"].where(table["side"] == "x", table["x"])
    there = own.isin(known.index) & partner.isin(known.index)
    table, own, partner = table[there], own[there], partner[there]
    role = np.where(own.isin(baseline), BASELINE, np.where(own.isin(random), RANDOM, TRAINED))
    table = table.assign(
        line=own, partner=partner, role=role, panel=own.map(known["modality"])
    ).assign(order=own.map(known["order"]))
    kept = ~partner.isin(random | baseline)
    most = table.groupby("side")["partner_m"].transform("max")
    of_partner = (
        (table["partner_m"] == 1) if parameters.partner == "one" else (table["partner_m"] == most)
    )
    kept &= of_partner | table.get("joined", False)
    if not parameters.controls:
        kept &= table["role"] == TRAINED
    return table[kept].sort_values("order", kind="stable")


def say_observations(points: pd.DataFrame, parameters: ObservationsFigure) -> str:
    """What is drawn where, in words."""
    own = "one observation" if parameters.partner == "one" else "all its observations averaged"
    said = "A line per model whose features are averaged over m observations of a row, mean over "
    said += f"its trained partners, each on {own}."
    if (points["what"] == END).any():
        said += " At infinity: where the fitted law ends, with its interval."
    return said


def draw_observations(points: pd.DataFrame, parameters: ObservationsFigure) -> Figure:
    """Draw what `observations_points` selected; the end of a line stands where m is infinite."""
    panels = [str(name) for name in dict.fromkeys(points["panel"])]
    lines = points.drop_duplicates("line")
    names = {str(line): wrap(str(line), 1.0) for line in lines["line"] if line}
    left, gutter = (
        0.5,
        LEADER + 0.06 + max(text_width(text) for text in (*names.values(), CHANCE)),
    )
    width = DOUBLE if parameters.width == "double" and len(panels) > 1 else SINGLE
    columns = len(panels) if width == DOUBLE else 1
    panel = ((width - left) / columns - gutter, max(1.8, 0.14 * len(names)))
    handles, texts = _legend(points)
    grid = Grid(
        rows=-(-len(panels) // columns),
        columns=columns,
        panel=panel,
        left=left,
        gutter=gutter,
        strip=0.2 if len(panels) > 1 else 0.06,
        gap=0.28,
        footer=legend_height(texts, width - 0.1),
    )
    figure = Figure(figsize=(grid.width, grid.height))
    axes = grid.add_axes(figure, len(panels))
    finite = points.loc[np.isfinite(points["m"]), "m"]
    last = max(2, int(finite.max()))
    axes[0].set_xlim(0.7, last + 1.3)
    step = -(-last // 8)
    ticks = [*range(1, last + 1, step), last + 1]
    axes[0].set_xticks(ticks, [*map(str, ticks[:-1]), "\N{INFINITY}"])
    highest = points[["value", "high"]].max().max()
    axes[0].set_ylim(min(0.0, points["value"].min()), 1.05 * highest)
    hues = {line: HUES[i % len(HUES)] for i, line in enumerate(_of_role(points, TRAINED))}
    for ax, name in zip(axes, panels, strict=True):
        if len(panels) > 1:
            ax.set_title(f"{name} models averaged", loc="left", fontsize=NORMAL, pad=3)
        _draw(ax, points[points["panel"] == name], hues, names, last)
    metric = str(points["metric"].iloc[0])
    of = "" if len(panels) > 1 else f" ({panels[0]} models)"
    xlabel = f"observations averaged, m{of}"
    grid.label_axes(figure, xlabel, wrap(alignment_text(metric), panel[1] + 0.3, NORMAL))
    box = (0.05 / grid.width, 0.0, (width - 0.1) / grid.width, grid.footer / grid.height)
    add_legend(figure, handles, texts, box)
    return figure


def _draw(
    ax: Axes, points: pd.DataFrame, hues: dict[str, str], names: dict[str, str], last: int
) -> None:
    labels: list[tuple[tuple[float, float], str, str]] = []
    for level in points.loc[points["what"] == CHANCE, "value"]:
        ax.axhline(level, color=GREY, lw=0.6, ls=":", zorder=1, gid="chance")
        labels.append(((last + 1.3, float(level)), CHANCE, GREY))
    shown = points[points["what"] != CHANCE]
    places = last + 1 + np.linspace(-0.15, 0.15, shown["line"].nunique() + 2)[1:-1]
    for number, (line, rows) in enumerate(shown.groupby("line", sort=False)):
        role = str(rows["role"].iloc[0])
        colour = hues.get(str(line), GREY)
        style = _marker(role, number, colour)
        average = rows[rows["what"] == AVERAGE]
        ax.plot(
            average["m"], average["value"], color=colour, zorder=3, gid=f"average|{line}", **style
        )
        joined = rows[rows["what"] == JOINED]
        ax.plot(joined["m"], joined["value"], color=colour, gid=f"joined|{line}", **_STAR)
        if role == BASELINE:  # never averaged: its line goes through what was joined
            whole = rows[rows["what"].isin([AVERAGE, JOINED])].sort_values("m")
            ax.plot(whole["m"], whole["value"], color=colour, lw=0.6, gid="through joined")
        place = float(average["m"].iloc[-1]), float(average["value"].iloc[-1])
        for _, end in rows[rows["what"] == END].iterrows():
            infinity = float(places[number])
            x, y = [place[0], infinity], [place[1], end["value"]]
            ax.plot(x, y, color=colour, lw=0.6, ls=(0, (2, 2)), zorder=2, gid="towards")
            ax.vlines(infinity, end["low"], end["high"], color=colour, lw=0.8, gid="interval")
            ax.plot(infinity, end["value"], marker="_", ms=6, color=colour, gid=f"end|{line}")
            place = infinity, float(end["value"])
        if not (rows["what"] == END).any() and len(joined):
            place = float(joined["m"].iloc[-1]), float(joined["value"].iloc[-1])
        labels.append((place, names[str(line)], readable(colour)))
    label_right(ax, *(list(part) for part in zip(*labels, strict=True)))


def _marker(role: str, number: int, colour: str) -> dict[str, Any]:
    marker = "x" if role == BASELINE else MARKERS[number % len(MARKERS)]
    return {"marker": marker, "ms": 3, "mew": 0.6, "mfc": colour if role == TRAINED else "white"}


def _of_role(points: pd.DataFrame, role: str) -> list[str]:
    return [str(line) for line in dict.fromkeys(points.loc[points["role"] == role, "line"])]


def _legend(points: pd.DataFrame) -> tuple[list[Artist], list[str]]:
    dark = "#444444"
    most = int(points["num_pairs"].max())
    mean = f"mean over subsets and {most} partners" if most > 1 else "mean over subsets"
    handles: list[Artist] = [Line2D([], [], color=dark, marker="o", ms=3)]
    texts = [mean]
    for role in (RANDOM, BASELINE):
        if _of_role(points, role):
            style = _marker(role, 0, GREY)
            handles.append(Line2D([], [], color=GREY, **style))
            texts.append(role)
    if (points["what"] == JOINED).any():
        handles.append(Line2D([], [], color=dark, **_STAR))
        texts.append("so many joined in one")
    if (points["what"] == END).any():
        handles.append(Line2D([], [], color=dark, marker="_", ms=6, lw=0.6, ls=(0, (2, 2))))
        texts.append(f"end by {points['law'].iloc[0]}, 95 %")
    return handles, texts
