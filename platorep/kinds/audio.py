"""Sound: encoded bytes (wav, flac, ogg, mp3) -> one channel of samples, or why not.

Axes: n samples of a waveform. Mono is the mean of the channels.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Float32

from platorep.errors import AbsentError, DataError
from platorep.kinds.draws import bell
from platorep.kinds.ends import cut_ogg, cut_wav
from platorep.kinds.kind import Kind
from platorep.kinds.pictures import spectrogram
from platorep.parameters.views import Noise, Reverse

FORMATS = ("WAV", "FLAC", "OGG", "MP3")
"""What is opened, told by the first bytes, whatever a file is called. libsndfile knows twenty more,
which hardly anybody has read the code of."""
MIN_RATE, MAX_RATE = 1_000, 768_000
"""Samples per second. Below, a file has no voice in it; above, no recorder."""
MAX_CHANNELS = 32
MAX_SAMPLES = 2**26
"""Of all channels together: 70 minutes of one channel at 16 kHz, 256 MiB once decoded."""
MAX_COEFFICIENTS = 2**22
"""Of the filter that changes a rate: reached only by two large rates without a common factor."""
_AT_ONCE = 2**18
_UNKNOWN = 2**63 - 1  # libsndfile's word for it
_CUT = {"WAV": cut_wav, "OGG": cut_ogg}


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording of one channel."""

    waveform: Float32[np.ndarray, " n"]
    """1 is full scale; formats of floats may exceed it."""
    rate: int
    """Samples per second."""

    @property
    def seconds(self) -> float:
        return len(self.waveform) / self.rate


def decode_audio(encoded: bytes) -> Sound:
    """Decode fully and average the channels; the rate stays as it is.

    Raises:
        DataError: the bytes are no complete file of one of `FORMATS`, exceed a limit above, or hold
            no sound: no sample, samples that are not finite, or one value throughout.
        AbsentError: soundfile is not installed.
    """
    form = _format(encoded)
    if cut := _CUT[form](encoded) if form in _CUT else "":
        raise DataError(f"the sound is cut short ({form}, {len(encoded)} bytes): {cut}")
    library = _soundfile()
    try:
        with library.SoundFile(BytesIO(encoded)) as file:
            _refuse(file)
            sound = Sound(_mono(file), file.samplerate)
    except DataError:
        raise
    except Exception as error:  # libsndfile's own, and what a wrong header makes of its wrapper
        raise DataError(
            f"the sound does not decode ({form}, {len(encoded)} bytes): {error}"
        ) from error
    _refuse_silence(sound.waveform)
    return sound


def resampled(sound: Sound, rate: int) -> Sound:
    """The sound at another rate: as long in seconds, and nothing of what the new rate cannot hold.

    A windowed sinc of 64 zero crossings that ends at 95 % of the lower rate's Nyquist frequency
    (Kaiser window with beta 14.8, the "kaiser best" of resampy and torchaudio).

    Raises:
        DataError: the rates have no common factor and are so large that the filter gets too long.
    """
    if rate == sound.rate:
        return sound
    from scipy.signal import resample_poly  # a second, and few need it

    common = math.gcd(rate, sound.rate)
    up, down = rate // common, sound.rate // common
    half = 64 * max(up, down)
    if 2 * half + 1 > MAX_COEFFICIENTS:
        raise DataError(
            f"a sound of {sound.rate} Hz cannot be brought to {rate} Hz: the rates have no common "
            "factor that is large enough. Resample its file to a usual rate"
        )
    waveform = sound.waveform.astype(np.float64)
    changed = resample_poly(waveform, up, down, window=_low_pass(max(up, down)))
    return Sound(changed.astype(np.float32), rate)


@lru_cache(maxsize=4)
def _low_pass(factor: int) -> Any:
    """The filter of `resampled`, made once for all the sounds of one rate."""
    from scipy.signal import firwin

    half, end = 64 * factor, 0.9475 / factor
    return firwin(2 * half + 1, end, window=("kaiser", 14.769656459379492))


def reverse(sound: Sound) -> Sound:
    """The sound from its end to its beginning: the same spectrum, no words."""
    return Sound(sound.waveform[::-1].copy(), sound.rate)


def noise(sound: Sound, snr_db: float, seed: int) -> Sound:
    """The sound with white noise, whose expected power is `snr_db` below that of the sound.

    The values follow a bell (`draws.bell`), and no order of summation moves them.
    """
    number = len(sound.waveform)
    blocks = (sound.waveform[i : i + _AT_ONCE] for i in range(0, number, _AT_ONCE))
    squares = chain.from_iterable(np.square(block, dtype=np.float64) for block in blocks)
    power = math.fsum(squares) / number
    strength = np.float32(math.sqrt(power) * 10 ** (-snr_db / 20))  # 24 bits: alike everywhere
    values = bell(seed, number)  # in place: an hour is half a gigabyte
    values *= np.float64(strength)
    values += sound.waveform
    return Sound(values.astype(np.float32), sound.rate)


def same(a: Sound, b: Sound) -> bool:
    """Whether two sounds are equal, sample by sample."""
    return a.rate == b.rate and np.array_equal(a.waveform, b.waveform)


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: it is there without libsndfile
        raise AbsentError(
            "sound is decoded by the package soundfile, which is not installed here "
            f"({error}). Run `pip install 'platorep[audio]'`, or leave out the view of kind audio."
        ) from error
    return soundfile


def _format(encoded: bytes) -> str:
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WAVE":
        return "WAV"
    if encoded[:4] == b"fLaC":
        return "FLAC"
    if encoded[:4] == b"OggS":
        return "OGG"
    is_mp3_frame = len(encoded) > 1 and encoded[0] == 0xFF and encoded[1] & 0xE6 == 0xE2
    if encoded[:3] == b"ID3" or is_mp3_frame:
        return "MP3"
    raise DataError(
        f"the sound ({len(encoded)} bytes) is in none of the formats that are read: "
        f"{', '.join(FORMATS)}"
    )


def _refuse(file: Any) -> None:
    if file.channels > MAX_CHANNELS:
        raise DataError(f"the sound has {file.channels} channels; at most {MAX_CHANNELS} are read")
    if not MIN_RATE <= file.samplerate <= MAX_RATE:
        raise DataError(
            f"the sound has a rate of {file.samplerate} Hz, expected {MIN_RATE} to {MAX_RATE}"
        )
    if file.frames == _UNKNOWN:
        raise DataError(
            f"the sound ({file.format}) does not say how many samples it has, as a recording that "
            "was streamed. Encode its file anew"
        )
    if file.frames * file.channels > MAX_SAMPLES:
        raise DataError(
            f"the sound has {file.frames} samples in each of {file.channels} channels "
            f"({file.frames / file.samplerate / 3600:.1f} hours at {file.samplerate} Hz); at most "
            f"{MAX_SAMPLES} samples are read. Cut it into pieces"
        )


def _mono(file: Any) -> Float32[np.ndarray, " n"]:
    blocks: list[np.ndarray] = []
    number = 0
    while len(block := file.read(_AT_ONCE // file.channels, dtype="float32", always_2d=True)):
        number += len(block)
        blocks.append(block.mean(axis=1, dtype=np.float64).astype(np.float32))
    if number < file.frames:
        raise DataError(
            f"the sound is cut short ({file.format}): its header promises {file.frames} samples, "
            f"{number} are there"
        )
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _refuse_silence(waveform: Float32[np.ndarray, " n"]) -> None:
    if not len(waveform):
        raise DataError("there is no sound: the file has 0 samples")
    if not np.isfinite(waveform).all():
        raise DataError("the sound has samples that are not finite (NaN or infinite)")
    if (waveform == waveform[0]).all():
        raise DataError(
            f"there is no sound: each of its {len(waveform)} samples is {waveform[0]:g}, which is "
            "silence"
        )


AUDIO = Kind(
    name="audio",
    endings=("wav", "flac", "ogg", "mp3"),
    in_files=True,
    decode=decode_audio,
    same=same,
    changes={
        Reverse: lambda sound, change, seed: reverse(sound),
        Noise: lambda sound, change, seed: noise(sound, change.snr_db, seed),
    },
    shows=lambda sound: spectrogram(sound.waveform),
    package="soundfile",
)
