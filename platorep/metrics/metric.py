"""What a metric is: three functions and the claims it makes; and a metric with its parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64, Integer
from torch import Tensor

from platorep.errors import DataError
from platorep.metrics.layer import Layer
from platorep.parameters.metrics import MetricParameters, OwnMetric
from platorep.switches import default_switches

ROUNDING = 1e-5
"""A score may leave its range by less than this because products are float32, and is put back."""

Order = Integer[np.ndarray, " n"]
"""A permutation: place i of the reordered layer holds sample `order[i]`."""
Scores = Float64[np.ndarray, "l_x l_y"]


class Invariance(Enum):
    """A change of one model's features (of either model) that must leave the score as it is."""

    ROTATION = "rotation"
    SCALING = "isotropic scaling"
    TRANSLATION = "translation"
    LINEAR = "invertible linear map"
    UNIT_PERMUTATION = "permutation of the units"
    UNIT_SCALING = "positive scaling of each unit"
    ROW_SCALING = "positive scaling of each sample's vector"


def no_chance(n: int) -> float | None:
    """No closed form: the null says where chance is."""
    return None


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What is true of a metric with given parameters. Every claim is tested."""

    low: float = -np.inf
    high: float = np.inf
    """The score is never outside."""
    perfect: float = 1.0
    """The score of perfect agreement: where the calibrated score is 1."""
    of_itself: float | None = None
    """Score of a layer with itself, when it is always the same."""
    chance: Callable[[int], float | None] = no_chance
    """Expected score of independent features of n samples."""
    cost: Literal["grid", "pair"] = "pair"
    """Whether all layer pairs together are one operation, or each pair costs its own."""
    symmetric: bool = True
    larger_is_closer: bool = True
    invariances: frozenset[Invariance] = frozenset()


@dataclass(frozen=True)
class Summary:
    """All that a metric needs to know of one layer. Each family of metrics adds its own fields."""

    n: int
    reason: str | None = field(repr=False)
    """Why the layer is left out of the maximum (it is degenerate), or None."""


Scorer = Callable[[Order | None], Scores]
"""The scores of all layer pairs, with the samples of y in this order (None: as they are)."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric and the mathematical claims it makes."""

    name: str
    summarize: Callable[[Layer, Any], Any]
    """One layer and the parameters -> its Summary."""
    compare: Callable[[Sequence[Any], Sequence[Any], Any], Scores]
    """Summaries of two models and the parameters -> scores of all layer pairs."""
    reorder: Callable[[Any, Order], Any]
    """Summary and order -> the summary of the same layer with its samples in that order."""
    claims: Callable[[Any], Claims]
    prepare: Callable[[Sequence[Any], Sequence[Any], Any], Scorer] | None = None
    """Faster than reorder and compare for many orders of the same summaries."""
    check: Callable[[int, int, Any], None] = lambda n, d, parameters: None
    """Raises when the metric cannot take n samples of d features."""
    by_row: Callable[[Any, Any, Any], Float64[np.ndarray, " n"]] | None = None
    """One layer of x, one of y and the parameters -> the score of each sample, of a metric whose
    score is their mean (over the samples that have one: the others are NaN)."""


@dataclass(frozen=True)
class BoundMetric:
    """A metric with its parameters: what the rest of the program calls.

    No switch of the process moves a score: see `default_switches`.
    """

    metric: Metric
    parameters: MetricParameters

    @property
    def name(self) -> str:
        parameters = self.parameters
        return parameters.name if isinstance(parameters, OwnMetric) else self.metric.name

    @property
    def label(self) -> str:
        return self.parameters.label()

    @property
    def claims(self) -> Claims:
        return self.metric.claims(self.parameters)

    def chance(self, n: int) -> float | None:
        """The score expected of independent features of n samples, where a formula is known."""
        return self.claims.chance(n)

    def check(self, n: int, d: int) -> None:
        """Whether n samples of d features can be scored at all.

        Raises:
            DataError: fewer than 4 samples, or no features.
            ConfigError: the parameters do not fit n or d; says what would.
        """
        if n < 4 or d < 1:
            raise DataError(
                f"{self.label} needs at least 4 samples of at least 1 feature, got {n} x {d}."
            )
        self.metric.check(n, d, self.parameters)

    @default_switches()
    def summarize(self, features: Float[Tensor, "n d"] | Layer) -> Summary:
        """The summary of one layer. To share work among metrics give them the same `Layer`.

        Raises:
            DataError: a row is not finite, or there are fewer than 4.
            ConfigError: the parameters do not fit n or d.
        """
        layer = features if isinstance(features, Layer) else Layer(features)
        self.check(layer.n, layer.d)
        summary: Summary = self.metric.summarize(layer, self.parameters)
        return summary

    @default_switches()
    def compare(self, x: Sequence[Summary], y: Sequence[Summary]) -> Scores:
        """Scores of all pairs of a layer of x and a layer of y; NaN where one is not defined.

        Raises:
            DataError: the layers have different numbers of samples.
        """
        if len({summary.n for summary in (*x, *y)}) > 1:
            raise DataError(
                f"{self.label} compares layers sample by sample, but x has "
                f"{sorted({s.n for s in x})} samples and y has {sorted({s.n for s in y})}."
            )
        return _in_range(self.metric.compare(x, y, self.parameters), self.claims)

    @property
    def has_rows(self) -> bool:
        """Whether its score is a mean over samples: whether there is `by_row`."""
        return self.metric.by_row is not None

    @default_switches()
    def by_row(self, x: Summary, y: Summary) -> Float64[np.ndarray, " n"]:
        """The score of each sample in one layer of x and one of y, NaN where it is not defined.

        The mean of those that are defined is the score. Needs `has_rows`.
        """
        assert self.metric.by_row is not None, f"{self.label} is no mean over samples"
        return _in_range(self.metric.by_row(x, y, self.parameters), self.claims)

    @default_switches()
    def reorder(self, summary: Summary, order: Order) -> Summary:
        """The summary of the same layer with its samples in another order."""
        reordered: Summary = self.metric.reorder(summary, order)
        return reordered

    @default_switches()
    def prepare(self, x: Sequence[Summary], y: Sequence[Summary]) -> Scorer:
        """A function from an order of y's samples to the scores of all layer pairs, for nulls."""
        claims, prepared = self.claims, None
        if self.metric.prepare is not None:
            prepared = self.metric.prepare(x, y, self.parameters)

        @default_switches()
        def scores(order: Order | None) -> Scores:
            if prepared is not None:
                return _in_range(prepared(order), claims)
            moved = y if order is None else [self.metric.reorder(summary, order) for summary in y]
            return _in_range(self.metric.compare(x, moved, self.parameters), claims)

        return scores

    def degenerate(self, summary: Summary) -> str | None:
        """Why a layer is left out of the maximum, or None."""
        return summary.reason


def _in_range(scores: Float64[np.ndarray, "..."], claims: Claims) -> Float64[np.ndarray, "..."]:
    """The scores, those that rounding has put outside the range at its end."""
    above = (scores > claims.high) & (scores <= claims.high + ROUNDING)
    below = (scores < claims.low) & (scores >= claims.low - ROUNDING)
    return np.where(above, claims.high, np.where(below, claims.low, scores))


def each_pair(
    score: Callable[[Any, Any, Any], float],
) -> Callable[[Sequence[Any], Sequence[Any], Any], Scores]:
    """`compare` of a metric whose score is a function of two summaries and the parameters."""

    def compare(x: Sequence[Any], y: Sequence[Any], parameters: Any) -> Scores:
        return np.array([[score(a, b, parameters) for b in y] for a in x], dtype=np.float64)

    return compare
