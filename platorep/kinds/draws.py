"""Random numbers of a seed that are the same on every machine, whatever numpy's version.

Only the raw output of the Philox counter generator is used, which numpy promises never to change.
"""

import hashlib
import itertools
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Float64, Int64

T = TypeVar("T")
_AT_ONCE = 2**18


def bell(seed: int, number: int) -> Float64[np.ndarray, " n"]:
    """Independent values of mean 0 and variance 1 that nearly follow a normal distribution.

    Each is the sum of the eight 16-bit parts of two random words (Irwin-Hall; excess kurtosis
    -0.15, at most 4.9 in absolute value): integers until one division, so the last digit is the
    same everywhere, which a logarithm or cosine would not promise.
    """
    words, values = _words(seed), np.empty(number)
    for start in range(0, number, _AT_ONCE):
        block = values[start : start + _AT_ONCE]
        parts = words(2 * len(block)).view("<u2").reshape(len(block), 8)
        block[:] = parts.sum(axis=1, dtype=np.int64) - 4 * 65535
    values /= np.sqrt(np.float64(8 * (65536**2 - 1) / 12))
    return values


def below(seed: int, *bounds: int) -> tuple[int, ...]:
    """For each bound an integer from 0 to bound - 1, equally likely to 1 part in 2**64 / bound."""
    words = _words(seed)(len(bounds)).tolist()
    return tuple(word % bound for word, bound in zip(words, bounds, strict=True))


def order(seed: int, number: int, attempt: int = 0) -> Int64[np.ndarray, " n"]:
    """A permutation of 0 ... number - 1, each equally likely."""
    return np.argsort(_words(seed, attempt)(number), kind="stable")


def first_other(
    seed: int, number: int, rearranged: Callable[[Int64[np.ndarray, " n"]], T], original: T
) -> T:
    """The result of the first permutation of this seed that is not the original.

    The caller knows that one exists: two of the things that are rearranged differ, so an attempt
    succeeds with a probability of at least 1/2.
    """
    attempts = (rearranged(order(seed, number, attempt)) for attempt in itertools.count())
    return next(changed for changed in attempts if changed != original)


def _words(seed: int, attempt: int = 0) -> Callable[[int], np.ndarray]:
    """What gives the next so many 64-bit words of a stream, little-endian."""
    key = hashlib.sha256(f"{seed}:{attempt}".encode()).digest()[:16]
    bits = np.random.Philox(key=int.from_bytes(key, "little"))
    return lambda number: np.asarray(bits.random_raw(number)).astype("<u8")
