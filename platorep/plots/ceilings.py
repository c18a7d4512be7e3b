"""Noise ceilings in a panel: a band from the lowest to the highest of its lines, and their range.

Where the ceilings are far above all scores there is only the text: an axis that held the band would
press the scores flat.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from platorep.plots.labels import decimals
from platorep.plots.style import CEILING, GREY

KEPT = [
    *("reliability_x", "reliability_y", "without_repeats"),
    *(f"{name}{end}" for name in ("ceiling", "share_of_ceiling", "noise_free")
      for end in ("", "_low", "_high")),
]  # fmt: skip
"""Columns of best.csv that a figure of scores keeps."""
ROOM = 2.0
"""The band may take as much of the axis as the scores."""


def ceiling_top(points: pd.DataFrame) -> float:
    """Where the y axis must end to show the band; minus infinity where it is not to be shown."""
    highest = _ceilings(points)["ceiling"].max()
    return float(highest) if highest <= ROOM * points["score"].max() else -np.inf


def ceiling_text(points: pd.DataFrame) -> list[str]:
    """What a panel prints: the range of its ceilings; nothing where there are none."""
    known = _ceilings(points)
    if known.empty:
        return []
    ends = dict.fromkeys(
        decimals(float(v)) for v in (known["ceiling"].min(), known["ceiling"].max())
    )
    bound = " or less" if known["without_repeats"].ne("").any() else ""
    return [f"noise ceiling {' to '.join(ends)}{bound}"]


def draw_ceiling(ax: Axes, points: pd.DataFrame) -> float | None:
    """Draw the band, over the whole width; where it ends at the right, None where it is not."""
    band = _ceilings(points).groupby("x")["ceiling"].agg(["min", "max"])
    if band.empty or band["max"].max() > ax.get_ylim()[1]:
        return None
    x = np.r_[ax.get_xlim()[0], band.index.to_numpy(dtype=float), ax.get_xlim()[1]]
    low, high = (np.r_[v[:1], v, v[-1:]] for v in (band["min"].to_numpy(), band["max"].to_numpy()))
    ax.fill_between(x, low, high, color=CEILING, ec=GREY, lw=0.3, zorder=0.6, gid="ceiling")
    return float(low[-1] + high[-1]) / 2


def _ceilings(points: pd.DataFrame) -> pd.DataFrame:
    """The pairs of trained models that have one."""
    if "ceiling" not in points:
        return pd.DataFrame({"ceiling": [], "x": [], "without_repeats": []}, dtype=float)
    trained = points[(points["role"] == "trained") & points["ceiling"].notna()]
    return trained.fillna({"without_repeats": ""})
