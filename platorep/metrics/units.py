"""Unit matching: which units of two layers are each other's best match (Rosetta neurons).

After arXiv:2306.09346, at the level of pooled units: one value per unit and sample.

Axes: n samples, m of them, d units.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from platorep.metrics.layer import Layer, product
from platorep.metrics.metric import Claims, Invariance, Metric, Order, Summary, each_pair
from platorep.parameters.metrics import UnitMatching


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


def matches(x: Float[Tensor, "m d_x"], y: Float[Tensor, "m d_y"]) -> Int[Tensor, " d_x"]:
    """For each unit of x the unit of y that it is matched with, or -1.

    Two units match if each is the other's highest correlation, and that is positive.
    """
    correlations = product(standardized(x).T, standardized(y).T)
    best, partner = correlations.max(dim=1)
    back = correlations.argmax(dim=0)
    mutual = (back[partner] == torch.arange(len(partner), device=partner.device)) & (best > 0)
    return torch.where(mutual, partner, -1)


def _share(x: Units, y: Units, parameters: UnitMatching) -> float:
    """Matches per unit of the layer that has fewer of them."""
    smaller = min(x.features.shape[1], y.features.shape[1])
    if not smaller:
        return np.nan
    if not parameters.split_half:
        return int((matches(x.features, y.features) >= 0).sum()) / smaller
    even, odd = (matches(x.features[i::2], y.features[i::2]) for i in (0, 1))
    return int(((even == odd) & (even >= 0)).sum()) / smaller


def reorder(summary: Units, order: Order) -> Units:
    index = torch.from_numpy(order.astype(np.int64)).to(summary.features.device)
    return Units(summary.n, summary.reason, summary.features[index])


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
