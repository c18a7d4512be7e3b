"""Subspace metrics, predictivity and unit matching: by oracle, by theory, at the edges."""

import numpy as np
import oracles
import pytest
import torch
from metric_inputs import KINDS, related
from torch import Tensor

from platorep.errors import ConfigError
from platorep.metrics import bind


def score(name: str, x: Tensor, y: Tensor, **parameters: object) -> float:
    metric = bind(name, parameters)
    return float(metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_subspace_metrics_equal_their_oracles(rng: torch.Generator, kind: str) -> None:
    x, y = related(rng, KINDS[kind])
    a, b = x.numpy(), y.numpy()

    assert score("cca_mean", x, y) == pytest.approx(oracles.cca_mean(a, b), abs=1e-8)
    for rank in (1, 3):
        expected = oracles.svcca(a, b, rank)
        assert score("svcca", x, y, rank=rank) == pytest.approx(expected, abs=1e-8)
    assert score("pwcca", x, y) == pytest.approx(oracles.pwcca(a, b), abs=1e-8)
    assert score("procrustes", x, y) == pytest.approx(oracles.procrustes(a, b), abs=1e-10)
    overlap = oracles.eigenspace_overlap(a, b)
    assert score("eigenspace_overlap", x, y) == pytest.approx(overlap, abs=1e-8)
    for penalty in (1e-3, 0.3):
        expected = oracles.gulp_similarity(a, b, penalty)
        assert score("gulp", x, y, penalty=penalty) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_permutation_procrustes_equals_all_orders_tried(rng: torch.Generator, kind: str) -> None:
    x, y = (z[:, :4] if z.shape[1] > 6 else z for z in related(rng, KINDS[kind]))

    expected = oracles.permutation_procrustes(x.numpy(), y.numpy())
    assert score("permutation_procrustes", x, y) == pytest.approx(expected, abs=1e-10)
    assert score("permutation_procrustes", y, x) == pytest.approx(expected, abs=1e-10)


def test_permutation_procrustes_is_below_the_best_rotation(rng: torch.Generator) -> None:
    """And reaches it where y is x with its units in another order; x and -x have no such order."""
    x = torch.randn(40, 5, generator=rng, dtype=torch.float64)
    y = x[:, [3, 0, 4, 1, 2]] * 2 + 7

    assert score("permutation_procrustes", x, y) == pytest.approx(1, abs=1e-12)
    assert score("permutation_procrustes", x[:, :1], -x[:, :1]) == pytest.approx(-1, abs=1e-12)
    mixed = x @ torch.randn(5, 5, generator=rng, dtype=torch.float64)
    assert score("permutation_procrustes", x, mixed) < score("procrustes", x, mixed) - 0.05


def test_eigenspace_overlap_of_spans_that_share_some_directions() -> None:
    """Three directions and two, one in common: 1/3; the mean of the features is a direction too."""
    directions = torch.linalg.qr(torch.arange(36.0, dtype=torch.float64).reshape(9, 4).sin())[0]
    x, y = directions[:, :3], directions[:, [2, 3]]

    assert score("eigenspace_overlap", x, y) == pytest.approx(1 / 3, abs=1e-12)
    assert score("eigenspace_overlap", x, y @ torch.tensor([[2.0, 1], [0, 3]]).double()) == (
        pytest.approx(1 / 3, abs=1e-12)
    )
    assert score("eigenspace_overlap", x + 50, y + 50) > 0.4
    with pytest.raises(ConfigError, match="fewer features than samples"):
        bind("eigenspace_overlap").check(100, 99)


def test_gulp_counts_a_direction_by_its_share_of_the_variance() -> None:
    """Orthogonal directions of 4 and 1 parts against the first alone, worked by hand.

    At penalty .2 they count .8 / (.8 + .2) = .8 and .2 / (.2 + .2) = .5: .8 / sqrt(.64 + .25).
    """
    waves = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    x = waves * torch.tensor([2.0, 1.0])

    found = score("gulp", x, x[:, :1], penalty=0.2)
    assert found == pytest.approx(0.8 / 0.89**0.5, abs=1e-12)
    assert score("gulp", x[:, :1], x[:, 1:], penalty=0.2) == pytest.approx(0, abs=1e-12)
    assert score("gulp", waves, waves @ torch.tensor([[0.0, 3], [-3, 0]]).double()) == (
        pytest.approx(1, abs=1e-12)
    )


def test_gulp_at_a_large_penalty_is_cka(rng: torch.Generator) -> None:
    x, y = related(rng, KINDS["random"])
    assert score("gulp", x, y, penalty=1e5) == pytest.approx(score("cka", x, y), abs=1e-4)
    assert score("gulp", x, y) != pytest.approx(score("cka", x, y), abs=1e-2)


def test_wide_features_give_the_same_through_their_gram_matrix(rng: torch.Generator) -> None:
    x = torch.randn(30, 50, generator=rng, dtype=torch.float64)
    y = x[:, :4] + torch.randn(30, 4, generator=rng, dtype=torch.float64)
    expected = oracles.procrustes(x.numpy(), y.numpy())

    assert score("procrustes", x, y) == pytest.approx(expected, abs=1e-10)
    expected = oracles.svcca(x.numpy(), y.numpy(), 3)
    assert score("svcca", x, y, rank=3) == pytest.approx(expected, abs=1e-8)


def test_svcca_keeps_the_share_of_variance_it_is_asked_for(rng: torch.Generator) -> None:
    scales = torch.tensor([4.0, 3.0, 2.0, 0.1])  # variances 16, 9, 4, .01
    x = torch.linalg.qr(torch.randn(50, 5, generator=rng) - 0.1)[0][:, 1:]
    x = (x - x.mean(dim=0)) * scales
    metric = bind("svcca", {"rank": 0.9})

    held = torch.linalg.svdvals(x - x.mean(dim=0)).square()
    expected = int((held.cumsum(0) / held.sum() < 0.9).sum()) + 1
    assert metric.summarize(x).basis.shape[1] == expected == 3


def test_standardized_svcca_is_svcca_of_standardized_features(rng: torch.Generator) -> None:
    x, y = related(rng, KINDS["random"])
    plain = [(z - z.mean(dim=0)) / z.std(dim=0) for z in (x * torch.arange(1, 6), y)]

    expected = score("svcca", *plain, rank=2)
    found = score("svcca", x * torch.arange(1, 6), y, rank=2, standardize=True)
    assert found == pytest.approx(expected, abs=1e-10)
    assert score("svcca", x * torch.arange(1, 6), y, rank=2) != pytest.approx(expected, abs=1e-3)


def test_cca_agrees_with_scikit_learn(rng: torch.Generator) -> None:
    from sklearn.cross_decomposition import CCA

    x, y = (z[:, :2] for z in related(rng, KINDS["random"]))
    one, other = CCA(n_components=2, scale=False, tol=1e-12).fit_transform(x.numpy(), y.numpy())
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, other.T, strict=True)])

    assert score("cca_mean", x, y) == pytest.approx(expected, abs=1e-4)


def test_procrustes_agrees_with_scipy(rng: torch.Generator) -> None:
    from scipy.linalg import orthogonal_procrustes

    x, y = related(rng, KINDS["random"])
    x = torch.nn.functional.pad(x, (0, 1))
    x, y = ((z - z.mean(dim=0)) / (z - z.mean(dim=0)).norm() for z in (x, y))

    _, nuclear = orthogonal_procrustes(x.numpy(), y.numpy())
    assert score("procrustes", x, y) == pytest.approx(nuclear, abs=1e-12)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cca_mean", {}),
        ("svcca", {}),
        ("svcca", {"rank": 0.9999}),
        ("svcca", {"standardize": True}),
    ],
)
def test_the_rank_of_features_does_not_count_their_rounding(
    rng: torch.Generator, name: str, parameters: dict[str, object], kind: torch.dtype
) -> None:
    """x and y span the same 8 of 64 directions, around means that are not 0."""
    shared = torch.randn(200, 8, generator=rng, dtype=torch.float64)
    maps = torch.randn(2, 8, 64, generator=rng, dtype=torch.float64)
    offset = torch.randn(64, generator=rng, dtype=torch.float64)
    work = torch.float64 if kind == torch.float64 else torch.float32
    x, y = ((shared.to(work) @ z.to(work) + offset.to(work)).to(kind) for z in maps)

    assert bind(name, parameters).summarize(x).basis.shape[1] == 8
    rounding = {torch.float64: 1e-9, torch.float32: 1e-6, torch.bfloat16: 1e-3}[kind]
    assert score(name, x, y, **parameters) == pytest.approx(1, abs=rounding)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_the_rank_of_features_counts_small_directions(
    rng: torch.Generator, kind: torch.dtype
) -> None:
    """All of them are there, however many and beside a massive one."""
    features = torch.randn(300, 96, generator=rng, dtype=torch.float64)
    features[:, 5] *= 1000

    assert bind("cca_mean").summarize(features.to(kind)).basis.shape[1] == 96


def test_units_that_vary_by_rounding_only_are_not_standardized(rng: torch.Generator) -> None:
    x = torch.randn(60, 4, generator=rng)
    dead = 0.1 + 1e-8 * torch.randn(60, 30, generator=rng)
    metric = bind("svcca", {"rank": 20, "standardize": True})

    assert metric.summarize(torch.cat([x, dead], dim=1)).basis.shape[1] == 4


def test_directions_that_are_arbitrary_are_refused(rng: torch.Generator) -> None:
    """Where x and y must share more than one direction, its weights say nothing."""
    x, y = torch.randn(40, 24, generator=rng), torch.randn(40, 17, generator=rng)
    metric = bind("pwcca")
    one, other = metric.summarize(x), metric.summarize(y)

    with pytest.raises(ConfigError, match=r"24 \+ 17 with n=40.*2 correlations are 1.*Use svcca"):
        metric.compare([one], [other])
    metric.compare([one], [metric.summarize(y[:, :16])])
    # what it says is so: the two largest correlations of independent features
    both = bind("cca_mean")
    bases = [both.summarize(z).basis for z in (x, y)]
    found = torch.linalg.svdvals(bases[0].T @ bases[1])
    assert found[:3].tolist() == pytest.approx([1, 1, 0.99], abs=0.01)
    assert found[2] < 1 - 1e-4


def test_pwcca_does_not_depend_on_the_order_of_the_rows(rng: torch.Generator) -> None:
    x, y = related(rng, lambda rng: torch.randn(40, 20, generator=rng, dtype=torch.float64))
    expected = score("pwcca", x, y)
    for _ in range(5):
        order = torch.randperm(40, generator=rng)
        assert score("pwcca", x[order], y[order]) == pytest.approx(expected, abs=1e-9)


def test_a_share_of_the_variance_that_saturates_is_refused(rng: torch.Generator) -> None:
    """Independent features, fewer samples than features."""
    x, y = (torch.randn(100, 500, generator=rng) for _ in range(2))

    with pytest.raises(ConfigError, match=r"directions of n=100 samples.*Use a number as `rank`"):
        score("svcca", x, y, rank=0.99)
    falling = torch.logspace(0, -2, 500)  # a spectrum as of real layers: a few directions hold it
    assert 0 < score("svcca", x * falling, y * falling, rank=0.5) < 0.5


def test_a_decomposition_that_does_not_converge_is_done_otherwise(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = related(rng, KINDS["random"])
    names = ("cca_mean", "svcca", "pwcca", "procrustes")
    expected = [score(name, x, y) for name in names]

    def refuse(*args: object, **more: object) -> None:
        raise torch.linalg.LinAlgError("the algorithm failed to converge")

    monkeypatch.setattr("torch.linalg.svd", refuse)
    assert [score(name, x, y) for name in names] == pytest.approx(expected, abs=1e-9)


def test_cca_saturates_where_it_is_refused(rng: torch.Generator) -> None:
    """Independent features score 1 when there are as many as samples: hence the refusal."""
    x, y = (torch.randn(20, 18, generator=rng) for _ in range(2))
    assert score("cca_mean", x, y) > 0.9

    for name in ("cca_mean", "pwcca"):
        with pytest.raises(ConfigError, match=r"got d=19 with n=20.*Use svcca"):
            bind(name).check(20, 19)
    with pytest.raises(ConfigError, match=r"rank must be smaller than n - 1 = 9"):
        bind("svcca", {"rank": 9}).check(10, 500)


def test_independent_features_have_the_known_canonical_correlations(
    rng: torch.Generator,
) -> None:
    """The mean squared correlation of independent features is max(d_x, d_y) / (n - 1)."""
    n, d_x, d_y = 200, 12, 5
    squares = []
    for _ in range(30):
        x, y = torch.randn(n, d_x, generator=rng), torch.randn(n, d_y, generator=rng)
        bases = [bind("cca_mean").summarize(z).basis for z in (x, y)]
        squares.append(float(torch.linalg.svdvals(bases[0].T @ bases[1]).square().mean()))
    expected = d_x / (n - 1)
    assert np.mean(squares) == pytest.approx(expected, abs=4 * np.std(squares) / 30**0.5)


@pytest.mark.parametrize("folds", [None, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_linear_predictivity_equals_regression_by_hand(
    rng: torch.Generator, kind: str, folds: int | None
) -> None:
    x, y = related(rng, KINDS[kind])
    parameters = {"penalty": 0.05, "folds": folds or "leave_one_out"}
    forward = oracles.ridge_r2(x.numpy(), y.numpy(), 0.05, folds)
    backward = oracles.ridge_r2(y.numpy(), x.numpy(), 0.05, folds)

    assert score("linear_predictivity", x, y, direction="x_to_y", **parameters) == pytest.approx(
        forward, abs=1e-7
    )
    assert score("linear_predictivity", x, y, direction="y_to_x", **parameters) == pytest.approx(
        backward, abs=1e-7
    )
    assert score("linear_predictivity", x, y, **parameters) == pytest.approx(
        (forward + backward) / 2, abs=1e-7
    )


def test_leave_one_out_agrees_with_scikit_learn(rng: torch.Generator) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    x, y = (z.numpy() for z in related(rng, KINDS["random"]))
    scale = ((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()
    found = cross_val_predict(Ridge(alpha=0.2 * scale), x, y, cv=LeaveOneOut())

    expected = 1 - ((y - found) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum()
    one, other = torch.from_numpy(x), torch.from_numpy(y)
    assert score(
        "linear_predictivity", one, other, penalty=0.2, direction="x_to_y"
    ) == pytest.approx(expected, abs=1e-9)


def test_a_linear_map_is_predicted_and_noise_is_not(rng: torch.Generator) -> None:
    x = torch.randn(100, 5, generator=rng)
    y = x @ torch.randn(5, 12, generator=rng)
    noise = torch.randn(100, 12, generator=rng)

    assert score("linear_predictivity", x, y, penalty=1e-4) > 0.999
    assert -0.5 < score("linear_predictivity", x, noise) < 0
    with pytest.raises(ConfigError, match="50 folds of 60 samples"):
        bind("linear_predictivity", {"folds": 50}).check(60, 3)


def test_fixed_folds_stay_with_their_samples(rng: torch.Generator) -> None:
    """A reordering that keeps the folds apart gives what the reordered features give."""
    x, y = related(rng, KINDS["random"])
    order = np.arange(24).reshape(-1, 3)[:, [2, 0, 1]]  # permutes the folds, then the samples
    order = order[np.random.default_rng(0).permutation(8)].ravel()
    metric = bind("linear_predictivity", {"folds": 3})

    moved = metric.reorder(metric.summarize(y), order)
    again = metric.summarize(y[torch.from_numpy(order)])
    one = metric.summarize(x)
    assert metric.compare([one], [moved]) == pytest.approx(metric.compare([one], [again]), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_unit_matching_equals_its_oracle(rng: torch.Generator, kind: str) -> None:
    x, y = related(rng, KINDS[kind])
    expected = oracles.unit_matching(x.numpy(), y.numpy())

    assert score("unit_matching", x, y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("split_half", [False, True])
def test_equal_units_are_matched_one_to_one(
    rng: torch.Generator, split_half: bool, kind: torch.dtype
) -> None:
    """A unit that is there twice has two equally good matches, and takes one of them."""
    x = torch.randn(200, 37, generator=rng, dtype=kind)
    twice = torch.cat([x, 3 * x.flip(1) + 1], dim=1)  # up to rounding

    for one, other in ((twice, twice), (twice, x), (x, twice)):
        assert score("unit_matching", one, other, split_half=split_half) == 1


def test_matches_of_equal_units_equal_brute_force(rng: torch.Generator) -> None:
    """A few levels only, so that many correlations are equal."""
    for _ in range(20):
        x, y = (torch.randint(-1, 2, (6, 5), generator=rng).double() for _ in range(2))
        expected = oracles.unit_matching(x.numpy(), y.numpy())
        assert score("unit_matching", x, y) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_matches_found_in_both_halves(rng: torch.Generator) -> None:
    x = torch.randn(60, 10, generator=rng)
    y = torch.cat([x[:, [3, 1]], torch.randn(60, 8, generator=rng)], dim=1)

    assert score("unit_matching", x, y, split_half=True) >= 2 / 10
    whole = score("unit_matching", x, torch.randn(60, 10, generator=rng))
    halves = score("unit_matching", x, torch.randn(60, 10, generator=rng), split_half=True)
    assert halves < whole  # chance matches seldom repeat
    even, odd = x.clone(), x.clone()
    even[1::2], odd[::2] = torch.randn(30, 10, generator=rng), torch.randn(30, 10, generator=rng)
    assert score("unit_matching", even, x, split_half=True) < 0.5
    assert score("unit_matching", odd, x, split_half=True) < 0.5


def test_dead_units_are_not_counted(rng: torch.Generator) -> None:
    x = torch.randn(40, 4, generator=rng)
    padded = torch.cat([x, torch.zeros(40, 6)], dim=1)
    assert score("unit_matching", padded, x) == score("unit_matching", x, padded) == 1
