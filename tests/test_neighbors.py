"""Neighborhood metrics: by hand, by oracle, at chance, at the edges."""

from collections.abc import Callable

import numpy as np
import oracles
import pytest
import torch
from metric_inputs import KINDS, related
from torch import Tensor

from platorep.errors import ConfigError, DataError
from platorep.metrics import bind, lists, nearest, summarize_layer
from platorep.metrics.layer import Layer
from platorep.metrics.neighbors import NeighborLists, stack
from platorep.metrics.sequences import common_length, edit_distance, rank_agreement

SIMILARITIES = ["cosine", "inner_product", "euclidean"]


def score(name: str, x: Tensor, y: Tensor, **parameters: object) -> float:
    metric = bind(name, parameters)
    return float(metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0])


def on_circle(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


INPUTS: dict[str, Callable[[torch.Generator], Tensor]] = {
    "random": lambda rng: torch.randn(24, 5, generator=rng, dtype=torch.float64),
    "low rank": lambda rng: (
        torch.randn(24, 2, generator=rng, dtype=torch.float64)
        @ torch.randn(2, 9, generator=rng, dtype=torch.float64)
    ),
    "duplicate rows": lambda rng: torch.randn(24, 5, generator=rng, dtype=torch.float64)[
        torch.randint(9, (24,), generator=rng)
    ],
    "nearly constant": lambda rng: (
        1 + 1e-4 * torch.randn(24, 5, generator=rng, dtype=torch.float64)
    ),
    "constant": lambda rng: torch.full((24, 3), 0.1, dtype=torch.float64),
    "a few numbers": lambda rng: torch.randint(-1, 2, (24, 2), generator=rng).double(),
    "zero rows": lambda rng: (
        torch.randn(24, 5, generator=rng, dtype=torch.float64)
        * (torch.rand(24, 1, generator=rng) < 0.8)
    ),
}


def test_mutual_knn_worked_by_hand() -> None:
    x = on_circle(0, 10, 90, 100)  # nearest: 0->1, 1->0, 2->3, 3->2
    y = on_circle(0, 10, 30, 100)  # nearest: 0->1, 1->0, 2->1, 3->2; three of four agree

    assert score("mutual_knn", x, y, k=1) == 3 / 4


def test_scores_of_samples_worked_by_hand() -> None:
    x, y = on_circle(0, 10, 90, 100), on_circle(0, 10, 30, 100)  # as above

    def rows(name: str) -> list[float]:
        metric = bind(name, {"k": 1})
        return list(metric.by_row(metric.summarize(x), metric.summarize(y)))

    for name in ("mutual_knn", "jaccard_knn", "lcs_knn", "edit_distance_knn"):
        assert rows(name) == [1, 1, 0, 1]
    assert rows("cycle_knn") == [1, 1, 0, 1]  # 2 goes to 1 in y, and 1 to 0 in x


def test_a_tie_worked_by_hand() -> None:
    x = on_circle(0, 90, 180, 270)  # every sample has two nearest at 90 degrees
    y = on_circle(0, 10, 180, 190)  # nearest: 0->1, 1->0, 2->3, 3->2

    # 0->1 is one of 0's two nearest in x, as are the three others: half a place each
    assert score("mutual_knn", x, y, k=1) == 1 / 2
    assert score("mutual_knn", x, x, k=1) == 1 / 2  # two draws of two agree half of the time
    # by lower number x has 0->1, 1->0, 2->1, 3->0
    assert score("mutual_knn", x, y, k=1, ties="lowest") == 2 / 4


@pytest.mark.parametrize("k", [1, 5, 23])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("kind", INPUTS)
def test_mutual_knn_equals_brute_force(
    rng: torch.Generator, kind: str, similarity: str, center: bool, k: int
) -> None:
    x, y = INPUTS[kind](rng), INPUTS[kind](rng)

    found = score("mutual_knn", x, y, k=k, similarity=similarity, center=center)

    expected = oracles.mutual_knn(x.numpy(), y.numpy(), k, similarity, center)
    assert found == pytest.approx(expected, abs=1e-12)


def test_shares_are_the_average_over_all_ways_to_break_ties(rng: torch.Generator) -> None:
    x = on_circle(0, 0, 0, 40, 40, 90)

    for k in range(1, 6):
        expected = oracles.shares_by_enumeration(x.numpy(), k)
        assert oracles.shares(x.numpy(), k) == pytest.approx(expected, abs=1e-12)
        found = dense(x, k)
        assert found == pytest.approx(expected, abs=1e-12)


def dense(features: Tensor, k: int, **parameters: object) -> np.ndarray:
    """Every sample's share of every other's list, n n."""
    metric = bind("mutual_knn", {"k": k, **parameters})
    summary = metric.summarize(features)
    assert isinstance(summary, NeighborLists)
    entries = stack([summary])
    table = np.zeros((len(features), len(features)))
    weights = 1.0 if entries.weights is None else entries.weights
    np.add.at(table, (entries.rows, entries.columns), weights)
    return table


def test_two_constant_layers_score_at_chance() -> None:
    n, k = 40, 10
    constant = torch.full((n, 6), 0.3)

    assert score("mutual_knn", constant, constant, k=k) == pytest.approx(k / (n - 1), abs=1e-12)


def test_two_independent_layers_of_five_distinct_rows_score_at_chance(
    rng: torch.Generator,
) -> None:
    n, k, tries = 200, 10, 20

    def five() -> Tensor:
        return torch.randn(5, 32, generator=rng)[torch.randint(5, (n,), generator=rng)]

    found = [score("mutual_knn", five(), five(), k=k) for _ in range(tries)]
    by_number = [score("mutual_knn", five(), five(), k=k, ties="lowest") for _ in range(tries)]

    assert np.mean(found) == pytest.approx(k / (n - 1), abs=4 * np.std(found) / tries**0.5)
    assert np.mean(by_number) > 2 * k / (n - 1)  # what sharing is there to prevent


def test_independent_features_score_at_chance(rng: torch.Generator) -> None:
    n, k, tries = 200, 10, 20
    found = [
        score(
            "mutual_knn", torch.randn(n, 16, generator=rng), torch.randn(n, 16, generator=rng), k=k
        )
        for _ in range(tries)
    ]

    chance = bind("mutual_knn", {"k": k}).chance(n)
    assert chance == k / (n - 1)
    assert np.mean(found) == pytest.approx(chance, abs=4 * np.std(found) / tries**0.5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_scattered_duplicates_tie_exactly_in_float32(rng: torch.Generator, similarity: str) -> None:
    """A blocked product gives equal rows different last digits; the lists must not see it."""
    distinct = torch.randn(250, 768, generator=rng)
    which = torch.cat([torch.arange(250), torch.arange(250), torch.arange(12)])
    which = which[torch.randperm(len(which), generator=rng)]
    x = distinct[which]

    found = dense(x, 10, similarity=similarity)

    assert found.shape == (512, 512)
    for value in range(250):  # all twins have one share in every list but their own
        twins = (which == value).nonzero().flatten().numpy()
        others = np.setdiff1d(np.arange(512), twins)
        shares = found[np.ix_(others, twins)]
        assert (shares == shares[:, :1]).all()
    assert found.sum(axis=1) == pytest.approx(10)


def test_float32_decides_as_float64(rng: torch.Generator) -> None:
    """Candidates nearer to each other than float32's error are ordered by their true distance."""
    base = torch.randn(1, 512, generator=rng)
    x = base + 3e-3 * torch.randn(300, 512, generator=rng)  # cosines differ in the sixth digit

    assert (dense(x, 10) == dense(x.double(), 10)).all()
    crowded = torch.randn(400, 2, generator=rng)  # neighbors on a circle, very close together
    assert (dense(crowded, 7) == dense(crowded.double(), 7)).all()


def test_scores_do_not_depend_on_threads_or_blocks(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = torch.randn(300, 64, generator=rng) + 1, torch.randn(300, 7, generator=rng)
    y = y[torch.randint(280, (300,), generator=rng)]
    x = x + torch.nn.functional.pad(y, (0, 57))
    expected = score("mutual_knn", x, y, k=10)
    before = torch.get_num_threads()
    monkeypatch.setattr(lists, "THREAD_ENTRIES", 100)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert score("mutual_knn", x, y, k=10) == expected
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr("platorep.metrics.layer.GRAM_ROWS", 10)
    monkeypatch.setattr(nearest, "BLOCK_ENTRIES", 300 * 37)
    monkeypatch.setattr(nearest, "PAIR_ENTRIES", 100)
    assert score("mutual_knn", x, y, k=10) == expected
    monkeypatch.setattr(lists, "DIRECT_ROWS", 10)
    assert score("mutual_knn", x, y, k=10) == pytest.approx(expected, abs=1e-15)


def test_what_a_product_leaves_open_moves_nothing(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the order in which ties stand, so that sums of their shares are the same to the bit."""
    rows = torch.randn(300, 8, generator=rng)
    rows[100:110] = rows[99].clone()
    expected = nearest.Search(Layer(rows), "cosine", center=True).nearest(10)
    monkeypatch.setattr(nearest, "PRODUCT_ERROR", 16e4)
    found = nearest.Search(Layer(rows), "cosine", center=True).nearest(10)
    assert np.array_equal(found.neighbors, expected.neighbors)
    assert found.ties is not None
    assert expected.ties is not None
    assert len(np.unique(expected.ties.weights)) > 2
    for part in ("rows", "columns", "weights"):
        assert np.array_equal(getattr(found.ties, part), getattr(expected.ties, part))


def test_a_grid_is_the_same_however_its_layers_are_grouped(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, with shared places too: so a resumed or rearranged run gives the same table."""
    monkeypatch.setattr(lists, "THREAD_ENTRIES", 100)
    metric = bind("mutual_knn", {"k": 7})
    rows = torch.randint(70, (80,), generator=rng)
    x, y = (
        [metric.summarize(torch.randn(80, 5, generator=rng)[rows]) for _ in range(layers)]
        for layers in (5, 6)
    )
    whole = metric.compare(x, y)

    assert np.array_equal(metric.compare(x[3:], y[1:3]), whole[3:, 1:3])
    assert np.array_equal(metric.compare(x[:1], y), whole[:1])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert np.array_equal(metric.compare(x, y), whole)
    finally:
        torch.set_num_threads(before)


def test_the_dense_way_of_the_gpu_gives_the_same(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 5})
    x = [metric.summarize(torch.randn(60, 4, generator=rng)) for _ in range(3)]
    y = [metric.summarize(torch.randn(60, 4, generator=rng)[:30].repeat(2, 1)) for _ in range(2)]
    for left, right in ((x, x), (x, y), (y, y)):
        one, two = stack(left), stack(right)
        dense_way = lists._dense(two, torch.device("cpu"))(one)
        assert dense_way == pytest.approx(lists._sparse(two)(one), abs=1e-9)


def test_rows_move_and_names_change(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 6})
    x = torch.randn(50, 5, generator=rng, dtype=torch.float64)
    x = x[torch.randint(35, (50,), generator=rng)]
    other = torch.randn(50, 5, generator=rng, dtype=torch.float64)
    order = torch.randperm(50, generator=rng)

    left = [metric.summarize(other), metric.summarize(x)]
    moved, again = metric.reorder(metric.summarize(x), order.numpy()), metric.summarize(x[order])
    expected = metric.compare(left, [again])

    assert metric.compare(left, [moved]) == pytest.approx(expected, abs=1e-12)
    scores = metric.prepare(left, [metric.summarize(x)])
    assert scores(order.numpy()) == pytest.approx(expected, abs=1e-12)
    assert scores(None) == pytest.approx(metric.compare(left, [metric.summarize(x)]), abs=1e-15)


def test_degenerate_layers_say_why(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 3})
    plain = torch.randn(200, 8, generator=rng)
    tied = plain.clone()
    tied[:120] = plain[0]
    rounding = 1 + 1e-7 * torch.randn(200, 8, generator=rng)

    assert metric.degenerate(metric.summarize(plain)) is None
    assert "200" not in metric.label
    assert metric.degenerate(metric.summarize(torch.ones(200, 8))) == "constant: all rows are equal"
    assert "122 of 200 samples" in str(metric.degenerate(metric.summarize(tied)))
    assert "nearly constant" in str(metric.degenerate(metric.summarize(rounding)))
    lowest = bind("mutual_knn", {"k": 3, "ties": "lowest"})
    assert lowest.degenerate(lowest.summarize(tied)) is None


@pytest.mark.parametrize("exponent", [-30, -20, 20, 30])
def test_very_small_and_very_large_features(rng: torch.Generator, exponent: int) -> None:
    x, y = torch.randn(30, 4, generator=rng), torch.randn(30, 4, generator=rng)

    for similarity in SIMILARITIES:
        expected = score("mutual_knn", x, y, k=3, similarity=similarity)
        scaled = x * 10.0**exponent
        assert score("mutual_knn", scaled, y, k=3, similarity=similarity) == expected


def test_half_precision_and_a_global_switch(rng: torch.Generator) -> None:
    x, y = torch.randn(40, 6, generator=rng), torch.randn(40, 6, generator=rng)
    expected = score("mutual_knn", x.bfloat16().float(), y, k=3)
    assert score("mutual_knn", x.bfloat16(), y, k=3) == expected
    torch.set_float32_matmul_precision("medium")
    try:
        assert score("mutual_knn", x.bfloat16(), y, k=3) == expected
    finally:
        torch.set_float32_matmul_precision("highest")


def test_what_cannot_be_scored_says_so(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 10})
    with pytest.raises(ConfigError, match=r"k=10 with n=10.*use k <= 9"):
        metric.check(10, 3)
    with pytest.raises(DataError, match="at least 4 samples"):
        bind("mutual_knn", {"k": 1}).check(3, 3)
    features = torch.randn(20, 3, generator=rng)
    features[7, 1] = float("nan")
    features[9, 1] = float("inf")
    with pytest.raises(DataError, match="2 of 20 rows, first in row 7"):
        metric.summarize(features)
    with pytest.raises(DataError, match=r"\[20\] samples and y has \[30\]"):
        metric.compare(
            [metric.summarize(torch.randn(20, 3, generator=rng))],
            [metric.summarize(torch.randn(30, 3, generator=rng))],
        )


def test_one_search_serves_every_k(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(60, 5, generator=rng)[torch.randint(40, (60,), generator=rng)]
    metrics = [bind("mutual_knn", {"k": k}) for k in (3, 20, 7)]
    alone = [metric.summarize(x) for metric in metrics]
    products = []
    monkeypatch.setattr(
        "platorep.metrics.layer.product",
        lambda x, y: products.append(1) or x @ y.T,
    )

    together = summarize_layer(metrics, x)

    assert len(products) == 1
    for metric, one, two in zip(metrics, alone, together, strict=True):
        assert metric.compare([one], [two]) == metric.compare([one], [one])


def test_a_layer_can_be_given_instead_of_features(rng: torch.Generator) -> None:
    x = torch.randn(20, 5, generator=rng)
    metric = bind("mutual_knn", {"k": 3})
    assert metric.compare([metric.summarize(Layer(x))], [metric.summarize(x)]) == 1


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "jaccard_knn": oracles.jaccard_knn,
    "cycle_knn": oracles.cycle_knn,
    "lcs_knn": lambda x, y, k: oracles.mean_over_orders(x, y, k, oracles.common_subsequence) / k,
    "edit_distance_knn": lambda x, y, k: (
        1 - oracles.mean_over_orders(x, y, k, oracles.levenshtein) / k
    ),
    "rank_similarity": lambda x, y, k: oracles.mean_over_orders(x, y, k, oracles.rank_similarity),
}


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MEASURES)
def test_other_list_metrics_equal_brute_force(
    rng: torch.Generator, name: str, kind: str, k: int
) -> None:
    x, y = related(rng, KINDS[kind])

    found = score(name, x, y, k=k)

    expected = MEASURES[name](x.numpy(), y.numpy(), k)
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert 0 < found < 1


@pytest.mark.parametrize("name", ["jaccard_knn", "cycle_knn"])
@pytest.mark.parametrize("kind", ["constant", "a few numbers", "zero rows"])
def test_shared_places_of_other_list_metrics(rng: torch.Generator, name: str, kind: str) -> None:
    x, y = INPUTS[kind](rng)[:9], INPUTS[kind](rng)[:9]

    expected = MEASURES[name](x.numpy(), y.numpy(), 3)
    assert score(name, x, y, k=3) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["lcs_knn", "edit_distance_knn", "rank_similarity"])
def test_too_many_orders_are_left_out(rng: torch.Generator, name: str) -> None:
    metric = bind(name, {"k": 6})
    x = torch.randn(40, 5, generator=rng)
    some = x.clone()
    some[:24], some[24:, 0] = torch.tensor([9.0, 0, 0, 0, 0]), -5  # two groups, the first copies
    constant = metric.summarize(torch.ones(40, 3))

    assert metric.degenerate(constant) == "constant: all rows are equal"
    assert np.isnan(metric.compare([constant], [metric.summarize(x)])).all()
    assert "equally near" in str(metric.degenerate(metric.summarize(some)))
    assert 0 < metric.compare([metric.summarize(x)], [metric.summarize(some)])[0, 0] < 1
    assert score(name, some, some, k=6, ties="lowest") == 1


def test_sequences_worked_by_hand() -> None:
    one, other = np.array([[1, 2, 3, 4]]), np.array([[2, 5, 4, 1]])

    assert common_length(one, other).tolist() == [2]  # 2, 4
    # 1 2 3 4 -> delete 1, replace 3 by 5, insert 1 at the end
    assert edit_distance(one, other).tolist() == [3]
    assert common_length(one, one[:, ::-1]).tolist() == [1]
    # 1 at places 1 and 4, 2 at 2 and 1, 4 at 4 and 3: (2/20 + 2/6 + 2/14) / (1 + 1/2 + 1/3)
    agreement = (1 / 10 + 1 / 3 + 1 / 7) / (11 / 6)
    assert rank_agreement(one, other) == pytest.approx([agreement], abs=1e-12)
    assert rank_agreement(one, one).tolist() == [1]
    assert rank_agreement(one, one + 4).tolist() == [0]
    assert rank_agreement(one, np.array([[1, 2, 8, 9]])).tolist() == [1]  # all that they share


def test_the_code_variant_of_lcs_is_a_length(rng: torch.Generator) -> None:
    x, y = related(rng, KINDS["random"])
    expected = 5 * score("lcs_knn", x, y, k=5)
    assert score("lcs_knn", x, y, k=5, variant="code") == pytest.approx(expected, abs=1e-12)


def test_cycle_knn_at_chance(rng: torch.Generator) -> None:
    """Exactly the formula for lists drawn at random, nearly so for features, which have hubs."""
    n, k = 300, 10
    metric = bind("cycle_knn", {"k": k})
    draws = np.random.default_rng(0)

    def random_lists() -> NeighborLists:
        lists = np.array(
            [draws.permutation(np.delete(np.arange(n), i))[:k] for i in range(n)], np.int16
        )
        return NeighborLists(n, None, nearest.Nearest(lists, None), torch.device("cpu"))

    found = metric.compare([random_lists() for _ in range(6)], [random_lists() for _ in range(6)])
    assert found.mean() == pytest.approx(metric.chance(n), abs=4 * found.std() / 6)
    x, y = (
        [metric.summarize(torch.randn(n, 64, generator=rng)) for _ in range(6)] for _ in range(2)
    )
    features = metric.compare(x, y).mean()
    assert features == pytest.approx(metric.chance(n), rel=0.1)


@pytest.mark.parametrize("name", ["jaccard_knn", "rank_similarity"])
def test_list_metrics_at_chance(rng: torch.Generator, name: str) -> None:
    n, k = 200, 10
    found = [
        score(name, *(torch.randn(n, 16, generator=rng) for _ in range(2)), k=k) for _ in range(20)
    ]
    chance = bind(name, {"k": k}).chance(n)
    assert np.mean(found) == pytest.approx(chance, abs=4 * np.std(found) / 20**0.5)


def test_the_dense_way_of_sums_over_rows_gives_the_same(rng: torch.Generator) -> None:
    metric = bind("mutual_knn", {"k": 5})
    x = [metric.summarize(torch.randn(60, 4, generator=rng)) for _ in range(3)]
    y = [metric.summarize(torch.randn(60, 4, generator=rng)[:30].repeat(2, 1)) for _ in range(2)]
    one, two = stack(x), stack(y)

    def combine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * a + b

    pairs = [(one, two), (one.transposed(), two)]
    expected = lists.sum_over_rows(pairs, combine, torch.device("cpu"))
    found = lists._dense_sum(pairs, combine, torch.device("cpu"))
    assert found == pytest.approx(expected, abs=1e-9)


def test_candidates_at_the_edge_of_doubt_are_not_lost(rng: torch.Generator) -> None:
    """All but a few rows within some errors of a product of each other: every place is in doubt."""
    queries, n = 12, 300
    wrong = compared = 0
    for _ in range(2):
        features = torch.randn(n, 4, generator=rng)
        features[queries:] = features[queries] + 2e-5 * torch.randn(n - queries, 4, generator=rng)
        unit = torch.nn.functional.normalize(features.double(), dim=1)
        distances = torch.linalg.vector_norm(unit[:queries, None] - unit, dim=2)
        distances[range(queries), range(queries)] = torch.inf
        found = nearest.search(Layer(features), "cosine", center=False)
        for k in range(20, 290, 17):
            exact = distances.topk(k + 1, largest=False)
            clear = exact.values[:, k] - exact.values[:, k - 1] > 1e-11
            lists = found.nearest(k).neighbors
            for query in clear.nonzero().flatten().tolist():
                compared += 1
                wrong += set(lists[query].tolist()) != set(exact.indices[query, :k].tolist())

    assert compared > 300
    assert wrong == 0
