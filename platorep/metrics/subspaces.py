"""Subspace metrics: two layers are alike if a linear map or a rotation takes one to the other.

Canonical correlations (CCA, SVCCA, PWCCA), eigenspace overlap, orthogonal Procrustes similarity.

Axes: n samples, d features, r directions kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import ConfigError
from platorep.metrics import triangles
from platorep.metrics.kernels import SIMILARITIES
from platorep.metrics.layer import Layer, product
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
from platorep.metrics.triangles import Triangle, whole
from platorep.parameters.metrics import CcaMean, EigenspaceOverlap, Procrustes, Pwcca, Svcca

RANK_TOLERANCE = 1e-10
"""Directions shorter than this share of the longest are rounding error (float64)."""
GRAM_TOLERANCE = 1e-6
"""The same when they come from the Gram matrix, which squares them."""
COMPUTED = 16
"""Rounding error of features that a network or a product computed, in units of what storing them
once more would add (measured: below 6 for products of rank 64 to 300, turned six times)."""

STANDARDIZED = SIMILARITIES - {Invariance.ROTATION} | {Invariance.UNIT_SCALING}


@dataclass(frozen=True)
class Subspace(Summary):
    """Orthonormal directions in sample space, and how the features lie along them."""

    basis: Float[Tensor, "n r"]
    coordinates: Float[Tensor, "r d"] | None
    """The centred features are `basis @ coordinates`; only where the metric needs it."""


@dataclass(frozen=True)
class Centred:
    """The features without their mean, in float64."""

    features: Float[Tensor, "n d"]
    rounding: float
    """Directions shorter than this are rounding error of the features that were given."""


def centred(layer: Layer, *, standardize: bool = False) -> Centred:
    """The centred features at a common scale or, standardized, each feature at unit variance."""
    given, moved = layer.features.double(), layer.vectors(center=True).exact(slice(None))
    if standardize:
        sizes, spreads = (z.square().mean(dim=0).sqrt() for z in (given, moved))
        alive = spreads > COMPUTED * layer.precision * sizes
        factors = torch.where(alive, 1 / torch.where(alive, spreads, 1.0), 0.0)
        given, moved = given * factors, moved * factors
    else:
        largest = max(float(moved.abs().max()), 1e-300)
        given, moved = given / largest, moved / largest
    return Centred(moved, _rounding(layer, given))


def _rounding(layer: Layer, given: Float[Tensor, "n d"]) -> float:
    """Length of a direction that is rounding error of the numbers that were given."""
    # each is off by a share of itself: a random matrix that is no longer than this
    longest = sum(float(torch.linalg.vector_norm(given, dim=axis).max()) for axis in (0, 1))
    error = layer.precision / 2 + COMPUTED * min(layer.precision, torch.finfo(torch.float32).eps)
    return error * longest


def principal(
    of: Centred,
) -> tuple[Float[Tensor, "n r"], Float[Tensor, " r"]]:
    """Left singular vectors and singular values above rounding error, largest first.

    Of wide features through their n n Gram matrix, which is much faster.
    """
    n, d = of.features.shape
    if d > n:
        values, vectors = torch.linalg.eigh(of.features @ of.features.T)
        basis, sizes = vectors.flip(1), values.flip(0).clamp_min(0).sqrt()
        tolerance = GRAM_TOLERANCE
    else:
        basis, sizes, _ = svd(of.features)
        tolerance = RANK_TOLERANCE
    kept = int((sizes > max(tolerance * float(sizes[0]), of.rounding)).sum())
    return basis[:, :kept], sizes[:kept]


def svd(
    matrix: Float[Tensor, "a b"],
) -> tuple[Float[Tensor, "a c"], Float[Tensor, " c"], Float[Tensor, "c b"]]:
    """The reduced SVD; by the slower method where the fast one does not converge."""
    try:
        left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    except RuntimeError:  # torch's LinAlgError: it did not converge
        parts = scipy.linalg.svd(matrix.cpu().numpy(), full_matrices=False, lapack_driver="gesvd")
        left, sizes, right = (torch.from_numpy(part).to(matrix.device) for part in parts)
    return left, sizes, right


def _subspace(
    layer: Layer, basis: Float[Tensor, "n r"], coordinates: Float[Tensor, "r d"] | None = None
) -> Subspace:
    kind = layer.features.dtype  # computed in float64, kept in the precision of the features
    kept = None if coordinates is None else coordinates.to(kind)
    return Subspace(layer.n, layer.reason, basis.to(kind), kept)


def canonical_correlations(x: Subspace, y: Subspace) -> Float[Tensor, " r"]:
    """Largest first, as many as the smaller subspace has directions."""
    return svd(product(x.basis.T, y.basis.T).double())[1].clamp(0, 1)


def _mean_correlation(x: Subspace, y: Subspace, parameters: object) -> float:
    if not min(x.basis.shape[1], y.basis.shape[1]):
        return np.nan
    return float(canonical_correlations(x, y).mean())


def _weighted_correlation(x: Subspace, y: Subspace, parameters: object) -> float:
    """Canonical correlations weighted by how much of x's features each direction carries."""
    of_x, of_y = x.basis.shape[1], y.basis.shape[1]
    if not min(of_x, of_y):
        return np.nan
    if of_x + of_y > x.n:
        raise ConfigError(
            f"pwcca needs more samples than x and y have dimensions together: got {of_x} + {of_y} "
            f"with n={x.n}. Then {of_x + of_y - x.n + 1} correlations are 1 whatever the features, "
            "between directions that are arbitrary, and so are their weights. Use svcca with a "
            "small `rank`, procrustes or cka, reduce the features by PCA, or take more samples."
        )
    assert x.coordinates is not None
    directions, correlations, _ = svd(product(x.basis.T, y.basis.T).double())
    weights = (directions.T @ x.coordinates.double()).abs().sum(dim=1)
    return float((weights @ correlations.clamp(0, 1)) / weights.sum())


def _nuclear_norm(x: Subspace, y: Subspace, parameters: object) -> float:
    if not min(x.basis.shape[1], y.basis.shape[1]):
        return np.nan
    return float(svd(product(x.basis.T, y.basis.T).double())[1].sum().clamp(0, 1))


def _reorder(summary: Subspace, order: Order) -> Subspace:
    index = torch.from_numpy(order.astype(np.int64)).to(summary.basis.device)
    return Subspace(summary.n, summary.reason, summary.basis[index], summary.coordinates)


def _check_width(n: int, d: int, label: str) -> None:
    if d >= n - 1:
        raise ConfigError(
            f"{label} needs fewer features than samples: got d={d} with n={n}, and from "
            f"d >= {n - 1} on any two sets of independent features score 1. Use svcca with a small "
            "`rank`, reduce the features by PCA, or take more samples."
        )


def _summarize_svcca(layer: Layer, parameters: Svcca) -> Subspace:
    """The leading principal directions.

    Raises:
        ConfigError: the share of the variance takes so many that any two layers would agree.
    """
    basis, sizes = principal(centred(layer, standardize=parameters.standardize))
    kept = parameters.rank
    if isinstance(kept, float) and len(sizes):
        held = sizes.square().cumsum(0) / sizes.square().sum()
        kept = int((held < kept).sum()) + 1
        if 2 * kept > layer.n - 1:
            raise ConfigError(
                f"{parameters.label()}: that share of the variance takes {kept} directions of "
                f"n={layer.n} samples, and two sets of more than {(layer.n - 1) // 2} share some "
                "whatever they are: independent features would score high. Use a number as `rank` "
                "(10), a smaller share, or more samples."
            )
    return _subspace(layer, basis[:, : int(kept)])


def _summarize_pwcca(layer: Layer, parameters: Pwcca) -> Subspace:
    basis, _ = principal(centred(layer, standardize=True))
    return _subspace(layer, basis, basis.T @ centred(layer).features)


def _summarize_procrustes(layer: Layer, parameters: Procrustes) -> Subspace:
    """The features turned onto their principal axes, centred, at total length 1."""
    basis, sizes = principal(centred(layer))
    lengths = sizes / max(float(torch.linalg.vector_norm(sizes)), 1e-300)
    return _subspace(layer, basis * lengths)


def _check_svcca(n: int, d: int, parameters: Svcca) -> None:
    if isinstance(parameters.rank, int) and parameters.rank >= n - 1:
        raise ConfigError(
            f"{parameters.label()}: rank must be smaller than n - 1 = {n - 1}, or any two sets of "
            "independent features score 1."
        )


def _summarize_cca(layer: Layer, parameters: CcaMean) -> Subspace:
    """All directions; features of one size, so that a massive one does not drown the others."""
    return _subspace(layer, principal(centred(layer, standardize=True))[0])


@dataclass(frozen=True)
class Projection(Summary):
    """The projection onto the span of the features, as a triangle at unit length."""

    triangle: Triangle
    rank: int


def _summarize_overlap(layer: Layer, parameters: EigenspaceOverlap) -> Projection:
    """The span of the features as they are, around the origin: not of the centred ones."""
    given = layer.features.double()
    sizes = given.square().mean(dim=0).sqrt()
    given = given / torch.where(sizes > 0, sizes, 1.0)
    basis, _ = principal(Centred(given, _rounding(layer, given)))
    projection = basis @ basis.T
    rank = basis.shape[1]
    values = (whole(projection) / math.sqrt(max(rank, 1))).to(layer.features.dtype)
    return Projection(layer.n, layer.reason, Triangle(layer.n, None, values, diagonal=True), rank)


def _prepare_overlap(x: Sequence[Projection], y: Sequence[Projection], parameters: Any) -> Scorer:
    """tr(P_x P_y) / max(r_x, r_y), from the cosine of the projections, of length sqrt(r)."""
    cosines = triangles.prepare([s.triangle for s in x], [s.triangle for s in y], parameters)
    ranks = (np.array([max(s.rank, 1) for s in side], dtype=np.float64) for side in (x, y))
    of_x, of_y = np.meshgrid(*ranks, indexing="ij")
    factors = np.sqrt(np.minimum(of_x, of_y) / np.maximum(of_x, of_y))

    def scores(order: Order | None) -> Scores:
        found: Scores = cosines(order) * factors
        return found

    return scores


def _reorder_overlap(summary: Projection, order: Order) -> Projection:
    moved = triangles.reorder(summary.triangle, order)
    return Projection(summary.n, summary.reason, moved, summary.rank)


CCA_MEAN = Metric(
    name="cca_mean",
    summarize=_summarize_cca,
    compare=each_pair(_mean_correlation),
    reorder=_reorder,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        invariances=frozenset(Invariance) - {Invariance.ROW_SCALING},
    ),
    check=lambda n, d, parameters: _check_width(n, d, parameters.label()),
)

SVCCA = Metric(
    name="svcca",
    summarize=_summarize_svcca,
    compare=each_pair(_mean_correlation),
    reorder=_reorder,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        invariances=STANDARDIZED if parameters.standardize else SIMILARITIES,
    ),
    check=_check_svcca,
)

PWCCA = Metric(
    name="pwcca",
    summarize=_summarize_pwcca,
    compare=each_pair(_weighted_correlation),
    reorder=_reorder,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        symmetric=False,
        # the weights of x see its units one by one
        invariances=SIMILARITIES - {Invariance.ROTATION},
    ),
    check=lambda n, d, parameters: _check_width(n, d, parameters.label()),
)

PROCRUSTES = Metric(
    name="procrustes",
    summarize=_summarize_procrustes,
    compare=each_pair(_nuclear_norm),
    reorder=_reorder,
    claims=lambda parameters: Claims(low=0.0, high=1.0, of_itself=1.0, invariances=SIMILARITIES),
)

EIGENSPACE_OVERLAP = Metric(
    name="eigenspace_overlap",
    summarize=_summarize_overlap,
    compare=lambda x, y, parameters: _prepare_overlap(x, y, parameters)(None),
    prepare=_prepare_overlap,
    reorder=_reorder_overlap,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        cost="grid",
        invariances=frozenset(Invariance) - {Invariance.ROW_SCALING, Invariance.TRANSLATION},
    ),
    check=lambda n, d, parameters: _check_width(n, d, parameters.label()),
)
