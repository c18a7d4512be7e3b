"""What is to be matched: single rows, or means of groups of rows.

A group of words would tell itself apart by other things than what networks make of it: that two
words stand in the same rows, that a word has many. So a row is of one group, every item is the mean
of the same number of rows, and where `apart`, no row is seen by both sides.

Axes: n rows, i items, s rows of an item, d features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from platorep.errors import DataError
from platorep.metrics.kernels import centred, kernel_matrix, u_centred
from platorep.metrics.layer import Layer

Rows = Int64[np.ndarray, " _"]
NO_GROUP = -1
RIDGE = 0.1
"""Of the mean variance, added to that of every direction."""


@dataclass(frozen=True)
class Items:
    """The items, and of each the rows that a side may take its mean of."""

    names: tuple[str, ...]
    x: tuple[Rows, ...]
    y: tuple[Rows, ...]
    size: int
    """Rows that a mean is of."""

    def __len__(self) -> int:
        return len(self.names)


def single_rows(ids: Sequence[str], rows: Rows) -> Items:
    """Every row is an item."""
    each = tuple(np.array([row]) for row in rows)
    return Items(tuple(ids[row] for row in rows), each, each, size=1)


def groups_of_rows(
    names: Sequence[str], group: Int64[np.ndarray, " n"], rows: Rows, size: int, *, apart: bool
) -> Items:
    """The groups that have `size` rows for each side, in the order of their names.

    Args:
        group: Of each row the number of its name, or `NO_GROUP`.
        rows: In a random order; every second one is y's where `apart`.
    """
    sides = (rows[::2], rows[1::2]) if apart else (rows, rows)
    of_x, of_y = ([side[group[side] == g] for g in range(len(names))] for side in sides)
    large = [g for g in range(len(names)) if min(len(of_x[g]), len(of_y[g])) >= size]
    return Items(
        tuple(names[g] for g in large),
        tuple(of_x[g] for g in large),
        tuple(of_y[g] for g in large),
        size,
    )


def rarest_group(members: Bool[np.ndarray, "n g"]) -> Int64[np.ndarray, " n"]:
    """One group of each row: of those that it is in, the one with the fewest rows."""
    sizes = np.where(members, members.sum(axis=0), len(members) + 1)
    rarest: np.ndarray = np.where(members.any(axis=1), sizes.argmin(axis=1), NO_GROUP)
    return rarest


def means(
    features: Float64[np.ndarray, "n d"],
    rows: Sequence[Rows],
    size: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "i d"]:
    """Of each item the mean of `size` random ones of its rows."""
    drawn = np.stack([rng.choice(of, size, replace=False) for of in rows])
    mean: np.ndarray = features[drawn].mean(axis=1)
    return mean


@dataclass(frozen=True)
class Draw:
    """Items to match, and others for the null: as many as there are, then some of the same."""

    items: Int64[np.ndarray, " k"]
    unrelated: Int64[np.ndarray, " k"]


def draw_items(num_items: int, k: int, rng: np.random.Generator) -> Draw:
    """`k` random items, and as many that are put against them at random.

    Raises:
        DataError: there are fewer.
    """
    if k > num_items:
        raise DataError(f"{k} items to match, and there are {num_items}.")
    order = rng.permutation(num_items)
    others = order[k:][:k]
    filled = np.concatenate([others, rng.permutation(order[:k])[: k - len(others)]])
    return Draw(order[:k], rng.permutation(filled))


def kernel_of(
    features: Float64[np.ndarray, "i d"], kernel: Literal["linear", "debiased", "gaussian"]
) -> Float64[np.ndarray, "i i"]:
    """The centred kernel of the items."""
    layer = Layer(torch.from_numpy(features))
    matrix = kernel_matrix(layer, "rbf" if kernel == "gaussian" else "linear", "median")
    centre = centred if kernel == "linear" else u_centred
    found: np.ndarray = centre(matrix).numpy()
    return found


def whitened(features: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    """The features with the same variance in all directions but for `RIDGE`.

    What they are of the rows of one side; nothing is known of the other.
    """
    features = features - features.mean(axis=0)
    variances, directions = np.linalg.eigh(features.T @ features / len(features))
    variances = np.maximum(variances, 0) + RIDGE * max(variances.mean(), np.finfo(float).tiny)
    white: np.ndarray = features @ (directions / np.sqrt(variances))
    return white
