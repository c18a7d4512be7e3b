"""Contrastive encoders of discrete events, trained on the exact expectation of their loss.

An encoder is a table with one vector per symbol; the learned kernel is the inner product.
Axes: m learners side by side, s symbols, d dimensions.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from platorep.parameters.theory import Encoders, LearnersParameters, Loss

Kernels = Float[Tensor, "m s s"]


def learned_kernels(
    joints: Kernels, loss: Loss, encoders: Encoders, dimension: int, parameters: LearnersParameters
) -> dict[int, Kernels]:
    """Step -> the kernels of m learners, each trained apart on its own joint distribution.

    Each starts at other random vectors. The expectation over pairs is computed, not sampled: what
    is learned is the loss's own optimum, as far as the dimension and the steps allow.
    """
    num_learners, num_symbols, _ = joints.shape
    generator = torch.Generator().manual_seed(parameters.seed)
    shape = (num_learners, num_symbols, dimension)
    tables = [
        0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)
        for _ in range(1 if encoders == "tied" else 2)
    ]
    bias = torch.zeros(num_learners, 1, 1, dtype=torch.float64)
    weights = [weight.requires_grad_() for weight in (*tables, bias)]
    optimizer = torch.optim.Adam(weights, lr=parameters.learning_rate)

    def kernel() -> Kernels:
        found: Tensor = tables[0] @ tables[-1].transpose(1, 2)
        return found

    found: dict[int, Kernels] = {}
    for step in range(parameters.steps + 1):
        if step in parameters.checkpoints or step == parameters.steps:
            found[step] = kernel().detach().clone()
        rate = parameters.learning_rate * (1 + math.cos(math.pi * step / parameters.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        losses = _LOSSES[loss](kernel() + bias, joints)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return found


def nce_loss(scores: Kernels, joints: Kernels) -> Float[Tensor, " m"]:
    """Binary NCE with as many negatives, drawn from the marginals, as positives.

    Its optimum is the PMI (plus log p_pos / (1 - p_pos), here 0).
    """
    independent = joints.sum(2)[:, :, None] * joints.sum(1)[:, None, :]
    per_pair = joints * F.softplus(-scores) + independent * F.softplus(scores)
    return per_pair.sum((1, 2))


def infonce_loss(scores: Kernels, joints: Kernels) -> Float[Tensor, " m"]:
    """InfoNCE at temperature 1 with very many negatives, in both directions, as CLIP has it.

    Its optimum is the PMI plus a constant.
    """
    total = -2 * (joints * scores).sum((1, 2))
    for axis in (1, 2):
        marginal = joints.sum(axis)  # of the symbols along the other axis, which keeps its place
        other = joints.sum(3 - axis)
        log_mean = torch.logsumexp(scores + other.log().unsqueeze(3 - axis), dim=axis)
        total = total + (marginal * log_mean).sum(1)
    return total


_LOSSES = {"nce": nce_loss, "infonce": infonce_loss}


def stack(joints: Sequence[Float[Tensor, "s s"]]) -> Kernels:
    """Joints of several learners side by side."""
    return torch.stack(list(joints))
