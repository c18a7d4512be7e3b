"""The k nearest neighbors in their exact order, with every order that equal distances allow.

Axes: n samples, k neighbors.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

from platorep.metrics.nearest import EQUAL, Search, compact

MAX_ORDERS = 24
"""A row with more equally good orders than this is left undefined."""


@dataclass(frozen=True)
class Ranking:
    """Nearest first; of equal ones the lower row first."""

    neighbors: Integer[np.ndarray, "n k"]
    orders: dict[int, Integer[np.ndarray, "o k"]]
    """All orders of the rows that have several equally good ones."""
    undefined: frozenset[int]
    """Rows with more than MAX_ORDERS of them."""


def rank(search: Search, k: int) -> Ranking:
    """The k nearest neighbors of every sample in order; needs k < n."""
    values, indices = search.top(min(k + 1, search.n - 1))
    neighbors = compact(indices[:, :k].cpu().numpy())
    gaps = values[:, :-1] - values[:, 1:]
    unsure = (gaps <= 2 * search.error).any(dim=1).nonzero().flatten()
    orders: dict[int, Integer[np.ndarray, "o k"]] = {}
    undefined: set[int] = set()
    for chosen in search.blocks(unsure):
        cut = values[chosen, k - 1][:, None]
        near = (search.scores(chosen) >= cut - 4 * search.error).nonzero().cpu().numpy()
        names = chosen.cpu().numpy()
        distances = search.exact(names[near[:, 0]], near[:, 1])
        bounds = np.searchsorted(near[:, 0], np.arange(len(names) + 1))
        for i, row in enumerate(names.tolist()):
            part = slice(bounds[i], bounds[i + 1])
            groups = equal_groups(near[part, 1], distances[part], k)
            neighbors[row] = np.concatenate(groups)[:k]
            number = num_orders(groups, k)
            if number > MAX_ORDERS:
                undefined.add(row)
            elif number > 1:
                orders[row] = all_orders(groups, k).astype(neighbors.dtype)
    return Ranking(neighbors, orders, frozenset(undefined))


def equal_groups(
    columns: Int64[np.ndarray, " c"], distances: Float64[np.ndarray, " c"], k: int
) -> list[np.ndarray]:
    """The candidates nearest first, equal ones together, as far as the first k places reach."""
    by_distance = np.lexsort((columns, distances))
    starts = np.flatnonzero(np.diff(distances[by_distance]) > EQUAL) + 1
    groups = [np.sort(group) for group in np.split(columns[by_distance], starts)]
    before = np.cumsum([0, *(len(group) for group in groups)])
    return [group for group, start in zip(groups, before, strict=False) if start < k]


def num_orders(groups: list[np.ndarray], k: int) -> int:
    places = [len(group) for group in groups]
    places[-1] -= sum(places) - k  # of the last group only some have a place
    return math.prod(
        math.perm(len(group), count) for group, count in zip(groups, places, strict=True)
    )


def all_orders(groups: list[np.ndarray], k: int) -> Int64[np.ndarray, "o k"]:
    last = k - sum(len(group) for group in groups[:-1])
    ways = [itertools.permutations(group.tolist()) for group in groups[:-1]]
    ways.append(itertools.permutations(groups[-1].tolist(), last))
    return np.array([[j for group in way for j in group] for way in itertools.product(*ways)])
