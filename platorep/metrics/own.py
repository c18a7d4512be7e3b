"""A user's own metric from as little as one function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from platorep.metrics.layer import Layer
from platorep.metrics.metric import Claims, Metric, Order, Summary, each_pair
from platorep.parameters.metrics import OwnMetric


@dataclass(frozen=True)
class Held(Summary):
    """What the user's `summarize` returned, and the features, to do it again in another order."""

    value: Any
    features: Tensor
    again: Callable[[Tensor], Any]


def _as_is(features: Tensor, **_: Any) -> Tensor:
    return features


def own_metric(
    *,
    name: str,
    compare: Callable[..., float],
    summarize: Callable[..., Any] = _as_is,
    claims: Claims | None = None,
) -> Metric:
    """A metric from one or two plain functions; nulls, tables and figures then work for it too.

    Args:
        compare: Two summaries -> a number. Parameters of the YAML entry arrive as keywords.
        summarize: Features (n d) -> anything. Left out, the features are their own summary.
        claims: What is true of it; `platorep list metrics --check NAME` tries each claim.
    """

    def summarize_layer(layer: Layer, parameters: OwnMetric) -> Held:
        again = partial(summarize, **(parameters.model_extra or {}))  # which can be pickled
        return Held(layer.n, layer.reason, again(layer.features), layer.features, again)

    def score(x: Held, y: Held, parameters: OwnMetric) -> float:
        found: Any = compare(x.value, y.value, **(parameters.model_extra or {}))
        return float(found.detach() if isinstance(found, Tensor) else found)

    def reorder(summary: Held, order: Order) -> Held:
        features = summary.features[order]
        return Held(summary.n, summary.reason, summary.again(features), features, summary.again)

    return Metric(
        name=name,
        summarize=summarize_layer,
        compare=each_pair(score),
        reorder=reorder,
        claims=lambda parameters: claims or Claims(),
    )
