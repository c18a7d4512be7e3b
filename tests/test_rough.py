"""What products in few digits leave of a gallery is what float32 products of all would leave."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
import torch
from test_gallery_search import in_blocks
from torch import Tensor

from platorep.align.gallery import levels
from platorep.metrics import candidates, rough
from platorep.metrics.gallery import Galleries, search_galleries
from platorep.metrics.layer import Vectors
from platorep.metrics.nearest import Nearest
from platorep.metrics.rough import RoughProducts
from platorep.metrics.selection import Pairs, pairs_of

N, Q, SIZES = 700, 24, (80, 250, 700)
WANTED = [(80, 3), (250, 1), (250, 25), (N, 10), (N, 70)]


def noise(d: int = 40) -> Tensor:
    return torch.randn(N, d, generator=torch.Generator().manual_seed(0))


def near_copies() -> Tensor:
    rows = noise()
    rows[300:] = rows[:400] + 1e-4 * rows[300:]
    rows[500:520] = rows[5]
    return rows


def with_zeros() -> Tensor:
    rows = noise()
    rows[[30, 31, 400]] = 0
    return rows


def zero_queries() -> Tensor:
    rows = noise()
    rows[[3, 400]] = 0
    return rows


ADVERSE: dict[str, Callable[[], Tensor]] = {
    "noise": noise,
    "near copies": near_copies,
    "narrow": lambda: noise(2),
    "a large common part": lambda: noise() + 300,
    "rows of zeros": with_zeros,
    "a query of zeros": zero_queries,
    "different lengths": lambda: noise() * noise(1).div(4).exp(),
    "very different lengths": lambda: noise() * noise(1).mul(3).exp(),
    "tiny": lambda: noise() * 1e-12,
    "few values": lambda: noise(16).sign(),
    "steep spectrum": lambda: noise() * torch.arange(1, 41) ** -1.5,
}
FALL_BACK = "a query of zeros", "tiny", "very different lengths"


@pytest.fixture
def always_rough(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rough products wherever they are safe; returns how many pairs each block left."""
    left: list[int] = []
    near = RoughProducts.near

    def counted(self: RoughProducts, *args: object) -> tuple[Pairs, Tensor] | None:
        found = near(self, *args)  # type: ignore[arg-type]
        left.append(-1 if found is None else len(found[0].columns))
        return found

    monkeypatch.setattr(rough, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(rough, "LEAST_UNITS", 1)
    monkeypatch.setattr(rough, "MOST_SHARE", 0.9)
    monkeypatch.setattr(RoughProducts, "near", counted)
    return left


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("kind", ADVERSE)
def test_lists_are_those_of_float32_products(
    kind: str, similarity: str, always_rough: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = ADVERSE[kind]()
    sources = np.arange(N) // 2 if similarity == "euclidean" else None
    among = Galleries(Q, SIZES, levels(N, Q, SIZES, seed=0), sources)
    monkeypatch.setitem(candidates.BLOCK_ENTRIES, "cpu", Q * 50)

    def found() -> dict[tuple[int, int], Nearest]:
        return search_galleries(
            features[:Q], in_blocks(features, 90), among, WANTED, similarity=similarity
        )

    roughly = found()
    monkeypatch.setattr(rough, "multiplies_bfloat16", lambda: False)
    plainly = found()

    np.testing.assert_equal(
        [asdict(lists) for lists in roughly.values()], [asdict(lists) for lists in plainly.values()]
    )
    if kind not in FALL_BACK:
        assert any(0 < count < Q * 25 for count in always_rough)


def test_errors_that_all_point_one_way_are_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each value is rounded by nearly as much as can be, down in the queries and in the rows."""
    d, rng = 120, torch.Generator().manual_seed(1)
    signs = torch.randn(300, d, generator=rng).sign()
    signs[:, :100] = 1
    rows = signs * (1 + 0.99 * 2**-8)
    own = Vectors(torch.cat([rows[:10], -rows[:10]]))  # around an origin of zero
    products = RoughProducts(own)
    monkeypatch.setattr(rough, "MOST_SHARE", 1.0)
    exact = own.around_origin.double() @ rows.double().T

    def reached(scores: Tensor, floor: Tensor) -> Pairs:
        return pairs_of(scores >= floor[0][:, None])

    for rank in (1, 20, 150):
        floor = exact.topk(rank, dim=1).values[:, -1:].T.float()
        found = products.near(rows, torch.zeros(300), floor, reached)
        assert found is not None
        assert (found[0].counts >= rank).all()
    scores, error, middle = products._scores(rows, torch.zeros(300))
    off = (scores.double() + middle - exact).abs() - 2**-8 * exact.abs()
    assert (off <= error[:, None]).all()
    assert (off > 0.4 * error[:, None]).any()  # the bound is needed


def test_where_too_much_is_left_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = noise()
    products = RoughProducts(Vectors(rows[:Q]))
    tries = []

    def everything(scores: Tensor, floor: Tensor) -> Pairs:
        tries.append(len(tries))
        return pairs_of(torch.ones_like(scores, dtype=torch.bool))

    floor = torch.full((1, Q), -1e30)
    for _ in range(16):
        assert products.near(rows[:10], torch.zeros(10), floor, everything) is None
    assert len(tries) == 5  # after 1, 2, 4, 8 and 16 blocks
