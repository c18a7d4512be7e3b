"""A stitch: one linear map from what one network gives inside to what another takes there.

On maps it is a 1 x 1 convolution, on tokens a linear layer: the same map at every position. Only
it is fitted or trained, never the networks around it.

Source: Bansal, Nakkiran and Barak 2021, arXiv:2106.07682. There the stitch begins at random and is
trained (with batch norms around it); here it begins where least squares put it, which is told as a
number of its own, is trained from there, and is kept where it did best on rows held out.

Axes: b samples of a batch, m observations (positions of all samples of a batch), d_x and d_y
features of the two networks.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW

from platorep.switches import default_switches

RIDGE = 1e-6
"""Of the least squares, in units of the variance of a feature: felt only where x does not vary."""
CHECKS = 4
"""How often in training the rows held out are looked at."""
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""
Rows = Int64[np.ndarray, " _"]


@dataclass(frozen=True)
class Stitch:
    """A linear map with an intercept."""

    weight: Float[Tensor, "d_y d_x"]
    bias: Float[Tensor, " d_y"]

    def __call__(self, x: Float[Tensor, "*b d_x"]) -> Float[Tensor, "*b d_y"]:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Matched:
    """The stitch of least squares, and the scales in which it is trained further."""

    stitch: Stitch
    mean_x: Float[Tensor, " d_x"]
    scale_x: Float[Tensor, " d_x"]
    scale_y: Float[Tensor, " d_y"]
    share: float
    """Of the variance of y that it explains where it was fitted: at most 1."""


@runtime_checkable
class Joint(Protocol):
    """Where the front of one network meets the back of another."""

    def observed(self, rows: Rows) -> tuple[Float[Tensor, "m d_x"], Float[Tensor, "m d_y"]]:
        """What the front gives, and what the back's own front would have given."""
        ...

    def loss(self, stitch: Stitch, rows: Rows) -> Float[Tensor, ""]:
        """Of the back on what the front gives, through the stitch; gradients flow to the stitch."""
        ...


@default_switches()
def least_squares(
    batches: Iterable[tuple[Float[Tensor, "_ d_x"], Float[Tensor, "_ d_y"]]],
) -> Matched:
    """The stitch with the least mean squared error from x to y; where x and y are the same it is
    the identity. Moments in float64, one pass."""
    count, first, sums, products = 0, None, None, None
    width = 0
    for x, y in batches:
        both = torch.cat([x, y], dim=1).double()
        if first is None or sums is None or products is None:
            first, width = both.mean(dim=0), x.shape[1]
            sums = torch.zeros_like(first)
            products = both.new_zeros(len(first), len(first))
        moved = both - first  # so that a large mean costs no digits
        count += len(moved)
        sums += moved.sum(dim=0)
        products += moved.T @ moved
    assert first is not None
    assert sums is not None
    assert products is not None
    mean = sums / count
    covariance = products / count - torch.outer(mean, mean)
    variance = covariance.diagonal().clamp(min=0)
    scale = variance.sqrt()
    scale_x, scale_y = _whole(scale[:width]), _whole(scale[width:])
    xx = covariance[:width, :width] / torch.outer(scale_x, scale_x)
    xy = covariance[:width, width:] / scale_x[:, None]
    xx = xx + RIDGE * torch.eye(width, dtype=xx.dtype, device=xx.device)
    weight = torch.linalg.solve(xx, xy).T / scale_x
    centre = first + mean
    bias = centre[width:] - weight @ centre[:width]
    total = float(variance[width:].sum())
    cross = covariance[:width, width:]
    left = variance[width:].sum() - 2 * (weight.T * cross).sum()
    left = left + ((weight @ covariance[:width, :width]) * weight).sum()
    return Matched(
        Stitch(weight.float(), bias.float()),
        centre[:width].float(),
        scale_x.float(),
        scale_y.float(),
        1 - float(left) / total if total > 0 else math.nan,
    )


def _whole(scale: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """Scales to divide by: what does not vary keeps its own."""
    return torch.where(scale > 1e-9 * scale.max(), scale, torch.ones_like(scale))


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a stitch is trained."""

    steps: int
    batch_size: int
    learning_rate: float
    """AdamW's peak for standardised features, divided by their number."""
    seed: int


@dataclass(frozen=True)
class Trained:
    """A stitch, and where in its training it was best on the rows held out."""

    stitch: Stitch
    step: int
    """0: as it began."""
    losses: tuple[float, ...]
    """On the rows held out, at the start and at each check."""


@default_switches()
def train(joint: Joint, start: Matched, fit: Rows, held_out: Rows, training: Training) -> Trained:
    """Train a stitch on the rows `fit` from `start` on; keep it as it was best on `held_out`."""
    rng = np.random.default_rng([training.seed, len(fit)])
    scale_x, scale_y = start.scale_x, start.scale_y
    slope = (start.stitch.weight * scale_x / scale_y[:, None]).requires_grad_()
    shift = (start.stitch(start.mean_x) / scale_y).requires_grad_()

    def current() -> Stitch:
        weight = slope * scale_y[:, None] / scale_x
        return Stitch(weight, shift * scale_y - weight @ start.mean_x)

    def held_out_loss(stitch: Stitch) -> float:
        with torch.no_grad():
            parts = batches(held_out, training.batch_size)
            return sum(float(joint.loss(stitch, part)) * len(part) for part in parts) / len(
                held_out
            )

    optimizer = AdamW([slope, shift], lr=0.0, weight_decay=0.0)
    best, at, losses = start.stitch, 0, [held_out_loss(start.stitch)]
    checks = {math.ceil(training.steps * (i + 1) / CHECKS) for i in range(CHECKS)}
    order = np.empty(0, dtype=np.int64)
    for step in range(1, training.steps + 1):
        if len(order) < min(training.batch_size, len(fit)):
            order = np.concatenate([order, rng.permutation(fit)])
        part, order = order[: training.batch_size], order[training.batch_size :]
        rate = training.learning_rate / len(scale_x) * _schedule(step, training.steps)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        joint.loss(current(), part).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in checks:
            with torch.no_grad():
                stitch = current()
            losses.append(held_out_loss(stitch))
            if losses[-1] < min(losses[:-1]):
                best, at = stitch, step
    return Trained(best, at, tuple(losses))


def _schedule(step: int, steps: int) -> float:
    """A linear rise, then half a cosine down to 0."""
    return min(1.0, step / (WARM_UP * steps)) * (1 + math.cos(math.pi * (step - 1) / steps)) / 2


def batches(rows: Rows, size: int) -> list[Rows]:
    """In order, the last one smaller."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def match(joint: Joint, rows: Rows, batch_size: int) -> Matched:
    """The stitch of least squares at a joint."""
    return least_squares(joint.observed(part) for part in batches(rows, batch_size))


def told(
    tell: Callable[[Stitch, Rows], Tensor], stitch: Stitch, rows: Rows, batch_size: int
) -> Tensor:
    """What the back says of each of the rows, in order."""
    with torch.no_grad():
        return torch.cat([tell(stitch, part).cpu() for part in batches(rows, batch_size)])
