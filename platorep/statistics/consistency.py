"""Do the same model pairs rank the same on two sets of samples?

Axes: p model pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Consistency:
    tau: float
    """-1 (the order is turned round) to 1 (the same order); 0 of unrelated orders. NaN with fewer
    than 3 pairs, or where one side does not vary."""
    low: float
    high: float
    """NaN where leaving a model out never moves tau, or leaves nothing: that says nothing of how
    far other models would."""
    num_pairs: int
    num_models: int


def kendall_over_pairs(
    first: Float[np.ndarray, " p"],
    second: Float[np.ndarray, " p"],
    x: Sequence[str],
    y: Sequence[str],
    *,
    level: float = 0.95,
) -> Consistency:
    """Kendall's tau-b of the scores that the same model pairs have on two sets of samples.

    Pairs share models, so that the interval is over models: each is left out with all of its pairs
    (a bootstrap would hold pairs of a model with its own copy, and ties). Models x and models y are
    two populations, or one if any model is on both sides; of a side with one model nothing is
    known of others, and the interval is of that model. Student's t with Welch's degrees of freedom.
    Pairs with a NaN take no part.

    Args:
        x: The model x of every pair; likewise y.

    Source: Kendall 1945, Biometrika 33 (tau-b); Arvesen 1969, Annals of Mathematical Statistics 40
    (the jackknife of U-statistics of several populations); Ciernik et al., arXiv:2411.05561, who
    ask the question with Pearson's correlation and without an interval.
    """
    known = ~(np.isnan(first) | np.isnan(second))
    of_x, of_y = np.array(x, dtype=object)[known], np.array(y, dtype=object)[known]
    first, second = first[known], second[known]
    tau = _tau(first, second)
    sides = [sorted(set(of_x)), sorted(set(of_y))]
    if set(sides[0]) & set(sides[1]):
        sides = [sorted({*of_x, *of_y})]
    variances, freedom = [], []
    for models in sides:
        if len(models) < 2:
            continue
        left = [(of_x != model) & (of_y != model) for model in models]
        taus = np.array([_tau(first[rest], second[rest]) for rest in left])
        m = len(models)
        variances.append((m - 1) / m * float(np.sum((taus - taus.mean()) ** 2)))
        freedom.append(m - 1)
    reach = _reach(variances, freedom, level)
    ends = max(tau - reach, -1.0), min(tau + reach, 1.0)
    low, high = (math.nan, math.nan) if math.isnan(reach) else ends
    return Consistency(tau, low, high, len(first), len({*of_x, *of_y}))


def _tau(first: Float[np.ndarray, " p"], second: Float[np.ndarray, " p"]) -> float:
    from scipy import stats  # takes long to import, and finished scores need none of it

    if len(first) < FEWEST_PAIRS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(stats.kendalltau(first, second).statistic)


def _reach(variances: Sequence[float], freedom: Sequence[int], level: float) -> float:
    """Half the width of the interval; NaN where no variance is known."""
    from scipy import stats

    total = sum(variances)
    if not total > 0:  # or one is NaN
        return math.nan
    welch = total**2 / sum(v**2 / d for v, d in zip(variances, freedom, strict=True))
    return float(stats.t.ppf((1 + level) / 2, welch)) * math.sqrt(total)
