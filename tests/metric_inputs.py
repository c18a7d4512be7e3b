"""Inputs on which every metric is compared with its oracle; imports nothing from platorep."""

from collections.abc import Callable

import torch
from torch import Tensor

N = 24


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def related(
    rng: torch.Generator, make: Callable[[torch.Generator], Tensor]
) -> tuple[Tensor, Tensor]:
    """Two sets of features of one kind that have something in common."""
    x = make(rng)
    mixed = x @ _normal(rng, x.shape[1], 6)
    noise = make(rng)[:, :1] if x.shape[1] == 1 else make(rng) @ _normal(rng, x.shape[1], 6)
    return x, mixed + 0.7 * noise


KINDS: dict[str, Callable[[torch.Generator], Tensor]] = {
    "random": lambda rng: _normal(rng, N, 5),
    "low rank": lambda rng: _normal(rng, N, 3) @ _normal(rng, 3, 8),
    "duplicate rows": lambda rng: _normal(rng, N, 5)[_duplicates(rng)],
    "nearly constant": lambda rng: 1 + 1e-4 * _normal(rng, N, 5),
}


def _duplicates(rng: torch.Generator) -> Tensor:
    """The same rows are duplicates in both models, as when a picture is there twice."""
    which = torch.arange(N)
    which[[3, 9, 20]] = torch.tensor([17, 2, 4])
    which[[11, 12]] = 0
    return which
