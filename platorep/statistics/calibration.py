"""From an observed score and its null to a p-value, a threshold and a calibrated score.

Source: arXiv:2602.14486. Axes: K permutations.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

EQUAL = 1e-7
"""Scores that differ by less than this share of the largest of them count as equal: rounding (of
float32 kernels, say) is no evidence."""


def rounding(*scores: float | Float[np.ndarray, "..."]) -> float:
    """How far apart scores of this size may be and still be equal; the unit of a score is free."""
    values = np.abs(np.concatenate([np.ravel(part) for part in scores]))
    return EQUAL * float(values.max(initial=0.0, where=np.isfinite(values)))


@dataclass(frozen=True)
class Calibration:
    """A score against its null.

    `calibrated` is 0 where the score does not pass the threshold, 1 where agreement is perfect.
    """

    observed: float
    p: float
    threshold: float
    calibrated: float
    null_mean: float
    null_std: float
    num_permutations: int


def calibrate(
    observed: float,
    null: Float[np.ndarray, " K"],
    *,
    alpha: float = 0.05,
    perfect: float = 1.0,
    larger_is_closer: bool = True,
) -> Calibration:
    """p = (1 + #{null >= observed}) / (K + 1); the threshold is the ceil((1 - alpha)(K + 1))-th
    smallest of the K + 1 values, the observed one among them; calibrated =
    max((observed - threshold) / (perfect - threshold), 0).

    Everything is NaN where the observed score is (all layers degenerate). Null values that are
    not defined count against the observed one.

    Args:
        null: The same statistic (a maximum over layers, say) under each permutation.
        perfect: The score of perfect agreement.
    """
    count = len(null)
    if math.isnan(observed) or not count:
        return Calibration(observed, np.nan, np.nan, np.nan, np.nan, np.nan, count)
    sign = 1 if larger_is_closer else -1
    values = np.where(np.isnan(null), np.inf, sign * null)
    score, top = sign * observed, sign * perfect
    p = (1 + int((values >= score - rounding(observed, null)).sum())) / (count + 1)
    rank = math.ceil(round((1 - alpha) * (count + 1), 9))
    threshold = float(np.sort(np.append(values, score))[rank - 1])
    calibrated = max((score - threshold) / (top - threshold), 0.0) if top > threshold else 0.0
    finite = null[~np.isnan(null)]
    return Calibration(
        observed,
        p,
        sign * threshold,
        calibrated,
        float(finite.mean()) if len(finite) else np.nan,
        float(finite.std(ddof=1)) if len(finite) > 1 else np.nan,
        count,
    )
