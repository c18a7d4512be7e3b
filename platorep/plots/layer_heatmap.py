"""The score of every layer pair of one model pair."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from platorep.errors import AbsentError, ConfigError
from platorep.parameters.figures import LayerHeatmapFigure
from platorep.plots.labels import metric_text, text_width, wrap
from platorep.plots.panels import size_of
from platorep.plots.style import LINE, MISSING, NORMAL, SEQUENTIAL, SINGLE, SMALL
from platorep.plots.tables import Points, Tables, of_metric


def layer_heatmap_points(tables: Tables, parameters: LayerHeatmapFigure) -> Points:
    """One row per layer pair: `layer_x`, `layer_y`, `score`, `degenerate`, `best`.

    Raises:
        AbsentError: no layer pair has a score.
        ConfigError: the pair that was asked for was not scored.
    """
    scores = of_metric(tables.scores, parameters.metric)
    scores = scores[scores["control"].fillna("") == ""]
    models = tables.models.set_index("label")
    x, y = parameters.pair or _best_pair(scores, models)
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
        x_modality=_modality(models, pair["x"].iloc[0]),
        y_modality=_modality(models, pair["y"].iloc[0]),
    )
    return Points(pair[_COLUMNS])


_COLUMNS = [
    *("x", "y", "x_modality", "y_modality", "metric"),
    *("layer_x", "layer_y", "score", "degenerate", "best"),
]


def _modality(models: pd.DataFrame, label: str) -> str:
    return str(models["modality"].get(label, "other"))


def _best_pair(scores: pd.DataFrame, models: pd.DataFrame) -> tuple[str, str]:
    """The pair of trained models with the best score of a layer pair that counts."""
    random = models.index[models["random"].astype(bool)]
    counted = scores[~scores["degenerate"].astype(bool) & scores["score"].notna()]
    trained = counted[~counted["x"].isin(random) & ~counted["y"].isin(random)]
    chosen = trained if len(trained) else counted
    if chosen.empty:
        raise AbsentError("nothing to draw: no layer pair that is not degenerate has a score.")
    row = chosen.iloc[int(chosen["score"].to_numpy().argmax())]
    return str(row["x"]), str(row["y"])


def draw_layer_heatmap(points: pd.DataFrame, parameters: LayerHeatmapFigure) -> Figure:
    """Draw what `layer_heatmap_points` selected."""
    num_x, num_y = (points[c].nunique() for c in ("layer_x", "layer_y"))
    first = points.iloc[0]
    bar_label = f"alignment ({metric_text(str(first['metric']))})"
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
    width, height = left + across + right, base + down + above
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
    return figure


def plot_layers(ax: Axes, points: pd.DataFrame) -> ScalarMappable:
    """Draw the layer pairs, hatch the degenerate ones, ring the best; returns the colours.

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
    if degenerate.to_numpy().any():
        ax.pcolor(
            edges_x,
            edges_y,
            np.ma.masked_where(~degenerate.to_numpy(), np.zeros(grid.shape)),
            hatch="//////",
            facecolor="none",
            edgecolor="#888888",
            lw=0,
            gid="degenerate",
        )
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
