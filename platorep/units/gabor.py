"""Gabor functions: a wave in a Gaussian window, fitted to filters; and their rival, spots.

Axes: n filters, h and w pixels, p pixels of a filter, k waves, q parameters. A picture's rows run
downwards; x and y here run to the right and *upwards* from its middle, so that angles turn as in a
textbook.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from platorep.units.fitting import coefficients, explained

NARROWEST = 0.5  # pixels: the standard deviation of a window


@dataclass(frozen=True, kw_only=True)
class GaborFits:
    """The Gabor function nearest to each filter, in pixels and degrees.

    contrast * exp(-(u / along)^2 / 2 - (v / across)^2 / 2) * cos(2 pi frequency u + phase) + offset
    with u from the centre in the wave's direction and v square to it.
    """

    size: tuple[int, int]
    parameters: Float[np.ndarray, "n 6"]
    weights: Float[np.ndarray, "n 2"]
    """Of the even and the odd wave."""
    offsets: Float[np.ndarray, " n"]
    r2: Float[np.ndarray, " n"]
    """Share of a filter's variance over its pixels that is explained; NaN if it has none."""

    @property
    def orientation(self) -> Float[np.ndarray, " n"]:
        """Of the stripes, counterclockwise from horizontal: 0 to 180 degrees."""
        degrees: np.ndarray = np.degrees(self.parameters[:, 2] + np.pi / 2) % 180
        return degrees

    @property
    def frequency(self) -> Float[np.ndarray, " n"]:
        """Cycles per pixel."""
        cycles: np.ndarray = np.exp(self.parameters[:, 3])
        return cycles

    @property
    def phase(self) -> Float[np.ndarray, " n"]:
        """From 0 (even: a bar) to 90 degrees (odd: an edge), whatever the sign and the direction
        of the wave (Ringach 2002)."""
        even, odd = np.abs(self.weights).T
        degrees: np.ndarray = np.degrees(np.arctan2(odd, even))
        return degrees

    @property
    def along(self) -> Float[np.ndarray, " n"]:
        """Standard deviation of the window along the wave."""
        pixels: np.ndarray = np.exp(self.parameters[:, 4])
        return pixels

    @property
    def across(self) -> Float[np.ndarray, " n"]:
        """Standard deviation of the window along the stripes."""
        pixels: np.ndarray = np.exp(self.parameters[:, 5])
        return pixels

    @property
    def bandwidth(self) -> Float[np.ndarray, " n"]:
        """Octaves between the frequencies of half amplitude; NaN if the lower one is below 0."""
        cycles = np.pi * self.frequency * self.along
        half = np.sqrt(np.log(2) / 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: np.ndarray = np.log2((cycles + half) / (cycles - half))
        return np.where(cycles > half, found, np.nan)

    @property
    def centres(self) -> Float[np.ndarray, "n 2"]:
        """Columns to the right of, and rows above, the middle of the filter."""
        return self.parameters[:, :2]

    def pictures(self) -> Float[np.ndarray, "n h w"]:
        """The fitted functions as filters."""
        waves = Gabor(self.size).waves(self.parameters)
        flat: np.ndarray = (self.weights[:, None] @ waves)[:, 0] + self.offsets[:, None]
        return flat.reshape(-1, *self.size)


def fit_gabors(filters: Float[np.ndarray, "n h w"], restarts: int = 2) -> GaborFits:
    """The Gabor function nearest to each filter, by least squares over its pixels."""
    shape = Gabor((filters.shape[1], filters.shape[2]))
    parameters, _ = explained(shape, filters.reshape(len(filters), -1), restarts)
    return gabors_at(filters, parameters)


def gabors_at(
    filters: Float[np.ndarray, "n h w"], parameters: Float[np.ndarray, "n 6"]
) -> GaborFits:
    """Gabor functions of these parameters, with the weights that bring them nearest to filters."""
    size = filters.shape[1], filters.shape[2]
    flat = filters.reshape(len(filters), -1).astype(np.float64)
    waves = Gabor(size).waves(parameters)
    weights = coefficients(waves, flat)
    fitted = (weights[:, None] @ waves)[:, 0]
    offsets = (flat - fitted).mean(1)
    left = np.square(flat - fitted - offsets[:, None]).sum(1)
    total = np.square(flat - flat.mean(1, keepdims=True)).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(total > 1e-12 * np.square(flat).sum(1), 1 - left / total, np.nan)
    return GaborFits(size=size, parameters=parameters, weights=weights, offsets=offsets, r2=r2)


def gabor_share(filters: Float[np.ndarray, "n h w"], restarts: int = 2) -> np.ndarray:
    """Only how much of each filter's variance its Gabor function explains."""
    size = filters.shape[1], filters.shape[2]
    return explained(Gabor(size), filters.reshape(len(filters), -1), restarts)[1]


def spot_share(filters: Float[np.ndarray, "n h w"], restarts: int = 2) -> np.ndarray:
    """How much of each filter's variance two Gaussian spots about one centre explain."""
    size = filters.shape[1], filters.shape[2]
    return explained(Spots(size), filters.reshape(len(filters), -1), restarts)[1]


def better_than_spots(
    r2: Float[np.ndarray, " n"], spots: Float[np.ndarray, " n"], pixels: int
) -> Bool[np.ndarray, " n"]:
    """Whether a wave is needed: of two functions that are as free, the Gabor function is the
    likelier one by more than 10 of Akaike's units, below which both are in play (Burnham and
    Anderson 2002). What is left of either counts as a thousandth of the variance at least."""
    left, left_of_spots = 1 - r2 + 1e-3, 1 - spots + 1e-3
    better: np.ndarray = pixels * np.log(left_of_spots / left) > 10
    return better


@dataclass(frozen=True)
class _Window:
    """A window of h w pixels."""

    size: tuple[int, int]

    @cached_property
    def grid(self) -> Float[np.ndarray, "2 p"]:
        """x and y of the pixels."""
        h, w = self.size
        y, x = np.meshgrid((h - 1) / 2 - np.arange(h), np.arange(w) - (w - 1) / 2, indexing="ij")
        return np.stack([x.ravel(), y.ravel()])

    @property
    def side(self) -> int:
        return max(self.size)

    def turned(self, parameters: np.ndarray) -> tuple[np.ndarray, ...]:
        """u, v (n p) of all pixels; cosine and sine (n 1) of the angle."""
        x, y = self.grid[:, None] - parameters[:, :2].T[..., None]
        cos, sin = np.cos(parameters[:, 2:3]), np.sin(parameters[:, 2:3])
        return cos * x + sin * y, cos * y - sin * x, cos, sin

    def places(self) -> list[tuple[float, float]]:
        """Seven by seven centres, the outermost an eighth of the window from its edge."""
        h, w = self.size
        steps = np.linspace(-0.375, 0.375, 7)
        return [(float(x * w), float(y * h)) for x in steps for y in steps]


def turned_slopes(
    by_u: np.ndarray, by_v: np.ndarray, turned: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives by x and y of the centre and by the angle, from those by u and v."""
    u, v, cos, sin = turned
    return by_v * sin - by_u * cos, -by_u * sin - by_v * cos, by_u * v - by_v * u


class Gabor(_Window):
    """Waves of a Gabor function, even and odd; the parameters are x and y of the centre, the angle
    of the wave, and the logarithms of its frequency and of the window's two widths."""

    @cached_property
    def low(self) -> Float[np.ndarray, "6"]:
        h, w = self.size
        slowest = np.log(0.25 / self.side)
        return np.array([-w / 2, -h / 2, -np.inf, slowest, np.log(NARROWEST), np.log(NARROWEST)])

    @cached_property
    def high(self) -> Float[np.ndarray, "6"]:
        h, w = self.size
        widest = np.log(self.side)
        return np.array([w / 2, h / 2, np.inf, np.log(0.5), widest, widest])

    def waves(self, parameters: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 2 p"]:
        u, v, _, _ = self.turned(parameters)
        frequency, along, across = np.exp(parameters[:, 3:]).T[..., None]
        window = np.exp(-0.5 * (np.square(u / along) + np.square(v / across)))
        angle = 2 * np.pi * frequency * u
        return np.stack([window * np.cos(angle), window * np.sin(angle)], axis=1)

    def slopes(
        self,
        parameters: Float[np.ndarray, "n 6"],
        waves: Float[np.ndarray, "n 2 p"],
        coefficients: Float[np.ndarray, "n 2"],
    ) -> Float[np.ndarray, "n 6 p"]:
        turned = self.turned(parameters)
        u, v, _, _ = turned
        frequency, along, across = np.exp(parameters[:, 3:]).T[..., None]
        even, odd = coefficients[:, 0, None], coefficients[:, 1, None]
        value = even * waves[:, 0] + odd * waves[:, 1]
        turn = (odd * waves[:, 0] - even * waves[:, 1]) * (2 * np.pi * frequency)  # by angle / u
        narrow_u, narrow_v = value * u / along**2, value * v / across**2
        by_u, by_v = turn - narrow_u, -narrow_v
        own = [turn * u, narrow_u * u, narrow_v * v]
        return np.stack([*turned_slopes(by_u, by_v, turned), *own], axis=1)

    def starts(self) -> Float[np.ndarray, "c s 6"]:
        angles = np.arange(8) * np.pi / 8
        frequencies = np.log(np.geomspace(0.7 / self.side, 0.4, 5))
        widths = np.log(np.array([self.side / 8, self.side / 4]))
        return np.array(
            [
                [(x, y, angle, frequency, s, s) for s in widths for x, y in self.places()]
                for angle in angles
                for frequency in frequencies
            ]
        )


class Spots(_Window):
    """Two Gaussian spots about one centre: a blob, or a blob with a surround (a difference of
    Gaussians). As free as a Gabor function: x and y, an angle, and the logarithms of the larger
    spot's two widths and of the ratio of the smaller one to it."""

    @cached_property
    def low(self) -> Float[np.ndarray, "6"]:
        h, w = self.size
        narrow = np.log(NARROWEST)
        return np.array([-w / 2, -h / 2, -np.inf, narrow, narrow, np.log(0.1)])

    @cached_property
    def high(self) -> Float[np.ndarray, "6"]:
        h, w = self.size
        widest = np.log(self.side)
        return np.array([w / 2, h / 2, np.inf, widest, widest, np.log(0.95)])

    def waves(self, parameters: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 2 p"]:
        u, v, _, _ = self.turned(parameters)
        along, across, ratio = np.exp(parameters[:, 3:]).T[..., None]
        square = np.square(u / along) + np.square(v / across)
        return np.stack([np.exp(-0.5 * square), np.exp(-0.5 * square / ratio**2)], axis=1)

    def slopes(
        self,
        parameters: Float[np.ndarray, "n 6"],
        waves: Float[np.ndarray, "n 2 p"],
        coefficients: Float[np.ndarray, "n 2"],
    ) -> Float[np.ndarray, "n 6 p"]:
        turned = self.turned(parameters)
        u, v, _, _ = turned
        along, across, ratio = np.exp(parameters[:, 3:]).T[..., None]
        wide = coefficients[:, 0, None] * waves[:, 0]
        small = coefficients[:, 1, None] * waves[:, 1] / ratio**2
        by_u, by_v = -(wide + small) * u / along**2, -(wide + small) * v / across**2
        square = np.square(u / along) + np.square(v / across)
        own = [-by_u * u, -by_v * v, small * square]
        return np.stack([*turned_slopes(by_u, by_v, turned), *own], axis=1)

    def starts(self) -> Float[np.ndarray, "c s 6"]:
        widths = [(s, s * t) for s in (self.side / 10, self.side / 5) for t in (1.0, 2.0)]
        return np.array(
            [
                [(x, y, angle, np.log(a), np.log(b), np.log(0.6)) for x, y in self.places()]
                for angle in np.arange(4) * np.pi / 4
                for a, b in widths
            ]
        )
