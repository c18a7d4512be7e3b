"""Overlaps of many neighbor lists at once, in every way they are computed, against counting."""

import numpy as np
import pytest
import torch

from platorep.metrics import lists
from platorep.metrics.lists import Lists, overlaps_with

CPU = torch.device("cpu")


def draw(rng: np.random.Generator, num_layers: int, n: int, k: int) -> Lists:
    every = [rng.permutation(n)[:k] for _ in range(num_layers * n)]
    return Lists(
        n,
        np.arange(num_layers + 1) * n * k,
        np.tile(np.repeat(np.arange(n, dtype=np.int32), k), num_layers),
        np.concatenate(every).astype(np.int32),
        None,
    )


def count(x: Lists, y: Lists) -> np.ndarray:
    def of_layers(some: Lists) -> list[set[tuple[int, int]]]:
        pairs = list(zip(some.rows.tolist(), some.columns.tolist(), strict=True))
        return [set(pairs[a:b]) for a, b in zip(some.ends, some.ends[1:], strict=False)]

    return np.array([[len(a & b) for b in of_layers(y)] for a in of_layers(x)])


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("way", ["MKL", "SciPy", "shares"])
def test_overlaps_are_counted_exactly(
    way: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, y = draw(rng, 5, 40, 6), draw(rng, 4, 40, 6)
    if way == "SciPy":
        monkeypatch.setattr(lists, "_counts", lambda matrix: None)
    if way == "shares":
        x = x.weighted(np.ones(len(x.rows)))
    if not direct:
        monkeypatch.setattr(lists, "DIRECT_ROWS", 10)
    order = rng.permutation(40)

    overlaps = overlaps_with(y, CPU)

    assert np.array_equal(overlaps(x), count(x, y))
    moved = x.reordered(order)
    assert np.array_equal(overlaps(moved), count(moved, y))
    assert not np.array_equal(overlaps(moved), overlaps(x))


def test_reordering_moves_rows_and_names() -> None:
    some = Lists(
        3, np.array([0, 3]), np.array([0, 1, 2], np.int32), np.array([1, 2, 0], np.int32), None
    )

    moved = some.reordered(np.array([2, 0, 1]))  # row 2 comes first, then 0, then 1

    assert moved.rows.tolist() == [1, 2, 0]
    assert moved.columns.tolist() == [2, 0, 1]
