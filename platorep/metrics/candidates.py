"""What is kept of a stream of scores: those that may still be among the best of some gallery.

Axes: q queries, b rows of a block, m some of the queries, c candidates, s sizes of galleries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, Int32, Int64, Integer
from torch import Tensor

from platorep.errors import DataError
from platorep.metrics.selection import (
    Pairs,
    at_least,
    entries_at,
    kth_largest,
    pairs_of,
    put_at,
)

BLOCK_ENTRIES = {"cpu": 1 << 21, "cuda": 1 << 23}
"""Scores worked out at once: rows and scores stay near a processor; a GPU takes long to begin."""
CHUNK_ENTRIES = {"cpu": 1 << 20, "cuda": 1 << 23}
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

    level: int
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
    levels: Int8[Tensor, " rows"] | None
    """Of every row; None: there is one gallery, and it holds all candidates."""
    sources: Int64[Tensor, " rows"] | None
    """Several rows may have one name then, which is their source."""

    @cached_property
    def names(self) -> Integer[Tensor, "m c"]:
        """The row or, where rows have sources, the source."""
        return self.rows if self.sources is None else self.sources[self.rows.long()]

    @cached_property
    def _level(self) -> Int8[Tensor, "m c"] | None:
        return None if self.levels is None else self.levels[self.rows.long()]

    def at(self, level: int) -> Part:
        """Those in the gallery of this level."""
        scores = self.scores
        if self._level is not None:
            scores = scores.masked_fill(self._level > level, -torch.inf)
        if self.sources is None:
            return Part(level, scores, scores, scores)
        nearest, first = best_of_each(scores, self.names)
        return Part(level, scores, nearest, scores.where(first, -torch.inf))


@dataclass(frozen=True)
class Kept:
    """The candidates of every query among some of the rows, query by query."""

    scores: Float[np.ndarray, " e"]
    rows: Int32[np.ndarray, " e"]
    counts: Int64[np.ndarray, " q"]


class Candidates:
    """Scores and rows of the candidates of every query, filled from the left.

    Args:
        level: Of every row, the place of the smallest gallery that holds it.
        sources: Of every row; None: each row is its own.
    """

    def __init__(
        self,
        num_queries: int,
        wanted: Sequence[Wanted],
        level: Int8[Tensor, " rows"],
        sources: Int64[Tensor, " rows"] | None,
        margin: float,
        dtype: torch.dtype,
    ) -> None:
        self._q, self._level, self._sources = num_queries, level, sources
        self.margin = margin
        """Candidates this far below the last place are kept too."""
        self._deepest: dict[int, int] = {}
        for w in wanted:
            self._deepest[w.level] = max(w.k, self._deepest.get(w.level, 0))
        block = block_rows(num_queries, len(level), level.device)
        room = usual_room(max(self._deepest.values()), block)
        self._most = MOST_ROOM * room
        shape, device = (num_queries, room), level.device
        self._scores = torch.full(shape, -torch.inf, dtype=dtype, device=device)
        self._rows = torch.zeros(shape, dtype=torch.int32, device=device)
        self._filled = torch.zeros(num_queries, dtype=torch.int64, device=device)
        self.floor = torch.full(
            (max(self._deepest) + 1, num_queries),
            torch.finfo(dtype).min,
            dtype=dtype,
            device=device,
        )
        """Of the rows of each level, what lies below it is too far away for every gallery."""

    def above(
        self,
        levels: Int8[Tensor, " b"],
        scores: Float[Tensor, "q b"],
        floor: Float[Tensor, "levels q"],
    ) -> Pairs:
        """The pairs whose scores are not below the floor of their column's level; levels rise."""
        found, counts = torch.unique_consecutive(levels, return_counts=True)
        mask = torch.empty(scores.shape, dtype=torch.bool, device=scores.device)
        start = 0
        for level, count in zip(found.tolist(), counts.tolist(), strict=True):
            part = slice(start, start + count)
            at_least(scores[:, part], floor[level], mask[:, part])
            start += count
        return pairs_of(mask)

    def add(self, pairs: Pairs, scores: Float[Tensor, " e"], rows: Int32[Tensor, " e"]) -> None:
        """Take some pairs of queries and rows; those below the floor may be left out."""
        if self._lacks_room(pairs):
            self.forget()
            level = entries_at(self._level, rows.long()).long()
            keep = scores >= entries_at(self.floor.view(-1), level * self._q + pairs.queries)
            pairs, scores, rows = (
                pairs.only(keep),
                entries_at(scores, keep),
                entries_at(rows, keep),
            )
            if self._lacks_room(pairs):
                self._grow(int((self._filled + pairs.counts).max()))
        shifts = self._filled - pairs.begins[:-1]
        shifts += torch.arange(self._q, device=shifts.device) * self._scores.shape[1]
        places = torch.arange(len(rows), device=rows.device).add_(pairs.spread(shifts))
        put_at(self._scores.view(-1), places, scores)
        put_at(self._rows.view(-1), places, rows)
        self._filled += pairs.counts

    def kept(self) -> Kept:
        """All of them, once what has fallen behind is dropped."""
        self.forget()
        parts = []
        for queries, chunk in self.chunks():
            every = torch.arange(chunk.scores.shape[1], device=chunk.scores.device)
            there = every < self._filled[queries, None]
            parts.append((chunk.scores[there], chunk.rows[there]))
        scores, rows = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        return Kept(scores, rows, self._filled.cpu().numpy())

    def take(self, kept: Kept) -> None:
        """Those among other rows as well."""
        device, size = self._scores.device, self._queries_together
        ends = np.concatenate([[0], kept.counts.cumsum()])
        for start in range(0, len(kept.counts), size):
            begins = ends.clip(ends[start], ends[min(start + size, len(kept.counts))])
            part = slice(begins[0], begins[-1])
            scores, rows = (
                torch.from_numpy(entries[part]).to(device) for entries in (kept.scores, kept.rows)
            )
            pairs = Pairs(torch.from_numpy(begins - begins[0]).to(device), rows)
            self.add(pairs, scores, rows)

    def _lacks_room(self, pairs: Pairs) -> bool:
        return int((self._filled + pairs.counts).max()) > self._scores.shape[1]

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
            limits = torch.full_like(self.floor[:, queries], torch.inf)
            for level, k in self._deepest.items():
                cut = kth_largest(chunk.at(level).best, k)
                limits[level] = (cut - self.margin).clamp_min(torch.finfo(cut.dtype).min)
            lowest = limits.flip(0).cummin(dim=0).values.flip(0)
            self.floor[:, queries] = torch.maximum(self.floor[:, queries], lowest)
            self._keep(queries, self._standing(chunk, limits, lowest))

    def _standing(
        self, chunk: Chunk, limits: Float[Tensor, "levels m"], lowest: Float[Tensor, "levels m"]
    ) -> Pairs:
        """The candidates that may be among the nearest of a gallery.

        Args:
            limits: Of each gallery, how near they must be.
            lowest: The least of the limits of the galleries that hold the rows of a level.
        """
        keep = torch.zeros_like(chunk.scores, dtype=torch.bool)
        if chunk.sources is None:
            at_least(chunk.scores, lowest[0], keep)
            pairs = pairs_of(keep)
            if chunk.levels is None:
                return pairs
            row = chunk.rows[pairs.queries, pairs.columns].long()
            least = lowest[entries_at(chunk.levels, row).long(), pairs.queries]
            return pairs.only(chunk.scores[pairs.queries, pairs.columns] >= least)
        for level in self._deepest:
            part = chunk.at(level)
            keep |= (part.scores >= limits[level][:, None]) & (
                part.scores >= part.nearest - self.margin
            )
        return pairs_of(keep)

    def _keep(self, queries: slice, pairs: Pairs) -> None:
        """Only these of the candidates of some queries."""
        first = pairs.queries * self._scores.shape[1]
        before, after = first + pairs.columns, first + pairs.places
        width = int(self._filled[queries].max())
        for table, nothing in ((self._scores[queries], -torch.inf), (self._rows[queries], 0)):
            kept = entries_at(table.view(-1), before)
            table[:, :width] = nothing
            put_at(table.view(-1), after, kept)
        self._filled[queries] = pairs.counts

    @property
    def _queries_together(self) -> int:
        return max(1, CHUNK_ENTRIES[_kind(self._scores.device)] // self._scores.shape[1])

    def chunks(self) -> Iterator[tuple[slice, Chunk]]:
        """The candidates of as many queries at once as keep to CHUNK_ENTRIES."""
        one = len(self.floor) == 1
        for start in range(0, len(self._scores), self._queries_together):
            queries = slice(start, min(start + self._queries_together, len(self._scores)))
            width = int(self._filled[queries].max())
            yield (
                queries,
                Chunk(
                    self._scores[queries, :width],
                    self._rows[queries, :width],
                    None if one else self._level,
                    self._sources,
                ),
            )


def _kind(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else "cuda"


def usual_room(k: int, block: int) -> int:
    """Candidates that a query has room for: half as many again as it needs, and a block."""
    return k + k // 2 + block


def block_rows(num_queries: int, num_rows: int, device: torch.device) -> int:
    """Rows whose scores are worked out together."""
    entries = BLOCK_ENTRIES[_kind(device)]
    return min(max(1, entries // num_queries), num_rows)


def room_bytes(num_queries: int, k: int, num_rows: int) -> int:
    """Memory of a search: its candidates, and the scores of a block."""
    block = block_rows(num_queries, num_rows, torch.device("cpu"))
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
