"""A world of dead leaves as a source of images: discs of all sizes that hide each other.

Its pictures have what photographs have and noise has not: edges, power that falls as the square of
the frequency, differences with heavy tails. Each is drawn when it is read; nothing is kept.

Axes: d discs from the front one back, h and w pixels, H and W points of which `FINE` x `FINE` make
a pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from platorep.config import DatasetConfig
from platorep.data.source import Row
from platorep.parameters.deadleaves import LeavesParameters
from platorep.stamps import Stamp
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.pictures import png_bytes

DEFAULT_PICTURES = 256
VERSION = 1  # raise when the same parameters give other pictures
FINE = 2  # points per pixel and axis, over which the eye of a camera averages
_WORDS_PER_DISC = 6  # radius, place, luminance, and two of color


@dataclass(frozen=True)
class Discs:
    """Discs in pixels, the front one first."""

    x: Float[np.ndarray, " d"]
    y: Float[np.ndarray, " d"]
    radius: Float[np.ndarray, " d"]


def power_law_radii(
    uniform: Float[np.ndarray, " d"], r_min: float, r_max: float
) -> Float[np.ndarray, " d"]:
    """Radii of density r^-3 between two ends, by the inverse of their distribution function."""
    steep, flat = r_min**-2, r_max**-2
    return 1 / np.sqrt(steep - uniform * (steep - flat))


def front_disc(discs: Discs, height: int, width: int) -> Int[np.ndarray, "h w"]:
    """Which disc is seen at each point (its number), or `d` where there is none.

    Points are the centres of a grid of squares of side 1; a disc has its edge.
    """
    seen = np.full(height * width, len(discs.radius))
    left, right = (
        np.clip(np.ceil(discs.x + side * discs.radius - 0.5 + (side > 0)), 0, width).astype(int)
        for side in (-1, 1)
    )
    top, bottom = (
        np.clip(np.ceil(discs.y + side * discs.radius - 0.5 + (side > 0)), 0, height).astype(int)
        for side in (-1, 1)
    )
    columns, rows = np.maximum(right - left, 0), np.maximum(bottom - top, 0)
    disc = np.repeat(np.arange(len(columns)), columns * rows)  # each point of each box around one
    first = np.cumsum(columns * rows) - columns * rows
    within = np.arange(len(disc)) - first[disc]
    row, column = top[disc] + within // columns[disc], left[disc] + within % columns[disc]
    across, down = column + 0.5 - discs.x[disc], row + 0.5 - discs.y[disc]
    inside = across * across + down * down <= discs.radius[disc] ** 2
    np.minimum.at(seen, (row * width + column)[inside], disc[inside])
    return seen.reshape(height, width)


def picture(world: LeavesParameters, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """Picture `index` of a world: discs fall behind those that lie there until nothing is bare.

    So it is a draw from the stationary law (Kendall, Thonnes 1999): no first leaf lies under all.
    """
    draws = Draws(world.seed, index, Purpose.LEAVES)
    size, fine = world.image_size, world.image_size * FINE
    points = np.full((fine, fine, 3), 0.0)
    bare = np.ones((fine, fine), dtype=bool)
    r_min = world.r_min * 2 ** draws.below(world.octaves + 1)
    num = max(64, int(2 * (size + 2 * world.r_max) ** 2 / (5 * r_min**2)))
    while bare.any():
        uniform = draws.fractions(num * _WORDS_PER_DISC).reshape(num, _WORDS_PER_DISC)
        radius = power_law_radii(uniform[:, 0], r_min, world.r_max)
        x, y = (uniform[:, axis] * (size + 2 * world.r_max) - world.r_max for axis in (1, 2))
        off = [np.maximum(np.maximum(-place, place - size), 0) for place in (x, y)]
        there = off[0] * off[0] + off[1] * off[1] <= radius * radius
        discs = Discs(x[there] * FINE, y[there] * FINE, radius[there] * FINE)
        seen = front_disc(discs, fine, fine)
        new = bare & (seen < len(discs.radius))
        points[new] = colors(uniform[there, 3:], world.color)[seen[new]]
        bare &= ~new
    pixels: np.ndarray = points.reshape(size, FINE, size, FINE, 3).mean((1, 3))
    return np.floor(pixels + 0.5).astype(np.uint8)


def colors(uniform: Float[np.ndarray, "d 3"], strength: float) -> Float[np.ndarray, "d 3"]:
    """Red, green and blue of discs, 0 to 255: a luminance between 40 and 215, yellow that rises
    with it, and a hue of each disc's own."""
    luminance = 40 + 175 * uniform[:, 0]
    yellow = strength * (0.5 * (luminance - 127.5) + 50 * (uniform[:, 1] - 0.5))
    red = strength * 50 * (uniform[:, 2] - 0.5)
    lit = luminance + yellow / 2
    return np.stack([lit + red, lit - red / 2, luminance - yellow], axis=1).clip(0, 255)


@dataclass(frozen=True)
class LeafReference:
    """A picture that is drawn when it is read."""

    world: LeavesParameters
    index: int

    def own_files(self) -> Sequence[Path]:
        return []

    def read(self) -> bytes:
        return png_bytes(picture(self.world, self.index))


class DeadLeavesSource:
    """Picture by picture; any one is drawn without the others."""

    numbered = True
    stamps: Mapping[str, Stamp | None] = {}

    def __init__(self, config: DatasetConfig) -> None:
        self._world, self._views = config.leaves, tuple(config.observed)
        self._num = config.limit or DEFAULT_PICTURES

    def row(self, index: int) -> Row:
        if not 0 <= index < self._num:
            raise IndexError(index)
        name = f"leaves-{index:06d}"
        cells = {view: self.cells(index, view) for view in self._views}
        return Row(name, cells, f"picture {index} of the dead leaves", name)

    def cells(self, number: int, view: str) -> tuple[LeafReference]:
        return (LeafReference(self._world, number),)

    def count(self) -> int:
        return self._num

    def strings(self, numbers: Sequence[int]) -> None:
        return None
