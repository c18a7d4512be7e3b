"""Scene -> picture, anti-aliased, in integer arithmetic: the same bytes on every machine."""

import struct
import zlib
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Bool, Int, UInt8

from platorep.parameters.toyworld import COLUMNS, ROWS, SHAPES, TEXTURES, WorldParameters
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.scenes import Scene

SUBPIXELS = 4  # per side of a pixel; all coordinates below are counted in them

COLOR_RGB = (
    (220, 40, 40),
    (240, 140, 20),
    (235, 220, 40),
    (40, 160, 60),
    (40, 205, 215),
    (45, 75, 220),
    (140, 55, 190),
    (245, 130, 190),
)
RADIUS_THIRTY_SECONDS = (14, 19, 24)  # of small, medium, large: 1/128 of the image side each


def picture(world: WorldParameters, scene: Scene) -> UInt8[np.ndarray, "h w 3"]:
    """What is seen of a scene, `image_size` pixels square.

    Texture, shapes, colours, sizes and cells come from the scene; tint, stripe width and phase,
    brightness, hue, noise and a shift of the objects are nuisance, another one in every frame.
    """
    draws = Draws(world.seed, scene.index, Purpose.NUISANCE, scene.frame)
    strength = round(100 * world.nuisance)
    side = world.image_size
    swing = partial(draws.swing, percent=strength)
    canvas = ground(draws, world, scene)

    for thing in scene.things:
        hue = [swing(11) for _ in range(3)]
        color = np.array(COLOR_RGB[thing.color]) + hue
        shift_y, shift_x = swing(SUBPIXELS * side // 64), swing(SUBPIXELS * side // 64)
        center_y = side * SUBPIXELS * (2 * thing.row + 1) // (2 * len(ROWS)) + shift_y
        center_x = side * SUBPIXELS * (2 * thing.column + 1) // (2 * len(COLUMNS)) + shift_x
        radius = side * SUBPIXELS * RADIUS_THIRTY_SECONDS[thing.size] // 128
        paint(canvas, SHAPES[thing.shape], radius, center_y, center_x, color)

    canvas = canvas * (256 + swing(25)) // 256  # brightness
    noise = draws.octets(4 * canvas.size).reshape(4, *canvas.shape).astype(np.int32).sum(0) - 510
    canvas += noise * strength // 100 // 36  # a sum of four uniforms: deviation of about 4
    return canvas.clip(0, 255).astype(np.uint8)


def ground(draws: Draws, world: WorldParameters, scene: Scene) -> Int[np.ndarray, "h w 3"]:
    """What a scene's objects stand on; tint, contrast, stripe width and phase are drawn."""
    side, strength = world.image_size, round(100 * world.nuisance)
    swing = partial(draws.swing, percent=strength)
    tint = [128 + swing(15) for _ in range(3)]
    contrast = 26 + swing(4)
    period = side * SUBPIXELS * (100 + swing(15)) // 400  # about four stripes per side
    phases = (draws.below(period) * min(strength, 100) // 100, draws.below(period))
    light = _ground_light(TEXTURES[scene.texture], side, period, phases)  # 0 .. 16 per pixel
    pixels: np.ndarray = np.array(tint) + (contrast * (2 * light - 16) // 16)[..., None]
    return pixels.astype(np.int32)


def paint(
    canvas: Int[np.ndarray, "h w 3"],
    shape: str,
    radius: int,
    center_y: int,
    center_x: int,
    color: Int[np.ndarray, "3"],
) -> None:
    """Blend one object into the picture; what reaches over the border is cut off."""
    top, below_y = divmod(center_y - radius, SUBPIXELS)
    left, below_x = divmod(center_x - radius, SUBPIXELS)
    cover = _coverage(shape, radius, below_y, below_x)
    bottom, right = top + cover.shape[0], left + cover.shape[1]
    inside_y, inside_x = slice(max(top, 0), bottom), slice(max(left, 0), right)
    patch = canvas[inside_y, inside_x]
    cover = cover[max(-top, 0) :, max(-left, 0) :][: patch.shape[0], : patch.shape[1], None]
    patch += (color - patch) * cover // SUBPIXELS**2


@lru_cache(maxsize=4096)
def _coverage(shape: str, radius: int, below_y: int, below_x: int) -> Int[np.ndarray, "h w"]:
    """Of each pixel of the object's box, how many of its subpixels the object covers."""
    pixels = -(-(2 * radius + SUBPIXELS) // SUBPIXELS)
    at = 2 * np.arange(pixels * SUBPIXELS, dtype=np.int64) + 1  # subpixel centres, doubled
    y = at[:, None] - 2 * (radius + below_y)
    x = at[None, :] - 2 * (radius + below_x)
    inside = _inside(shape, y, x, 2 * radius)
    return _per_pixel(inside)


def _inside(
    shape: str, y: Int[np.ndarray, "h 1"], x: Int[np.ndarray, "1 w"], r: int
) -> Bool[np.ndarray, "h w"]:
    """Is the point in the shape of radius r about 0? y points down."""
    far_y, far_x = abs(y), abs(x)
    square = y * y + x * x
    inside: np.ndarray
    match shape:
        case "disc":
            inside = square <= r * r
        case "square":
            inside = (10 * far_y <= 8 * r) & (10 * far_x <= 8 * r)
        case "triangle":
            inside = (2 * far_x <= y + r) & (10 * y <= 8 * r)
        case "diamond":
            inside = far_y + far_x <= r
        case "cross":
            arm_y, arm_x = 10 * far_y <= 3 * r, 10 * far_x <= 3 * r
            inside = (arm_y & (far_x <= r)) | (arm_x & (far_y <= r))
        case "ring":
            inside = (square <= r * r) & (100 * square >= 30 * r * r)
        case "bar":
            inside = (10 * far_y <= 4 * r) & (far_x <= r)
        case "crescent":
            bite = y * y + (2 * x - r) ** 2 // 4
            inside = (square <= r * r) & (100 * bite >= 55 * r * r)
        case _:
            raise AssertionError(shape)
    return inside


def _ground_light(
    texture: str, side: int, period: int, phases: tuple[int, int]
) -> Int[np.ndarray, "h w"]:
    """Of each pixel, how many of its 16 subpixels are light."""
    at = np.arange(side * SUBPIXELS)
    y, x = at[:, None] + phases[0], at[None, :] + phases[1]
    half = period // 2
    light: np.ndarray
    match texture:
        case "plain":
            light = (y + x) % 2 == 0  # half of the subpixels of every pixel
        case "striped":
            light = (y % period < half) & (x >= 0)
        case "barred":
            light = (x % period < half) & (y >= 0)
        case "slanted":
            light = (y + x) % period < half
        case "checked":
            light = (y % period < half) ^ (x % period < half)
        case "dotted":
            from_y, from_x = y % period - half, x % period - half
            light = 9 * (from_y**2 + from_x**2) < period * period
        case _:
            raise AssertionError(texture)
    return _per_pixel(light)


def _per_pixel(inside: Bool[np.ndarray, "hs ws"]) -> Int[np.ndarray, "h w"]:
    """Count the subpixels of each pixel that are inside."""
    height, width = inside.shape[0] // SUBPIXELS, inside.shape[1] // SUBPIXELS
    blocks = inside.reshape(height, SUBPIXELS, width, SUBPIXELS)
    counts: np.ndarray = blocks.sum((1, 3), dtype=np.int64)
    return counts


def png_bytes(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An uncompressed PNG file: compressors differ between machines, stored blocks do not."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # 0: no filter
    blocks = [rows[start : start + 65535] for start in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block
        for block in blocks
    )
    stream = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
