"""How one number goes with another: correlations, their intervals, and what they hide.

Correlations over all checkpoints of several models mistake training time for size, and those over
several families mistake who trained the models for how good they are. So there are two ways to
hold such a third thing fixed: `partial_spearman` and `mean_spearman_within`.

Every interval is for n independent points of one population. Models of one family, checkpoints of
one training and scores on the same samples are not that: read them as the least one can doubt.

Axes: n points.
"""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

ALL_ORDERS = 7  # points of which every order is tried
FEWEST = 4  # points of an interval: both variances divide by n - 3


@dataclass(frozen=True)
class Correlation:
    value: float
    """-1 to 1; NaN where one side does not vary or there are fewer than 3 points."""
    low: float
    high: float
    """Ends of the interval; NaN with fewer than 4 points."""
    num_points: int
    """Points that have both numbers (and what is held fixed)."""


def pearson(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], *, level: float = 0.95
) -> Correlation:
    """Pearson's correlation; interval by Fisher's z (exact in the limit for normal data).

    Source: Fisher 1921, Metron 1: z = atanh(r) has variance 1 / (n - 3). Points with a NaN take
    no part.
    """
    x, y = _complete(x, y)
    value = _correlate(x, y)
    return Correlation(value, *_interval(value, value, 1.0, len(x), level), len(x))


def spearman(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], *, level: float = 0.95
) -> Correlation:
    """Spearman's rank correlation; interval of Bonett and Wright.

    Source: Bonett and Wright 2000, Psychometrika 65: atanh(r) has variance (1 + r^2 / 2) / (n - 3).
    That says nothing of points in perfect order (r = 1 has no doubt in it, however few they are),
    so such an r counts as half an exchange of neighbors below 1 in the interval: our own rule.
    """
    from scipy.stats import rankdata  # takes long to import, and finished scores need none of it

    x, y = _complete(x, y)
    ranks = [side - side.mean() if len(side) else side for side in map(rankdata, (x, y))]
    value = _correlate(*ranks)
    return Correlation(value, *_rank_interval(value, ranks, len(x), level), len(x))


def partial_spearman(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    given: Float[np.ndarray, " n"] | Sequence[str],
    *,
    level: float = 0.95,
) -> Correlation:
    """Spearman's correlation of x and y with `given` held fixed.

    The ranks of x and of y, each less what `given` explains of them linearly, are correlated. A
    number explains by its rank (which is the textbook's partial rank correlation), a name (a
    family) by the mean of its points: points alone in their family say nothing. The interval is
    that of `spearman` with one point less for each degree of freedom that `given` takes, and half
    an exchange of neighbors weighs as much as it does among what is left of the ranks.
    """
    from scipy.stats import rankdata

    names = not (isinstance(given, np.ndarray) and given.dtype.kind == "f")
    fixed = np.unique(np.asarray(given, dtype=str), return_inverse=True)[1] if names else given
    x, y, fixed = _complete(x, y, np.asarray(fixed, dtype=float))
    if len(x) < 3:
        return Correlation(np.nan, np.nan, np.nan, len(x))
    if names:
        groups = np.unique(fixed)
        design = (fixed[:, None] == groups[None, :]).astype(float)
    else:
        design = np.column_stack([np.ones(len(x)), rankdata(fixed)])
    rest = [_residuals(rankdata(side), design) for side in (x, y)]
    taken = int(np.linalg.matrix_rank(design)) - 1
    value = _correlate(*rest) if len(x) - taken > 2 else np.nan
    return Correlation(value, *_rank_interval(value, rest, len(x) - taken, level), len(x))


def mean_spearman_within(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], groups: Sequence[Hashable]
) -> float:
    """The mean over groups of Spearman's correlation within the group.

    Groups of fewer than three points, or in which one side does not vary, take no part; NaN if
    none is left.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    found = [spearman(x[rows], y[rows]).value for rows in members.values()]
    found = [value for value in found if np.isfinite(value)]
    return float(np.mean(found)) if found else np.nan


def spearman_p(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], *, draws: int = 9999, seed: int = 0
) -> float:
    """p of Spearman's correlation on both sides, from orders of the points: all of up to 7 points
    (exact, no less than 2 / n! unless there are ties), else seeded draws; NaN where it is not
    defined. Points of one family are no independent points: read it as the least one can doubt."""
    from scipy.stats import rankdata  # takes long to import, and finished scores need none of it

    x, y = _complete(x, y)
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return math.nan
    one, other = (ranks - ranks.mean() for ranks in map(rankdata, (x, y)))
    if len(x) <= ALL_ORDERS:
        orders = np.array([*itertools.permutations(range(len(x)))])
    else:
        drawn = np.random.default_rng(seed).permuted(np.tile(np.arange(len(x)), (draws, 1)), axis=1)
        orders = np.concatenate([np.arange(len(x))[None], drawn])
    null = np.abs(other[orders] @ one)
    return float((null >= null[0] * (1 - 1e-9)).mean())


def _complete(*columns: Float[np.ndarray, " n"]) -> list[Float[np.ndarray, " m"]]:
    """The points of which everything is known."""
    known = np.isfinite(np.column_stack(columns)).all(axis=1)
    return [np.asarray(column, dtype=float)[known] for column in columns]


def _correlate(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    if len(x) < 3:
        return np.nan
    if not (_varies(x) and _varies(y)):
        return np.nan
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1.0, 1.0))


def _varies(values: Float[np.ndarray, " n"]) -> bool:
    return bool(np.ptp(values) > 1e-12 * np.abs(values).max())  # rounding is no variation


def _residuals(
    values: Float[np.ndarray, " n"], design: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, " n"]:
    """What is left of ranks; rounding, if they are explained altogether, is nothing."""
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return np.where(np.abs(rest) < 1e-9 * len(rest), 0.0, rest)


def _rank_interval(
    value: float, ranks: Sequence[Float[np.ndarray, " n"]], num: int, level: float
) -> tuple[float, float]:
    """Of a correlation of centred ranks: an exchange of neighbors in one of them moves their
    product by 1."""
    size = math.prod(float(np.linalg.norm(side)) for side in ranks)
    nearest = 1 - 0.5 / size if size > 0.5 else 0.0
    centre = float(np.clip(value, -nearest, nearest))
    low, high = _interval(centre, value, 1 + centre**2 / 2, num, level)
    return low, high


def _interval(
    centre: float, value: float, variance: float, num: int, level: float
) -> tuple[float, float]:
    """tanh(atanh(centre) +- z sqrt(variance / (num - 3))), made to hold `value`."""
    if num < FEWEST or not math.isfinite(centre):
        return np.nan, np.nan
    if abs(centre) == 1:
        return centre, centre
    reach = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance / (num - 3))
    low, high = math.tanh(math.atanh(centre) - reach), math.tanh(math.atanh(centre) + reach)
    return min(low, value), max(high, value)
