"""Neighbor lists of many layers at once: their overlaps for all layer pairs in one operation.

Axes: n samples, l layers, e entries (one per layer, sample and neighbor).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Integer
from scipy import sparse
from torch import Tensor

DIRECT_ROWS = 4096
"""Up to this n, every (sample, neighbor) is a column of its own; above, only those that occur."""
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
        place = np.argsort(order).astype(np.int32)
        return Lists(self.n, self.ends, place[self.rows], place[self.columns], self.weights)

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


def _sparse(y: Lists) -> Overlaps:
    direct = y.n <= DIRECT_ROWS
    known = np.arange(0) if direct else np.unique(y.keys())
    width = y.n * y.n if direct else len(known)

    def matrix(lists: Lists) -> sparse.csr_array:
        keys, ends, weights = lists.keys(), lists.ends, lists.weights
        if not direct:
            column = np.searchsorted(known, keys)
            there = known[np.minimum(column, len(known) - 1)] == keys
            ends = np.concatenate([[0], np.cumsum(there)])[ends]
            keys, weights = column[there], None if weights is None else weights[there]
        data = np.ones(len(keys), dtype=np.int32) if weights is None else weights
        index = np.int32 if max(width, len(keys)) < 1 << 31 else np.int64
        return sparse.csr_array(
            (data, keys.astype(index, copy=False), ends.astype(index)),
            shape=(lists.num_layers, width),
        )

    fixed = matrix(y).T.tocsr()

    def overlaps(x: Lists) -> Float64[np.ndarray, "l_x l_y"]:
        found: np.ndarray = (matrix(x) @ fixed).toarray()
        return found.astype(np.float64)

    return overlaps


def _dense(y: Lists, device: torch.device) -> Overlaps:
    def load(lists: Lists) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        layer = np.repeat(np.arange(lists.num_layers), np.diff(lists.ends))
        by_row = np.argsort(lists.rows, kind="stable")
        weights = np.ones(len(layer)) if lists.weights is None else lists.weights
        columns = (lists.rows, layer, lists.columns, weights)
        rows, layers, names, values = (torch.from_numpy(c[by_row]).to(device) for c in columns)
        return rows.long(), layers, names.long(), values

    y_entries = load(y)

    def overlaps(x: Lists) -> Float64[np.ndarray, "l_x l_y"]:
        # sums of ones stay exact in float32 below 2**24
        exact = x.weights is None and y.weights is None and len(x.rows) < x.num_layers << 24
        dtype = torch.float32 if exact else torch.float64
        x_entries = load(x)
        total = torch.zeros(x.num_layers, y.num_layers, dtype=torch.float64, device=device)
        block = max(1, DENSE_ENTRIES // (x.n * (x.num_layers + y.num_layers)))
        for start in range(0, x.n, block):
            size = min(block, x.n - start)
            parts = []
            for entries, layers in ((x_entries, x.num_layers), (y_entries, y.num_layers)):
                first, last = torch.searchsorted(
                    entries[0], torch.tensor([start, start + size], device=device)
                ).tolist()
                rows, layer, names, values = (part[first:last] for part in entries)
                table = torch.zeros(layers, size, x.n, dtype=dtype, device=device)
                table[layer, rows - start, names] = values.to(dtype)
                parts.append(table.flatten(1))
            total += parts[0] @ parts[1].T
        return total.cpu().numpy()

    return overlaps
