"""cycle_knn: does a neighbor of my neighbor, in the other model, lead back to me?

A sample i is a hit if it is among the k nearest in x of any of its k nearest in y.

Axes: n samples, k neighbors, l layers, e entries of neighbor lists.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from platorep.metrics.lists import Lists, sum_over_rows
from platorep.metrics.metric import Claims, Metric, Order, Scorer, Scores
from platorep.metrics.neighbors import (
    NeighborLists,
    check_k,
    list_invariances,
    neighbor_lists,
    reorder,
    stack,
)
from platorep.parameters.metrics import CycleKnn

CERTAIN = -1e9
"""Logarithm of the probability 0 of a miss, in a form that can be added up."""


def prepare_cycle_knn(
    x: Sequence[NeighborLists], y: Sequence[NeighborLists], parameters: CycleKnn
) -> Scorer:
    """Share of hits; tied places count with the probability of a hit under random ties.

    A miss means that no j in i's list in y has i in its list in x: the product of 1 - w_x(j, i),
    a sum of logarithms over the samples that both hold. Rows whose list in y is itself tied are
    worked out one by one.
    """
    back = _ways_back(x)

    def scores(order: Order | None) -> Scores:
        moved = y if order is None else [reorder(summary, order) for summary in y]
        sure = _without_tied_rows(moved)
        hits = sum_over_rows([(back, sure)], lambda c: 1 - math.e**c, x[0].device)
        for column, summary in enumerate(moved):
            hits[:, column] += sum(hit for _, hit in _tied_rows(back, summary, parameters.k))
        return hits / back.n

    return scores


def compare_cycle_knn(
    x: Sequence[NeighborLists], y: Sequence[NeighborLists], parameters: CycleKnn
) -> Scores:
    return prepare_cycle_knn(x, y, parameters)(None)


def cycle_knn_by_row(
    x: NeighborLists, y: NeighborLists, parameters: CycleKnn
) -> Float64[np.ndarray, " n"]:
    """Whether each sample is a hit; its probability where places are tied."""
    back, sure = _ways_back([x]), _without_tied_rows([y])
    assert back.weights is not None
    shape, ones = (x.n, x.n), np.ones(len(sure.rows))
    ways: sparse.csr_array = sparse.csr_array((back.weights, (back.rows, back.columns)), shape)
    lists: sparse.csr_array = sparse.csr_array((ones, (sure.rows, sure.columns)), shape)
    hits: np.ndarray = 1 - np.exp((lists * ways).sum(axis=1))
    for row, hit in _tied_rows(back, y, parameters.k):
        hits[row] = hit[0]
    return hits


def _ways_back(x: Sequence[NeighborLists]) -> Lists:
    """For every sample who has it in its list in x, with the logarithm of the probability that it
    is not led back."""
    back = stack(x).transposed()
    if back.weights is None:
        return back.weighted(np.full(len(back.rows), CERTAIN))
    with np.errstate(divide="ignore"):
        return back.weighted(np.maximum(np.log1p(-back.weights), CERTAIN))


def _without_tied_rows(summaries: Sequence[NeighborLists]) -> Lists:
    """The lists of the layers, those of tied rows left empty."""
    lists = stack(summaries)
    if lists.weights is None:
        return lists
    layer = np.repeat(np.arange(len(summaries)), np.diff(lists.ends))
    tied = [s.nearest.ties.rows if s.nearest.ties else np.arange(0) for s in summaries]
    keep = np.ones(len(layer), dtype=bool)
    for i, rows in enumerate(tied):
        part = slice(lists.ends[i], lists.ends[i + 1])
        keep[part] = ~np.isin(lists.rows[part], rows)
    ends = np.concatenate([[0], np.cumsum(keep)])[lists.ends]
    return Lists(lists.n, ends, lists.rows[keep], lists.columns[keep], None)


def _tied_rows(
    back: Lists, summary: NeighborLists, k: int
) -> Iterator[tuple[int, Float64[np.ndarray, " l_x"]]]:
    """The tied rows of one layer of y with the probability of a hit, for each layer of x."""
    ties = summary.nearest.ties
    if ties is None:
        return
    assert back.weights is not None
    layer = np.repeat(np.arange(back.num_layers), np.diff(back.ends))
    by_row = np.argsort(back.rows, kind="stable")
    bounds = np.searchsorted(back.rows[by_row], np.arange(back.n + 1))
    for i in np.unique(ties.rows):
        entries = by_row[bounds[i] : bounds[i + 1]]
        misses = np.ones((back.num_layers, back.n))  # that j does not lead back to i
        misses[layer[entries], back.columns[entries]] = np.exp(back.weights[entries])
        mine = ties.rows == i
        names, shares = ties.columns[mine], ties.weights[mine]
        certain = shares == 1
        miss = misses[:, names[certain]].prod(axis=1)
        places = k - int(certain.sum())
        yield int(i), 1 - miss * mean_product(misses[:, names[~certain]], places)


def mean_product(values: Float64[np.ndarray, "l t"], places: int) -> Float64[np.ndarray, " l"]:
    """Mean over all subsets of `places` of the t columns of the product of their values."""
    # after t columns, means[m] is the mean over subsets of m: the last column is in m / t of them
    means = np.zeros((places + 1, len(values)))
    means[0] = 1.0
    for t, column in enumerate(values.T, start=1):
        for m in range(min(t, places), 0, -1):
            without = (1 - m / t) * means[m] if m < t else 0.0
            means[m] = without + m / t * column * means[m - 1]
    found: np.ndarray = means[places]
    return found


CYCLE_KNN = Metric(
    name="cycle_knn",
    summarize=neighbor_lists,
    compare=compare_cycle_knn,
    prepare=prepare_cycle_knn,
    reorder=reorder,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        # lists drawn at random; a sample that is in few lists is hit less often than that
        chance=lambda n: 1 - (1 - parameters.k / (n - 1)) ** parameters.k,
        symmetric=False,
        cost="grid",
        invariances=list_invariances(parameters),
    ),
    check=lambda n, d, parameters: check_k(n, parameters.k, parameters.label()),
    by_row=cycle_knn_by_row,
)
