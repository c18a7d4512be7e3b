"""A dial: two senses share a fraction s of their information. Does a metric follow s, how finely?

A score is set against its own null, so that metrics are compared at equal chance: c = (score -
mean of the null) / (score of perfect agreement - mean of the null), 0 at chance and 1 at best.
That is the calibrated score of arXiv:2602.14486 with the null's mean in place of its threshold and
without the cut at 0, which would hide what happens near chance.

Axes: n samples, d features, s shares, r repetitions, K permutations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from platorep.grounding.scoring import Metrics, Summaries, sign
from platorep.metrics import BoundMetric
from platorep.reporting import Advance
from platorep.statistics import draw_order, spearman

SHARES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
REPETITIONS = 6
PERMUTATIONS = 20
APART = 1.96 * 2**0.5
"""Standard deviations by which two scores differ when a two-sided test at .05 says so."""
DETECTED = 1.645 + 0.842
"""Standard deviations above chance at which a one-sided test at .05 has a power of .8."""


@runtime_checkable
class World(Protocol):
    """Features of one network per sense; row i of both is the same event."""

    @property
    def name(self) -> str: ...

    def x(self, n: int, repetition: int) -> Float[Tensor, "n d"]:
        """What the first network makes of n events; those of another repetition are others."""
        ...

    def y(self, share: float, n: int, repetition: int) -> Float[Tensor, "n d"]:
        """What the second makes of the same events, of which it is shown so much."""
        ...


@dataclass(frozen=True)
class Turned:
    """The scores of one metric at n samples over the whole dial; larger is closer."""

    scores: Float[np.ndarray, "s r"]
    null: Float[np.ndarray, "r K"]
    perfect: float

    @property
    def calibrated(self) -> Float[np.ndarray, "s r"]:
        """0: as by chance, 1: perfect agreement."""
        chance = self.null.mean(axis=1)
        room = self.perfect - chance
        found: np.ndarray = (self.scores - chance) / np.where(room > 0, room, np.nan)
        return found

    @property
    def noise(self) -> float:
        """Standard deviation over repetitions, of shares up to 1/2 together."""
        low = self.calibrated[: SHARES.index(0.5) + 1]
        return float(np.sqrt(low.var(axis=1, ddof=1).mean()))

    @property
    def tracks(self) -> float:
        """Spearman's correlation of the mean score with the share: 1 where it always rises."""
        return spearman(np.array(SHARES), self.calibrated.mean(axis=1)).value

    @property
    def half(self) -> float:
        """The mean calibrated score where half is shared."""
        return float(self.calibrated[SHARES.index(0.5)].mean())

    @property
    def resolution(self) -> float:
        """The smallest difference of s that two scores show, for s between 0 and 1/2.

        `APART` times the noise over the slope from 0 to 1/2: with that much more shared, every
        other comparison of two samples of n is significant. NaN where the score does not rise.
        """
        slope = (self.half - float(self.calibrated[0].mean())) / 0.5
        return APART * self.noise / slope if slope > 0 else np.nan

    @property
    def seen_from(self) -> float:
        """The smallest s that is told from chance (5 %) four times in five; NaN where none is.

        Between the shares of the dial the mean score is interpolated.
        """
        means, needed = self.calibrated.mean(axis=1), DETECTED * self.noise
        above = np.flatnonzero(means >= needed)
        if not len(above):
            return np.nan
        last = int(above[0])
        if last == 0:
            return 0.0
        before, after = means[last - 1], means[last]
        return float(np.interp(needed, (before, after), SHARES[last - 1 : last + 1]))

    @property
    def at_zero(self) -> float:
        """The mean score where nothing is shared, in standard errors above the mean of the null."""
        spread = self.null.std(axis=1, ddof=1)
        away = (self.scores[0] - self.null.mean(axis=1)) / np.where(spread > 0, spread, np.nan)
        num = self.null.shape[1]
        return float(away.mean() * np.sqrt(len(away) * num / (num + 1)))


def turn(world: World, metrics: Metrics, n: int, advance: Advance) -> Mapping[str, Turned]:
    """Label -> its scores over the whole dial; without metrics that do not take such features.

    Args:
        advance: Called with 1 after each of `REPETITIONS` x `SHARES`.
    """
    found: dict[str, np.ndarray] = {}
    null: dict[str, np.ndarray] = {}
    for repetition in range(REPETITIONS):
        x = metrics.summarize([world.x(n, repetition)])
        for place, share in enumerate(SHARES):
            y = metrics.summarize([world.y(share, n, repetition)])
            for label, score in metrics.compare(x, y).items():
                empty = np.full((len(SHARES), REPETITIONS), np.nan)
                found.setdefault(label, empty)[place, repetition] = score[0, 0]
            advance(1)
        for label, of_metric in _null(metrics, x, y, n, repetition).items():
            empty = np.full((REPETITIONS, PERMUTATIONS), np.nan)
            null.setdefault(label, empty)[repetition] = of_metric
    return {
        metric.label: Turned(
            found[metric.label], null[metric.label], sign(metric) * metric.claims.perfect
        )
        for metric in metrics.metrics
        if metric.label in found and metric.label in null
    }


def _null(
    metrics: Metrics, x: Summaries, y: Summaries, n: int, repetition: int
) -> Mapping[str, Float[np.ndarray, " K"]]:
    """What is shared moves neither side alone: one null serves all shares of a repetition."""
    orders = [draw_order(n, repetition, index) for index in range(PERMUTATIONS)]

    def null(metric: BoundMetric) -> Float[np.ndarray, " K"]:
        scorer = metric.prepare(x[metric.label], y[metric.label])
        return sign(metric) * np.array([float(scorer(order)[0, 0]) for order in orders])

    both = [metric for metric in metrics.metrics if metric.label in x and metric.label in y]
    made = Metrics(both, metrics.errors).each(null)
    return {metric.label: scores for metric, scores in made}


def dial_rows(world: str, n: int, turned: Mapping[str, Turned]) -> list[dict[str, Any]]:
    """One row per metric and share: what the columns of the table are made from."""
    return [
        {
            "world": world,
            "n": n,
            "metric": label,
            "share": share,
            "score": float(one.scores[place].mean()),
            "sd": float(one.scores[place].std(ddof=1)),
            "null_mean": float(one.null.mean()),
            "calibrated": float(one.calibrated[place].mean()),
            "calibrated_sd": float(one.calibrated[place].std(ddof=1)),
        }
        for label, one in turned.items()
        for place, share in enumerate(SHARES)
    ]
