"""From the features of two models to the scores of their layer pairs.

Axes: l_x and l_y layers of the two models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import ExperimentConfig, MetricConfig, PreprocessConfig
from platorep.errors import ConfigError, DataError
from platorep.metrics import BoundMetric, Order, Scores, Summary, bind, summarize_layer
from platorep.preprocess import preprocess

SHUFFLED = "shuffled"


@dataclass(frozen=True)
class Asked:
    """A metric of the experiment, and the layers it is asked at."""

    metric: BoundMetric
    config: MetricConfig

    @property
    def label(self) -> str:
        return self.metric.label

    def layers(self, num_layers: int) -> list[int]:
        """Indices of the asked layers of a model with `num_layers`.

        Raises:
            ConfigError: a layer does not exist.
        """
        if self.config.layers == "all":
            return list(range(num_layers))
        if self.config.layers == "last":
            return [num_layers - 1]
        outside = [i for i in self.config.layers if not -num_layers <= i < num_layers]
        if outside:
            raise ConfigError(
                f"align.metrics: {self.label} asks for layers {outside} of a model that has "
                f"{num_layers}. Count from 0, or from the end with negative numbers."
            )
        return sorted({i % num_layers for i in self.config.layers})


@dataclass(frozen=True)
class Summarized:
    """Some layers of one model, as one metric sees them."""

    layers: Sequence[int]
    summaries: Sequence[Summary]

    @property
    def reasons(self) -> list[str | None]:
        """Why a layer cannot win the maximum; None: it can."""
        return [summary.reason for summary in self.summaries]


Summaries = Mapping[str, Summarized]
"""Metric label -> layers of one model."""


def asked_metrics(config: ExperimentConfig) -> list[Asked]:
    return [Asked(bind(entry.name, entry.parameters), entry) for entry in config.align.metrics]


def summarize_features(
    preprocessing: PreprocessConfig,
    asked: Sequence[Asked],
    label: str,
    features: Sequence[Float[Tensor, "n _"]],
    device: torch.device,
) -> Summaries:
    """Clip and normalise a model's layers; work out once what the metrics need of each.

    Raises:
        DataError: a value is not finite; names the model, the layer and the row.
    """
    try:
        layers = preprocess(features, **preprocessing.model_dump())
    except DataError as error:
        raise DataError(f"{label}: {error}") from error
    wanted = {a.label: a.layers(len(layers)) for a in asked}
    found: dict[str, list[Summary]] = {a.label: [] for a in asked}
    for index, layer in enumerate(layers):
        metrics = [a.metric for a in asked if index in wanted[a.label]]
        summaries = summarize_layer(metrics, layer.to(device))
        for metric, summary in zip(metrics, summaries, strict=True):
            found[metric.label].append(summary)
    return {label: Summarized(wanted[label], found[label]) for label in found}


def score_pair(
    asked: Sequence[Asked], x: Summaries, y: Summaries, shuffled: Order | None
) -> pd.DataFrame:
    """One row per metric, control and layer pair.

    Args:
        shuffled: With this order of y's samples every layer pair is scored once more.
    """
    tables = []
    for a in asked:
        of_x, of_y = x[a.label], y[a.label]
        scores = a.metric.prepare(of_x.summaries, of_y.summaries)
        tables.append(_table(a.label, "", scores(None), of_x, of_y))
        if shuffled is not None:
            tables.append(_table(a.label, SHUFFLED, scores(shuffled), of_x, of_y))
    return pd.concat(tables, ignore_index=True)


def _table(label: str, control: str, scores: Scores, x: Summarized, y: Summarized) -> pd.DataFrame:
    reasons = [
        "; ".join(
            f"layer {layer} of {side}: {reason}"
            for side, layer, reason in (("x", i, why_x), ("y", j, why_y))
            if reason
        )
        for i, why_x in zip(x.layers, x.reasons, strict=True)
        for j, why_y in zip(y.layers, y.reasons, strict=True)
    ]
    return pd.DataFrame(
        {
            "control": control,
            "metric": label,
            "layer_x": np.repeat(x.layers, len(y.layers)),
            "layer_y": np.tile(y.layers, len(x.layers)),
            "score": scores.ravel(),
            "degenerate": [bool(reason) for reason in reasons],
            "reason": reasons,
        }
    )
