"""Alignment against performance: figure 3 of arXiv:2405.07987.

One panel per family of vision models, one line per vision model, one point per language model.
Differs from the paper's figure: chance, controls and the null are drawn in.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError
from platorep.parameters.figures import (
    SIZE,
    CalibrationFigure,
    MetricGridFigure,
    ScalingFigure,
)
from platorep.plots.ceilings import KEPT, ceiling_text, ceiling_top
from platorep.plots.labels import name_and_size, numbers_text, short_names, text_width, wrap
from platorep.plots.lines import (
    BASELINE_LINE,
    CHANGED_LINE,
    CHANGED_POINT,
    LEVEL,
    RANDOM_LINE,
    RANDOM_POINT,
    SHUFFLED,
    TRAINED,
    draw_panel,
    legend_entries,
    marker_numbers,
)
from platorep.plots.measures import measure_text, values_of
from platorep.plots.panels import (
    LEADER,
    Grid,
    add_legend,
    guide,
    label_above,
    legend_height,
    set_log_axis,
    strip_height,
)
from platorep.plots.style import (
    DOUBLE,
    HUES,
    LINE,
    NORMAL,
    SINGLE,
    SMALL,
)
from platorep.plots.tables import (
    Points,
    Tables,
    changed_of,
    is_baseline,
    missing_scores,
    of_metric,
)
from platorep.plots.trends import (
    CORRELATION,
    TREND,
    correlation_notes,
    correlations,
    panel_lines,
    trends,
)
from platorep.plots.words import CHANCE, RHO, alignment_text


def scaling_points(tables: Tables, parameters: ScalingFigure) -> Points:
    """The rows of `scaled_pairs` and, after them, those of `trends` and `correlations`.

    Raises:
        AbsentError: no pair has both a score and an x.
    """
    pairs = scaled_pairs(tables, parameters, baselines=parameters.controls)
    trained = pairs.frame[pairs.frame["role"] == TRAINED]
    log = parameters.x == SIZE
    found = correlations(trained, log=log)
    rows = [pairs.frame, found]
    if _connect(parameters) == TREND:
        rows.insert(1, trends(trained, log=log))
    measure = measure_text(parameters.x, tables)
    notes = correlation_notes(found, measure)
    frame = pd.concat([part for part in rows if len(part)], ignore_index=True)
    frame = frame.assign(measure=measure)
    return Points(frame, (*pairs.notes, *notes))


ScalingLike = ScalingFigure | MetricGridFigure | CalibrationFigure


def _connect(parameters: ScalingFigure) -> str:
    return parameters.connect or (TREND if parameters.x == SIZE else "all")


def scaled_pairs(tables: Tables, parameters: ScalingFigure, *, baselines: bool = False) -> Points:
    """One row per model pair that has a score and an x.

    `role`: trained, random line (control of a line's model), random point (control of a point's
    model, at the x of its trained twin), changed line, changed point (the one or the other reads
    the changed view called `view`) or shuffled. Where both are controls or one is shuffled,
    nothing is shown.

    And with `baselines`, baseline line: a baseline in a line's place, once in the panel of each
    family; and level: the score of a line's model with a baseline in a point's place, or with one
    of `parameters.references`, which is at no x.

    Raises:
        AbsentError: no pair has both a score and an x.
    """
    best = of_metric(tables.best, parameters.metric)
    pairs = _oriented(best, parameters)
    models = tables.models.set_index("label")
    pairs = pairs.join(traits(models, "line"), on="line").join(traits(models, "point"), on="point")
    x = values_of(parameters.x, tables)
    pairs["x"] = pairs["point_twin"].map(x).astype(float)
    pairs["role"] = _roles(pairs)
    level = (pairs["role"] == TRAINED) & pairs["point"].isin(parameters.references)
    pairs["role"] = pairs["role"].mask(level, LEVEL)
    if (view := pairs["line_changed"] + pairs["point_changed"]).ne("").any():
        pairs["view"] = view
    wanted = [TRAINED, LEVEL, *(_CONTROLS if parameters.controls else ())]
    pairs = pairs[pairs["role"].isin([*wanted, BASELINE_LINE] if baselines else wanted)]
    if not baselines:
        pairs = pairs[~pairs["point_baseline"]]
    notes = missing_scores(best)
    lost = pairs["x"].isna() & (pairs["role"] != LEVEL)
    names = set(pairs.loc[lost, "point_twin"]) - set(parameters.references)
    if names:
        notes += (f"no {parameters.x}, so not shown: {', '.join(sorted(names))}",)
    shown = pairs[(pairs["x"].notna() | (pairs["role"] == LEVEL)) & pairs["score"].notna()]
    if not (shown["role"] == TRAINED).any():
        raise AbsentError(
            f"nothing to draw: no pair of a {parameters.points} and a {parameters.lines} model has "
            f"both a score and {parameters.x}. " + "; ".join(notes or ("no such pair was scored",))
        )
    shown = _in_each_panel(shown.assign(x=shown["x"].mask(shown["role"] == LEVEL)))
    shown = shown.sort_values(["line_order", "role", "x", "point_order"], kind="stable")
    shown = shown.assign(measure=measure_text(parameters.x, tables))
    return Points(shown[[c for c in _COLUMNS if c in shown]].reset_index(drop=True), notes)


def _in_each_panel(pairs: pd.DataFrame) -> pd.DataFrame:
    """The same, but baselines in the place of lines once for every family of lines."""
    own = pairs["role"] == BASELINE_LINE
    families = pairs.loc[pairs["role"] == TRAINED, "line_family"].unique()
    copies = [pairs[own].assign(line_family=family) for family in families]
    return pd.concat([pairs[~own], *copies])


def _roles(pairs: pd.DataFrame) -> list[str]:
    """The role of each pair, or ""."""
    line, point = (
        np.select([pairs[f"{side}_{of}"].astype(bool) for of in _COPIES], [*_COPIES], "")
        for side in ("line", "point")
    )
    roles = [_ROLE_OF.get((str(a), str(b)), "") for a, b in zip(line, point, strict=True)]
    return [
        role if control != SHUFFLED else SHUFFLED if role == TRAINED else ""
        for role, control in zip(roles, pairs["control"], strict=True)
    ]


_COPIES = _RANDOM, _CHANGED, _BASELINE = "random", "changed", "baseline"
_ROLE_OF = {  # what the models of line and point are
    ("", ""): TRAINED,
    (_RANDOM, ""): RANDOM_LINE,
    ("", _RANDOM): RANDOM_POINT,
    (_CHANGED, ""): CHANGED_LINE,
    ("", _CHANGED): CHANGED_POINT,
    (_BASELINE, ""): BASELINE_LINE,
    ("", _BASELINE): LEVEL,
}
SPEARMAN = f"{RHO}: Spearman, 95 % interval"  # of the mean over the lines
_CONTROLS = (RANDOM_LINE, RANDOM_POINT, CHANGED_LINE, CHANGED_POINT, SHUFFLED)
_KEPT = [
    *("metric", "dataset", "n", "k", "score", "chance", "null_mean", "null_sd", "threshold"),
    *("p", "p_adjusted", "calibrated", "low", "high", *KEPT),
]
_COLUMNS = [
    *("role", "view", "line_family", "line", "line_twin", "line_num_parameters", "line_order"),
    *("point_family", "point", "point_twin", "point_num_parameters", "point_order", "x", "measure"),
    *(*_KEPT, "line_layer", "point_layer"),
]


def _oriented(best: pd.DataFrame, parameters: ScalingFigure) -> pd.DataFrame:
    """Rows with `point` and `line` in place of x and y, whichever way round they were scored."""
    sides = []
    for point, line in (("x", "y"), ("y", "x")):
        rows = best[
            (best[f"{point}_modality"] == parameters.points)
            & (best[f"{line}_modality"] == parameters.lines)
            & (best[point] != best[line])
        ]
        names = {
            point: "point",
            line: "line",
            f"layer_{point}": "point_layer",
            f"layer_{line}": "line_layer",
        }
        kept = ["control", *names.values(), *_KEPT]
        rows = rows.rename(columns=names)
        sides.append(rows[[c for c in kept if c in rows]])
    return pd.concat(sides, ignore_index=True).drop_duplicates(["point", "line", "control"])


def traits(models: pd.DataFrame, side: str) -> pd.DataFrame:
    """Per label: what it is a copy of (`twin`), and what the figure sorts and colours by.

    `changed` is the changed view that a copy reads, "" if it is no such copy.
    """
    random, changed = models["random"].astype(bool), changed_of(models)
    itself = models.index.to_series()
    twin = models["random_of"].where(random, itself).fillna(itself).mask(changed != "", changed)
    family = twin.map(models["family"]).fillna(models["family"])
    view = models["view"].where(changed != "", "") if "view" in models else changed
    return pd.DataFrame(
        {
            f"{side}_twin": twin,
            f"{side}_family": family,
            f"{side}_random": random,
            f"{side}_changed": view,
            f"{side}_baseline": is_baseline(models),
            f"{side}_num_parameters": models["num_parameters"].astype(float),
            f"{side}_order": models["order"],
        }
    )


def x_label(points: pd.DataFrame, x: str, modality: str) -> str:
    """What the x axis says."""
    if x == SIZE:
        return f"{modality} model parameters"
    if x == "release_date":
        return f"release of the {modality} model (year)"
    return f"{modality} performance ({points['measure'].iloc[0]})"


def say_scaling(points: pd.DataFrame, parameters: ScalingLike) -> str:
    """What is drawn where, in words."""
    roles, what = set(points["role"]), parameters.points
    said = ["Each pair at its best layers."]
    if RANDOM_POINT in roles:
        said.append(f"A random {what} model stands at the x of its trained twin.")
    if CHANGED_POINT in roles:
        said.append(f"A {what} model on a changed view stands at the x of its original.")
    if LEVEL in roles:
        said.append(f"Level lines: {what} models and baselines that have no x.")
    if {"low", "high"} <= set(points) and points["low"][points["role"] == TRAINED].notna().any():
        said.append("Bars: interval of the score.")
    if getattr(parameters, "names", True):
        trained = points[points["role"] == TRAINED]
        said.append(numbers_text(trained["point"], trained["point_num_parameters"]))
    return " ".join(filter(None, said))


def draw_scaling(points: pd.DataFrame, parameters: ScalingFigure) -> Figure:
    """Draw what `scaling_points` selected."""
    said = points["role"] == CORRELATION
    found, points = points[said], points[~said]
    families = list(dict.fromkeys(points.sort_values("line_order")["line_family"]))
    trained = points[points["role"] == TRAINED]
    people, texts = point_labels(trained)
    if not parameters.names:
        people, texts = people.iloc[:0], []
    names = {family: line_names(points, family) for family in families}
    gutter = LEADER + 0.06 + max(text_width(t) for named in names.values() for t in named.values())
    handles, entries = legend_entries(points, parameters.points, parameters.lines)
    printed = {
        family: panel_lines(found[found["line_family"] == family]) if parameters.correlation else []
        for family in families
    }
    if any(printed.values()):
        handles.append(Line2D([], [], ls=""))
        entries.append(SPEARMAN)
    for family in families:
        printed[family] += ceiling_text(points[points["line_family"] == family])
    grid = _layout(parameters, len(families), texts, gutter, names, entries)

    figure = Figure(figsize=(grid.width, grid.height))
    panels = grid.add_axes(figure, len(families))
    titles = {family: wrap(family, grid.panel[0] - 0.1, NORMAL * 1.1) for family in families}
    title_lines = max(1 + title.count("\n") for title in titles.values())
    printed_lines = max(len(lines) for lines in printed.values())
    head = title_lines * 0.13 + printed_lines * LINE
    set_limits(panels[0], points, parameters.x, 0.06 + head / grid.panel[1])
    markers = marker_numbers(points)
    connect = _connect(parameters)
    for index, (ax, family) in enumerate(zip(panels, families, strict=True)):
        rows = points[points["line_family"] == family]
        guide(ax, list(people["x"]))
        draw_panel(ax, rows, HUES[index % len(HUES)], markers, names[family], connect)
        _write_head(ax, titles[family], printed[family], title_lines * 0.13 / grid.panel[1])
    for ax in panels[: grid.columns]:
        label_above(ax, list(people["x"]), texts, grid.panel[0] + grid.gutter - 0.03)
    grid.label_axes(
        figure,
        x_label(points, parameters.x, parameters.points),
        alignment_text(str(points["metric"].iloc[0])),
    )
    if handles:
        add_legend(figure, handles, entries, _legend_box(grid, len(families)))
    return figure


def _write_head(ax: Axes, title: str, lines: Sequence[str], below: float) -> None:
    """The family's name in the upper left corner; `below` it (share of the panel) its numbers."""
    white: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    at: dict[str, Any] = {"transform": ax.transAxes, "va": "top"}
    bold: dict[str, Any] = {"fontsize": NORMAL, "fontweight": "bold", "gid": "title", "bbox": white}
    ax.text(0.03, 0.985, title, **at, **bold)
    small: dict[str, Any] = {"fontsize": SMALL, "linespacing": 1.1, "gid": "correlation"}
    ax.text(0.03, 0.985 - below, "\n".join(lines), **at, **small, bbox=white | {"alpha": 0.8})


def point_labels(trained: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row per point model in the order of x, and what the figure calls it."""
    people = trained.drop_duplicates("point").sort_values(["x", "point_order"])
    sizes = zip(people["point"], people["point_num_parameters"], strict=True)
    return people, [name_and_size(label, size) for label, size in sizes]


def line_names(points: pd.DataFrame, family: str) -> dict[str, str]:
    """What the ends of the lines of one family say."""
    rows = points[points["line_family"] == family]
    trained = rows[rows["role"] == TRAINED]
    names = {
        label: wrap(name, 0.6)
        for label, name in short_names(list(trained["line"].unique())).items()
    }
    return names | {name: name for name in (CHANCE, "random", "ceiling")}


def _layout(
    parameters: ScalingFigure,
    num_panels: int,
    texts: Sequence[str],
    gutter: float,
    names: dict[str, dict[str, str]],
    legend: Sequence[str],
) -> Grid:
    """As many columns as leave room for the labels, in the column width of print."""
    left = 0.5
    wide = parameters.width or ("single" if num_panels == 1 else "double")
    width = SINGLE if wide == "single" else DOUBLE
    needed = max(1.05, len(texts) * LINE - gutter)

    def panel_width(columns: int) -> float:
        return (width - left) / columns - gutter

    fitting = [c for c in range(1, num_panels + 1) if panel_width(c) >= needed]
    rows = -(-num_panels // (max(fitting, default=1)))
    columns = -(-num_panels // rows)
    wanted = panel_width(columns)
    lines = max(sum(1 + t.count("\n") for t in named.values()) for named in names.values())
    height = min(3.5, max(0.72 * wanted, 1.15, lines * LINE)) if num_panels > 1 else 0.72 * wanted
    height = max(height, min(3.5, lines * LINE), 0.0 if texts else 1.7)
    footer = legend_height(legend, width - left) if legend and rows * columns == num_panels else 0.0
    return Grid(
        rows=rows,
        columns=columns,
        panel=(wanted, height),
        left=left,
        gutter=gutter,
        strip=strip_height(texts, wanted + gutter - 0.03) if texts else 0.06,
        footer=footer,
    )


def _legend_box(grid: Grid, num_panels: int) -> tuple[float, float, float, float]:
    """The empty place in the last row if there is one, else the footer."""
    if num_panels < grid.rows * grid.columns:
        row, column = divmod(num_panels, grid.columns)
        left, bottom, _, height = grid.box(row, column)
        room = (grid.columns - column) * (grid.panel[0] + grid.gutter) / grid.width
        return left, bottom, room, height - 0.12 / grid.height
    left = grid.left / grid.width
    return left, 0.0, 1 - left, (grid.footer - 0.04) / grid.height


def set_limits(ax: Axes, points: pd.DataFrame, measure: str, headroom: float) -> None:
    """Limits shared by all panels, with `headroom` (share) for the name."""
    set_x_limits(ax, points, measure)
    set_y_limits(ax, points, headroom, ceiling_top(points))


def set_x_limits(ax: Axes, points: pd.DataFrame, measure: str) -> None:
    """From the smallest to the largest x, the scale that the measure wants."""
    x = points["x"].dropna().to_numpy(dtype=float)
    if measure == SIZE:
        low, high = np.log10(x.min()), np.log10(x.max())
        pad = 0.06 * (high - low) or 0.3
        ax.set_xlim(10 ** (low - pad), 10 ** (high + pad))
        set_log_axis(ax)
    else:
        pad = 0.06 * (x.max() - x.min()) or 0.1
        ax.set_xlim(x.min() - pad, x.max() + pad)


def set_y_limits(ax: Axes, points: pd.DataFrame, headroom: float, top: float = -np.inf) -> None:
    """From the lowest to the highest of scores, intervals, chance and null, and to `top`."""
    names = [c for c in ("score", "chance", "low", "high", "threshold") if c in points]
    y = points[names].to_numpy(dtype=float)
    low, high = float(np.nanmin(y)), max(float(np.nanmax(y)), top)
    span = high - low or abs(high) or 1.0
    ax.set_ylim(low - 0.05 * span, high + headroom * 1.05 * span / (1 - headroom))
