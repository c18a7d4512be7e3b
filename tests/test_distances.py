"""Distance correlation: by oracle, by hand, by theory."""

import math

import numpy as np
import oracles
import pytest
import torch
from metric_inputs import KINDS, related
from torch import Tensor

from platorep.metrics import bind


def score(x: Tensor, y: Tensor, estimator: str) -> float:
    metric = bind("distance_correlation", {"estimator": estimator})
    return float(metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_distance_correlation_equals_its_oracles(rng: torch.Generator, kind: str) -> None:
    x, y = related(rng, KINDS[kind])
    a, b = x.numpy(), y.numpy()

    assert score(x, y, "biased") == pytest.approx(oracles.distance_correlation(a, b), abs=1e-9)
    debiased = oracles.debiased_distance_correlation(a, b)
    assert score(x, y, "debiased") == pytest.approx(debiased, abs=1e-9)


def test_distance_correlation_of_two_binary_features_is_phi() -> None:
    """Of a half and a quarter of it: phi^2 = (1 * 2 - 0)^2 / (2 * 2 * 1 * 3) = 1/3."""
    half, quarter, crossed = (
        torch.tensor(values, dtype=torch.float64)[:, None]
        for values in ([0.0, 0, 1, 1], [0.0, 0, 0, 1], [0.0, 1, 0, 1])
    )
    assert score(half, quarter, "biased") == pytest.approx(1 / math.sqrt(3), abs=1e-12)
    assert score(half, crossed, "biased") == pytest.approx(0, abs=1e-7)


def test_distance_correlation_of_normals_is_what_theory_says(rng: torch.Generator) -> None:
    """Theorem 7 of Szekely et al. (2007), without bias at n = 60; the biased is above it."""
    rho, n, tries = 0.6, 60, 60
    square = (
        rho * math.asin(rho)
        + math.sqrt(1 - rho**2)
        - rho * math.asin(rho / 2)
        - math.sqrt(4 - rho**2)
        + 1
    ) / (1 + math.pi / 3 - math.sqrt(3))
    found: dict[str, list[float]] = {"biased": [], "debiased": []}
    for _ in range(tries):
        x, noise = torch.randn(2, n, 1, generator=rng, dtype=torch.float64)
        for estimator, values in found.items():
            values.append(score(x, rho * x + math.sqrt(1 - rho**2) * noise, estimator))

    debiased = np.array(found["debiased"])
    assert debiased.mean() == pytest.approx(square, abs=4 * debiased.std() / math.sqrt(tries))
    assert np.mean(np.square(found["biased"]) - debiased) > 0.02


def test_distance_correlation_sees_what_no_linear_kernel_sees(rng: torch.Generator) -> None:
    """y is a function of x that no linear map finds: an even one."""
    x = torch.randn(400, 1, generator=rng, dtype=torch.float64)
    cka = bind("cka", {"estimator": "debiased"})

    assert score(x, x.abs(), "debiased") > 0.15
    linear = cka.compare([cka.summarize(x)], [cka.summarize(x.abs())])[0, 0]
    assert abs(linear) < 0.02
