"""The mean over all pairs of some models, and how far other models would move it.

Axes: n models.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PairMean:
    value: float
    """Mean over the pairs that have a score; NaN if none has."""
    stderr: float
    """NaN where leaving out a model leaves no pair: with 2 models, or fewer."""
    num_pairs: int


def mean_over_pairs(scores: Float[np.ndarray, "n n"]) -> PairMean:
    """The mean of a symmetric table above its diagonal, with its jackknife error over models.

    Pairs share models, so that n models give n (n - 1) / 2 scores but no more than n independent
    things: the error is over models, each left out with all of its pairs. It is that of a mean over
    pairs of random models (a U-statistic); the samples they are scored on count as given.
    Source: Arvesen 1969, Annals of Mathematical Statistics 40.
    """
    num = len(scores)
    above = np.triu(np.ones((num, num), dtype=bool), k=1) & ~np.isnan(scores)
    found = scores[above]
    value = float(found.mean()) if len(found) else math.nan
    left = []
    for out in range(num):
        rest = above.copy()
        rest[out, :] = rest[:, out] = False
        left.append(float(scores[rest].mean()) if rest.any() else math.nan)
    deviations = np.array(left) - np.mean(left) if left else np.array([math.nan])
    stderr = math.sqrt((num - 1) / num * float(np.sum(deviations**2))) if num > 2 else math.nan
    return PairMean(value, stderr, len(found))
