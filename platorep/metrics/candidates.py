"""What is kept of a stream of scores: those that may still be among the best of some gallery.

Axes: q queries, b rows of a block, m some of the queries, c candidates, s sizes of galleries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int8, Int32, Int64
from torch import Tensor

from platorep.errors import DataError
from platorep.metrics.nearest import BLOCK_ENTRIES

CHUNK_ENTRIES = 1 << 23
"""Candidates looked at together."""
MOST_ROOM = 8
"""A query may have this many times the usual room for candidates; it has more than that only where
very many rows are equally near."""


@dataclass(frozen=True)
class Wanted:
    """The k nearest in a gallery of n, whose place among the sizes is `level`."""

    n: int
    k: int
    level: int


@dataclass(frozen=True)
class Part:
    """The candidates of some queries in one gallery; what it does not hold has the score -inf."""

    scores: Float[Tensor, "m c"]
    nearest: Float[Tensor, "m c"]
    """The best score of all candidates with the same name."""
    best: Float[Tensor, "m c"]
    """Of each name the best score, once; -inf elsewhere."""


@dataclass(frozen=True)
class Chunk:
    """The candidates of some queries."""

    scores: Float[Tensor, "m c"]
    rows: Int32[Tensor, "m c"]
    names: Int64[Tensor, "m c"]
    """The row or, where rows have sources, the source."""
    level: Int8[Tensor, "m c"]
    shared: bool
    """Several rows may have one name."""

    def at(self, level: int) -> Part:
        """Those in the gallery of this level."""
        scores = self.scores.masked_fill(self.level > level, -torch.inf)
        if not self.shared:
            return Part(scores, scores, scores)
        nearest, first = best_of_each(scores, self.names)
        return Part(scores, nearest, scores.where(first, -torch.inf))


class Candidates:
    """Scores and rows of the candidates of every query, filled from the left.

    Args:
        level: Of every row, the place of the smallest gallery that holds it.
        sources: Of every row; None: each row is its own.
        margin: Candidates this far below the last place are kept too.
    """

    def __init__(
        self,
        num_queries: int,
        wanted: Sequence[Wanted],
        level: Int8[Tensor, " rows"],
        sources: Int64[Tensor, " rows"] | None,
        margin: float,
        block: int,
        dtype: torch.dtype,
    ) -> None:
        self._level, self._sources, self._margin = level, sources, margin
        self._deepest: dict[int, int] = {}
        for w in wanted:
            self._deepest[w.level] = max(w.k, self._deepest.get(w.level, 0))
        room = usual_room(max(self._deepest.values()), block)
        self._most = MOST_ROOM * room
        shape, device = (num_queries, room), level.device
        self._scores = torch.full(shape, -torch.inf, dtype=dtype, device=device)
        self._rows = torch.zeros(shape, dtype=torch.int32, device=device)
        self._filled = torch.zeros(num_queries, dtype=torch.int64, device=device)
        self._floor = torch.full(
            (max(self._deepest) + 1, num_queries),
            torch.finfo(dtype).min,
            dtype=dtype,
            device=device,
        )

    def add(
        self, scores: Float[Tensor, "q b"], rows: Int64[Tensor, " b"], levels: Int8[Tensor, " b"]
    ) -> None:
        """Take from a block what may matter. Levels must rise; -inf is never taken."""
        found, counts = torch.unique_consecutive(levels, return_counts=True)
        start = 0
        for level, count in zip(found.tolist(), counts.tolist(), strict=True):
            stop = start + count
            if level < len(self._floor):
                self._add(scores[:, start:stop], rows[start:stop], level)
            start = stop

    def _add(self, scores: Float[Tensor, "q b"], rows: Int64[Tensor, " b"], level: int) -> None:
        query, column, counts = self._above(scores, level)
        if self._lacks_room(counts):
            self.forget()
            query, column, counts = self._above(scores, level)
            if self._lacks_room(counts):
                self._grow(int((self._filled + counts).max()))
        place = self._filled[query] + _places(query, counts)
        self._scores[query, place] = scores[query, column]
        self._rows[query, place] = rows[column].int()
        self._filled += counts

    def _above(
        self, scores: Float[Tensor, "q b"], level: int
    ) -> tuple[Int64[Tensor, " e"], Int64[Tensor, " e"], Int64[Tensor, " q"]]:
        """Queries and columns of what is not too far away for every gallery it is in."""
        query, column = (scores >= self._floor[level][:, None]).nonzero(as_tuple=True)
        return query, column, torch.bincount(query, minlength=len(scores))

    def _lacks_room(self, counts: Int64[Tensor, " q"]) -> bool:
        return int((self._filled + counts).max()) > self._scores.shape[1]

    def _grow(self, needed: int) -> None:
        if needed > self._most:
            query = int(self._filled.argmax())
            raise DataError(
                f"{int(self._filled[query])} rows are equally near to query {query}, to float32: "
                "too many to keep. Remove copies (dataset.deduplicate: near), or choose another "
                "layer."
            )
        more = needed + needed // 2 - self._scores.shape[1]
        self._scores = torch.nn.functional.pad(self._scores, (0, more), value=-torch.inf)
        self._rows = torch.nn.functional.pad(self._rows, (0, more))

    def forget(self) -> None:
        """Drop what has fallen behind, and raise the floors."""
        for queries, chunk in self.chunks():
            scores, rows = chunk.scores, chunk.rows
            keep = torch.zeros_like(scores, dtype=torch.bool)
            limits = torch.full_like(self._floor[:, queries], torch.inf)
            for level, k in self._deepest.items():
                part = chunk.at(level)
                cut = kth_largest(part.best, k)
                limits[level] = (cut - self._margin).clamp_min(torch.finfo(scores.dtype).min)
                keep |= (part.scores >= limits[level][:, None]) & (
                    part.scores >= part.nearest - self._margin
                )
            lowest = limits.flip(0).cummin(dim=0).values.flip(0)
            self._floor[:, queries] = torch.maximum(self._floor[:, queries], lowest)
            query, column = keep.nonzero(as_tuple=True)
            kept = scores[query, column], rows[query, column]
            counts = torch.bincount(query, minlength=len(scores))
            place = _places(query, counts)
            scores.fill_(-torch.inf)
            scores[query, place], rows[query, place] = kept
            self._filled[queries] = counts

    def chunks(self) -> Iterator[tuple[slice, Chunk]]:
        """The candidates of as many queries at once as keep to CHUNK_ENTRIES."""
        size = max(1, CHUNK_ENTRIES // self._scores.shape[1])
        for start in range(0, len(self._scores), size):
            queries = slice(start, min(start + size, len(self._scores)))
            width = int(self._filled[queries].max())
            rows = self._rows[queries, :width]
            index = rows.long()
            names = index if self._sources is None else self._sources[index]
            yield (
                queries,
                Chunk(
                    self._scores[queries, :width],
                    rows,
                    names,
                    self._level[index],
                    shared=self._sources is not None,
                ),
            )


def usual_room(k: int, block: int) -> int:
    """Candidates that a query has room for: as many again as it needs, and a block."""
    return 2 * k + block


def block_rows(num_queries: int, num_rows: int) -> int:
    """Rows whose scores are worked out together."""
    return min(max(1, BLOCK_ENTRIES // num_queries), num_rows)


def room_bytes(num_queries: int, k: int, num_rows: int) -> int:
    """Memory of a search: its candidates, and the scores of a block."""
    block = block_rows(num_queries, num_rows)
    return num_queries * (8 * usual_room(k, block) + 4 * block)


def best_of_each(
    scores: Float[Tensor, "m c"], names: Int64[Tensor, "m c"]
) -> tuple[Float[Tensor, "m c"], Bool[Tensor, "m c"]]:
    """For every entry the best score of its name in its row, and whether it stands for the name."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, names.gather(1, order).argsort(dim=1, stable=True))
    sorted_names = names.gather(1, order)
    begins = torch.ones_like(sorted_names, dtype=torch.bool)
    begins[:, 1:] = sorted_names[:, 1:] != sorted_names[:, :-1]
    places = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape)
    start = places.where(begins, torch.zeros_like(places)).cummax(dim=1).values
    nearest, first = torch.empty_like(scores), torch.empty_like(begins)
    nearest.scatter_(1, order, scores.gather(1, order).gather(1, start))
    first.scatter_(1, order, begins)
    return nearest, first


def kth_largest(scores: Float[Tensor, "m c"], k: int) -> Float[Tensor, " m"]:
    """The k-th largest of every row; -inf where it has fewer."""
    count = scores.shape[1]
    if count < k:
        return scores.new_full((len(scores),), -torch.inf)
    if k <= 64:
        return scores.topk(k, dim=1).values[:, -1]
    return scores.kthvalue(count - k + 1, dim=1).values


def _places(query: Int64[Tensor, " e"], counts: Int64[Tensor, " q"]) -> Int64[Tensor, " e"]:
    """How many entries of the same query stand before each; queries rise."""
    before = counts.cumsum(0) - counts
    return torch.arange(len(query), device=query.device) - before[query]
