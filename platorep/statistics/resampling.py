"""Which rows to score again: halves to choose layers on, parts and resamples for intervals.

The functions here only draw rows and put scores together; the caller summarizes the features of
the rows drawn (a neighbor list of all rows says nothing about the lists within some of them).

Axes: n samples, r resamples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from platorep.errors import ConfigError
from platorep.statistics.best import BestPair, best_pair

FEW_ROWS = 50
"""With fewer rows in a part the spread of a score says less than it should of all rows: 8 parts of
20 rows hold .89 to .92 at a level of .95 (mutual_knn with k = 10, cca_mean of 8 features)."""


def disjoint_rows(n: int, parts: int, seed: int) -> list[Int64[np.ndarray, " m"]]:
    """The rows in `parts` random parts of equal size, each sorted; up to parts - 1 rows are left.

    Raises:
        ConfigError: the parts would have fewer than 4 rows.
    """
    size = n // parts
    if size < 4:
        raise ConfigError(
            f"{parts} disjoint parts of {n} samples have {size} rows each; a score needs at least "
            f"4. Use at most {n // 4} parts."
        )
    order = np.random.default_rng([seed, n, parts]).permutation(n)
    return [np.sort(order[i * size : (i + 1) * size]) for i in range(parts)]


def subsamples(n: int, size: int, draws: int, seed: int) -> list[Int64[np.ndarray, " m"]]:
    """`draws` random subsets of `size` rows, without replacement (a repeated row is its own
    neighbor), each sorted.

    Raises:
        ConfigError: the size is below 4 or above n.
    """
    if not 4 <= size <= n:
        raise ConfigError(f"subsamples of {size} of {n} rows: the size must be 4 ... {n}.")
    return [
        np.sort(np.random.default_rng([seed, n, size, draw]).choice(n, size, replace=False))
        for draw in range(draws)
    ]


@dataclass(frozen=True)
class Interval:
    """Ends that hold the expected score of as many samples, of the layers as they were chosen, as
    often as `level` says, if the samples are independent draws."""

    low: float
    high: float
    level: float


def interval_of_parts(
    observed: float, scores: Float[np.ndarray, " r"], *, level: float = 0.95
) -> Interval:
    """From the scores of disjoint parts: observed +- t * (their spread) / sqrt(parts).

    The parts are independent, so their spread over sqrt(parts) is the standard error of a mean
    over all rows. The interval is put around the score of all rows: a part's own score is of
    fewer samples (mutual k-NN, for one, then is larger).
    """
    return _around(observed, scores, lambda num: 1 / math.sqrt(num), level)


def interval_of_subsamples(
    observed: float,
    scores: Float[np.ndarray, " r"],
    *,
    n: int,
    size: int,
    level: float = 0.95,
) -> Interval:
    """From the scores of m-out-of-n subsamples: observed +- t * (their spread) * scale.

    The scale takes the spread to n samples, sqrt(m / n), and undoes that subsamples of one sample
    overlap, sqrt(n / (n - m)). Given the sample the draws are independent, so that t has one
    degree of freedom less than there are draws, however few. Quantiles (Politis and Romano 1994,
    Annals of Statistics 22) would need some hundred: those of 8 draws hold .78 at a level of .95.
    """
    if size >= n:
        return Interval(np.nan, np.nan, level)
    return _around(observed, scores, lambda num: math.sqrt(size / (n - size)), level)


def _around(
    observed: float,
    scores: Float[np.ndarray, " r"],
    scale: Callable[[int], float],
    level: float,
) -> Interval:
    """`observed` +- t * spread * scale(how many are defined); nothing of fewer than two."""
    from scipy import stats  # takes long to import, and finished scores need none of it

    values = scores[~np.isnan(scores)]
    if len(values) < 2:
        return Interval(np.nan, np.nan, level)
    error = float(values.std(ddof=1)) * scale(len(values))
    reach = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return Interval(observed - reach, observed + reach, level)


@dataclass(frozen=True)
class HeldOut:
    """The layers chosen on one half and their score on the other, in both directions."""

    score: float
    """Mean of the two held-out scores; NaN where a direction has none."""
    chosen: tuple[BestPair, BestPair]
    """The best pair on the first half, and on the second."""
    reported: tuple[float, float]
    """The score of the first choice on the second half, and of the second on the first."""


def held_out(
    grids: Sequence[Float[np.ndarray, "l_x l_y"]],
    degenerate_x: Sequence[Sequence[str | None]],
    degenerate_y: Sequence[Sequence[str | None]],
    *,
    larger_is_closer: bool = True,
) -> HeldOut:
    """Choose layers on one half of the samples and report their score on the other.

    Args:
        grids: The scores of all layer pairs on the first half of the rows and on the second.
        degenerate_x: For each half, why each layer of x is left out, or None.
    """
    one, other = (
        best_pair(
            grids[half], degenerate_x[half], degenerate_y[half], larger_is_closer=larger_is_closer
        )
        for half in (0, 1)
    )
    first, second = _at(grids[1], one), _at(grids[0], other)
    return HeldOut((first + second) / 2, (one, other), (first, second))


def _at(grid: Float[np.ndarray, "l_x l_y"], pair: BestPair) -> float:
    if pair.layer_x is None or pair.layer_y is None:
        return math.nan
    return float(grid[pair.layer_x, pair.layer_y])


def rest_of_parts(n: int, parts: int, seed: int) -> list[Int64[np.ndarray, " m"]]:
    """All rows but one random part of them, for each of `parts` parts of nearly equal size.

    Raises:
        ConfigError: fewer than 4 rows would be left.
    """
    if parts < 2 or n - -(-n // parts) < 4:
        raise ConfigError(f"{parts} parts of {n} samples leave too few rows without one of them.")
    order = np.random.default_rng([seed, n, parts, 1]).permutation(n)
    return [np.sort(np.delete(order, slice(i, None, parts))) for i in range(parts)]


def interval_of_rests(
    observed: float, values: Float[np.ndarray, " r"], *, level: float = 0.95
) -> Interval:
    """From what comes out without each part of the rows: observed +- t * its jackknife error.

    Each is of nearly all rows, so that it may be a fit that fewer rows could not bear. One that is
    not defined leaves no interval.
    Source: the delete-a-group jackknife, Kott 2001, Journal of Official Statistics 17.
    """
    if np.isnan(values).any():
        return Interval(np.nan, np.nan, level)
    return _around(observed, values, lambda num: (num - 1) / math.sqrt(num), level)
