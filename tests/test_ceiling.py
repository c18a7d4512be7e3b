"""Noise ceilings in worlds whose noise is planted: what is seen, what would be without noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from platorep.align.analyses.ceiling import RECOVERED, knows_noise_free, scale_of
from platorep.align.asked import Asked
from platorep.config import MetricConfig
from platorep.metrics import BoundMetric, Layer, bind
from platorep.statistics import (
    THRESHOLD,
    Agreement,
    Ceiling,
    Permutations,
    Scale,
    agreement,
    interval_of_subsamples,
    linear_scale,
    noise_ceiling,
    reliability,
    subsamples,
)

NONE, TWO = Permutations(0), Permutations(2)
D, SHARED = 12, 6
NOISE_X, NOISE_Y = 0.3, 0.6


def worlds(
    num: int, n: int, seed: int, repeated: float = 0.0, common: float = 0.0
) -> list[Float[Tensor, "num n d"]]:
    """What two models know, and two noisy observations of each: x, y, x_1, x_2, y_1, y_2.

    Args:
        repeated: Share of the noise (its variance) that the second observation has from the first.
        common: Share of the noise of y that is that of x.
    """
    rng = torch.Generator().manual_seed(seed)

    def draw(d: int = D) -> Tensor:
        return torch.randn(num, n, d, generator=rng)

    def partly(share: float, one: Tensor, other: Tensor) -> Tensor:
        return share**0.5 * one + (1 - share) ** 0.5 * other

    x, noise = draw(), [draw() for _ in range(4)]
    y = torch.cat([x[..., :SHARED], draw(D - SHARED)], dim=-1)
    noise[1] = partly(repeated, noise[0], noise[1])
    noise[3] = partly(repeated, noise[2], noise[3])
    noise[2] = partly(common, noise[0], noise[2])
    seen_x, seen_y = (
        [f + size * e for e in of]
        for f, size, of in ((x, NOISE_X, noise[:2]), (y, NOISE_Y, noise[2:]))
    )
    return [x, y, *seen_x, *seen_y]


@dataclass(frozen=True)
class Matrix:
    """A summary of the textbook's: who is a neighbor of whom, or the centred kernel."""

    n: int
    values: np.ndarray


class Textbook:
    """Debiased CKA and mutual k-NN as products of two matrices, of many worlds at once."""

    def __init__(self, k: int | None) -> None:
        self.k = k  # None: CKA

    def chance(self, n: int) -> float:
        return 0.0 if self.k is None else self.k / (n - 1)

    def summarize(self, features: Tensor) -> list[Matrix]:
        n = features.shape[1]
        unit = features if self.k is None else F.normalize(features, dim=-1)
        matrix = unit @ unit.mT
        diagonal = matrix.diagonal(dim1=1, dim2=2)
        if self.k is not None:
            diagonal.fill_(-math.inf)
            near = matrix.topk(self.k, dim=-1).indices
            matrix = torch.zeros_like(matrix).scatter_(-1, near, 1) / math.sqrt(n * self.k)
        else:  # U-centring: Szekely and Rizzo 2014, arXiv:1310.2926
            diagonal.fill_(0)
            rows = matrix.sum(-1, keepdim=True) / (n - 2)
            matrix = matrix - rows - rows.mT + rows.sum((1, 2), keepdim=True) / (n - 1)
            matrix.diagonal(dim1=1, dim2=2).fill_(0)
            matrix = matrix / matrix.square().sum((1, 2), keepdim=True).sqrt()
        return [Matrix(n, values) for values in matrix.numpy()]

    def compare(self, x: Sequence[Matrix], y: Sequence[Matrix]) -> np.ndarray:
        return np.array([[(a.values * b.values).sum() for b in y] for a in x], dtype=np.float64)

    def prepare(self, x: Any, y: Any) -> Any:
        raise AssertionError("chance is known")

    def degenerate(self, summary: Any) -> None:
        return None


CKA, KNN = Textbook(None), Textbook(8)


def ceilings(metric: Textbook, scale: Scale, seen: Sequence[Tensor]) -> list[Ceiling]:
    """The ceiling in each world."""
    return [
        noise_ceiling(
            agreement(metric, x_1, y_1, NONE),
            reliability(metric, [x_1, x_2], NONE),
            reliability(metric, [y_1, y_2], NONE),
            scale,
        )
        for x_1, x_2, y_1, y_2 in zip(*map(metric.summarize, seen), strict=True)
    ]


def times_inside(
    metric: Textbook, scale: Scale, n: int, truth: Ceiling, **kind: float
) -> dict[str, int]:
    """In how many of 100 worlds the truth is within the intervals of level .95."""
    seen = worlds(100, n, 0, **kind)[2:]
    rows = map(torch.from_numpy, subsamples(n, n // 2, 6, 0))
    whole = ceilings(metric, scale, seen)
    parts = list(
        zip(*(ceilings(metric, scale, [f[:, r] for f in seen]) for r in rows), strict=True)
    )
    inside = dict.fromkeys(("value", "share", "noise_free"), 0)
    for all_rows, some_rows in zip(whole, parts, strict=True):
        for name in inside:
            values = np.array([getattr(part, name) for part in some_rows])
            found = interval_of_subsamples(getattr(all_rows, name), values, n=n, size=n // 2)
            inside[name] += found.low <= getattr(truth, name) <= found.high
    return inside


# Debiased CKA of Gaussian features: E[K^2] = tr(S^2) of their covariance S, so that by hand
R_X, R_Y = 1 / (1 + NOISE_X**2) ** 2, 1 / (1 + NOISE_Y**2) ** 2
BY_HAND = Ceiling(math.sqrt(R_X * R_Y), SHARED / D, SHARED / D)


def test_of_gaussian_features_cka_is_worked_by_hand() -> None:
    cka = bind("cka", {"kernel": "linear", "estimator": "debiased"})
    x_1, x_2, y_1, y_2 = (cka.summarize(of_world[0]) for of_world in worlds(1, 2000, 0)[2:])
    pair = agreement(cka, x_1, y_1, NONE)
    x, y = reliability(cka, [x_1, x_2], NONE), reliability(cka, [y_1, y_2], NONE)
    assert x.score == pytest.approx(R_X, abs=0.01)
    assert y.score == pytest.approx(R_Y, abs=0.01)
    found = noise_ceiling(pair, x, y, linear_scale())
    assert found.value == pytest.approx(BY_HAND.value, abs=0.01)
    assert found.share == pytest.approx(found.noise_free) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("metric", "twin"),
    [
        (bind("cka", {"kernel": "linear", "estimator": "debiased"}), CKA),
        (bind("mutual_knn", {"k": 8}), KNN),
    ],
)
def test_the_textbook_has_the_scores_of_the_program(metric: BoundMetric, twin: Textbook) -> None:
    x, y = worlds(1, 50, 0)[2:4]
    score = metric.compare([metric.summarize(x[0])], [metric.summarize(y[0])])
    assert twin.compare(twin.summarize(x), twin.summarize(y)) == pytest.approx(score, abs=1e-5)
    assert twin.chance(50) == metric.chance(50)


def test_planted_noise_is_recovered_by_cka() -> None:
    inside = times_inside(CKA, linear_scale(), 64, BY_HAND)
    assert min(inside.values()) >= 90, inside


@pytest.fixture(scope="module")
def planted() -> Ceiling:
    """Of neighbors among 80: what scores are expected, and the mean score without noise."""
    n, seen = 80, []
    for x, y, x_1, x_2, y_1, y_2 in zip(*map(KNN.summarize, worlds(500, n, 1)), strict=True):
        grid = KNN.compare([x, x_1, y_1], [y, x_2, y_1, y_2])
        seen.append([grid[0, 0], grid[1, 2], grid[1, 1], grid[2, 3]])
    noise_free, *scores = np.mean(seen, axis=0)
    pair, of_x, of_y = (Agreement(float(score), KNN.chance(n)) for score in scores)
    expected = noise_ceiling(pair, of_x, of_y, THRESHOLD)
    assert expected.noise_free == pytest.approx(noise_free, rel=0.05)
    return Ceiling(expected.value, expected.share, float(noise_free))


def test_planted_noise_is_recovered_by_neighbors(planted: Ceiling) -> None:
    inside = times_inside(KNN, THRESHOLD, 80, planted)
    assert min(inside.values()) >= 90, inside


def test_a_score_as_it_is_and_the_scale_of_kernels_are_far_from_the_truth(planted: Ceiling) -> None:
    """What noise takes is not small, and the scale of kernels undoes too much of it."""
    seen = worlds(40, 80, 2)[2:]
    raw = [KNN.compare([x], [y])[0, 0] for x, y in zip(*map(KNN.summarize, seen[::2]), strict=True)]
    ranks, kernels = (
        np.mean([c.noise_free for c in ceilings(KNN, scale, seen)])
        for scale in (THRESHOLD, linear_scale())
    )
    assert ranks == pytest.approx(planted.noise_free, rel=0.05)
    assert np.mean(raw) < 0.8 * planted.noise_free
    assert kernels > 1.2 * planted.noise_free


@pytest.mark.parametrize("kind", [{"repeated": 0.8}, {"common": 0.8}])
def test_noise_that_is_not_independent_is_not_recovered(kind: dict[str, float]) -> None:
    """Observations that share their noise look reliable; models that share it look alike."""
    inside = times_inside(CKA, linear_scale(), 64, BY_HAND, **kind)
    assert min(inside.values()) < 60, inside


def test_of_medians_the_overlap_is_worked_by_hand() -> None:
    """Above the median together: 1/2 + arcsin(r) / pi of the time (Sheppard 1899)."""
    for r in (-0.9, -0.5, 0.0, 0.5, 0.9):
        overlap = 0.5 + math.asin(r) / math.pi
        assert THRESHOLD.score(r, 0.5) == pytest.approx(overlap, abs=1e-12)
        assert THRESHOLD.latent(Agreement(overlap, 0.5)) == pytest.approx(r, abs=1e-9)


@pytest.mark.parametrize("scale", [linear_scale(), THRESHOLD])
def test_without_noise_the_ceiling_is_perfect_agreement(scale: Scale) -> None:
    pair, perfect = Agreement(0.3, 0.1), Agreement(1.0, 0.1)
    for side in (perfect, None):
        found = noise_ceiling(pair, side, side, scale)
        assert found.value == pytest.approx(1)
        assert found.share == pytest.approx(0.2 / 0.9)
        assert found.noise_free == pytest.approx(0.3)


@pytest.mark.parametrize("scale", [linear_scale(), THRESHOLD])
def test_chance_stays_chance(scale: Scale) -> None:
    side, nothing = Agreement(0.4, 0.1), Agreement(0.1, 0.1)
    found = noise_ceiling(nothing, side, side, scale)
    assert found.share == 0
    assert found.noise_free == pytest.approx(0.1)
    assert found.value == pytest.approx(0.4)  # equally reliable models can agree as with themselves
    assert math.isnan(noise_ceiling(nothing, side, nothing, scale).value)


@pytest.mark.parametrize("scale", [linear_scale(), THRESHOLD])
def test_a_side_without_repeats_bounds_the_ceiling_from_above(scale: Scale) -> None:
    pair, x, y = Agreement(0.15, 0.01), Agreement(0.5, 0.01), Agreement(0.2, 0.01)
    both, one = (noise_ceiling(pair, x, side, scale) for side in (y, None))
    assert one.value > both.value
    assert one.share < both.share
    assert one.noise_free < both.noise_free


def test_of_a_distance_the_ceiling_is_below_chance() -> None:
    pair, side = Agreement(1.5, 2.0), Agreement(1.0, 2.0)
    found = noise_ceiling(pair, side, side, linear_scale(perfect=0.0))
    assert found.value == pytest.approx(1.0)
    assert found.share == pytest.approx(0.5)


def test_repeats_count_alike_and_chance_comes_from_permutations_where_no_formula_is() -> None:
    biased = bind("cka", {"kernel": "linear", "estimator": "biased"})
    rng = torch.Generator().manual_seed(0)
    made: list[Any] = [biased.summarize(torch.randn(40, 60, generator=rng)) for _ in range(3)]
    found = reliability(biased, made, Permutations(20))
    pairs = [float(biased.compare([made[i]], [made[j]])[0, 0]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.score == pytest.approx(np.mean(pairs))
    assert found.chance == pytest.approx(found.score, abs=0.03)
    assert found.chance > 0.5  # wide independent features: where the debiased one has 0


@pytest.fixture(scope="module")
def with_and_without_noise() -> list[list[Layer]]:
    """Of four worlds x, y, x_1, x_2, y_1, y_2, the layers that all metrics share."""
    made = [worlds(1, 250, seed) for seed in range(4)]
    return [[Layer(features[0]) for features in of_world] for of_world in made]


@pytest.mark.parametrize("name", sorted(RECOVERED))
def test_what_is_told_as_noise_free_is_what_no_noise_would_show(
    name: str, with_and_without_noise: list[list[Layer]]
) -> None:
    """Two models that share half, of which one is noisier, by every metric that claims it."""
    metric, found = bind(name, {}), []
    asked = Asked(metric, MetricConfig(name=name, parameters=metric.parameters))
    assert knows_noise_free(asked)
    for layers in with_and_without_noise:
        x, y, x_1, x_2, y_1, y_2 = (metric.summarize(layer) for layer in layers)
        reliable = [reliability(metric, side, TWO) for side in ([x_1, x_2], [y_1, y_2])]
        seen = agreement(metric, x_1, y_1, TWO)
        truth = float(metric.compare([x], [y])[0, 0])
        found.append(
            [noise_ceiling(seen, *reliable, scale_of(asked)).noise_free, truth, seen.score]
        )
    noise_free, truth, as_seen = np.mean(found, axis=0)
    assert noise_free == pytest.approx(truth, rel=0.08)
    assert abs(noise_free - truth) < 0.3 * abs(as_seen - truth)


@pytest.mark.parametrize(("name", "settings"), [("cycle_knn", {}), ("rsa", {"compare": "kendall"})])
def test_of_other_metrics_no_noise_free_score_is_told(name: str, settings: dict[str, str]) -> None:
    metric = bind(name, settings)
    config = MetricConfig(name=name, parameters=metric.parameters)
    assert not knows_noise_free(Asked(metric, config))


def test_where_chance_is_perfect_nothing_is_told() -> None:
    """Of rows that are nearly all equal, as half the rows of a bag of few words may be."""
    certain, half = Agreement(1.0, 1.0), Agreement(0.5, 0.1)
    scale = linear_scale()
    for pair, x, y in ((certain, half, half), (half, certain, half), (certain, None, half)):
        found = noise_ceiling(pair, x, y, scale)
        assert all(map(math.isnan, (found.value, found.share, found.noise_free)))
