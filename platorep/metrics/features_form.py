"""Linear CKA of so many samples that their n n Gram matrix does not fit: the d d form.

The sums over pairs of samples are sums over pairs of features: <K, L> = |X'Y|^2. The same number
as from the Gram matrices, to float tolerance; memory n d per layer, time n d_x d_y per layer pair.

Axes: n samples, d features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from platorep.metrics.layer import Layer, product
from platorep.metrics.metric import Order, Scorer, Scores, Summary


@dataclass(frozen=True)
class CentredFeatures(Summary):
    """The features without their mean, and the kernel's HSIC with itself (0: undefined)."""

    features: Float[Tensor, "n d"]
    debiased: bool
    of_itself: float


def summarize(layer: Layer, *, debiased: bool) -> CentredFeatures:
    features = layer.vectors(center=True).exact(slice(None)).to(layer.features.dtype)
    features = features / max(float(torch.linalg.vector_norm(features, dim=1).max()), 1e-300)
    of_itself = hsic(features, features, debiased=debiased)
    of_itself = 0.0 if layer.reason == "constant: all rows are equal" else max(of_itself, 0.0)
    return CentredFeatures(layer.n, layer.reason, features, debiased, of_itself)


def hsic(x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"], *, debiased: bool) -> float:
    """Biased: <K, L>. Debiased: the unbiased form of Song et al. (2012), without its divisor."""
    inner = float(product(x.T, y.T).square().sum(dtype=torch.float64))
    if not debiased:
        return inner
    n = len(x)
    squares_x, squares_y = (z.square().sum(dim=1, dtype=torch.float64) for z in (x, y))
    # row sums of the kernels without their diagonals
    rows_x, rows_y = (
        (z @ z.sum(dim=0, dtype=torch.float64).to(z.dtype)).double() - squares
        for z, squares in ((x, squares_x), (y, squares_y))
    )
    inner -= float(squares_x @ squares_y)
    inner += float(rows_x.sum() * rows_y.sum()) / ((n - 1) * (n - 2))
    return inner - 2 * float(rows_x @ rows_y) / (n - 2)


def reorder(summary: CentredFeatures, order: Order) -> CentredFeatures:
    moved = summary.features[torch.from_numpy(order).to(summary.features.device)]
    return CentredFeatures(summary.n, summary.reason, moved, summary.debiased, summary.of_itself)


def prepare(
    x: Sequence[CentredFeatures], y: Sequence[CentredFeatures], parameters: object
) -> Scorer:
    def score(one: CentredFeatures, other: CentredFeatures) -> float:
        sizes = one.of_itself * other.of_itself
        if sizes <= 0:
            return math.nan
        return hsic(one.features, other.features, debiased=one.debiased) / math.sqrt(sizes)

    def scores(order: Order | None) -> Scores:
        moved = y if order is None else [reorder(summary, order) for summary in y]
        return np.array([[score(one, other) for other in moved] for one in x])

    return scores
