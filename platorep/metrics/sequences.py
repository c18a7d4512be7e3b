"""Metrics on ordered neighbor lists: longest common subsequence and edit distance.

Axes: n samples, k neighbors, r rows, o orders of one row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer

from platorep.metrics.layer import Layer
from platorep.metrics.metric import Claims, Metric, Order, Scores, Summary
from platorep.metrics.nearest import compact, search
from platorep.metrics.neighbors import CURE, TIED_SHARE, check_k, list_invariances
from platorep.metrics.ranking import Ranking, rank
from platorep.parameters.metrics import EditDistanceKnn, LcsKnn

Sequences = Integer[np.ndarray, "r k"]
Length = Callable[[Sequences, Sequences], Integer[np.ndarray, " r"]]
BLOCK_ROWS = 1 << 19
"""Rows compared at once."""


@dataclass(frozen=True)
class RankedLists(Summary):
    """The k nearest neighbors of every sample in order."""

    ranking: Ranking


def summarize(layer: Layer, parameters: LcsKnn | EditDistanceKnn) -> RankedLists:
    """Ordered neighbors; a layer most of whose rows have no definite order is degenerate."""
    found = rank(search(layer, parameters.similarity, center=parameters.center), parameters.k)
    if parameters.ties == "lowest":
        return RankedLists(layer.n, None, Ranking(found.neighbors, {}, frozenset()))
    reason = layer.reason
    if reason is None and len(found.undefined) > TIED_SHARE * layer.n:
        reason = (
            f"{len(found.undefined)} of {layer.n} samples have many equally near neighbors; {CURE}"
        )
    return RankedLists(layer.n, reason, found)


def reorder(summary: RankedLists, order: Order) -> RankedLists:
    """The ordered lists of the same layer with its samples in another order."""
    place, old = np.argsort(order), summary.ranking
    moved = Ranking(
        compact(place[old.neighbors[order]]),
        {int(place[row]): place[orders] for row, orders in old.orders.items()},
        frozenset(int(place[row]) for row in old.undefined),
    )
    return RankedLists(summary.n, summary.reason, moved)


def common_length(x: Sequences, y: Sequences) -> Integer[np.ndarray, " r"]:
    """Length of the longest common subsequence, row by row, 0 ... k."""
    rows, k = x.shape
    x, y = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
    above = np.zeros((k + 1, rows), dtype=np.int16)
    for i in range(k):
        current = np.zeros_like(above)
        for j in range(k):
            longer = above[j] + (x[i] == y[j])
            current[j + 1] = np.maximum(np.maximum(above[j + 1], current[j]), longer)
        above = current
    return above[k]


def edit_distance(x: Sequences, y: Sequences) -> Integer[np.ndarray, " r"]:
    """Insertions, deletions and replacements from one list to the other, row by row, 0 ... k."""
    rows, k = x.shape
    x, y = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
    above = np.repeat(np.arange(k + 1, dtype=np.int16)[:, None], rows, axis=1)
    for i in range(k):
        current = np.full_like(above, i + 1)
        for j in range(k):
            replaced = above[j] + (x[i] != y[j])
            current[j + 1] = np.minimum(np.minimum(above[j + 1], current[j]) + 1, replaced)
        above = current
    return above[k]


def mean_length(
    x: Sequence[RankedLists], y: Sequence[RankedLists], length: Length, without: int
) -> Scores:
    """Mean over samples of `length`, for every layer pair; NaN if no sample has a definite order.

    Where equal distances allow several orders it is the mean over all of them.

    Args:
        without: The length of two lists that have nothing in common.
    """
    n, k = x[0].ranking.neighbors.shape
    at_once = max(1, BLOCK_ROWS // n)
    found = np.empty((len(x), len(y)))
    for start in range(0, len(y), at_once):
        block = y[start : start + at_once]
        lists = np.stack([summary.ranking.neighbors for summary in block])  # l n k
        for i, one in enumerate(x):
            mine = one.ranking.neighbors
            common = np.zeros(lists.shape[:2], dtype=bool)
            for a in range(k):
                for b in range(k):
                    common |= mine[:, a] == lists[:, :, b]
            lengths = np.full(common.shape, float(without))
            layer, row = common.nonzero()
            lengths[layer, row] = length(mine[row], lists[layer, row])
            for j, other in enumerate(block):
                _settle_ties(lengths[j], one.ranking, other.ranking, length)
                defined = ~np.isnan(lengths[j])
                found[i, start + j] = lengths[j, defined].mean() if defined.any() else np.nan
    return found


def _settle_ties(
    lengths: Float64[np.ndarray, " n"], x: Ranking, y: Ranking, length: Length
) -> None:
    """Put the mean over all orders where there are several, NaN where there are too many."""
    undefined = sorted(x.undefined | y.undefined)
    lengths[undefined] = np.nan
    for row in sorted((x.orders.keys() | y.orders.keys()).difference(undefined)):
        one = x.orders.get(row, x.neighbors[row : row + 1])
        other = y.orders.get(row, y.neighbors[row : row + 1])
        pairs = np.repeat(one, len(other), axis=0), np.tile(other, (len(one), 1))
        lengths[row] = length(*pairs).mean()


def compare_lcs(x: Sequence[RankedLists], y: Sequence[RankedLists], parameters: LcsKnn) -> Scores:
    found = mean_length(x, y, common_length, without=0)
    return found if parameters.variant == "code" else found / parameters.k


def compare_edit_distance(
    x: Sequence[RankedLists], y: Sequence[RankedLists], parameters: EditDistanceKnn
) -> Scores:
    return 1 - mean_length(x, y, edit_distance, without=parameters.k) / parameters.k


def claims_of_sequences(parameters: LcsKnn | EditDistanceKnn) -> Claims:
    longest = 1.0
    if isinstance(parameters, LcsKnn) and parameters.variant == "code":
        longest = float(parameters.k)
    return Claims(
        low=0.0,
        high=longest,
        perfect=longest,
        of_itself=longest,
        invariances=list_invariances(parameters),
    )


LCS_KNN = Metric(
    name="lcs_knn",
    summarize=summarize,
    compare=compare_lcs,
    reorder=reorder,
    claims=claims_of_sequences,
    check=lambda n, d, parameters: check_k(n, parameters.k, parameters.label()),
)

EDIT_DISTANCE_KNN = Metric(
    name="edit_distance_knn",
    summarize=summarize,
    compare=compare_edit_distance,
    reorder=reorder,
    claims=claims_of_sequences,
    check=lambda n, d, parameters: check_k(n, parameters.k, parameters.label()),
)
