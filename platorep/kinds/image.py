"""Images: encoded bytes -> an upright 8-bit RGB image."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from platorep.errors import DataError
from platorep.kinds.changes_image import blur, crop, grey, patches, rotate
from platorep.kinds.kind import Kind
from platorep.parameters.views import Blur, Crop, Grey, Patches, Rotate

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, whatever a file is called. Pillow knows more, among them EPS, for which it starts
Ghostscript: a program, run on what somebody put into a dataset."""
MAX_ASPECT_RATIO = 200
"""Networks want the shorter side at 224 pixels or so: 20,000 x 1 would become 4,480,000 x 224."""


def decode_image(encoded: bytes) -> Image.Image:
    """Decode fully, turn upright, and convert to RGB.

    The EXIF orientation is applied; transparent pixels are laid over white; 16-bit grey values are
    divided by 257; of an animation the first frame is taken. Decoders differ in the last digits
    between versions of the JPEG library, so hashes of decoded pixels are no identity.

    Raises:
        DataError: the bytes are no complete image of one of `FORMATS`, or it has more pixels than
            Pillow holds for a bomb (179 million), or is longer than `MAX_ASPECT_RATIO` allows.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # some libraries make Pillow fill up broken images
    Image.init()  # not all formats are known before
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(BytesIO(encoded), formats=formats) as image:
            _refuse_ribbon(*image.size)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"the image ({len(encoded)} bytes) is in none of the formats that are read: "
            f"{', '.join(formats)}"
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        raise DataError(
            f"image does not decode ({len(encoded)} bytes): {type(error).__name__}: {error}"
        ) from error


def _refuse_ribbon(width: int, height: int) -> None:
    longer, shorter = max(width, height), min(width, height)
    if longer > MAX_ASPECT_RATIO * shorter:
        raise DataError(
            f"the image has {width} x {height} pixels, and a side may be at most "
            f"{MAX_ASPECT_RATIO} times the other: resized for a network it would fill the memory"
        )


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


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of `imagehash.phash`: which low frequencies are above their median.

    It hardly changes when an image is encoded again or resized. Decoders differ in the last digits
    of pixels, so another version of a library may decide a border case otherwise.
    """
    import imagehash  # brings pywavelets, and few datasets need it

    bits = imagehash.phash(image, hash_size=8).hash
    return int.from_bytes(np.packbits(bits.ravel()).tobytes())


def same_image(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images have the same pixels."""
    return one.size == other.size and one.tobytes() == other.tobytes()


IMAGE = Kind(
    name="image",
    endings=("jpg", "jpeg", "png", "webp", "bmp", "gif", "pgm", "ppm", "tif", "tiff"),
    in_files=True,
    decode=decode_image,
    same=same_image,
    looks=perceptual_hash,
    shows=lambda image: image,
    changes={
        Grey: lambda image, change, seed: grey(image),
        Rotate: lambda image, change, seed: rotate(image, change.degrees),
        Patches: lambda image, change, seed: patches(image, change.size, seed),
        Blur: lambda image, change, seed: blur(image, change.radius),
        Crop: lambda image, change, seed: crop(image, change.scale, seed),
    },
)
