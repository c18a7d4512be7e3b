"""Who may be among the k nearest, from scores of which a bound of the error is known.

Axes: m rows, n candidates, c places of a short list, w candidates of a segment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

SEGMENTS_PER_PLACE = 6
"""Segments for each of the k places: with as many, few have two of the nearest."""


@dataclass(frozen=True)
class Segments:
    """The candidates in equal parts: candidate j is in segment j mod `number`."""

    number: int
    width: int

    @property
    def padded(self) -> int:
        return self.number * self.width


def segments(n: int, k: int) -> Segments | None:
    """How to divide n candidates; None where that saves nothing."""
    number = 1 << max(SEGMENTS_PER_PLACE * k - 1, math.isqrt(n)).bit_length()
    width = -(-n // number)
    return Segments(number, width) if width >= 4 else None


@dataclass(frozen=True)
class Shortlist:
    """Of every row all candidates that may be among its k nearest, and perhaps some others."""

    columns: Int64[Tensor, "m c"]
    """Which candidates; rising."""
    values: Float[Tensor, "m c"]
    """Their scores; -inf where a row has fewer."""
    error: Float[Tensor, " m"]
    """Bound of the error of those that matter."""


def shortlist(
    scores: Float[Tensor, "m n"],
    k: int,
    split: Segments,
    error: Callable[[Float[Tensor, " m"]], Float[Tensor, " m"]],
) -> Shortlist:
    """The candidates worth looking at, at the price of one pass over the scores.

    The k-th largest of the largest scores of the segments is not above the k-th largest score.

    Args:
        error: Of the scores of each row that are about as large as a given one.
    """
    parts = scores.view(len(scores), split.width, split.number)
    largest = parts.amax(dim=1)
    floor = largest.topk(k, dim=1).values[:, -1].float()
    bound = error(floor)
    least = floor - 2 * bound
    row, segment = (largest >= least[:, None]).nonzero(as_tuple=True)
    inside = parts[row, :, segment].float()
    entry, place = (inside >= least[row][:, None]).nonzero(as_tuple=True)
    value, row, column = inside[entry, place], row[entry], place * split.number + segment[entry]
    order = (row * scores.shape[1] + column).argsort()
    row, column, value = row[order], column[order], value[order]
    counts = torch.bincount(row, minlength=len(scores))
    index = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    shape = len(scores), int(counts.max())
    columns = torch.zeros(shape, dtype=torch.int64, device=row.device)
    values = torch.full(shape, -torch.inf, device=row.device)
    columns[row, index], values[row, index] = column, value
    return Shortlist(columns, values, bound)


@dataclass(frozen=True)
class Narrowed:
    """Of some rows, whose candidates stand in a short list."""

    sure: Bool[Tensor, "m c"]
    """Among the nearest for certain."""
    near: Bool[Tensor, "m c"]
    """Too close to the last place to tell."""
    left: Int64[Tensor, " m"]
    """Places that the sure ones leave to the near ones."""
    cut: Float[Tensor, " m"]
    """The score of the last place, as far as is known."""

    @property
    def is_open(self) -> Bool[Tensor, " m"]:
        """Which rows have more near candidates than places."""
        return self.left < self.near.sum(dim=1)


def narrow(
    values: Float[Tensor, "m c"], places: Int64[Tensor, " m"], error: Float[Tensor, " m"]
) -> Narrowed:
    """Tell apart what a bound of the error of the scores can.

    Args:
        values: -inf for what is no candidate.
        places: How many of each row's candidates are to be taken; it has as many at least.
        error: Of the scores of each row; a score that is so much above another is the larger one.
    """
    ordered = values.sort(dim=1, descending=True).values
    cut = ordered.gather(1, (places - 1)[:, None])
    sure = values > cut + 2 * error[:, None]
    near = (values >= cut - 2 * error[:, None]) & ~sure & (values > -torch.inf)
    return Narrowed(sure, near, places - sure.sum(dim=1), cut[:, 0])
