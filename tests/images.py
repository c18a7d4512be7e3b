"""Small encoded images for the tests of data. Imports nothing of platorep."""

from io import BytesIO

from PIL import Image


def encoded(color: tuple[int, int, int], kind: str = "PNG") -> bytes:
    """A 12 x 8 image of one colour."""
    stream = BytesIO()
    Image.new("RGB", (12, 8), color).save(stream, kind)
    return stream.getvalue()


def red(level: int) -> bytes:
    return encoded((level, 0, 0))
