"""Summaries and scores of several metrics side by side: where one cannot, the others go on.

Axes: n samples, d features, l layers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from platorep.errors import ConfigError
from platorep.failures import Errors
from platorep.metrics import BoundMetric, Layer, Summary

T = TypeVar("T")
Summaries = Mapping[str, list[Summary]]
"""Label of a metric -> the summaries of some layers; without the metrics that do not take them."""


@dataclass(frozen=True)
class Metrics:
    """The metrics at work, and what went wrong with each."""

    metrics: Sequence[BoundMetric]
    errors: Errors

    def each(self, work: Callable[[BoundMetric], T]) -> Iterable[tuple[BoundMetric, T]]:
        """Each metric with what `work` makes of it.

        Without those that refuse such features (canonical correlations of fewer samples than
        dimensions), and those that have failed: which is noted once.
        """
        for metric in self.metrics:
            if metric.label in self.errors.errors:
                continue
            made: list[T] = []
            with self.errors.catch(metric.label):
                try:
                    made.append(work(metric))
                except ConfigError:
                    continue
            for one in made:
                yield metric, one

    def summarize(self, layers: Sequence[Float[Tensor, "n _"]]) -> Summaries:
        """What each metric needs of the layers; what several need (a Gram matrix) is made once."""
        shared = [Layer(layer) for layer in layers]
        largest_k_first = Metrics(
            sorted(self.metrics, key=lambda metric: -getattr(metric.parameters, "k", 0)),
            self.errors,
        )
        made = largest_k_first.each(lambda metric: [metric.summarize(one) for one in shared])
        return {metric.label: summaries for metric, summaries in made}

    def compare(self, x: Summaries, y: Summaries) -> Mapping[str, Float[np.ndarray, "l_x l_y"]]:
        """Label -> the scores of all layer pairs, turned so that larger is closer."""
        both = Metrics([m for m in self.metrics if m.label in x and m.label in y], self.errors)
        made = both.each(lambda metric: metric.compare(x[metric.label], y[metric.label]))
        return {metric.label: sign(metric) * scores for metric, scores in made}


def sign(metric: BoundMetric) -> int:
    """What turns a score so that larger is closer."""
    return 1 if metric.claims.larger_is_closer else -1
