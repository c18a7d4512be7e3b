"""Who may be among the k nearest, from scores of which a bound of the error is known.

Axes: m rows, n candidates, c places of a short list, w candidates of a segment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from platorep.metrics.selection import kth_largest, marked_entries, pairs_of

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
    """Which candidates, in any order."""
    values: Float[Tensor, "m c"]
    """Their scores; -inf where a row has fewer."""
    error: Float[Tensor, " m"]
    """Bound of the error of those that matter."""


def shortlist(
    scores: Float[Tensor, "m padded"],
    k: int,
    split: Segments,
    error: Callable[[Float[Tensor, " m"]], Float[Tensor, " m"]],
    missing: Float[Tensor, " n"],
) -> Shortlist:
    """The candidates worth looking at, at the price of one pass over the scores.

    The k-th largest of the largest scores of the segments is not above the k-th largest score.

    Args:
        error: Of the scores of each row that are about as large as a given one.
        missing: What is missing in the scores of each candidate.
    """
    parts = scores.view(len(scores), split.width, split.number)
    largest = parts.amax(dim=1)
    floor = kth_largest(largest.float(), k)
    bound = error(floor)
    least = floor - 2 * (bound + missing.abs().max())
    some = pairs_of(largest >= least[:, None])
    inside = parts[some.queries, :, some.columns].float()
    found = marked_entries(inside >= least[some.queries, None])
    entry, place = found // split.width, found % split.width
    row, column = some.queries[entry], place * split.number + some.columns[entry]
    counts = torch.bincount(row, minlength=len(scores))
    before = (counts.cumsum(0) - counts)[row]
    most = int(counts.max())
    where = row * most + torch.arange(len(row), device=row.device) - before
    columns = row.new_zeros(len(scores) * most).index_copy_(0, where, column)
    values = least.new_full((len(scores) * most,), -torch.inf)
    values.index_copy_(0, where, inside.flatten()[found] + missing[column])
    return Shortlist(columns.view(-1, most), values.view(-1, most), bound)


@dataclass(frozen=True)
class Narrowed:
    """What is known of candidates in a short list."""

    sure: Bool[Tensor, "m c"]
    """Among the nearest for certain."""
    near: Bool[Tensor, "m c"]
    """Too close to the last place to tell."""
    is_open: Bool[Tensor, " m"]
    """Which rows have more near candidates than places that the sure ones leave."""

    @classmethod
    def between(
        cls,
        lower: Float[Tensor, "m c"],
        upper: Float[Tensor, "m c"],
        least: Float[Tensor, "m 1"],
        most: Float[Tensor, "m 1"],
        k: int,
    ) -> "Narrowed":
        """From bounds of the scores and of the k-th largest of each row."""
        sure = lower > most
        near = (upper >= least) & ~sure
        return cls(sure, near, near.sum(dim=1) > k - sure.sum(dim=1))


def narrow(lower: Float[Tensor, "m c"], upper: Float[Tensor, "m c"], k: int) -> Narrowed:
    """Tell apart what bounds of the scores can: the k-th largest is between those of the bounds.

    Args:
        lower: -inf for what is no candidate; so is `upper`. Every row has k candidates at least.
    """
    least, most = kth_largest(lower, k)[:, None], kth_largest(upper, k)[:, None]
    return Narrowed.between(lower, upper, least, most, k)
