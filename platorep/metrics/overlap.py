"""What neighbor lists of some queries have in common, query by query, and what chance gives.

Axes: q queries, k neighbors, g distinct sizes of sources.
"""

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse

from platorep.metrics.metric import Order
from platorep.metrics.nearest import Nearest, Ties

ENTRIES_AT_ONCE = 1 << 22


def common_neighbors(x: Nearest, y: Nearest, num_names: int) -> Float64[np.ndarray, " q"]:
    """How many neighbors each query has in both lists; tied places count with their shares.

    Args:
        num_names: Neighbors are numbers below this.
    """
    q, k = x.neighbors.shape
    size = max(1, ENTRIES_AT_ONCE // k)
    found = [
        (_matrix(x, start, stop, num_names) * _matrix(y, start, stop, num_names)).sum(axis=1)
        for start in range(0, q, size)
        for stop in [min(start + size, q)]
    ]
    return np.concatenate(found).astype(np.float64)


def _matrix(nearest: Nearest, start: int, stop: int, num_names: int) -> sparse.csr_array:
    """A row for each of these queries, a column for every possible neighbor."""
    k = nearest.neighbors.shape[1]
    rows = np.repeat(np.arange(stop - start), k)
    columns = nearest.neighbors[start:stop].ravel()
    weights = np.ones(len(columns))
    if nearest.ties is not None:
        ties = nearest.ties
        here = (ties.rows >= start) & (ties.rows < stop)
        untied = ~np.isin(rows, ties.rows[here] - start)
        rows = np.concatenate([rows[untied], ties.rows[here] - start])
        columns = np.concatenate([columns[untied], ties.columns[here]])
        weights = np.concatenate([weights[untied], ties.weights[here]])
    matrix = sparse.csr_array((weights, (rows, columns)), shape=(stop - start, num_names))
    matrix.sort_indices()
    return matrix


def in_order(nearest: Nearest, order: Order) -> Nearest:
    """The lists that the queries would have if place i of all rows held row `order[i]`.

    The order must leave the queries among themselves.
    """
    place = np.argsort(order).astype(np.int32)
    ties = nearest.ties
    return Nearest(
        place[nearest.neighbors[order[: len(nearest.neighbors)]]],
        None if ties is None else Ties(place[ties.rows], place[ties.columns], ties.weights),
    )


def chance_with_sources(
    sizes: Int64[np.ndarray, " sources"], own: Int64[np.ndarray, " q"], k: int
) -> float:
    """Expected share of common sources if each model put all rows in an order of its own at random.

    In a random order a source of many rows comes early: it is found with the probability
    1 - exp(-t m) for m rows, with t such that k are found on the whole (B. Rosén 1972, "Asymptotic
    theory for successive sampling"). That is exact where sources are equal, k / (their number),
    and close where they are many; for k = 1 the probability is exact, the source's share of rows.

    Args:
        sizes: Number of rows of each source in the gallery.
        own: The source of every query, which it cannot find.
    """
    values, counts = np.unique(sizes[sizes > 0], return_counts=True)
    shares = []
    own_sizes, queries = np.unique(sizes[own], return_counts=True)
    for size, num_queries in zip(own_sizes, queries, strict=True):
        others = counts - (values == size)
        shares += [_expected_share(values, others, k)] * int(num_queries)
    return float(np.mean(shares))


def _expected_share(
    sizes: Int64[np.ndarray, " g"], counts: Int64[np.ndarray, " g"], k: int
) -> float:
    if counts.sum() <= k:
        return 1.0
    if k == 1:
        return float(counts @ (sizes / (counts @ sizes)) ** 2)

    from scipy import optimize  # takes long to import, and finished scores need none of it

    def found(t: float) -> Float64[np.ndarray, " g"]:
        return -np.expm1(-t * sizes)

    high = 1.0
    while counts @ found(high) < k:
        high *= 2
    t = optimize.brentq(lambda t: float(counts @ found(t)) - k, 0.0, high, xtol=1e-15)
    return float(counts @ found(t) ** 2 / k)
