"""Encoded image bytes -> an upright 8-bit RGB image."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageFile, ImageOps

from platorep.errors import DataError


def decode_image(encoded: bytes) -> Image.Image:
    """Decode fully, turn upright, and convert to RGB.

    The EXIF orientation is applied; transparent pixels are laid over white; 16-bit grey values are
    divided by 257; of an animation the first frame is taken. Decoders differ in the last digits
    between versions of the JPEG library, so hashes of decoded pixels are no identity.

    Raises:
        DataError: the bytes are no complete image of a known format.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # some libraries make Pillow fill up broken images
    try:
        with Image.open(BytesIO(encoded)) as image:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        reason = str(error).replace(repr(error.args[0]), "the bytes") if error.args else ""
        if "BytesIO" in reason:
            reason = "not an image format that Pillow knows"
        raise DataError(
            f"image does not decode ({len(encoded)} bytes): {type(error).__name__}: {reason}"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; `convert` would clip it to white
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("an image of floats has no defined white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
