"""What a fit makes of noise: how much of it a Gabor function explains by chance.

White noise is no match for a filter: whatever is smooth is explained better than that, a Gabor
function or not. So each filter is held against noise that is exactly as smooth as it is, in no
direction and at no place in particular. Axes: n filters, h and w pixels, m noises.
"""

import numpy as np
from jaxtyping import Float
from scipy.fft import dctn, idctn

from platorep.units.gabor import gabor_share

FIRST = 20  # noises of every filter; the rest only where these leave it open
HOPELESS = 4  # of them that reach the filter


def white_share(size: tuple[int, int], num: int, restarts: int, seed: int) -> np.ndarray:
    """How much of `num` pictures of white noise Gabor functions explain."""
    noise = np.random.default_rng(seed).standard_normal((num, *size))
    return gabor_share(noise, restarts)


def as_smooth(
    filters: Float[np.ndarray, "n h w"], num: int, random: np.random.Generator
) -> Float[np.ndarray, "m n h w"]:
    """Noise with each filter's own power at every spatial frequency, shared out at random among
    directions and places.

    Frequencies are those of the cosine transform, which a filter that is cut off at the window's
    edge does not disturb, in rings one cycle wide. Noise without a direction is like its own
    copies, so that a rank among them is a p-value.
    """
    h, w = filters.shape[1:]
    power = np.square(dctn(filters, axes=(1, 2), norm="ortho")).reshape(len(filters), -1)
    radius = max(h, w) * np.hypot(np.arange(h)[:, None] / h, np.arange(w) / w)
    rings = np.rint(radius).astype(np.intp).ravel()
    ring = np.eye(rings.max() + 1)[rings]  # pixels, rings
    ring[0, 0] = 0  # the mean is no frequency, and every fit has an offset
    counts = np.maximum(ring.sum(0), 1)
    middle = (radius.ravel() @ ring) / counts
    level = np.log((power @ ring) / counts + 1e-12 * power.sum(1, keepdims=True) + 1e-300)
    steep = np.array([np.interp(radius.ravel(), middle[1:], row[1:]) for row in level])
    noise = random.standard_normal((num, len(filters), h * w)) * np.exp(steep / 2)
    gain = np.sqrt((power @ ring) / np.maximum(np.square(noise) @ ring, 1e-30))
    shaped = (noise * (gain @ ring.T)).reshape(num, len(filters), h, w)
    found: np.ndarray = idctn(shaped, axes=(2, 3), norm="ortho")
    return found


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
    p, threshold = np.full(len(r2), np.nan), np.full(len(r2), np.nan)
    rows = np.flatnonzero(np.isfinite(r2))
    found = np.empty((0, len(rows)))
    for count in (min(FIRST, num), num - min(FIRST, num)):
        if not (count and len(rows)):
            break
        noise = as_smooth(filters[rows], count, random)
        new = gabor_share(noise.reshape(-1, *filters.shape[1:]), restarts)
        found = np.concatenate([found, new.reshape(count, -1)])
        reach = (found >= r2[rows]).sum(0)
        p[rows] = (1 + reach) / (1 + len(found))
        threshold[rows] = np.quantile(found, 1 - alpha, axis=0, method="higher")
        going = reach < HOPELESS
        rows, found = rows[going], found[:, going]
    return p, threshold
