"""Many model pairs are tested at once: adjusted p-values, and how many permutations they need.

Axes: m tests, K permutations.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from platorep.statistics.calibration import rounding

ALONE = "one real pair alone cannot be significant"
"""Says the warning of too few permutations."""
Correction = Literal["benjamini_hochberg", "holm", "westfall_young"]


def benjamini_hochberg(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Adjusted p-values: those at most q are, on average, at most a share q of false findings.

    Tests without a p-value (NaN) stay NaN and do not count.
    """
    return _adjust(p, lambda sorted_p, m: _running_min(sorted_p * m / np.arange(1, m + 1)))


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Adjusted p-values: the chance of any false finding among those at most q is at most q."""
    return _adjust(p, lambda sorted_p, m: np.maximum.accumulate(sorted_p * np.arange(m, 0, -1)))


def corrected(p: Float[np.ndarray, " m"], correction: Correction) -> Float[np.ndarray, " m"]:
    """Adjusted p-values of tests without a null that all share: Westfall and Young's correction
    needs one, and is Holm's here."""
    return (benjamini_hochberg if correction == "benjamini_hochberg" else holm)(p)


def westfall_young(
    observed: Float[np.ndarray, " m"], null: Float[np.ndarray, "m K"]
) -> Float[np.ndarray, " m"]:
    """Family-wise p-values from the null of the largest standardised score of all tests.

    Single step: uses how the tests hang together (the permutations are the same for all of them),
    and so is less strict than Holm. Larger is closer; turn other scores round first. A test whose
    null does not vary is at it, or infinitely far from it. Null values that are not defined count
    against their own test. No p-value can be below 1 / (K + 1), however many the tests.
    Source: Westfall and Young 1993, Resampling-Based Multiple Testing.
    """
    known = np.ma.masked_invalid(null)
    mean = known.mean(axis=1).filled(0.0)[:, None]
    spread = known.std(axis=1, ddof=1).filled(0.0)[:, None]
    equal = np.array([rounding(*test) for test in zip(observed, null, strict=True)])[:, None]
    varies = spread > equal

    def standardised(values: Float[np.ndarray, "m _"]) -> Float[np.ndarray, "m _"]:
        away = values - mean
        fixed = np.where(np.abs(away) <= equal, 0.0, np.copysign(np.inf, away))
        return np.where(varies, away / np.where(varies, spread, 1.0), fixed)

    largest = standardised(known.filled(-np.inf)).max(axis=0)
    beyond = (largest >= standardised(observed[:, None] - equal)) | known.mask
    p = (1 + beyond.sum(axis=1)) / (null.shape[1] + 1)
    return np.where(np.isnan(observed), np.nan, p)


def needed_permutations(num_tests: int, alpha: float, correction: Correction) -> int:
    """Permutations with which a single real effect among `num_tests` can pass the correction."""
    return math.ceil(round(_factor(num_tests, correction) / alpha, 9)) - 1


def _factor(num_tests: int, correction: Correction) -> int:
    """By how much the correction multiplies the p-value of a single real effect."""
    return 1 if correction == "westfall_young" else num_tests


def warn_too_few(
    num_permutations: int, tests: Mapping[str, int], alpha: float, correction: Correction
) -> str | None:
    """A plain warning when no single pair can reach alpha after correction, or None.

    Args:
        tests: Of every family that is corrected on its own, its name and how many tests it has.
    """
    needed = {name: needed_permutations(num, alpha, correction) for name, num in tests.items()}
    short = [name for name in tests if num_permutations < needed[name]]
    if not short:
        return None
    smallest = 1 / (num_permutations + 1)
    corrected = " and ".join(
        f"for {tests[name]} {name} is {min(1.0, smallest * _factor(tests[name], correction)):.2g}"
        for name in short
    )
    return (
        f"{num_permutations} permutations give p >= {smallest:.2g}, which after the correction "
        f"{corrected}: {ALONE} at {alpha:g}. "
        f"Use null.permutations >= {max(needed.values())} for that."
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
