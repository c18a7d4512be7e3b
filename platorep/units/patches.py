"""Patches of images, whitened, for networks that learn what images are made of.

Axes: n patches, h and w pixels of an image, s pixels per side of a patch; three channels: luminance
(whitened), and two of color, yellow against blue and red against green.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

VERSION = 1  # raise when the same images give other patches
CUTOFF = 0.4
"""Cycles per pixel above which whitening falls off: 200 cycles in 512 pixels, as the source has."""
TOP = 0.75
"""Above the highest frequency of a grid of pixels, at its corners: 0.71."""
RINGS = 48
FLOOR = 0.1
"""Share of the patches' variance that is added to each one's own before contrast is divided out."""
MARGIN = 2
"""Pixels that a patch has on each side of a filter, so that filters may be shifted."""
BORDER = 4
"""Pixels at the edge of an image that no patch touches: whitening sees beyond the edge there."""


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Patches, and where each comes from."""

    pixels: Float32[np.ndarray, "n 3 s s"]
    image: Int[np.ndarray, " n"]
    """Number of the image, from 0."""


def opponent(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 h w"]:
    """Luminance, yellow against blue, red against green, each in units of the 8-bit scale."""
    red, green, blue = image.astype(np.float64).transpose(2, 0, 1)
    return np.stack([(red + green + blue) / 3, (red + green) / 2 - blue, red - green])


def mean_spectrum(images: Iterable[Float[np.ndarray, "_ _"]]) -> Float[np.ndarray, " f"]:
    """Mean amplitude of images in `RINGS` rings of frequency, from 0 to `TOP` cycles per pixel."""
    power: list[np.ndarray] = []
    for image in images:
        centred = image - image.mean()
        frequency, transformed = _transform(centred)
        ring = np.minimum((frequency * (RINGS / TOP)).astype(int), RINGS - 1)
        density = np.abs(transformed) ** 2 / centred.size
        counts = np.bincount(ring.ravel(), minlength=RINGS)
        summed = np.bincount(ring.ravel(), density.ravel(), minlength=RINGS)
        power.append(summed / np.maximum(counts, 1))
    amplitude: np.ndarray = np.sqrt(np.mean(power, axis=0))
    return amplitude


def whitened(
    grey: Float[np.ndarray, "h w"], spectrum: Float[np.ndarray, " f"], cutoff: float = CUTOFF
) -> Float[np.ndarray, "h w"]:
    """An image of a world whose power is then the same at all frequencies up to a cut-off.

    The amplitude at frequency f (cycles per pixel) is divided by the world's own (`spectrum`), and
    multiplied by exp(-(f / cutoff)^4), which keeps the noise in the corners small. Source:
    Olshausen, Field 1997 (Vision Research 37:3311). Deviations: they multiply by f, as if the
    amplitude of every world fell as 1 / f; the image is mirrored at its edges first, since the
    Fourier transform would join its left to its right.
    """
    frequency, transformed = _transform(grey - grey.mean())
    middles = (np.arange(RINGS) + 0.5) * (TOP / RINGS)
    least = spectrum.max() * 1e-6  # a world of one grey has no amplitude to divide by
    gain = np.exp(-((frequency / cutoff) ** 4)) / np.interp(frequency, middles, spectrum + least)
    height, width = grey.shape
    filtered = np.fft.irfft2(transformed * gain, s=(2 * height, 2 * width))
    return filtered[:height, :width] if least else np.zeros_like(grey)


def _transform(grey: Float[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in cycles per pixel, and the transform of an image with its mirror images."""
    height, width = grey.shape
    mirrored = np.concatenate([grey, grey[::-1]])
    mirrored = np.concatenate([mirrored, mirrored[:, ::-1]], axis=1)
    frequency = np.hypot(np.fft.fftfreq(2 * height)[:, None], np.fft.rfftfreq(2 * width))
    return frequency, np.fft.rfft2(mirrored)


def shuffled_pixels(image: UInt8[np.ndarray, "h w 3"], seed: int) -> UInt8[np.ndarray, "h w 3"]:
    """White noise of the very pixels of an image: they are all there, each at a random place."""
    flat = image.reshape(-1, 3)
    return np.random.default_rng(seed).permutation(flat).reshape(image.shape)


def cut_patches(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], per_image: int, side: int, seed: int
) -> Patches:
    """`per_image` patches of each image at random places, and the number of their image.

    Luminance is whitened on the whole image, by the mean spectrum of all. All three channels are
    scaled to variance 1 over all patches, and the mean of each patch's luminance is removed.

    Raises:
        ValueError: an image is smaller than a patch with its border.
    """
    found: list[np.ndarray] = []
    spectrum = mean_spectrum(opponent(image)[0] for image in images)
    for number, image in enumerate(images):
        height, width = (length - side - 2 * BORDER + 1 for length in image.shape[:2])
        if min(height, width) < 1:
            raise ValueError(
                f"image {number} has {image.shape[1]} x {image.shape[0]} pixels, and a patch with "
                f"its border {side + 2 * BORDER}"
            )
        rng = np.random.default_rng([seed, number])
        top, left = (rng.integers(end, size=per_image) + BORDER for end in (height, width))
        channels = opponent(image)
        channels[0] = whitened(channels[0], spectrum)
        windows = np.lib.stride_tricks.sliding_window_view(channels, (side, side), axis=(1, 2))
        found.append(windows[:, top, left].swapaxes(0, 1).astype(np.float32))
    pixels = np.concatenate(found)
    pixels[:, 0] -= pixels[:, 0].mean((1, 2), keepdims=True)
    deviation = pixels.std((0, 2, 3), keepdims=True)
    pixels /= np.where(deviation > 0, deviation, 1)
    return Patches(pixels=pixels, image=np.repeat(np.arange(len(found)), per_image))
