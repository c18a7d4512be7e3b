"""What contrastive learners of discrete events learn: `platorep theory pmi`.

A column per world. Above: the learned kernel against the PMI, a dot per pair of events. Middle and
below: the correlation over pairs, by dimension and along training.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from platorep.plots.style import DOUBLE, GREY, HUES, NORMAL, SMALL

COLOURS = {"tied": HUES[0], "untied": HUES[1]}
DASHES = {"nce": "-", "infonce": ":"}
LOSS_NAMES = {"nce": "binary NCE", "infonce": "InfoNCE"}
LEFT, TOP, BOTTOM, GAP, PANEL = 0.5, 0.22, 0.72, 0.42, 1.25  # inches


def pmi_points(kernels: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per point of the figure; `panel`: kernel, dimension or step."""
    kernels = kernels[kernels["learner"] != "y"]
    last = kernels[kernels["step"] == kernels["step"].max()]
    widest = kernels[kernels["dimension"] == kernels["dimension"].max()]
    shown = pairs[pairs["loss"] == pairs["loss"].iloc[0]]
    panels = {"kernel": shown, "dimension": last, "step": widest}
    points: pd.DataFrame = pd.concat([table.assign(panel=name) for name, table in panels.items()])
    return points


def say_pmi(kernels: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """What is drawn where, in words."""
    numbers = sorted({len(of) for _, of in pairs.groupby(["world", "encoders", "loss"])})
    ends = " to ".join(dict.fromkeys(f"{number:,}" for number in (numbers[0], numbers[-1])))
    return (
        f"A column per world. Above: a dot per pair of different events ({ends} of them). Middle: "
        f"after {int(kernels['step'].max()):,} steps; below: at {int(kernels['dimension'].max())} "
        "dimensions."
    )


def draw_pmi(kernels: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """Draw the tables of `platorep theory pmi`.

    Args:
        kernels: One row per world, loss, encoders, dimension, step and learner.
        pairs: One row per pair of different events: `pmi`, `learned`.
    """
    worlds = list(dict.fromkeys(kernels["world"]))
    height = TOP + 3 * PANEL + 2 * GAP + BOTTOM
    room = (DOUBLE - LEFT) / len(worlds)
    figure = Figure(figsize=(DOUBLE, height))
    firsts: list[Axes] = []
    for column, world in enumerate(worlds):
        panels = [
            figure.add_axes(
                (
                    (LEFT + column * room) / DOUBLE,
                    (BOTTOM + (2 - row) * (PANEL + GAP)) / height,
                    (room - 0.3) / DOUBLE,
                    PANEL / height,
                )
            )
            for row in range(3)
        ]
        of_world = kernels[kernels["world"] == world]
        panels[0].set_title(world, fontweight="bold", fontsize=NORMAL, pad=4)
        draw_kernel(panels[0], pairs[pairs["world"] == world])
        last = of_world[of_world["step"] == of_world["step"].max()]
        draw_correlations(panels[1], last, "dimension")
        widest = of_world[of_world["dimension"] == of_world["dimension"].max()]
        draw_correlations(panels[2], widest, "step")
        for ax in panels[1:]:
            ax.set_ylim(-0.35, 1.05)
            ax.tick_params(labelleft=column == 0)
        firsts = firsts or panels
    firsts[0].set_ylabel("learned kernel, shifted (nats)")
    for ax in firsts[1:]:
        ax.set_ylabel("correlation over pairs")
    _add_legend(figure, kernels)
    return figure


def draw_kernel(ax: Axes, pairs: pd.DataFrame) -> Axes:
    """The learned kernel of the first loss against the PMI, at the same mean, and the diagonal.

    The constant that the theory leaves open is taken off: it is no part of the correlation.
    """
    shown = pairs[pairs["loss"] == pairs["loss"].iloc[0]]
    low, high = float(shown["pmi"].min()), float(shown["pmi"].max())
    ax.axline((low, low), (high, high), color=GREY, lw=0.5, zorder=1)
    for encoders, rows in shown.groupby("encoders", sort=False):
        ax.plot(
            rows["pmi"],
            rows["learned"] - rows["learned"].mean() + rows["pmi"].mean(),
            ".",
            ms=1.6,
            mew=0,
            color=COLOURS[str(encoders)],
            rasterized=True,
            zorder=2,
        )
    ax.set_xlabel("PMI (nats)")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    return ax


def draw_correlations(ax: Axes, kernels: pd.DataFrame, along: str) -> Axes:
    """Correlation of learner x and of the lossy one with the PMI, and with the log-joint.

    Args:
        along: The column on the x axis, `dimension` or `step`.
    """
    for key, rows in kernels.groupby(["encoders", "loss"], sort=False):
        encoders, loss = map(str, key)
        style = DASHES[loss]
        colour = COLOURS[encoders]
        own = rows[rows["learner"] == "x"].sort_values(along)
        ax.plot(own[along], own["pmi"], style, color=colour, zorder=3)
        if encoders == "untied" or kernels["encoders"].nunique() == 1:
            lossy = rows[rows["learner"] == "merged"].sort_values(along)
            ax.plot(own[along], own["log_joint"], style, color=GREY, lw=0.7, zorder=2)
            ax.plot(lossy[along], lossy["pmi"], style, color=HUES[2], lw=0.7, zorder=2)
    ax.axhline(1, color="#dddddd", lw=0.4, zorder=0)
    if along == "dimension":
        dimensions = sorted(kernels["dimension"].unique())
        ax.set_xscale("log", base=2)
        ax.set_xticks(dimensions, [str(d) for d in dimensions])
        ax.set_xlabel("dimensions")
    else:
        ax.set_xscale("symlog", linthresh=10)
        steps = sorted(kernels["step"].unique())
        ax.set_xlim(0, steps[-1])
        ticks = [step for step in steps if step in (0, 10, 100) or step == steps[-1]]
        ax.set_xticks(ticks, [str(step) for step in ticks])
        ax.set_xlabel("training steps")
    ax.minorticks_off()
    return ax


def _add_legend(figure: Figure, kernels: pd.DataFrame) -> None:
    encoders: Sequence[str] = list(dict.fromkeys(kernels["encoders"]))
    losses: Sequence[str] = list(dict.fromkeys(kernels["loss"]))
    entries = [(f"with the PMI, {e} encoders", COLOURS[e], "-") for e in encoders]
    entries += [
        ("with the log-joint", GREY, "-"),
        ("lossy learner, with the PMI", HUES[2], "-"),
    ]
    entries += [(LOSS_NAMES[loss], "#444444", DASHES[loss]) for loss in losses]
    figure.legend(
        [Line2D([], [], color=colour, ls=style) for _, colour, style in entries],
        [text for text, _, _ in entries],
        loc="lower center",
        ncols=3,
        fontsize=SMALL,
        columnspacing=1.4,
        handletextpad=0.5,
    )
