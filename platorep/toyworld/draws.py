"""Random integers that are the same on every machine, whatever numpy's version.

Only the raw output of the Philox counter generator is used, which numpy promises never to change,
and only integer arithmetic on it: no rounding of a float ever decides what is drawn.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Each purpose has its own stream: asking for one thing more never moves another."""

    PLACES = 0
    SCENE = 1
    CELLS = 2
    NUISANCE = 3
    CAPTION = 4
    BATCH = 5
    BLUR = 6
    SOUND = 7
    FILM = 8
    SHARED = 9
    LEAVES = 10


class Draws:
    """The stream of one (seed, index, purpose, repeat)."""

    def __init__(self, seed: int, index: int, purpose: Purpose, repeat: int = 0) -> None:
        self._bits = np.random.Philox(
            key=np.array([seed, index], dtype=np.uint64),
            counter=np.array([0, purpose, repeat, 0], dtype=np.uint64),
        )

    def below(self, bound: int) -> int:
        """0 .. bound - 1, equally likely (to 1 part in 2**64 / bound)."""
        return int(self._bits.random_raw()) % bound

    def between(self, low: int, high: int) -> int:
        """low .. high, both included."""
        return low + self.below(high - low + 1)

    def swing(self, reach: int, percent: int) -> int:
        """-reach .. reach, scaled by the strength of the nuisance."""
        return self.between(-reach, reach) * percent // 100

    def choice(self, weights: Sequence[int]) -> int:
        """An index, with probability weight / sum of weights."""
        left = self.below(sum(weights))
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        raise AssertionError("unreachable: the draw is below the sum")

    def order(self, num: int) -> list[int]:
        """A permutation of 0 .. num - 1, each equally likely."""
        rest = list(range(num))
        return [rest.pop(self.below(len(rest))) for _ in range(num)]

    def words(self, num: int) -> list[int]:
        """`num` integers of 64 bits."""
        words: list[int] = self._bits.random_raw(num).tolist()
        return words

    def fractions(self, num: int) -> np.ndarray:
        """`num` multiples of 2**-53 from 0 to 1, 1 left out: no rounding makes them."""
        return (self._bits.random_raw(num) >> np.uint64(11)) * 2.0**-53

    def octets(self, num: int) -> np.ndarray:
        """`num` bytes, 0 .. 255."""
        words = np.asarray(self._bits.random_raw(-(-num // 8))).astype("<u8")
        return words.view(np.uint8)[:num]


def urn(draws: Draws, num: int, concentration: float, *, size: int = 512) -> list[int]:
    """Weights of `num` categories, summing to `size`: a Dirichlet draw, made with integers.

    A Polya urn: each new ball takes the category of a ball that is there already, or with weight
    `num * concentration` any. The shares tend to a symmetric Dirichlet as `size` grows.
    """
    prior = max(1, round(concentration * 1000))
    balls: list[int] = []
    for word in draws.words(size):
        ticket = word % (num * prior + 1000 * len(balls))
        new = ticket < num * prior
        balls.append(ticket // prior if new else balls[(ticket - num * prior) // 1000])
    return [balls.count(category) for category in range(num)]
