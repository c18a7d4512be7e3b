"""Where in depth two models are most alike."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError
from platorep.parameters.figures import LayersFigure
from platorep.plots.labels import metric_text, wrap
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import DOUBLE, HUES, MARKERS, NORMAL
from platorep.plots.tables import Points, Tables, missing_scores, of_metric

BEST, ALONG_X, ALONG_Y = "best layers", "along x", "along y"


def layers_points(tables: Tables, parameters: LayersFigure) -> Points:
    """Rows of `panel`, `model`, `other`, `family`, `depth`, `value`, of trained models.

    Depth is relative: 0 is the first layer, 1 the last. best layers: per pair, the depth of the
    best layer of x (`depth`) and of y (`value`), coloured by the family of y. along x: per model x
    and layer, the mean over y of the best score with any layer of y; along y the same for y.

    Raises:
        AbsentError: no trained pair has a best layer.
    """
    best = of_metric(tables.best, parameters.metric)
    random = best["x_random"].astype(bool) | best["y_random"].astype(bool)
    best = best[~random & (best["control"].fillna("") == "")]
    pairs = best[best["score"].notna() & (best["layer_x"] >= 0) & (best["layer_y"] >= 0)]
    if pairs.empty:
        raise AbsentError(
            "nothing to draw: no pair of trained models has a best layer. "
            + "; ".join(missing_scores(best))
        )
    metric = str(pairs["metric"].iloc[0])
    parts = [
        pd.DataFrame(
            {
                "panel": BEST,
                "model": pairs["x"],
                "other": pairs["y"],
                "family": pairs["y_family"],
                "depth": _relative(pairs["layer_x"], pairs["num_layers_x"]),
                "value": _relative(pairs["layer_y"], pairs["num_layers_y"]),
            }
        )
    ]
    scores = tables.scores
    if len(scores):
        scores = scores[(scores["metric"] == metric) & (scores["control"].fillna("") == "")]
        scores = scores[~scores["degenerate"].astype(bool) & scores["score"].notna()]
        scores = scores.merge(pairs[["x", "y", "x_family", "y_family"]], on=["x", "y"])
        for panel, side, other in ((ALONG_X, "x", "y"), (ALONG_Y, "y", "x")):
            top = scores.groupby([side, f"{side}_family", f"layer_{side}", other], sort=False)
            mean = top["score"].max().groupby(level=[0, 1, 2], sort=False).mean().reset_index()
            num = mean[side].map(pairs.drop_duplicates(side).set_index(side)[f"num_layers_{side}"])
            depth = _relative(mean[f"layer_{side}"], num)
            parts.append(
                pd.DataFrame({"panel": panel, "model": mean[side], "other": "", "depth": depth})
                .assign(family=mean[f"{side}_family"], value=mean["score"])
                .sort_values(["family", "model", "depth"], kind="stable")
            )
    frame = pd.concat(parts, ignore_index=True).assign(metric=metric)
    for side in ("x", "y"):
        kinds = set(pairs[f"{side}_modality"])
        frame[f"{side}_modality"] = kinds.pop() if len(kinds) == 1 else ""
    return Points(frame, missing_scores(best))


def _relative(layer: pd.Series, num_layers: pd.Series) -> pd.Series:
    return layer.astype(float) / (num_layers.astype(float) - 1).clip(lower=1)


def draw_layers(points: pd.DataFrame, parameters: LayersFigure) -> Figure:
    """Draw what `layers_points` selected."""
    panels = list(dict.fromkeys(points["panel"]))
    families = list(dict.fromkeys(points["family"]))
    left, gap, bottom, top = 0.42, 0.55, 0.36, 0.06
    size = (DOUBLE - left - gap * 2 - 0.06) / 3
    width = left + len(panels) * size + (len(panels) - 1) * gap + 0.06
    width = max(width, 3.3)
    footer = legend_height(families, width - left)
    height = top + size + bottom + footer
    figure = Figure(figsize=(width, height))
    first = points.iloc[0]
    sides = {
        side: f"{first[f'{side}_modality']} model".strip()
        if first[f"{side}_modality"]
        else f"model {side}"
        for side in ("x", "y")
    }
    for index, name in enumerate(panels):
        x = left + index * (size + gap)
        box = (x / width, (bottom + footer) / height, size / width, size / height)
        ax = figure.add_axes(box)
        _draw(ax, points[points["panel"] == name], families)
        ax.set_xlim(-0.04, 1.04)
        side = "y" if name == ALONG_Y else "x"
        ax.set_xlabel(f"relative depth in {sides[side]}")
        if name == BEST:
            ax.set_ylim(-0.04, 1.04)
            ax.set_ylabel(f"relative depth in {sides['y']}")
        else:
            ax.set_ylabel(wrap(f"alignment ({metric_text(str(first['metric']))})", size, NORMAL))
    handles = [
        Line2D(
            [],
            [],
            lw=0.9,
            ls=_style(i),
            color=HUES[i % len(HUES)],
            marker=MARKERS[i % len(MARKERS)],
        )
        for i in range(len(families))
    ]
    add_legend(figure, handles, families, (left / width, 0.0, 1 - left / width, footer / height))
    return figure


def _draw(ax: Axes, rows: pd.DataFrame, families: list[str]) -> None:
    """Dots for the best layers, a line per model along depth."""
    for family, own in rows.groupby("family", sort=False):
        index = families.index(str(family))
        colour, marker = HUES[index % len(HUES)], MARKERS[index % len(MARKERS)]
        if own["panel"].iloc[0] == BEST:
            ax.plot(
                own["depth"],
                own["value"],
                marker,
                color=colour,
                mew=0,
                alpha=0.7,
                clip_on=False,
                gid=f"points|{family}",
            )
            continue
        for model, line in own.groupby("model", sort=False):
            dot = marker if len(line) == 1 else ""
            ax.plot(
                line["depth"],
                line["value"],
                _style(index),
                marker=dot,
                color=colour,
                lw=0.7,
                gid=f"points|{model}",
            )
            top = line.iloc[[int(line["value"].to_numpy().argmax())]]  # tells colours apart
            ax.plot(top["depth"], top["value"], marker, color=colour, mew=0, gid=f"peak|{model}")


def _style(index: int) -> str:
    """Families that share a hue differ in the line."""
    return ("-", "--", ":")[index // len(HUES) % 3]
