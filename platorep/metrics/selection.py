"""Which of many scores are large: the same on every device, and on processors through NumPy, whose
comparisons, partitions and sorting are several times faster there than PyTorch's.

Axes: q queries, b rows of a block, m some of the queries, c candidates, e entries.
"""

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor

T = TypeVar("T")
THREADED_ENTRIES = 1 << 18
"""Fewer are not worth the threads."""


@dataclass(frozen=True)
class Pairs:
    """Some pairs of q queries and the columns of a block, query by query, columns rising."""

    begins: Int64[Tensor, " q_and_1"]
    """Where each query's pairs begin, and where the last one's end."""
    columns: Int[Tensor, " e"]

    @property
    def counts(self) -> Int64[Tensor, " q"]:
        return self.begins.diff()

    @cached_property
    def queries(self) -> Int64[Tensor, " e"]:
        return self.spread(torch.arange(len(self.begins) - 1, device=self.begins.device))

    def spread(self, of_queries: Int64[Tensor, " q"]) -> Int64[Tensor, " e"]:
        """Of every pair what its query has."""
        if of_queries.device.type != "cpu":
            return of_queries.repeat_interleave(self.counts, output_size=len(self.columns))
        return torch.from_numpy(np.repeat(of_queries.numpy(), self.counts.numpy()))

    @cached_property
    def places(self) -> Int64[Tensor, " e"]:
        """How many pairs of the same query stand before each."""
        every = torch.arange(len(self.columns), device=self.begins.device)
        return every.sub_(self.spread(self.begins[:-1]))

    def only(self, keep: Bool[Tensor, " e"]) -> "Pairs":
        before = torch.nn.functional.pad(keep.cumsum(0), (1, 0))
        return Pairs(before[self.begins], entries_at(self.columns, keep))


def entries_at(
    entries: Shaped[Tensor, " n"], places: Int64[Tensor, " e"] | Bool[Tensor, " n"]
) -> Shaped[Tensor, " e"]:
    """Some of the entries."""
    if entries.device.type != "cpu":
        return entries[places]
    return torch.from_numpy(entries.numpy()[places.numpy()])


def put_at(
    entries: Shaped[Tensor, " n"], places: Int64[Tensor, " e"], values: Shaped[Tensor, " e"]
) -> None:
    """Replace some of the entries."""
    if entries.device.type != "cpu":
        entries[places] = values
    else:
        entries.numpy()[places.numpy()] = values.numpy()


def pairs_of(mask: Bool[Tensor, "q b"]) -> Pairs:
    """The marked pairs."""
    q, width = mask.shape
    found = marked_entries(mask)
    starts = torch.arange(q + 1, device=mask.device) * width
    pairs = Pairs(torch.searchsorted(found, starts), found)
    return Pairs(pairs.begins, found.sub_(pairs.spread(starts[:-1])))  # faster than division


def marked_entries(mask: Bool[Tensor, "q b"]) -> Int64[Tensor, " e"]:
    """Where the marked ones are, counted row after row; rising."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero().flatten()
    entries = mask.numpy()
    width = mask.shape[1]
    found = in_threads(lambda rows: np.flatnonzero(entries[rows]) + rows.start * width, *mask.shape)
    return torch.from_numpy(np.concatenate(found))


def at_least(
    scores: Float[Tensor, "m c"], floor: Float[Tensor, " m"], out: Bool[Tensor, "m c"]
) -> None:
    """Mark the scores that are not below the floor of their row."""
    if scores.device.type != "cpu":
        torch.ge(scores, floor[:, None], out=out)
        return
    marked = out.numpy()
    if scores.dtype != torch.bfloat16:
        values, least = scores.numpy(), floor.numpy()[:, None]
        in_threads(
            lambda rows: np.greater_equal(values[rows], least[rows], out=marked[rows]),
            *scores.shape,
        )
        return
    # NumPy has no bfloat16; its bits are in the order of integers from 0 up, and below 0 in
    # the opposite order, after all others if the sign counts as a digit
    bits, least = scores.view(torch.int16).numpy(), floor.view(torch.int16).numpy()[:, None]
    in_threads(
        lambda rows: np.greater_equal(bits[rows], least[rows], out=marked[rows]), *scores.shape
    )
    below = np.flatnonzero(least < 0)
    if len(below):
        marked[below] = bits.view(np.uint16)[below] <= least.view(np.uint16)[below]


def kth_largest(scores: Float[Tensor, "m c"], k: int) -> Float[Tensor, " m"]:
    """The k-th largest of every row; -inf where it has fewer."""
    count = scores.shape[1]
    if scores.device.type != "cpu" or count < k:
        return largest_at(scores, k)[0]
    # of one place: NumPy's partition at two takes several times as long
    values, place = scores.numpy(), count - k
    found = in_threads(
        lambda rows: np.partition(values[rows], place, axis=1)[:, place], *scores.shape
    )
    return torch.from_numpy(np.concatenate(found))


def largest_at(
    scores: Float[Tensor, "m c"], k: int
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """The k-th largest of every row, and the one after; -inf where it has fewer."""
    if (missing := k + 1 - scores.shape[1]) > 0:
        scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    count = scores.shape[1]
    if scores.device.type != "cpu":
        ends = scores.topk(k + 1, dim=1).values[:, -2:]
        return ends[:, 0], ends[:, 1]
    values, places = scores.numpy(), [count - k - 1, count - k]
    found = in_threads(
        lambda rows: np.partition(values[rows], places, axis=1)[:, places], *scores.shape
    )
    following, last = torch.from_numpy(np.concatenate(found)).T
    return last, following


def in_threads(work: Callable[[slice], T], num_rows: int, width: int) -> list[T]:
    """What NumPy does with some of the rows, for all of them, in as many threads as PyTorch has."""
    number = min(torch.get_num_threads(), num_rows) if num_rows * width >= THREADED_ENTRIES else 1
    if number == 1:
        return [work(slice(0, num_rows))]
    ends = [num_rows * i // number for i in range(number + 1)]
    parts = [slice(start, stop) for start, stop in itertools.pairwise(ends)]
    return list(_pool(number, os.getpid()).map(work, parts))


@functools.cache
def _pool(number: int, process: int) -> ThreadPoolExecutor:
    """The threads of this process: one that is forked from it has none of them."""
    return ThreadPoolExecutor(number, thread_name_prefix=f"selection-{process}")
