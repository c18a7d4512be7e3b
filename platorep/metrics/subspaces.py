"""Subspace metrics: two layers are alike if a linear map or a rotation takes one to the other.

Canonical correlations (CCA, SVCCA, PWCCA) and the orthogonal Procrustes similarity.

Axes: n samples, d features, r directions kept.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import ConfigError
from platorep.metrics.kernels import SIMILARITIES
from platorep.metrics.layer import Layer, product
from platorep.metrics.metric import Claims, Invariance, Metric, Order, Summary, each_pair
from platorep.parameters.metrics import Procrustes, Pwcca, Svcca

RANK_TOLERANCE = 1e-10
"""Directions shorter than this share of the longest are rounding error (float64)."""
GRAM_TOLERANCE = 1e-6
"""The same when they come from the Gram matrix, which squares them."""


STANDARDIZED = SIMILARITIES - {Invariance.ROTATION} | {Invariance.UNIT_SCALING}


@dataclass(frozen=True)
class Subspace(Summary):
    """Orthonormal directions in sample space, and how the features lie along them."""

    basis: Float[Tensor, "n r"]
    coordinates: Float[Tensor, "r d"] | None
    """The centred features are `basis @ coordinates`; only where the metric needs it."""


def principal(
    features: Float[Tensor, "n d"],
) -> tuple[Float[Tensor, "n r"], Float[Tensor, " r"]]:
    """Left singular vectors and singular values above rounding error, largest first.

    Of wide features through their n n Gram matrix, which is much faster.
    """
    n, d = features.shape
    if d > n:
        values, vectors = torch.linalg.eigh(features @ features.T)
        basis, sizes = vectors.flip(1), values.flip(0).clamp_min(0).sqrt()
        tolerance = GRAM_TOLERANCE
    else:
        basis, sizes, _ = torch.linalg.svd(features, full_matrices=False)
        tolerance = RANK_TOLERANCE
    kept = int((sizes > tolerance * sizes[0]).sum()) if float(sizes[0]) > 0 else 0
    return basis[:, :kept], sizes[:kept]


def _centred(layer: Layer) -> Float[Tensor, "n d"]:
    features = layer.vectors(center=True).exact(slice(None))
    return features / max(float(features.abs().max()), 1e-300)


def _subspace(
    layer: Layer, basis: Float[Tensor, "n r"], coordinates: Float[Tensor, "r d"] | None = None
) -> Subspace:
    kind = layer.features.dtype  # computed in float64, kept in the precision of the features
    kept = None if coordinates is None else coordinates.to(kind)
    return Subspace(layer.n, layer.reason, basis.to(kind), kept)


def canonical_correlations(x: Subspace, y: Subspace) -> Float[Tensor, " r"]:
    """Largest first, as many as the smaller subspace has directions."""
    between = product(x.basis.T, y.basis.T).double()
    values: Tensor = torch.linalg.svdvals(between)
    return values.clamp(0, 1)


def _mean_correlation(x: Subspace, y: Subspace, parameters: object) -> float:
    if not min(x.basis.shape[1], y.basis.shape[1]):
        return np.nan
    return float(canonical_correlations(x, y).mean())


def _weighted_correlation(x: Subspace, y: Subspace, parameters: object) -> float:
    """Canonical correlations weighted by how much of x's features each direction carries."""
    if not min(x.basis.shape[1], y.basis.shape[1]):
        return np.nan
    assert x.coordinates is not None
    between = product(x.basis.T, y.basis.T).double()
    directions, correlations, _ = torch.linalg.svd(between, full_matrices=False)
    weights = (directions.T @ x.coordinates.double()).abs().sum(dim=1)
    return float((weights @ correlations.clamp(0, 1)) / weights.sum())


def _nuclear_norm(x: Subspace, y: Subspace, parameters: object) -> float:
    if not min(x.basis.shape[1], y.basis.shape[1]):
        return np.nan
    between = product(x.basis.T, y.basis.T).double()
    return float(torch.linalg.svdvals(between).sum().clamp(0, 1))


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
    """The leading principal directions."""
    features = _centred(layer)
    if parameters.standardize:
        spread = features.square().mean(dim=0).sqrt()
        features = features / torch.where(spread > 0, spread, 1.0)
    basis, sizes = principal(features)
    kept = parameters.rank
    if isinstance(kept, float) and len(sizes):
        held = sizes.square().cumsum(0) / sizes.square().sum()
        kept = int((held < kept).sum()) + 1
    return _subspace(layer, basis[:, : int(kept)])


def _summarize_pwcca(layer: Layer, parameters: Pwcca) -> Subspace:
    features = _centred(layer)
    basis, _ = principal(features)
    return _subspace(layer, basis, basis.T @ features)


def _summarize_procrustes(layer: Layer, parameters: Procrustes) -> Subspace:
    """The features turned onto their principal axes, centred, at total length 1."""
    basis, sizes = principal(_centred(layer))
    lengths = sizes / max(float(torch.linalg.vector_norm(sizes)), 1e-300)
    return _subspace(layer, basis * lengths)


def _check_svcca(n: int, d: int, parameters: Svcca) -> None:
    if isinstance(parameters.rank, int) and parameters.rank >= n - 1:
        raise ConfigError(
            f"{parameters.label()}: rank must be smaller than n - 1 = {n - 1}, or any two sets of "
            "independent features score 1."
        )


CCA_MEAN = Metric(
    name="cca_mean",
    summarize=lambda layer, parameters: _subspace(layer, principal(_centred(layer))[0]),
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
