"""Neighbor lists of many layers at once: their overlaps for all layer pairs in one operation.

Axes: n samples, l layers, e entries (one per layer, sample and neighbor).
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Integer
from scipy import sparse
from torch import Tensor

from platorep.metrics.sparse import sparse_rows

DIRECT_ROWS = 4096
"""Up to this n, every (sample, neighbor) is a column of its own; above, only those that occur."""
OVERLAP_ENTRIES = 1 << 22
"""Overlaps of single samples held at once."""
THREAD_ENTRIES = 1 << 18
"""Products with fewer entries are not worth a thread."""
DENSE_ENTRIES = 1 << 26
"""Zeros and ones held at once on a GPU."""


@dataclass(frozen=True)
class Lists:
    """Weighted neighbors: layer by layer, the entries `ends[i]:ends[i + 1]` belong to layer i."""

    n: int
    ends: Integer[np.ndarray, " l_and_1"]
    rows: Integer[np.ndarray, " e"]
    columns: Integer[np.ndarray, " e"]
    weights: Float64[np.ndarray, " e"] | None
    """None: every entry counts one, and sums are exact integers."""

    @property
    def num_layers(self) -> int:
        return len(self.ends) - 1

    def reordered(self, order: Integer[np.ndarray, " n"]) -> "Lists":
        """The same lists with the samples in another order: rows move, names change."""
        place = torch.from_numpy(np.argsort(order).astype(np.int32))
        # several times faster than NumPy, which makes 8 bytes of each index first
        rows, columns = (
            place.index_select(0, torch.from_numpy(part)).numpy()
            for part in (self.rows, self.columns)
        )
        return Lists(self.n, self.ends, rows, columns, self.weights)

    def transposed(self) -> "Lists":
        """For every sample, who has it in its list."""
        return Lists(self.n, self.ends, self.columns, self.rows, self.weights)

    def weighted(self, weights: Float64[np.ndarray, " e"]) -> "Lists":
        """The same entries with other weights."""
        return Lists(self.n, self.ends, self.rows, self.columns, weights)

    def keys(self) -> Integer[np.ndarray, " e"]:
        """One number per (sample, neighbor)."""
        kind = np.int32 if self.n <= 1 << 15 else np.int64
        keys: np.ndarray = self.rows.astype(kind)
        keys *= self.n
        keys += self.columns
        return keys


Overlaps = Callable[[Lists], Float64[np.ndarray, "l_x l_y"]]


def overlaps_with(y: Lists, device: torch.device) -> Overlaps:
    """A function from lists x to the summed products of weights for every layer pair.

    A layer is a row of n * n weights, so all pairs together are one sparse product. The result
    is exact (and the same on every device) when neither side has weights.
    """
    return _dense(y, device) if device.type == "cuda" else _sparse(y)


class _Columns:
    """A column for every (sample, neighbor); when there are many samples, for those that y has."""

    def __init__(self, y: Lists) -> None:
        self._known = None if y.n <= DIRECT_ROWS else np.unique(y.keys())
        self._width = y.n * y.n if self._known is None else len(self._known)

    def matrix(self, lists: Lists) -> sparse.csr_array:
        """Every layer is a row."""
        keys, ends, weights = lists.keys(), lists.ends, lists.weights
        if self._known is not None:
            keys, there = self._find(keys)
            ends = np.concatenate([[0], np.cumsum(there)])[ends]
            keys, weights = keys[there], None if weights is None else weights[there]
        data = np.ones(len(keys), dtype=np.int32) if weights is None else weights
        index = np.int32 if max(self._width, len(keys)) < 1 << 31 else np.int64
        return sparse.csr_array(
            (data, keys.astype(index, copy=False), ends.astype(index)),
            shape=(lists.num_layers, self._width),
        )

    def matrix_by_sample(self, lists: Lists) -> sparse.csr_array:
        """Every layer of every sample is a row, samples outermost."""
        layer = np.repeat(np.arange(lists.num_layers, dtype=np.int64), np.diff(lists.ends))
        row = lists.rows.astype(np.int64) * lists.num_layers + layer
        keys = lists.keys()
        weights = np.ones(len(keys)) if lists.weights is None else lists.weights
        if self._known is not None:
            keys, there = self._find(keys)
            row, keys, weights = row[there], keys[there], weights[there]
        shape = (lists.n * lists.num_layers, self._width)
        return sparse.coo_array((weights, (row, keys)), shape=shape).tocsr()

    def _find(
        self, keys: Integer[np.ndarray, " e"]
    ) -> tuple[Integer[np.ndarray, " e"], Bool[np.ndarray, " e"]]:
        """The columns of the keys, and which of them have one."""
        assert self._known is not None
        column = np.searchsorted(self._known, keys)
        return column, self._known[np.minimum(column, self._width - 1)] == keys


def _sparse(y: Lists) -> Overlaps:
    columns = _Columns(y)
    fixed = columns.matrix(y).T.tocsr()
    counted = _counts(fixed) if y.weights is None else None

    def overlaps(x: Lists) -> Float64[np.ndarray, "l_x l_y"]:
        moving = columns.matrix(x)
        # sums of ones stay exact in float32 below 2**24
        if counted is not None and x.weights is None and x.ends[1] < 1 << 24:
            ones = _counts(moving)
            if ones is not None:
                zeros = torch.zeros(x.num_layers, y.num_layers)
                total: np.ndarray = torch.addmm(zeros, ones, counted).double().numpy()
                return total
        # rows of a product do not know of each other: any split gives the same to the bit
        threads = torch.get_num_threads() if moving.nnz > THREAD_ENTRIES else 1
        bounds = np.linspace(0, x.num_layers, threads + 1).round().astype(int)
        with ThreadPoolExecutor(threads) as pool:
            parts = [
                pool.submit(lambda some: (moving[some] @ fixed).toarray(), slice(start, stop))
                for start, stop in itertools.pairwise(bounds)
            ]
        return np.concatenate([part.result() for part in parts]).astype(np.float64)

    return overlaps


def _counts(matrix: sparse.csr_array) -> Tensor | None:
    """A matrix of ones for MKL, whose products of two take half as long as SciPy's; None where it
    is not there, or the matrix is too wide for it."""
    if not torch._C.has_mkl or matrix.indices.dtype != np.int32 or not matrix.nnz:
        return None
    ends, columns = torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices)
    return sparse_rows(ends, columns, torch.ones(matrix.nnz), matrix.shape[1])


Entries = tuple[Tensor, Tensor, Tensor, Tensor]
"""Sample, layer, neighbor and weight, sorted by sample, on a device."""


def _load(lists: Lists, device: torch.device) -> Entries:
    rows, columns = (torch.from_numpy(part).to(device) for part in (lists.rows, lists.columns))
    counts = torch.from_numpy(np.diff(lists.ends)).to(device)
    layers = torch.arange(lists.num_layers, device=device).repeat_interleave(counts)
    rows, by_row = rows.long().sort(stable=True)
    if lists.weights is None:
        values = torch.ones(1, device=device).expand(len(rows))
    else:
        values = torch.from_numpy(lists.weights).to(device)[by_row]
    return rows, layers[by_row], columns.long()[by_row], values


def _table(
    entries: Entries, num_layers: int, start: int, stop: int, n: int, dtype: torch.dtype
) -> Float[Tensor, "l m n"]:
    """The weights of samples start ... stop as a table with zeros."""
    bounds = torch.tensor([start, stop], device=entries[0].device)
    first, last = torch.searchsorted(entries[0], bounds).tolist()
    rows, layers, names, values = (part[first:last] for part in entries)
    table = torch.zeros(num_layers, stop - start, n, dtype=dtype, device=rows.device)
    table[layers, rows - start, names] = values.to(dtype)
    return table


def _dense(y: Lists, device: torch.device) -> Overlaps:
    y_entries = _load(y, device)

    def overlaps(x: Lists) -> Float64[np.ndarray, "l_x l_y"]:
        # sums of ones stay exact in float32 below 2**24
        exact = x.weights is None and y.weights is None and x.ends[1] < 1 << 24
        dtype = torch.float32 if exact else torch.float64
        x_entries = _load(x, device)
        total = torch.zeros(x.num_layers, y.num_layers, dtype=torch.float64, device=device)
        block = max(1, DENSE_ENTRIES // (x.n * (x.num_layers + y.num_layers)))
        for start in range(0, x.n, block):
            stop = min(start + block, x.n)
            left = _table(x_entries, x.num_layers, start, stop, x.n, dtype)
            right = _table(y_entries, y.num_layers, start, stop, x.n, dtype)
            total += left.flatten(1) @ right.flatten(1).T
        found: np.ndarray = total.cpu().numpy()
        return found

    return overlaps


Combine = Callable[..., Any]
"""One array of overlaps (samples l_x l_y) per pair of lists -> the terms of the sum."""


def sum_over_rows(
    pairs: Sequence[tuple[Lists, Lists]], combine: Combine, device: torch.device
) -> Float64[np.ndarray, "l_x l_y"]:
    """Sum over samples of a function of the sample's own overlaps, for every layer pair.

    Args:
        pairs: Lists of x and of y; each pair gives one overlap per sample.
        combine: Works on numpy arrays and on tensors alike; 0 where all overlaps are 0.
    """
    if device.type == "cuda":
        return _dense_sum(pairs, combine, device)
    layers_x, layers_y = pairs[0][0].num_layers, pairs[0][1].num_layers
    sides = []
    for x, y in pairs:
        columns = _Columns(y)
        sides.append((columns.matrix_by_sample(x), columns.matrix(y).T.tocsr()))
    total = np.zeros((layers_x, layers_y))
    block = max(1, OVERLAP_ENTRIES // (layers_x * layers_y))
    for start in range(0, pairs[0][0].n, block):
        some = slice(start * layers_x, (start + block) * layers_x)
        overlaps = ((x[some] @ y).toarray().reshape(-1, layers_x, layers_y) for x, y in sides)
        total += combine(*overlaps).sum(axis=0)
    return total


def _dense_sum(
    pairs: Sequence[tuple[Lists, Lists]], combine: Combine, device: torch.device
) -> Float64[np.ndarray, "l_x l_y"]:
    n, layers_x, layers_y = pairs[0][0].n, pairs[0][0].num_layers, pairs[0][1].num_layers
    loaded = [(_load(x, device), _load(y, device)) for x, y in pairs]
    total = torch.zeros(layers_x, layers_y, dtype=torch.float64, device=device)
    block = max(1, DENSE_ENTRIES // (len(pairs) * (n + layers_y) * (layers_x + layers_y)))
    for start in range(0, n, block):
        stop = min(start + block, n)
        overlaps = (
            torch.bmm(
                _table(x, layers_x, start, stop, n, torch.float64).transpose(0, 1),
                _table(y, layers_y, start, stop, n, torch.float64).permute(1, 2, 0),
            )
            for x, y in loaded
        )
        total += combine(*overlaps).sum(dim=0)
    found: np.ndarray = total.cpu().numpy()
    return found
