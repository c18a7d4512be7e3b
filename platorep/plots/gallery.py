"""Alignment against the size of the gallery that neighbors are looked for in (arXiv:2604.18572)."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from platorep.errors import AbsentError
from platorep.parameters.figures import GalleryFigure
from platorep.plots.labels import format_count, text_width, wrap
from platorep.plots.panels import LEADER, Grid, add_legend, label_right, legend_height
from platorep.plots.style import DOUBLE, FAINT, HUES, MARKERS, NORMAL, SINGLE, readable
from platorep.plots.tables import Points, Tables, missing_scores
from platorep.plots.words import CHANCE, RANDOM_WEIGHTS, SHUFFLED_PAIRS, alignment_text

FIXED, SHARE = "fixed k", "k a share of n"
TRAINED, PAIR, RANDOM, SHUFFLED = "trained", "pair", RANDOM_WEIGHTS, "shuffled"
FEW_PAIRS = 6
"""Up to so many pairs of trained models have lines of their own."""


def gallery_points(tables: Tables, parameters: GalleryFigure) -> Points:
    """Rows of `panel`, `role`, `rule`, `pair`, `n`, `k`, `value`, `se`, `num_pairs`, `metric`.

    trained, random weights (of either model), shuffled: the mean over model pairs, and its standard
    error: over the pairs, or over the queries where there is one pair. pair: one pair of trained
    models, where they are few, with its error over queries. chance: the mean over trained pairs.

    Raises:
        AbsentError: no gallery was scored.
    """
    table = tables.gallery
    table = table[table["score"].notna()] if len(table) else table
    if table.empty:
        raise AbsentError(
            "nothing to draw: no gallery was scored. Say `align: {gallery: {sizes: [...]}}` in the "
            "experiment and run `platorep align` again."
        )
    random = table["x_random"].astype(bool) | table["y_random"].astype(bool)
    shuffled = table["control"].fillna("") == SHUFFLED
    roles = {TRAINED: table[~random & ~shuffled]}
    if parameters.controls:
        roles |= {RANDOM: table[random & ~shuffled], SHUFFLED: table[~random & shuffled]}
    trained = roles[TRAINED]
    pairs = trained.drop_duplicates(["x", "y"])
    if 1 < len(pairs) <= FEW_PAIRS:
        roles[PAIR] = trained
    if len(trained):
        roles[CHANCE] = trained.assign(score=trained["chance"], se=np.nan)
    rows: list[dict[str, object]] = []
    for role, part in roles.items():
        part = part.assign(pair=part["x"] + " x " + part["y"] if role == PAIR else "")
        for (rule, pair, n), group in part.groupby(["k_rule", "pair", "n"], sort=False):
            scores = group["score"].to_numpy(dtype=float)
            several = len(scores) > 1
            over_pairs = float(scores.std(ddof=1) / len(scores) ** 0.5) if several else np.nan
            se = over_pairs if several else float(group["se"].iloc[0])
            rows.append(
                {
                    "panel": SHARE if str(rule).endswith("%") else FIXED,
                    "role": role,
                    "rule": str(rule),
                    "pair": pair,
                    "n": int(str(n)),
                    "k": int(group["k"].iloc[0]),
                    "value": float(scores.mean()),
                    "se": np.nan if role == CHANCE else se,
                    "num_pairs": len(scores),
                    "metric": str(group["metric"].iloc[0]),
                }
            )
    points = pd.DataFrame(rows).sort_values(["panel", "role", "rule", "pair", "n"], kind="stable")
    best = tables.best
    notes = missing_scores(best[best["metric"] == rows[0]["metric"]]) if len(best) else ()
    return Points(points.reset_index(drop=True), notes)


def say_gallery(points: pd.DataFrame, parameters: GalleryFigure) -> str:
    """What is drawn where, in words."""
    return (
        "Each pair at its best layers. Neighbors are looked for in a gallery of n rows: "
        "the k nearest, with k as it stands at the line."
    )


def draw_gallery(points: pd.DataFrame, parameters: GalleryFigure) -> Figure:
    """Draw what `gallery_points` selected."""
    panels = [panel for panel in (FIXED, SHARE) if panel in set(points["panel"])]
    rules = sorted(set(points["rule"]), key=lambda rule: (rule[-1] == "%", float(rule.strip("%"))))
    names = {r: f"k = {r.strip('%')} % of n" if r[-1] == "%" else f"k = {r}" for r in rules}
    double = parameters.width != "single" and len(panels) > 1
    width = DOUBLE if double else SINGLE
    columns = len(panels) if double else 1
    left, gutter = 0.5, LEADER + 0.08 + max(map(text_width, names.values()))
    panel = ((width - left) / columns - gutter, 1.7)
    handles, texts = _legend(points)
    footer = legend_height(texts, width - 0.1)
    grid = Grid(
        rows=-(-len(panels) // columns),
        columns=columns,
        panel=panel,
        left=left,
        gutter=gutter,
        strip=0.2,
        gap=0.28,
        footer=footer,
    )
    figure = Figure(figsize=(grid.width, grid.height))
    axes = grid.add_axes(figure, len(panels))
    sizes = sorted(set(points["n"]))
    axes[0].set_xscale("log")
    axes[0].set_xlim(sizes[0] / 1.12, sizes[-1] * 1.12)
    lowest = min(0.0, float((points["value"] - points["se"].fillna(0)).min()))
    axes[0].set_ylim(lowest, 1.06 * float((points["value"] + points["se"].fillna(0)).max()))
    ticks = _ticks(sizes, panel[0])
    axes[0].set_xticks(ticks, [format_count(float(size)) for size in ticks])
    axes[0].minorticks_off()
    for ax, name in zip(axes, panels, strict=True):
        ax.set_title(name, loc="left", fontsize=NORMAL, pad=3)
        _draw(ax, points[points["panel"] == name], rules, names)
    metric = str(points["metric"].iloc[0]).split("{")[0]
    height = grid.height - grid.footer - grid.strip - grid.bottom
    grid.label_axes(
        figure,
        "rows of the gallery, n",
        wrap(alignment_text(metric), height + 0.2, NORMAL),
    )
    box = (0.05 / grid.width, 0.0, (width - 0.1) / grid.width, footer / grid.height)
    add_legend(figure, handles, texts, box)
    return figure


def _draw(ax: Axes, points: pd.DataFrame, rules: list[str], names: dict[str, str]) -> None:
    """The lines of one panel, a colour for each rule."""
    ends: dict[str, tuple[float, float]] = {}
    colours = {rule: HUES[i % len(HUES)] for i, rule in enumerate(rules)}
    for (role, rule, pair), line in points.groupby(["role", "rule", "pair"], sort=False):
        n, value = line["n"].to_numpy(dtype=float), line["value"].to_numpy(dtype=float)
        colour = colours[str(rule)]
        gid = f"{role}|{rule}|{pair}"
        style = "--" if str(rule).endswith("%") else "-"
        marker = MARKERS[rules.index(str(rule)) % len(MARKERS)]
        if role == TRAINED:
            ax.plot(n, value, style, marker=marker, color=colour, lw=1.1, zorder=4, gid=gid)
            se = line["se"].fillna(0).to_numpy(dtype=float)
            ax.fill_between(
                n, value - se, value + se, color=colour, alpha=0.2, lw=0, zorder=2, gid="band"
            )
            ends[str(rule)] = float(n[-1]), float(value[-1])
        elif role == PAIR:
            ax.plot(n, value, style, color=colour, lw=0.4, alpha=0.8, zorder=3, gid=gid)
        elif role == CHANCE:
            ax.plot(n, value, ":", color=colour, lw=0.8, zorder=1, gid=gid)
        else:
            face = "white" if role == RANDOM else colour
            shape = marker if role == RANDOM else "x"
            ax.plot(
                n, value, style, marker=shape, mfc=face, mew=0.5, ms=2.4, color=colour, lw=0.5,
                zorder=2.5, gid=gid,
            )  # fmt: skip
    label_right(
        ax,
        list(ends.values()),
        [names[rule] for rule in ends],
        [readable(colours[rule]) for rule in ends],
    )


def _ticks(sizes: list[int], width: float) -> list[int]:
    """The sizes that can be named below an axis of this width: all, or every second, ..."""
    step = -(-len(sizes) * 0.36 // width)
    return sizes[:: max(1, int(step))]


def _legend(points: pd.DataFrame) -> tuple[list[Artist], list[str]]:
    """What the labels beside the lines do not say."""
    dark = "#444444"
    roles = set(points["role"])
    count = points.loc[points["role"] == TRAINED, "num_pairs"].max()
    handles: list[Artist] = []
    texts: list[str] = []
    if TRAINED in roles:
        mean = "one model pair" if count == 1 else f"mean of {count:.0f} model pairs"
        handles += [
            Line2D([], [], color=dark, marker="o", lw=1.1),
            Patch(color=FAINT, lw=0),
        ]
        over = "queries" if count == 1 else "pairs"
        texts += [mean, f"\N{PLUS-MINUS SIGN} standard error over {over}"]
    if PAIR in roles:
        handles.append(Line2D([], [], color=dark, lw=0.4))
        texts.append("a model pair")
    if RANDOM in roles:
        handles.append(Line2D([], [], color=dark, marker="o", mfc="white", mew=0.5, lw=0.5))
        texts.append(RANDOM)
    if SHUFFLED in roles:
        handles.append(Line2D([], [], color=dark, marker="x", mew=0.5, ms=2.4, lw=0.5))
        texts.append(SHUFFLED_PAIRS)
    if CHANCE in roles:
        handles.append(Line2D([], [], ls=":", color=dark, lw=0.8))
        texts.append(CHANCE)
    return handles, texts
