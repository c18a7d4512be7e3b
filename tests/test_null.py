"""Nulls and what is made of them: by hand, by simulation, against scipy, at the edges."""

import itertools
import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import stats
from signatures import unchecked

from platorep.config import IntervalConfig
from platorep.errors import ConfigError, DataError
from platorep.metrics import BoundMetric, Summary, bind, own_metric
from platorep.parameters.metrics import OwnMetric
from platorep.statistics import (
    Interval,
    NullMaxima,
    Permutations,
    benjamini_hochberg,
    best_pair,
    calibrate,
    disjoint_rows,
    draw_order,
    held_out,
    holm,
    interval_of_parts,
    interval_of_subsamples,
    needed_permutations,
    permutation_null,
    shuffled_order,
    subsamples,
    warn_too_few,
    westfall_young,
)

Model = list[Summary]


def model(
    metric: BoundMetric, rng: torch.Generator, n: int, layers: int, signal: torch.Tensor | None
) -> Model:
    """Layers that share a random core, so that their scores hang together; perhaps a signal."""
    core = torch.randn(n, 4, generator=rng)
    if signal is not None:
        core = core + signal
    return [metric.summarize(core + 0.7 * torch.randn(n, 4, generator=rng)) for _ in range(layers)]


# The best pair of a grid


def test_the_best_pair_leaves_out_degenerate_layers_and_undefined_scores() -> None:
    scores = np.array([[0.9, 0.2, np.nan], [0.8, -0.5, 0.3]])

    found = best_pair(scores, [None, None], ["constant", None, None])
    assert (found.score, found.layer_x, found.layer_y, found.reason) == (0.3, 1, 2, None)
    found = best_pair(scores, [None, None], [None] * 3, larger_is_closer=False)
    assert (found.score, found.layer_x, found.layer_y) == (-0.5, 1, 1)
    assert best_pair(-np.ones((2, 2)), [None] * 2, [None] * 2).layer_x == 0  # negative is fine
    assert best_pair(np.ones((2, 2)), [None] * 2, [None] * 2).layer_y == 0  # the first of equals


def test_no_pair_at_all_has_a_reason() -> None:
    found = best_pair(np.ones((2, 2)), ["constant", "tied"], [None, None])
    assert math.isnan(found.score)
    assert found.layer_x is None
    assert found.reason == "all layers of x are degenerate: constant (and 1 more)"
    found = best_pair(np.full((2, 1), np.nan), [None, None], [None])
    assert found.reason == "no pair of usable layers has a score"


# The null


@pytest.mark.parametrize("name", ["mutual_knn", "cka", "lcs_knn"])
def test_the_null_is_the_maximum_over_reordered_features(rng: torch.Generator, name: str) -> None:
    """By hand: reorder the features of every layer of y alike, score again, take the maximum."""
    metric = bind(name)
    features = {
        side: [
            [torch.randn(20, 5, generator=rng, dtype=torch.float64) for _ in range(layers)]
            for layers in sizes
        ]
        for side, sizes in (("x", (2, 3)), ("y", (1, 2, 2)))
    }
    x, y = ([[metric.summarize(f) for f in group] for group in features[s]] for s in "xy")

    nulls = permutation_null(metric, x, y, Permutations(4, 7))

    for null, (i, j) in zip(nulls, itertools.product(range(2), range(3)), strict=True):
        scores = metric.compare(x[i], y[j])
        assert null.best.score == pytest.approx(scores.max(), abs=1e-12)
        assert scores[null.best.layer_x, null.best.layer_y] == scores.max()
        for index in range(4):
            order = torch.from_numpy(draw_order(20, 7, index))
            moved = [metric.summarize(f[order]) for f in features["y"][j]]
            assert null.null[index] == pytest.approx(metric.compare(x[i], moved).max(), abs=1e-12)


def test_parts_of_a_null_are_the_same_wherever_they_are_computed(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 3})
    x = [model(metric, rng, 20, 2, None) for _ in range(3)]
    y = [model(metric, rng, 20, 2, None) for _ in range(2)]

    whole = permutation_null(metric, x, y, Permutations(6, 1))
    later = permutation_null(metric, x, y, Permutations(2, 1, first=4))
    one = permutation_null(metric, x, y, Permutations(6, 1), pairs=[(2, 1)])
    other = permutation_null(metric, x, y, Permutations(6, 2))

    for a, b in zip(whole, later, strict=True):
        assert np.array_equal(a.null[4:], b.null)
    prepared = NullMaxima(metric, x, y, pairs=list(itertools.product(range(3), range(2))))
    for ranges in ((range(3, 6), range(3)), (range(6),)):  # in any order, of any length
        for some in ranges:
            found = prepared.under(Permutations(len(some), 1, first=some.start))
            assert np.array_equal(found, [a.null[some.start : some.stop] for a in whole])
    assert np.array_equal(whole[5].null, one[0].null)
    assert whole[5].best == one[0].best
    assert not np.array_equal(whole[5].null, other[5].null)


def test_a_null_of_fixed_layers_is_no_maximum(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 3})
    x, y = (model(metric, rng, 30, 4, None) for _ in range(2))

    (best,) = permutation_null(metric, [x], [y], Permutations(20))
    (fixed,) = permutation_null(metric, [[x[2]]], [[y[3]]], Permutations(20))

    assert fixed.best.score == metric.compare([x[2]], [y[3]])[0, 0]
    assert (fixed.null <= best.null).all()
    assert fixed.null.mean() < best.null.mean()


def test_every_layer_pair_is_compared_once_and_once_per_permutation(rng: torch.Generator) -> None:
    compared = 0

    def count(x: torch.Tensor, y: torch.Tensor) -> float:
        nonlocal compared
        compared += 1
        return float((x * y).sum())

    metric = BoundMetric(own_metric(name="count", compare=count), OwnMetric(name="count"))
    sides = [[[metric.summarize(torch.randn(8, 2, generator=rng)) for _ in range(3)]] for _ in "xy"]

    permutation_null(metric, *sides, Permutations(0))
    assert compared == 9
    permutation_null(metric, *sides, Permutations(4))
    assert compared == 9 + 5 * 9


def test_degenerate_layers_take_no_part_in_the_null(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 3})
    y = [model(metric, rng, 30, 2, None)]
    plain = model(metric, rng, 30, 2, None)
    constant = metric.summarize(torch.ones(30, 3))

    with_constant, without, nothing = permutation_null(
        metric, [[constant, *plain], plain, [constant]], y, Permutations(5)
    )

    assert np.array_equal(with_constant.null, without.null)
    assert with_constant.best.layer_x == without.best.layer_x + 1
    assert "degenerate" in str(nothing.best.reason)
    assert np.isnan(nothing.null).all()
    assert math.isnan(nothing.calibrate().p)


EXPERIMENTS, PERMUTATIONS = 150, 19


@pytest.fixture(scope="module")
def under_independence() -> tuple[np.ndarray, np.ndarray]:
    """p of 150 experiments without any signal: with the null of the maximum, and the naive one."""
    metric, rng = bind("mutual_knn", {"k": 5}), torch.Generator().manual_seed(0)
    honest, naive = [], []
    with unchecked():
        for experiment in range(EXPERIMENTS):
            x, y = (model(metric, rng, 40, 4, None) for _ in range(2))
            found = permutation_null(metric, [x], [y], Permutations(PERMUTATIONS, experiment))[0]
            honest.append(found.calibrate().p)
            one, other = [x[found.best.layer_x]], [y[found.best.layer_y]]
            fixed = permutation_null(
                metric, [one], [other], Permutations(PERMUTATIONS, experiment)
            )[0]
            naive.append(fixed.calibrate().p)
    return np.array(honest), np.array(naive)


def test_p_values_are_uniform_under_independence(
    under_independence: tuple[np.ndarray, np.ndarray],
) -> None:
    honest = under_independence[0]
    steps = (honest * (PERMUTATIONS + 1)).round().astype(int)  # 1 ... 20
    counts = np.bincount((steps - 1) // 4, minlength=5)  # five equal bins

    assert stats.chisquare(counts).pvalue > 0.01
    assert stats.binomtest(int((honest <= 0.05).sum()), EXPERIMENTS, 0.05).pvalue > 0.01


def test_a_null_of_the_chosen_layers_alone_does_not_hold_its_level(
    under_independence: tuple[np.ndarray, np.ndarray],
) -> None:
    honest, naive = under_independence

    assert (honest <= 0.05).mean() < 0.09
    assert (naive <= 0.05).mean() > 0.2


def test_a_real_signal_is_found(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 5})
    signal = 2 * torch.randn(60, 4, generator=rng)
    x, y = (model(metric, rng, 60, 2, signal) for _ in range(2))

    found = permutation_null(metric, [x], [y], Permutations(99))[0].calibrate()
    assert found.p == 0.01
    assert found.observed > found.threshold > found.null_mean
    assert found.null_mean == pytest.approx(5 / 59, abs=0.05)
    assert 0 < found.calibrated < found.observed


def test_permutations_within_groups_keep_what_the_groups_explain(rng: torch.Generator) -> None:
    """Two models that agree only on which group a sample is in: no evidence within groups."""
    metric = bind("mutual_knn", {"k": 5})
    group = torch.arange(60) % 3
    centres = 6 * torch.randn(3, 4, generator=rng)
    x, y = (
        [metric.summarize(centres[group] + torch.randn(60, 4, generator=rng))] for _ in range(2)
    )

    free = permutation_null(metric, [x], [y], Permutations(99))[0].calibrate()
    within = permutation_null(metric, [x], [y], Permutations(99, within=group.tolist()))[
        0
    ].calibrate()
    assert free.p == 0.01
    assert within.p > 0.05


def test_orders_are_permutations_drawn_once_and_for_all() -> None:
    orders = [draw_order(10, 3, index) for index in range(200)]

    assert all(sorted(order.tolist()) == list(range(10)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 200
    counts = np.bincount([order[0] for order in orders], minlength=10)
    assert stats.chisquare(counts).pvalue > 0.001
    assert draw_order(10, 3, 17).tolist() == orders[17].tolist()
    groups = ["a", "b", "a", "b", "a"]
    for index in range(20):
        order = draw_order(5, 0, index, groups)
        assert [groups[i] for i in order] == groups
    with pytest.raises(DataError, match="5 samples, 4 groups"):
        draw_order(5, 0, 0, groups[:4])
    with pytest.raises(DataError, match="single sample"):
        draw_order(5, 0, 0, [1, 2, 3, 4, 5])


# From a null to p, threshold and calibrated score


@pytest.mark.parametrize("groups", [None, [i % 3 for i in range(12)]])
def test_the_shuffled_control_is_no_order_of_the_null(groups: list[int] | None) -> None:
    """Else it would be one of the values that it is held against, whatever the seeds."""
    control = shuffled_order(12, 5, groups)

    assert sorted(control) == list(range(12))
    null = [draw_order(12, seed, i, groups) for seed in (0, 1, 5) for i in range(300)]
    assert not any(np.array_equal(control, order) for order in null)
    assert not np.array_equal(control, shuffled_order(12, 6, groups))
    if groups is not None:
        assert [groups[i] for i in control] == groups
        as_numbers = np.array([7 - group for group in groups])  # which numbers is of no matter
        assert np.array_equal(control, shuffled_order(12, 5, as_numbers))


def test_calibration_worked_by_hand() -> None:
    null = np.arange(19) / 20  # 0, .05, ... .9

    found = calibrate(0.95, null)
    # of the 20 values the ceil(.95 * 20) = 19th smallest is .9; nothing reaches the observed
    assert found.p == 1 / 20
    assert found.threshold == 0.9
    assert found.calibrated == pytest.approx(0.05 / 0.1)
    assert found.null_mean == pytest.approx(0.45)
    assert found.null_std == pytest.approx(np.std(null, ddof=1))
    assert found.num_permutations == 19

    found = calibrate(0.5, null)
    # .5, .55 ... .9 are nine, an equal one counts
    assert found.p == (1 + 9) / 20
    assert found.threshold == 0.85  # the observed value is among the twenty
    assert found.calibrated == 0
    assert calibrate(0.95, null, alpha=0.5).threshold == 0.45


def test_calibration_agrees_with_scipy(rng: torch.Generator) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    y = y + 0.3 * x

    def statistic(a: np.ndarray) -> float:
        return float(np.corrcoef(a, y)[0, 1])

    test = stats.permutation_test(
        (x,),
        statistic,
        permutation_type="pairings",
        n_resamples=199,
        alternative="greater",
        rng=np.random.default_rng(1),
    )
    assert calibrate(test.statistic, test.null_distribution).p == pytest.approx(test.pvalue)


def test_smaller_can_be_closer() -> None:
    null = np.arange(1, 20) / 20
    found = calibrate(0.02, null, perfect=0.0, larger_is_closer=False)
    turned = calibrate(-0.02, -null, perfect=0.0)

    assert found.p == turned.p == 1 / 20
    assert found.threshold == -turned.threshold == 0.05
    assert found.calibrated == turned.calibrated == pytest.approx(0.03 / 0.05)


def test_a_perfect_score_is_calibrated_to_one_and_an_undefined_one_to_nothing() -> None:
    null = np.linspace(0, 0.5, 99)
    assert calibrate(1.0, null).calibrated == 1
    assert calibrate(10.0, null * 10, perfect=10.0).calibrated == 1
    assert math.isnan(calibrate(np.nan, null).p)
    assert math.isnan(calibrate(0.5, np.array([])).p)
    assert calibrate(0.4, np.array([0.1, np.nan, 0.2])).p == 2 / 4  # undefined counts against
    almost = np.array([0.4 - 1e-15, 0.1, 0.2])
    assert calibrate(0.4, almost).p == 2 / 4  # rounding is no evidence


# Many tests at once


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 2
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_corrections_worked_by_hand() -> None:
    p = np.array([0.04, 0.01, np.nan, 0.03])

    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.03, np.nan, 0.04], nan_ok=True)
    assert holm(p) == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_westfall_young_by_hand() -> None:
    null = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]])  # standardised both -1, 0, 1
    found = westfall_young(np.array([1.0, 20.0]), null)
    # (1 - 1) / 1 = 0 is reached by the second and third maximum, 18 / 2 by none
    assert found == pytest.approx([3 / 4, 1 / 4])


def test_family_wise_corrections_hold_their_level() -> None:
    """Of 300 families of ten true nulls at most about 5 % have any finding."""
    rng = np.random.default_rng(0)
    families, tests, count = 300, 10, 99
    common = rng.normal(size=(families, 1, count + 1))
    values = rng.normal(size=(families, tests, count + 1)) + common
    any_holm = any_young = 0
    for family in values:
        observed, null = family[:, 0], family[:, 1:]
        p = np.array([calibrate(o, row).p for o, row in zip(observed, null, strict=True)])
        any_holm += (holm(p) <= 0.1).any()
        any_young += (westfall_young(observed, null) <= 0.1).any()
    assert any_holm / families <= 0.1 + 3 * math.sqrt(0.09 / families)
    assert any_young / families == pytest.approx(0.1, abs=3 * math.sqrt(0.09 / families))


def test_too_few_permutations_are_said_plainly() -> None:
    assert needed_permutations(204, 0.05, "holm") == 4079
    assert warn_too_few(4079, {"pairs": 204}, 0.05, "holm") is None
    message = str(warn_too_few(1000, {"pairs": 204, "controls": 9}, 0.05, "holm"))
    assert "p >= 0.001" in message
    assert "204 pairs is 0.2" in message
    assert "null.permutations >= 4079" in message
    assert "controls" not in message
    smallest = np.ones(204)
    smallest[0] = 1 / 4080
    assert benjamini_hochberg(smallest)[0] <= 0.05
    smallest[0] = 1 / 4079
    assert benjamini_hochberg(smallest)[0] > 0.05


# Rows to score again


def test_parts_are_disjoint_and_subsamples_have_no_repeats() -> None:
    parts = disjoint_rows(50, 4, seed=0)
    assert [len(part) for part in parts] == [12] * 4
    assert len(set(np.concatenate(parts).tolist())) == 48
    with pytest.raises(ConfigError, match="at most 12 parts"):
        disjoint_rows(50, 20, seed=0)
    draws = subsamples(50, 20, 30, seed=0)
    assert all(len(set(rows.tolist())) == 20 for rows in draws)
    assert len({tuple(rows.tolist()) for rows in draws}) == 30
    with pytest.raises(ConfigError, match=r"must be 4 \.\.\. 50"):
        subsamples(50, 51, 3, seed=0)


def interval_of(
    kind: str, n: int, seed: int, level: float, score: Callable[[np.ndarray], float]
) -> Interval:
    """As `align` asks for it: 4 disjoint parts, or 8 subsamples of half of the rows."""
    observed = score(np.arange(n))
    if kind == "disjoint":
        values = [score(rows) for rows in disjoint_rows(n, 4, seed)]
        return interval_of_parts(observed, np.array(values), level=level)
    values = [score(rows) for rows in subsamples(n, n // 2, 8, seed)]
    return interval_of_subsamples(observed, np.array(values), n=n, size=n // 2, level=level)


KINDS = pytest.mark.parametrize("kind", get_args(IntervalConfig.model_fields["method"].annotation))


@KINDS
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_intervals_cover_the_mean_as_often_as_they_say(kind: str, level: float) -> None:
    """For the mean of 100 numbers, in 400 samples: within three errors of that count."""
    rng, num = np.random.default_rng(0), 400
    covered = 0
    for seed in range(num):
        data = rng.normal(size=100)
        found = interval_of(kind, 100, seed, level, lambda rows, data=data: data[rows].mean())
        covered += found.low <= 0 <= found.high
    assert covered / num == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / num))


@KINDS
def test_intervals_cover_the_expected_score_at_least_as_often_as_they_say(kind: str) -> None:
    """Linear CKA of two models of one signal, in 300 samples: no mean, and biased in parts."""
    rng, n, num = np.random.default_rng(0), 200, 300
    mixing = rng.normal(size=(2, 3, 4))
    found, scores = [], []
    for seed in range(num):
        signal = rng.normal(size=(n, 3))
        x, y = (signal @ part + rng.normal(size=(n, 4)) for part in mixing)

        def cka(rows: np.ndarray, x: np.ndarray = x, y: np.ndarray = y) -> float:
            a, b = x[rows] - x[rows].mean(0), y[rows] - y[rows].mean(0)
            norm = np.linalg.norm
            return float(norm(a.T @ b) ** 2 / (norm(a.T @ a) * norm(b.T @ b)))

        found.append(interval_of(kind, n, seed, 0.95, cka))
        scores.append(cka(np.arange(n)))
    covered = np.mean([each.low <= np.mean(scores) <= each.high for each in found])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / num)


def test_an_interval_needs_two_scores() -> None:
    assert math.isnan(interval_of_parts(0.5, np.array([0.4, np.nan])).low)
    assert math.isnan(interval_of_subsamples(0.5, np.array([0.4, 0.5]), n=20, size=20).high)


def test_held_out_scores_are_those_of_the_other_half() -> None:
    first = np.array([[0.1, 0.5], [0.9, 0.2]])
    second = np.array([[0.7, 0.3], [0.4, 0.6]])
    nothing = [[None, None], [None, None]]

    found = held_out([first, second], nothing, nothing)
    assert (found.chosen[0].layer_x, found.chosen[0].layer_y) == (1, 0)
    assert found.reported == (0.4, 0.1)
    assert found.score == pytest.approx(0.25)
    found = held_out([first, second], [[None, "constant"], [None, None]], nothing)
    assert found.reported == (0.3, 0.1)
    bad = ["constant", "constant"]
    assert math.isnan(held_out([first, second], [bad, bad], nothing).score)


def test_choosing_on_other_samples_takes_away_the_optimism(rng: torch.Generator) -> None:
    """Independent models: the maximum is above chance, the held-out score is at chance."""
    n, k, tries, optimistic, honest = 80, 5, 20, [], []
    metric = bind("mutual_knn", {"k": k})
    for seed in range(tries):
        x, y = ([torch.randn(n, 5, generator=rng) for _ in range(6)] for _ in range(2))
        grids = []
        for rows in disjoint_rows(n, 2, seed):
            sides = [[metric.summarize(f[torch.from_numpy(rows)]) for f in side] for side in (x, y)]
            grids.append(metric.compare(*sides))
        fine = [[None] * 6] * 2
        honest.append(held_out(grids, fine, fine).score)
        optimistic.append(max(grid.max() for grid in grids))
    chance = metric.chance(n // 2)
    assert np.mean(honest) == pytest.approx(chance, abs=4 * np.std(honest) / math.sqrt(tries))
    assert min(optimistic) > chance


def test_the_largest_score_of_all_needs_no_more_permutations_for_more_tests() -> None:
    assert needed_permutations(204, 0.05, "westfall_young") == 19
    assert warn_too_few(19, {"pairs": 204}, 0.05, "westfall_young") is None
    assert warn_too_few(18, {"pairs": 1}, 0.05, "westfall_young") is not None
    null = np.random.default_rng(0).normal(size=(204, 19))
    observed = np.zeros(204)
    observed[0] = 99.0
    assert westfall_young(observed, null)[0] == 1 / 20


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1.0, 1e6])
def test_no_p_depends_on_the_unit_of_a_score(unit: float) -> None:
    """Scores of a small scale are no rounding: 39 standard deviations are evidence."""
    null = np.random.default_rng(0).normal(size=(3, 99))
    observed = np.array([39.0, 1.0, null[2, 7] - 1e-9])

    found = [calibrate(o * unit, row * unit).p for o, row in zip(observed, null, strict=True)]

    assert found[0] == 0.01
    assert found == [calibrate(o, row).p for o, row in zip(observed, null, strict=True)]
    assert found[2] == (1 + (null[2] >= null[2, 7]).sum()) / 100  # an equal one, but for rounding
    several = westfall_young(observed * unit, null * unit)
    assert several.tolist() == westfall_young(observed, null).tolist()
    assert several[0] == 0.01


def test_westfall_young_leaves_no_test_to_chance() -> None:
    """By hand: a null that does not vary, and one that is not defined everywhere."""
    null = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, np.nan], [0.0, 1.0, 2.0, 3.0]])

    beyond = westfall_young(np.array([1e-9, 9.0, 0.5]), null)
    at = westfall_young(np.array([0.0, np.nan, 9.0]), null)

    assert beyond == pytest.approx([1 / 5, 2 / 5, 5 / 5])  # standardised maxima 0, 0, 1, 1.2
    assert at == pytest.approx([5 / 5, np.nan, 1 / 5], nan_ok=True)


def test_westfall_young_with_a_single_permutation() -> None:
    found = westfall_young(np.array([1.0, 0.0]), np.array([[0.0], [0.5]]))
    assert found == pytest.approx([1 / 2, 1.0])
