"""Matching of units: which are each other's best match (Rosetta neurons, after arXiv:2306.09346),
and how well all fit together one to one. At the level of pooled units: one value per sample.

Axes: n samples, m of them, d units.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from platorep.metrics.layer import Layer, product
from platorep.metrics.metric import Claims, Invariance, Metric, Order, Summary, each_pair
from platorep.metrics.nearest import PRODUCT_ERROR
from platorep.metrics.subspaces import centred
from platorep.parameters.metrics import PermutationProcrustes, UnitMatching


@dataclass(frozen=True)
class Units(Summary):
    """The activations of the units that vary."""

    features: Float[Tensor, "n d"]


def summarize(layer: Layer, parameters: UnitMatching) -> Units:
    features = layer.features
    alive = (features != features[0]).any(dim=0)
    return Units(layer.n, layer.reason, features[:, alive])


def standardized(features: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
    """Every unit centred, at length 1 over the samples (one that does not vary: zero)."""
    centred = features.double() - features.double().mean(dim=0)
    lengths = torch.linalg.vector_norm(centred, dim=0)
    return (centred / torch.where(lengths > 0, lengths, 1.0)).to(features.dtype)


def best_matches(x: Float[Tensor, "m d_x"], y: Float[Tensor, "m d_y"]) -> Bool[Tensor, "d_x d_y"]:
    """Which units are each other's highest correlation, and that is positive.

    Correlations that are equal up to rounding are equally high.
    """
    correlations = product(standardized(x).T, standardized(y).T)
    rounding = PRODUCT_ERROR * torch.finfo(correlations.dtype).eps
    highest = torch.maximum(correlations.amax(dim=1, keepdim=True), correlations.amax(dim=0))
    return (correlations >= highest - rounding) & (correlations > rounding)


def num_pairs(matches: Bool[Tensor, "d_x d_y"]) -> int:
    """How many pairs can be made of units that match, each unit in one pair at most."""
    rows, columns = (place.cpu().numpy() for place in matches.nonzero(as_tuple=True))
    if len(rows) == len(np.unique(rows)) == len(np.unique(columns)):  # no unit has a choice
        return len(rows)
    graph = sparse.csr_array(
        (np.ones(len(rows)), (rows, columns)), shape=(matches.shape[0], matches.shape[1])
    )
    return int((maximum_bipartite_matching(graph) >= 0).sum())


def _share(x: Units, y: Units, parameters: UnitMatching) -> float:
    """Pairs per unit of the layer that has fewer of them."""
    smaller = min(x.features.shape[1], y.features.shape[1])
    if not smaller:
        return np.nan
    if not parameters.split_half:
        return num_pairs(best_matches(x.features, y.features)) / smaller
    even, odd = (best_matches(x.features[i::2], y.features[i::2]) for i in (0, 1))
    return num_pairs(even & odd) / smaller


def reorder(summary: Units, order: Order) -> Units:
    index = torch.from_numpy(order.astype(np.int64)).to(summary.features.device)
    return Units(summary.n, summary.reason, summary.features[index])


def _at_length_one(layer: Layer, parameters: PermutationProcrustes) -> Units:
    """The centred features at total length 1; without columns where nothing but rounding varies."""
    of = centred(layer)
    length = float(torch.linalg.vector_norm(of.features))
    if layer.reason is not None or length <= of.rounding:
        return Units(layer.n, layer.reason, layer.features[:, :0])
    return Units(layer.n, None, (of.features / length).to(layer.features.dtype))


def _best_assignment(x: Units, y: Units, parameters: PermutationProcrustes) -> float:
    """Largest sum of inner products of units, each with one of the other layer."""
    from scipy import optimize  # takes long to import, and finished scores need none of it

    if not min(x.features.shape[1], y.features.shape[1]):
        return np.nan
    products = product(x.features.T, y.features.T).double().cpu().numpy()
    return float(products[optimize.linear_sum_assignment(products, maximize=True)].sum())


UNIT_MATCHING = Metric(
    name="unit_matching",
    summarize=summarize,
    compare=each_pair(_share),
    reorder=reorder,
    claims=lambda parameters: Claims(
        low=0.0,
        high=1.0,
        of_itself=1.0,
        invariances=frozenset(
            {
                Invariance.UNIT_PERMUTATION,
                Invariance.UNIT_SCALING,
                Invariance.SCALING,
                Invariance.TRANSLATION,
            }
        ),
    ),
)

PERMUTATION_PROCRUSTES = Metric(
    name="permutation_procrustes",
    summarize=_at_length_one,
    compare=each_pair(_best_assignment),
    reorder=reorder,
    claims=lambda parameters: Claims(
        low=-1.0,
        high=1.0,
        of_itself=1.0,
        invariances=frozenset(
            {Invariance.UNIT_PERMUTATION, Invariance.SCALING, Invariance.TRANSLATION}
        ),
    ),
)
