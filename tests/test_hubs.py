"""What hubs do to scores of neighbor lists, as docs/metrics.md says it.

Axes: n samples, k neighbors.
"""

import math

import numpy as np
import torch
from torch import Tensor

from platorep.metrics import bind

N, K, ORDERS = 150, 5, 80


def with_hubs(rng: torch.Generator, hubs: int) -> Tensor:
    """Random directions in a half space, and the first rows along their mean: near to everybody."""
    features = torch.randn(N, 100, generator=rng, dtype=torch.float64) + 0.25
    towards = 0.25 + 0.08 * torch.randn(hubs, 100, generator=rng, dtype=torch.float64)
    features[:hubs] = towards
    return features


def in_degrees(features: Tensor) -> np.ndarray:
    """How often each row is among the K nearest of another, by sorting."""
    unit = torch.nn.functional.normalize(features)
    order = (unit @ unit.T).fill_diagonal_(-2).numpy().argsort(axis=1)[:, -K:]
    return np.bincount(order.ravel(), minlength=N)


def null_mean(name: str, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean score over orders of y's rows, and its error."""
    metric, draws = bind(name, {"k": K}), np.random.default_rng(0)
    scorer = metric.prepare([metric.summarize(x)], [metric.summarize(y)])
    found = [float(scorer(draws.permutation(N))[0, 0]) for _ in range(ORDERS)]
    return float(np.mean(found)), float(np.std(found) / math.sqrt(ORDERS))


def test_hubs_of_x_lower_what_cycle_knn_is_by_chance(rng: torch.Generator) -> None:
    """A row is hit by chance as often as its own in-degree in x says: hubs nearly always, the many
    that are in no list never. That is concave, so an uneven spread of the same places lowers it."""
    means = {}
    for hubs in (0, 4, 10):
        x, y = with_hubs(rng, hubs), with_hubs(rng, 0)
        degrees = in_degrees(x)
        misses = [math.comb(N - 1 - d, K) / math.comb(N - 1, K) for d in degrees.tolist()]

        means[hubs], error = null_mean("cycle_knn", x, y)
        assert abs(means[hubs] - (1 - np.mean(misses))) <= 5 * error
    without = bind("cycle_knn", {"k": K}).chance(N)
    assert without is not None
    assert means[0] > means[4] > means[10]
    assert means[10] < 0.85 * without
    y_hubs, error = null_mean("cycle_knn", with_hubs(rng, 0), with_hubs(rng, 10))
    assert y_hubs > 0.9 * means[0]  # those of y change nothing: whom it asks is random anyway


def test_hubs_leave_the_chance_of_mutual_knn_and_shared_ones_raise_the_score(
    rng: torch.Generator,
) -> None:
    """Two models that have nothing in common but which rows are hubs agree by what these share,
    the sum of the products of in-degrees; no order of the rows has that, so it is significant."""
    x, y = with_hubs(rng, 6), with_hubs(rng, 6)
    metric = bind("mutual_knn", {"k": K})
    chance = K / (N - 1)

    mean, error = null_mean("mutual_knn", x, y)
    assert abs(mean - chance) <= 5 * error
    score = metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0]
    shared = float(in_degrees(x) @ in_degrees(y)) / (N * N * K)
    assert score > 4 * chance
    assert abs(score - shared) < 0.2 * shared
