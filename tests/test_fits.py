"""A planted S is told from a planted line; R2 and AICc by hand; pairs and maps as planted."""

import itertools

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.special import expit
from scipy.stats import linregress
from sklearn.metrics import r2_score

from platorep.errors import AbsentError
from platorep.statistics import (
    Line,
    Sigmoid,
    aicc,
    fit_line,
    fit_sigmoid,
    has_umap,
    lay_out,
    mean_over_pairs,
    r_squared,
    stress,
)


def test_the_line_equals_scipys() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=9), rng.uniform(size=9)

    found, theirs = fit_line(x, y), linregress(x, y)

    assert found is not None
    assert (found.slope, found.intercept) == pytest.approx((theirs.slope, theirs.intercept))
    assert r_squared(found, x, y) == pytest.approx(theirs.rvalue**2)


def test_no_line_through_one_x() -> None:
    assert fit_line(np.full(3, 0.1), np.arange(3.0)) is None
    assert fit_line(np.ones(1), np.ones(1)) is None


@pytest.mark.parametrize("floor", [0.0, 0.25, -1.9])
def test_a_sigmoid_without_noise_is_found(floor: float) -> None:
    x = np.linspace(0.05, 0.16, 14)
    planted = Sigmoid(floor, floor + 0.6, 0.11, 0.008)

    found = fit_sigmoid(x, planted(x), floor=floor)

    assert found is not None
    assert vars(found) == pytest.approx(vars(planted), rel=1e-4)


@pytest.mark.parametrize("n", [10, 20])
@pytest.mark.usefixtures("shapes_unchecked")
def test_aicc_prefers_what_was_planted(n: int) -> None:
    rng = np.random.default_rng(n)
    chosen: dict[str, list[bool]] = {"line": [], "sigmoid": []}
    for _ in range(20):
        x = np.sort(rng.uniform(0.05, 0.16, n))
        noise = 0.02 * rng.standard_normal(n)
        for name, y in (("line", -0.2 + 5 * x), ("sigmoid", 0.6 * expit((x - 0.12) / 0.005))):
            line, sigmoid = fit_line(x, y + noise), fit_sigmoid(x, y + noise)
            assert line is not None
            assert sigmoid is not None
            chosen[name].append(aicc(sigmoid, x, y + noise) < aicc(line, x, y + noise))

    assert np.mean(chosen["sigmoid"]) >= 0.95
    assert np.mean(chosen["line"]) <= 0.2


def test_a_line_without_noise_is_a_line() -> None:
    x = np.linspace(0, 1, 9)
    line, sigmoid = fit_line(x, 3 * x), fit_sigmoid(x, 3 * x)
    assert line is not None
    assert sigmoid is not None
    assert np.isfinite(aicc(line, x, 3 * x))
    assert aicc(line, x, 3 * x) < aicc(sigmoid, x, 3 * x)


def test_what_no_sigmoid_is_asked_of() -> None:
    x = np.arange(4.0)
    assert fit_sigmoid(x[:3], x[:3]) is None
    assert fit_sigmoid(x, -x) is None  # nothing above the floor
    assert fit_sigmoid(np.ones(4), x) is None
    step = fit_sigmoid(np.arange(8.0), (np.arange(8) > 3).astype(float))
    assert step is not None
    assert step.midpoint == pytest.approx(3.5, abs=0.5)


def test_aicc_by_hand() -> None:
    """Squared errors 4 of 6 points; p = 3 with the variance: 2 * 3 * 4 / (6 - 3 - 1)."""
    x = np.arange(6.0)
    y = Line(0.0, 2.0)(x) + np.array([1.0, -1, 1, -1, 0, 0])

    assert aicc(Line(0.0, 2.0), x, y) == pytest.approx(6 * np.log(4 / 6) + 6 + 24 / 2)
    assert np.isnan(aicc(Sigmoid(0.0, 1.0, 0.0, 1.0), x[:5], y[:5]))  # 5 - 4 - 1 = 0
    assert np.isnan(aicc(Line(0.0, 1.0), x[:4], y[:4]))


def test_r_squared_by_hand_and_by_scikit_learn() -> None:
    line = Line(0.0, 1.0)
    x, y = np.array([1.0, 2, 3]), np.array([3.0, 3, 6])

    # errors 2, 1, 3: 14; deviations from 4: 1, 1, 2: 6
    assert r_squared(line, x, y) == pytest.approx(1 - 14 / 6)
    assert r_squared(line, x, y) == pytest.approx(r2_score(y, line(x)))
    assert np.isnan(r_squared(line, x[:1], y[:1]))
    assert np.isnan(r_squared(line, x, np.full(3, 0.1)))


# -- pairs ----------------------------------------------------------------------------------------


def test_mean_over_pairs_by_hand() -> None:
    """Pairs .1, .2, .6; without model 0, 1, 2 the means are .6, .2, .1."""
    scores = np.array([[np.nan, 0.1, 0.2], [0.1, np.nan, 0.6], [0.2, 0.6, np.nan]])

    found = mean_over_pairs(scores)

    left = np.array([0.6, 0.2, 0.1])
    assert found.value == pytest.approx(0.3)
    assert found.stderr == pytest.approx(np.sqrt(2 / 3 * np.sum((left - 0.3) ** 2)))
    assert found.num_pairs == 3


def test_few_models_have_no_error() -> None:
    two = mean_over_pairs(np.array([[np.nan, 0.4], [0.4, np.nan]]))
    assert (two.value, two.num_pairs) == (0.4, 1)
    assert np.isnan(two.stderr)
    for num in (0, 1):
        none = mean_over_pairs(np.full((num, num), np.nan))
        assert none.num_pairs == 0
        assert np.isnan([none.value, none.stderr]).all()


def test_the_error_is_that_of_other_models() -> None:
    """Each model brings a number of its own to all its pairs: the spread of the means of many
    draws is the error, and the naive error over pairs is far too small."""
    rng = np.random.default_rng(0)
    num, means, errors = 12, [], []
    for _ in range(400):
        own = rng.standard_normal(num)
        found = mean_over_pairs(own[:, None] + own[None, :])
        means.append(found.value)
        errors.append(found.stderr)

    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)
    pairs = [a + b for a, b in itertools.combinations(rng.standard_normal(num), 2)]
    assert np.std(pairs) / np.sqrt(len(pairs)) < 0.5 * np.std(means)


# -- maps -----------------------------------------------------------------------------------------


def distances(places: np.ndarray) -> np.ndarray:
    return np.linalg.norm(places[:, None] - places[None, :], axis=-1)


@pytest.mark.parametrize("num", [3, 18])
def test_a_planted_plane_is_found(num: int) -> None:
    planted = np.random.default_rng(num).normal(size=(num, 2)) * [3, 1]

    found = lay_out(distances(planted), "mds", seed=0)

    assert procrustes(planted, found)[2] < 1e-4
    assert stress(distances(planted), found) < 1e-3


def test_the_picture_does_not_depend_on_the_seed_or_the_turn() -> None:
    planted = np.random.default_rng(1).normal(size=(10, 2)) * [3, 1]
    mirrored = planted[:, ::-1] * [1, -1]

    here, there = lay_out(distances(planted), "mds", seed=0), lay_out(
        distances(mirrored), "mds", seed=9
    )  # fmt: skip

    assert there == pytest.approx(here, abs=1e-2)
    assert here.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert here[:, 0].std() > here[:, 1].std()
    assert all(here[np.abs(here[:, axis]).argmax(), axis] > 0 for axis in (0, 1))


def test_the_same_seed_gives_the_same_map() -> None:
    noise = np.random.default_rng(2).uniform(1, 2, size=(9, 9))
    odd = np.triu(noise, 1) + np.triu(noise, 1).T  # no plane has these distances

    assert (lay_out(odd, "mds", seed=4) == lay_out(odd, "mds", seed=4)).all()
    assert stress(odd, lay_out(odd, "mds")) > 0.1
    assert (lay_out(np.zeros((4, 4)), "mds") == 0).all()


def test_stress_by_hand() -> None:
    """Two distances drawn as 1 and 1 and 2 where 1, 1, 1 were asked for: 1 / (1 + 1 + 4)."""
    asked = np.ones((3, 3)) - np.eye(3)

    assert stress(asked, np.array([[0.0, 0], [1, 0], [2, 0]])) == pytest.approx(np.sqrt(1 / 6))


@pytest.mark.skipif(has_umap(), reason="umap-learn is installed")
def test_umap_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(AbsentError, match=r"pip install platorep\[umap\]"):
        lay_out(np.ones((4, 4)) - np.eye(4), "umap")


@pytest.mark.skipif(not has_umap(), reason="umap-learn is not installed")
def test_umap_keeps_neighborhoods() -> None:
    rng = np.random.default_rng(0)
    planted = np.r_[rng.normal(size=(15, 2)), 30 + rng.normal(size=(15, 2))]

    found = lay_out(distances(planted), "umap", seed=0)

    near = distances(found)
    np.fill_diagonal(near, np.inf)
    assert ((near.argmin(axis=1) < 15) == (np.arange(30) < 15)).all()
    assert (found == lay_out(distances(planted), "umap", seed=0)).all()
