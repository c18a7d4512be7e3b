"""Rows in three parts, no two of which share a copy.

Axes: n rows, m rows of a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class Parts:
    """Rows of an experiment, each part sorted."""

    choose: Int64[np.ndarray, " m1"]
    """On which layers are chosen."""
    fit: Int64[np.ndarray, " m2"]
    """On which maps are fitted."""
    search: Int64[np.ndarray, " m3"]
    """Among which the map must find its way."""


def groups_of_copies(hashes: Sequence[Sequence[str]], num_rows: int) -> Int64[np.ndarray, " n"]:
    """The group of every row: rows that are copies in any view are in one, and so are the copies of
    their copies.

    Args:
        hashes: Of each view, row by row; "" is no copy of anything.
    """
    from scipy import sparse

    rows, others = [], []
    for of_view in hashes:
        first: dict[str, int] = {}
        for row, value in enumerate(of_view):
            if value and first.setdefault(value, row) != row:
                rows.append(row)
                others.append(first[value])
    links = sparse.coo_array((np.ones(len(rows)), (rows, others)), shape=(num_rows, num_rows))
    _, groups = sparse.csgraph.connected_components(links, directed=False)
    return groups.astype(np.int64)


def divide(groups: Int64[np.ndarray, " n"], choose: float, fit: float, seed: int) -> Parts:
    """Put whole groups into three parts in a seeded random order.

    Parts are of the sizes asked for where all groups are single rows, and else as near as the
    groups at their ends allow.

    Args:
        choose: Share of the rows in the first part.
        fit: In the second.
    """
    n = len(groups)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(n,)))
    order = rng.permutation(int(groups.max()) + 1)
    sizes = np.bincount(groups)[order]
    centres = np.cumsum(sizes) - sizes / 2
    part = np.empty(len(order), dtype=np.int64)
    part[order] = np.searchsorted(np.round([n * choose, n * (choose + fit)]), centres)
    return Parts(*(np.flatnonzero(part[groups] == number) for number in range(3)))
