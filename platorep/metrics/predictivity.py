"""Linear predictivity: how much of one layer a ridge regression on the other explains.

The linear form of model stitching (arXiv:2106.07682). The out-of-fold predictions of a ridge
regression are H y, with H (n n) made from x alone. So the squared error, summed over all features
of y, is <(I - H)'(I - H), y y'>: all layer pairs together are one matrix product.

Axes: n samples, m entries of a triangle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import ConfigError
from platorep.metrics import triangles
from platorep.metrics.kernels import SIMILARITIES, centred, check_rows
from platorep.metrics.layer import Layer
from platorep.metrics.metric import Claims, Metric, Order, Scorer, Scores, Summary
from platorep.metrics.triangles import Triangle, whole
from platorep.parameters.metrics import LinearPredictivity


@dataclass(frozen=True)
class Predictor(Summary):
    """A layer in both roles: what it leaves unexplained, and what there is to explain in it."""

    residual: Float[Tensor, " m"]
    """(I - H)'(I - H) as a triangle with its diagonal."""
    target: Float[Tensor, " m"]
    """The centred Gram matrix over its trace, likewise; zero: a constant layer."""


def summarize(layer: Layer, parameters: LinearPredictivity) -> Predictor:
    gram = centred(layer.vectors().gram_rows(slice(None)).double())
    if parameters.folds == "leave_one_out":
        left = _leave_one_out(gram, parameters.penalty)
    else:
        left = _out_of_fold(gram, parameters.penalty, int(parameters.folds))
    total = float(gram.diagonal().sum())
    target = gram / total if total > 0 and layer.reason is None else torch.zeros_like(gram)
    kind = layer.features.dtype
    residual = whole(left.T @ left).to(kind)
    return Predictor(layer.n, layer.reason, residual, whole(target).to(kind))


def _penalty(gram: Float[Tensor, "n n"], penalty: float) -> float:
    """In units of the mean squared length of the centred rows; 1 where they have none."""
    return penalty * (float(gram.diagonal().mean()) or 1.0)


def _leave_one_out(gram: Float[Tensor, "n n"], penalty: float) -> Float[Tensor, "n n"]:
    """I - H when every sample is predicted from all others; the penalty is that of all samples.

    A linear smoother S with an intercept leaves y - S y; without sample i that residual is
    divided by 1 - S_ii.
    """
    n = len(gram)
    eye = torch.eye(n, dtype=gram.dtype, device=gram.device)
    smoother: Tensor = torch.linalg.solve(gram + _penalty(gram, penalty) * eye, gram) + 1 / n
    return (eye - smoother) / (1 - smoother.diagonal())[:, None]


def _out_of_fold(gram: Float[Tensor, "n n"], penalty: float, folds: int) -> Float[Tensor, "n n"]:
    """I - H with row i in fold i modulo `folds`; centring and penalty are those of the rest."""
    n = len(gram)
    left = torch.eye(n, dtype=gram.dtype, device=gram.device)
    fold = torch.arange(n, device=gram.device) % folds
    for held_out in range(folds):
        test, train = (fold == held_out).nonzero()[:, 0], (fold != held_out).nonzero()[:, 0]
        inner, across = gram[train][:, train], gram[test][:, train]
        means = inner.mean(dim=0)
        across = across - across.mean(dim=1, keepdim=True) - means + means.mean()
        inner = inner - means[:, None] - means + means.mean()
        eye = torch.eye(len(train), dtype=gram.dtype, device=gram.device)
        weights = torch.linalg.solve(inner + _penalty(inner, penalty) * eye, across.T).T
        weights = weights - weights.mean(dim=1, keepdim=True) + 1 / len(train)
        left[test[:, None], train] = -weights
    return left


def prepare(
    x: Sequence[Predictor], y: Sequence[Predictor], parameters: LinearPredictivity
) -> Scorer:
    """Explained variance, 1 - squared error / variance; `both` is the mean of the two ways."""

    def side(summaries: Sequence[Predictor], role: str) -> list[Triangle]:
        return [Triangle(s.n, s.reason, getattr(s, role), diagonal=True) for s in summaries]

    forward = triangles.prepare(side(x, "residual"), side(y, "target"), parameters)
    backward = triangles.prepare(side(x, "target"), side(y, "residual"), parameters)

    def scores(order: Order | None) -> Scores:
        if parameters.direction == "x_to_y":
            return 1 - forward(order)
        if parameters.direction == "y_to_x":
            return 1 - backward(order)
        return 1 - (forward(order) + backward(order)) / 2

    return scores


def compare(
    x: Sequence[Predictor], y: Sequence[Predictor], parameters: LinearPredictivity
) -> Scores:
    return prepare(x, y, parameters)(None)


def reorder(summary: Predictor, order: Order) -> Predictor:
    """Of the same layer with its samples in another order; a sample stays in its fold."""
    place = torch.from_numpy(triangles.triangle_order(summary.n, order, diagonal=True))
    place = place.to(summary.target.device)
    return Predictor(summary.n, summary.reason, summary.residual[place], summary.target[place])


def check(n: int, d: int, parameters: LinearPredictivity) -> None:
    check_rows(n, parameters.label())
    if parameters.folds != "leave_one_out" and int(parameters.folds) > n // 2:
        raise ConfigError(
            f"{parameters.label()}: {parameters.folds} folds of {n} samples leave fewer than 2 in "
            f"a fold. Use at most {n // 2}, or leave_one_out."
        )


LINEAR_PREDICTIVITY = Metric(
    name="linear_predictivity",
    summarize=summarize,
    compare=compare,
    prepare=prepare,
    reorder=reorder,
    claims=lambda parameters: Claims(
        high=1.0,
        symmetric=parameters.direction == "both",
        cost="grid",
        invariances=SIMILARITIES,
    ),
    check=check,
)
