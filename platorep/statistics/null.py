"""Permutation nulls: what the reported score would be if the samples had nothing in common.

One order of the samples of all models y serves all layers and all model pairs, so a permutation
is one operation over the whole grid. The statistic is the one that is reported: the best layer
pair of each model pair, or a pair of layers fixed beforehand.

Axes: n samples, l layers, p model pairs, K permutations.
"""

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from platorep.statistics.best import BestPair, best_pair
from platorep.statistics.calibration import Calibration, calibrate
from platorep.statistics.permutations import draw_order


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
    *,
    permutations: int,
    seed: int,
    pairs: Sequence[tuple[int, int]] | None = None,
    layers: Sequence[tuple[int, int]] | None = None,
    within: Sequence[Hashable] | None = None,
    larger_is_closer: bool = True,
    first: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Null]:
    """The null of every model pair, from the summaries of all layers of all models at once.

    Args:
        groups_x: For each model x the summaries of its layers; likewise y.
        permutations: K. Permutation i is the same in every call with this seed.
        pairs: Which model pairs, as places in groups_x and groups_y; all of them by default.
        layers: One fixed pair of layers per model pair, instead of the best one.
        within: The group of every sample; samples are permuted inside groups only.
        first: The number of the first permutation, to continue an earlier null.
        progress: Called with the number of finished permutations.

    Returns:
        One `Null` per model pair, in the order of `pairs`.
    """
    if pairs is None:
        pairs = [(i, j) for i in range(len(groups_x)) for j in range(len(groups_y))]
    sign = 1 if larger_is_closer else -1
    x, y = _Side(metric, groups_x), _Side(metric, groups_y)
    scorer = metric.prepare(x.summaries, y.summaries)
    observed = scorer(None)
    best = []
    for place, (i, j) in enumerate(pairs):
        scores = observed[x.part(i), y.part(j)]
        if layers is None:
            best.append(
                best_pair(scores, x.reasons[i], y.reasons[j], larger_is_closer=larger_is_closer)
            )
        else:
            best.append(_fixed(scores, layers[place]))

    # only usable layers can be the maximum, so only they are permuted
    chosen_x, chosen_y = x.usable(layers, pairs, 0), y.usable(layers, pairs, 1)
    null = np.full((len(pairs), permutations), np.nan)
    if len(chosen_x) and len(chosen_y) and permutations:
        scorer = metric.prepare(
            [x.summaries[i] for i in chosen_x], [y.summaries[i] for i in chosen_y]
        )
        places_x, places_y = x.places(chosen_x), y.places(chosen_y)
        n = x.summaries[0].n
        for index in range(permutations):
            scores = sign * scorer(draw_order(n, seed, first + index, within))
            scores = np.where(np.isnan(scores), -np.inf, scores)
            if layers is None:
                largest = _block_maxima(scores, places_x, places_y)
                null[:, index] = [largest[i, j] for i, j in pairs]
            else:
                where_x = {layer: row for row, layer in enumerate(chosen_x)}
                where_y = {layer: row for row, layer in enumerate(chosen_y)}
                null[:, index] = [
                    scores[where_x[x.starts[i] + a], where_y[y.starts[j] + b]]
                    for (i, j), (a, b) in zip(pairs, layers, strict=True)
                ]
            if progress is not None:
                progress(index + 1)
    null = np.where(np.isinf(null), np.nan, sign * null)
    return [Null(found, row) for found, row in zip(best, null, strict=True)]


class _Side:
    """The layers of all models of one side in a row, and where each model's begin."""

    def __init__(self, metric: Scoring, groups: Sequence[Sequence[Any]]) -> None:
        self.summaries = [summary for group in groups for summary in group]
        self.starts = np.cumsum([0, *(len(group) for group in groups)]).tolist()
        self.reasons = [[metric.degenerate(summary) for summary in group] for group in groups]

    def part(self, model: int) -> slice:
        return slice(self.starts[model], self.starts[model + 1])

    def usable(
        self,
        layers: Sequence[tuple[int, int]] | None,
        pairs: Sequence[tuple[int, int]],
        side: int,
    ) -> list[int]:
        """The layers that take part: the usable ones of the models in `pairs`, or the fixed."""
        if layers is not None:
            both = zip(pairs, layers, strict=True)
            return sorted({self.starts[pair[side]] + layer[side] for pair, layer in both})
        models = sorted({pair[side] for pair in pairs})
        return [
            self.starts[model] + layer
            for model in models
            for layer, reason in enumerate(self.reasons[model])
            if reason is None
        ]

    def places(self, chosen: Sequence[int]) -> list[slice]:
        """For each model, where its layers stand among the chosen ones."""
        bounds = np.searchsorted(chosen, self.starts)
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]


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


def _fixed(scores: Float64[np.ndarray, "l_x l_y"], pair: tuple[int, int]) -> BestPair:
    score = float(scores[pair])
    reason = "the score of these layers is not defined" if np.isnan(score) else None
    return BestPair(score, pair[0], pair[1], reason)
