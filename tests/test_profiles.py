"""Correlations along depth: their level on curves that know nothing of each other, and power."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr

from platorep.statistics.profiles import DRAWS, along_depth

MODELS, LAYERS = 6, 24


def smooth(rng: np.random.Generator, layers: int = LAYERS) -> np.ndarray:
    """A curve along depth whose neighbors correlate by .9."""
    steps = rng.standard_normal(layers)
    for i in range(1, layers):
        steps[i] = 0.9 * steps[i - 1] + 0.19**0.5 * steps[i]
    return steps


Make = Callable[[np.random.Generator], list[list[np.ndarray]]]


def share_found(make: Make, p: str, tries: int, rng: np.random.Generator) -> float:
    found = [
        getattr(along_depth([np.stack(pair) for pair in make(rng)]), p) <= 0.05
        for _ in range(tries)
    ]
    return float(np.mean(found))


def test_the_level_holds_on_smooth_curves_where_counting_layers_fails() -> None:
    rng = np.random.default_rng(0)

    def unrelated(rng: np.random.Generator) -> list[list[np.ndarray]]:
        return [[smooth(rng), smooth(rng)] for _ in range(MODELS)]

    assert share_found(unrelated, "p_shifts", 100, rng) <= 0.1
    assert share_found(unrelated, "p_exchange", 100, rng) <= 0.1
    naive = [spearmanr(smooth(rng), smooth(rng)).pvalue <= 0.05 for _ in range(100)]
    assert np.mean(naive) > 0.2


def test_what_all_models_have_by_depth_alone_is_no_finding_of_the_exchange() -> None:
    """Both numbers fall along depth in every model: the place matters, the model does not."""
    rng = np.random.default_rng(0)
    trend = np.linspace(3, -3, LAYERS)

    def alike(rng: np.random.Generator) -> list[list[np.ndarray]]:
        return [[trend + smooth(rng), trend + smooth(rng)] for _ in range(MODELS)]

    assert share_found(alike, "p_shifts", 30, rng) > 0.9
    assert share_found(alike, "p_exchange", 60, rng) <= 0.1


def test_a_shape_of_the_model_s_own_is_found_by_both() -> None:
    rng = np.random.default_rng(0)

    def own(rng: np.random.Generator) -> list[list[np.ndarray]]:
        curves = [smooth(rng, LAYERS - i) for i in range(MODELS)]  # of different depth
        return [[c, -c + 0.5 * smooth(rng, len(c))] for c in curves]

    assert share_found(own, "p_shifts", 30, rng) > 0.9
    assert share_found(own, "p_exchange", 30, rng) > 0.8


def test_worked_by_hand() -> None:
    """Two models: ranks 1 2 3 4 against 2 1 3 4 (rho .8) and reversed (-1); turns of four."""
    pairs = [np.array([[1.0, 2, 3, 4], [2, 1, 3, 4]]), np.array([[1.0, 2, 3, 4], [9, 7, 5, 0]])]
    found = along_depth(pairs)

    assert found.rho == pytest.approx(-0.1)
    assert found.num_models == 2
    assert np.isnan(found.p_exchange)
    turned = [[spearmanr(a, np.roll(b, s)).statistic for s in range(4)] for a, b in pairs]
    null = np.add.outer(*turned).ravel() / 2
    share = np.mean(np.abs(null) >= 0.1 - 1e-9)
    assert found.p_shifts == pytest.approx(share, abs=4 * (0.25 / DRAWS) ** 0.5)


def test_what_has_no_number_or_does_not_vary_is_left_out() -> None:
    pair = np.array([[1.0, 2, 3, 4, np.nan], [2.0, 1, 3, 4, 5]])
    flat, short = np.array([[1.0, 2, 3, 4], [5.0, 5, 5, 5]]), np.array([[1.0, 2, 3], [1.0, 2, 3]])

    assert along_depth([pair, flat, short]).rho == pytest.approx(0.8)
    assert along_depth([pair, flat, short]).num_models == 1
    assert np.isnan(along_depth([flat, short]).rho)
