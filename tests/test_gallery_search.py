"""Nearest neighbors in nested galleries, against loops and sets, and the search of all rows."""

import pickle
from collections.abc import Iterator, Sequence

import numpy as np
import oracles
import pytest
import torch
from torch import Tensor

from platorep.align.gallery import levels
from platorep.errors import DataError
from platorep.metrics import bind, candidates
from platorep.metrics.gallery import (
    Block,
    Blocks,
    Found,
    Galleries,
    GallerySearch,
    search_galleries,
)
from platorep.metrics.nearest import Nearest
from platorep.metrics.overlap import chance_with_sources, common_neighbors, in_order

N, Q, SIZES = 90, 12, (12, 40, 90)
WANTED = [(n, k) for n in SIZES for k in (1, 5, 11)]


def in_blocks(features: Tensor, size: int) -> Blocks:
    """The rows as an align stage reads them; keeps count of how often they are all read."""

    def blocks(rows: np.ndarray | None) -> Iterator[Block]:
        for start in range(0, len(features), size):
            here = np.arange(start, min(start + size, len(features)))
            if rows is not None:
                here = rows[(rows >= here[0]) & (rows <= here[-1])]
            if len(here):
                yield here, features[torch.from_numpy(here)]

    return blocks


def galleries(sources: np.ndarray | None = None) -> Galleries:
    return Galleries(Q, SIZES, levels(N, Q, SIZES, seed=0), sources)


def members(n: int) -> list[int]:
    return np.flatnonzero(levels(N, Q, SIZES, seed=0) <= SIZES.index(n)).tolist()


def awkward(seed: int, d: int = 4) -> Tensor:
    """Features with copies among queries and others, near copies and a row of zeros."""
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(N, d, generator=rng)
    features[[50, 51, 60, 61, 62]] = features[0].clone()
    features[[3, 70]] = features[20].clone()
    features[80:84] = features[30] * (1 + 1e-7 * torch.randn(4, d, generator=rng))
    features[25] = 0
    return features


def find(
    features: Tensor,
    similarity: str = "cosine",
    sources: np.ndarray | None = None,
    wanted: Sequence[tuple[int, int]] = WANTED,
) -> dict[tuple[int, int], Nearest]:
    return search_galleries(
        features[:Q],
        in_blocks(features, 7),
        galleries(sources),
        wanted,
        similarity=similarity,
    )


def shares(nearest: Nearest, query: int) -> dict[int, float]:
    """Neighbor -> its share of a place."""
    ties = nearest.ties
    if ties is not None and query in ties.rows:
        here = ties.rows == query
        return dict(zip(ties.columns[here].tolist(), ties.weights[here].tolist(), strict=True))
    return dict.fromkeys(nearest.neighbors[query].tolist(), 1.0)


def test_galleries_are_nested_and_hold_the_queries() -> None:
    level = levels(N, Q, (20, 40, 90), seed=3)

    assert (level[:Q] == 0).all()
    assert [int((level <= i).sum()) for i in range(3)] == [20, 40, 90]
    assert (levels(N, Q, (40,), seed=3) == 0).tolist() == (level <= 1).tolist()
    assert (levels(N, Q, (40,), seed=4) == 0).tolist() != (level <= 1).tolist()


def test_neighbors_equal_loops_and_sets() -> None:
    features = awkward(0)

    found = find(features)

    own = list(range(N))  # each row its own source
    for n, k in WANTED:
        for query in range(Q):
            expected = oracles.nearest_sources(features.tolist(), query, members(n), own, k)
            assert shares(found[n, k], query) == pytest.approx(expected)
    assert any(nearest.ties is not None for nearest in found.values())


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("power", [-200, -80, 80, 200])
def test_lists_do_not_depend_on_the_size_of_features(similarity: str, power: int) -> None:
    """Nor where the squares of float32 are no numbers."""
    features = awkward(0)
    if abs(power) > 100:
        features = features.double()

    expected, found = find(features, similarity), find(features * 2.0**power, similarity)

    for wanted in WANTED:
        for query in range(Q):
            assert shares(found[wanted], query) == shares(expected[wanted], query)


def test_what_counts_as_zero_does_not_depend_on_blocks() -> None:
    features = awkward(0) * torch.linspace(-20, 20, N)[:, None].exp()

    one, other = (
        search_galleries(
            features[:Q],
            in_blocks(features, size),
            galleries(),
            WANTED,
            similarity="cosine",
            center=True,
        )
        for size in (7, N)
    )

    for wanted in WANTED:
        for query in range(Q):
            assert shares(one[wanted], query) == shares(other[wanted], query)


def test_sources_equal_loops_and_sets() -> None:
    """Also where a source is in a gallery with some of its rows only."""
    features = awkward(1)
    sources = np.random.default_rng(0).integers(0, 30, N)
    wanted = [(12, 1), (12, 3), (40, 1), (40, 9), (90, 4), (90, 20)]

    found = find(features, sources=sources, wanted=wanted)

    for n, k in wanted:
        for query in range(Q):
            expected = oracles.nearest_sources(
                features.tolist(), query, members(n), sources.tolist(), k
            )
            assert shares(found[n, k], query) == pytest.approx(expected), (n, k, query)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "inner_product"])
def test_the_largest_gallery_is_the_search_of_all_rows(similarity: str, center: bool) -> None:
    features = awkward(2)
    metric = bind("mutual_knn", {"k": 5, "similarity": similarity, "center": center})
    every = Galleries(N, (N,), np.zeros(N, dtype=np.int8))

    found = search_galleries(
        features, in_blocks(features, 13), every, [(N, 5)], similarity=similarity, center=center
    )[N, 5]

    whole = metric.summarize(features).nearest  # type: ignore[attr-defined]
    for query in range(N):
        assert shares(found, query) == pytest.approx(shares(whole, query))


def test_blocks_and_room_move_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, sources = awkward(3), np.arange(N) // 3
    wanted = [(12, 1), (12, 3), (40, 9), (90, 4), (90, 20)]
    for given in (None, sources):
        before = find(features, sources=given, wanted=wanted)
        with monkeypatch.context() as patch:
            patch.setitem(candidates.BLOCK_ENTRIES, "cpu", Q * 2)  # two rows, and little room
            patch.setitem(candidates.CHUNK_ENTRIES, "cpu", 64)
            after = find(features, sources=given, wanted=wanted)
        for key in wanted:
            for query in range(Q):
                assert shares(after[key], query) == shares(before[key], query)


@pytest.mark.parametrize("similarity", ["cosine", "inner_product"])
@pytest.mark.parametrize("rows_per_source", [None, 3])
def test_what_several_find_among_their_rows_is_what_one_finds_among_all(
    similarity: str, rows_per_source: int | None
) -> None:
    """Rows that are nowhere, rows much longer than the queries, and copies in several parts."""
    features = awkward(4)
    features[60:80] *= 1000
    sources = None if rows_per_source is None else np.arange(N) // rows_per_source
    wanted = [(12, 1), (12, 3), (40, 9), (90, 4), (90, 20)]
    blocks, among = in_blocks(features, 7), galleries(sources)

    def search() -> GallerySearch:
        return GallerySearch(features[:Q], among, wanted, similarity=similarity)

    def part(start: int, stop: int) -> Found:
        every = np.arange(start, stop)
        worker = search()
        worker.collect(lambda rows: blocks(every))
        return pickle.loads(pickle.dumps(worker.found()))

    driver = search()
    for start, stop in ((58, 90), (0, 5), (5, 58)):
        driver.take(part(start, stop))
    merged = driver.lists(blocks)

    whole = search_galleries(features[:Q], blocks, among, wanted, similarity=similarity)
    for key in wanted:
        assert (merged[key].neighbors == whole[key].neighbors).all()
        for query in range(Q):
            assert shares(merged[key], query) == shares(whole[key], query)


def test_rows_much_longer_than_the_queries_are_told_apart_as_well() -> None:
    """Their products are far less exact than the queries' own let expect."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(N, 4, generator=rng)
    far = torch.nn.functional.normalize(features[Q:].double(), dim=1)
    closer = torch.randn(N - Q, 1, generator=rng, dtype=torch.float64)
    features[Q:] = (1000 * far * (1 + 1e-7 * closer)).float()
    features[:Q] *= 1e-4

    found = find(features, "euclidean", wanted=[(90, 30)])[90, 30]

    distances = torch.cdist(
        features[:Q].double(), features.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    distances[range(Q), range(Q)] = torch.inf
    nearest = distances.topk(31, largest=False)
    clear = nearest.values[:, 30] - nearest.values[:, 29] > 1e-9
    assert clear.sum() > Q / 2
    for query in clear.nonzero().flatten().tolist():
        expected = set(nearest.indices[query, :30].tolist())
        assert set(found.neighbors[query].tolist()) == expected


@pytest.mark.parametrize("rows_per_source", [1, 3])
def test_what_a_product_cannot_tell_apart_is_told_apart(rows_per_source: int) -> None:
    """All but the queries are within a few of its errors of each other, near every last place."""
    rng = torch.Generator().manual_seed(6)
    features = torch.randn(N, 4, generator=rng)
    features[Q:] = features[Q] + 2e-5 * torch.randn(N - Q, 4, generator=rng)
    sources = np.arange(N) // rows_per_source
    wanted = [(40, 8), (90, 10), (90, 15), (90, 20)]

    found = find(features, sources=sources, wanted=wanted)

    for n, k in wanted:
        for query in range(Q):
            expected = oracles.nearest_sources(
                features.tolist(), query, members(n), sources.tolist(), k
            )
            assert shares(found[n, k], query) == pytest.approx(expected), (n, k, query)


def test_a_source_that_is_in_takes_no_part_in_a_tie() -> None:
    """Row 1 puts source 1 in; rows 2, 3 and 4 are tied for one more place, row 2 of source 1."""
    angles = torch.tensor([0.0, 0.1, 0.5, 0.5, 0.5, 2.0])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    sources = np.array([0, 1, 1, 2, 3, 4])
    few = Galleries(1, (6,), np.zeros(6, dtype=np.int8), sources)

    found = search_galleries(
        features[:1], in_blocks(features, 6), few, [(6, 2)], similarity="cosine"
    )[6, 2]

    assert shares(found, 0) == {1: 1.0, 2: 0.5, 3: 0.5}


def test_too_many_equal_rows_end_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MOST_ROOM", 1)
    monkeypatch.setitem(candidates.BLOCK_ENTRIES, "cpu", Q * 8)

    with pytest.raises(DataError, match=r"equally near to query 0.*deduplicate: near"):
        find(torch.ones(N, 4))


def test_too_few_sources_end_in_a_message() -> None:
    with pytest.raises(DataError, match="k=5: a query has only 2 sources beside its own"):
        find(awkward(0), sources=np.arange(N) % 3)


def test_common_neighbors_by_hand() -> None:
    x = Nearest(np.array([[1, 2], [3, 0]], dtype=np.int32), None)
    y = Nearest(np.array([[2, 4], [0, 3]], dtype=np.int32), None)

    assert common_neighbors(x, y, 5).tolist() == [1.0, 2.0]


def test_a_reordered_gallery_gives_the_reordered_lists() -> None:
    features = awkward(5)
    level = levels(N, Q, SIZES, seed=0)
    order = np.arange(N)
    rng = np.random.default_rng(1)
    order[:Q] = rng.permutation(Q)
    for joined in range(3):
        places = Q + np.flatnonzero(level[Q:] == joined)
        order[places] = rng.permutation(places)

    moved, found = find(features[torch.from_numpy(order)]), find(features)

    for key in WANTED:
        again = in_order(found[key], order)
        for query in range(Q):
            assert shares(moved[key], query) == pytest.approx(shares(again, query))


# --- chance ---


def test_equal_sources_have_the_chance_of_rows() -> None:
    found = chance_with_sources(np.full(21, 5), np.arange(4), 3)

    assert found == pytest.approx(3 / 20, abs=1e-12)


def test_one_neighbor_has_its_share_of_the_rows_as_chance() -> None:
    """One source of three rows and three of one: 1/6 and three times 1/6 of what is left."""
    sizes, own = np.array([2, 3, 1, 1, 1]), np.array([0])

    found = chance_with_sources(sizes, own, 1)

    assert found == pytest.approx((3 / 6) ** 2 + 3 * (1 / 6) ** 2, abs=1e-12)


@pytest.mark.parametrize("k", [1, 10, 40])
def test_unequal_sources_meet_as_often_as_in_random_orders(k: int) -> None:
    sizes = np.repeat([1, 2, 5, 20], [60, 40, 20, 5])
    sources = np.repeat(np.arange(len(sizes)), sizes)
    own = np.array([0, 70, 124])
    rng = np.random.default_rng(0)
    hits = np.zeros(3)
    for _ in range(2000):
        for i, query in enumerate(own):
            lists = []
            for _ in "xy":
                order = rng.permutation(sources[sources != query])
                _, first = np.unique(order, return_index=True)
                lists.append(set(order[np.sort(first)[:k]].tolist()))
            hits[i] += len(lists[0] & lists[1]) / k / 2000

    assert chance_with_sources(sizes, own, k) == pytest.approx(hits.mean(), rel=0.05)
    assert hits.mean() > 1.1 * k / 124  # as if sources were equal: plainly too low
