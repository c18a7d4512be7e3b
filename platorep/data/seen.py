"""Which earlier row had a value first, of any number of rows, in sixteen bytes a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt64


def hashed(values: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """A number of 64 bits for each string, the same in every process."""
    numbers: np.ndarray = pd.util.hash_array(np.array(values, dtype=object), categorize=False)
    return numbers


@dataclass(frozen=True)
class Found:
    """What `FirstSeen` knows of some values."""

    first: Int64[np.ndarray, " n"]
    """The number of the first row that had the value, or -1."""
    hashes: UInt64[np.ndarray, " n"]
    alike: Int64[np.ndarray, " n"]
    """The number of the first row that had a value of the same hash, or -1."""

    def at(self, places: Sequence[int]) -> "Found":
        return Found(self.first[places], self.hashes[places], self.alike[places])


class FirstSeen:
    """Values of rows that are numbered as they come, by the hash of each.

    Sorted runs of hashes, of which two of about the same length are merged: a block of values is
    looked up in a few binary searches, and no string is kept.

    Args:
        value: The value of an earlier row, by number: two values may share a hash.
    """

    def __init__(
        self,
        value: Callable[[int], str],
        hashed: Callable[[Sequence[str]], UInt64[np.ndarray, " n"]] = hashed,
    ) -> None:
        self._value, self._hashed = value, hashed
        self._runs: list[tuple[UInt64[np.ndarray, " n"], Int64[np.ndarray, " n"]]] = []
        self._others: dict[str, int] = {}  # values whose hash is that of another, earlier one
        self._num_rows = 0

    def find(self, values: Sequence[str]) -> Found:
        """What is known of each value."""
        hashes = self._hashed(values)
        alike = self._first_with(hashes)
        first = alike.copy()
        for place in np.flatnonzero(alike >= 0).tolist():
            if self._value(int(alike[place])) != values[place]:
                first[place] = self._others.get(values[place], -1)
        return Found(first, hashes, alike)

    def add(self, values: Sequence[str], found: Found) -> None:
        """The values of the next rows, and what was known of them before."""
        hashes, own, which = np.unique(found.hashes, return_index=True, return_inverse=True)
        again = (found.alike >= 0) | (own[which] != np.arange(len(values)))
        for place in np.flatnonzero(again).tolist():
            earlier, first = int(found.alike[place]), int(own[which[place]])
            value = values[first] if earlier < 0 else self._value(earlier)
            if value != values[place]:
                self._others.setdefault(values[place], self._num_rows + place)
        new = found.alike[own] < 0
        self._merge(hashes[new], self._num_rows + own[new].astype(np.int64))
        self._num_rows += len(values)

    def _first_with(self, hashes: UInt64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        found = np.full(len(hashes), -1, dtype=np.int64)
        order = np.argsort(hashes)  # so that each search begins where the one before ended
        hashes = hashes[order]
        for run, numbers in self._runs:
            at = np.searchsorted(run, hashes).clip(max=len(run) - 1)
            there = run[at] == hashes
            found[order[there]] = numbers[at[there]]
        return found

    def _merge(self, hashes: UInt64[np.ndarray, " n"], numbers: Int64[np.ndarray, " n"]) -> None:
        while self._runs and len(self._runs[-1][0]) < 2 * len(hashes):
            last, of_last = self._runs.pop()
            hashes, numbers = np.concatenate([last, hashes]), np.concatenate([of_last, numbers])
            order = np.argsort(hashes, kind="stable")
            hashes, numbers = hashes[order], numbers[order]
        if len(hashes):
            self._runs.append((hashes, numbers))
