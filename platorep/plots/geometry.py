"""The geometry of layers beside their alignment along depth: which of it goes with the score?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError
from platorep.parameters.figures import GeometryFigure
from platorep.plots.depth import turned
from platorep.plots.labels import decimals
from platorep.plots.panels import Grid, add_legend, legend_height, size_of
from platorep.plots.style import GREY, HUES, LINE, MARKERS, SINGLE, SMALL
from platorep.plots.tables import Points, Tables, of_metric
from platorep.plots.words import RHO
from platorep.statistics.profiles import along_depth

ALIGNMENT = "alignment"
NAMES = {
    "effective_rank": "effective rank",
    "effective_dimension": "particip. ratio",
    "spectral_slope": "spectral slope",
    "intrinsic_dimension": "intrinsic dim.",
    "hubness": "hubness",
    "mean_cosine": "mean cosine",
    "largest_share": "largest share",
    "largest_share_before": "largest, before",
}


def geometry_points(tables: Tables, parameters: GeometryFigure) -> Points:
    """Rows of `role` point: `modality`, `quantity`, `model`, `family`, `layer`, `depth`, `value`.

    Of trained models. `alignment` is the mean over the models of the other modality of the best
    score with any of their layers, left out where it is not defined. Rows of `role` correlation
    hold `rho` of a quantity with the alignment, `p_shifts`, `p_exchange`, `num_models`.

    Raises:
        AbsentError: there is no layers.csv with these columns, or no trained pair with scores.
    """
    missing = [name for name in parameters.columns if name not in tables.layers]
    if missing:
        raise AbsentError(
            f"nothing to draw: layers.csv has no {missing[0]}. `platorep align` with this "
            "experiment writes it anew."
        )
    points = _alignment(tables, parameters)
    layers = tables.layers[["model", "layer", *parameters.columns]]
    parts = [points.assign(quantity=ALIGNMENT)]
    joined = points.merge(layers, on=["model", "layer"], how="left")
    found = []
    for name in parameters.columns:
        parts.append(points.assign(quantity=name, value=joined[name].to_numpy(np.float64)))
        for modality, rows in joined.groupby("modality", sort=False):
            models = [rows_of for _, rows_of in rows.groupby("model", sort=False)]
            pairs = [m[["value", name]].to_numpy(np.float64).T for m in models]
            along = along_depth(pairs)
            found.append({"role": "correlation", "modality": modality, "quantity": name}
                         | vars(along))  # fmt: skip
    frame = pd.concat([*parts, pd.DataFrame(found)], ignore_index=True)
    return Points(frame.assign(metric=str(points["metric"].iloc[0])))


def _alignment(tables: Tables, parameters: GeometryFigure) -> pd.DataFrame:
    """One row per layer of every trained model of both modalities."""
    scores = of_metric(tables.scores, parameters.metric)
    models = tables.models.set_index("label")
    trained = set(models.index[~models["random"].astype(bool)])
    scores = scores[scores["x"].isin(trained) & scores["y"].isin(trained)]
    usable = (scores["control"].fillna("") == "") & ~scores["degenerate"].astype(bool)
    scores = scores[usable & scores["score"].notna()]
    for side in ("x", "y"):
        scores = scores.assign(**{f"{side}_modality": scores[side].map(models["modality"])})
    sides = [(_oriented(scores, parameters), "x", parameters.x)]
    if parameters.x != parameters.y:
        sides.append((sides[0][0], "y", parameters.y))
    parts = []
    for rows, side, modality in sides:
        other = "y" if side == "x" else "x"
        top = rows.groupby([side, f"layer_{side}", other], sort=False)["score"].max()
        mean = top.groupby(level=[0, 1]).mean().reset_index()
        mean.columns = pd.Index(["model", "layer", "value"])
        parts.append(mean.assign(modality=modality))
    points = pd.concat(parts, ignore_index=True)
    last = points["model"].map(models["num_layers"]).astype(float) - 1
    points = points[points["layer"] <= last]  # not all of them side by side
    if points.empty:
        raise AbsentError(
            f"nothing to draw: no pair of a trained {parameters.x} and a trained {parameters.y} "
            "model has scores of layers."
        )
    depth = points["layer"].astype(float) / last.clip(lower=1)
    points = points.assign(
        role="point",
        depth=depth,
        family=points["model"].map(models["family"]),
        order=points["model"].map(models["order"]),
        metric=str(scores["metric"].iloc[0]),
    )
    return points.sort_values(["modality", "order", "layer"], kind="stable", ignore_index=True)


def _oriented(scores: pd.DataFrame, parameters: GeometryFigure) -> pd.DataFrame:
    """x of the first modality; within one modality every pair both ways round."""
    both = pd.concat([scores, turned(scores)], ignore_index=True)
    return both[
        (both["x_modality"] == parameters.x) & (both["y_modality"] == parameters.y)
    ].drop_duplicates(["x", "y", "layer_x", "layer_y"])


def say_geometry(points: pd.DataFrame, parameters: GeometryFigure) -> str:
    """What is drawn where, in words."""
    return (
        "A line per trained model; depth 0 is the first layer, 1 the last. Alignment: the mean "
        "over the models of the other side of the highest score with any of their layers. "
        f"{RHO}: Spearman with it along depth, mean over models; p: profiles shifted along depth, "
        "or exchanged between models."
    )


def draw_geometry(points: pd.DataFrame, parameters: GeometryFigure) -> Figure:
    """Draw what `geometry_points` selected."""
    shown = points[points["role"] == "point"]
    modalities = list(dict.fromkeys((parameters.x, parameters.y)))
    quantities = [ALIGNMENT, *parameters.columns]
    families = list(dict.fromkeys(shown.sort_values("order", kind="stable")["family"]))
    texts = [str(family) for family in families]
    width = SINGLE if parameters.width != "double" else 2 * SINGLE
    left, gutter = 0.56, 0.12
    room = (width - left) / len(modalities) - gutter
    grid = Grid(
        rows=len(quantities),
        columns=len(modalities),
        panel=(room, 0.62),
        left=left,
        gutter=gutter,
        strip=0.1 + 2 * LINE,
        gap=0.12 + 2 * LINE,
        bottom=0.3,
        footer=legend_height(texts, width - left) + 0.02,
    )
    figure = Figure(figsize=(grid.width, grid.height))
    panels = grid.add_axes(figure, len(quantities) * len(modalities), own_rows=True)
    found = _correlations(points)
    for index, ax in enumerate(panels):
        row, column = divmod(index, len(modalities))
        quantity, modality = quantities[row], modalities[column]
        here = shown[(shown["quantity"] == quantity) & (shown["modality"] == modality)]
        _draw_lines(ax, here, families)
        said = f"{modality} models" if quantity == ALIGNMENT else found[modality, quantity]
        _say_above(ax, said)
        if column == 0:
            name = "alignment" if quantity == ALIGNMENT else NAMES[quantity]
            ax.text(-0.46 / size_of(ax)[0], 0.5, name, transform=ax.transAxes, rotation=90,
                    ha="center", va="center", fontsize=SMALL)  # fmt: skip
    grid.label_axes(figure, "relative depth", "")
    handles = [_handle(index) for index in range(len(families))]
    box = (left / grid.width, 0.0, 1 - left / grid.width, grid.footer / grid.height)
    add_legend(figure, handles, texts, box)
    return figure


def _correlations(points: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Of each modality and quantity what stands above its panel."""
    rows = points[points["role"] == "correlation"]
    names = zip(rows["modality"], rows["quantity"], strict=True)
    numbers = rows[["rho", "p_shifts", "p_exchange"]].to_numpy(np.float64).tolist()
    return {name: _in_words(*row) for name, row in zip(names, numbers, strict=True)}


def _in_words(rho: float, p_shifts: float, p_exchange: float) -> str:
    if not np.isfinite(rho):
        return "no correlation:\nfewer than 4 layers"
    exchange = f", exchange {p_exchange:.2g}" if np.isfinite(p_exchange) else ""
    return f"mean {RHO} {decimals(rho)}\np: shifts {p_shifts:.2g}{exchange}"


def _say_above(ax: Axes, text: str) -> None:
    height = size_of(ax)[1]
    ax.text(0.5, 1 + 0.03 / height, text, transform=ax.transAxes, ha="center", va="bottom",
            fontsize=SMALL, linespacing=1.05)  # fmt: skip


def _draw_lines(ax: Axes, rows: pd.DataFrame, families: list[str]) -> None:
    """A line per model, its colour that of the family."""
    ax.set_xlim(-0.04, 1.04)
    for model, line in rows.groupby("model", sort=False):
        index = families.index(str(line["family"].iloc[0]))
        colour = HUES[index % len(HUES)]
        ax.plot(line["depth"], line["value"], color=colour, lw=0.7, ms=1.6, mew=0,
                marker=MARKERS[index % len(MARKERS)], gid=f"points|{model}")  # fmt: skip
    if rows["value"].min() < 0 < rows["value"].max():
        ax.axhline(0, color=GREY, lw=0.4, zorder=0, gid="zero")


def _handle(index: int) -> Line2D:
    marker = MARKERS[index % len(MARKERS)]
    return Line2D([], [], lw=0.9, color=HUES[index % len(HUES)], marker=marker, mew=0)
