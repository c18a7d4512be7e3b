"""Every kind of encoded sound becomes one channel of samples, or a named error."""

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from media import sound, tone, wav_header

from platorep.errors import DataError
from platorep.kinds.audio import (
    MAX_CHANNELS,
    MAX_SAMPLES,
    Sound,
    decode_audio,
    noise,
    resampled,
    reverse,
    same,
)
from platorep.kinds.draws import bell, below, order

TONE = tone(440.0)
CODED = {form: sound(TONE, form=form) for form in ("WAV", "FLAC", "OGG", "MP3")}
HOURS = wav_header(rate=16_000, channels=1, size=2**32 - 2)


def peak(found: Sound) -> float:
    """The frequency with the most power."""
    spectrum = np.abs(np.fft.rfft(found.waveform * np.hanning(len(found.waveform))))
    return float(spectrum.argmax() * found.rate / len(found.waveform))


@pytest.mark.parametrize(("form", "error"), [("WAV", 4e-5), ("FLAC", 4e-5), ("OGG", 0.05)])
def test_formats_of_the_list(form: str, error: float) -> None:
    found = decode_audio(CODED[form])
    assert (found.rate, len(found.waveform)) == (16_000, len(TONE))
    assert found.waveform.dtype == np.float32
    assert np.abs(found.waveform - TONE).max() < error


def test_mp3() -> None:
    """The encoder shifts and smooths; the tone stays."""
    found = decode_audio(CODED["MP3"])
    assert found.seconds == pytest.approx(0.5, abs=0.1)
    assert peak(found) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_sample_formats(subtype: str) -> None:
    found = decode_audio(sound(TONE, subtype=subtype))
    assert np.abs(found.waveform - TONE).max() < 4e-5


def test_mono_is_the_mean_of_the_channels() -> None:
    channels = np.stack([TONE, 0 * TONE, tone(880.0), 0 * TONE], axis=1)
    found = decode_audio(sound(channels, subtype="FLOAT"))
    assert np.abs(found.waveform - channels.mean(axis=1)).max() < 1e-7


def test_a_stream_of_unknown_length_is_read_to_its_end() -> None:
    """As programs write that cannot go back to the header."""
    whole = CODED["WAV"]
    start = whole.index(b"data")
    streamed = whole[:4] + b"\xff" * 4 + whole[8 : start + 4] + b"\xff" * 4 + whole[start + 8 :]
    assert len(streamed) == len(whole)
    assert same(decode_audio(streamed), decode_audio(CODED["WAV"]))


def with_nan(value: float) -> bytes:
    waveform = TONE.copy()
    waveform[100] = value
    return sound(waveform, subtype="FLOAT")


def flac_of_unknown_length() -> bytes:
    """The header's count of samples is 0, which stands for any."""
    content = bytearray(CODED["FLAC"])
    content[21] &= 0xF0
    content[22:26] = b"\0\0\0\0"
    return bytes(content)


def flac_of_hours() -> bytes:
    content = bytearray(CODED["FLAC"])
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"
    return bytes(content)


DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "none of the formats"),
    "text": (b"not a sound at all", "none of the formats"),
    "another container": (b"RIFF\x04\0\0\0AVI ", "none of the formats"),
    "AIFF": (sound(TONE, form="AIFF"), "none of the formats"),
    "AU": (sound(TONE, form="AU"), "none of the formats"),
    "half a WAV": (CODED["WAV"][:8000], "cut short"),
    "a WAV but for its last byte": (CODED["WAV"][:-1], "cut short"),
    "half a FLAC": (CODED["FLAC"][:2000], "cut short|does not decode"),
    "the end of a FLAC is missing": (CODED["FLAC"][:-20], "cut short|does not decode"),
    "half an OGG": (CODED["OGG"][: len(CODED["OGG"]) // 2], "cut short"),
    "the last byte of an OGG is missing": (CODED["OGG"][:-1], "cut short"),
    "half an MP3": (CODED["MP3"][: len(CODED["MP3"]) // 2], "cut short"),
    "the header of a WAV": (CODED["WAV"][:30], "no chunk of samples"),
    "a header without samples": (wav_header(rate=16_000, channels=1, size=0), "0 samples"),
    "noise behind the right first bytes": (b"fLaC" + bytes(range(256)) * 4, "does not decode"),
    "silence": (sound(0 * TONE), "silence"),
    "one value throughout": (sound(0 * TONE + 0.5), "silence"),
    "silence as the mean": (sound(np.stack([TONE, -TONE], 1), subtype="FLOAT"), "silence"),
    "NaN": (with_nan(np.nan), "not finite"),
    "infinite": (with_nan(np.inf), "not finite"),
    "1 Hz": (sound(TONE, rate=1), "rate of 1 Hz"),
    "2 GHz": (sound(TONE, rate=2_000_000_000), "rate of 2000000000 Hz"),
    "too many channels": (sound(np.tile(TONE[:, None], 33)), f"33 channels.*{MAX_CHANNELS}"),
    "a header of hours": (HOURS + bytes(100), "cut short"),
    "a FLAC that was streamed": (flac_of_unknown_length(), "does not say how many samples"),
    "an OGG that ends with a whole page": (
        CODED["OGG"][: CODED["OGG"].rindex(b"OggS")],
        "not marked as the end",
    ),
    "a FLAC header of hours": (flac_of_hours(), r"hours at 16000 Hz\); at most"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name: str) -> None:
    content, message = DAMAGED[name]
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(DataError, match=message):
        decode_audio(content)
    seconds, memory = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1
    assert memory < 2**24


@pytest.mark.parametrize("form", CODED)
def test_no_cut_is_taken_for_the_whole(form: str) -> None:
    content = CODED[form]
    for length in range(1, len(content), max(1, len(content) // 60)):
        with pytest.raises(DataError):
            decode_audio(content[:length])


@pytest.mark.parametrize("form", CODED)
def test_changed_bytes_decode_or_are_refused(form: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        content = bytearray(CODED[form])
        for place in rng.integers(0, 300, 3):
            content[place] = rng.integers(256)
        try:
            found = decode_audio(bytes(content))
        except DataError:
            continue
        assert np.isfinite(found.waveform).all()


def test_more_samples_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platorep.kinds.audio.MAX_SAMPLES", len(TONE) - 1)
    for form in ("WAV", "FLAC", "OGG"):
        with pytest.raises(DataError, match=f"at most {len(TONE) - 1} samples"):
            decode_audio(CODED[form])
    assert MAX_SAMPLES == 2**26


@pytest.mark.parametrize(("old", "new"), [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000)])
def test_resampling_keeps_a_tone(old: int, new: int) -> None:
    """Against the same tone, sampled at the new rate from its formula; away from the ends."""
    found = resampled(Sound(tone(1000.0, rate=old), old), new)
    expected = tone(1000.0, rate=new)
    assert (found.rate, len(found.waveform)) == (new, len(expected))
    assert np.abs(found.waveform - expected)[500:-500].max() < 1e-4


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    """9 kHz at 16 kHz would come back as 7 kHz."""
    found = resampled(Sound(tone(9_000.0, rate=48_000), 48_000), 16_000)
    assert np.abs(found.waveform)[500:-500].max() < 1e-4 * 0.5
    kept = resampled(Sound(tone(7_000.0, rate=48_000), 48_000), 16_000)
    assert np.abs(kept.waveform)[500:-500].max() == pytest.approx(0.5, rel=1e-2)


def test_the_same_rate_is_left_alone() -> None:
    whole = Sound(TONE, 16_000)
    assert resampled(whole, 16_000) is whole


def test_rates_that_need_an_endless_filter() -> None:
    with pytest.raises(DataError, match="767999 Hz cannot be brought to 16000 Hz"):
        resampled(Sound(TONE, 767_999), 16_000)


def test_reverse_by_hand() -> None:
    short = Sound(np.array([1, 2, 3], np.float32), 8000)
    assert reverse(short).waveform.tolist() == [3, 2, 1]
    assert same(reverse(reverse(short)), short)
    assert not same(reverse(short), short)


def test_noise_has_the_power_that_was_asked_for() -> None:
    whole = Sound(tone(440.0, seconds=4), 16_000)
    for snr_db in (-10.0, 0.0, 20.0):
        added = noise(whole, snr_db, seed=3).waveform - whole.waveform
        ratio = 10 * np.log10((whole.waveform**2).mean() / (added**2).mean())
        assert ratio == pytest.approx(snr_db, abs=0.1)
    one, other = noise(whole, 0.0, seed=3), noise(whole, 0.0, seed=4)
    assert same(one, noise(whole, 0.0, seed=3))
    assert not same(one, other)
    assert abs(np.corrcoef(one.waveform - whole.waveform, whole.waveform)[0, 1]) < 0.02


def test_the_bell_is_one() -> None:
    values = bell(7, 200_000)
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)
    assert np.mean(values**4) == pytest.approx(3 - 1.2 / 8, abs=0.05)  # Irwin-Hall of 8
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01
    assert (bell(7, 300_000)[:200_000] == values).all()  # whatever the number, in whatever blocks


def test_draws_are_the_same_everywhere() -> None:
    """Frozen: features of changed views lie in caches under the seed alone."""
    assert (bell(0, 4) * 1e6).round().tolist() == [-1579913, -1115718, 755299, 845937]
    assert order(0, 8).tolist() == [2, 1, 3, 4, 5, 7, 0, 6]
    assert below(0, 10, 100, 1000) == (9, 45, 79)


def test_without_the_library() -> None:
    code = (
        "import sys; sys.modules['soundfile'] = None\n"
        "from platorep.kinds.audio import decode_audio\n"
        "from platorep.errors import AbsentError\n"
        "try: decode_audio(b'fLaC')\n"
        "except AbsentError as error: print(error); sys.exit(error.exit_code)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 4, found.stderr
    assert "pip install 'platorep[audio]'" in found.stdout
