"""Every kind of encoded image becomes upright RGB, or a named error."""

import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from platorep.errors import DataError
from platorep.kinds.image import decode_image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_rgb_is_left_alone() -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    image = decode_image(saved(Image.fromarray(pixels)))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """A camera held so stores the picture turned; the viewer sees the corner that was red."""
    upright = Image.new("RGB", (24, 16), "blue")
    upright.paste("red", (0, 0, 12, 8))
    back = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in back[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation

    found = decode_image(saved(stored, exif=exif))

    assert found.size == (24, 16)
    assert found.getpixel((2, 2)) == (255, 0, 0)
    assert found.getpixel((20, 12)) == (0, 0, 255)


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    grey = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    found = np.asarray(decode_image(saved(Image.fromarray(grey))))
    assert found.tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    found = decode_image(saved(image.convert(mode)))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 200, 10, 20])
    image.putpixel((0, 0), 0)
    found = decode_image(saved(image, transparency=0))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 10, 20)]


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("L", "PNG"), ("1", "PNG")])
def test_other_modes(mode: str, kind: str) -> None:
    white = Image.new("RGB", (8, 8), "white").convert(mode)
    assert decode_image(saved(white, kind)).getpixel((3, 3)) == (255, 255, 255)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    found = decode_image(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert found.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("tolerant", [False, True], ids=["", "a library made Pillow tolerant"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_truncated(kind: str, tolerant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", tolerant)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = saved(Image.fromarray(noise), kind)
    decode_image(whole)
    with pytest.raises(DataError, match="does not decode"):
        decode_image(whole[: len(whole) // 2])


@pytest.mark.parametrize("content", [b"", b"not an image", b"<svg/>"])
def test_no_image(content: bytes) -> None:
    with pytest.raises(DataError, match="none of the formats"):
        decode_image(content)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "TGA"])
def test_formats_outside_the_list_are_not_opened(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an EPS, Pillow would start Ghostscript."""
    started: list[object] = []
    monkeypatch.setattr("subprocess.check_call", lambda *a, **k: started.append(a))
    with pytest.raises(DataError, match=r"none of the formats that are read: .*JPEG"):
        decode_image(saved(Image.new("RGB", (8, 8)), kind))
    assert not started


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_formats_of_the_list_are_opened(kind: str) -> None:
    assert decode_image(saved(Image.new("RGB", (8, 8), "white"), kind)).size == (8, 8)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
def test_a_ribbon_is_refused(size: tuple[int, int]) -> None:
    """Its shorter side resized to 224 pixels, this one would take 4.4 GB."""
    with pytest.raises(DataError, match=f"{size[0]} x {size[1]}"):
        decode_image(saved(Image.new("RGB", size)))
    assert decode_image(saved(Image.new("RGB", (200, 1)))).size == (200, 1)


def test_a_bomb_is_refused() -> None:
    header = saved(Image.new("1", (1, 1))).replace(
        (1).to_bytes(4) + (1).to_bytes(4), (20_000).to_bytes(4) + (20_000).to_bytes(4), 1
    )
    at = header.index(b"IHDR")
    sum_of = zlib.crc32(header[at : at + 17]).to_bytes(4)
    with pytest.raises(DataError, match="exceeds limit"):
        decode_image(header[: at + 17] + sum_of + header[at + 21 :])
