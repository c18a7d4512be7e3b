"""Images that look alike: perceptual hashes, and those within a few bits of an earlier one."""

from array import array
from collections import defaultdict

import numpy as np
from PIL import Image

HASH_BITS = 64
NEAR_BITS = 2
"""Images whose hashes differ in so few bits are near copies (arXiv:2604.18572)."""


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of `imagehash.phash`: which low frequencies are above their median.

    It hardly changes when an image is encoded again or resized. Decoders differ in the last digits
    of pixels, so another version of a library may decide a border case otherwise.
    """
    import imagehash  # brings pywavelets, and few datasets need it

    bits = imagehash.phash(image, hash_size=8).hash
    return int.from_bytes(np.packbits(bits.ravel()).tobytes())


class NearHashes:
    """Hashes, numbered as they come, and which of them is within a few bits of a new one.

    Of `bits + 1` parts of a hash one at least has no bit that differs, so only hashes that agree
    in a whole part are compared. A part takes every third bit (for 2 bits), because the frequencies
    that stand beside each other in a hash go together.
    """

    def __init__(self, bits: int) -> None:
        self._bits, self._num_parts = bits, bits + 1
        self._hashes = array("Q")
        self._with: list[dict[int, array[int]]] = [
            defaultdict(lambda: array("I")) for _ in range(self._num_parts)
        ]
        masks = [sum(1 << i for i in range(p, HASH_BITS, bits + 1)) for p in range(bits + 1)]
        self._masks = masks

    def add(self, value: int) -> None:
        for mask, numbers in zip(self._masks, self._with, strict=True):
            numbers[value & mask].append(len(self._hashes))
        self._hashes.append(value)

    def first_near(self, value: int) -> int | None:
        """The number of the earliest hash that is near enough, or None."""
        found: list[int] = []
        hashes = np.frombuffer(self._hashes, dtype=np.uint64) if len(self._hashes) else None
        for mask, numbers in zip(self._masks, self._with, strict=True):
            if (value & mask) not in numbers or hashes is None:
                continue
            candidates = np.frombuffer(numbers[value & mask], dtype=np.uint32)
            apart = np.bitwise_count(hashes[candidates] ^ np.uint64(value))
            near = candidates[apart <= self._bits]
            found += near[:1].tolist()
        return min(found, default=None)
