"""The shape of a layer: spectra by hand, dimensions of known manifolds, hubs that were planted."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import skew
from torch import Tensor

from platorep.align.geometry import COLUMNS, HUB_K, MOST_ROWS, RANKS, geometry, spectral_slope
from platorep.metrics.claims import random_rotation


def waves(n: int, pairs: int) -> Tensor:
    """An orthogonal design: 2 `pairs` directions that vary alike, around 0."""
    angles = 2 * torch.pi * torch.arange(n).double()[:, None] * torch.arange(1, pairs + 1) / n
    return torch.cat([angles.cos(), angles.sin()], dim=1)


# --- the spectrum ---


@pytest.mark.parametrize("n", [40, 4 * MOST_ROWS])
def test_directions_that_vary_alike_count_each(n: int) -> None:
    """Whatever the offset, and however they are turned; of a signal along one only that one."""
    features = waves(n, 8) @ random_rotation(16, torch.Generator().manual_seed(0)) + 100

    for column in ("effective_dimension", "effective_rank"):
        assert geometry(features)[column] == pytest.approx(16, rel=1e-6)
        assert geometry(waves(n, 8)[:, :1] * torch.ones(1, 50))[column] == pytest.approx(1)


def test_two_unequal_directions_by_hand() -> None:
    """Variances as 9 to 1: 100 / 82, and exp of the entropy of (.9, .1)."""
    found = geometry(torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]]) + 100)

    assert found["effective_dimension"] == pytest.approx(100 / 82, rel=1e-6)
    assert found["effective_rank"] == pytest.approx(0.9**-0.9 * 0.1**-0.1, rel=1e-6)
    assert [column for column, value in found.items() if np.isnan(value)] == [
        "spectral_slope",  # of two eigenvalues
        "intrinsic_dimension",  # of four rows
        "hubness",
    ]


@pytest.mark.parametrize("slope", [0.0, 0.7, 1.5, 3.0])
def test_a_planted_power_law_is_found(slope: float, rng: torch.Generator) -> None:
    """Exactly, on exact variances; the first ten may be anything, and what is beyond the last."""
    ranks = torch.arange(1, 121, dtype=torch.float64)
    variances = ranks**-slope
    variances[:10], variances[RANKS[1] :] = variances[:10] * 50, 1e-7
    features = waves(400, 60)[:, torch.randperm(120, generator=rng)] * variances.sqrt()

    found = geometry(features @ random_rotation(120, rng) + 3)

    assert found["spectral_slope"] == pytest.approx(slope, abs=1e-6)
    assert np.isnan(geometry(features[:, :19])["spectral_slope"])


def test_the_slope_is_weighted_by_one_over_the_rank(rng: torch.Generator) -> None:
    """Of a spectrum that is no power law: the normal equations of weighted least squares."""
    ranks = np.arange(1, 121)
    shares = np.exp(-0.05 * ranks) / np.exp(-0.05 * ranks).sum()
    first, last = RANKS
    used = slice(first - 1, last)
    design = np.stack([np.log(ranks[used]), np.ones(last - first + 1)], axis=1)
    weighted = design.T / ranks[used]
    expected = -np.linalg.solve(weighted @ design, weighted @ np.log(shares[used]))[0]

    assert spectral_slope(shares) == pytest.approx(expected, rel=1e-9)


def test_sampling_flattens_a_slope(rng: torch.Generator) -> None:
    """512 rows of 2,000 dimensions of slope 1: what docs/metrics.md says of it."""
    scales = torch.arange(1, 2001, dtype=torch.float64) ** -0.5

    found = geometry(torch.randn(MOST_ROWS, 2000, generator=rng) * scales)["spectral_slope"]
    assert found == pytest.approx(0.88, abs=0.04)


# --- the dimension ---


def torus(n: int, rng: torch.Generator) -> Tensor:
    """A flat one: two circles, in four dimensions."""
    angles = 2 * math.pi * torch.rand(n, 2, generator=rng, dtype=torch.float64)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


MANIFOLDS: dict[str, tuple[int, Callable[[int, torch.Generator], Tensor]]] = {
    "curve": (1, lambda n, rng: torch.rand(n, 1, generator=rng).double() * torch.arange(1.0, 9)),
    "torus": (2, torus),
    "cube": (5, lambda n, rng: torch.rand(n, 5, generator=rng, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", MANIFOLDS)
def test_the_dimension_of_a_manifold_is_found(name: str, rng: torch.Generator) -> None:
    """Within the error of TwoNN, about 1 / sqrt(n) of it, in whatever space it lies."""
    dimension, draw = MANIFOLDS[name]
    features = draw(MOST_ROWS, rng)
    turned = torch.nn.functional.pad(features, (0, 40 - features.shape[1]))
    turned = turned @ random_rotation(40, rng)

    found = geometry(turned + 7)["intrinsic_dimension"]

    assert found == pytest.approx(dimension, rel=4 / math.sqrt(MOST_ROWS))
    assert found == pytest.approx(geometry(features)["intrinsic_dimension"], rel=1e-6)


def test_copies_have_no_dimension_and_do_not_spoil_it(rng: torch.Generator) -> None:
    features = torus(300, rng)
    copied = torch.cat([features[:30], features])

    assert geometry(copied)["intrinsic_dimension"] == pytest.approx(2, rel=0.25)
    assert np.isnan(geometry(features[:30].repeat(4, 1))["intrinsic_dimension"])


# --- hubs ---


def in_degrees(features: Tensor) -> np.ndarray:
    """By sorting the cosines of every row."""
    x = features.double().numpy()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    counts = np.zeros(len(x))
    for i, row in enumerate(unit @ unit.T):
        row[i] = -np.inf
        counts[np.argsort(-row)[:HUB_K]] += 1
    return counts


def test_hubness_is_the_skewness_of_in_degrees(rng: torch.Generator) -> None:
    flat = torch.randn(200, 3, generator=rng)
    high = torch.randn(200, 300, generator=rng) + 0.5
    for features in (flat, high):
        expected = skew(in_degrees(features))
        assert geometry(features)["hubness"] == pytest.approx(expected, abs=1e-9)


def test_planted_hubs_are_seen(rng: torch.Generator) -> None:
    """Rows along the mean of all are near to everybody; on a circle all are near to as many."""
    features = torch.randn(200, 300, generator=rng) + 0.2
    with_hubs = features.clone()
    with_hubs[:8] = features.mean(dim=0) + 0.01 * features[:8]
    angles = 2 * math.pi * torch.arange(200) / 200
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)

    assert in_degrees(with_hubs)[:8].min() > 150
    assert geometry(with_hubs)["hubness"] > geometry(features)["hubness"] + 2
    assert abs(geometry(circle)["hubness"]) < 0.1


# --- the edges ---


@pytest.mark.parametrize("features", [torch.zeros(60, 4), torch.full((60, 4), 0.1)])
def test_equal_rows_have_no_geometry(features: Tensor) -> None:
    found = geometry(features)
    assert list(found) == list(COLUMNS)
    assert all(np.isnan(value) for value in found.values())
