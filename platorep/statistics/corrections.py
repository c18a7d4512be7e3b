"""Many model pairs are tested at once: adjusted p-values, and how many permutations they need.

Axes: m tests, K permutations.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from platorep.statistics.calibration import EQUAL


def benjamini_hochberg(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Adjusted p-values: those at most q are, on average, at most a share q of false findings.

    Tests without a p-value (NaN) stay NaN and do not count.
    """
    return _adjust(p, lambda sorted_p, m: _running_min(sorted_p * m / np.arange(1, m + 1)))


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Adjusted p-values: the chance of any false finding among those at most q is at most q."""
    return _adjust(p, lambda sorted_p, m: np.maximum.accumulate(sorted_p * np.arange(m, 0, -1)))


def westfall_young(
    observed: Float[np.ndarray, " m"], null: Float[np.ndarray, "m K"]
) -> Float[np.ndarray, " m"]:
    """Family-wise p-values from the null of the largest standardised score of all tests.

    Single step: uses how the tests hang together (the permutations are the same for all of them),
    and so is less strict than Holm. Larger is closer; turn other scores round first.
    """
    mean, spread = null.mean(axis=1), np.ones(len(null))
    if null.shape[1] > 1:
        found = null.std(axis=1, ddof=1)
        spread = np.where(found > 0, found, 1.0)
    largest = np.nanmax((null - mean[:, None]) / spread[:, None], axis=0)
    score = (observed - mean) / spread
    found = (1 + (largest >= score[:, None] - EQUAL).sum(axis=1)) / (null.shape[1] + 1)
    return np.where(np.isnan(score), np.nan, found)


def needed_permutations(num_tests: int, alpha: float) -> int:
    """Permutations with which a single real effect among `num_tests` can pass the correction."""
    return math.ceil(round(num_tests / alpha, 9)) - 1


def warn_too_few(num_permutations: int, num_tests: int, alpha: float) -> str | None:
    """A plain warning when no single pair can reach alpha after correction, or None."""
    needed = needed_permutations(num_tests, alpha)
    if num_permutations >= needed:
        return None
    smallest = 1 / (num_permutations + 1)
    return (
        f"{num_permutations} permutations give p >= {smallest:.2g}, which after the correction for "
        f"{num_tests} model pairs is {min(1.0, smallest * num_tests):.2g}: one real pair alone "
        f"cannot be significant at {alpha:g}. Use null.permutations >= {needed} for that."
    )


def _running_min(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """The smallest of this and all later values."""
    found: np.ndarray = np.minimum.accumulate(values[::-1])[::-1]
    return found


def _adjust(
    p: Float[np.ndarray, " m"], rule: Callable[[np.ndarray, int], np.ndarray]
) -> Float[np.ndarray, " m"]:
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    if len(tested):
        order = tested[np.argsort(p[tested], kind="stable")]
        adjusted[order] = np.minimum(rule(p[order], len(order)), 1.0)
    return adjusted
