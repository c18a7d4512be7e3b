"""A benchmark against alignment to reference models: figure 4 of arXiv:2405.07987.

Does the benchmark follow alignment along a line, or set in at some point? And does what some
families say hold for families that were not asked (arXiv:2604.18572)?
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError, UnknownNameError
from platorep.parameters.figures import DownstreamFigure
from platorep.plots.labels import decimals, name_and_size, numbers_text, wrap
from platorep.plots.measures import errors_of, measure_text, values_of
from platorep.plots.panels import (
    Grid,
    add_legend,
    guide,
    label_above,
    legend_height,
    strip_height,
)
from platorep.plots.style import DOUBLE, GREY, HUES, LINE, MARKERS, NORMAL, SINGLE, SMALL
from platorep.plots.tables import Points, Tables, of_metric
from platorep.plots.words import CHANCE, alignment_text
from platorep.statistics import (
    Curve,
    Sigmoid,
    aicc,
    fit_line,
    fit_sigmoid,
    r_squared,
    spearman,
    spearman_p,
)

MODEL, LINEAR, SIGMOID = "model", "linear", "sigmoid"
_FEWEST = 4  # models that a sigmoid is asked of


def downstream_points(tables: Tables, parameters: DownstreamFigure) -> Points:
    """One row per model, then the two fitted curves.

    `role`: model, linear or sigmoid. model: `x` is its mean alignment to the reference models (all
    of them: one that lacks a score is left out), `low` and `high` the means of the scores' ends
    (the scores share their samples, so their errors do not cancel), `y` the measure, `stderr` its
    standard error; `held_out` models take no part in the fits. A curve has 101 rows, and in each
    `r2` and `r2_held_out`, `aicc`, `preferred`, `num_points` and its parameters.

    Raises:
        AbsentError: no model has both an alignment and the measure.
        UnknownNameError: no family of points is called as one of `held_out`.
    """
    best = of_metric(tables.best, parameters.metric)
    models = tables.models[~tables.models["random"].astype(bool)]
    asked = models[models["modality"] == parameters.points]
    unknown = sorted(set(parameters.held_out) - set(asked["family"]))
    if unknown:
        raise UnknownNameError("family of points", unknown[0], list(asked["family"].unique()))
    reference = _reference(models, parameters)
    aligned, notes = _alignment(best, asked, reference)
    y = values_of(parameters.y, tables)
    rows = asked[["label", "family", "order", "num_parameters"]].rename(columns={"label": "model"})
    rows = rows.merge(aligned, on="model", how="left").assign(role=MODEL)
    rows["y"] = rows["model"].map(y).astype(float)
    rows["stderr"] = rows["model"].map(errors_of(parameters.y, tables)).astype(float)
    rows["held_out"] = rows["family"].isin(parameters.held_out)
    lacking = list(rows.loc[rows["y"].isna(), "model"])
    if lacking:
        notes.append(f"no {parameters.y}, so not shown: {', '.join(lacking)}")
    shown = rows[rows["y"].notna() & rows["x"].notna()].sort_values("x", kind="stable")
    if shown.empty:
        raise AbsentError(
            f"nothing to draw: no {parameters.points} model has both {parameters.y} and a score "
            f"with the reference. " + "; ".join(notes)
        )
    shown = shown.assign(num_asked=len(asked), num_reference=len(reference))
    related = _related(shown, _shuffled(tables, asked, reference, parameters))
    curves, said = _curves(shown, parameters)
    first = aligned.iloc[0]
    frame = pd.concat([shown, curves] if len(curves) else [shown], ignore_index=True)
    frame = frame.assign(
        metric=first["metric"], chance=first["chance"], measure=measure_text(parameters.y, tables)
    )
    frame = frame.assign(**related)
    return Points(frame, (*notes, *_related_text(related, len(shown)), *said))


def _reference(models: pd.DataFrame, parameters: DownstreamFigure) -> list[str]:
    """Labels of the reference models, without the points themselves."""
    chosen = models
    for column, value in (
        ("modality", parameters.reference.modality),
        ("family", parameters.reference.family),
        ("label", parameters.reference.model),
    ):
        if value is not None:
            chosen = chosen[chosen[column] == value]
    if chosen.empty:
        wanted = parameters.reference.model_dump(exclude_none=True)
        raise AbsentError(f"nothing to draw: no trained model matches the reference {wanted}.")
    return [str(label) for label in chosen["label"]]


def _alignment(
    best: pd.DataFrame, asked: pd.DataFrame, reference: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """`model`, `x`, `low`, `high`, `threshold`: means over the reference models."""
    best = best[(best["control"].fillna("") == "") & best["score"].notna()]
    turned = best.rename(columns={"x": "y", "y": "x"})
    both = pd.concat([best, turned], ignore_index=True)
    both = both[both["x"].isin(asked["label"]) & both["y"].isin(reference)]
    both = both[both["x"] != both["y"]].drop_duplicates(["x", "y"])
    grouped = both.groupby("x", sort=False)
    wanted = {label: len(set(reference) - {label}) for label in asked["label"]}
    complete = {str(x) for x, rows in grouped if len(rows) == wanted[str(x)]}
    lacking = [str(label) for label in asked["label"] if label not in complete]
    notes = []
    if lacking:
        notes.append(
            f"no score with all of the {len(reference)} reference models, so not shown: "
            + ", ".join(lacking)
        )
    both = both[both["x"].isin(complete)]
    if both.empty:
        raise AbsentError("nothing to draw: " + "; ".join(notes or ("no such pair was scored",)))
    kept = [c for c in ("score", "low", "high", "threshold") if c in both]
    mean = both.groupby("x", sort=False)[kept].mean().rename(columns={"score": "x"})
    mean = mean.rename_axis("model").reset_index()
    chance = float(both["chance"].mean())
    return mean.assign(metric=str(both["metric"].iloc[0]), chance=chance), notes


def _shuffled(
    tables: Tables, asked: pd.DataFrame, reference: list[str], parameters: DownstreamFigure
) -> pd.Series | None:
    """Of every model its mean alignment with rows in a random order, where that was scored."""
    best = of_metric(tables.best, parameters.metric)
    best = best[best["control"] == "shuffled"].assign(control="")
    if best.empty:
        return None
    try:
        return _alignment(best, asked, reference)[0].set_index("model")["x"]
    except AbsentError:
        return None


def _related(shown: pd.DataFrame, shuffled: pd.Series | None) -> dict[str, float]:
    """Whether the measure rises with alignment over models, and with that of shuffled rows."""
    x, y = (shown[name].to_numpy(dtype=float) for name in ("x", "y"))
    found = {"spearman": spearman(x, y).value, "spearman_p": spearman_p(x, y)}
    if shuffled is not None:
        of_shuffled = shown["model"].map(shuffled).to_numpy(dtype=float)
        found["spearman_shuffled"] = spearman(of_shuffled, y).value
        found["spearman_shuffled_p"] = spearman_p(of_shuffled, y)
    return found


def _related_text(related: dict[str, float], num: int) -> list[str]:
    if not math.isfinite(related["spearman"]):
        return []
    text = (
        f"Spearman {decimals(related['spearman'])} over {num} models, p "
        f"{related['spearman_p']:.2g} over orders of the models"
    )
    shuffled = related.get("spearman_shuffled", math.nan)
    if math.isfinite(shuffled):
        text += f"; with rows shuffled {decimals(shuffled)}, p {related['spearman_shuffled_p']:.2g}"
    return [text]


def _curves(
    shown: pd.DataFrame, parameters: DownstreamFigure
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Both curves along x, and in words what came out, or why a curve is missing."""
    fitted, tested = shown[~shown["held_out"]], shown[shown["held_out"]]
    x, y = (fitted[name].to_numpy(dtype=float) for name in ("x", "y"))
    of = f"over {len(fitted)} models" + (" that are not held out" if len(tested) else "")
    line = fit_line(x, y)
    if line is None:
        return pd.DataFrame(), (f"no curve: {of} alignment does not vary",)
    curves: dict[str, Curve] = {LINEAR: line}
    notes = []
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        notes.append(f"linear only: {parameters.y} is the same in all {len(fitted)} models")
    elif len(fitted) < _FEWEST:
        notes.append(f"linear only: a sigmoid needs {_FEWEST} models, found {len(fitted)}")
    else:
        sigmoid = fit_sigmoid(x, y, floor=parameters.floor)
        if sigmoid is None:
            notes.append(
                f"linear only: no sigmoid from floor {parameters.floor:g} fits {parameters.y} {of} "
                f"(its highest value is {y.max():.3g})"
            )
        else:
            curves[SIGMOID] = sigmoid
    criteria = {name: aicc(curve, x, y) for name, curve in curves.items()}
    preferred, why = _preferred(criteria, len(fitted), of)
    notes += why
    grid = np.linspace(float(shown["x"].min()), float(shown["x"].max()), 101)
    parts = []
    for name, curve in curves.items():
        x_test, y_test = (tested[c].to_numpy(dtype=float) for c in ("x", "y"))
        r2, r2_held_out = r_squared(curve, x, y), r_squared(curve, x_test, y_test)
        rows = pd.DataFrame({"role": name, "x": grid, "y": curve(grid)}).assign(
            preferred=name == preferred,
            aicc=criteria[name],
            r2=r2,
            r2_held_out=r2_held_out,
            num_points=len(fitted),
            num_held_out=len(tested),
            **_parameters(curve),
        )
        parts.append(rows)
        if len(tested):
            families = ", ".join(dict.fromkeys(tested["family"]))
            found = decimals(r2_held_out) if len(tested) > 1 else "none of one model"
            error = math.sqrt(float(np.mean((y_test - curve(x_test)) ** 2)))
            notes.append(
                f"{name}, held out ({families}, {len(tested)} models): R2 {found}, root mean "
                f"square error {error:.3g} (R2 {decimals(r2)} where fitted)"
            )
        else:
            notes.append(f"{name}: R2 {decimals(r2)} {of}")
    return pd.concat(parts, ignore_index=True), tuple(notes)


def _preferred(criteria: dict[str, float], num: int, of: str) -> tuple[str, list[str]]:
    """The curve that AICc prefers, and what is said of it."""
    if SIGMOID not in criteria:
        return LINEAR, []
    difference = criteria[LINEAR] - criteria[SIGMOID]
    if math.isnan(difference):
        return LINEAR, [f"{num} models are too few for AICc to compare the curves (6)"]
    preferred = SIGMOID if difference > 0 else LINEAR
    doubt = "; a difference below 2 decides nothing" if abs(difference) < 2 else ""
    return preferred, [f"{preferred} preferred {of}: AICc lower by {abs(difference):.1f}{doubt}"]


def _parameters(curve: Curve) -> dict[str, float]:
    if isinstance(curve, Sigmoid):
        return {"floor": curve.floor, "ceiling": curve.ceiling, "midpoint": curve.midpoint,
                "scale": curve.scale}  # fmt: skip
    return {"intercept": curve.intercept, "slope": curve.slope}


def say_downstream(points: pd.DataFrame, parameters: DownstreamFigure) -> str:
    """What is drawn where, in words."""
    models = points[points["role"] == MODEL]
    said = ["A point per model, its pairs at their best layers."]
    if models["stderr"].notna().any():
        said.append("Upright bars: standard error of the measure.")
    if "low" in models and models["low"].notna().any():
        said.append("Level bars: interval of the alignment.")
    if parameters.names:
        said.append(numbers_text(models["model"].astype(str), models["num_parameters"]))
    return " ".join(filter(None, said))


def draw_downstream(points: pd.DataFrame, parameters: DownstreamFigure) -> Figure:
    """Draw what `downstream_points` selected."""
    models = points[points["role"] == MODEL]
    width = DOUBLE if parameters.width == "double" else SINGLE
    left, gutter = 0.5, 0.08
    panel = width - left - gutter
    families = list(dict.fromkeys(models.sort_values("order")["family"]))
    sizes = zip(models["model"], models["num_parameters"], strict=True)
    names = [name_and_size(str(label), float(size)) for label, size in sizes]
    names = names if parameters.names else []
    handles, texts = _legend(points, models, families)
    said = wrap(_left_out(models, parameters), panel, SMALL)
    label = wrap(_x_label(points, models, parameters), panel, NORMAL)
    below = 0.34 + 0.13 * label.count("\n")
    lines = LINE * (1 + said.count("\n")) if said else 0.0
    grid = Grid(
        rows=1,
        columns=1,
        panel=(panel, 0.75 * min(panel, 4.0)),
        left=left,
        gutter=gutter,
        strip=strip_height(names, panel) if names else 0.06,
        bottom=below,
        footer=legend_height(texts, panel) + lines,
    )
    figure = Figure(figsize=(grid.width, grid.height))
    (ax,) = grid.add_axes(figure, 1)
    if names:
        guide(ax, list(models["x"]))
    _draw_models(ax, models, families)
    for name, curve in points[points["role"] != MODEL].groupby("role", sort=False):
        ax.plot(curve["x"], curve["y"], gid=f"curve|{name}", **_curve_style(str(name), curve))
    if parameters.floor > 0:
        ax.axhline(parameters.floor, color=GREY, lw=0.6, zorder=1, gid="floor")
    ax.margins(0.05)
    ax.autoscale_view()
    if names:
        label_above(ax, list(models["x"]), names, panel)
    ax.set_ylabel(wrap(f"{parameters.points} performance ({points['measure'].iloc[0]})", 2.2))
    ax.yaxis.label.set_fontsize(NORMAL)
    ax.set_xlabel(label)
    room = (grid.footer - 0.04) / grid.height
    box = (left / width, 0.0, panel / width, room)
    if said:
        figure.text(left / width, 0.03 / grid.height, said, fontsize=SMALL, va="bottom")
    add_legend(figure, handles, texts, box)
    return figure


def _draw_models(ax: Axes, models: pd.DataFrame, families: list[str]) -> None:
    for family, rows in models.groupby("family", sort=False):
        index = families.index(str(family))
        colour = HUES[index % len(HUES)]
        held_out = bool(rows["held_out"].iloc[0])
        errors = rows.dropna(subset="stderr")
        low, high = errors["y"] - errors["stderr"], errors["y"] + errors["stderr"]
        ax.vlines(errors["x"], low, high, color=colour, lw=0.5, gid="stderr")
        if {"low", "high"} <= set(rows):
            ax.hlines(rows["y"], rows["low"], rows["high"], color=colour, lw=0.5, gid="interval")
        ax.plot(
            rows["x"],
            rows["y"],
            ls="",
            **_marker(index, colour, held_out),
            zorder=4,
            gid=f"model|{family}",
        )


def _marker(index: int, colour: str, held_out: bool) -> dict[str, Any]:
    """Models that the curves have not seen are open."""
    return {
        "marker": MARKERS[index % len(MARKERS)],
        "color": colour,
        "ms": 4,
        "mfc": "white" if held_out else colour,
        "mew": 0.8 if held_out else 0,
    }


def _legend(
    points: pd.DataFrame, models: pd.DataFrame, families: list[str]
) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = []
    texts = []
    held_out = models.drop_duplicates("family").set_index("family")["held_out"]
    for name, curve in points[points["role"] != MODEL].groupby("role", sort=False):
        handles.append(Line2D([], [], **_curve_style(str(name), curve)))
        row, least = curve.iloc[0], points["aicc"].min()
        parts = [f"R\N{SUPERSCRIPT TWO} {decimals(row['r2'])}"] if np.isfinite(row["r2"]) else []
        if held_out.any() and np.isfinite(row["r2_held_out"]):
            parts.append(f"held out {decimals(row['r2_held_out'])}")
        if points["aicc"].nunique() > 1 and np.isfinite(row["aicc"]):
            parts.append(f"\N{GREEK CAPITAL LETTER DELTA}AICc {row['aicc'] - least:.1f}")
        texts.append(f"{name}: {', '.join(parts)}" if parts else str(name))
    for index, family in enumerate(families):
        colour, out = HUES[index % len(HUES)], bool(held_out[family])
        handles.append(Line2D([], [], ls="", **_marker(index, colour, out)))
        texts.append(f"{family} (held out)" if out else family)
    return handles, texts


def _curve_style(name: str, curve: pd.DataFrame) -> dict[str, Any]:
    """The better curve is solid."""
    style = "-" if bool(curve["preferred"].iloc[0]) else (0, (3, 2))
    return {"ls": style, "color": "black" if name == LINEAR else "#882255", "lw": 0.9}


def _left_out(models: pd.DataFrame, parameters: DownstreamFigure) -> str:
    num, asked = len(models), int(models["num_asked"].iloc[0])
    said = f"{num} of {asked} models have a number. " if num < asked else ""
    first = models.iloc[0]
    if np.isfinite(first["spearman"]):
        said += f"Spearman {decimals(first['spearman'])} over {num} models "
        said += f"(p {first['spearman_p']:.2g} over orders of the models)."
    if parameters.floor > 0:
        said += f" Grey line: guessing ({decimals(parameters.floor)})."
    return said.strip()


def _x_label(points: pd.DataFrame, models: pd.DataFrame, parameters: DownstreamFigure) -> str:
    reference = parameters.reference
    to = reference.model or reference.family or f"{reference.modality or 'all'} models"
    num = int(models["num_reference"].iloc[0])
    mean = f", mean of {num}" if num > 1 else ""
    chance = float(points["chance"].iloc[0])
    said = f"; {CHANCE} {decimals(chance, 3)}" if np.isfinite(chance) else ""
    metric = str(points["metric"].iloc[0])
    return alignment_text(metric, f"alignment to {to}{mean}").removesuffix(")") + f"{said})"
