"""Small encoded sounds and films for tests. Imports nothing of platorep."""

import struct
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import soundfile


def tone(hertz: float, *, rate: int = 16_000, seconds: float = 0.5, loud: float = 0.5) -> Any:
    times = np.arange(round(rate * seconds)) / rate
    return (loud * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def sound(waveform: Any, *, rate: int = 16_000, form: str = "WAV", **options: Any) -> bytes:
    stream = BytesIO()
    soundfile.write(stream, waveform, rate, format=form, **options)
    return stream.getvalue()


def wav_header(*, rate: int, channels: int, size: int) -> bytes:
    """16-bit PCM, up to where the samples begin."""
    layout = struct.pack("<IHHIIHH", 16, 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    body = b"WAVE" + b"fmt " + layout + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (len(body) + size) % 2**32) + body


def drifting(num: int = 12, *, height: int = 32, width: int = 48) -> np.ndarray:
    """Frames of a square that moves to the right, each with another ground. num h w 3"""
    frames = np.empty((num, height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[:] = (20 * i % 256, 90, 200 - 10 * i % 200)
        frame[8:24, 2 * i : 2 * i + 16] = 255
    return frames


ENCODERS = {
    "mp4": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "mov": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "gif": ("gif", "rgb8"),
}


def film(
    frames: np.ndarray,
    form: str = "mp4",
    *,
    rate: Any = 10,
    codec: str = "",
    options: dict[str, str] | None = None,
) -> bytes:
    encoder, pixels = ENCODERS[form]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"film.{form}"
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec or encoder, rate=rate)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixels
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()


def turned(mp4: bytes, degrees: int) -> bytes:
    """A film whose track says that it is to be shown turned counterclockwise."""
    cosine, sine = {90: (0, 1), -90: (0, -1), 180: (-1, 0)}[degrees]
    matrix = [cosine, -sine, 0, sine, cosine, 0, 0, 0]
    words = b"".join((65536 * entry).to_bytes(4, signed=True) for entry in matrix)
    at = mp4.index(b"tkhd") + 44
    assert mp4[at : at + 4] == (65536).to_bytes(4), "the matrix of a film that is not turned"
    return mp4[:at] + words + mp4[at + 32 :]
