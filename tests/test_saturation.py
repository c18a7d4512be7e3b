"""Planted laws are found again; what does not level off is refused; a known world says how far
each law may be trusted.

Axes: n points, s samples, d features.
"""

import itertools

import numpy as np
import pytest
from jaxtyping import Float
from scipy.optimize import curve_fit

from platorep.errors import ConfigError
from platorep.statistics import (
    Attenuation,
    Power,
    fit_attenuation,
    fit_power,
    interval_of_rests,
    rest_of_parts,
)

M = np.arange(1.0, 9.0)
FITS = [fit_power, fit_attenuation]


@pytest.mark.parametrize(
    "planted", [Power(0.2, 0.1, 0.3), Power(0.2, 0.1, 1.0), Power(3.0, 2.0, 2.5)]
)
def test_a_power_law_without_noise_is_found(planted: Power) -> None:
    found = fit_power(M[:5], planted(M[:5]))

    assert isinstance(found.curve, Power)
    assert vars(found.curve) == pytest.approx(vars(planted), rel=1e-4)
    assert found.r2 == pytest.approx(1)
    assert found.reason is None


def test_attenuation_without_noise_is_found() -> None:
    planted = Attenuation(0.4, 2.0)

    found = fit_attenuation(M[:4], planted(M[:4]))

    assert isinstance(found.curve, Attenuation)
    assert vars(found.curve) == pytest.approx(vars(planted), rel=1e-6)
    assert found.reason is None


def test_the_least_squares_are_scipys() -> None:
    rng = np.random.default_rng(1)
    y = Power(0.2, 0.1, 0.8)(M) + 0.002 * rng.standard_normal(8)

    power, attenuation = fit_power(M, y), fit_attenuation(M, y)

    theirs, _ = curve_fit(lambda m, a, b, c: a - b * m**-c, M, y, (0.2, 0.1, 0.8))
    assert isinstance(power.curve, Power)
    assert tuple(vars(power.curve).values()) == pytest.approx(tuple(theirs), rel=1e-4)
    theirs, _ = curve_fit(lambda m, a, h: a * m / (m + h), M, y, (0.2, 1.0))
    assert isinstance(attenuation.curve, Attenuation)
    assert tuple(vars(attenuation.curve).values()) == pytest.approx(tuple(theirs), rel=1e-4)
    for found in (power, attenuation):
        assert found.curve is not None
        assert found.r2 == pytest.approx(1 - np.mean((y - found.curve(M)) ** 2) / np.var(y))


@pytest.mark.parametrize("fit", FITS)
def test_what_does_not_level_off_is_not_claimed_to(fit) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(4)
    for y, why in (
        (M, "no end in sight"),
        (M**2, "no end in sight"),
        (np.full(8, 0.1), "do not rise"),
        (-M, "do not rise"),
        (0.1 + 1 / M, "rise"),
    ):
        assert why in fit(M, y).reason
    assert "3 points" in fit(M[:3], np.sqrt(M[:3])).reason
    flat = [fit(M, 0.1 + 0.01 * rng.standard_normal(8)).reason is None for _ in range(60)]
    assert np.mean(flat) <= 0.05
    lines = [fit(M, 0.01 * M + 0.001 * rng.standard_normal(8)).reason is None for _ in range(60)]
    assert np.mean(lines) <= 0.05
    bent = [fit(M, 0.2 - 0.1 / M + 0.001 * rng.standard_normal(8)).reason for _ in range(60)]
    assert bent == [None] * 60


def test_rests_by_hand() -> None:
    rests = rest_of_parts(10, 4, seed=0)

    left_out = [sorted(set(range(10)) - set(rest)) for rest in rests]
    assert sorted(itertools.chain(*left_out)) == list(range(10))
    assert [len(rest) for rest in rests] == [7, 7, 8, 8]
    assert all((np.diff(rest) > 0).all() for rest in rests)
    # spread of 1, 2, 3, 4: 1.291; (4 - 1) / sqrt 4 of it: 1.936; t with 3 degrees: 3.182
    found = interval_of_rests(2.0, np.arange(1.0, 5.0))
    assert (found.low, found.high) == pytest.approx((2 - 6.162, 2 + 6.162), abs=2e-3)
    assert np.isnan(interval_of_rests(2.0, np.array([1.0, np.nan, 2.0])).low)
    with pytest.raises(ConfigError, match="too few rows"):
        rest_of_parts(7, 2, seed=0)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(5).standard_normal(40)
    means = np.array([values[rest].mean() for rest in rest_of_parts(40, 40, seed=0)])

    found = interval_of_rests(float(values.mean()), means)

    error = values.std(ddof=1) / np.sqrt(40)
    assert (found.high - found.low) / 2 == pytest.approx(2.0227 * error, rel=1e-3)  # t, 39


# -- a known world: s = z + noise; y another noisy look at the same z -----------------------------


def linear_cka(x: Float[np.ndarray, "s d"], y: Float[np.ndarray, "s d"]) -> float:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / own)


def curve_of(
    views: Float[np.ndarray, "v s d"], y: Float[np.ndarray, "s d"]
) -> Float[np.ndarray, " v"]:
    """The mean score over all subsets of each size."""
    num = len(views)
    subsets = [list(itertools.combinations(range(num), m)) for m in range(1, num + 1)]
    return np.array(
        [np.mean([linear_cka(views[list(s)].mean(axis=0), y) for s in of_m]) for of_m in subsets]
    )


def test_averages_of_a_known_world_rise_as_attenuation_says_and_end_at_the_truth() -> None:
    """As much noise as signal in each of five observations, 40 worlds: of no noise the score would
    be the truth. Attenuation ends there with an interval that holds it; the power law far above."""
    rng = np.random.default_rng(6)
    m = np.arange(1.0, 6.0)
    held, ends, powers, truths, halves = [], [], [], [], []
    for _ in range(40):
        z = rng.standard_normal((256, 4))
        y = z + 0.7 * rng.standard_normal((256, 4))
        views = z + rng.standard_normal((5, 256, 4))
        found = fit_attenuation(m, curve_of(views, y))
        rests = [
            fit_attenuation(m, curve_of(views[:, rest], y[rest])).curve
            for rest in rest_of_parts(256, 8, seed=0)
        ]
        assert found.curve is not None
        values = np.array([rest.asymptote for rest in rests if rest is not None])
        interval = interval_of_rests(found.curve.asymptote, values)
        truth = linear_cka(z, y)
        held.append(interval.low <= truth <= interval.high)
        ends.append(found.curve.asymptote)
        halves.append(found.curve.half)  # type: ignore[union-attr]
        power = fit_power(m, curve_of(views, y)).curve
        assert power is not None
        powers.append(power.asymptote)
        truths.append(truth)

    assert np.mean(truths) == pytest.approx(1 / 1.49, abs=0.02)  # closed form: 1 / (1 + .7^2)
    assert np.mean(halves) == pytest.approx(1.0, abs=0.1)  # noise over signal
    assert np.mean(ends) == pytest.approx(np.mean(truths), abs=0.02)
    assert np.mean(held) >= 0.9
    assert np.mean(powers) > 1.15 * np.mean(truths)
