"""Permutation nulls: what the reported score would be if the samples had nothing in common.

One order of the samples of all models y serves all layers and all model pairs, so a permutation
is one operation over the whole grid. The statistic is the one that is reported: the best layer
pair of each model pair. Layers that are fixed beforehand are models of one layer.

Axes: n samples, l layers, p model pairs, K permutations.
"""

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from platorep.statistics.best import BestPair, best_pair
from platorep.statistics.calibration import Calibration, calibrate
from platorep.statistics.permutations import Permutations


@runtime_checkable
class Scoring(Protocol):
    """What a null needs of a metric; a `platorep.metrics.BoundMetric` has it."""

    def compare(self, x: Sequence[Any], y: Sequence[Any]) -> Any: ...

    def prepare(self, x: Sequence[Any], y: Sequence[Any]) -> Any: ...

    def degenerate(self, summary: Any) -> str | None: ...


@dataclass(frozen=True)
class Null:
    """One model pair: the reported score, its layers, and the same statistic K times over."""

    best: BestPair
    null: Float64[np.ndarray, " K"]

    def calibrate(
        self, *, alpha: float = 0.05, perfect: float = 1.0, larger_is_closer: bool = True
    ) -> Calibration:
        """The score against its null; see `calibrate`."""
        return calibrate(
            self.best.score,
            self.null,
            alpha=alpha,
            perfect=perfect,
            larger_is_closer=larger_is_closer,
        )


def permutation_null(
    metric: Scoring,
    groups_x: Sequence[Sequence[Any]],
    groups_y: Sequence[Sequence[Any]],
    permutations: Permutations,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    larger_is_closer: bool = True,
) -> list[Null]:
    """The score and the null of every model pair, from the summaries of all layers of all models.

    Args:
        groups_x: For each model x the summaries of its layers; likewise y.
        pairs: Model pairs, as places in groups_x and groups_y; all of them by default.

    Returns:
        One `Null` per model pair, in the order of `pairs`.
    """
    if pairs is None:
        pairs = list(itertools.product(range(len(groups_x)), range(len(groups_y))))
    null = null_maxima(
        metric, groups_x, groups_y, permutations, pairs=pairs, larger_is_closer=larger_is_closer
    )
    best = [
        best_pair(
            metric.compare(groups_x[i], groups_y[j]),
            *(
                [metric.degenerate(summary) for summary in side]
                for side in (groups_x[i], groups_y[j])
            ),
            larger_is_closer=larger_is_closer,
        )
        for i, j in pairs
    ]
    return [Null(of_pair, row) for of_pair, row in zip(best, null, strict=True)]


def null_maxima(
    metric: Scoring,
    groups_x: Sequence[Sequence[Any]],
    groups_y: Sequence[Sequence[Any]],
    permutations: Permutations,
    *,
    pairs: Sequence[tuple[int, int]],
    larger_is_closer: bool = True,
) -> Float64[np.ndarray, "p K"]:
    """What the score of the best usable layers of every model pair is under each permutation.

    NaN where a pair has no usable layers. Of a single pair of layers the score is its own best.
    Arguments as of `permutation_null`.
    """
    maxima = NullMaxima(metric, groups_x, groups_y, pairs=pairs, larger_is_closer=larger_is_closer)
    return maxima.under(permutations)


class NullMaxima:
    """`null_maxima` of any permutations of the same layers, which are prepared once."""

    def __init__(
        self,
        metric: Scoring,
        groups_x: Sequence[Sequence[Any]],
        groups_y: Sequence[Sequence[Any]],
        *,
        pairs: Sequence[tuple[int, int]],
        larger_is_closer: bool = True,
    ) -> None:
        self._metric, self._pairs = metric, pairs
        self._sign = 1 if larger_is_closer else -1
        self._x = _Usable(metric, groups_x, {i for i, _ in pairs})
        self._y = _Usable(metric, groups_y, {j for _, j in pairs})

    @cached_property
    def _scorer(self) -> Any:
        return self._metric.prepare(self._x.summaries, self._y.summaries)

    def under(self, permutations: Permutations) -> Float64[np.ndarray, "p K"]:
        """Permutation number i has the same order, and so the same maxima, in every range."""
        x, y, sign = self._x, self._y, self._sign
        null = np.full((len(self._pairs), permutations.number), np.nan)
        if not permutations.number or not x.summaries or not y.summaries:
            return null
        for index, order in enumerate(permutations.orders(x.summaries[0].n)):
            scores = sign * self._scorer(order)
            scores = np.where(np.isnan(scores), -np.inf, scores)
            largest = _block_maxima(scores, x.models, y.models)
            null[:, index] = [largest[i, j] for i, j in self._pairs]
        return np.where(np.isinf(null), np.nan, sign * null)


class _Usable:
    """The layers of one side that can win the maximum, in a row, and where each model's are."""

    def __init__(
        self, metric: Scoring, groups: Sequence[Sequence[Any]], needed: Container[int]
    ) -> None:
        self.summaries: list[Any] = []
        self.models: list[slice] = []
        for number, group in enumerate(groups):
            start = len(self.summaries)
            if number in needed:
                self.summaries += [s for s in group if metric.degenerate(s) is None]
            self.models.append(slice(start, len(self.summaries)))


def _block_maxima(
    scores: Float64[np.ndarray, "l_x l_y"], x: Sequence[slice], y: Sequence[slice]
) -> Float64[np.ndarray, "models_x models_y"]:
    """The largest score of each model pair; minus infinity where it has no layers."""
    rows = np.full((len(x), scores.shape[1]), -np.inf)
    for i, part in enumerate(x):
        if part.stop > part.start:
            rows[i] = scores[part].max(axis=0)
    found = np.full((len(x), len(y)), -np.inf)
    for j, part in enumerate(y):
        if part.stop > part.start:
            found[:, j] = rows[:, part].max(axis=1)
    return found
