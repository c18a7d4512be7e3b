"""Seeded orders of the samples: of a null, and of the one control that is shuffled.

Axes: n samples.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from platorep.errors import DataError

_SHUFFLED = 1  # a stream of its own: a control that were an order of the null would prove itself


@dataclass(frozen=True)
class Permutations:
    """The orders of a null: the same in every call, for all models."""

    number: int
    seed: int = 0
    within: Sequence[Hashable] | None = None
    """The group of every sample; samples change places only inside their group."""
    first: int = 0
    """Number of the first one, to continue an earlier null."""

    def orders(self, n: int) -> Iterator[Int64[np.ndarray, " n"]]:
        for index in range(self.first, self.first + self.number):
            yield draw_order(n, self.seed, index, self.within)


def draw_order(
    n: int, seed: int, index: int, within: Sequence[Hashable] | None = None
) -> Int64[np.ndarray, " n"]:
    """The order number `index` of a null: depends on n, seed, index and groups only.

    So any part of a null can be computed anywhere, in any order, and be the same.

    Args:
        within: The group of every sample; samples change places only inside their group.

    Raises:
        DataError: not one group per sample, or groups that leave nothing to change.
    """
    return _permutation(n, np.random.default_rng([seed, index]), within)


def shuffled_order(
    n: int, seed: int, within: Sequence[Hashable] | Int64[np.ndarray, " n"] | None = None
) -> Int64[np.ndarray, " n"]:
    """The order of the shuffled control: none of the orders of the null, whatever their seed.

    Args:
        within: As for `draw_order`: a control keeps what the null keeps.

    Raises:
        DataError: as `draw_order`.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(_SHUFFLED,))
    return _permutation(n, np.random.default_rng(stream), within)


def _permutation(
    n: int,
    rng: np.random.Generator,
    within: Sequence[Hashable] | Int64[np.ndarray, " n"] | None,
) -> Int64[np.ndarray, " n"]:
    if within is None:
        return rng.permutation(n)
    if len(within) != n:
        raise DataError(
            f"permutations within groups need one group per sample: {n} samples, "
            f"{len(within)} groups given."
        )
    number = _numbered(within)
    sizes = np.bincount(number)
    if sizes.max() < 2:
        raise DataError(
            "permutations within groups: every group has a single sample, so nothing can change "
            "places. Use larger groups, or none."
        )
    order = np.arange(n)
    for places in np.split(number.argsort(kind="stable"), sizes.cumsum()[:-1]):
        order[places] = rng.permutation(places)
    return order


def _numbered(groups: Sequence[Hashable] | Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The groups as numbers, from 0 in the order in which they come first."""
    if isinstance(groups, np.ndarray):
        _, first, which = np.unique(groups, return_index=True, return_inverse=True)
        return first.argsort().argsort()[which]
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])
