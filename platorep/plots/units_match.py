"""How many units of a network another network has, too, by depth."""

import math
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from platorep.plots.labels import legible_frame, shorten
from platorep.plots.panels import Grid, add_legend, legend_height
from platorep.plots.style import GREY, HUES, NORMAL

STYLES: dict[str, Any] = {"": "-", "random weights": "--", "both random weights": ":"}
TEXTS = {"random weights": "a random copy of that", "both random weights": "random copies of both"}
COLUMNS = 3
SAID = (
    "A panel per network: of each layer the share of units that are best buddies (by Pearson's "
    "correlation over samples and positions) of units of the partner, above the null. Depth: 0 is "
    "the first layer, 1 the last."
)
PANEL = (1.75, 1.25)


def shares_points(shares: pd.DataFrame) -> pd.DataFrame:
    """A row per network, partner, control and layer: `depth`, `share`, and of the halves of the
    samples `low` and `high`.

    Of the controls with one random copy those in which the partner is the copy.
    """
    of_layers = shares[shares["layer"].notna()]
    own = of_layers["model"] == of_layers["model_trained"]
    shown = of_layers[own | (of_layers["control"] != "random weights")]
    points = shown.assign(model=shown["model_trained"], partner=shown["partner_trained"])
    columns = ["model", "partner", "control", "layer", "depth", "share", "low", "high"]
    return points[[*columns, "num_units"]].reset_index(drop=True)


def draw_shares(points: pd.DataFrame) -> Figure:
    """Draw the points of `shares_points`: a panel per network, a hue per partner."""
    points, _ = legible_frame(points)
    models = list(dict.fromkeys(points["model"]))
    partners = list(dict.fromkeys(points["partner"]))
    hues = {name: HUES[i % len(HUES)] for i, name in enumerate(partners)}
    columns = min(COLUMNS, len(models))
    handles, texts = _legend(points, hues)
    width = 0.5 + columns * (PANEL[0] + 0.12)
    footer = legend_height(texts, width - 0.1)
    rows = math.ceil(len(models) / columns)
    grid = Grid(
        rows=rows,
        columns=columns,
        panel=PANEL,
        gap=0.34,
        strip=0.22,
        gutter=0.12,
        footer=footer,
    )
    figure = Figure(figsize=(grid.width, grid.height))
    panels = grid.add_axes(figure, len(models))
    for ax, model in zip(panels, models, strict=True):
        _draw_model(ax, points[points["model"] == model], hues)
        ax.set_title(shorten(str(model), PANEL[0], NORMAL), pad=3)
    panels[0].set(xlim=(-0.04, 1.04), ylim=(-0.02, max(0.2, 1.05 * points["high"].max())))
    grid.label_axes(figure, "depth of the layer", "share of units matched")
    add_legend(figure, handles, texts, (0.03, 0.0, 0.97, footer / grid.height))
    return figure


def _draw_model(ax: Axes, points: pd.DataFrame, hues: dict[str, str]) -> None:
    for (partner, control), line in points.groupby(["partner", "control"], sort=False):
        line = line.sort_values("depth")
        hue, style = hues[str(partner)], STYLES[str(control)]
        ax.plot(
            *(line["depth"], line["share"]), color=hue, ls=style,
            marker="" if control else "o", ms=2, lw=0.6 if control else 0.9,
            gid=f"shares|{partner}|{control}",
        )  # fmt: skip
        if not control:
            ax.fill_between(line["depth"], line["low"], line["high"], color=hue, alpha=0.2, lw=0)


def _legend(points: pd.DataFrame, hues: dict[str, str]) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = [Line2D([], [], color=hue, marker="o", ms=2) for hue in hues.values()]
    texts = [f"in {name}" for name in hues]
    for control, text in TEXTS.items():
        if (points["control"] == control).any():
            handles.append(Line2D([], [], color=GREY, ls=STYLES[control], lw=0.7))
            texts.append(text)
    handles.append(Patch(color=GREY, alpha=0.3, lw=0))
    return handles, [*texts, "between the two halves"]
