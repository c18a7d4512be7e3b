"""What the networks that are no language models take of a sample."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from torch import Tensor
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from platorep.toyworld.sounds import NUM_SAMPLES, RATE

WINDOW, HOP = 256, 125  # samples: 64 ms of sound, 32 of them in a second
LOWEST_HZ = 20
FLOOR = 1e-3  # of the power that has a logarithm, below the noise
CENTER, SPREAD = -2.0, 2.5  # of that logarithm; makes inputs about 0, of a deviation below 1
SOUND_SHAPE = (1, 32, NUM_SAMPLES // HOP)


def pixel_input(pixels: UInt8[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
    """Pixel values as the saved networks' transform makes them: -1 .. 1."""
    return pixels.float() / 127.5 - 1


def as_channels(frames: UInt8[Tensor, "*n t h w 3"]) -> UInt8[Tensor, "*n tc h w"]:
    """The frames of a film one after the other in the place of colour channels."""
    return frames.movedim(-1, -3).flatten(-4, -3).contiguous()


def to_waveform(samples: Int16[np.ndarray, " s"]) -> Float[Tensor, " s"]:
    """Samples of a sound as decoders of WAV files give them: -1 .. 1."""
    return torch.from_numpy(samples).float() / 2**15


def sound_input(waveform: Float[Tensor, " s"]) -> Float[Tensor, "1 b t"]:
    """Log power of a second of sound, `RATE` samples of -1 .. 1, in 32 mel bands by 32 windows.

    What is longer is cut at its end, what is shorter goes on in silence.
    """
    second = F.pad(waveform[:NUM_SAMPLES], (0, max(0, NUM_SAMPLES - len(waveform))))
    bands = mel_bands(WINDOW, SOUND_SHAPE[1], LOWEST_HZ, RATE)
    return ((log_mel(second, bands, WINDOW, HOP) - CENTER) / SPREAD)[None]


def log_mel(
    waveform: Float[Tensor, " s"], bands: Float[Tensor, "b f"], window: int, hop: int
) -> Float[Tensor, "b t"]:
    """Log of the power, and of `FLOOR`, in each mel band and window (of Hann) of a sound.

    The samples are at least as many as a window has; t is their number divided by `hop`.
    """
    waves = torch.stft(waveform, window, hop, window=torch.hann_window(window), return_complex=True)
    power = waves[:, : len(waveform) // hop].abs().square()
    return (bands @ power + FLOOR).log()


@lru_cache
def mel_bands(window: int, num: int, lowest_hz: int, rate: int) -> Float[Tensor, "b f"]:
    """The share of each frequency of a window's spectrum in each of `num` mel bands."""
    bands = mel_filter_bank(window // 2 + 1, num, lowest_hz, rate / 2, rate, mel_scale="htk")
    return torch.from_numpy(bands).float().T.contiguous()
