"""Neighborhood metrics: two layers are alike if they agree on who is near whom.

Axes: n samples, k neighbors, l_x and l_y layers of the two models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Integer

from platorep.errors import ConfigError
from platorep.metrics.layer import Layer
from platorep.metrics.lists import Lists, overlaps_with, sum_over_rows
from platorep.metrics.metric import Claims, Invariance, Metric, Order, Scorer, Scores, Summary
from platorep.metrics.nearest import Nearest, Ties, compact, search
from platorep.metrics.overlap import common_neighbors
from platorep.parameters.metrics import JaccardKnn, MutualKnn, NeighborParameters

TIED_SHARE = 0.5
"""A layer with more tied rows than this says too little, and is left out of the maximum.

Shared places make the score what independent random choices would give on average, and the null
exact, at any share (tests/test_ties.py); but most of such a layer's score is chance.
"""


CURE = (
    "most rows are copies of each other, or of few values: drop copies (dataset.deduplicate: true, "
    "or from your own arrays), leave the layer out (layers: [...]), or use rsa or cka"
)


@dataclass(frozen=True)
class NeighborLists(Summary):
    """The k nearest neighbors of every sample, and the tied rows with shared places."""

    nearest: Nearest
    device: torch.device

    @property
    def k(self) -> int:
        return int(self.nearest.neighbors.shape[1])


def check_k(n: int, k: int, label: str) -> None:
    if k >= n:
        raise ConfigError(
            f"{label}: k must be smaller than the number of samples: got k={k} with n={n}. "
            f"Every sample has {n - 1} others; use k <= {n - 1}."
        )


def neighbor_lists(layer: Layer, parameters: NeighborParameters) -> NeighborLists:
    """The summary of every metric on sets of neighbors.

    The degenerate layer is recorded here: constant, or most rows tied.
    """
    found = search(layer, parameters.similarity, center=parameters.center).nearest(parameters.k)
    device = layer.features.device
    if parameters.ties == "lowest":
        return NeighborLists(layer.n, None, Nearest(found.neighbors, None), device)
    return NeighborLists(layer.n, reason_of(layer.reason, found, parameters.k), found, device)


def reason_of(of_layer: str | None, found: Nearest, k: int) -> str | None:
    """Why a layer is left out of the maximum: what is wrong with itself, or most rows are tied."""
    n, tied = len(found.neighbors), found.ties.num_rows if found.ties else 0
    if of_layer is None and tied > TIED_SHARE * n:
        return f"{tied} of {n} samples have tied neighbors at place {k}; {CURE}"
    return of_layer


def reorder(summary: NeighborLists, order: Order) -> NeighborLists:
    """The neighbor lists of the same layer with its samples in another order."""
    place = np.argsort(order).astype(np.int32)
    ties = summary.nearest.ties
    moved = Nearest(
        compact(place[summary.nearest.neighbors[order]]),
        None if ties is None else Ties(place[ties.rows], place[ties.columns], ties.weights),
    )
    return NeighborLists(summary.n, summary.reason, moved, summary.device)


def stack(summaries: Sequence[NeighborLists]) -> Lists:
    """The lists of several layers, one after another; tied rows with their shares."""
    n = summaries[0].n
    every = np.repeat(np.arange(n, dtype=np.int32), summaries[0].k)
    rows: list[Integer[np.ndarray, " e"]] = []
    columns: list[Integer[np.ndarray, " e"]] = []
    weights: list[np.ndarray] = []
    shared = any(summary.nearest.ties is not None for summary in summaries)
    for summary in summaries:
        names, ties = summary.nearest.neighbors.ravel(), summary.nearest.ties
        if ties is None:
            rows.append(every)
            columns.append(names)
        else:
            untied = ~np.isin(every, ties.rows)
            rows.append(np.concatenate([every[untied], ties.rows]))
            columns.append(np.concatenate([names[untied], ties.columns]))
        if shared:
            ones = np.ones(len(rows[-1]) - (0 if ties is None else len(ties.rows)))
            weights.append(ones if ties is None else np.concatenate([ones, ties.weights]))
    return Lists(
        n,
        np.cumsum([0, *(len(part) for part in rows)]),
        np.concatenate(rows),
        np.concatenate(columns).astype(np.int32),
        np.concatenate(weights) if shared else None,
    )


def prepare_mutual_knn(
    x: Sequence[NeighborLists], y: Sequence[NeighborLists], parameters: MutualKnn
) -> Scorer:
    """Mean share of common neighbors, for every layer pair and any order of y's samples.

    Bringing y into an order, or x into the inverse one, gives the same score; x is moved.
    """
    lists, overlaps = stack(x), overlaps_with(stack(y), x[0].device)
    places = x[0].n * parameters.k

    def scores(order: Order | None) -> Scores:
        moved = lists if order is None else lists.reordered(np.argsort(order))
        return overlaps(moved) / places

    return scores


def compare_mutual_knn(
    x: Sequence[NeighborLists], y: Sequence[NeighborLists], parameters: MutualKnn
) -> Scores:
    return prepare_mutual_knn(x, y, parameters)(None)


def mutual_knn_by_row(
    x: NeighborLists, y: NeighborLists, parameters: MutualKnn
) -> Float64[np.ndarray, " n"]:
    """The share of common neighbors of each sample."""
    return common_neighbors(x.nearest, y.nearest, x.n) / parameters.k


def list_invariances(parameters: NeighborParameters) -> frozenset[Invariance]:
    """What neighbor lists do not see, under each similarity."""
    same = {Invariance.ROTATION, Invariance.SCALING, Invariance.UNIT_PERMUTATION}
    if parameters.center or parameters.similarity == "euclidean":
        same.add(Invariance.TRANSLATION)
    if parameters.similarity == "cosine" and not parameters.center:
        same.add(Invariance.ROW_SCALING)
    return frozenset(same)


def claims_of_mutual_knn(parameters: MutualKnn) -> Claims:
    return Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        chance=lambda n: parameters.k / (n - 1),
        cost="grid",
        invariances=list_invariances(parameters),
    )


def prepare_jaccard_knn(
    x: Sequence[NeighborLists], y: Sequence[NeighborLists], parameters: JaccardKnn
) -> Scorer:
    """Mean over samples of common / distinct neighbors, for every layer pair.

    Tied places count with the overlap c that is expected: c / (2 k - c).
    """
    one, other, device = stack(x), stack(y), x[0].device

    def scores(order: Order | None) -> Scores:
        moved = other if order is None else other.reordered(order)
        ratio = sum_over_rows([(one, moved)], lambda c: c / (2 * parameters.k - c), device)
        return ratio / one.n

    return scores


def compare_jaccard_knn(
    x: Sequence[NeighborLists], y: Sequence[NeighborLists], parameters: JaccardKnn
) -> Scores:
    return prepare_jaccard_knn(x, y, parameters)(None)


def jaccard_knn_by_row(
    x: NeighborLists, y: NeighborLists, parameters: JaccardKnn
) -> Float64[np.ndarray, " n"]:
    """Common over distinct neighbors of each sample."""
    common = common_neighbors(x.nearest, y.nearest, x.n)
    share: np.ndarray = common / (2 * parameters.k - common)
    return share


def chance_of_jaccard(k: int, n: int) -> float:
    """Expected ratio when both lists are k of the n - 1 others, drawn independently."""
    from scipy import stats  # takes long to import, and finished scores need none of it

    common = np.arange(k + 1)
    return float(stats.hypergeom.pmf(common, n - 1, k, k) @ (common / (2 * k - common)))


MUTUAL_KNN = Metric(
    name="mutual_knn",
    summarize=neighbor_lists,
    compare=compare_mutual_knn,
    prepare=prepare_mutual_knn,
    reorder=reorder,
    claims=claims_of_mutual_knn,
    check=lambda n, d, parameters: check_k(n, parameters.k, parameters.label()),
    by_row=mutual_knn_by_row,
)

JACCARD_KNN = Metric(
    name="jaccard_knn",
    summarize=neighbor_lists,
    compare=compare_jaccard_knn,
    prepare=prepare_jaccard_knn,
    reorder=reorder,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        chance=lambda n: chance_of_jaccard(parameters.k, n),
        cost="grid",
        invariances=list_invariances(parameters),
    ),
    check=lambda n, d, parameters: check_k(n, parameters.k, parameters.label()),
    by_row=jaccard_knn_by_row,
)
