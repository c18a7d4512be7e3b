"""Neighbors from products in few digits: the bound of their error holds, and the lists are those
of float32 and float64, ties included."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from platorep.metrics.layer import Layer, Vectors
from platorep.metrics.nearest import Nearest, Search
from platorep.metrics.rounded import FEWEST_ROWS, FEWEST_VALUES, Rounded, fastest
from platorep.metrics.shortlist import narrow, segments, shortlist

N, D = 400, 24
SIMILARITIES = ("cosine", "euclidean", "inner_product")
DTYPES = (torch.bfloat16, torch.float16)


def falling(x: Tensor) -> Tensor:
    """A spectrum such as those of networks."""
    return x * torch.arange(1, x.shape[1] + 1).float() ** -0.7


def copied(x: Tensor) -> Tensor:
    x[N // 2 :] = x[: N - N // 2]
    return x


LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "isotropic": lambda x: x,
    "falling spectrum": falling,
    "far from the origin": lambda x: x + 30,
    "copies": copied,
    "few values": lambda x: x.round() + 0.5,
    "lengths that differ": lambda x: x * torch.linspace(0.01, 3, len(x))[:, None].exp(),
    "tiny": lambda x: x * 1e-9,
}


@pytest.fixture(params=LAYERS)
def features(request: pytest.FixtureRequest, rng: torch.Generator) -> Tensor:
    return LAYERS[request.param](torch.randn(N, D, generator=rng))


def search(features: Tensor, similarity: str) -> Search:
    return Search(Layer(features), similarity, center=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_no_score_errs_by_more_than_its_bound(
    features: Tensor, similarity: str, dtype: torch.dtype, level: float
) -> None:
    vectors = search(features, similarity)._vectors
    inner = similarity == "inner_product"
    level *= vectors.reach**2
    rounded = Rounded(vectors, dtype, padded=N + 5, inner=inner, level=level)
    whole = slice(0, N)
    scores = rounded.scores(whole)
    middle = vectors.middle.double()
    rows = vectors.exact(whole) - middle
    exact = rows @ rows.T + (rows @ middle if inner else rows.square().sum(dim=1) / -2)
    found = (scores[:, :N].double() + rounded.missing) * rounded.unscale + level
    error = (found - exact).abs().fill_diagonal_(0)
    bound = torch.stack([rounded.error(whole, scores[:, j].float()) for j in range(N)], dim=1)
    bound *= rounded.unscale

    assert (error <= bound.fill_diagonal_(torch.inf)).all()
    assert (scores[:, N:] == -torch.inf).all()
    assert (scores.diagonal() == -torch.inf).all()


def same(one: Nearest, other: Nearest) -> bool:
    """To the bit, the ties in whatever order they are listed."""

    def ties(of: Nearest) -> list[tuple[int, int, float]]:
        if of.ties is None:
            return []
        columns = (of.ties.rows, of.ties.columns, of.ties.weights)
        return sorted(zip(*(column.tolist() for column in columns), strict=True))

    return np.array_equal(one.neighbors, other.neighbors) and ties(one) == ties(other)


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_every_way_gives_the_same_lists(
    features: Tensor, similarity: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platorep.metrics.nearest.MOST_AGAIN", {"cpu": 1.0})  # never gives up
    monkeypatch.setattr("platorep.metrics.nearest.ROUNDED_ENTRIES", 100 * N)  # blocks
    split = segments(N, k)
    assert split is not None
    expected = search(features, similarity)._from_products(k)
    for dtype in DTYPES:
        found = search(features, similarity)._from_rounded(k, dtype, split)
        assert found is not None
        assert same(found, expected)


def test_too_much_to_compare_again_is_given_up(rng: torch.Generator) -> None:
    features = torch.randn(1, D, generator=rng) + 1e-6 * torch.randn(N, D, generator=rng)
    features[0] *= -1  # one row far away: to few digits all others are one
    split = segments(N, 3)
    assert split is not None

    assert search(features, "euclidean")._from_rounded(3, torch.bfloat16, split) is None


def test_scores_beyond_the_type_are_given_up(rng: torch.Generator) -> None:
    features = torch.randn(N, D, generator=rng) + 1e5
    split = segments(N, 1)
    assert split is not None

    assert search(features, "inner_product")._from_rounded(1, torch.float16, split) is None


@pytest.mark.parametrize("k", [1, 5])
def test_a_short_list_holds_whoever_may_be_nearest(k: int, rng: torch.Generator) -> None:
    truth = torch.rand(60, 200, generator=rng)
    split, error = segments(200, k), 0.05
    assert split is not None
    scores = torch.full((60, split.padded), -torch.inf)
    scores[:, :200] = truth + error * (2 * torch.rand(60, 200, generator=rng) - 1)

    missing = 0.1 * torch.rand(200, generator=rng)
    scores[:, :200] -= missing
    short = shortlist(scores, k, split, lambda cut: torch.full_like(cut, error), missing)
    found = narrow(short.values - error, short.values + error, k)

    nearest = truth.topk(k, dim=1).indices
    for row in range(60):
        wanted = set(nearest[row].tolist())
        sure = set(short.columns[row][found.sure[row]].tolist())
        near = set(short.columns[row][found.near[row]].tolist())
        assert sure <= wanted <= sure | near
        assert bool(found.is_open[row]) == (len(sure | near) > k)


def test_a_bound_that_is_too_small_loses_some(rng: torch.Generator) -> None:
    """The control of the test above."""
    truth = torch.rand(200, 200, generator=rng)
    scores = truth + 0.05 * (2 * torch.rand(200, 200, generator=rng) - 1)
    split = segments(200, 1)
    assert split is not None
    padded = torch.nn.functional.pad(scores, (0, split.padded - 200), value=-torch.inf)

    nothing = torch.zeros(200)
    short = shortlist(padded, 1, split, lambda cut: torch.full_like(cut, 0.001), nothing)

    best = truth.argmax(dim=1)[:, None]
    assert not (short.columns == best).any(dim=1).all()


def test_which_products_are_fastest_is_asked_for_many_rows_in_float32_alone() -> None:
    def asked(n: int, d: int, dtype: torch.dtype = torch.float32) -> torch.dtype | None:
        return fastest(Vectors(torch.ones(n, d, dtype=dtype)))

    few, width = FEWEST_ROWS["cpu"], FEWEST_VALUES["cpu"] // FEWEST_ROWS["cpu"]

    assert asked(few - 1, 2 * width) is None
    assert asked(few, width - 1) is None
    assert asked(few, width, torch.float64) is None
    assert asked(few, width) in (None, torch.bfloat16)
