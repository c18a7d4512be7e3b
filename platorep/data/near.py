"""Samples that look alike: perceptual hashes within a few bits of an earlier one."""

from array import array
from collections import defaultdict

import numpy as np

HASH_BITS = 64
NEAR_BITS = 2
"""Samples whose hashes differ in so few bits are near copies (arXiv:2604.18572)."""


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
