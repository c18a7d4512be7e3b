"""Kernel metrics: by oracle, by theory, at chance, at the edges."""

import math
from collections.abc import Callable

import numpy as np
import oracles
import pytest
import torch
from metric_inputs import KINDS, related
from scipy import stats
from torch import Tensor

from platorep.errors import ConfigError
from platorep.metrics import bind
from platorep.metrics.claims import random_rotation
from platorep.metrics.rsa import groups_of_equal, sample_triplets


def score(name: str, x: Tensor, y: Tensor, **parameters: object) -> float:
    metric = bind(name, parameters)
    return float(metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0])


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize(
    ("kernel", "sigma"), [("linear", None), ("rbf", None), ("rbf", 0.4), ("rbf", 300.0)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_cka_equals_its_oracle(
    rng: torch.Generator, kind: str, kernel: str, sigma: float | None, estimator: str
) -> None:
    x, y = related(rng, KINDS[kind])
    wide = sigma == 300
    if sigma is not None and kind == "nearly constant":
        sigma = sigma * 1e-4
    width = {} if sigma is None else {"sigma": sigma}

    found = score("cka", x, y, kernel=kernel, estimator=estimator, **width)

    expected = oracles.cka(x.numpy(), y.numpy(), kernel, sigma, estimator == "debiased")
    # a very wide kernel is 1 minus 1e-5: the oracle itself loses digits
    assert found == pytest.approx(expected, abs=1e-6 if wide else 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_rv_is_linear_cka(rng: torch.Generator, kind: str) -> None:
    x, y = related(rng, KINDS[kind])
    assert score("rv", x, y) == score("cka", x, y)


def test_rv_of_two_features_is_their_squared_correlation(rng: torch.Generator) -> None:
    x = torch.randn(50, 1, generator=rng, dtype=torch.float64)
    y = x + torch.randn(50, 1, generator=rng, dtype=torch.float64)

    expected = np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2
    assert score("rv", x, y) == pytest.approx(expected, abs=1e-12)


def test_debiased_cka_of_independent_wide_features_is_zero(rng: torch.Generator) -> None:
    """The biased estimate rises with width; the debiased does not, in float32 either."""
    biased, debiased = [], []
    for _ in range(20):
        x, y = (torch.randn(64, 512, generator=rng) + 3 for _ in range(2))
        biased.append(score("cka", x, y))
        debiased.append(score("cka", x, y, estimator="debiased"))

    assert min(biased) > 0.8
    assert np.mean(debiased) == pytest.approx(0, abs=4 * np.std(debiased) / 20**0.5)
    assert np.std(debiased) < 0.05
    assert bind("cka", {"estimator": "debiased"}).chance(64) == 0


@pytest.mark.parametrize(("n", "expected"), [(32, 0.198), (64, 0.114), (128, 0.056)])
def test_biased_cka_of_independent_normals(rng: torch.Generator, n: int, expected: float) -> None:
    """Third-party figures (8 independent features would give about 2 d / (n + d))."""
    d = {0.198: 8, 0.114: 8, 0.056: 8}[expected]
    found = [
        score("cka", torch.randn(n, d, generator=rng), torch.randn(n, d, generator=rng))
        for _ in range(50)
    ]
    assert np.mean(found) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_float32_keeps_the_digits_of_nearly_constant_layers(
    rng: torch.Generator, estimator: str
) -> None:
    """A large common offset must not drown the differences."""
    x = torch.randn(100, 64, generator=rng)
    y = x @ torch.randn(64, 30, generator=rng) + torch.randn(100, 30, generator=rng)
    offset = 1000 * torch.randn(64, generator=rng)

    shifted = (x + offset).double()  # the same numbers in both precisions
    expected = score("cka", shifted, y.double(), estimator=estimator)
    assert score("cka", shifted.float(), y, estimator=estimator) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_linear_cka_of_many_samples_works_on_features(
    rng: torch.Generator, estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(60, 20, generator=rng) + 2
    y = x[:, :9] + torch.randn(60, 9, generator=rng)
    order = np.random.default_rng(0).permutation(60)
    metric = bind("cka", {"estimator": estimator})

    def run() -> list[float]:
        one, other = metric.summarize(x), metric.summarize(y)
        return [
            float(metric.compare([one], [other])[0, 0]),
            float(metric.compare([one], [one])[0, 0]),
            float(metric.prepare([one], [other])(order)[0, 0]),
            float(metric.compare([one], [metric.reorder(other, order)])[0, 0]),
        ]

    expected = run()
    monkeypatch.setattr("platorep.metrics.kernels.GRAM_ROWS", 10)
    assert run() == pytest.approx(expected, abs=1e-6)
    constant = metric.summarize(torch.ones(60, 3))
    assert np.isnan(metric.compare([constant], [constant])).all()


def test_metrics_of_all_pairs_say_how_many_samples_they_take() -> None:
    for name, parameters in (("cka", {"kernel": "rbf"}), ("rsa", {}), ("cknna", {})):
        with pytest.raises(ConfigError, match=r"n <= 16384, got 20000.*GiB"):
            bind(name, parameters).check(20000, 10)
    bind("cka").check(20000, 10)


@pytest.mark.parametrize("variant", ["centred", "paper", "code"])
@pytest.mark.parametrize("k", [2, 7, 23])
@pytest.mark.parametrize("kind", KINDS)
def test_cknna_equals_its_oracle(rng: torch.Generator, kind: str, k: int, variant: str) -> None:
    x, y = related(rng, KINDS[kind])

    found = score("cknna", x, y, k=k, variant=variant)

    expected = oracles.cknna(x.numpy(), y.numpy(), k, variant)
    if kind == "nearly constant" and variant == "code" and k == 23:
        # all of the raw kernel but rounding is masked away and centred away: no number, or none
        assert math.isnan(found) or math.isnan(expected) or abs(found - expected) < 1e-6
        return
    assert found == pytest.approx(expected, abs=1e-7 if kind == "nearly constant" else 1e-10)


def test_cknna_ends_at_debiased_cka(rng: torch.Generator) -> None:
    x, y = related(rng, KINDS["random"])
    expected = score("cka", x, y, estimator="debiased")

    assert score("cknna", x, y, k=23) == pytest.approx(expected, abs=1e-12)
    assert score("cknna", x, y, k=23, kernel="rbf") == pytest.approx(
        score("cka", x, y, estimator="debiased", kernel="rbf"), abs=1e-12
    )


def test_only_the_code_variant_of_cknna_exceeds_one(rng: torch.Generator) -> None:
    """Independent features around a common mean, many neighbors."""
    x, y = (torch.randn(128, 32, generator=rng) + 2 for _ in range(2))

    assert score("cknna", x, y, k=112, variant="code") > 1
    for variant in ("paper", "centred"):
        assert -1 <= score("cknna", x, y, k=112, variant=variant) <= 1


@pytest.mark.parametrize("compare", ["spearman", "pearson", "kendall"])
@pytest.mark.parametrize("rdm", ["correlation", "cosine", "euclidean"])
@pytest.mark.parametrize("kind", KINDS)
def test_rsa_equals_its_oracle(rng: torch.Generator, kind: str, rdm: str, compare: str) -> None:
    x, y = (z[:16] for z in related(rng, KINDS[kind]))

    found = score("rsa", x, y, rdm=rdm, compare=compare)

    expected = oracles.rsa(x.numpy(), y.numpy(), rdm, compare)
    # nearly constant rows leave few digits, and so a few ranks, to chance
    assert found == pytest.approx(expected, abs=1e-6 if kind == "nearly constant" else 1e-9)


def sparse_codes(rng: torch.Generator) -> Tensor:
    codes = (torch.rand(24, 12, generator=rng, dtype=torch.float64) < 0.25).double()
    codes[:, 0] = 1 - codes[:, 1:].any(dim=1).double()  # no row of zeros
    return codes


def grid(rng: torch.Generator) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(1.0, 4.0, dtype=torch.float64)] * 2)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("compare", ["spearman", "kendall"])
@pytest.mark.parametrize("rdm", ["cosine", "euclidean"])
@pytest.mark.parametrize("make", [sparse_codes, grid])
def test_dissimilarities_that_are_equal_up_to_rounding_are_equal(
    rng: torch.Generator,
    make: Callable[[torch.Generator], Tensor],
    rdm: str,
    compare: str,
    kind: torch.dtype,
) -> None:
    """A rotation leaves few distinct values few, though their last digits differ."""
    x = make(rng)
    y = x + 0.5 * torch.randn(x.shape, generator=rng, dtype=torch.float64)
    rotation = random_rotation(x.shape[1], rng)
    expected = oracles.rsa(x.numpy(), y.numpy(), rdm, compare)
    rotated = (3 * x @ rotation).to(kind)

    assert score("rsa", x.to(kind), rotated, rdm=rdm, compare=compare) == pytest.approx(1, abs=1e-6)
    found = score("rsa", rotated, y.to(kind), rdm=rdm, compare=compare)
    # float32 cannot order all pairs of y
    assert found == pytest.approx(expected, abs=1e-4 if kind == torch.float32 else 1e-9)
    triplets = {"triplets": 5000, "similarity": rdm}
    plain = score("ordinal_triplets", x.to(kind), y.to(kind), **triplets)
    assert score("ordinal_triplets", rotated, y.to(kind), **triplets) == plain
    assert plain < 0.99


def test_ranks_of_ties_worked_by_hand() -> None:
    values = np.array([0.3, 0.1, 0.3 + 1e-7, 0.2, 0.1 - 1e-7], dtype=np.float32)

    groups, ranks = groups_of_equal(values, 1e-6)
    assert ranks[groups].tolist() == [4.5, 1.5, 4.5, 3, 1.5]
    groups, ranks = groups_of_equal(values, 0.0)
    assert ranks[groups].tolist() == [4, 2, 5, 3, 1]
    crowded = np.linspace(0, 1, 100_001)  # nobody is alone, and yet they are not all one
    groups, ranks = groups_of_equal(crowded, 1e-5)
    assert 20_000 <= groups.max() <= 30_000
    assert ranks[groups] == pytest.approx(np.arange(1, 100_002), abs=2.5)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("compare", ["spearman", "pearson", "kendall"])
@pytest.mark.parametrize("rdm", ["cosine", "correlation"])
def test_rows_of_one_direction_have_a_reason_and_no_number(
    rng: torch.Generator, rdm: str, compare: str, kind: torch.dtype
) -> None:
    """A layer of rank one: only the lengths of its rows differ, which these do not see."""
    lengths = torch.rand(60, 1, generator=rng, dtype=torch.float64) + 0.1
    one = (lengths @ torch.randn(1, 32, generator=rng, dtype=torch.float64)).to(kind)
    one = one @ random_rotation(32, rng).to(kind)
    other = torch.randn(60, 8, generator=rng)
    metric = bind("rsa", {"rdm": rdm, "compare": compare})
    summary = metric.summarize(one)

    assert "one direction" in str(metric.degenerate(summary))
    assert np.isnan(metric.compare([summary], [metric.summarize(other)])).all()
    assert np.isfinite(score("rsa", one, other, rdm="euclidean", compare=compare))
    triplets = bind("ordinal_triplets", {"triplets": 100})
    assert "one direction" in str(triplets.degenerate(triplets.summarize(one)))


def test_equal_dissimilarities_have_a_reason_and_no_number(rng: torch.Generator) -> None:
    """Orthogonal rows: everybody is equally far from everybody."""
    x = random_rotation(30, rng).float()
    for compare in ("spearman", "pearson", "kendall"):
        metric = bind("rsa", {"rdm": "euclidean", "compare": compare})
        assert metric.degenerate(metric.summarize(x)) is not None
        assert math.isnan(score("rsa", x, x, rdm="euclidean", compare=compare))


@pytest.mark.parametrize("name", ["rsa", "cka", "rv", "procrustes", "cca_mean"])
def test_scores_of_float32_stay_in_range(rng: torch.Generator, name: str) -> None:
    for n in (100, 120, 140, 160):
        x = torch.randn(n, 24, generator=rng)
        metric = bind(name)
        summaries = [metric.summarize(z) for z in (x, 2 * x, x @ random_rotation(24, rng).float())]
        found = metric.compare(summaries, summaries)
        prepared = metric.prepare(summaries, summaries)(np.arange(n))
        assert max(found.max(), prepared.max()) <= 1
        assert found.diagonal() == pytest.approx(1, abs=1e-5)


def test_rsa_agrees_with_scipy(rng: torch.Generator) -> None:
    x, y = related(rng, KINDS["random"])
    from scipy.spatial.distance import pdist

    one, other = pdist(x.numpy(), "correlation"), pdist(y.numpy(), "correlation")
    for compare, function in (
        ("spearman", stats.spearmanr),
        ("pearson", stats.pearsonr),
        ("kendall", stats.kendalltau),
    ):
        expected = function(one, other).statistic
        assert score("rsa", x, y, compare=compare) == pytest.approx(expected, abs=1e-12)


def test_equal_rows_tie_exactly_in_float32(rng: torch.Generator) -> None:
    """With few distinct rows most dissimilarities are equal: their ranks must be too."""
    x, y = (torch.randn(4, 300, generator=rng)[torch.arange(80) % 4] for _ in range(2))

    for compare in ("spearman", "kendall"):
        expected = score("rsa", x.double(), y.double(), compare=compare)
        assert score("rsa", x, y, compare=compare) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "inner_product", "euclidean"])
@pytest.mark.parametrize("kind", KINDS)
def test_ordinal_triplets_equal_their_oracle(
    rng: torch.Generator, kind: str, similarity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = related(rng, KINDS[kind])
    triplets = sample_triplets(len(x), 2000, 3)
    some = [tuple(t) for t in triplets.T.tolist()]

    expected = oracles.triplet_agreement(x.numpy(), y.numpy(), some, similarity)
    parameters = {"similarity": similarity, "triplets": 2000, "seed": 3}
    assert score("ordinal_triplets", x, y, **parameters) == pytest.approx(expected, abs=2e-3)
    monkeypatch.setattr("platorep.metrics.rsa.GRAM_ROWS", 10)
    assert score("ordinal_triplets", x, y, **parameters) == pytest.approx(expected, abs=2e-3)


def test_triplets_are_three_different_samples_and_all_occur() -> None:
    triplets = sample_triplets(5, 5000, 0)
    found = {tuple(t) for t in triplets.T.tolist()}

    assert all(len(set(t)) == 3 for t in found)
    assert len(found) == 5 * 4 * 3
    counts = np.unique(triplets, axis=1, return_counts=True)[1]
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("rsa", {}), ("rsa", {"rdm": "euclidean"}), ("ordinal_triplets", {"triplets": 5000})],
)
def test_independent_features_score_at_chance(
    rng: torch.Generator, name: str, parameters: dict[str, object]
) -> None:
    found = [
        score(name, *(torch.randn(60, 10, generator=rng) for _ in range(2)), **parameters)
        for _ in range(30)
    ]
    chance = bind(name, parameters).chance(60)
    assert np.mean(found) == pytest.approx(chance, abs=4 * np.std(found) / math.sqrt(30))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cka", {}),
        ("cka", {"estimator": "debiased"}),
        ("cka", {"kernel": "rbf"}),
        ("rsa", {}),
        ("distance_correlation", {}),
        ("distance_correlation", {"estimator": "debiased"}),
        ("cknna", {}),
        ("cknna", {"variant": "paper"}),
        ("procrustes", {}),
        ("permutation_procrustes", {}),
        ("gulp", {}),
        ("cca_mean", {}),
        ("svcca", {"rank": 3}),
        ("linear_predictivity", {}),
        ("unit_matching", {}),
    ],
)
def test_a_constant_layer_has_a_reason_and_no_number(
    rng: torch.Generator, name: str, parameters: dict[str, object]
) -> None:
    metric = bind(name, parameters)
    constant = metric.summarize(torch.full((30, 4), 0.1))
    plain = metric.summarize(torch.randn(30, 4, generator=rng))

    assert metric.degenerate(constant) == "constant: all rows are equal"
    assert metric.degenerate(plain) is None
    found = metric.compare([constant, plain], [constant, plain])
    assert np.isfinite(found[1, 1])
    assert np.isnan(found[0, 1])
    assert np.isnan(found[1, 0])
