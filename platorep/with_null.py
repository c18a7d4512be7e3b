"""A score beside what it would be if the samples had nothing in common.

Axes: l_x and l_y layers of the two models, K permutations.
"""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from platorep.errors import ConfigError
from platorep.metrics import BoundMetric, Scores, Summary
from platorep.statistics import Calibration, Permutations, calibrate, permutation_null


@dataclass(frozen=True, eq=False)
class ScoreWithNull:
    """The best score of any layer of x with any layer of y, and its permutation null.

    The null is of what is told: under each order of the samples of y the best pair of layers is
    chosen anew, so that many layers are no advantage. It is the null of best.csv: the same
    features, permutations and seed give the same p there. `float(...)` is the score.

    Where several layers were given, a pair of them is above chance if its entry of `scores` is
    beyond `threshold(alpha)`: over all pairs together that is wrong with probability alpha at most,
    if no pair has anything in common (Westfall and Young 1993, single step). For a pair of layers
    that was chosen beforehand give these two alone.

    Source: arXiv:2602.14486.
    """

    score: float
    """NaN where no pair of layers has one: each is degenerate, or not defined."""
    layer_x: int | None
    """The layers that have it, by their place in what was given."""
    layer_y: int | None
    chance: float | None
    """The score expected of independent features, where a formula is known."""
    null_mean: float
    """Over permutations."""
    null_sd: float
    p: float
    """(1 + how many of K permutations score as well) / (K + 1): 1 / (K + 1) at the least."""
    scores: Scores = field(repr=False)
    """Of all pairs of layers, `l_x l_y`."""
    null: Float64[np.ndarray, " K"] = field(repr=False)
    """The best score under each permutation."""
    metric: BoundMetric = field(repr=False)

    def __float__(self) -> float:
        return self.score

    def threshold(self, alpha: float = 0.05) -> float:
        """What no more than `alpha` of the null, the score among it, is beyond."""
        return self._calibration(alpha).threshold

    def calibrated(self, alpha: float = 0.05) -> float:
        """What is left above the threshold: 0 at or below it, 1 for perfect agreement."""
        return self._calibration(alpha).calibrated

    def _calibration(self, alpha: float) -> Calibration:
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie between 0 and 1; got {alpha}.")
        return _calibrated(self.metric, self.score, self.null, alpha)


def score_with_null(
    metric: BoundMetric,
    x: Sequence[Summary],
    y: Sequence[Summary],
    permutations: int,
    seed: int,
    within: Sequence[Hashable] | None = None,
) -> ScoreWithNull:
    """From the summaries of all layers of two models.

    Warns where there is no score, and says why.

    Args:
        within: The group of every sample; samples change places only inside their group.

    Raises:
        ConfigError: there is no permutation.
        DataError: groups leave nothing to change.
    """
    if permutations < 1 or seed < 0:
        raise ConfigError(
            f"permutations must be 1 or more, and their seed 0 or more; got {permutations} and "
            f"{seed}."
        )
    (found,) = permutation_null(
        metric,
        [x],
        [y],
        Permutations(permutations, seed, within),
        larger_is_closer=metric.claims.larger_is_closer,
    )
    best = found.best
    if best.reason is not None:
        warnings.warn(f"no score: {best.reason}", stacklevel=4)
    calibration = _calibrated(metric, best.score, found.null, 0.05)
    return ScoreWithNull(
        score=best.score,
        layer_x=best.layer_x,
        layer_y=best.layer_y,
        chance=metric.chance(x[0].n),
        null_mean=calibration.null_mean,
        null_sd=calibration.null_std,
        p=calibration.p,
        scores=metric.compare(x, y),
        null=found.null,
        metric=metric,
    )


def _calibrated(
    metric: BoundMetric, score: float, null: Float64[np.ndarray, " K"], alpha: float
) -> Calibration:
    claims = metric.claims
    return calibrate(
        score,
        null,
        alpha=alpha,
        perfect=claims.perfect,
        larger_is_closer=claims.larger_is_closer,
    )
