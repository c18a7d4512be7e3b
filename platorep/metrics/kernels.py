"""Kernel metrics: two layers are alike if their matrices of pairwise similarities are alike.

Centred kernel alignment (CKA) and, under its older name, the RV coefficient.

Axes: n samples, d features.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import ConfigError
from platorep.metrics import features_form, triangles
from platorep.metrics.layer import GRAM_ROWS, Layer, Vectors
from platorep.metrics.metric import (
    Claims,
    Invariance,
    Metric,
    Order,
    Scorer,
    Scores,
    Summary,
    no_chance,
)
from platorep.metrics.triangles import Triangle, unit, upper, whole
from platorep.parameters.metrics import Cka, Rv

MAX_ROWS = 16384
"""The n n matrix of a layer takes half a GiB here; above, only linear CKA works without one."""

ORTHOGONAL = frozenset({Invariance.ROTATION, Invariance.SCALING, Invariance.UNIT_PERMUTATION})
SIMILARITIES = ORTHOGONAL | {Invariance.TRANSLATION}


def check_rows(n: int, label: str) -> None:
    if n > MAX_ROWS:
        raise ConfigError(
            f"{label} compares all pairs of samples and can take n <= {MAX_ROWS}, got {n}: one "
            f"layer's matrix would take {n * (n - 1) / 2 * 4 / 2**30:.1f} GiB. Use linear cka "
            "(which then works on features) or a neighborhood metric, or `limit` the samples."
        )


def squared_distances(vectors: Vectors) -> Float[Tensor, "n n"]:
    """Between all rows; 0 between a row and itself, to the bit."""
    gram = vectors.gram_rows(slice(None))
    squares = gram.diagonal()
    return (squares[:, None] + squares - 2 * gram).clamp_min_(0)


def median_distance(squared: Float[Tensor, "n n"]) -> float:
    """Median of the distances between two different samples."""
    values = upper(squared)
    middle = (len(values) + 1) // 2, len(values) // 2 + 1
    return sum(math.sqrt(float(values.kthvalue(place).values)) for place in middle) / 2


def kernel_matrix(layer: Layer, kernel: str, sigma: float | str) -> Float[Tensor, "n n"]:
    """The kernel, up to terms that centring takes away."""
    if kernel == "linear":
        return layer.vectors().gram_rows(slice(None))
    squared = squared_distances(layer.vectors())
    width = median_distance(squared) if isinstance(sigma, str) else sigma
    exponent = squared / (-2 * width**2) if width else torch.zeros_like(squared)
    # a wide kernel is 1 - something small: leave out the 1, float32 would lose the rest
    wide = float(exponent.mean()) > -math.log(2)
    return exponent.expm1() if wide else exponent.exp()


def centred(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """H K H, with the means taken in float64."""
    means = kernel.mean(dim=1, dtype=torch.float64)
    shift = (means - means.mean() / 2).to(kernel.dtype)
    return kernel - shift[:, None] - shift


def u_centred(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The kernel centred without its diagonal (Szekely and Rizzo 2014), which is 0 in the result.

    The mean product of two such matrices is the unbiased HSIC of Song et al. (2012).
    """
    n = len(kernel)
    kernel = kernel.clone().fill_diagonal_(0)
    sums = kernel.sum(dim=1, dtype=torch.float64) / (n - 2)
    shift = (sums - sums.sum() / (2 * (n - 1))).to(kernel.dtype)
    return (kernel - shift[:, None] - shift).fill_diagonal_(0)


def summarize_cka(layer: Layer, parameters: Cka) -> Summary:
    """The centred kernel as a unit vector; above GRAM_ROWS samples the features themselves."""
    debiased = parameters.estimator == "debiased"
    if layer.n > GRAM_ROWS and parameters.kernel == "linear":
        return features_form.summarize(layer, debiased=debiased)
    kernel = kernel_matrix(layer, parameters.kernel, parameters.sigma)
    if debiased:
        kernel = kernel.clone().fill_diagonal_(0)
    values, reason = centred_unit(kernel, debiased=debiased)
    return Triangle(layer.n, layer.reason or reason, values, diagonal=not debiased)


def centred_unit(
    kernel: Float[Tensor, "n n"], *, debiased: bool
) -> tuple[Float[Tensor, " m"], str | None]:
    """A kernel, or distances, centred and flattened, as `unit` gives it.

    Args:
        debiased: By U-centring, which leaves the diagonal out.
    """
    rounding = 8 * torch.finfo(kernel.dtype).eps * float(torch.linalg.vector_norm(kernel))
    return unit(upper(u_centred(kernel)) if debiased else whole(centred(kernel)), rounding)


def prepare_cka(x: Sequence[Any], y: Sequence[Any], parameters: Cka | Rv) -> Scorer:
    if isinstance(x[0], Triangle):
        return triangles.prepare(x, y, parameters)
    return features_form.prepare(x, y, parameters)


def compare_cka(x: Sequence[Any], y: Sequence[Any], parameters: Cka | Rv) -> Scores:
    return prepare_cka(x, y, parameters)(None)


def reorder_cka(summary: Any, order: Order) -> Summary:
    if isinstance(summary, Triangle):
        return triangles.reorder(summary, order)
    moved: Summary = features_form.reorder(summary, order)
    return moved


def claims_of_cka(parameters: Cka) -> Claims:
    debiased = parameters.estimator == "debiased"
    scaling = parameters.kernel == "linear" or parameters.sigma == "median"
    return Claims(
        low=-1.0 if debiased else 0.0,
        high=1.0,
        of_itself=1.0,
        chance=(lambda n: 0.0) if debiased else no_chance,
        cost="grid",
        invariances=SIMILARITIES if scaling else SIMILARITIES - {Invariance.SCALING},
    )


def check_cka(n: int, d: int, parameters: Cka) -> None:
    if parameters.kernel != "linear":
        check_rows(n, parameters.label())


CKA = Metric(
    name="cka",
    summarize=summarize_cka,
    compare=compare_cka,
    prepare=prepare_cka,
    reorder=reorder_cka,
    claims=claims_of_cka,
    check=check_cka,
)

RV = Metric(
    name="rv",
    summarize=lambda layer, parameters: summarize_cka(layer, Cka()),
    compare=compare_cka,
    prepare=prepare_cka,
    reorder=reorder_cka,
    claims=lambda parameters: claims_of_cka(Cka()),
)
