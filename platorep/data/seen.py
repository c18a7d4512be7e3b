"""Which earlier row had a value first, of any number of rows, in sixteen bytes a row."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt64


def hashed(values: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """A number of 64 bits for each string, the same in every process."""
    numbers: np.ndarray = pd.util.hash_array(np.array(values, dtype=object), categorize=False)
    return numbers


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

    def find(self, values: Sequence[str]) -> Int64[np.ndarray, " n"]:
        """For each value the number of the first row that had it, or -1."""
        found = self._first_with(self._hashed(values))
        for place in np.flatnonzero(found >= 0).tolist():
            if self._value(int(found[place])) != values[place]:
                found[place] = self._others.get(values[place], -1)
        return found

    def add(self, values: Sequence[str]) -> None:
        """The values of the next rows."""
        hashes = self._hashed(values)
        unique, first, which = np.unique(hashes, return_index=True, return_inverse=True)
        known = self._first_with(unique)
        again = (known >= 0)[which] | (first[which] != np.arange(len(values)))
        for place in np.flatnonzero(again).tolist():
            earlier = int(known[which[place]])
            value = values[int(first[which[place]])] if earlier < 0 else self._value(earlier)
            if value != values[place]:
                self._others.setdefault(values[place], self._num_rows + place)
        new = known < 0
        self._merge(unique[new], self._num_rows + first[new].astype(np.int64))
        self._num_rows += len(values)

    def _first_with(self, hashes: UInt64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        found = np.full(len(hashes), -1, dtype=np.int64)
        for run, numbers in self._runs:
            at = np.searchsorted(run, hashes).clip(max=len(run) - 1)
            there = run[at] == hashes
            found[there] = numbers[at[there]]
        return found

    def _merge(self, hashes: UInt64[np.ndarray, " n"], numbers: Int64[np.ndarray, " n"]) -> None:
        while self._runs and len(self._runs[-1][0]) < 2 * len(hashes):
            last, of_last = self._runs.pop()
            hashes, numbers = np.concatenate([last, hashes]), np.concatenate([of_last, numbers])
            order = np.argsort(hashes, kind="stable")
            hashes, numbers = hashes[order], numbers[order]
        if len(hashes):
            self._runs.append((hashes, numbers))
