"""Representational similarity analysis, and its ordinal form: do two layers order pairs alike?

Axes: n samples, m pairs of samples, t triplets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy import stats
from torch import Tensor

from platorep.metrics import triangles
from platorep.metrics.kernels import ORTHOGONAL, SIMILARITIES, check_rows, squared_distances
from platorep.metrics.layer import GRAM_ROWS, Layer, product
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


def dissimilarities(layer: Layer, kind: str) -> Float[Tensor, "n n"]:
    """1 - correlation, 1 - cosine, Euclidean distance, or minus the inner product.

    Equal rows have exactly equal entries. A row without direction (zero, or constant for the
    correlation) has similarity 0 to everybody.
    """
    if kind == "inner_product":
        vectors = layer.vectors()
        along = vectors.along_origin
        found = -(vectors.gram_rows(slice(None)) + along[:, None] + along)
    elif kind == "euclidean":
        found = squared_distances(layer.vectors()).sqrt()
    else:
        vectors = layer.vectors(unit=True, center_rows=kind == "correlation")
        found = squared_distances(vectors) / 2
        if vectors.zero.any():
            found[vectors.zero] = found[:, vectors.zero] = 1.0
    first = layer.first_equal
    if (first != torch.arange(layer.n, device=first.device)).any():
        found = found[first][:, first]
    return found


def summarize_rsa(layer: Layer, parameters: Rsa) -> Triangle:
    """The dissimilarities, or their ranks, centred and at unit length (kendall: as they are)."""
    values = upper(dissimilarities(layer, parameters.rdm))
    if parameters.compare == "kendall":
        return Triangle(layer.n, layer.reason, values, diagonal=False)
    if parameters.compare == "spearman":
        ranks = stats.rankdata(values.cpu().numpy())  # equal values share the mean rank
        values = torch.from_numpy(ranks).to(values)
    rounding = 8 * torch.finfo(values.dtype).eps * float(torch.linalg.vector_norm(values))
    values, reason = unit(values - values.mean(dtype=torch.float64).to(values), rounding)
    return Triangle(layer.n, layer.reason or reason, values, diagonal=False)


def _kendall(x: Triangle, y: Triangle, parameters: Rsa) -> float:
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
    features: Float[Tensor, "n d"] | None


def summarize_triplets(layer: Layer, parameters: OrdinalTriplets) -> Dissimilarities:
    if layer.n <= GRAM_ROWS:
        values = upper(dissimilarities(layer, parameters.similarity))
        return Dissimilarities(layer.n, layer.reason, values, None)
    return Dissimilarities(layer.n, layer.reason, None, layer.features)


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
        return (far - near).sign().float()
    assert summary.features is not None
    signs = []
    for part in np.array_split(triplets, max(1, triplets.shape[1] // 8192), axis=1):
        anchor, one, other = (summary.features[torch.from_numpy(rows)].double() for rows in part)
        if similarity == "euclidean":
            difference = (anchor - other).norm(dim=1) - (anchor - one).norm(dim=1)
        else:
            if similarity == "cosine":
                one, other = (torch.nn.functional.normalize(z) for z in (one, other))
            difference = (anchor * one).sum(dim=1) - (anchor * other).sum(dim=1)
        signs.append(difference.sign().float())
    return torch.cat(signs)


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
        return Dissimilarities(summary.n, summary.reason, None, summary.features[index])
    assert summary.values is not None
    place = torch.from_numpy(triangle_order(summary.n, order, diagonal=False))
    return Dissimilarities(summary.n, summary.reason, summary.values[place], None)


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
