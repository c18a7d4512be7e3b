"""The exact nearest neighbors of some query rows in nested galleries, in one pass over the rows.

The rows come in blocks. Of each query only those candidates are kept that may still be among the
nearest of some gallery: they serve all galleries and all numbers of neighbors, and take the room of
half as many again as the largest number. Candidates that a float32 product cannot tell apart are
read once more and compared in float64, as in `nearest.py`, so no result depends on blocks, threads
or device, nor on who went through which rows.

Axes: q queries, b rows of a block, d features, k neighbors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from platorep.errors import DataError
from platorep.metrics.candidates import Candidates, Chunk, Kept, Part, Wanted, block_rows
from platorep.metrics.layer import Vectors, comparable_dtype, product
from platorep.metrics.nearest import (
    Nearest,
    Ties,
    exact_distances,
    fill,
    longest,
    product_error,
)
from platorep.metrics.pairs import PAIR_ENTRIES
from platorep.metrics.rough import RoughProducts
from platorep.metrics.selection import entries_at, largest_at
from platorep.switches import default_switches

Block = tuple[Int64[np.ndarray, " b"], Float[Tensor, "b d"]]
Blocks = Callable[[Int64[np.ndarray, " m"] | None], Iterator[Block]]
"""Numbers and features of the rows asked for, in rising order (None: all), block by block."""
ROOM = 2.0
"""The squares of rows may be this much larger than those of the queries; else once more."""


@dataclass(frozen=True)
class Galleries:
    """Nested galleries of numbered rows; the queries are the first rows and are in all of them."""

    num_queries: int
    sizes: tuple[int, ...]
    """Rising."""
    level: Int8[np.ndarray, " rows"]
    """Place in `sizes` of the smallest gallery that holds the row; len(sizes): none does."""
    sources: Int64[np.ndarray, " rows"] | None = None
    """The source of every row: neighbors are sources then, each as near as its nearest row."""


@default_switches()
def search_galleries(
    queries: Float[Tensor, "q d"],
    blocks: Blocks,
    galleries: Galleries,
    wanted: Sequence[tuple[int, int]],
    *,
    similarity: str,
    center: bool = False,
) -> dict[tuple[int, int], Nearest]:
    """The k nearest rows (or sources) of every query in the gallery of n, for all (n, k) at once.

    A query is not its own neighbor, nor is anything of its own source. Tied places are shared.

    Args:
        queries: The first rows, on the device that does the work.
        wanted: Pairs of n, one of the galleries' sizes, and k.
        center: Subtract the mean of the queries from all rows first.

    Raises:
        DataError: a gallery has fewer than k sources beside a query's own; or very many rows are
            equally near; or a row is too long for float32.
    """
    search = GallerySearch(queries, galleries, wanted, similarity=similarity, center=center)
    search.collect(blocks)
    return search.lists(blocks)


@dataclass(frozen=True)
class Found:
    """What a search has found among some of the rows."""

    kept: Kept
    largest: float
    """Squared length of the longest of the rows and queries."""


class GallerySearch:
    """A search whose rows may be gone through by several: each collects among its own, then hands
    over what it `found`, and one takes that of all and makes the lists.

    Args: as `search_galleries`.
    """

    def __init__(
        self,
        queries: Float[Tensor, "q d"],
        galleries: Galleries,
        wanted: Sequence[tuple[int, int]],
        *,
        similarity: str,
        center: bool = False,
    ) -> None:
        self._galleries, self._similarity = galleries, similarity
        self._offset = queries.double().mean(dim=0) if center else None
        given = queries if queries.dtype == torch.float64 else queries.float()
        self._dtype = comparable_dtype(torch.linalg.vector_norm(given, dim=1))
        self._own = self._vectors(queries, None)
        self._largest = float(self._own.squares.max())
        self._rough = RoughProducts.where_faster(self._own)
        self._device = queries.device
        self._level = torch.from_numpy(galleries.level).to(self._device)
        sources = galleries.sources
        self._sources = None if sources is None else torch.from_numpy(sources).to(self._device)
        self._wanted = [Wanted(n, k, galleries.sizes.index(n)) for n, k in wanted]
        self._candidates = self._no_candidates(self._largest)
        self._pairs = np.empty(0, dtype=np.int64)  # row * q + query, of what is compared again
        self._distances = np.empty(0)
        self._cuts: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    @property
    def _q(self) -> int:
        return self._galleries.num_queries

    def _product_error(self, largest: float) -> float:
        return product_error(largest, self._own.origin, self._similarity)

    @property
    def _error(self) -> float:
        return self._product_error(self._largest)

    def _vectors(self, features: Float[Tensor, "n d"], largest: float | None) -> Vectors:
        unit = self._similarity == "cosine"
        features = features.to(self._dtype)
        return Vectors(features, offset=self._offset, unit=unit, largest=largest)

    def _no_candidates(self, largest: float) -> Candidates:
        return Candidates(
            self._q,
            self._wanted,
            self._level,
            self._sources,
            4 * self._product_error(largest),
            self._own.origin.dtype,
        )

    @default_switches()
    def collect(self, blocks: Blocks) -> None:
        """Go through rows, all or a part of them; once."""
        while not self._go_through(blocks):
            pass  # a row was much longer than the queries
        self._candidates.forget()

    @default_switches()
    def found(self) -> Found:
        """What has been collected, to be handed to another search of the same."""
        return Found(self._candidates.kept(), self._largest)

    @default_switches()
    def take(self, found: Found) -> None:
        """What another search has found among other rows.

        A row that was dropped there has k nearer ones there, by more than its product may err.
        """
        self._largest = max(self._largest, found.largest)
        self._candidates.margin = max(self._candidates.margin, 4 * self._error)
        self._candidates.take(found.kept)

    @default_switches()
    def lists(self, blocks: Blocks) -> dict[tuple[int, int], Nearest]:
        """The neighbors, once all rows have been gone through.

        Args:
            blocks: Of all rows; those that products leave undecided are read again.
        """
        self._candidates.forget()
        self._compare_again(blocks)
        return self._lists()

    def _go_through(self, blocks: Blocks) -> bool:
        """Collect the candidates; False: a row's length forbids to trust them."""
        expected = ROOM * self._largest
        size = block_rows(self._q, len(self._level), self._device)
        self._candidates = self._no_candidates(expected)
        for rows, features in blocks(None):
            for start in range(0, len(rows), size):
                numbers = torch.from_numpy(rows[start : start + size]).to(self._device)
                block = features[start : start + size].to(self._device)
                levels, order = self._level[numbers].sort(stable=True)
                order = order[: int((levels < len(self._candidates.floor)).sum())]
                if len(order) < len(levels) or levels[0] < levels[-1]:
                    numbers, levels, block = numbers[order], levels[: len(order)], block[order]
                self._look_through(numbers, levels, block)
                if not np.isfinite(self._largest):
                    raise DataError(
                        f"a row from {int(rows[0])} to {int(rows[-1])} is too long for float32. "
                        "Set align.preprocess.normalize: l2."
                    )
                if self._largest > expected:
                    return False
        return True

    def _look_through(
        self, numbers: Int64[Tensor, " b"], levels: Int8[Tensor, " b"], block: Float[Tensor, "b d"]
    ) -> None:
        """Take what may matter from some rows, in order of level."""
        own, candidates = self._own, self._candidates
        if not len(numbers):
            return
        around, zero = self._vectors(block, self._own.largest).around(own.origin)
        squares = torch.linalg.vector_norm(around, dim=1).square()
        self._largest = max(self._largest, float(squares.max()))
        inner = self._similarity == "inner_product"
        shift = around @ own.origin if inner else -squares / 2
        if self._rough is not None and self._largest < torch.inf and not zero.any():
            floor = candidates.floor - self._error
            choose = partial(candidates.above, levels)
            near = self._rough.near(around, shift, floor, choose)
            if near is not None:
                pairs, values = near
                level = entries_at(levels, pairs.columns).long()
                floor = candidates.floor.view(-1)
                keep = values >= entries_at(floor, level * self._q + pairs.queries)
                keep &= ~self._same(pairs.queries, entries_at(numbers, pairs.columns))
                pairs, values = pairs.only(keep), entries_at(values, keep)
                candidates.add(pairs, values, entries_at(numbers, pairs.columns).int())
                return
        scores = self._scores(around, shift, zero, numbers)
        pairs = candidates.above(levels, scores, candidates.floor)
        values = entries_at(scores.view(-1), pairs.queries * len(numbers) + pairs.columns)
        candidates.add(pairs, values, entries_at(numbers, pairs.columns).int())

    def _same(self, queries: Int64[Tensor, " e"], rows: Int64[Tensor, " e"]) -> Bool[Tensor, " e"]:
        """Whether a row is the query, or of its source."""
        if self._sources is None:
            return queries == rows
        return self._sources[queries] == self._sources[rows]

    def _scores(
        self,
        around: Float[Tensor, "b d"],
        shift: Float[Tensor, " b"],
        zero: Bool[Tensor, " b"],
        numbers: Int64[Tensor, " b"],
    ) -> Float[Tensor, "q b"]:
        """What orders the rows for each query, as `Search.scores`; its own rows at -inf."""
        own = self._own
        scores = product(own.around_origin, around).add_(shift)
        if self._similarity == "cosine":  # cosine 0 to everybody: distance sqrt(2)
            if zero.any():
                scores[:, zero] = (own.squares / 2 - 1)[:, None]
            if own.zero.any():
                scores[own.zero] = 0.0
        if self._sources is not None:
            same = self._sources[numbers] == self._sources[: self._q, None]
            scores.masked_fill_(same, -torch.inf)
        else:
            columns = (numbers < self._q).nonzero().flatten()
            scores[numbers[columns], columns] = -torch.inf
        return scores

    def _compare_again(self, blocks: Blocks) -> None:
        """Exact distances of all candidates that a product cannot put in order."""
        found = [
            self._near(chunk, queries.start, w)
            for queries, chunk in self._candidates.chunks()
            for w in self._wanted
        ]
        self._pairs = np.unique(np.concatenate(found))
        self._distances = np.empty(len(self._pairs))
        if not len(self._pairs):
            return
        exact = self._own.exact(slice(None))
        length = longest(self._largest, self._own.origin)
        most = max(1, PAIR_ENTRIES // exact.shape[1])
        for rows, features in blocks(np.unique(self._pairs // self._q)):
            table = self._vectors(features.to(self._device), self._own.largest)
            begin, end = np.searchsorted(self._pairs, [rows[0] * self._q, (rows[-1] + 1) * self._q])
            for start in range(begin, end, most):
                part = slice(start, min(start + most, end))
                row, query = np.divmod(self._pairs[part], self._q)
                place = torch.from_numpy(np.searchsorted(rows, row)).to(self._device)
                query_place = torch.from_numpy(query).to(self._device)
                self._distances[part] = (
                    exact_distances(
                        exact[query_place], table.exact(place), self._similarity, length
                    )
                    .cpu()
                    .numpy()
                )

    def _lists(self) -> dict[tuple[int, int], Nearest]:
        """The neighbors, once everything has been compared."""
        lists = {w: np.empty((self._q, w.k), dtype=np.int32) for w in self._wanted}
        shared: dict[Wanted, list[Ties]] = {w: [] for w in self._wanted}
        for queries, chunk in self._candidates.chunks():
            for w in self._wanted:
                part = self._list(chunk, queries.start, w)
                lists[w][queries] = part.neighbors
                if part.ties is not None:
                    shared[w].append(part.ties)
        return {(w.n, w.k): Nearest(lists[w], _joined(shared[w])) for w in self._wanted}

    def _cut(
        self, part: Part, first_query: int, k: int
    ) -> tuple[Float[Tensor, "m 1"], Bool[Tensor, " m"]]:
        """The score at place k, and which queries have it undecided."""
        key = first_query, part.level, k
        if key not in self._cuts:
            cut, following = largest_at(part.best, k)
            if not cut.isfinite().all():
                lacking = int((~cut.isfinite()).nonzero()[0])
                there = int(part.best[lacking].isfinite().sum())
                raise DataError(
                    f"k={k}: a query has only {there} sources beside its own in a gallery. Ask for "
                    "fewer neighbors, or for larger galleries."
                )
            self._cuts[key] = cut[:, None], cut - following <= 2 * self._error
        return self._cuts[key]

    def _near(self, chunk: Chunk, first_query: int, w: Wanted) -> Int64[np.ndarray, " p"]:
        """Row * q + query of the undecided candidates."""
        part = chunk.at(w.level)
        undecided = self._undecided(part, *self._cut(part, first_query, w.k))
        query = undecided.nonzero()[:, 0] + first_query
        found: np.ndarray = (chunk.rows[undecided].long() * self._q + query).cpu().numpy()
        return found

    def _undecided(
        self, part: Part, cut: Float[Tensor, "m 1"], unsure: Bool[Tensor, " m"]
    ) -> Bool[Tensor, "m c"]:
        """Neither too far away, nor (by a row of the same name) in without doubt."""
        margin = 4 * self._error  # added to the cut as in `_list`, so that none is neither
        return (part.scores >= cut - margin) & (part.nearest <= cut + margin) & unsure[:, None]

    def _list(self, chunk: Chunk, first_query: int, w: Wanted) -> Nearest:
        part = chunk.at(w.level)
        cut, unsure = self._cut(part, first_query, w.k)
        sure = part.best > cut + 4 * self._error
        taken = torch.where(unsure[:, None], sure, part.best >= cut)
        ties = None
        if unsure.any():
            undecided = self._undecided(part, cut, unsure)
            ties = self._settle(chunk, taken, undecided, first_query, w.k)
        neighbors = chunk.names[taken].view(-1, w.k).cpu().numpy().astype(np.int32)
        return Nearest(np.sort(neighbors, axis=1), ties)

    def _settle(
        self,
        chunk: Chunk,
        taken: Bool[Tensor, "m c"],
        undecided: Bool[Tensor, "m c"],
        first_query: int,
        k: int,
    ) -> Ties | None:
        """Fill the places that are left by distance; `taken` marks those, too, afterwards."""
        query, column = (index.cpu().numpy() for index in undecided.nonzero(as_tuple=True))
        names, rows = chunk.names[undecided].cpu().numpy(), chunk.rows[undecided].cpu().numpy()
        keys = rows.astype(np.int64) * self._q + query + first_query
        distances = self._distances[np.searchsorted(self._pairs, keys)]
        order = np.lexsort((distances, names, query))
        first = np.ones(len(order), dtype=bool)  # of each source its nearest row
        same = (query[order][1:] == query[order][:-1]) & (names[order][1:] == names[order][:-1])
        first[1:] = ~same
        order = order[first]
        open_queries, place = np.unique(query[order], return_inverse=True)
        left = k - taken.sum(dim=1).cpu().numpy()[open_queries]
        filled = fill(left, place, distances[order])
        ties = None
        if filled.tied.any():
            in_doubt = torch.from_numpy(open_queries).to(taken.device)
            settled = taken[in_doubt] & torch.from_numpy(filled.tied).to(taken.device)[:, None]
            where = settled.nonzero()[:, 0].cpu().numpy()
            sure = np.stack([where, chunk.names[in_doubt][settled].cpu().numpy()], axis=1)
            ties = filled.ties(sure, np.stack([place, names[order]], axis=1))
            tied = (open_queries[ties.rows] + first_query).astype(np.int32)
            ties = Ties(tied, ties.columns.astype(np.int32), ties.weights)
        chosen = order[filled.taken]
        taken[
            tuple(torch.from_numpy(index[chosen]).to(taken.device) for index in (query, column))
        ] = True
        return ties


def _joined(parts: Sequence[Ties]) -> Ties | None:
    if not parts:
        return None
    return Ties(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )
