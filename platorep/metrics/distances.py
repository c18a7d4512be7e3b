"""Distance correlation: are samples that are far apart in one layer far apart in the other?

Unlike a linear kernel it is 0 for independent features only (Szekely, Rizzo and Bakirov 2007).

Axes: n samples, m entries of a triangle.
"""

from collections.abc import Sequence

import numpy as np
import torch

from platorep.metrics import triangles
from platorep.metrics.kernels import SIMILARITIES, centred_unit, check_rows
from platorep.metrics.layer import Layer
from platorep.metrics.metric import Claims, Metric, Order, Scorer, Scores, no_chance
from platorep.metrics.rsa import dissimilarities
from platorep.metrics.triangles import Triangle
from platorep.parameters.metrics import DistanceCorrelation


def summarize(layer: Layer, parameters: DistanceCorrelation) -> Triangle:
    """The Euclidean distances of all pairs, centred over both samples, as a unit vector."""
    table = dissimilarities(layer, "euclidean")
    debiased = parameters.estimator == "debiased"
    values, reason = centred_unit(table.values.sqrt(), debiased=debiased)
    if table.reason is not None:
        values = torch.zeros_like(values)
    return Triangle(layer.n, table.reason or reason, values, diagonal=not debiased)


def prepare(
    x: Sequence[Triangle], y: Sequence[Triangle], parameters: DistanceCorrelation
) -> Scorer:
    """Biased: the correlation. Debiased: the estimate of its square, which may be negative."""
    squares = triangles.prepare(x, y, parameters)

    def scores(order: Order | None) -> Scores:
        found = squares(order)
        if parameters.estimator == "debiased":
            return found
        correlations: Scores = np.sqrt(np.maximum(found, 0.0))
        return correlations

    return scores


def compare(
    x: Sequence[Triangle], y: Sequence[Triangle], parameters: DistanceCorrelation
) -> Scores:
    return prepare(x, y, parameters)(None)


DISTANCE_CORRELATION = Metric(
    name="distance_correlation",
    summarize=summarize,
    compare=compare,
    prepare=prepare,
    reorder=triangles.reorder,
    claims=lambda parameters: Claims(
        low=-1.0 if parameters.estimator == "debiased" else 0.0,
        high=1.0,
        of_itself=1.0,
        chance=(lambda n: 0.0) if parameters.estimator == "debiased" else no_chance,
        cost="grid",
        invariances=SIMILARITIES,
    ),
    check=lambda n, d, parameters: check_rows(n, parameters.label()),
)
