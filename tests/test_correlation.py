"""Correlations equal scipy's, and their intervals hold the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats

from platorep.plots.labels import decimals, interval_text, training_step
from platorep.statistics import (
    mean_spearman_within,
    partial_spearman,
    pearson,
    spearman,
    spearman_p,
)


def cloud(rng: np.random.Generator, n: int, rho: float) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal(n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(n)


@pytest.mark.parametrize("n", [4, 12, 50])
def test_values_and_fishers_interval_equal_scipys(n: int) -> None:
    x, y = cloud(np.random.default_rng(n), n, 0.6)
    x[0] = x[1]  # a tie

    found, theirs = pearson(x, y, level=0.9), stats.pearsonr(x, y)
    interval = theirs.confidence_interval(0.9)

    assert found.value == pytest.approx(theirs.statistic)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_bonett_and_wright_by_hand() -> None:
    """n = 12, r = .8: atanh .8 = 1.0986, its error sqrt((1 + .32) / 9) = .38297."""
    x = np.arange(12.0)
    y = x.copy()
    for i, j in ((0, 3), (5, 8), (1, 4)):
        y[i], y[j] = y[j], y[i]
    r = 1 - 6 * np.sum((x - y) ** 2) / (12 * 143)

    found = spearman(x, y)

    reach = 1.959964 * np.sqrt((1 + r**2 / 2) / 9)
    ends = np.tanh(np.arctanh(r) - reach), np.tanh(np.arctanh(r) + reach)
    assert found.value == pytest.approx(r)
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.num_points == 12


@pytest.mark.parametrize("n", [5, 12, 30])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_intervals_hold_the_truth_as_often_as_they_say(n: int, rho: float) -> None:
    """95 % of 400 clouds, within three of that count's errors (more of five ranks, of which there
    are few orders)."""
    rng = np.random.default_rng(int(100 * rho) + n)
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a normal cloud
    clouds = [cloud(rng, n, rho) for _ in range(400)]

    linear = np.mean([(r := pearson(x, y)).low <= rho <= r.high for x, y in clouds])
    ranks = np.mean([(r := spearman(x, y)).low <= truth <= r.high for x, y in clouds])

    assert linear == pytest.approx(0.95, abs=0.033)
    assert 0.917 <= ranks <= (0.983 if n > 5 else 1.0)


def test_perfect_order_of_few_points_is_no_certainty() -> None:
    found = spearman(np.arange(5.0), np.exp(np.arange(5.0)))

    assert (found.value, found.high) == pytest.approx((1, 1))
    # half an exchange of neighbors: 1 - 6 / (5 * 24) = .95; error sqrt((1 + .95^2 / 2) / 2)
    wanted = np.tanh(np.arctanh(0.95) - 1.959964 * np.sqrt((1 + 0.95**2 / 2) / 2))
    assert found.low == pytest.approx(wanted)
    falling = spearman(np.arange(5.0), -np.arange(5.0))
    assert (falling.low, falling.high) == pytest.approx((-1, -wanted))


@pytest.mark.parametrize("measure", [pearson, spearman])
def test_too_few_points_and_no_variation_have_no_correlation(measure: type[pearson]) -> None:
    two, three = measure(np.arange(2.0), np.arange(2.0)), measure(np.arange(3.0), np.arange(3.0))
    assert np.isnan([two.value, two.low]).all()
    assert three.value == pytest.approx(1)
    assert np.isnan(three.low)
    assert np.isnan(measure(np.arange(9.0), np.full(9, 0.1)).value)
    gap = measure(np.array([1.0, np.nan, 3, 4, 5]), np.array([1.0, 2, 3, np.nan, 4]))
    assert gap.num_points == 3


def test_partial_equals_the_textbook() -> None:
    """(r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)) of the ranks."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal(25)
    x, y = z + rng.standard_normal(25), z + rng.standard_normal(25)

    found = partial_spearman(x, y, z)

    xy, xz, yz = (stats.spearmanr(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    assert found.value == pytest.approx((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))
    assert found.value < spearman(x, y).value
    reach = 1.959964 * np.sqrt((1 + found.value**2 / 2) / (25 - 1 - 3))  # z takes one point
    assert found.high == pytest.approx(np.tanh(np.arctanh(found.value) + reach))


def test_families_alone_can_make_a_correlation() -> None:
    """Two families, far apart; within each, x and y have nothing to do with each other, or go
    against each other."""
    names = ["old"] * 4 + ["new"] * 4
    x = np.array([1.0, 2, 3, 4, 11, 12, 13, 14])
    square = np.array([2.0, 1, 1.5, 1.8, 12, 11, 11.5, 11.8])
    against = np.array([4.0, 3, 2, 1, 14, 13, 12, 11])

    assert spearman(x, square).value > 0.7
    assert abs(partial_spearman(x, square, names).value) < 0.3
    assert spearman(x, against).value > 0.5
    assert partial_spearman(x, against, names).value == pytest.approx(-1)
    assert mean_spearman_within(x, against, names) == pytest.approx(-1)


def test_what_is_explained_altogether_has_no_correlation() -> None:
    x = np.arange(6.0)
    assert np.isnan(partial_spearman(x, x**2, x).value)
    assert np.isnan(partial_spearman(x, x, list("abcdef")).value)
    assert np.isnan(mean_spearman_within(x, x, list("aabbcc")))


def test_mean_within_leaves_small_and_constant_groups_out() -> None:
    x = np.array([1.0, 2, 3, 1, 2, 3, 1, 2, 5, 6, 7])
    y = np.array([1.0, 2, 3, 3, 1, 2, 1, 9, 4, 4, 4])

    found = mean_spearman_within(x, y, ["a"] * 3 + ["b"] * 3 + ["c"] * 2 + ["d"] * 3)

    assert found == pytest.approx((1 + -0.5) / 2)


def test_partial_interval_holds_the_truth() -> None:
    """Nothing but the family goes together: 0 is in 95 % of the intervals."""
    rng = np.random.default_rng(3)
    names, level = [f"f{i // 5}" for i in range(20)], np.repeat(np.arange(4.0), 5)
    held = []
    for _ in range(600):
        found = partial_spearman(
            5 * level + rng.standard_normal(20), 5 * level + rng.standard_normal(20), names
        )
        held.append(found.low <= 0 <= found.high)

    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("names", ["aabbccdd", "aaabbbccc", "aaaabbbb"])
def test_partial_interval_holds_the_truth_in_small_families(names: str) -> None:
    """Two of a family are in either order: four such families agree altogether in one of eight."""
    rng = np.random.default_rng(4)
    level = 5 * np.array([ord(name) for name in names])
    held = []
    for _ in range(500):
        found = partial_spearman(
            level + rng.standard_normal(len(names)),
            level + rng.standard_normal(len(names)),
            list(names),
        )
        held.append(found.low <= 0 <= found.high)

    assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 500)


def test_partial_interval_holds_the_truth_at_fixed_numbers() -> None:
    rng = np.random.default_rng(5)
    held = []
    for _ in range(500):
        z = rng.standard_normal(12)
        found = partial_spearman(z + rng.standard_normal(12), z + rng.standard_normal(12), z)
        held.append(found.low <= 0 <= found.high)

    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("label", "step"),
    [("llama16@88", 88), ("pythia-70m@step1000", 1000), ("llama8@22-seed3", 22),
     ("llama8@22 (random)", 22), ("OLMo-2@stage1-step150-tokens1B", 150)],
)  # fmt: skip
def test_the_step_of_a_checkpoint(label: str, step: int) -> None:
    assert training_step(label) == step


@pytest.mark.parametrize("label", ["llama16", "model@main", "bloomz-1b7", "conv8-seed1"])
def test_no_checkpoint_no_step(label: str) -> None:
    assert np.isnan(training_step(label))


def test_numbers_in_print() -> None:
    assert [decimals(v) for v in (0.934, -0.25, 1.0, -0.001, -12.3)] == [
        ".93", "\N{MINUS SIGN}.25", "1.00", ".00", "\N{MINUS SIGN}12.30"
    ]  # fmt: skip
    assert interval_text(0.9, 0.8, 0.95) == ".90 [.80, .95]"
    assert interval_text(0.9, np.nan, np.nan) == ".90"


@pytest.mark.parametrize("n", [5, 12])
def test_p_over_orders_of_the_points(n: int) -> None:
    """All orders of 5 points, as scipy counts them; drawn orders of 12."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = 0.5 * x + rng.normal(size=n)
    expected = stats.permutation_test(
        (x,), lambda z: stats.spearmanr(z, y).statistic, permutation_type="pairings",
        n_resamples=2000, rng=rng, vectorized=False,
    ).pvalue  # fmt: skip
    assert spearman_p(x, y) == pytest.approx(expected, rel=1e-9 if n == 5 else 0.2)
    assert spearman_p(np.arange(5.0), np.arange(5.0)) == 2 / 120
    assert np.isnan(spearman_p(x, np.ones(n)))


def test_the_level_of_p_over_orders() -> None:
    rng = np.random.default_rng(0)
    p = [spearman_p(*rng.normal(size=(2, 6))) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.025)
