"""Representational similarity analysis, and its ordinal form: do two layers order pairs alike?

Axes: n samples, m pairs of samples, t triplets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int32, Int64
from torch import Tensor

from platorep.metrics import triangles
from platorep.metrics.kernels import ORTHOGONAL, SIMILARITIES, check_rows, squared_distances
from platorep.metrics.layer import GRAM_ROWS, Layer, Vectors, product
from platorep.metrics.metric import (
    Claims,
    Invariance,
    Metric,
    Order,
    Scorer,
    Scores,
    Summary,
    each_pair,
)
from platorep.metrics.triangles import Triangle, triangle_order, unit, upper
from platorep.parameters.metrics import OrdinalTriplets, Rsa

ROUNDING = 8
"""Error of a squared distance of unit vectors, of the features and of the product together, in
units of the dtype's epsilon (measured: below 5)."""
PARALLEL = 32
"""Unit vectors that differ by less, in the same units, are all one direction."""


@dataclass(frozen=True)
class PairTable:
    """What orders all pairs of samples, nearest first."""

    values: Float[Tensor, "n n"]
    """1 - correlation, 1 - cosine, the squared distance, or minus the inner product."""
    error: float
    """Bound of their rounding error."""
    reason: str | None
    """Why they say nothing, or None."""


def _vectors(layer: Layer, kind: str) -> Vectors:
    unit = kind in ("cosine", "correlation")
    return layer.vectors(unit=unit, center_rows=kind == "correlation")


def _error(vectors: Vectors, kind: str) -> float:
    """Bound of the rounding error of a dissimilarity."""
    size = float(vectors.squares.max())
    if kind == "inner_product":
        size += math.sqrt(size) * float(torch.linalg.vector_norm(vectors.origin))
    elif kind != "euclidean":
        size += math.sqrt(size) / ROUNDING  # of the unit vectors themselves
    return ROUNDING * torch.finfo(vectors.origin.dtype).eps * size


def dissimilarities(layer: Layer, kind: str) -> PairTable:
    """The dissimilarity of every pair of samples.

    Equal rows have exactly equal entries. A row without direction (zero, or constant for the
    correlation) has similarity 0 to everybody.
    """
    vectors, reason = _vectors(layer, kind), layer.reason
    if kind == "inner_product":
        along = vectors.along_origin
        found = -(vectors.gram_rows(slice(None)) + along[:, None] + along)
    elif kind == "euclidean":
        found = squared_distances(vectors)
    else:
        found = squared_distances(vectors) / 2
        if vectors.zero.any():
            found[vectors.zero] = found[:, vectors.zero] = 1.0
        elif float(vectors.squares.max().sqrt()) <= PARALLEL * torch.finfo(found.dtype).eps:
            reason = reason or "all rows have one direction, up to rounding"
    first = layer.first_equal
    if (first != torch.arange(layer.n, device=first.device)).any():
        found = found[first][:, first]
    return PairTable(found, _error(vectors, kind), reason)


def groups_of_equal(
    values: Float[np.ndarray, " m"], error: float
) -> tuple[Int32[np.ndarray, " m"], Float64[np.ndarray, " groups"]]:
    """For every value the number of its group, and each group's mean rank; smallest first.

    Values that are off by at most `error` and are otherwise equal are in one group. Where values
    lie so dense that they follow on each other by less, a group is 4 errors wide.
    """
    order = np.argsort(values)
    ascending = values[order]
    begins = np.diff(ascending, prepend=-np.inf) > 2 * error
    if error:
        starts = np.maximum.accumulate(np.where(begins, ascending, -np.inf))
        begins[1:] |= np.diff(np.floor((ascending - starts) / (4 * error))) > 0
    groups = np.empty(len(values), dtype=np.int32)
    groups[order] = np.cumsum(begins, dtype=np.int32) - 1
    bounds = np.flatnonzero(np.append(begins, True))
    return groups, (bounds[:-1] + 1 + bounds[1:]) / 2


def summarize_rsa(layer: Layer, parameters: Rsa) -> Triangle:
    """The dissimilarities, or their ranks, centred and at unit length (kendall: as they are)."""
    table = dissimilarities(layer, parameters.rdm)
    values, reason = upper(table.values), table.reason
    if parameters.compare == "pearson":
        values = values.sqrt() if parameters.rdm == "euclidean" else values
    else:
        groups, ranks = groups_of_equal(values.cpu().numpy(), table.error)
        values = torch.from_numpy(ranks[groups]).to(values.device)
    if parameters.compare == "kendall":
        one = not bool((values != values[0]).any())
        reason = reason or ("all pairs of samples are equally far apart" if one else None)
        return Triangle(layer.n, reason, values, diagonal=False)
    kind = layer.features.dtype
    rounding = 8 * torch.finfo(kind).eps * float(torch.linalg.vector_norm(values))
    values, flat = unit((values - values.mean(dtype=torch.float64)).to(kind), rounding)
    if reason is not None:
        values = torch.zeros_like(values)
    return Triangle(layer.n, reason or flat, values, diagonal=False)


def _kendall(x: Triangle, y: Triangle, parameters: Rsa) -> float:
    from scipy import stats  # takes long to import, and finished scores need none of it

    if x.reason is not None or y.reason is not None:
        return np.nan
    return float(stats.kendalltau(x.values.cpu().numpy(), y.values.cpu().numpy()).statistic)


compare_kendall = each_pair(_kendall)


def prepare_rsa(x: Sequence[Triangle], y: Sequence[Triangle], parameters: Rsa) -> Scorer:
    if parameters.compare != "kendall":
        return triangles.prepare(x, y, parameters)

    def scores(order: Order | None) -> Scores:
        moved = y if order is None else [triangles.reorder(summary, order) for summary in y]
        return compare_kendall(x, moved, parameters)

    return scores


def compare_rsa(x: Sequence[Triangle], y: Sequence[Triangle], parameters: Rsa) -> Scores:
    return prepare_rsa(x, y, parameters)(None)


_RDM_INVARIANCES = {
    "euclidean": SIMILARITIES,
    "cosine": ORTHOGONAL | {Invariance.ROW_SCALING},
    # subtracting the mean over units is no rotation's business, but a permutation's
    "correlation": frozenset(
        {Invariance.UNIT_PERMUTATION, Invariance.SCALING, Invariance.ROW_SCALING}
    ),
}

RSA = Metric(
    name="rsa",
    summarize=summarize_rsa,
    compare=compare_rsa,
    prepare=prepare_rsa,
    reorder=triangles.reorder,
    claims=lambda parameters: Claims(
        low=-1.0,
        high=1.0,
        of_itself=1.0,
        chance=lambda n: 0.0,
        cost="pair" if parameters.compare == "kendall" else "grid",
        invariances=_RDM_INVARIANCES[parameters.rdm],
    ),
    check=lambda n, d, parameters: check_rows(n, parameters.label()),
)


@dataclass(frozen=True)
class Dissimilarities(Summary):
    """Dissimilarities of all pairs, or, for many samples, the features they are made of."""

    values: Float[Tensor, " m"] | None
    error: float
    """Values that differ by less than twice this are equal."""
    features: Float[Tensor, "n d"] | None


def summarize_triplets(layer: Layer, parameters: OrdinalTriplets) -> Dissimilarities:
    if layer.n <= GRAM_ROWS:
        table = dissimilarities(layer, parameters.similarity)
        return Dissimilarities(layer.n, table.reason, upper(table.values), table.error, None)
    error = _error(_vectors(layer, parameters.similarity), parameters.similarity)
    return Dissimilarities(layer.n, layer.reason, None, error, layer.features)


def sample_triplets(n: int, number: int, seed: int) -> Int64[np.ndarray, "3 t"]:
    """An anchor and two other samples, uniformly and with replacement; the same for all layers."""
    rng = np.random.default_rng([seed, n])
    anchor = rng.integers(n, size=number)
    one = rng.integers(n - 1, size=number)
    other = rng.integers(n - 2, size=number)
    other += other >= one  # different from `one`, then both different from the anchor
    return np.stack([anchor, one + (one >= anchor), other + (other >= anchor)])


def triplet_signs(
    summary: Dissimilarities, triplets: Int64[np.ndarray, "3 t"], similarity: str
) -> Float[Tensor, " t"]:
    """+1 where the anchor is nearer to the first of the two, -1 where to the second, 0 if equal."""
    if summary.values is not None:
        near, far = (
            summary.values[torch.from_numpy(triangle_place(summary.n, triplets[0], other))]
            for other in triplets[1:]
        )
        return _signs(far - near, summary.error)
    assert summary.features is not None
    signs = []
    for part in np.array_split(triplets, max(1, triplets.shape[1] // 8192), axis=1):
        rows = [summary.features[torch.from_numpy(numbers)].double() for numbers in part]
        if similarity == "cosine":
            rows = [torch.nn.functional.normalize(z) for z in rows]
        anchor, one, other = rows
        if similarity == "euclidean":
            far, near = ((anchor - z).square().sum(dim=1) for z in (other, one))
        else:
            far, near = (-(anchor * z).sum(dim=1) for z in (other, one))
        signs.append(_signs(far - near, summary.error))
    return torch.cat(signs)


def _signs(differences: Float[Tensor, " t"], error: float) -> Float[Tensor, " t"]:
    """The signs of differences of two values of this error; 0 where they are equal up to it."""
    return differences.sign().masked_fill(differences.abs() <= 2 * error, 0.0).float()


def triangle_place(
    n: int, i: Int64[np.ndarray, " t"], j: Int64[np.ndarray, " t"]
) -> Int64[np.ndarray, " t"]:
    """Where the pair stands in the upper triangle of an n n matrix."""
    low, high = np.minimum(i, j), np.maximum(i, j)
    place: np.ndarray = low * (2 * n - low - 1) // 2 + high - low - 1
    return place


def prepare_triplets(
    x: Sequence[Dissimilarities], y: Sequence[Dissimilarities], parameters: OrdinalTriplets
) -> Scorer:
    """Share of triplets that two layers order alike; one that is a tie in either counts half."""
    triplets = sample_triplets(x[0].n, parameters.triplets, parameters.seed)
    left = torch.stack([triplet_signs(s, triplets, parameters.similarity) for s in x])

    def scores(order: Order | None) -> Scores:
        moved = triplets if order is None else order.astype(np.int64)[triplets]
        right = torch.stack([triplet_signs(s, moved, parameters.similarity) for s in y])
        agreement: np.ndarray = product(left, right).double().cpu().numpy()
        found: Scores = (agreement / parameters.triplets + 1) / 2
        return found

    return scores


def compare_triplets(
    x: Sequence[Dissimilarities], y: Sequence[Dissimilarities], parameters: OrdinalTriplets
) -> Scores:
    return prepare_triplets(x, y, parameters)(None)


def reorder_triplets(summary: Dissimilarities, order: Order) -> Dissimilarities:
    index = torch.from_numpy(order.astype(np.int64))
    if summary.features is not None:
        moved = summary.features[index]
        return Dissimilarities(summary.n, summary.reason, None, summary.error, moved)
    assert summary.values is not None
    place = torch.from_numpy(triangle_order(summary.n, order, diagonal=False))
    values = summary.values[place]
    return Dissimilarities(summary.n, summary.reason, values, summary.error, None)


_TRIPLET_INVARIANCES = {
    "cosine": ORTHOGONAL | {Invariance.ROW_SCALING},
    "inner_product": ORTHOGONAL,
    "euclidean": SIMILARITIES,
}

ORDINAL_TRIPLETS = Metric(
    name="ordinal_triplets",
    summarize=summarize_triplets,
    compare=compare_triplets,
    prepare=prepare_triplets,
    reorder=reorder_triplets,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        chance=lambda n: 0.5,
        cost="grid",
        invariances=_TRIPLET_INVARIANCES[parameters.similarity],
    ),
)
