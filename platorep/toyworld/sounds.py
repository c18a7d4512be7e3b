"""Scene -> sound, one second in integer arithmetic: the same bytes on every machine.

| what is true | what sounds |
|---|---|
| shape | pitch of a tone, eight notes over an octave and a half |
| colour | its timbre: which of its first five harmonics are there |
| size | its envelope: how long it rings |
| column | when it begins, left first |
| row | how loud it is, the lower the nearer |
| texture | a hum below the tones: one of three notes, steady or beating |

The hidden place is not heard, as it is not seen: only what it makes of the rest.
"""

import io
import wave
from functools import lru_cache, partial
from math import isqrt

import numpy as np
from jaxtyping import Int, Int16

from platorep.parameters.toyworld import WorldParameters
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.scenes import Scene, Thing

RATE = 4000
"""Samples per second."""
NUM_SAMPLES = RATE

PITCH_HZ = (131, 152, 177, 206, 240, 280, 326, 380)  # of the shapes; 5 * 380 < RATE / 2
HARMONICS = ((1,), (1, 2), (1, 3), (1, 4), (1, 5), (1, 2, 3), (1, 3, 5), (1, 2, 3, 4, 5))
RING_MS = (120, 260, 560)  # small, medium, large
ONSET_MS = (20, 240, 460)  # left, center, right
LOUDNESS = (60, 80, 100)  # top, middle, bottom
HUMS = ((44, 0), (44, 7), (70, 0), (70, 7), (98, 0), (98, 7))  # Hz, beats per second

TABLE = 1024  # entries of a period
TURN = 2**20  # phase units of a period
AMPLITUDE = 4000  # of a loud tone; a full sample is 2**15
HUM_AMPLITUDE = 1600


def sound(world: WorldParameters, scene: Scene) -> Int16[np.ndarray, " n"]:
    """What is heard of a scene: a tone for each object over a hum, `RATE` samples a second.

    Texture, shapes, colours, sizes and cells come from the scene; phases, tuning, tempo, loudness
    and noise are nuisance, another one in every recording (`scene.frame`).
    """
    draws = Draws(world.seed, scene.index, Purpose.SOUND, scene.frame)
    strength = round(100 * world.nuisance)
    swing = partial(draws.swing, percent=strength)

    def phase() -> int:
        return draws.below(TURN) * min(strength, 100) // 100

    slowness = 1000 + swing(120)  # per mille
    total = _hum(scene.texture, 1000 + swing(15), phase(), phase())
    for thing in scene.things:
        detuned, late = 1000 + swing(8), swing(30)
        start = max(0, (ONSET_MS[thing.column] + late) * slowness) * RATE // 10**6
        heard = _tone(thing, detuned, phase(), slowness)[: NUM_SAMPLES - start]
        total[start : start + len(heard)] += heard
    total = total * (100 + swing(25)) // 100
    octets = draws.octets(4 * NUM_SAMPLES).reshape(4, NUM_SAMPLES)
    noise = octets.astype(np.int64).sum(0) - 510  # a sum of four uniforms: deviation of 148
    total += noise * strength // 100 * 3
    return total.clip(-(2**15), 2**15 - 1).astype(np.int16)


def _tone(thing: Thing, detuned: int, phase: int, slowness: int) -> Int[np.ndarray, " n"]:
    """The tone of one object from its beginning: a quick rise, then a fall in a straight line."""
    ring = RING_MS[thing.size] * slowness * RATE // 10**6
    rise = RATE // 100
    at = np.arange(ring, dtype=np.int64)
    envelope = np.minimum(at * TABLE // rise, (ring - at) * TABLE // ring)  # 0 .. TABLE
    wave_form = _oscillate(HARMONICS[thing.color], PITCH_HZ[thing.shape] * detuned, phase, ring)
    loud = wave_form * LOUDNESS[thing.row] // 100
    sounding: np.ndarray = loud * envelope // TABLE
    return sounding


def _hum(texture: int, detuned: int, phase: int, beat_phase: int) -> Int[np.ndarray, " n"]:
    pitch, beats = HUMS[texture]
    steady = _oscillate((1, 2), pitch * detuned, phase, NUM_SAMPLES) * HUM_AMPLITUDE // AMPLITUDE
    if not beats:
        return steady
    beat = _oscillate((1,), 1000 * beats, beat_phase, NUM_SAMPLES)  # -AMPLITUDE .. AMPLITUDE
    beating: np.ndarray = steady * (AMPLITUDE + beat) // AMPLITUDE
    return beating


def _oscillate(
    harmonics: tuple[int, ...], millihertz: int, phase: int, num: int
) -> Int[np.ndarray, " n"]:
    at = np.arange(num, dtype=np.int64) * (millihertz * TURN // (1000 * RATE)) + phase
    period: np.ndarray = _period(harmonics)[at % TURN * TABLE // TURN]
    return period


@lru_cache(maxsize=32)
def _period(harmonics: tuple[int, ...]) -> Int[np.ndarray, " n"]:
    """One period of a sum of harmonics of equal strength, as strong whatever their number."""
    turn = np.arange(TABLE) / TABLE
    # Rounded harmonic by harmonic: no value lies so near a half that two machines round it apart.
    sines = [np.rint(1000 * np.sin(2 * np.pi * (k * turn % 1))).astype(np.int64) for k in harmonics]
    total: np.ndarray = np.sum(sines, axis=0) * AMPLITUDE // isqrt(10**6 * len(harmonics))
    return total


def wav_bytes(samples: Int16[np.ndarray, " n"]) -> bytes:
    """A WAV file: mono, 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()
