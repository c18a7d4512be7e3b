"""Noise ceilings: how much two models can agree when one observation of an event is noisy.

An event is observed by x and by y, and what an observation adds of its own is independent of what
others add, given the event. Two observations of the same events by one model say how noisy it is:
its *reliability* is its score with itself. On a scale on which noise multiplies, the *latent
correlation* r,

    r_xy = r_noise-free * sqrt(r_x * r_y)                (Spearman 1904, Am. J. Psychology 15)

so sqrt(r_x * r_y) is what models that share all but their noise would show: the *ceiling*. Which
scale that is depends on the metric; docs/metrics.md derives them and says how well they do.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from platorep.statistics.null import Scoring
from platorep.statistics.permutations import Permutations


@runtime_checkable
class WithChance(Scoring, Protocol):
    """A metric that may know its chance level; a `platorep.metrics.BoundMetric` does."""

    def chance(self, n: int) -> float | None: ...


@dataclass(frozen=True)
class Agreement:
    """A score, and what it would be if the rows had nothing in common."""

    score: float
    chance: float


@dataclass(frozen=True)
class Scale:
    """The scale on which noise multiplies: 0 at chance, 1 at perfect agreement."""

    latent: Callable[[Agreement], float]
    """A score -> its latent correlation."""
    score: Callable[[float, float], float]
    """A latent correlation and the chance level -> the score."""


def linear_scale(perfect: float = 1.0) -> Scale:
    """Of metrics that are products of two centred matrices, each of which noise leaves as it is in
    the mean: debiased CKA, where the scale is the score itself. Elsewhere an analogy."""
    return Scale(
        lambda a: (a.score - a.chance) / (perfect - a.chance) if perfect != a.chance else math.nan,
        lambda r, chance: chance + r * (perfect - chance),
    )


def _overlap(r: float, chance: float) -> float:
    """Of two standard normal variables with correlation `r`, one being among its largest share
    `chance`: how likely the other is. (Owen 1956, Annals of Mathematical Statistics 27.)"""
    from scipy import special  # takes long to import, and finished ceilings need none of it

    slope = math.sqrt((1 - r) / (1 + r))
    return 1 - 2 * float(special.owens_t(float(special.ndtri(chance)), slope)) / chance


def _tetrachoric(a: Agreement) -> float:
    """The correlation of normal similarities that overlap so much in their largest share."""
    from scipy import optimize

    if a.score >= 1:
        return 1.0
    lowest = -1 + 1e-9
    if a.score <= _overlap(lowest, a.chance):
        return -1.0
    return float(optimize.brentq(lambda r: _overlap(r, a.chance) - a.score, lowest, 1))


THRESHOLD = Scale(_tetrachoric, lambda r, chance: _overlap(min(r, 1.0), chance))
"""Of metrics that see of each similarity only whether it is among the largest share, which is the
chance level: mutual k-NN, k / (n - 1), and ordinal triplets, 1/2. The latent correlation is that of
the similarities behind, were they normal (the tetrachoric correlation)."""


def _common(share: float) -> float:
    """The share of one list that is common, if that is the share of both lists together."""
    return 2 * share / (1 + share)


def _of_both(share: float) -> float:
    """The other way round."""
    return share / (2 - share)


JACCARD = Scale(
    lambda a: _tetrachoric(Agreement(_common(a.score), _common(a.chance))),
    lambda r, chance: _of_both(THRESHOLD.score(r, _common(chance))),
)
"""Of the same lists, compared by intersection over union."""


@dataclass(frozen=True)
class Ceiling:
    """What noise leaves of the agreement of two models. NaN where the observations of a side agree
    no more than chance, or where chance itself is perfect."""

    value: float
    """The score of a pair that shares all but noise."""
    share: float
    """(score - chance) / (value - chance): 0 at chance, 1 at the ceiling, above it by luck."""
    noise_free: float
    """The score that observations without noise would have."""


def agreement(metric: WithChance, x: Any, y: Any, permutations: Permutations) -> Agreement:
    """The score of two summaries of the same n samples, and its chance level: the metric's own, or
    else the mean over `permutations` of y's samples."""
    score = float(metric.compare([x], [y])[0, 0])
    return Agreement(score, chance_level(metric, x, y, permutations.orders(x.n)))


def chance_level(metric: WithChance, x: Any, y: Any, orders: Iterable[Any]) -> float:
    """The score of two summaries that have nothing in common: the metric's own formula, or else the
    mean over these orders of y's samples."""
    known = metric.chance(x.n)
    if known is not None:
        return known
    scorer = metric.prepare([x], [y])
    return float(np.mean([scorer(order)[0, 0] for order in orders]))


def reliability(
    metric: WithChance, observations: Sequence[Any], permutations: Permutations
) -> Agreement:
    """A model with itself over two observations of the same events, the mean over all pairs.

    Args:
        observations: The summary of one layer for each observation of the same n samples; two at
            least.
    """
    pairs = itertools.combinations(observations, 2)
    found = [agreement(metric, one, other, permutations) for one, other in pairs]
    return Agreement(
        float(np.mean([a.score for a in found])), float(np.mean([a.chance for a in found]))
    )


def noise_ceiling(
    pair: Agreement, x: Agreement | None, y: Agreement | None, scale: Scale
) -> Ceiling:
    """The ceiling of a pair from the reliabilities of its models.

    Args:
        x: None where what x observes is taken as free of noise; the ceiling is then an upper bound.
    """
    of_x, of_y = (1.0 if side is None else scale.latent(side) for side in (x, y))
    if not (of_x > 0 and of_y > 0):
        return Ceiling(math.nan, math.nan, math.nan)
    most = math.sqrt(of_x * of_y)
    value = scale.score(most, pair.chance)
    if value == pair.chance:  # of rows that are nearly all equal, any score is by chance
        return Ceiling(math.nan, math.nan, math.nan)
    share = (pair.score - pair.chance) / (value - pair.chance)
    return Ceiling(value, share, scale.score(scale.latent(pair) / most, pair.chance))
