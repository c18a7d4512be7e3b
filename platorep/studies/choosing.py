"""Layers of a pair, chosen by the first metric of `align` on some of the rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64

from platorep.align.summaries import OnRows, Summarized, summarize
from platorep.errors import ConfigError, DataError
from platorep.metrics import BoundMetric
from platorep.statistics import best_pair
from platorep.studies.context import Context


def refuse_chosen_elsewhere(context: Context, study: str) -> None:
    """Refuse a metric that has its layers from another one.

    Raises:
        ConfigError: the first metric of `align` is such a one.
    """
    if context.metric.config.best_of is not None:
        raise ConfigError(
            f"{study} chooses layers by the first metric of align.metrics, and "
            f"{context.metric.label} is asked at the best layers of another. Put that one first."
        )


def summarized(context: Context, label: str, sets: Mapping[str, Int64[np.ndarray, " _"]]) -> OnRows:
    """What the metric needs of a model's layers on each of these sets of rows."""
    made = summarize([context.metric], context.prepared(label), sets, context.run.device)
    return made[context.metric.label]


def best_layers(metric: BoundMetric, x: Summarized, y: Summarized) -> tuple[int, int, float]:
    """Places of the best layers among those that are summarized, and their score.

    Raises:
        DataError: none can be chosen; says why.
    """
    best = best_pair(
        metric.compare(x.summaries, y.summaries),
        x.reasons,
        y.reasons,
        larger_is_closer=metric.claims.larger_is_closer,
    )
    if best.layer_x is None or best.layer_y is None:
        raise DataError(f"no layers can be chosen: {best.reason}.")
    return best.layer_x, best.layer_y, best.score


def decides_layers(context: Context, *labels: str) -> list[Any]:
    """Features of these models, and all that moves which of their layers are chosen on given
    rows."""
    align, metric = context.run.config.align, context.metric
    return [
        *(context.aligned(label).key for label in labels),
        align.preprocess.model_dump(mode="json"),
        [align.concatenated, metric.label, metric.config.layers, *metric.code],
    ]
