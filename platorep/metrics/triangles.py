"""Symmetric n n matrices as vectors, compared for all layer pairs by one matrix product.

A vector holds the upper triangle row by row, after the diagonal where a metric needs it.

Axes: n samples, m entries, l layers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from platorep.metrics.layer import product
from platorep.metrics.metric import Order, Scorer, Scores, Summary

BLOCK = 1 << 16
"""Entries multiplied at once: a constant, so that no score depends on the memory there is."""


@dataclass(frozen=True)
class Triangle(Summary):
    """A unit vector, so that the score of two layers is their inner product; zero: undefined."""

    values: Float[Tensor, " m"]
    diagonal: bool


def upper(matrix: Float[Tensor, "n n"]) -> Float[Tensor, " m"]:
    """The entries above the diagonal."""
    return matrix.flatten()[_places_above(len(matrix), matrix.device)]


def whole(matrix: Float[Tensor, "n n"]) -> Float[Tensor, " m"]:
    """The diagonal and the entries above it, these times the root of 2: the inner product of two
    such vectors is that of the matrices."""
    return torch.cat([matrix.diagonal(), math.sqrt(2) * upper(matrix)])


@lru_cache(maxsize=1)
def _places_above(n: int, device: torch.device) -> Int[Tensor, " m"]:
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1).flatten().nonzero().flatten()


def unit(
    values: Float[Tensor, " m"], rounding: float = 0.0
) -> tuple[Float[Tensor, " m"], str | None]:
    """`values` at length 1, or zeros and a reason when they are no longer than `rounding`."""
    length = float(torch.linalg.vector_norm(values, dtype=torch.float64))
    if length <= rounding:
        return torch.zeros_like(values), "nothing is left after centring: all pairs are alike"
    return values / length, None


def triangle_order(n: int, order: Order, diagonal: bool) -> Int64[np.ndarray, " m"]:
    """Where each entry of the reordered triangle stands in the triangle as it is."""
    order = order.astype(np.int64)
    parts = [order] if diagonal else []
    for i in range(n - 1):
        low, high = np.minimum(order[i], order[i + 1 :]), np.maximum(order[i], order[i + 1 :])
        parts.append(low * (2 * n - low - 1) // 2 + high - low - 1 + (n if diagonal else 0))
    return np.concatenate(parts)


def reorder(summary: Triangle, order: Order) -> Triangle:
    """The triangle of the same layer with its samples in another order."""
    index = torch.from_numpy(triangle_order(summary.n, order, summary.diagonal))
    moved = summary.values[index.to(summary.values.device)]
    return Triangle(summary.n, summary.reason, moved, summary.diagonal)


def prepare(x: Sequence[Triangle], y: Sequence[Triangle], parameters: object) -> Scorer:
    """Inner products of the vectors of every layer pair, for any order of y's samples."""
    n, entries, device = x[0].n, len(x[0].values), x[0].values.device
    undefined = [~np.array([bool(s.values.any()) for s in side]) for side in (x, y)]

    def scores(order: Order | None) -> Scores:
        index = None
        if order is not None:
            index = torch.from_numpy(triangle_order(n, order, x[0].diagonal)).to(device)
        total = torch.zeros(len(x), len(y), dtype=torch.float64, device=device)
        for start in range(0, entries, BLOCK):
            part = slice(start, start + BLOCK)
            moved = part if index is None else index[part]
            left = torch.stack([summary.values[part] for summary in x])
            right = torch.stack([summary.values[moved] for summary in y])
            total += product(left, right).double()
        found: np.ndarray = total.cpu().numpy()
        found[undefined[0]] = np.nan
        found[:, undefined[1]] = np.nan
        return found

    return scores


def compare(x: Sequence[Triangle], y: Sequence[Triangle], parameters: object) -> Scores:
    return prepare(x, y, parameters)(None)
