"""The exact nearest neighbors of every sample, ties included, at the price of a float32 product.

A product in float32 finds the neighbors; where two candidates for the last place are closer than
its error, they are compared again in float64, each pair computed from its two rows alone. So the
result does not depend on threads, blocks or device, and rows that are equal tie exactly.

Axes: n samples, d features, k neighbors.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64, Integer
from torch import Tensor

from platorep.metrics.layer import Layer, first_equal
from platorep.metrics.pairs import PAIR_ENTRIES, PairScores
from platorep.metrics.rounded import Rounded, fastest
from platorep.metrics.selection import kth_largest
from platorep.metrics.shortlist import Segments, segments, shortlist

PRODUCT_ERROR = 16
"""Error of a product of unit vectors, in units of the dtype's epsilon (measured: below 4)."""
EQUAL = 1e-14
"""Two distances (in units of the longest row) that differ by less than this are equal."""
BLOCK_ENTRIES = 1 << 23
"""Similarities held at once, when the Gram matrix is not kept."""
MOST_AGAIN = {"cpu": 1 / 20, "cuda": 1 / 2000}
"""Comparing so many of all pairs again takes as long as their product in float32 (measured)."""
SAMPLE_ROWS = 64
"""Rows that show whether many pairs will have to be compared again."""
ROUNDED_ENTRIES = 1 << 24
"""Scores in few digits held at once; on a GPU as many as a quarter of its free memory has room
for, since whatever it does takes long to begin."""


@dataclass(frozen=True)
class Ties:
    """Every neighbor of the samples whose last places are tied, with its share of a place."""

    rows: Integer[np.ndarray, " t"]
    columns: Integer[np.ndarray, " t"]
    weights: Float64[np.ndarray, " t"]

    @property
    def num_rows(self) -> int:
        return len(np.unique(self.rows))


@dataclass(frozen=True)
class Nearest:
    """The k nearest other samples of every sample; the tied last places go to the lower rows.

    `ties` says what the tied rows are when the places are shared instead.
    """

    neighbors: Integer[np.ndarray, "n k"]
    ties: Ties | None


@dataclass(frozen=True)
class Undecided:
    """Rows whose last places products cannot fill."""

    rows: Integer[np.ndarray, " m"]
    sure: Int64[np.ndarray, "s 2"]
    """Place in `rows`, and who is among its nearest for certain; sorted."""
    near: Int64[np.ndarray, "c 2"]
    """Place in `rows`, and who may be; sorted."""

    @classmethod
    def of(
        cls,
        rows: Int64[Tensor, " m"],
        columns: Int64[Tensor, "m c"],
        sure: Bool[Tensor, "m c"],
        near: Bool[Tensor, "m c"],
    ) -> "Undecided":
        """From short lists and what is marked in them."""

        def pairs(marked: Bool[Tensor, "m c"]) -> Int64[np.ndarray, "p 2"]:
            row, _ = marked.nonzero(as_tuple=True)
            found = torch.stack([row, columns[marked]], dim=1).cpu().numpy()
            ordered: np.ndarray = found[_in_order(found)]
            return ordered

        return cls(rows.cpu().numpy(), pairs(sure), pairs(near))


def search(layer: Layer, similarity: str, *, center: bool) -> "Search":
    """The layer's search under this similarity, shared by all metrics that ask for it."""
    key = "search", similarity, center
    if key not in layer.shared:
        layer.shared[key] = Search(layer, similarity, center=center)
    found = layer.shared[key]
    assert isinstance(found, Search)
    return found


class Search:
    """Nearest neighbors of one layer under one similarity, for any number of k.

    Ask for the largest k first: the smaller ones are cut from it.
    """

    def __init__(self, layer: Layer, similarity: str, *, center: bool) -> None:
        self._similarity = similarity
        self._cosine = similarity == "cosine"
        self._inner = similarity == "inner_product"
        self._vectors = layer.vectors(unit=self._cosine, center=center)
        self.n = layer.n
        self._values: Tensor | None = None
        self._indices: Tensor | None = None

    def nearest(self, k: int) -> Nearest:
        """The k nearest neighbors, in the order of the rows; needs 1 <= k < n."""
        dtype, split = fastest(self._vectors), segments(self.n, k)
        if dtype is not None and split is not None and not self._vectors.has_zeros:
            found = self._from_rounded(k, dtype, split)
            if found is not None:
                return found
        return self._from_products(k)

    def _from_products(self, k: int) -> Nearest:
        values, indices = self.top(min(k + 1, self.n - 1))
        neighbors = indices[:, :k].sort(dim=1).values.cpu().numpy()
        if k == self.n - 1:  # everybody else
            return Nearest(compact(neighbors), None)
        unsure = values[:, k - 1] - values[:, k] <= 2 * self.error
        rows = unsure.nonzero().flatten()
        return self._decided(neighbors, self._undecided(rows, values[:, k - 1]), k)

    def _from_rounded(self, k: int, dtype: torch.dtype, split: Segments) -> Nearest | None:
        """From products in few digits; None where these leave too much to compare again."""
        vectors = self._vectors
        level = self._level(k, dtype)
        if level is None:
            return None
        rounded = Rounded(vectors, dtype, split.padded, inner=self._inner, level=level)
        if not rounded.in_range:
            return None
        pairs = self._pairs(rounded)
        device = vectors.middle.device
        neighbors = torch.empty(self.n, k, dtype=torch.int64, device=device)
        undecided: list[Undecided] = []
        entries = ROUNDED_ENTRIES
        if device.type == "cuda":
            entries = torch.cuda.mem_get_info(device)[0] // 4 // dtype.itemsize
        size = max(1, entries // split.padded)
        limit = 2 * MOST_AGAIN[device.type]
        for start in range(0, self.n, size):
            rows = slice(start, min(start + size, self.n))
            error = partial(rounded.error, rows)
            short = shortlist(rounded.scores(rows), k, split, error, rounded.missing)
            found = pairs.compare_again(rounded.in_units_of_rows(short), rows, k, limit)
            if found is None:
                return None
            todo = found.is_open.nonzero().flatten()
            members = found.sure | found.near
            if len(todo):  # any k for now
                sure, near, columns = found.sure[todo], found.near[todo], short.columns[todo]
                best = (sure.float() * 2 + near).topk(k, dim=1).indices
                members[todo] = torch.zeros_like(near).scatter_(1, best, True)
                undecided.append(Undecided.of(todo + start, columns, sure, near))
            neighbors[rows] = short.columns[members].reshape(-1, k)
        return self._decided(neighbors.sort(dim=1).values.cpu().numpy(), undecided, k)

    def _level(self, k: int, dtype: torch.dtype) -> float | None:
        """About where the last places' scores are, from some of the rows; None where too many
        candidates are as near as that."""
        vectors = self._vectors.some(slice(None, None, -(-self.n // SAMPLE_ROWS)))
        size, whole = vectors.n, slice(0, vectors.n)
        some = Rounded(vectors, dtype, size, inner=self._inner)
        if not some.in_range:
            return None
        scores = some.scores(whole).float()
        place = max(1, round(k * size / self.n))
        cut = kth_largest(scores, place)
        near = (scores - cut[:, None]).abs() <= some.error(whole, cut)[:, None]
        # of more rows the last place is farther out, where candidates are rarer
        share = float(near.float().mean()) * min(1.0, k * size / (place * self.n))
        if share > MOST_AGAIN[vectors.device.type]:
            return None
        return float(cut.mean()) * some.unscale

    def _pairs(self, rounded: Rounded) -> PairScores:
        """How pairs are compared again in float32: rows as they are given, where they may be."""
        vectors = self._vectors
        if not vectors.is_light:
            return PairScores(vectors.around_origin, None, self._shift, None, self.error)
        squares = vectors.middle.square().sum()
        if self._inner:
            shift, constant = torch.zeros(self.n), -rounded.along - squares
        else:
            shift, constant = vectors.lengths.square() / -2, -rounded.along - squares / 2
        nothing = torch.zeros_like(vectors.middle)
        error = 2 * product_error(vectors.longest_given**2, nothing, self._similarity)
        return PairScores(vectors.given, vectors.factors, shift, constant, error)

    @cached_property
    def _shift(self) -> Float[Tensor, " n"]:
        """What is added to the product with a candidate to make its score."""
        return self._vectors.along_origin if self._inner else -self._vectors.squares / 2

    def blocks(self, rows: Int[Tensor, " m"]) -> Iterator[Int[Tensor, " b"]]:
        """The rows in blocks whose scores fit in BLOCK_ENTRIES."""
        size = max(1, BLOCK_ENTRIES // self.n)
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def top(self, count: int) -> tuple[Tensor, Tensor]:
        """The largest `count` float32 scores of every row, in order, and whose they are."""
        if self._values is None or self._values.shape[1] < count:
            every = torch.arange(self.n)
            parts = [self.scores(rows).topk(count, dim=1) for rows in self.blocks(every)]
            self._values = torch.cat([part.values for part in parts])
            self._indices = torch.cat([part.indices for part in parts])
        assert self._indices is not None
        return self._values, self._indices

    def scores(self, rows: Int[Tensor, " m"]) -> Float[Tensor, "m n"]:
        """What orders the candidates of each of these rows; itself at minus infinity.

        Distances: <i,j> - <j,j>/2, which is largest where |i - j| is smallest. Cosine is the
        distance of unit vectors. Inner products: <i,j> + <origin,j>.
        """
        vectors = self._vectors
        rows = rows.to(vectors.squares.device)
        whole = slice(int(rows[0]), int(rows[-1]) + 1)
        contiguous = bool((rows.diff() == 1).all())
        scores = vectors.gram_rows(whole if contiguous else rows) + self._shift
        if self._cosine and vectors.zero.any():  # cosine 0 to everybody: distance sqrt(2)
            scores[:, vectors.zero] = (vectors.squares[rows] / 2 - 1)[:, None]
            scores[vectors.zero[rows]] = 0.0
        scores[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        return scores

    @cached_property
    def error(self) -> float:
        """Bound of the rounding error of a score."""
        vectors = self._vectors
        largest = float(vectors.squares.max())
        return product_error(largest, vectors.origin, self._similarity)

    @cached_property
    def _length(self) -> float:
        """Length of the longest row, to tell what is equal."""
        if self._vectors.as_given:
            return self._vectors.longest_given or 1.0
        return longest(float(self._vectors.squares.max()), self._vectors.origin)

    def _undecided(
        self, rows: Int[Tensor, " m"], cuts: Float[Tensor, " n"]
    ) -> Iterator["Undecided"]:
        """Who is among the nearest for certain, and who may be, of rows whose last place is open.

        Args:
            cuts: The score of the last place of every row.
        """
        for chosen in self.blocks(rows):
            scores, cut = self.scores(chosen), cuts[chosen][:, None]
            margin = 4 * self.error
            sure = (scores > cut + margin).nonzero().cpu().numpy()
            near = ((scores >= cut - margin) & (scores <= cut + margin)).nonzero().cpu().numpy()
            yield Undecided(chosen.cpu().numpy(), sure, near)

    def _decided(
        self, neighbors: Integer[np.ndarray, "n k"], undecided: Iterable["Undecided"], k: int
    ) -> Nearest:
        """Fill the lists of these rows by distances in float64."""
        shared: list[Ties] = []
        for part in undecided:
            if not len(part.rows):
                continue
            distances = self.exact(part.rows[part.near[:, 0]], part.near[:, 1])
            members, ties = choose(k, part.sure, part.near, distances)
            neighbors[part.rows] = members
            shared.append(Ties(part.rows[ties.rows], ties.columns, ties.weights))
        if not any(len(ties.rows) for ties in shared):
            return Nearest(compact(neighbors), None)
        ties = Ties(
            np.concatenate([part.rows for part in shared]).astype(np.int32),
            np.concatenate([part.columns for part in shared]).astype(np.int32),
            np.concatenate([part.weights for part in shared]),
        )
        return Nearest(compact(neighbors), ties)

    def exact(
        self, rows: Int64[np.ndarray, " p"], columns: Int64[np.ndarray, " p"]
    ) -> Float64[np.ndarray, " p"]:
        """Distances in float64 in units of the longest row; minus the product for inner products.

        Each is computed from its two rows alone. Rows that are equal to the bit are compared once.
        """
        if not len(rows):
            return np.empty(0)
        involved = np.unique(np.concatenate([rows, columns]))
        table = self._vectors.exact(torch.from_numpy(involved).to(self._vectors.device))
        place = np.searchsorted(involved, np.stack([rows, columns]))
        if len(rows) > 4 * len(involved):  # many candidates are equal
            place = first_equal(table)[place]
        size = len(involved)
        pairs, back = np.unique(place[0] * size + place[1], return_inverse=True)
        distances = np.empty(len(pairs))
        block = max(1, PAIR_ENTRIES // table.shape[1])
        for start in range(0, len(pairs), block):
            one, other = (
                table[torch.from_numpy(part).to(table.device)]
                for part in np.divmod(pairs[start : start + block], size)
            )
            found = exact_distances(one, other, self._similarity, self._length)
            distances[start : start + block] = found.cpu().numpy()
        return distances[back]


def product_error(largest: float, origin: Float[Tensor, " d"], similarity: str) -> float:
    """Bound of the rounding error of a score of rows around `origin`.

    Args:
        largest: The largest of their squared lengths.
    """
    size = largest
    if similarity == "inner_product":
        size += math.sqrt(largest) * float(torch.linalg.vector_norm(origin))
    rounding = 2 * math.sqrt(size) if similarity == "cosine" else 0.0  # of the unit vectors
    return torch.finfo(origin.dtype).eps * (PRODUCT_ERROR * size + rounding)


def longest(largest: float, origin: Float[Tensor, " d"]) -> float:
    """Length of the longest row, to tell what is equal."""
    return math.sqrt(largest) + float(torch.linalg.vector_norm(origin)) or 1.0


def exact_distances(
    one: Float[Tensor, "p d"], other: Float[Tensor, "p d"], similarity: str, length: float
) -> Float[Tensor, " p"]:
    """Distances of pairs of rows in units of `length`; minus the product for inner products."""
    if similarity == "inner_product":
        return -(one * other).sum(dim=1) / length**2
    found: Tensor = torch.linalg.vector_norm(one - other, dim=1) / length
    if similarity == "cosine":
        zero = ~(one.any(dim=1) & other.any(dim=1))
        found = found.masked_fill(zero, 2**0.5 / length)
    return found


def choose(
    k: int,
    sure: Int64[np.ndarray, "s 2"],
    near: Int64[np.ndarray, "c 2"],
    distances: Float64[np.ndarray, " c"],
) -> tuple[Int64[np.ndarray, "m k"], Ties]:
    """Fill the k places of each row from its sure members, then from the near ones by distance.

    Args:
        sure: Pairs of row and column that are in, sorted by row.
        near: Candidates for the places left, sorted by row, then column; every row has some.

    Returns:
        The members (of tied candidates the lower columns), and the rows whose last places are
        tied, with every member's share; both sorted by row, then column.
    """
    num_rows = int(near[-1, 0]) + 1
    filled = fill(k - np.bincount(sure[:, 0], minlength=num_rows), near[:, 0], distances)
    members = np.concatenate([sure, near[filled.taken]])
    members = members[_in_order(members), 1].reshape(num_rows, k)
    settled = sure[filled.tied[sure[:, 0]]]
    return members, filled.ties(settled, near)


@dataclass(frozen=True)
class Filled:
    """The places of some rows, filled from candidates by distance."""

    taken: Bool[np.ndarray, " c"]
    shares: Float64[np.ndarray, " c"]
    """Of a place, where the last ones are shared."""
    tied: Bool[np.ndarray, " m"]
    """Rows in which they are."""
    row: Int64[np.ndarray, " c"]

    def ties(self, settled: Int64[np.ndarray, "s 2"], near: Int64[np.ndarray, "c 2"]) -> Ties:
        """The tied rows, with those of their members that need no distance."""
        sharing = (self.shares > 0) & self.tied[self.row]
        entries = np.concatenate([settled, near[sharing]])
        weights = np.concatenate([np.ones(len(settled)), self.shares[sharing]])
        order = _in_order(entries)
        return Ties(entries[order, 0], entries[order, 1], weights[order])


def fill(
    places: Int64[np.ndarray, " m"],
    row: Int64[np.ndarray, " c"],
    distances: Float64[np.ndarray, " c"],
) -> Filled:
    """Fill the places of each row with its nearest candidates; the lower ones of equal distance.

    Args:
        row: Of each candidate; rising. Every row has more candidates than places, or as many.
    """
    num_rows = len(places)
    starts = np.searchsorted(row, np.arange(num_rows))
    cut = distances[np.lexsort((distances, row))][starts + places - 1][row]
    above, tied = distances < cut - EQUAL, np.abs(distances - cut) <= EQUAL
    left = places - np.bincount(row[above], minlength=num_rows)
    num_tied = np.bincount(row[tied], minlength=num_rows)
    before = np.cumsum(tied) - tied  # tied candidates before this one
    taken = above | (tied & (before - before[starts][row] < left[row]))
    shares = np.where(above, 1.0, np.where(tied, (left / np.maximum(num_tied, 1))[row], 0.0))
    return Filled(taken, shares, num_tied > left, row)


def _in_order(pairs: Int64[np.ndarray, "e 2"]) -> Int64[np.ndarray, " e"]:
    """By row, then column: which of them a product was sure of depends on the device."""
    return np.lexsort((pairs[:, 1], pairs[:, 0]))


def compact(neighbors: Integer[np.ndarray, "n k"]) -> Integer[np.ndarray, "n k"]:
    """Two bytes per neighbor where they suffice."""
    return neighbors.astype(np.int16 if len(neighbors) <= 1 << 15 else np.int32)
