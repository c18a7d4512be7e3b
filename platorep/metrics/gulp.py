"""GULP: would linear predictors on either layer predict alike, whatever the task is?

Ridge regression on a layer turns the values of any target into predictions H y, with H (n n) made
from the layer alone. GULP (arXiv:2210.06545) is the distance |H_x - H_y|; the score here is the
cosine between H_x and H_y, so that it lies between 0 and 1.

Axes: n samples.
"""

import torch

from platorep.metrics import triangles
from platorep.metrics.kernels import SIMILARITIES, centred, check_rows
from platorep.metrics.layer import Layer
from platorep.metrics.metric import Claims, Metric
from platorep.metrics.triangles import Triangle, unit, whole
from platorep.parameters.metrics import Gulp


def summarize(layer: Layer, parameters: Gulp) -> Triangle:
    """H = K (K + penalty tr(K) I)^-1 of the centred Gram matrix K, as a unit vector.

    A direction that holds the share v of the variance counts v / (v + penalty).
    """
    gram = centred(layer.vectors().gram_rows(slice(None)).double())
    total = float(gram.diagonal().sum())
    predictor = torch.zeros_like(gram)
    if total > 0 and layer.reason is None:
        ridge = parameters.penalty * total * torch.eye(layer.n, dtype=gram.dtype)
        predictor = torch.linalg.solve(gram + ridge.to(gram.device), gram)
        predictor = (predictor + predictor.T) / 2  # it commutes, but for rounding
    values, reason = unit(whole(predictor))
    values = values.to(layer.features.dtype)
    return Triangle(layer.n, layer.reason or reason, values, diagonal=True)


GULP = Metric(
    name="gulp",
    summarize=summarize,
    compare=triangles.compare,
    prepare=triangles.prepare,
    reorder=triangles.reorder,
    claims=lambda parameters: Claims(
        low=0.0, high=1.0, of_itself=1.0, cost="grid", invariances=SIMILARITIES
    ),
    check=lambda n, d, parameters: check_rows(n, parameters.label()),
)
