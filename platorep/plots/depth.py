"""Where in depth two models are most alike."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from platorep.errors import AbsentError
from platorep.parameters.figures import LayersFigure
from platorep.plots.labels import wrap
from platorep.plots.panels import add_legend, legend_height
from platorep.plots.style import DOUBLE, GREY, HUES, MARKERS, NORMAL, SMALL
from platorep.plots.tables import Points, Tables, missing_scores, of_metric
from platorep.plots.words import CHANCE, alignment_text, depth_text

BEST, ALONG_X, ALONG_Y = "best layers", "along x", "along y"


def layers_points(tables: Tables, parameters: LayersFigure) -> Points:
    """Rows of `panel`, `model`, `other`, `family`, `depth`, `value`, of trained models.

    Depth is relative: 0 is the first layer, 1 the last. best layers: per pair, the depth of the
    best layer of x (`depth`) and of y (`value`), coloured by the family of y; `num_pairs` of that
    family have theirs in the same place. along x: per model x and layer, the mean over y of the
    best score with any layer of y; along y the same for y. `chance` is the mean over pairs.

    Raises:
        AbsentError: no trained pair of these modalities has a best layer.
    """
    best = _oriented(of_metric(tables.best, parameters.metric), parameters)
    random = best["x_random"].astype(bool) | best["y_random"].astype(bool)
    best = best[~random & (best["control"].fillna("") == "")]
    pairs = best[best["score"].notna() & (best["layer_x"] >= 0) & (best["layer_y"] >= 0)]
    notes = missing_scores(best)
    beside = (pairs["layer_x"] >= pairs["num_layers_x"]) | (
        pairs["layer_y"] >= pairs["num_layers_y"]
    )
    if beside.any():
        notes += (f"{beside.sum()} pairs are best where all layers stand side by side, which has "
                  "no depth; not shown among the best layers",)  # fmt: skip
    if pairs[~beside].empty:
        raise AbsentError(
            f"nothing to draw: no pair of a trained {parameters.x} and a trained {parameters.y} "
            "model has a best layer. " + "; ".join(notes or ("no such pair was scored",))
        )
    here = pairs[~beside]
    dots = pd.DataFrame(
        {
            "panel": BEST,
            "model": here["x"],
            "other": here["y"],
            "family": here["y_family"],
            "depth": _relative(here["layer_x"], here["num_layers_x"]),
            "value": _relative(here["layer_y"], here["num_layers_y"]),
        }
    )
    same = dots.groupby(["family", "depth", "value"])["model"]
    parts = [dots.assign(num_pairs=same.transform("size"))]
    scores = tables.scores
    if len(scores):
        scores = scores[scores["metric"] == str(pairs["metric"].iloc[0])]
        scores = scores[(scores["control"].fillna("") == "") & scores["score"].notna()]
        scores = scores[~scores["degenerate"].astype(bool)]
        scores = pd.concat([scores, turned(scores)], ignore_index=True)
        scores = scores.merge(pairs[["x", "y"]], on=["x", "y"])
        parts += [_along(scores, pairs, panel, side) for panel, side in _SIDES]
    frame = pd.concat(parts, ignore_index=True)
    order = tables.models.drop_duplicates("family").set_index("family")["order"]
    frame = frame.assign(
        family_order=frame["family"].map(order),
        metric=str(pairs["metric"].iloc[0]),
        chance=float(pairs["chance"].mean()),
    )
    families = list(frame.sort_values("family_order", kind="stable")["family"].unique())
    if len(families) > len(HUES):
        notes += (f"the discs have {len(HUES)} colours for {len(families)} families: "
                  f"{families[0]} and {families[len(HUES)]} share theirs, and so on",)  # fmt: skip
    return Points(frame, notes)


_SIDES = ((ALONG_X, "x"), (ALONG_Y, "y"))


def _oriented(best: pd.DataFrame, parameters: LayersFigure) -> pd.DataFrame:
    """The pairs of the two modalities, x of the first, whichever way round they were scored."""
    both = pd.concat([best, turned(best)], ignore_index=True)
    both = both[(both["x_modality"] == parameters.x) & (both["y_modality"] == parameters.y)]
    if parameters.x == parameters.y:  # each pair once, not both ways round
        both = both[both.index < len(best)]
    return both.drop_duplicates(["x", "y", "control"])


def turned(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows with x and y in each other's place."""
    swapped = {}
    for name in table.columns:
        for end in ("x", "y"):
            other = "y" if end == "x" else "x"
            if name == end or name.startswith(f"{end}_"):
                swapped[name] = other + name[1:]
            elif name.endswith(f"_{end}"):
                swapped[name] = name[:-1] + other
    return table.rename(columns=swapped)


def _along(scores: pd.DataFrame, pairs: pd.DataFrame, panel: str, side: str) -> pd.DataFrame:
    """One line per model of one side: per layer the mean over the others of their best score."""
    other = "y" if side == "x" else "x"
    own = pairs.drop_duplicates(side).set_index(side)
    top = scores.groupby([side, f"layer_{side}", other], sort=False)["score"].max()
    mean = top.groupby(level=[0, 1], sort=False).mean().reset_index()
    num = mean[side].map(own[f"num_layers_{side}"])
    depth = _relative(mean[f"layer_{side}"], num)
    rows = pd.DataFrame({"panel": panel, "model": mean[side], "other": "", "depth": depth})
    rows = rows.assign(family=mean[side].map(own[f"{side}_family"]), value=mean["score"])
    return rows[depth <= 1].sort_values(["family", "model", "depth"], kind="stable")


def _relative(layer: pd.Series, num_layers: pd.Series) -> pd.Series:
    return layer.astype(float) / (num_layers.astype(float) - 1).clip(lower=1)


def say_layers(points: pd.DataFrame, parameters: LayersFigure) -> str:
    """What is drawn where, in words."""
    pairs = int((points["panel"] == BEST).sum())
    said = f"{pairs} pairs of trained models; depth 0 is the first layer, 1 the last. Left: the "
    said += f"best layers of each pair, in the colour of the {parameters.y} family."
    if points["panel"].nunique() > 1:
        said += " Then, for each layer of a model, the mean over its partners of the highest score "
        said += "with any of their layers."
    return said


def draw_layers(points: pd.DataFrame, parameters: LayersFigure) -> Figure:
    """Draw what `layers_points` selected."""
    panels = list(dict.fromkeys(points["panel"]))
    families = list(dict.fromkeys(points.sort_values("family_order", kind="stable")["family"]))
    metric = str(points["metric"].iloc[0])
    labels = {
        side: wrap(f"{alignment_text(metric)},", 1.7, NORMAL) + f"\nmean of {side} models' best"
        for side in (parameters.x, parameters.y)
    }
    lines = max(1 + label.count("\n") for label in labels.values())
    left, gap, bottom, top = 0.42, 0.4 + 0.12 * lines, 0.47, 0.06
    size = (DOUBLE - left - gap * 2 - 0.06) / 3
    width = left + len(panels) * size + (len(panels) - 1) * gap + 0.06
    width = max(width, 3.3)
    handles = [_handle(index) for index in range(len(families))]
    texts = [str(family) for family in families]
    if points["num_pairs"].max() > 1:
        handles.append(Line2D([], [], ls=""))
        texts.append("area of a disc: number of pairs")
    if len(panels) > 1:
        handles.append(Line2D([], [], ls=""))
        texts.append("marker on a line: its highest point")
    footer = legend_height(texts, width - left)
    height = top + size + bottom + footer
    figure = Figure(figsize=(width, height))
    for index, name in enumerate(panels):
        x = left + index * (size + gap)
        box = (x / width, (bottom + footer) / height, size / width, size / height)
        ax = figure.add_axes(box)
        rows = points[points["panel"] == name]
        own, other = parameters.x, parameters.y
        if name == BEST:
            _draw_best(ax, rows, families)
            ax.set_ylim(-0.06, 1.06)
            ax.set_ylabel(depth_text(other))
        else:
            if name == ALONG_Y:
                own, other = other, own
            _draw_along(ax, rows, families)
            ax.set_ylabel(labels[other])
        ax.set_xlim(-0.06, 1.06)
        embedding = "\n(0: embedding)" if own == "language" else ""
        ax.set_xlabel(depth_text(own) + embedding)
    add_legend(figure, handles, texts, (left / width, 0.0, 1 - left / width, footer / height))
    return figure


def _handle(index: int) -> Line2D:
    colour, marker = HUES[index % len(HUES)], MARKERS[index % len(MARKERS)]
    return Line2D([], [], lw=0.9, ls=_style(index), color=colour, marker=marker)


def _draw_best(ax: Axes, rows: pd.DataFrame, families: list[str]) -> None:
    """A disc where best layers are, its area the number of pairs, a ring of it for each family."""
    places = rows.drop_duplicates(["family", "depth", "value"])
    places = places.sort_values("family_order", ascending=False, kind="stable")
    most = float(rows.groupby(["depth", "value"])["model"].size().max())
    for _, rings in places.groupby(["depth", "value"], sort=False):
        left = float(rings["num_pairs"].sum())
        for family, num in zip(rings["family"], rings["num_pairs"], strict=True):
            colour = HUES[families.index(str(family)) % len(HUES)]
            size = 9.0 * np.sqrt(left / max(most, 5.0))
            place = rings.iloc[:1]
            ax.plot(
                place["depth"],
                place["value"],
                "o",
                color=colour,
                ms=size,
                mew=0,
                clip_on=False,
                gid=f"points|{family}",
            )
            left -= num


def _draw_along(ax: Axes, rows: pd.DataFrame, families: list[str]) -> None:
    """A line per model along depth, and chance if there is one."""
    chance = float(rows["chance"].iloc[0])
    if np.isfinite(chance):
        ax.axhline(chance, color=GREY, lw=0.6, zorder=1, gid="chance")
        ax.text(1.06, chance, CHANCE, color=GREY, fontsize=SMALL, ha="right", va="bottom")
    for model, line in rows.groupby("model", sort=False):
        index = families.index(str(line["family"].iloc[0]))
        colour, marker = HUES[index % len(HUES)], MARKERS[index % len(MARKERS)]
        ax.plot(
            line["depth"],
            line["value"],
            _style(index),
            marker=marker if len(line) == 1 else "",
            color=colour,
            lw=0.7,
            gid=f"points|{model}",
        )
        top = line.iloc[[int(line["value"].to_numpy().argmax())]]  # tells colours apart
        ax.plot(top["depth"], top["value"], marker, color=colour, mew=0, gid=f"peak|{model}")


def _style(index: int) -> str:
    """Families that share a hue differ in the line."""
    return ("-", "--", ":")[index // len(HUES) % 3]
