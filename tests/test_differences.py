"""Is one model closer than another? The level and the power of the test, and its tables."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from difference_tables import difference_tables
from test_align import FEATURES, Bench
from torch import Tensor
from torch.nn import functional as F

from platorep.align.analyses.differences import _adjusted, _sides
from platorep.align.summaries import prepared_layers
from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError
from platorep.parameters.figures import DifferencesFigure
from platorep.plots import Tables, draw_figure
from platorep.statistics import OnHalves, difference, halving, mean_of, ranks

N, K, SPLITS = 64, 5, 12


def halves(n: int = N, splits: int = SPLITS) -> list[Any]:
    return [rows for number in range(splits) for rows in halving(n, 0, number)]


# --- a simulation: two models, a partner, layers of each; all worlds at once ---


def worlds(count: int, *, more_noise: float = 1.0, seed: int = 0) -> Tensor:
    """Features, w 3 l n d: noisy copies of one signal, the noise of each layer its own; some rows
    are harder than others for all models alike. The second model has `more_noise`."""
    rng = torch.Generator().manual_seed(seed)
    signal = torch.randn(count, 1, 1, N, 6, generator=rng)
    hard = torch.exp(torch.randn(count, 1, 1, N, 1, generator=rng) / 2)
    level = torch.tensor([1.0, more_noise, 1.0]).view(1, 3, 1, 1, 1)
    noise = torch.randn(count, 3, 2, N, 6, generator=rng)
    return F.normalize(signal + 0.5 * level * hard * noise, dim=-1)


def best_scores(features: Tensor, rows: Any, metric: str) -> np.ndarray:
    """The largest score over layers of both models with the partner on some rows, w 2."""
    part = features[:, :, :, rows]
    similar = part @ part.transpose(-1, -2)
    if metric == "mutual_knn":
        similar.diagonal(dim1=-2, dim2=-1).fill_(-2)
        near = torch.zeros_like(similar).scatter_(-1, similar.topk(K, dim=-1).indices, 1.0)
        flat = near.flatten(-2) / (len(rows) * K) ** 0.5
    else:
        centred = similar - similar.mean(-1, keepdim=True)
        centred = centred - centred.mean(-2, keepdim=True)
        flat = F.normalize(centred.flatten(-2), dim=-1)
    x, y = flat[:, :2], flat[:, 2]
    return torch.einsum("wmlp,whp->wmlh", x, y).flatten(2).max(2).values.double().numpy()


def simulated(metric: str, count: int, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both models on all rows, w 2, and on all halves, w 2 s 2."""
    features = worlds(count, **changes)
    whole = best_scores(features, np.arange(N), metric)
    on_halves = np.stack([best_scores(features, rows, metric) for rows in halves()], axis=-1)
    return whole, on_halves.reshape(count, 2, SPLITS, 2)


def share_different(whole: np.ndarray, on_halves: np.ndarray, *, paired: bool = True) -> float:
    """How often the two models are called different at .05."""
    if not paired:  # the second model on other halves than the first
        on_halves = np.stack([on_halves[:, 0], np.roll(on_halves[:, 1], 1, axis=1)], axis=1)
    found = [
        difference(OnHalves(float(one), of_one), OnHalves(float(other), of_other)).p < 0.05
        for (one, other), (of_one, of_other) in zip(whole, on_halves, strict=True)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("metric", ["mutual_knn", "cka"])
def test_equal_models_are_called_different_as_often_as_said(metric: str) -> None:
    """.05 +- .02 of worlds; with other halves for the second model the test would be blind."""
    whole, on_halves = simulated(metric, 240)

    assert 0.03 <= share_different(whole, on_halves) <= 0.07
    assert share_different(whole, on_halves, paired=False) < 0.02


@pytest.mark.parametrize(("metric", "least"), [("mutual_knn", 0.35), ("cka", 0.6)])
def test_more_noise_is_found(metric: str, least: float) -> None:
    whole, on_halves = simulated(metric, 80, more_noise=1.5, seed=1)

    assert share_different(whole, on_halves) >= least
    assert (whole[:, 0] > whole[:, 1]).mean() > 0.8


# --- by hand ---


def test_a_difference_by_hand() -> None:
    """Halves that are .2 and .2 apart: the error is .1, and t has two degrees of freedom."""
    one = OnHalves(0.6, np.array([[0.7, 0.5], [0.5, 0.6]]))
    other = OnHalves(0.2, np.array([[0.1, 0.1], [0.2, 0.1]]))

    found = difference(one, other)

    assert found.value == pytest.approx(0.4)
    assert (found.high - found.low) / 2 == pytest.approx(4.302653 * 0.1)
    assert found.p == pytest.approx(1 - 4 / np.sqrt(2 + 4**2))  # this t in closed form


def test_the_same_model_twice_is_not_different() -> None:
    same = OnHalves(0.3, np.array([[0.2, 0.3], [0.25, 0.2]]))
    rounded = OnHalves(0.3 + 1e-9, same.halves + 1e-10)

    assert difference(same, same).p == 1
    assert difference(same, rounded).p > 0.9


def test_halves_without_a_score_do_not_count() -> None:
    halves = np.array([[0.2, 0.3], [np.nan, 0.2], [0.4, 0.3]])
    whole = difference(OnHalves(0.3, halves), OnHalves(0.1, np.zeros((3, 2))))
    without = difference(OnHalves(0.3, halves[[0, 2]]), OnHalves(0.1, np.zeros((2, 2))))

    assert whole == without
    assert np.isnan(difference(OnHalves(0.3, halves[:2]), OnHalves(0.1, np.zeros((2, 2)))).p)


def test_the_mean_over_partners_is_of_scores() -> None:
    """Partners share the rows: the mean is taken before the halves are held against each other."""
    found = mean_of([OnHalves(0.2, np.array([[0.1, 0.3]])), OnHalves(0.4, np.array([[0.3, 0.1]]))])

    assert found.whole == pytest.approx(0.3)
    np.testing.assert_allclose(found.halves, [[0.2, 0.2]])


def test_ranks_by_hand() -> None:
    """Surely above the third: the first alone. The second may be any."""
    p = np.array([[1, 0.2, 0.001], [0.2, 1, 0.04], [0.001, 0.04, 1]])  # Holm: .2, .003, .08

    found = ranks(np.array([0.3, 0.2, 0.1]), p)

    assert [(one.rank, one.low, one.high) for one in found] == [(1, 1, 2), (2, 1, 3), (3, 2, 3)]
    distances = ranks(np.array([0.3, 0.2, 0.1]), p, larger_is_closer=False)
    assert [(one.rank, one.low, one.high) for one in distances] == [(3, 2, 3), (2, 1, 3), (1, 1, 2)]


def test_equal_scores_share_a_rank() -> None:
    found = ranks(np.array([0.2, 0.3, 0.2]), np.full((3, 3), np.nan))

    assert [(one.rank, one.low, one.high) for one in found] == [(2, 1, 3), (1, 1, 3), (2, 1, 3)]


def test_halves_are_of_all_rows_and_of_nothing_but_their_number() -> None:
    first, second = halving(11, seed=3, number=7)

    assert (len(first), len(second), len({*first, *second})) == (5, 5, 10)
    np.testing.assert_array_equal(first, halving(11, seed=3, number=7)[0])
    assert not np.array_equal(first, halving(11, seed=3, number=8)[0])
    with pytest.raises(ConfigError, match="at least 4 rows, so 8 in all"):
        halving(7, 0, 0)


# --- the tables ---


class Truth(NamedTuple):
    bench: Bench
    differences: pd.DataFrame
    ranks: pd.DataFrame


def spec(label: str, modality: str, **more: Any) -> ModelSpec:
    settings = {"backend": "timm"} | more
    return ModelSpec(name=label, label=label, family="f", modality=modality, **settings)


def aligned(bench: Bench, **said: Any) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
    """Errors, and both tables."""
    errors, _, _ = bench.align(**{"differences": {"splits": 5}} | said)
    tables = [
        bench.results.read_table(bench.results.further(name), "align")
        for name in ("differences", "ranks")
    ]
    return errors, *tables


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    bench = Bench(tmp_path_factory.mktemp("differences"))
    errors, found, places = aligned(bench)
    assert not errors
    return Truth(bench, found, places)


def test_the_numbers_are_those_of_the_halves(truth: Truth) -> None:
    """Everything again by loops: preprocessing of all rows, then neighbors within each half."""
    settings = truth.bench.config().align
    prepared = {name: prepared_layers(settings, name, of) for name, of in FEATURES.items()}

    def score(x: str, y: str, rows: Any) -> float:
        of_x, of_y = ([layer[rows].numpy() for layer in prepared[label]] for label in (x, y))
        return max(oracles.mutual_knn(a, b, k=3) for a in of_x for b in of_y)

    def on_halves(x: str, y: str) -> OnHalves:
        pairs = [[score(x, y, half) for half in halving(22, 0, number)] for number in range(5)]
        return OnHalves(score(x, y, np.arange(22)), np.array(pairs))

    scores = {(x, y): on_halves(x, y) for x in ("words-a", "words-b") for y in ("eyes-a", "eyes-b")}
    table = truth.differences.set_index(["x1", "x2", "partner"])
    for partner in ("eyes-a", "eyes-b"):
        wanted = difference(scores["words-a", partner], scores["words-b", partner])
        row = table.loc[("words-a", "words-b", partner)]
        assert row["difference"] == pytest.approx(wanted.value)
        assert row["p"] == pytest.approx(wanted.p)
    both = [mean_of([scores[x, y] for y in ("eyes-a", "eyes-b")]) for x in ("words-a", "words-b")]
    row = table.loc[("words-a", "words-b", "all")]
    assert row["p"] == pytest.approx(difference(*both).p)
    assert (row["low"], row["high"]) == pytest.approx(
        (difference(*both).low, difference(*both).high)
    )
    assert (row["num_partners"], row["n"], row["splits"]) == (2, 22, 5)


def test_the_scores_are_those_of_the_best_table(truth: Truth) -> None:
    best = truth.bench.results.read_table(truth.bench.results.best, "align")
    mean = best.groupby("x")["score"].mean()
    of_all = truth.ranks[truth.ranks["partner"] == "all"].set_index("model")["score"]

    for label in ("words-a", "words-b"):
        assert of_all[label] == pytest.approx(mean[label])


def test_a_killed_run_goes_on_and_a_finished_one_computes_nothing(tmp_path: Path) -> None:
    """Pieces of other halvings, and of other pairs, stay as they are."""
    bench = Bench(tmp_path)
    pairs = {"pairs": [{"x": {"family": "words"}, "y": {"model": "eyes-a"}}]}
    _, found, _ = aligned(bench, **pairs)
    parts = bench.parts()
    lost = sorted(path for path in parts if path.name.startswith("differences-"))[0]
    lost.unlink()

    holm = {"null": {"permutations": 0, "correction": "holm"}}
    _, again, _ = aligned(bench, **pairs, **holm, differences={"splits": 5, "level": 0.9})

    pd.testing.assert_series_equal(found["p"], again["p"])
    assert again["high"].sum() < found["high"].sum()
    assert {path for path, time in bench.parts().items() if parts.get(path) != time} == {lost}
    for more in ({"splits": 7}, {"splits": 5, "seed": 1}):  # the last two halvings; all of them
        before = set(bench.parts())
        errors, _, _ = aligned(bench, **pairs, differences=more)
        assert not errors
        assert len(set(bench.parts()) - before) == 2  # of each pair


def test_nothing_to_compare_is_an_empty_table(tmp_path: Path) -> None:
    pairs = [{"x": {"model": "words-b"}, "y": {"model": "eyes-a"}}]
    errors, found, places = aligned(Bench(tmp_path), pairs=pairs)

    assert (errors, len(found), len(places)) == ({}, 0, 0)


def test_halves_that_a_metric_cannot_take_are_refused(tmp_path: Path) -> None:
    metrics = [{"name": "mutual_knn", "k": 11}]
    errors, _, best = Bench(tmp_path).align(metrics=metrics, differences={})

    (message,) = [str(error) for error in errors.values()]
    assert "scores both halves of the 22 rows" in message
    assert "k must be smaller than the number of samples: got k=11 with n=11" in message
    assert best["score"].notna().all()


def test_what_is_compared_with_what() -> None:
    """Every two trained models; each of them with its own copies and with every baseline."""
    models = [
        spec("a", "language"),
        spec("b", "language"),
        spec("a (random)", "language", random_init=True, random_of="a"),
        spec("a (scrambled)", "language", changed_of="a"),
        spec("bag of words", "language", backend="baseline"),
        spec("u", "vision"),
        spec("u (random)", "vision", random_init=True, random_of="u"),
    ]
    specs = {model.label: model for model in models}
    halves = OnHalves(0.1, np.zeros((5, 2)))
    scores = {(x, y): halves for x in list(specs)[:5] for y in ("u", "u (random)")}

    language, vision = _sides(scores, specs)

    assert (language.modality, language.against) == ("language", "vision")
    assert set(language.comparisons()) == {
        ("models", "a", "b"),
        ("random weights", "a", "a (random)"),
        ("changed view", "a", "a (scrambled)"),
        ("baseline", "a", "bag of words"),
        ("baseline", "b", "bag of words"),
    }
    assert set(vision.comparisons()) == {("random weights", "u", "u (random)")}
    assert {partner for of in vision.scores.values() for partner in of} == {"a", "b"}


def test_controls_do_not_make_findings_harder() -> None:
    """Holm within a family: three models make three tests, however many copies there are."""
    about = {"metric": "m", "side": "language", "against": "vision", "partner": "all"}
    rows = [about | {"kind": "models", "p": 0.01}] * 3
    rows += [about | {"kind": "random weights", "p": 0.01}] * 9
    rows += [about | {"kind": "models", "p": 0.01, "partner": "u"}] * 5

    adjusted = _adjusted(pd.DataFrame(rows), "holm")

    np.testing.assert_allclose(adjusted, [0.03] * 3 + [0.09] * 9 + [0.05] * 5)


# --- the figure ---


def test_the_picture_shows_ranks_and_verdicts() -> None:
    figure, points = draw_figure(difference_tables(), DifferencesFigure())

    cells = points.frame[points.frame["role"] == "cell"]
    verdicts = {
        (model, other): verdict
        for model, other, verdict in zip(
            cells["model"], cells["other"], cells["verdict"], strict=True
        )
    }
    assert verdicts == {
        ("a", "b"): "above",
        ("b", "a"): "below",
        ("a", "c"): "above",
        ("c", "a"): "below",
        ("b", "c"): "not told apart",
        ("c", "b"): "not told apart",
        ("a", "its random weights"): "above",
        ("a", "bag of words"): "below",
    }
    of_ranks, of_cells = figure.axes
    dots = {line.get_gid(): line.get_xydata().tolist() for line in of_ranks.lines}
    assert dots["rank|a"] == [[1, 0]]
    assert dots["rank|c"] == [[3, 2]]
    assert [text.get_text() for text in of_cells.get_xticklabels()] == [
        "a", "b", "c", "its random weights", "bag of words",
    ]  # fmt: skip


def test_a_figure_without_its_table_says_which_key() -> None:
    tables = Tables(best=pd.DataFrame(), performance=pd.DataFrame(), models=pd.DataFrame())

    with pytest.raises(AbsentError, match=r"no ranks.csv of this run. Set `align.differences`"):
        draw_figure(tables, DifferencesFigure())
