"""Do models that solve more tasks agree more with each other: figure 2 of arXiv:2405.07987.

Left: alignment among the models of each bin. Right: a map on which aligned models are near.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError
from platorep.parameters.figures import ConvergenceFigure
from platorep.plots.labels import decimals, wrap
from platorep.plots.measures import measure_text, values_of
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import (
    DOUBLE,
    GREY,
    HUES,
    MISSING,
    NORMAL,
    SEQUENTIAL,
    SMALL,
    mark,
    shape,
)
from platorep.plots.tables import Points, Tables, missing_scores, of_metric
from platorep.plots.words import CHANCE, RANDOM_WEIGHTS, alignment_text
from platorep.statistics import ENOUGH, Layout, has_umap, lay_out, mean_over_pairs, stress

BIN, MAP = "bin", "map"
_FEWEST = 3  # models on a map


def convergence_points(tables: Tables, parameters: ConvergenceFigure) -> Points:
    """Rows of `panel` bin, one per bin, then of `panel` map, one per model.

    bin: models whose measure lies in [`low`, `high`) (the last bin includes its upper end);
    `num_models`, and over their `num_pairs` scored pairs the mean `value` with `stderr`, the
    jackknife over models (pairs share models). map: place `x`, `y` of every model that was scored
    with all others, from the distances -log(score); `value` is its measure, which may be unknown,
    and `layout` and `stress` say how and how well. A score that is not positive has no such
    distance: it counts as half of the smallest positive one.

    Raises:
        AbsentError: no two of the models were scored, or none has the measure; or
            `layout: umap` without umap-learn.
    """
    best = of_metric(tables.best, parameters.metric)
    modality = best["x_modality"].eq(parameters.models) & best["y_modality"].eq(parameters.models)
    best = best[modality & (best["control"].fillna("") == "") & (best["x"] != best["y"])]
    models = tables.models[tables.models["modality"] == parameters.models]
    if not parameters.controls:
        copy = models["random"].astype(bool) & (models["random_of"].fillna("") != "")
        models = models[~copy]
    scored = set(best["x"]) | set(best["y"])
    models = models[models["label"].isin(scored)].drop_duplicates("label").sort_values("order")
    labels = [str(label) for label in models["label"]]
    notes = list(missing_scores(best))
    scores = _table(best, labels)
    if np.isnan(scores).all():
        raise AbsentError(
            f"nothing to draw: no two {parameters.models} models were scored with each other. "
            f"Say `align: {{pairs: [[{parameters.models}, {parameters.models}]]}}`. "
            + "; ".join(notes)
        )
    models = models.assign(
        value=models["label"].map(values_of(parameters.measure, tables)).astype(float),
        measure=measure_text(parameters.measure, tables),
    )
    unknown = list(models.loc[models["value"].isna(), "label"])
    if len(unknown) == len(models):
        raise AbsentError(
            f"nothing to draw: no {parameters.models} model has a {parameters.measure}."
        )
    if unknown:
        notes.append(f"no {parameters.measure}, so in no bin: {', '.join(unknown)}")
    bins = _bins(models, scores, parameters, notes)
    parts = [bins, _map(models, scores, parameters, notes)]
    frame = pd.concat([part for part in parts if len(part)], ignore_index=True)
    frame = frame.assign(
        metric=str(best["metric"].iloc[0]),
        chance=float(best["chance"].mean()),
        measure=str(models["measure"].iloc[0]),
    )
    return Points(frame, tuple(notes))


def _table(best: pd.DataFrame, labels: list[str]) -> Float[np.ndarray, "n n"]:
    """Scores of all pairs, NaN where there is none and on the diagonal; both ways round: mean."""
    place = {label: index for index, label in enumerate(labels)}
    total, count = np.zeros((len(labels),) * 2), np.zeros((len(labels),) * 2)
    for x, y, score in zip(best["x"], best["y"], best["score"].astype(float), strict=True):
        if x in place and y in place and np.isfinite(score):
            for i, j in ((place[x], place[y]), (place[y], place[x])):
                total[i, j] += score
                count[i, j] += 1
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def _bins(
    models: pd.DataFrame,
    scores: Float[np.ndarray, "n n"],
    parameters: ConvergenceFigure,
    notes: list[str],
) -> pd.DataFrame:
    value = models["value"].to_numpy(dtype=float)
    known, measure = value[np.isfinite(value)], str(models["measure"].iloc[0])
    low, high = parameters.range or (float(known.min()), float(known.max()))
    if low == high:
        notes.append(f"one bin: every model has {measure} {low:g}")
    outside = np.isfinite(value) & ((value < low) | (value > high))
    if outside.any():
        names = ", ".join(models["label"].to_numpy()[outside])
        notes.append(f"outside of {low:g} ... {high:g}, so in no bin: {names}")
    if outside.sum() == len(known):
        raise AbsentError(
            f"nothing to draw: every {measure} is outside of {low:g} ... {high:g} (from "
            f"{known.min():g} to {known.max():g}). Give the figure a `range`, or null."
        )
    number = parameters.bins if low < high else 1
    width = (high - low) / number if low < high else 1.0
    # an edge belongs to the upper bin although 0.6 / 0.2 is 2.9999999999999996
    place = np.minimum(np.floor((value - low) / width + 1e-9), number - 1)
    rows = []
    for index in range(number):
        inside = (place == index) & ~outside
        mean = mean_over_pairs(scores[np.ix_(inside, inside)])
        num = int(inside.sum())
        ends = low + index * width, low + (index + 1) * width if low < high else high
        if num == 1:
            notes.append(f"no pair, so no alignment, in the bin from {ends[0]:.3g}: one model")
        elif mean.num_pairs < num * (num - 1) // 2:
            notes.append(
                f"bin from {ends[0]:.3g}: {mean.num_pairs} of {num * (num - 1) // 2} pairs scored"
            )
        if num == 2:
            notes.append(f"no standard error of the two models in the bin from {ends[0]:.3g}")
        row = {"panel": BIN, "low": ends[0], "high": ends[1], "num_models": num}
        rows.append(row | {"num_pairs": mean.num_pairs, "value": mean.value}
                    | {"stderr": mean.stderr})  # fmt: skip
    return pd.DataFrame(rows)


def _map(
    models: pd.DataFrame,
    scores: Float[np.ndarray, "n n"],
    parameters: ConvergenceFigure,
    notes: list[str],
) -> pd.DataFrame:
    kept = _complete(scores)
    names = models["label"].to_numpy()
    left_out = [str(name) for index, name in enumerate(names) if index not in kept]
    if left_out:
        notes.append(f"not scored with all others, so not on the map: {', '.join(left_out)}")
    if len(kept) < _FEWEST:
        notes.append(f"no map: it needs {_FEWEST} models that were scored with each other")
        return pd.DataFrame()
    table = scores[np.ix_(kept, kept)]
    above = table[np.triu_indices(len(kept), k=1)]
    if not (above > 0).any():
        notes.append("no map: no score is positive, so none has a distance")
        return pd.DataFrame()
    least = float(above[above > 0].min()) / 2
    if (above <= 0).any():
        notes.append(
            f"{(above <= 0).sum()} scores are not positive: on the map they count as {least:.3g}, "
            "half of the smallest positive one"
        )
    np.fill_diagonal(table, 1.0)
    distances = -np.log(np.clip(table, least, 1.0))
    layout = _layout(parameters, len(kept))
    places = lay_out(distances, layout, seed=parameters.seed)
    how = float("nan") if layout == "umap" else stress(distances, places)
    said = "distances are not kept" if layout == "umap" else f"stress {decimals(how)} (0: exact)"
    notes.append(f"map of {len(kept)} models by {layout}: {said}")
    chosen = models.iloc[kept]
    return pd.DataFrame(
        {
            "panel": MAP,
            "model": chosen["label"].to_numpy(),
            "family": chosen["family"].to_numpy(),
            "order": chosen["order"].to_numpy(),
            "random": chosen["random"].astype(bool).to_numpy(),
            "value": chosen["value"].to_numpy(),
            "x": places[:, 0],
            "y": places[:, 1],
            "layout": layout,
            "stress": how,
        }
    )


def _complete(scores: Float[np.ndarray, "n n"]) -> list[int]:
    """Models that all have scores with each other: those that lack most are left out first."""
    kept = list(range(len(scores)))
    while len(kept) > 1:
        lacking = np.isnan(scores[np.ix_(kept, kept)]).sum(axis=1) - 1  # itself
        if lacking.max() == 0:
            break
        kept.pop(int(lacking.argmax()))
    return kept


def _layout(parameters: ConvergenceFigure, num_models: int) -> Layout:
    if parameters.layout != "auto":
        return parameters.layout
    return "umap" if has_umap() and num_models >= ENOUGH else "mds"


def say_convergence(points: pd.DataFrame, parameters: ConvergenceFigure) -> str:
    """What is drawn where, in words."""
    said = f"Bars: mean over the pairs of {parameters.models} models in a bin, each at its best "
    said += "layers; error bars: standard error by the jackknife over models."
    if (points["panel"] == MAP).any():
        said += " Map: a point per model; only distances have a meaning."
    return said


def draw_convergence(points: pd.DataFrame, parameters: ConvergenceFigure) -> Figure:
    """Draw what `convergence_points` selected."""
    bins, models = (points[points["panel"] == panel] for panel in (BIN, MAP))
    left, right, top, bottom, bar = 0.64, 0.02, 0.08, 0.42, 0.55
    panel, across = 1.9, 2.8  # height; width of either panel
    width = DOUBLE if len(models) else left + across + right
    families = list(dict.fromkeys(models.sort_values("order")["family"])) if len(models) else []
    handles, texts = _legend(models, families)
    footer = legend_height(texts, width - left) if texts else 0.0
    height = top + panel + bottom + footer
    figure = Figure(figsize=(width, height))

    def box(x: float, w: float, h: float = panel) -> tuple[float, float, float, float]:
        return x / width, (bottom + footer) / height, w / width, h / height

    _draw_bins(figure.add_axes(box(left, across)), bins, points, parameters)
    if len(models):
        start = left + across + 0.25
        ax = figure.add_axes(box(start, width - start - right - bar))
        colours = _draw_map(ax, models, families, parameters)
        if colours is not None:
            scale = figure.add_axes(box(width - right - bar + 0.06, 0.08))
            figure.colorbar(colours, cax=scale, label=str(points["measure"].iloc[0]))
            scale.tick_params(length=1.5)
    if handles:
        add_legend(
            figure, handles, texts, (left / width, 0.0, 1 - left / width, (footer - 0.04) / height)
        )
    return figure


def _draw_bins(
    ax: Axes, bins: pd.DataFrame, points: pd.DataFrame, parameters: ConvergenceFigure
) -> None:
    """A bar per bin with its error, and over it how many models are in it."""
    filled = bins[bins["value"].notna()]
    places = np.arange(len(bins))
    value = bins["value"].to_numpy(dtype=float)
    error = np.nan_to_num(bins["stderr"].to_numpy(dtype=float))
    shown = np.isfinite(value)
    ax.bar(places[shown], value[shown], width=0.7, color=HUES[0], gid="bars")
    ax.vlines(
        places[shown], (value - error)[shown], (value + error)[shown], color="black", lw=0.7,
        gid="stderr",
    )  # fmt: skip
    chance = float(points["chance"].iloc[0])
    top = float((filled["value"] + filled["stderr"].fillna(0)).max()) if len(filled) else 1.0
    low = min(0.0, float((filled["value"] - filled["stderr"].fillna(0)).min()), 0.0)
    span = max(top, chance if np.isfinite(chance) else 0.0) - low or 1.0
    ax.set_ylim(low, low + 1.22 * span)
    if low < 0:
        ax.axhline(0, color="black", lw=0.5)
    if np.isfinite(chance):
        ax.axhline(chance, color=GREY, lw=0.6, ls="--", zorder=3, gid="chance")
        ax.text(len(bins) - 0.6, chance + 0.01 * span, CHANCE, color=GREY, fontsize=SMALL,
                ha="left", va="bottom", zorder=3)  # fmt: skip
    for place, (_, row) in zip(places, bins.iterrows(), strict=True):
        num = int(row["num_models"])
        said = "1 model,\nno pair" if num == 1 else f"{num} models"
        alone = not np.isfinite(row["value"])
        over = row["value"] + np.nan_to_num(row["stderr"])
        ax.text(
            float(place),
            0.02 * span + (np.nan_to_num(chance) + 0.08 * span if alone else over),
            wrap(said, 0.5),
            ha="center",
            va="bottom",
            fontsize=SMALL,
            color=GREY if alone else "black",
            linespacing=1.0,
            gid="count",
        )
    ax.set_xlim(-0.6, len(bins) - 0.6 + 0.13 * len(bins))
    percent = parameters.range == (0.0, 1.0)
    ax.set_xticks(places, [_range_text(row, percent) for _, row in bins.iterrows()])
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(str(points["measure"].iloc[0]) + (" (share)" if percent else ""))
    metric = str(points["metric"].iloc[0])
    ax.set_ylabel(wrap(alignment_text(metric, "mean alignment in the bin"), 1.8, NORMAL))


def _range_text(row: pd.Series, percent: bool) -> str:
    if percent:
        return f"{100 * row['low']:.0f}\N{EN DASH}{100 * row['high']:.0f} %"
    return f"{row['low']:.3g} to\n{row['high']:.3g}".replace("-", "\N{MINUS SIGN}")


def _draw_map(
    ax: Axes, models: pd.DataFrame, families: list[str], parameters: ConvergenceFigure
) -> ScalarMappable | None:
    """A marker per family, coloured by the measure; random weights are ringed."""
    known = models["value"].dropna()
    ends = parameters.range or (float(known.min()), float(known.max())) if len(known) else (0, 1)
    colours = ScalarMappable(Normalize(*ends), SEQUENTIAL)
    for family, rows in models.groupby("family", sort=False):
        marker = shape(families.index(str(family)))
        for _, row in rows.iterrows():
            measured = np.isfinite(row["value"])
            ax.plot(
                [row["x"]],
                [row["y"]],
                **marker,
                ls="",
                ms=5,
                color=colours.to_rgba(row["value"]) if measured else MISSING,
                mec="#D55E00" if row["random"] else "black",
                mew=1.1 if row["random"] else 0.3,
                gid=f"model|{row['model']}",
            )
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.08)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    layout = "UMAP" if models["layout"].iloc[0] == "umap" else "metric MDS"
    how = float(models["stress"].iloc[0])
    said = f", stress {decimals(how)}" if np.isfinite(how) else ""
    ax.set_xlabel(
        f"map of {len(models)} models, distance \N{MINUS SIGN}log(alignment)\n({layout}{said})"
    )
    return colours if len(known) else None


def _legend(models: pd.DataFrame, families: list[str]) -> tuple[list[Line2D], list[str]]:
    handles, texts = [], []
    for index, family in enumerate(families):
        handles.append(Line2D([], [], **mark(index, "#666666"), ms=4))
        texts.append(str(family))
    if len(models) and models["random"].any():
        handles.append(Line2D([], [], ls="", marker="o", ms=4, mfc="white", mec="#D55E00", mew=1.1))
        texts.append(RANDOM_WEIGHTS)
    if len(models) and models["value"].isna().any():
        handles.append(Line2D([], [], ls="", marker="o", ms=4, mfc=MISSING, mec="black", mew=0.3))
        texts.append("not measured")
    return handles, texts
