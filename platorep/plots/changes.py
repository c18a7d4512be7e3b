"""What the score lives on: how much of it is left when what a model reads is changed.

A panel per pair of modalities, a line per changed view: the mean score of the originals, that of
their copies on the view, and every pair of these; random weights and chance to hold it against.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from platorep.errors import AbsentError
from platorep.parameters.figures import ChangesFigure
from platorep.plots.labels import text_width
from platorep.plots.panels import Grid, add_legend, legend_height
from platorep.plots.style import DOUBLE, GREY, HUES, LINE, NORMAL, SINGLE, SMALL, readable
from platorep.plots.tables import Points, Tables, changed_of, missing_scores, of_metric
from platorep.plots.words import RANDOM_WEIGHTS, alignment_text

PAIR, MEAN = "pair", "mean"
RANDOM = RANDOM_WEIGHTS


def changes_points(tables: Tables, parameters: ChangesFigure) -> Points:
    """Rows of `role`, `panel`, `view`, `score`, `original`, `null` and what belongs to each role.

    pair: `copy` (a model's copy on a changed view, or with random weights) and `other` (a trained
        model on what it reads itself); `original` is the score of the copy's original with `other`.
    mean: over the pairs of one panel and view; `kept` is (score - null) / (original - null), NaN
        where the originals are not above the `threshold` of the null: there is nothing to keep.

    `null` is the mean of the permutation null, or chance where there is none. `panel` names the
    modality that is changed, then the other.

    Raises:
        AbsentError: no copy on a changed view has a score.
    """
    best = of_metric(tables.best, parameters.metric)
    models = tables.models.set_index("label")
    copies = _copies(models)
    pairs = _pairs(best[best["control"].fillna("") == ""], models, copies)
    notes = missing_scores(best)
    pairs = pairs[pairs["score"].notna() & pairs["original"].notna()]
    changed = pairs[pairs["view"] != RANDOM]
    if changed.empty:
        raise AbsentError(
            "nothing to draw: no model's copy on a changed view has a score. Name a view such as "
            "`scrambled: {of: text, change: word_order}` under `dataset.views`, say "
            "`controls: {changed_views: true}` and run the experiment again. " + "; ".join(notes)
        )
    beside = pairs["panel"].isin(changed["panel"]) if parameters.controls else False
    pairs = pairs[(pairs["view"] != RANDOM) | beside]
    means = []
    for (panel, view), group in pairs.groupby(["panel", "view"], sort=False):
        mean = group[["score", "original", "null", "threshold"]].mean()
        room = mean["original"] - mean["null"]
        above = mean["original"] > mean["threshold"]
        kept = (mean["score"] - mean["null"]) / room if above else np.nan
        means.append({"role": MEAN, "panel": panel, "view": view, **mean}
                     | {"kept": kept, "num_pairs": len(group)})  # fmt: skip
    frame = pd.concat([pairs.assign(role=PAIR), pd.DataFrame(means)], ignore_index=True)
    null = "null" if "null_mean" in best and best["null_mean"].notna().any() else "chance"
    return Points(frame.assign(metric=str(best["metric"].iloc[0]), null_is=null), notes)


def _copies(models: pd.DataFrame) -> pd.DataFrame:
    """Label of a copy -> its `original` and the `view` it reads, `RANDOM` for random weights."""
    original = changed_of(models)
    changed = original[original != ""]
    random = models[models["random"].astype(bool) & models["random_of"].fillna("").ne("")]
    found = [
        pd.DataFrame({"original": changed, "view": models.loc[changed.index].get("view")}),
        pd.DataFrame({"original": random["random_of"], "view": RANDOM}),
    ]
    return pd.concat([part for part in found if len(part)] or found)


def _pairs(best: pd.DataFrame, models: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Scored pairs of a copy with a model that is none, beside the score of its original."""
    null = best["null_mean"] if "null_mean" in best else pd.Series(np.nan, index=best.index)
    best = best.assign(null=null.fillna(best["chance"]))
    threshold = best["threshold"] if "threshold" in best else best["null"]
    best["threshold"] = threshold.fillna(best["null"])
    score = {
        frozenset((x, y)): score
        for x, y, score in zip(best["x"], best["y"], best["score"], strict=True)
    }
    rows = []
    for copy, other in (("x", "y"), ("y", "x")):
        own = best[best[copy].isin(copies.index) & ~best[other].isin(copies.index)]
        own = own[~own[f"{other}_random"].astype(bool)]
        rows.append(
            pd.DataFrame(
                {
                    "panel": own[f"{copy}_modality"] + " x " + own[f"{other}_modality"],
                    "view": own[copy].map(copies["view"]),
                    "copy": own[copy],
                    "other": own[other],
                    "score": own["score"],
                    "original": [
                        score.get(frozenset((original, label)), np.nan)
                        for original, label in zip(
                            own[copy].map(copies["original"]), own[other], strict=True
                        )
                    ],
                    "null": own["null"],
                    "threshold": own["threshold"],
                }
            )
        )
    pairs = pd.concat(rows, ignore_index=True)
    order = pairs["copy"].map(models["order"])
    return pairs.iloc[order.argsort(kind="stable")].sort_values(
        "view", key=lambda view: view == RANDOM, kind="stable"
    )


def say_changes(points: pd.DataFrame, parameters: ChangesFigure) -> str:
    """What is drawn where, in words."""
    num = points.loc[points["role"] == MEAN, "num_pairs"].astype(int)
    ends = " to ".join(dict.fromkeys([str(num.min()), str(num.max())]))
    return f"A line per change: mean over {ends} pairs, each at its best layers."


def draw_changes(points: pd.DataFrame, parameters: ChangesFigure) -> Figure:
    """Draw what `changes_points` selected."""
    means = points[points["role"] == MEAN]
    panels = list(dict.fromkeys(means["panel"]))
    views = {panel: list(means.loc[means["panel"] == panel, "view"]) for panel in panels}
    width = DOUBLE if parameters.width == "double" else SINGLE
    left = 0.12 + max(text_width(str(view)) for view in means["view"])
    right = 0.12 + max(text_width(text) for text in _kept(means))
    left, right = max(left, 0.4), max(right, 0.4)
    panel_width = max(1.4, width - left - right)
    handles, texts = _legend(points)
    footer = legend_height(texts, panel_width + left + right - 0.1) + 0.04
    heights = [_ROW * len(views[panel]) for panel in panels]
    head, bottom = 0.22, 0.36
    height = sum(heights) + head * len(panels) + bottom + footer
    width = left + panel_width + right
    figure = Figure(figsize=(width, height))
    top, first = height, None
    for number, (panel, tall) in enumerate(zip(panels, heights, strict=True)):
        top -= head + tall
        box = (left / width, top / height, panel_width / width, tall / height)
        ax = figure.add_axes(box, sharex=first)
        first = first or ax
        rows = points[points["panel"] == panel]
        _draw(ax, rows, views[panel], HUES[number % len(HUES)])
        ax.tick_params(labelbottom=number == len(panels) - 1)
        changed, other = str(panel).split(" x ")
        ax.set_title(
            f"{changed} changed, with {other}",
            loc="left",
            fontsize=NORMAL,
            fontweight="bold",
            pad=3,
        )
    grid = Grid(rows=1, columns=1, panel=(panel_width, height - bottom - footer), left=left,
                gutter=right, bottom=bottom, footer=footer, strip=0.0)  # fmt: skip
    grid.label_axes(figure, alignment_text(str(points["metric"].iloc[0])), "")
    add_legend(
        figure, handles, texts, (0.04 / width, 0.0, 1 - 0.04 / width, (footer - 0.04) / height)
    )
    return figure


_ROW = 1.5 * LINE  # height of a line of the figure, inches


def _kept(means: pd.DataFrame) -> Iterator[str]:
    """What stands at the end of each line."""
    for kept in means["kept"]:
        yield (
            f"{100 * kept:.0f} %".replace("-", "\N{MINUS SIGN}")
            if np.isfinite(kept)
            else "\N{EN DASH}"
        )


def _draw(ax: Axes, points: pd.DataFrame, views: list[str], hue: str) -> None:
    """One panel: from the originals (open) to the copies (filled), under them every pair."""
    means = points[points["role"] == MEAN].set_index("view", drop=False).loc[views]
    ax.axvline(float(means["null"].mean()), color=GREY, lw=0.6, zorder=1, gid="null")
    pairs = points[points["role"] == PAIR]
    place = {view: -number for number, view in enumerate(views)}
    ax.plot(pairs["score"], pairs["view"].map(place), "|", color=hue, ms=4, mew=0.5, alpha=0.45,
            zorder=2, gid="pair")  # fmt: skip
    for view, original, score in zip(views, means["original"], means["score"], strict=True):
        y = place[view]
        ax.plot([original, score], [y, y], "-", color=hue, lw=0.9, zorder=3, gid="join")
        ax.plot(
            [original],
            [y],
            "o",
            mfc="white",
            mec="black",
            mew=0.6,
            ms=5.5,
            zorder=4,
            gid="original",
        )
        colour = GREY if view == RANDOM else hue
        ax.plot([score], [y], "o", color=colour, ms=3.6, zorder=5, gid="mean")
    for view, text in zip(views, _kept(means), strict=True):
        ax.text(1.02, place[view], text, transform=ax.get_yaxis_transform(), va="center_baseline",
                fontsize=SMALL, color=readable(hue), gid="kept")  # fmt: skip
    ax.set_ylim(0.6 - len(views), 0.6)
    ax.set_yticks([*place.values()], views)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="#eeeeee", lw=0.5, zorder=0)
    ax.margins(x=0.05)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _legend(points: pd.DataFrame) -> tuple[list[Artist], list[str]]:
    null = str(points["null_is"].iloc[0])
    handles: list[Artist] = [
        Line2D([], [], ls="", marker="o", mfc="white", mec="black", mew=0.6, ms=5.5),
        Line2D([], [], ls="", marker="o", color="#444444", ms=3.6),
        Line2D([], [], ls="", marker="|", color="#444444", ms=4, mew=0.5),
        Line2D([], [], color=GREY, lw=0.6),
        Line2D([], [], ls=""),
    ]
    what = "mean of the permutation null" if null == "null" else "chance"
    texts = ["as it is, mean", "changed, mean", "changed, each pair", what,
             "at the right: the share kept of what is above it"]  # fmt: skip
    if points.loc[points["role"] == MEAN, "kept"].isna().any():
        handles.append(Line2D([], [], ls=""))
        texts.append("\N{EN DASH}: as it is, not above the null's threshold")
    return handles, texts
