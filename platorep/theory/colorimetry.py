"""Colours as people see them: words, cells of the RGB grid, CIELAB and its differences.

Axes: c colours. All conversions and differences are those of the library `colour-science`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.colors import get_named_colors_mapping, to_hex, to_rgb

from platorep.errors import UnknownNameError
from platorep.parameters.color import WordConfig

Colors = Float[np.ndarray, "c 3"]
Distances = Float[np.ndarray, "c c"]


@cache
def _library() -> Any:
    """`colour`, which on import tells numpy for the whole process to spell numbers in 12 digits, in
    CSV files too: that is undone."""
    with np.printoptions():
        import colour
    return colour


def word_colors(words: Sequence[str | WordConfig]) -> Colors:
    """sRGB of each word, 0 to 1: its own, or that of the XKCD colour survey.

    Source: Munroe's survey of 2010 (222,500 sessions in which people named random
    screen colours), public domain (CC0), which matplotlib carries.

    Raises:
        UnknownNameError: the survey has no such name.
    """
    known = get_named_colors_mapping()
    for word in words:
        if isinstance(word, str) and f"xkcd:{word}" not in known:
            survey = [name.removeprefix("xkcd:") for name in known if name.startswith("xkcd:")]
            raise UnknownNameError("colour word (XKCD colour survey)", word, survey)
    texts = [f"xkcd:{word}" if isinstance(word, str) else word.color for word in words]
    return np.array([to_rgb(text) for text in texts])


def cell_colors(levels: int) -> Colors:
    """sRGB of the centre of every cell of the grid, 0 to 1; red changes slowest, blue fastest."""
    steps = ((np.arange(levels) + 0.5) * 256 / levels - 0.5) / 255
    grid = np.meshgrid(steps, steps, steps, indexing="ij")
    return np.stack([axis.ravel() for axis in grid], axis=1)


def to_lab(rgb: Colors) -> Colors:
    """CIELAB (L* 0 to 100, a*, b*) of sRGB colours, white point D65."""
    lab: np.ndarray = _library().XYZ_to_Lab(_library().sRGB_to_XYZ(rgb))
    return lab


def lab_distances(lab: Colors) -> Distances:
    """CIE 1976: the Euclidean distance in CIELAB."""
    found: np.ndarray = _library().delta_E(lab[:, None], lab[None], method="CIE 1976")
    return found


def perceived_differences(lab: Colors) -> Distances:
    """CIEDE2000: nearer to what people see, and no Euclidean distance."""
    found: np.ndarray = _library().delta_E(lab[:, None], lab[None], method="CIE 2000")
    symmetric: np.ndarray = (found + found.T) / 2  # it is, but for rounding
    return symmetric


def nearest_colors(lab: Colors, centers: Float[np.ndarray, "w 3"]) -> Int[np.ndarray, " c"]:
    """For each colour, which of the centres is nearest in CIELAB."""
    found: np.ndarray = _library().delta_E(lab[:, None], centers[None], method="CIE 1976").argmin(1)
    return found


def hex_names(rgb: Colors) -> list[str]:
    return [str(to_hex(tuple(color))) for color in rgb.tolist()]
