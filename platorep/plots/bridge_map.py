"""Does alignment say what a linear map can do? Recall against alignment, a panel per map."""

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.plots.labels import interval_text, shorten
from platorep.plots.panels import Grid, add_legend, legend_height
from platorep.plots.style import DOUBLE, GREY, HUES, SINGLE, SMALL, mark, shape
from platorep.plots.words import CHANCE, PAIR_CONTROLS, RHO, alignment_text

K = 10
SIMILARITY = "csls"
TRAINED = "pairs"


def bridge_map_points(both: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per model pair and map: `score` (alignment on the searched rows), `recall` among the
    first 10 by CSLS (mean of both directions), the chance of both, and over the trained pairs of
    the map Spearman's `rho` with `rho_low` and `rho_high`.

    Args:
        both: As `both_ways` makes it.
        predictions: The table bridge_map_prediction.
    """
    shown = both[both["similarity"] == SIMILARITY]
    columns = ["x", "y", "x_family", "y_family", "kind", "metric", "score", "score_chance", "map"]
    points = shown[columns].assign(recall=shown[f"recall_{K}"], chance=shown[f"chance_{K}"])
    said = predictions[
        (predictions["similarity"] == SIMILARITY)
        & (predictions["k"] == K)
        & (predictions["kind"] == TRAINED)
        & (predictions["alignment"] == "score")
    ].set_index("map")
    of_map = {"rho": "rho", "rho_low": "low", "rho_high": "high", "num_pairs": "num_pairs"}
    return points.assign(**{name: points["map"].map(said[of]) for name, of in of_map.items()})


def say_bridge_map(both: pd.DataFrame) -> str:
    """What is drawn where, in words.

    Args:
        both: As `both_ways` makes it.
    """
    searched, fitted = (int(both[name].iloc[0]) for name in ("n_items", "n_fit"))
    return (
        f"A point per model pair and map (colour: family of x, marker: of y), mean of both "
        f"directions: {searched:,} rows searched, the map fitted on {fitted:,} others."
    )


def draw_bridge_map(points: pd.DataFrame) -> Figure:
    """Draw what `bridge_map_points` selected."""
    maps = list(dict.fromkeys(points["map"]))
    trained = points[points["kind"] == TRAINED]
    hues = {family: HUES[i % len(HUES)] for i, family in enumerate(trained["x_family"].unique())}
    marks = {family: i for i, family in enumerate(trained["y_family"].unique())}
    handles, texts = _legend(points, hues, marks)
    width = DOUBLE if len(maps) > 1 else SINGLE
    panel = (width - 0.5) / len(maps) - 0.1
    footer = legend_height(texts, width - 0.1)
    grid = Grid(rows=1, columns=len(maps), panel=(panel, 1.9), strip=0.34, footer=footer)
    figure = Figure(figsize=(grid.width, grid.height))
    panels = grid.add_axes(figure, len(maps))
    for ax, name in zip(panels, maps, strict=True):
        _draw_panel(ax, points[points["map"] == name], hues, marks)
    panels[0].set_ylim(0, max(1.05 * points["recall"].max(), 1.5 * points["chance"].max()))
    what = alignment_text(str(points["metric"].iloc[0]), "alignment on the searched rows")
    grid.label_axes(figure, what, f"found among the first {K}")
    add_legend(figure, handles, texts, (0.03, 0.0, 0.97, footer / grid.height))
    return figure


def _draw_panel(
    ax: Axes, points: pd.DataFrame, hues: dict[str, str], marks: dict[str, int]
) -> None:
    first = points.iloc[0]
    ax.axhline(first["chance"], color=GREY, lw=0.6, ls=(0, (1, 1.5)), zorder=0, gid="chance")
    if pd.notna(first["score_chance"]):
        ax.axvline(first["score_chance"], color=GREY, lw=0.6, ls=(0, (1, 1.5)), zorder=0)
    for _, pair in points.iterrows():
        if pair["kind"] == TRAINED:
            style = mark(marks[pair["y_family"]], hues[pair["x_family"]])
        else:
            style = {"marker": PAIR_CONTROLS[pair["kind"]][0], "color": GREY, "mew": 0.6, "ls": ""}
        gid = f"{pair['kind']}|{pair['x']}|{pair['y']}"
        ax.plot([pair["score"]], [pair["recall"]], **style, gid=gid)
    num = int(first["num_pairs"])
    said = f"{num} pair{'' if num == 1 else 's'}"
    if pd.notna(first["rho"]):
        rho = interval_text(first["rho"], first["rho_low"], first["rho_high"])
        said = f"{RHO} = {rho}, {said}"
    ax.set_title(f"{first['map']}\n{said}", fontsize=SMALL, pad=3)


def _legend(
    points: pd.DataFrame, hues: dict[str, str], marks: dict[str, int]
) -> tuple[list[Artist], list[str]]:
    """Colours of the families of x, markers of those of y, the controls that are there, chance."""
    handles: list[Artist] = [Line2D([], [], color=hue, lw=2.5) for hue in hues.values()]
    handles += [Line2D([], [], ls="", color=GREY, **shape(i)) for i in marks.values()]
    texts = [shorten(str(family), 1.6) for family in (*hues, *marks)]
    for kind, (marker, text) in PAIR_CONTROLS.items():
        if (points["kind"] == kind).any():
            handles.append(Line2D([], [], ls="", marker=marker, color=GREY, mew=0.6))
            texts.append(text)
    handles.append(Line2D([], [], color=GREY, lw=0.6, ls=(0, (1, 1.5))))
    return handles, [*texts, CHANCE]
