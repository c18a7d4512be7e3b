"""Agreement on groups and within them: by hand, by enumeration, in worlds where the truth is known.

Axes: n samples, d features, k neighbors.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from group_tables import group_tables
from runs import run_of
from test_align import IDS, Bench, K, N
from test_plots import assert_readable

from platorep.align import align as align_stage
from platorep.config import AlignConfig, ExperimentConfig
from platorep.data import load_dataset
from platorep.data.words import texts_with_words
from platorep.errors import AbsentError, DataError
from platorep.parameters.figures import GroupsFigure
from platorep.plots import Tables, draw_figure
from platorep.plots.stage import read_tables
from platorep.statistics.groups import (
    Entries,
    Grouping,
    expected_shared,
    grouping_of,
    membership_p,
    shared_null,
    shared_parts,
)
from platorep.statistics.permutations import Permutations


def entries(lists: list[list[int]]) -> Entries:
    k = len(lists[0])
    rows = np.repeat(np.arange(len(lists)), k)
    return Entries(len(lists), k, rows, np.array(lists).ravel(), np.ones(len(rows)))


def random_lists(rng: np.random.Generator, n: int, k: int) -> list[list[int]]:
    return [list(rng.choice([j for j in range(n) if j != i], k, replace=False)) for i in range(n)]


def test_six_rows_by_hand() -> None:
    x = entries([[1], [0], [1], [4], [3], [3]])
    y = entries([[1], [2], [0], [4], [5], [0]])
    grouping = grouping_of(["a", "a", "a", "b", "b", "b"])

    found, expected = shared_parts(x, y, grouping), expected_shared(x, y, grouping)

    # rows 0 and 3 share their neighbor, 0 -> 1 in a and 3 -> 4 in b
    assert found.score == pytest.approx([2 / 6, 1 / 3, 1 / 3])
    assert found.same == pytest.approx([2 / 6, 1 / 3, 1 / 3])
    # a to a: x has 3 of 6 places, y 3; b to b: x 3, y 2; b to a: x none
    assert expected.score == pytest.approx([(9 / 6 + 6 / 6) / 6, 9 / 6 / 3, 6 / 6 / 3])
    assert expected.same == pytest.approx(expected.score)


def within(classes: np.ndarray) -> list[np.ndarray]:
    """Every order that keeps each sample in its class."""
    orders = []
    members = [np.flatnonzero(classes == c) for c in np.unique(classes)]
    for ways in itertools.product(*(itertools.permutations(m) for m in members)):
        order = np.arange(len(classes))
        for places, way in zip(members, ways, strict=True):
            order[places] = way
        orders.append(order)
    return orders


def test_the_expectation_is_the_mean_over_all_orders() -> None:
    rng = np.random.default_rng(0)
    x, y = random_lists(rng, 8, 3), random_lists(rng, 8, 3)
    member = np.array([[1, 0], [1, 0], [1, 1], [1, 1], [0, 0], [0, 0], [0, 0], [0, 1]], dtype=bool)
    grouping = Grouping(("one", "two"), member)
    total, same, num = np.zeros(3), np.zeros(3), 0
    for order in within(grouping.classes):
        place = np.argsort(order)
        moved = [{int(place[j]) for j in y[order[i]]} for i in range(8)]
        shared = [(i, j) for i in range(8) for j in x[i] if j in moved[i]]
        for g in range(3):
            inside = range(8) if g == 0 else np.flatnonzero(member[:, g - 1])
            of = [(i, j) for i, j in shared if i in inside]
            total[g] += len(of) / (3 * len(inside))
            both = [member[i] & member[j] for i, j in of]
            same[g] += sum(b.any() if g == 0 else b[g - 1] for b in both) / (3 * len(inside))
        num += 1

    expected = expected_shared(entries(x), entries(y), grouping)

    assert num == 2 * 2 * 6
    assert expected.score == pytest.approx(total / num)
    assert expected.same == pytest.approx(same / num)


def neighbors(z: np.ndarray, k: int) -> Entries:
    distance = ((z[:, None] - z[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    return entries(np.argsort(distance, axis=1)[:, :k].tolist())


def world(seed: int, shared: str, n: int = 96, k: int = 6) -> tuple[Entries, Entries, Grouping]:
    """Two models of samples in 4 groups, which share the groups, what is within them, or nothing.

    `fine`: x knows the groups and what is within, y only the latter.
    """
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(4), n // 4)
    center, inside = 6 * np.eye(4)[group], rng.normal(size=(n, 3))
    own = [rng.normal(size=(n, 3)) for _ in range(2)]
    x, y = {
        "coarse": (np.hstack([center, own[0]]), np.hstack([center, own[1]])),
        "fine": (np.hstack([center, inside]), inside),
        "nothing": (own[0], own[1]),
    }[shared]
    return neighbors(x, k), neighbors(y, k), grouping_of([str(g) for g in group])


def fine(seed: int, shared: str, permutations: int) -> tuple[float, float, float, float]:
    """Score, coarse and p of what is above it, over all samples; and chance."""
    x, y, grouping = world(seed, shared)
    score = float(shared_parts(x, y, grouping).score[0])
    coarse = float(expected_shared(x, y, grouping).score[0])
    orders = Permutations(permutations, seed, list(grouping.classes))
    null = np.array([parts.score[0] for parts in shared_null(x, y, grouping, orders)])
    assert coarse == pytest.approx(null.mean(), abs=5 * null.std() / permutations**0.5)
    return score, coarse, (1 + int((null >= score).sum())) / (permutations + 1), x.k / (x.n - 1)


def test_what_is_shared_is_found() -> None:
    score, coarse, p, chance = fine(0, "coarse", 99)
    assert coarse > 3 * chance
    assert score == pytest.approx(coarse, abs=0.03)
    assert p > 0.05

    score, coarse, p, chance = fine(0, "fine", 99)
    assert coarse < 1.5 * chance < score / 2
    assert p == 0.01


@pytest.mark.parametrize("shared", ["coarse", "nothing"])
def test_the_level_of_what_is_fine(shared: str) -> None:
    p = [fine(seed, shared, 39)[2] for seed in range(200)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.04)


def test_groups_agreed_on_are_found_and_others_are_not() -> None:
    found, wrong = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        member = rng.random((96, 5)) < 0.25
        scores = rng.binomial(6, 0.1, size=96) / 6 + 0.15 * member[:, 0]
        p, null = membership_p(scores, Grouping(tuple("abcde"), member), Permutations(99, seed))
        found += p[0] <= 0.05
        wrong += int((p[1:] <= 0.05).sum())
        assert null.shape == (99, 5)
    assert found >= 95
    assert wrong / 400 == pytest.approx(0.05, abs=0.03)


def test_many_samples_give_what_few_do(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, grouping = world(1, "fine")
    table = shared_parts(x, y, grouping)
    monkeypatch.setattr("platorep.statistics.groups.TABLE_ROWS", 0)
    assert shared_parts(x, y, grouping).score == pytest.approx(table.score)


# The analysis


SETTINGS = {"permutations": 19, "subsets": 2}


def test_tables_of_an_experiment(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    file = tmp_path / "groups.csv"
    pd.DataFrame({"id": IDS, "group": ["a"] * 12 + ["b"] * 10}).to_csv(file, index=False)
    metrics = [{"name": "mutual_knn", "k": K}, {"name": "lcs_knn", "k": K}, {"name": "rv"}]
    groups = SETTINGS | {"file": str(file), "clusters": 3}

    errors, _, best = bench.align(metrics=metrics, groups=groups)

    assert not errors
    table = bench.results.read_table(bench.results.further("groups"), "align")
    rows = bench.results.read_table(bench.results.further("row_scores.parquet"), "align")
    best = best.set_index(["x", "y", "metric"])["score"]
    means = rows.groupby(["x", "y", "metric"])["score"].mean()
    assert len(means) == 2 * 4
    assert list(rows["id"][:N]) == list(IDS)
    pd.testing.assert_series_equal(means, best[means.index])
    assert set(table["by"]) == {"file", "clusters of x", "clusters of y"}
    whole = table[table["group"] == ""].set_index(["x", "y", "metric"])
    pd.testing.assert_series_equal(whole["score"], best[whole.index])
    assert (whole["num_rows"] == N).all()
    of_lists = table["metric"].str.startswith("mutual_knn")
    assert table.loc[~of_lists, "coarse"].isna().all()
    of_groups = table[of_lists & (table["group"] != "") & (table["by"] == "file")]
    assert (of_groups["p_adjusted"] >= of_groups["p"]).all()
    assert (of_groups["alone_chance"] == K / (of_groups["num_rows"] - 1)).all()
    assert (of_groups["same"] <= of_groups["score"]).all()

    before = bench.parts()
    errors, _, _ = bench.align(metrics=metrics, groups=groups)
    assert (errors, bench.parts()) == ({}, before)
    for changed in ({"clusters": 2}, {"seed": 1}):
        bench.align(metrics=metrics[:1], groups=groups | changed)
        assert len(set(bench.parts()) - set(before)) > 0
        before = bench.parts()


def test_of_an_analysis_that_fails_the_old_table_stays_and_is_not_drawn_from(
    tmp_path: Path,
) -> None:
    """Whatever else has changed meanwhile; every other figure is drawn."""
    bench, file = Bench(tmp_path), tmp_path / "groups.csv"
    content = "id,group\n" + "".join(f"{row},{i % 2}\n" for i, row in enumerate(IDS))
    file.write_text(content)
    groups = SETTINGS | {"file": str(file), "clusters": 0}
    path = bench.results.further("groups")

    def align(k: int, **options: Any) -> tuple[dict[str, Any], bytes]:
        said = {"metrics": [{"name": "mutual_knn", "k": k}], "groups": groups}
        run = run_of(bench.config(**said), bench.results, bench.root, bench.report, **options)
        failures, _ = align_stage(run)
        models = pd.DataFrame({"label": [s.label for s in run.specs]})
        models = models.assign(family="f", modality="m", random=False, num_parameters=1.0)
        models = models.assign(order=models.index, num_layers=2)
        bench.results.write_table(bench.results.models, models, {})
        further = read_tables(run).further
        assert ("groups" in further) is not bool(failures.errors)
        assert ("row_scores.parquet" in further) is not bool(failures.errors)
        return failures.errors, path.read_bytes()

    errors, first = align(K)
    assert not errors
    file.write_text(content.replace(",0", ",9"))
    errors, second = align(K, overwrite="never", keep_going=True)
    assert "groups" in errors
    assert second == first  # nothing new: nothing is lost
    file.write_text(content.splitlines()[0])
    errors, third = align(K + 1, keep_going=True)
    assert list(errors) == ["groups"]
    assert third == first
    file.write_text(content)
    errors, fourth = align(K + 1, keep_going=True)
    assert not errors
    assert fourth != first


class Captioned(Bench):
    """With texts of the toy world for its rows."""

    def config(self, controls: dict[str, Any] | None = None, **said: Any) -> ExperimentConfig:
        config = super().config(controls, **said)
        dataset = config.dataset.model_copy(update={"limit": N})
        return config.model_copy(update={"dataset": dataset})


def test_groups_by_words_of_the_texts(tmp_path: Path) -> None:
    bench = Captioned(tmp_path)
    data = load_dataset(bench.config().dataset)
    texts = data.views["text"]
    assert texts.texts is not None
    rows = bench.results.read_table(bench.results.rows, "extract")
    rows["text_sha256"] = texts.hashes[:N]
    bench.results.write_table(bench.results.rows, rows, {})
    words = sorted({word for text in texts.texts[:N] for word in text.split()})
    having = [[word in text.split() for text in texts.texts[:N]] for word in words]
    named = [w for w, of in zip(words, having, strict=True) if 5 < sum(of) < N - 5][:3]
    assert len(named) == 3

    errors, _, _ = bench.align(groups=SETTINGS | {"words": named, "clusters": 0})

    assert not errors
    table = bench.results.read_table(bench.results.further("groups"), "align")
    sizes = table[table["group"] == named[0]]["num_rows"]
    assert set(sizes) == {sum(having[words.index(named[0])])}

    rows.loc[0, "text_sha256"] = "another"
    bench.results.write_table(bench.results.rows, rows, {})
    errors, _, _ = bench.align(groups=SETTINGS | {"words": named, "clusters": 0})
    assert list(errors) == ["groups"]
    assert type(errors["groups"]).__name__ == "IntegrityError"


def test_words_are_whole_and_in_any_case() -> None:
    texts = ["A dog's bone.", "Two DOGS!", "dogma", "The well-known dog", "dog"]
    found = texts_with_words(texts, ["dog/dogs", "well-known"], "words")
    assert found.tolist() == [
        [False, False],
        [True, False],
        [False] * 2,
        [True, True],
        [True, False],
    ]
    with pytest.raises(DataError, match="words: no text has the word 'cat'"):
        texts_with_words(texts, ["cat"], "words")


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ({"clusters": 0}, "no groups"),
        ({"clusters": 1, "words": ["dog"]}, "no division"),
        ({"view": "text"}, "no effect without `words`"),
        ({"words": ["dog/"]}, "is no word"),
        ({"words": ["dog", "Dog"]}, "twice"),
        ({"words": ["dog/dogs", "dog/puppy"]}, "twice"),
    ],
)
def test_settings_that_make_no_groups(groups: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        AlignConfig.model_validate({"groups": groups})


# The figure


def test_points_of_the_figure() -> None:
    figure, points = draw_figure(group_tables(), GroupsFigure())

    frame = points.frame
    assert list(frame["group"]) == ["all rows", "a very long name of a group of rows", "NA", "dog"]
    assert set(frame["x"]) == {"words"}  # and not its random copy
    assert frame["beyond_alone"].tolist() == pytest.approx([0.25] * 4)
    assert frame["beyond_random"].tolist() == pytest.approx([0.5] * 4)
    assert len(figure.axes) == 3
    bars = [bar.get_width() for bar in figure.axes[1].patches]
    assert bars == pytest.approx([0.1] * 4 + [0.02] * 3 + [0.0] + [0.08, 0.18, 0.03, 0.0])
    assert_readable(figure)


def test_the_figure_of_another_division_pair_and_metric() -> None:
    asked = GroupsFigure(by="clusters of x", pair=("eye", "words (random)"), width="single")
    figure, points = draw_figure(group_tables(coarse=np.nan), asked)

    assert set(points.frame["x"]) == {"words (random)"}
    assert len(figure.axes) == 1  # a metric of which no parts are known
    assert_readable(figure)
    for parameters in (GroupsFigure(by="file"), GroupsFigure(pair=("eye", "ear"))):
        with pytest.raises(AbsentError, match=r"groups\.csv has no"):
            draw_figure(group_tables(), parameters)
    with pytest.raises(AbsentError, match=r"Set `align\.groups`"):
        draw_figure(Tables(best=pd.DataFrame(), performance=pd.DataFrame(),
                           models=group_tables().models), GroupsFigure())  # fmt: skip
