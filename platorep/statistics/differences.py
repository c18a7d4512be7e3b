"""Is one model closer to a third than another is, and which rank has it? From halves of the rows.

Both halves of a random halving are independent draws of as many rows, on which every model is
scored anew, its layers chosen anew. So a quarter of the squared difference between what the halves
say has, of *any* statistic, the expectation of half its variance at n / 2 rows; and that is its
variance at n rows as far as variances fall with 1 / n. No more is assumed, neither that the metric
is smooth nor that the maximum over layers is: overlapping subsamples (`interval_of_subsamples`)
assume the first, and of neighbor lists make errors 1.2 to 1.5 times too large.

Axes: s halvings, m models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from platorep.errors import ConfigError
from platorep.statistics.calibration import rounding
from platorep.statistics.corrections import holm


def halving(
    n: int, seed: int, number: int
) -> tuple[Int64[np.ndarray, " half"], Int64[np.ndarray, " half"]]:
    """The rows of both halves of the random halving of that number, each sorted; of an odd n one
    row is left out. Depends on n, seed and number only: the same for all models.

    Raises:
        ConfigError: the halves would have fewer than 4 rows.
    """
    half = n // 2
    if half < 4:
        raise ConfigError(f"halves of {n} rows: a score needs at least 4 rows, so 8 in all.")
    order = np.random.default_rng([seed, n, number]).permutation(n)
    return np.sort(order[:half]), np.sort(order[half : 2 * half])


@dataclass(frozen=True)
class OnHalves:
    """The score of a pair on all rows, and on both halves of every halving."""

    whole: float
    halves: Float[np.ndarray, "s 2"]


def mean_of(scores: Sequence[OnHalves]) -> OnHalves:
    """The mean over pairs, such as those of one model with all of its partners."""
    halves = np.mean([one.halves for one in scores], axis=0)
    return OnHalves(float(np.mean([one.whole for one in scores])), halves)


@dataclass(frozen=True)
class Difference:
    value: float
    """Of the scores on all rows."""
    low: float
    high: float
    p: float
    """Of equal expected scores, two-sided. NaN, as the ends, with fewer than 2 halvings that have
    both scores."""


def difference(one: OnHalves, other: OnHalves, *, level: float = 0.95) -> Difference:
    """How much the score of `one` is above that of `other`: both on the same halves, in order.

    Of the same networks on other rows of the kind: networks of another seed are other networks, and
    with enough rows any two differ. Student's t with s degrees of freedom: the expectation of the
    difference between halves is known to be 0.
    """
    from scipy import stats  # takes long to import, and finished scores need none of it

    value = one.whole - other.whole
    apart = np.diff(one.halves - other.halves, axis=1)
    apart = apart[~np.isnan(apart)]
    if len(apart) < 2 or math.isnan(value):
        return Difference(value, math.nan, math.nan, math.nan)
    least = rounding(one.whole, other.whole) or np.finfo(np.float64).tiny
    error = max(math.sqrt(float(np.mean(apart**2)) / 4), least)
    reach = float(stats.t.ppf((1 + level) / 2, len(apart))) * error
    p = float(2 * stats.t.sf(abs(value) / error, len(apart)))
    return Difference(value, value - reach, value + reach, p)


@dataclass(frozen=True)
class Rank:
    rank: int
    """1 is the closest; equal scores share the better rank."""
    low: int
    high: int


def ranks(
    scores: Float[np.ndarray, " m"],
    p: Float[np.ndarray, "m m"],
    *,
    level: float = 0.95,
    larger_is_closer: bool = True,
) -> list[Rank]:
    """The rank of every model, with intervals that hold all true ranks together as often as `level`
    says: 1 + the models that are surely above it ... m - those that are surely below.

    Sure by Holm's correction over all pairs. Resampled ranks are no intervals where scores are
    close, which is where one wants them.
    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, Review of Economic Studies 91; theirs is by
    the bootstrap of the largest difference instead of by Holm.

    Args:
        p: Of the difference of every two models, two-sided; symmetric. NaN: not known.
    """
    m = len(scores)
    value = scores if larger_is_closer else -scores
    above = np.triu_indices(m, 1)
    sure = np.zeros((m, m), dtype=bool)
    sure[above] = holm(p[above]) <= 1 - level
    sure |= sure.T
    higher = value[None, :] > value[:, None]
    return [
        Rank(
            1 + int(higher[i].sum()),
            1 + int((sure & higher)[i].sum()),
            m - int((sure & higher)[:, i].sum()),
        )
        for i in range(m)
    ]
