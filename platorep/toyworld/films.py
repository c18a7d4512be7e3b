"""Scene -> film: some frames in which the objects drift over a still ground, in integers.

Films have `COLORS_OF_FILM`, as a GIF file can hold no more than 256; grain makes up for it.
"""

import struct
from functools import partial
from itertools import product

import numpy as np
from jaxtyping import Int, UInt8

from platorep.parameters.toyworld import COLUMNS, ROWS, SHAPES, WorldParameters
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.pictures import (
    COLOR_RGB,
    RADIUS_THIRTY_SECONDS,
    SUBPIXELS,
    ground,
    paint,
)
from platorep.toyworld.scenes import Scene

NUM_FRAMES = 6
HUNDREDTHS = 10
"""Of a second that a frame is shown."""
STEPS = (5, 6, 5)
"""Of red, green and blue, from dark to full: (5 + 1) * (6 + 1) * (5 + 1) = 252 colours."""

CLEAR, END, LITERALS = 256, 257, 250  # of GIF's LZW: codes, and literals before they grow longer


def film(world: WorldParameters, scene: Scene) -> UInt8[np.ndarray, "t h w 3"]:
    """What is seen of a scene in `NUM_FRAMES` frames, `image_size` pixels square.

    Texture, shapes, colours, sizes and cells come from the scene. Each object drifts through its
    cell; direction, speed, tint, stripe width and phase, brightness, hue and grain are nuisance,
    another one in every film (`scene.frame`).
    """
    draws = Draws(world.seed, scene.index, Purpose.FILM, scene.frame)
    strength = round(100 * world.nuisance)
    side = world.image_size
    swing = partial(draws.swing, percent=strength)
    still = ground(draws, world, scene)
    brightness = 256 + swing(25)
    hues = [[swing(11) for _ in range(3)] for _ in scene.things]
    reach = SUBPIXELS * side // 5  # of the way that an object goes in one film
    ways = [(swing(reach), swing(reach)) for _ in scene.things]

    frames = np.repeat(still[None], NUM_FRAMES, axis=0)
    for number, canvas in enumerate(frames):
        gone = 2 * number - (NUM_FRAMES - 1)  # the middle of the way is the middle of the cell
        for thing, hue, (way_y, way_x) in zip(scene.things, hues, ways, strict=True):
            center_y = side * SUBPIXELS * (2 * thing.row + 1) // (2 * len(ROWS))
            center_x = side * SUBPIXELS * (2 * thing.column + 1) // (2 * len(COLUMNS))
            center_y += way_y * gone // (2 * NUM_FRAMES)
            center_x += way_x * gone // (2 * NUM_FRAMES)
            radius = side * SUBPIXELS * RADIUS_THIRTY_SECONDS[thing.size] // 128
            color = np.array(COLOR_RGB[thing.color]) + hue
            paint(canvas, SHAPES[thing.shape], radius, center_y, center_x, color)
    frames = (frames * brightness // 256).clip(0, 255)
    grain = draws.octets(frames.size).reshape(frames.shape).astype(np.int32)
    grain = 128 + (grain - 128) * min(strength, 100) // 100
    steps = (frames * np.array(STEPS) * 256 + grain * 255) // (255 * 256)
    colored: np.ndarray = (steps * 255 // np.array(STEPS)).astype(np.uint8)
    return colored


def gif_bytes(frames: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """A GIF file, uncompressed: the same bytes on every machine.

    Source: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
    """
    _, height, width, _ = frames.shape
    palette = [[step * 255 // most for step, most in zip(steps, STEPS, strict=True)]
               for steps in product(*(range(most + 1) for most in STEPS))]  # fmt: skip
    table = bytes(np.array(palette, dtype=np.uint8)).ljust(3 * 256, b"\0")
    screen = struct.pack("<HHBBB", width, height, 0xF7, 0, 0)  # 0xF7: a table of 256 colours
    control = b"\x21\xf9\x04\x04" + struct.pack("<HBB", HUNDREDTHS, 0, 0)
    place = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0)
    steps = (frames.astype(np.int64) * np.array(STEPS) + 127) // 255
    numbers = (steps[..., 0] * (STEPS[1] + 1) + steps[..., 1]) * (STEPS[2] + 1) + steps[..., 2]
    pictures = (control + place + _stored(frame.ravel()) for frame in numbers)
    return b"GIF89a" + screen + table + b"".join(pictures) + b"\x3b"


def _stored(numbers: Int[np.ndarray, " n"]) -> bytes:
    """LZW data of literals only, 9 bits each, cleared before a code would need a tenth bit."""
    runs = [numbers[start : start + LITERALS] for start in range(0, len(numbers), LITERALS)]
    codes = np.concatenate([part for run in runs for part in ([CLEAR], run)] + [[END]])
    bits = codes[:, None] >> np.arange(9) & 1
    packed = np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
    blocks = (packed[start : start + 255] for start in range(0, len(packed), 255))
    return b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
