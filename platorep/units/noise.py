"""What a fit makes of noise: how much of it a Gabor function explains by chance.

White noise is no match for a filter: whatever is smooth is explained better than that, a Gabor
function or not. So each filter is held against noise that is exactly as smooth as it is, in no
direction and at no place in particular, but where the filters of its bank lie at all: receptive
fields all lie in the middle, and noise that fades towards the edge is a little like a Gabor
function. Axes: n filters, h and w pixels, m noises.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.fft import dctn

from platorep.units.gabor import gabor_share

FIRST = 20  # noises of every filter; the rest only where these leave it open
HOPELESS = 4  # of them that reach the filter
ROUNDS = 30  # of the iteration
SEEN = 200  # draws of each ring


def white_share(size: tuple[int, int], num: int, restarts: int, seed: int) -> np.ndarray:
    """How much of `num` pictures of white noise Gabor functions explain."""
    noise = np.random.default_rng(seed).standard_normal((num, *size))
    return gabor_share(noise, restarts)


def envelope(filters: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "h w"]:
    """Root mean square of the filters of a bank at each pixel, the same from all sides; 1 at
    its highest, and never less than a twentieth."""
    centred = filters - filters.mean((1, 2), keepdims=True)
    squares = np.square(centred).sum((1, 2), keepdims=True)
    mean = (np.square(centred) / np.where(squares > 0, squares, 1)).mean(0)
    mean = (mean + mean[::-1]) / 2
    mean = (mean + mean[:, ::-1]) / 2
    if mean.shape[0] == mean.shape[1]:
        mean = (mean + mean.T) / 2
    found: np.ndarray = np.sqrt(mean)
    raised: np.ndarray = np.maximum(found / (found.max() or 1.0), 0.05)
    return raised


@dataclass(frozen=True)
class SmoothNoise:
    """Stationary Gaussian noise without a direction, seen where the filters of a bank lie.

    Made on a field twice as wide, as a sum of rings of frequency, and cut to the window: what it
    does at the window's edge is what noise does there. Each filter's rings have the power with
    which the noise, cut and faded by `envelope`, has the filter's own power in every ring of the
    window's cosine transform, by Richardson's and Lucy's iteration.
    """

    where: Float[np.ndarray, "h w"]
    """The envelope of the bank."""

    def powers(self, filters: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n r"]:
        """Of the noise of each filter, in every ring of the field."""
        seen = self._response
        wanted = self._seen(filters[None])[0]
        found: np.ndarray = np.ones((len(filters), len(seen)))
        for _ in range(ROUNDS):
            ratio = wanted / np.maximum(found @ seen, 1e-30 + 1e-9 * wanted.max(1, keepdims=True))
            found = found * (ratio @ seen.T) / np.maximum(seen.sum(1), 1e-30)
        return found

    def draw(
        self, powers: Float[np.ndarray, "n r"], num: int, random: np.random.Generator
    ) -> Float[np.ndarray, "m n h w"]:
        h, w = self.where.shape
        noise = np.fft.fft2(random.standard_normal((num, len(powers), 2 * h, 2 * w)))
        gain = np.sqrt(powers)[:, self._rings].reshape(len(powers), 2 * h, 2 * w)
        found: np.ndarray = np.fft.ifft2(noise * gain).real[..., :h, :w] * self.where
        return found

    @cached_property
    def _rings(self) -> Int[np.ndarray, " p"]:
        """The ring of each frequency of the field, half a cycle of the window wide."""
        h, w = self.where.shape
        radius = np.hypot(np.fft.fftfreq(2 * h)[:, None], np.fft.fftfreq(2 * w))
        rings: np.ndarray = np.rint(radius * 2 * max(h, w)).astype(np.intp).ravel()
        return rings

    @cached_property
    def _response(self) -> Float[np.ndarray, "r s"]:
        """Mean power seen in each ring of the window, of noise in one ring of the field."""
        each = np.eye(self._rings.max() + 1)
        noise = self.draw(each, SEEN, np.random.default_rng(0))
        mean: np.ndarray = self._seen(noise).mean(0)
        return mean

    def _seen(self, pictures: Float[np.ndarray, "m n h w"]) -> Float[np.ndarray, "m n s"]:
        """Power in each ring of the window's cosine transform; the mean is no ring."""
        h, w = self.where.shape
        power = np.square(dctn(pictures, axes=(2, 3), norm="ortho"))
        radius = max(h, w) * np.hypot(np.arange(h)[:, None] / h, np.arange(w) / w)
        rings = np.rint(radius).astype(np.intp).ravel()
        member = np.eye(rings.max() + 1)[rings][:, 1:]
        seen: np.ndarray = power.reshape(*power.shape[:2], -1) @ member
        return seen


def smooth_null(
    filters: Float[np.ndarray, "n h w"],
    r2: Float[np.ndarray, " n"],
    num: int,
    restarts: int,
    seed: int,
    alpha: float,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Whether noise as smooth as a filter is explained as well.

    Where `HOPELESS` of the first `FIRST` noises reach the filter, no more are made (Besag and
    Clifford 1991): such a p-value is coarser, and far above any level.

    Returns:
        p: (1 + noises that reach the filter) / (1 + noises); NaN where `r2` is.
        threshold: what 1 - alpha of its noises stay below.
    """
    random = np.random.default_rng(seed)
    noises = SmoothNoise(envelope(filters))
    powers = noises.powers(filters)
    p, threshold = np.full(len(r2), np.nan), np.full(len(r2), np.nan)
    rows = np.flatnonzero(np.isfinite(r2))
    found = np.empty((0, len(rows)))
    for count in (min(FIRST, num), num - min(FIRST, num)):
        if not (count and len(rows)):
            break
        noise = noises.draw(powers[rows], count, random)
        new = gabor_share(noise.reshape(-1, *filters.shape[1:]), restarts)
        found = np.concatenate([found, new.reshape(count, -1)])
        reach = (found >= r2[rows]).sum(0)
        p[rows] = (1 + reach) / (1 + len(found))
        threshold[rows] = np.quantile(found, 1 - alpha, axis=0, method="higher")
        going = reach < HOPELESS
        rows, found = rows[going], found[:, going]
    return p, threshold
