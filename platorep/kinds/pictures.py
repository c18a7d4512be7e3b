"""Pictures of what is no image, small and in shades of grey, for people to tell samples apart.

Axes: n samples of a waveform, t windows, f bands.
"""

import numpy as np
from jaxtyping import Float32
from PIL import Image

WIDE, HIGH = 112, 56
"""Pixels of a spectrogram; the width of any other picture here."""
WINDOW = 1024
"""Samples."""
RANGE_DB = 70.0
"""What is quieter than the loudest by more than this is white."""


def spectrogram(waveform: Float32[np.ndarray, " n"]) -> Image.Image:
    """Time from left to right, low tones at the bottom and each octave as high, loud is dark."""
    padded = np.pad(waveform, (0, max(0, WINDOW - len(waveform))))
    starts = np.linspace(0, len(padded) - WINDOW, WIDE).astype(int)
    windows = padded[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.square(np.abs(np.fft.rfft(windows)))  # t f
    first = np.geomspace(1, power.shape[1], HIGH + 1)[:-1].astype(int)
    bands = np.maximum.reduceat(power, first, axis=1).T[::-1]
    decibel = 10 * np.log10(bands / max(bands.max(), 1e-30) + 1e-30)
    grey = 255 * np.clip(-decibel / RANGE_DB, 0, 1)
    return Image.fromarray(grey.astype(np.uint8))


def heat(array: Float32[np.ndarray, "..."]) -> Image.Image:
    """The last axis from left to right, all others downwards; the smallest is white."""
    rows = np.atleast_2d(array).reshape(-1, array.shape[-1])
    low, high = float(rows.min()), float(rows.max())
    spread = (rows - low) / (high - low) if high > low else np.full(rows.shape, 0.5)
    height = min(max(WIDE // 8, WIDE * len(rows) // rows.shape[1]), WIDE)
    grey = Image.fromarray((255 * (1 - spread)).astype(np.float32))
    method = Image.Resampling.BOX if rows.shape[1] > WIDE else Image.Resampling.NEAREST
    return grey.resize((WIDE, height), method).convert("L")
