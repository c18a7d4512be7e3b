"""Which colours of an image's pixels occur near each other: pairs drawn, counted, as PMI.

Axes: h and w are an image's rows and columns, p pairs of pixels, c colours.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from platorep.data import View
from platorep.errors import DataError
from platorep.parameters.color import CooccurrenceParameters

Counts = Int[np.ndarray, "c c"]
Kernel = Float[np.ndarray, "c c"]


def count_pairs(
    images: View,
    parameters: CooccurrenceParameters,
    resolution: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Counts:
    """How often the first pixel of a drawn pair had one colour and the second the other.

    Colours are the cells of the RGB grid. Every image gives the same number of pairs but for
    chance, whatever its size; a pair is drawn from an image uniformly. What an image gives depends
    on the seed and its row alone.

    Raises:
        DataError: an image has a single pixel.
    """
    num_colors = parameters.levels**3
    counts = np.zeros(num_colors * num_colors, dtype=np.int64)
    num_images = len(images)
    shares = np.random.default_rng(parameters.seed).multinomial(
        parameters.pairs, [1 / num_images] * num_images
    )
    for row, num in enumerate(shares.tolist()):
        if num:
            image = images[row]
            if resolution is not None:
                image = image.resize((resolution, resolution), Image.Resampling.BOX)
            cells = grid_cells(np.asarray(image), parameters.levels)
            if cells.size < 2:
                raise DataError(
                    f"the image of row {row} (id {images.ids[row]!r}) has a single pixel, so that "
                    "no pair can be drawn from it. Leave it out."
                )
            rng = np.random.default_rng([parameters.seed, row])
            first, second = draw_pairs(cells, num, parameters.radius, rng)
            codes = first.astype(np.int64) * num_colors + second
            np.add.at(counts, codes, 1)
        progress(1)
    return counts.reshape(num_colors, num_colors)


def grid_cells(pixels: UInt8[np.ndarray, "h w 3"], levels: int) -> Int[np.ndarray, "h w"]:
    """The grid cell of every pixel: `levels` equal steps of each channel, blue the fastest."""
    steps = pixels.astype(np.int64) * levels // 256
    cells: np.ndarray = (steps[..., 0] * levels + steps[..., 1]) * levels + steps[..., 2]
    return cells


def draw_pairs(
    cells: Int[np.ndarray, "h w"], num: int, radius: float, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """The colours of `num` ordered pairs of different pixels at most `radius` apart.

    All such pairs of the image are equally likely: drawn with a step that may lead outside, and
    again if it does.
    """
    height, width = cells.shape
    reach = int(radius)
    steps = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    steps = steps[:, (steps.any(0)) & ((steps**2).sum(0) <= radius**2)]
    steps = steps[:, (abs(steps[0]) < height) & (abs(steps[1]) < width)]
    firsts, seconds = [], []
    missing = num
    while missing:
        # twice as many as are missing: of a small image many lead outside
        y, x = rng.integers(height, size=2 * missing), rng.integers(width, size=2 * missing)
        step_y, step_x = steps[:, rng.integers(steps.shape[1], size=2 * missing)]
        to_y, to_x = y + step_y, x + step_x
        inside = np.flatnonzero((to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width))
        inside = inside[:missing]
        firsts.append(cells[y[inside], x[inside]])
        seconds.append(cells[to_y[inside], to_x[inside]])
        missing -= len(inside)
    return np.concatenate(firsts), np.concatenate(seconds)


def pool(counts: Counts, groups: Int[np.ndarray, " c"], num_groups: int) -> Int[np.ndarray, "g g"]:
    """The counts between groups of colours; `groups` has the group of every colour."""
    pooled = np.zeros((num_groups, num_groups), dtype=np.int64)
    np.add.at(pooled, (groups[:, None], groups[None, :]), counts)
    return pooled


def drawn_pixels(counts: Counts) -> Int[np.ndarray, " c"]:
    """How many of the drawn pixels had each colour; there are two per pair."""
    drawn: np.ndarray = counts.sum(0) + counts.sum(1)
    return drawn


def pair_pmi(counts: Counts, smoothing: float) -> Kernel:
    """log (n_ab + s) / (e_ab + s) in nats: symmetric, 0 where two colours are independent.

    n_ab is half the number of pairs (a, b) and (b, a), e_ab what is expected of independent pixels
    with the same marginals. Without smoothing this is the PMI of the counted pairs; with it, the
    posterior mean of a ratio with a gamma prior of mean 1 and strength s, as in DuMouchel's
    shrinkage of rare pairs (1999): never infinite, and near 0 where little was expected.

    Raises:
        DataError: two colours never occur together and `smoothing` is 0.
    """
    joint = (counts + counts.T) / 2
    marginal = joint.sum(1)
    expected = np.outer(marginal, marginal) / max(joint.sum(), 1)
    if smoothing == 0 and (joint == 0).any():
        raise DataError(
            f"{int((joint == 0).sum())} of {joint.size} pairs of colours were never drawn, so that "
            "their PMI is not finite. Set cooccurrence.smoothing above 0, a coarser grid "
            "(cooccurrence.levels) or more cooccurrence.pairs."
        )
    found: np.ndarray = np.log((joint + smoothing) / (expected + smoothing))
    return found


def pmi_distances(pmi: Kernel, maximum: str) -> Kernel:
    """The largest PMI less the PMI, as in arXiv:2405.07987; a colour is at distance 0 from itself.

    Args:
        maximum: `all` PMIs, the diagonal included, or those of `different` colours only.
    """
    apart = ~np.eye(len(pmi), dtype=bool)
    largest = pmi.max() if maximum == "all" else pmi[apart].max()
    return np.where(apart, np.maximum(largest - pmi, 0.0), 0.0)
