"""Metrics on ordered neighbor lists: common subsequence, edit distance, rank similarity.

Axes: n samples, k neighbors, r rows, o orders of one row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer, Shaped

from platorep.metrics.layer import Layer
from platorep.metrics.metric import Claims, Metric, Order, Scores, Summary
from platorep.metrics.nearest import compact, search
from platorep.metrics.neighbors import CURE, TIED_SHARE, check_k, list_invariances
from platorep.metrics.ranking import Ranking, rank
from platorep.parameters.metrics import EditDistanceKnn, LcsKnn, RankSimilarity

Sequences = Integer[np.ndarray, "r k"]
Length = Callable[[Sequences, Sequences], Shaped[np.ndarray, " r"]]
BLOCK_ROWS = 1 << 19
"""Rows compared at once."""


@dataclass(frozen=True)
class RankedLists(Summary):
    """The k nearest neighbors of every sample in order."""

    ranking: Ranking


def summarize(layer: Layer, parameters: LcsKnn | EditDistanceKnn | RankSimilarity) -> RankedLists:
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


def rank_weights(k: int) -> Float64[np.ndarray, "k k"]:
    """What a neighbor at place a + 1 of one list and b + 1 of the other counts."""
    a, b = np.indices((k, k))
    weights: np.ndarray = 2 / ((1 + np.abs(a - b)) * (a + b + 2))
    return weights


def harmonic_numbers(k: int) -> Float64[np.ndarray, " k_and_1"]:
    """1 + 1/2 + ... + 1/m for m = 0 ... k, the first of them put at 1 to divide by."""
    numbers = np.cumsum(np.append(0.0, 1 / np.arange(1, k + 1)))
    numbers[0] = 1.0
    return numbers


def rank_agreement(x: Sequences, y: Sequences) -> Float64[np.ndarray, " r"]:
    """The weights of the common neighbors over the most that as many could have, row by row."""
    k = x.shape[1]
    weights, total, common = rank_weights(k), np.zeros(len(x)), np.zeros(len(x), dtype=int)
    for a in range(k):
        for b in range(k):
            same = x[:, a] == y[:, b]
            total += weights[a, b] * same
            common += same
    agreement: np.ndarray = total / harmonic_numbers(k)[common]
    return agreement


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


def lengths_by_row(x: RankedLists, y: RankedLists, length: Length) -> Float64[np.ndarray, " n"]:
    """`length` of each sample, NaN where its order is not definite; as in `mean_length`."""
    lengths = length(x.ranking.neighbors, y.ranking.neighbors).astype(np.float64)
    _settle_ties(lengths, x.ranking, y.ranking, length)
    return lengths


def lcs_by_row(x: RankedLists, y: RankedLists, parameters: LcsKnn) -> Float64[np.ndarray, " n"]:
    found = lengths_by_row(x, y, common_length)
    return found if parameters.variant == "code" else found / parameters.k


def edit_distance_by_row(
    x: RankedLists, y: RankedLists, parameters: EditDistanceKnn
) -> Float64[np.ndarray, " n"]:
    return 1 - lengths_by_row(x, y, edit_distance) / parameters.k


def compare_lcs(x: Sequence[RankedLists], y: Sequence[RankedLists], parameters: LcsKnn) -> Scores:
    found = mean_length(x, y, common_length, without=0)
    return found if parameters.variant == "code" else found / parameters.k


def compare_edit_distance(
    x: Sequence[RankedLists], y: Sequence[RankedLists], parameters: EditDistanceKnn
) -> Scores:
    return 1 - mean_length(x, y, edit_distance, without=parameters.k) / parameters.k


def compare_rank_similarity(
    x: Sequence[RankedLists], y: Sequence[RankedLists], parameters: RankSimilarity
) -> Scores:
    return mean_length(x, y, rank_agreement, without=0)


def rank_similarity_by_row(
    x: RankedLists, y: RankedLists, parameters: RankSimilarity
) -> Float64[np.ndarray, " n"]:
    return lengths_by_row(x, y, rank_agreement)


def chance_of_rank_similarity(k: int, n: int) -> float:
    """Expected agreement of two lists of k of the n - 1 others, drawn independently, in order.

    Whatever the number m of common ones, each stands at places drawn uniformly from both lists.
    """
    from scipy import stats  # takes long to import, and finished scores need none of it

    common = np.arange(k + 1)
    shares = stats.hypergeom.pmf(common, n - 1, k, k) @ (common / harmonic_numbers(k))
    return float(rank_weights(k).mean() * shares)


def claims_of_sequences(parameters: LcsKnn | EditDistanceKnn | RankSimilarity) -> Claims:
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
    by_row=lcs_by_row,
)

EDIT_DISTANCE_KNN = Metric(
    name="edit_distance_knn",
    summarize=summarize,
    compare=compare_edit_distance,
    reorder=reorder,
    claims=claims_of_sequences,
    check=lambda n, d, parameters: check_k(n, parameters.k, parameters.label()),
    by_row=edit_distance_by_row,
)

RANK_SIMILARITY = Metric(
    name="rank_similarity",
    summarize=summarize,
    compare=compare_rank_similarity,
    reorder=reorder,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        chance=lambda n: chance_of_rank_similarity(parameters.k, n),
        invariances=list_invariances(parameters),
    ),
    check=lambda n, d, parameters: check_k(n, parameters.k, parameters.label()),
    by_row=rank_similarity_by_row,
)
