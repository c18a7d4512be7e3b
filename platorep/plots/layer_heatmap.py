"""The score of every layer pair of one model pair."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from platorep.errors import AbsentError, ConfigError
from platorep.parameters.figures import LayerHeatmapFigure
from platorep.plots.labels import decimals, text_width, wrap
from platorep.plots.panels import add_legend, legend_height, size_of
from platorep.plots.style import HATCH, LINE, MISSING, NORMAL, SEQUENTIAL, SINGLE, SMALL
from platorep.plots.tables import AS_ASKED, Points, Tables, highest_of, not_above_null, of_metric
from platorep.plots.words import NOT_ABOVE_NULL, alignment_text

DEGENERATE = "degenerate layer, takes no part"


def layer_heatmap_points(tables: Tables, parameters: LayerHeatmapFigure) -> Points:
    """One row per layer pair: `layer_x`, `layer_y`, `score`, `degenerate`, `best`.

    `threshold` is that of the null of the best of them, `chosen` says why it is this pair.

    Raises:
        AbsentError: no layer pair has a score.
        ConfigError: the pair that was asked for was not scored.
    """
    scores = of_metric(tables.scores, parameters.metric)
    scores = scores[scores["control"].fillna("") == ""]
    models = tables.models.set_index("label")
    x, y, chosen = (*parameters.pair, AS_ASKED) if parameters.pair else _best_pair(scores, models)
    pair = scores[(scores["x"] == x) & (scores["y"] == y)]
    if pair.empty:
        pair = scores[(scores["x"] == y) & (scores["y"] == x)]
    if pair.empty:
        known = ", ".join(
            sorted({f"[{a}, {b}]" for a, b in zip(scores["x"], scores["y"], strict=True)})[:5]
        )
        raise ConfigError(
            f"figures: layer_heatmap: the pair [{x}, {y}] was not scored. Give the labels of two "
            f"models that were, such as {known}."
        )
    pair = pair.sort_values(["layer_x", "layer_y"], kind="stable").reset_index(drop=True)
    usable = pair["score"].where(~pair["degenerate"].astype(bool))
    best = usable.eq(usable.max()) & ~usable.eq(usable.max()).cumsum().gt(1)  # the first maximum
    pair = pair.assign(
        best=best,
        threshold=_threshold(tables.best, pair.iloc[0]),
        chosen=chosen,
        x_modality=_modality(models, pair["x"].iloc[0]),
        y_modality=_modality(models, pair["y"].iloc[0]),
    )
    return Points(pair[_COLUMNS])


_COLUMNS = [
    *("x", "y", "x_modality", "y_modality", "metric"),
    *("layer_x", "layer_y", "score", "degenerate", "best"),
    *("threshold", "chosen"),
]


def _modality(models: pd.DataFrame, label: str) -> str:
    return str(models["modality"].get(label, "other"))


def _threshold(best: pd.DataFrame, first: pd.Series) -> float:
    """Of the pair that `first` is of; NaN where it has no null."""
    if "threshold" not in best:
        return np.nan
    same = best["control"].fillna("") == ""
    for name in ("x", "y", "metric"):
        same &= best[name] == first[name]
    return float(best.loc[same, "threshold"].max())


def _best_pair(scores: pd.DataFrame, models: pd.DataFrame) -> tuple[str, str, str]:
    """The pair of trained models with the best score of a layer pair that counts; and in words, how
    it was chosen."""
    random = models.index[models["random"].astype(bool)]
    counted = scores[~scores["degenerate"].astype(bool) & scores["score"].notna()]
    trained = counted[~counted["x"].isin(random) & ~counted["y"].isin(random)]
    chosen = trained if len(trained) else counted
    if chosen.empty:
        raise AbsentError("nothing to draw: no layer pair that is not degenerate has a score.")
    row = chosen.iloc[int(chosen["score"].to_numpy().argmax())]
    kind = "pair of trained models" if len(trained) else "pair (none is of trained models)"
    num = len(chosen.drop_duplicates(["x", "y"]))
    return str(row["x"]), str(row["y"]), highest_of(num, kind)


def say_layer_heatmap(points: pd.DataFrame, parameters: LayerHeatmapFigure) -> str:
    """What is drawn where, in words."""
    return f"A cell is a pair of layers. {points['chosen'].iloc[0]}"


def draw_layer_heatmap(points: pd.DataFrame, parameters: LayerHeatmapFigure) -> Figure:
    """Draw what `layer_heatmap_points` selected."""
    num_x, num_y = (points[c].nunique() for c in ("layer_x", "layer_y"))
    first = points.iloc[0]
    bar_label = alignment_text(str(first["metric"]))
    room = (SINGLE if parameters.width != "double" else 2 * SINGLE) - 1.35
    cell = min(room / num_y, 1.2 * room / num_x)
    across, down = cell * num_y, cell * num_x
    x_label = wrap(_layer_label(first["y"], first["y_modality"]), max(across, 1.9), NORMAL)
    y_label = wrap(_layer_label(first["x"], first["x_modality"]), max(down, 1.0), NORMAL)
    bar_height = min(max(down, 0.6), 1.6)
    bar_label = wrap(bar_label, max(bar_height, 0.9))
    line = NORMAL * 1.2 / 72
    beyond = max(text_width(y_label, NORMAL), text_width(bar_label), bar_height) / 2 - down / 2
    base = max(0.22 + line * (1 + x_label.count("\n")), beyond + 0.05)
    above = max(0.06, beyond + 0.05)
    side = (text_width(x_label, NORMAL) - across) / 2
    left = max(0.3 + line * (1 + y_label.count("\n")), side + 0.05)
    right = max(0.6 + LINE * (1 + bar_label.count("\n")), side + 0.05)
    handles, texts = _key(points)
    width = max(left + across + right, 0.6 + max(map(text_width, texts)))
    footer = legend_height(texts, width - 0.1)
    base += footer
    height = base + down + above
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((left / width, base / height, across / width, down / height))
    colours = plot_layers(ax, points)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    middle = base + down / 2 if down < bar_height else base + down - bar_height / 2
    bar = figure.add_axes(
        (
            (left + across + 0.1) / width,
            (middle - bar_height / 2) / height,
            0.1 / width,
            bar_height / height,
        )
    )
    figure.colorbar(
        colours, cax=bar, ticks=MaxNLocator(4, steps=[1, 2, 5, 10])
    ).outline.set_visible(False)
    bar.set_ylabel(bar_label, fontsize=SMALL)
    low, high = bar.get_ylim()
    if low < first["threshold"] < high:
        bar.axhline(first["threshold"], color="white", lw=1.0, gid="threshold")
    add_legend(figure, handles, texts, (0.05 / width, 0.0, 1 - 0.1 / width, footer / height))
    return figure


def _key(points: pd.DataFrame) -> tuple[list[Artist], list[str]]:
    """What stands on the colours."""
    handles: list[Artist] = []
    texts = []
    for score in points.loc[points["best"], "score"]:
        handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec="black", mew=1.0, ms=5))
        texts.append(f"best layers ({decimals(float(score), 3)})")
    for shown, hatch, text in _hatched(points):
        if shown.any():
            handles.append(Patch(fc="white", ec="#444444", hatch=2 * hatch, lw=0.4))
            texts.append(text)
    return handles, texts


def _hatched(points: pd.DataFrame) -> list[tuple[pd.Series, str, str]]:
    """Which layer pairs are hatched, how, and what it means."""
    degenerate = points["degenerate"].astype(bool)
    below = not_above_null(points) & ~degenerate
    threshold = decimals(float(points["threshold"].iloc[0]), 4)
    return [
        (below, HATCH, f"{NOT_ABOVE_NULL} ({threshold}, of the best layers)"),
        (degenerate, "xxxx", DEGENERATE),
    ]


def plot_layers(ax: Axes, points: pd.DataFrame) -> ScalarMappable:
    """Draw the layer pairs, hatch those that do not count or are not above the null, ring the best;
    returns the colours.

    Args:
        ax: Where to draw. The caller owns the figure and its size (inches).
        points: Rows of `layer_heatmap_points`.
    """
    grid = points.pivot(index="layer_x", columns="layer_y", values="score")
    degenerate = points.pivot(index="layer_x", columns="layer_y", values="degenerate").astype(bool)
    shown = np.ma.masked_where(degenerate.to_numpy() | grid.isna().to_numpy(), grid.to_numpy())
    ax.set_facecolor(MISSING)
    edges_x = np.arange(grid.shape[1] + 1) - 0.5
    edges_y = np.arange(grid.shape[0] + 1) - 0.5
    colours = ax.pcolormesh(edges_x, edges_y, shown, cmap=SEQUENTIAL, gid="layers", rasterized=True)
    counted = points.loc[~points["degenerate"].astype(bool), "score"]
    light_from = counted.min() + 0.65 * (counted.max() - counted.min())
    dark = (grid.to_numpy() < light_from) & ~degenerate.to_numpy()
    for which, hatch, text in _hatched(points):
        own = points.assign(which=which).pivot(index="layer_x", columns="layer_y", values="which")
        for light, edge in ((dark, "white"), (~dark, "#555555")):
            lines = own.to_numpy(dtype=bool) & light
            if lines.any():
                ax.pcolor(
                    edges_x, edges_y, np.ma.masked_where(~lines, np.zeros(grid.shape)),
                    hatch=hatch, facecolor="none", edgecolor=edge, lw=0, gid=text,
                )  # fmt: skip
    for _, row in points[points["best"]].iterrows():
        place = (
            [list(grid.columns).index(row["layer_y"])],
            [list(grid.index).index(row["layer_x"])],
        )
        ax.plot(*place, "o", mfc="none", mec="black", mew=2.0, ms=6, clip_on=False, gid="edge")
        ax.plot(*place, "o", mfc="none", mec="white", mew=1.0, ms=6, clip_on=False, gid="best")
    width, height = size_of(ax)
    for axis, labels, room in (
        (ax.xaxis, grid.columns, width / 0.22),
        (ax.yaxis, grid.index, height / 0.15),
    ):
        wanted = MaxNLocator(
            max(1, min(6, int(room))), integer=True, steps=[1, 2, 5, 10]
        ).tick_values(0, len(labels) - 1)
        places = sorted({int(v) for v in wanted if 0 <= v <= len(labels) - 1})
        axis.set_ticks(places, [str(labels[i]) for i in places])
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)
    return colours


def _layer_label(label: str, modality: str) -> str:
    return f"layer of {label}" + (" (0: embedding)" if modality == "language" else "")
