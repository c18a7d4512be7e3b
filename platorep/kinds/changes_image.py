"""Changes of an image: upright RGB in, RGB out."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from platorep.kinds.draws import below, first_other

_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


def grey(image: Image.Image) -> Image.Image:
    """Each pixel's luma (0.299 R + 0.587 G + 0.114 B, rounded), in all three channels."""
    return image.convert("L").convert("RGB")


def rotate(image: Image.Image, degrees: int) -> Image.Image:
    """Turned counterclockwise by 90, 180 or 270 degrees: pixels move, and none changes."""
    return image.transpose(_TURNS[degrees])


def blur(image: Image.Image, radius: float) -> Image.Image:
    """A Gaussian of standard deviation `radius`, in pixels (Pillow's, by three box filters)."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def crop(image: Image.Image, scale: float, seed: int) -> Image.Image:
    """A part of the image at a drawn place, with sides of `scale` times its own (1 pixel at least).

    It is not resized: the network's own transform does that.
    """
    width, height = (max(1, int(side * scale)) for side in image.size)
    left, top = below(seed, image.width - width + 1, image.height - height + 1)
    return image.crop((left, top, left + width, top + height))


def patches(image: Image.Image, size: int, seed: int) -> Image.Image:
    """The blocks of `size` x `size` pixels in another order, drawn among those that differ.

    The grid lies in the middle; what is left at the border, less than a block, stays where it is.
    An image with fewer than two blocks, or blocks that are all alike, is left as it is.
    """
    pixels = np.array(image)
    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    top, left = (pixels.shape[0] - rows * size) // 2, (pixels.shape[1] - columns * size) // 2
    middle = pixels[top : top + rows * size, left : left + columns * size]
    blocks = _blocks(middle, size)
    if len(blocks) < 2 or (blocks == blocks[0]).all():
        return image
    shuffled = first_other(
        seed, len(blocks), lambda order: blocks[order].tobytes(), blocks.tobytes()
    )
    back = np.frombuffer(shuffled, np.uint8).reshape(rows, columns, size, size, 3)
    middle[:] = back.swapaxes(1, 2).reshape(middle.shape)
    return Image.fromarray(pixels)


def _blocks(pixels: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "b p p 3"]:
    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    grid = pixels.reshape(rows, size, columns, size, 3).swapaxes(1, 2)
    return grid.reshape(rows * columns, size, size, 3)
