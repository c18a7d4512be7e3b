"""On which groups of samples do two models agree, and do they share the groups or what is in them?

Two models that know nothing but the group of a sample agree all the same: both find its group near.
How much they would agree by that alone is the mean of the score over all orders of y's samples that
keep every sample in its group, and has a closed form (`expected_shared`). What is above it is
agreement within groups, or on which samples of a group lie near which of another.

Axes: n samples, e entries of neighbor lists, c classes (groups that do not overlap), g groups, K
permutations.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from platorep.statistics.calibration import calibrate
from platorep.statistics.permutations import Permutations

TABLE_ROWS = 4096
"""Up to this n the weights of one model are looked up in an n n table; above, among its entries."""


@dataclass(frozen=True)
class Entries:
    """Neighbor lists: sample `rows[i]` has `columns[i]` among its k neighbors with this weight."""

    n: int
    k: int
    rows: Integer[np.ndarray, " e"]
    columns: Integer[np.ndarray, " e"]
    weights: Float64[np.ndarray, " e"]


@dataclass(frozen=True)
class Grouping:
    """Groups of samples; a sample may be in several, or in none."""

    names: tuple[str, ...]
    members: Bool[np.ndarray, "n g"]

    @cached_property
    def classes(self) -> Int64[np.ndarray, " n"]:
        """Samples of one class are in the same groups."""
        found = np.unique(self.members, axis=0, return_inverse=True)[1]
        classes: np.ndarray = found.ravel().astype(np.int64)
        return classes

    @property
    def sizes(self) -> Int64[np.ndarray, " g"]:
        sizes: np.ndarray = self.members.sum(axis=0).astype(np.int64)
        return sizes


def grouping_of(labels: list[str]) -> Grouping:
    """Groups that do not overlap, from the group of each sample."""
    names = tuple(dict.fromkeys(labels))
    return Grouping(names, np.array(labels)[:, None] == np.array(names)[None])


@dataclass(frozen=True)
class Parts:
    """Agreement of the samples of each group, first of all samples: shares of their k neighbors.

    A neighbor is of the same group if it is in this group too; of all samples, if there is a group
    that both are in. `score` is the sum of `same` and the rest.
    """

    score: Float64[np.ndarray, " g_and_1"]
    same: Float64[np.ndarray, " g_and_1"]


def shared_parts(x: Entries, y: Entries, grouping: Grouping) -> Parts:
    """What is shared of the neighbors of the samples of each group."""
    of = _Reduction(grouping, x.k, grouping.members, x.rows, x.columns)
    return of.parts(x.weights * _Weights(y)(x.rows, x.columns))


def shared_null(
    x: Entries, y: Entries, grouping: Grouping, permutations: Permutations
) -> list[Parts]:
    """`shared_parts` with y's samples in each order."""
    of = _Reduction(grouping, x.k, grouping.members, x.rows, x.columns)
    weights = _Weights(y)
    return [
        of.parts(x.weights * weights(order[x.rows], order[x.columns]))
        for order in permutations.orders(x.n)
    ]


def expected_shared(x: Entries, y: Entries, grouping: Grouping) -> Parts:
    """The mean of `shared_parts` over all orders of y's samples within the classes.

    Of C entries from samples of class a to samples of class b an order puts each at any of the
    n_a n_b places (n_a (n_a - 1) if the classes are one) with the same probability: x and y are
    expected to share C_x(a, b) C_y(a, b) / (n_a n_b) of them.
    """
    classes = grouping.classes
    sizes = np.bincount(classes)
    places = np.outer(sizes, sizes) - np.diag(sizes)
    one, other = (_between(z, classes) for z in (x, y))
    shared = one * other / np.maximum(places, 1)
    of_classes = grouping.members[np.unique(classes, return_index=True)[1]]
    rows, columns = np.indices(shared.shape).reshape(2, -1)
    return _Reduction(grouping, x.k, of_classes, rows, columns).parts(shared.ravel())


def membership_p(
    scores: Float64[np.ndarray, " n"], grouping: Grouping, permutations: Permutations
) -> tuple[Float64[np.ndarray, " g"], Float64[np.ndarray, "K g"]]:
    """p of each group's mean score, on both sides, against groups of as many samples drawn at
    random; and the means of these.

    It tells this group from the other samples at hand. Samples without a score (NaN) take no part.
    """
    known = ~np.isnan(scores)
    values, members = scores[known], grouping.members[known].astype(np.float64)
    sizes = np.maximum(members.sum(axis=0), 1)
    observed = values @ members / sizes
    null = np.array([values[o] @ members / sizes for o in permutations.orders(len(values))])
    middle = values.mean()
    p = [
        calibrate(float(abs(mean - middle)), np.abs(of_group - middle)).p
        for mean, of_group in zip(observed, null.T, strict=True)
    ]
    return np.array(p), null


class _Weights:
    """The weight of any pair of samples in one model; 0 where one is no neighbor of the other."""

    def __init__(self, entries: Entries) -> None:
        self._n = entries.n
        keys = entries.rows.astype(np.int64) * entries.n + entries.columns
        if entries.n <= TABLE_ROWS:
            self._table = np.zeros(entries.n * entries.n)
            self._table[keys] = entries.weights
            self._keys = None
        else:
            order = np.argsort(keys)
            self._keys, self._table = keys[order], entries.weights[order]

    def __call__(
        self, rows: Integer[np.ndarray, " e"], columns: Integer[np.ndarray, " e"]
    ) -> Float64[np.ndarray, " e"]:
        keys = rows.astype(np.int64) * self._n + columns
        if self._keys is None:
            found: np.ndarray = self._table[keys]
            return found
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._table[place], 0.0)


class _Reduction:
    """From what is shared, one number per entry, to the parts of each group.

    Args:
        members: The groups of what rows and columns are numbers of: samples, or classes.
    """

    def __init__(
        self,
        grouping: Grouping,
        k: int,
        members: Bool[np.ndarray, "m g"],
        rows: Integer[np.ndarray, " e"],
        columns: Integer[np.ndarray, " e"],
    ) -> None:
        both = members[rows] & members[columns]
        every, any_group = np.ones((len(rows), 1)), both.any(axis=1, keepdims=True)
        self._sums = np.hstack([every, members[rows], any_group, both]).astype(np.float64)
        self._places = k * np.array([len(grouping.members), *np.maximum(grouping.sizes, 1)])

    def parts(self, shared: Float64[np.ndarray, " e"]) -> Parts:
        found = (shared @ self._sums).reshape(2, -1) / self._places
        return Parts(found[0], found[1])


def _between(z: Entries, classes: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "c c"]:
    """The weights of all entries from each class to each."""
    number = int(classes.max()) + 1
    keys = classes[z.rows] * number + classes[z.columns]
    found: np.ndarray = np.bincount(keys, z.weights, minlength=number * number)
    return found.reshape(number, number)
