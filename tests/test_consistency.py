"""Do model pairs rank the same on several sets of samples? `platorep compare`."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from platorep.cli import app
from platorep.plots.consistency import consistency_points, draw_consistency
from platorep.plots.style import figure_style
from platorep.results import Results
from platorep.statistics import kendall_over_pairs

# two language models and three vision models: of the six pairs as they rank on two sets
X = ["a", "a", "a", "b", "b", "b"]
Y = ["u", "v", "w", "u", "v", "w"]


def slow_tau_b(first: list[float], second: list[float]) -> float:
    """By the definition: (concordant - discordant) / sqrt of the pairs not tied on either side."""
    signs = [
        (np.sign(a - b), np.sign(c - d))
        for (a, c), (b, d) in itertools.combinations(zip(first, second, strict=True), 2)
    ]
    agree = sum(one * other for one, other in signs)
    return float(agree / np.sqrt(sum(o != 0 for o, _ in signs) * sum(t != 0 for _, t in signs)))


def tau(first: list[float], second: list[float], x: list[str], y: list[str]) -> Any:
    return kendall_over_pairs(np.array(first, float), np.array(second, float), x, y)


def test_tau_by_hand() -> None:
    """15 pairs of pairs: the last two trade places, so 14 agree and 1 does not."""
    found = tau([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 6, 5], X, Y)

    assert found.tau == pytest.approx((14 - 1) / 15)
    assert (found.num_pairs, found.num_models) == (6, 5)


def test_ties_and_holes() -> None:
    """Two scores are equal on one set: 14 of its 15 pairs are not tied, and all 14 agree."""
    found = tau([1, 2, 3, 4, 5, 5, np.nan], [1, 2, 3, 4, 5, 6, 9], [*X, "c"], [*Y, "u"])

    assert found.tau == pytest.approx(14 / np.sqrt(14 * 15))
    assert found.tau == pytest.approx(slow_tau_b([1, 2, 3, 4, 5, 5], [1, 2, 3, 4, 5, 6]))
    assert found.num_pairs == 6


def test_the_interval_leaves_models_out_not_pairs() -> None:
    """The jackknife by hand: two x and three y, each left out with all of its pairs."""
    first, second = [1, 2, 3, 4, 5, 6], [1, 3, 2, 4, 6, 5]
    found = tau(first, second, X, Y)
    variances, freedom = [], []
    for models, of in ((["a", "b"], X), (["u", "v", "w"], Y)):
        left = []
        for model in models:
            rest = [i for i in range(6) if of[i] != model]
            left.append(slow_tau_b([first[i] for i in rest], [second[i] for i in rest]))
        m = len(models)
        variances.append((m - 1) / m * sum((t - np.mean(left)) ** 2 for t in left))
        freedom.append(m - 1)
    assert variances[0] == 0  # either half is turned round once
    reach = 4.302653 * np.sqrt(variances[1])  # t of two degrees of freedom, .975

    assert found.low == pytest.approx(max(found.tau - reach, -1))
    assert found.high == pytest.approx(min(found.tau + reach, 1))


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 2], [1, 2]), ([1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6])],
    ids=["two pairs", "no variation"],
)
def test_what_has_no_tau(first: list[float], second: list[float]) -> None:
    found = tau(first, second, X[: len(first)], Y[: len(first)])

    assert np.isnan([found.tau, found.low, found.high]).all()


def test_a_perfect_order_says_nothing_of_other_models() -> None:
    found = tau([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], X, Y)

    assert found.tau == pytest.approx(1)
    assert np.isnan([found.low, found.high]).all()


def test_the_interval_holds_what_many_models_would_have() -> None:
    """Eight models x and five y, with qualities of their own and of their own on each set."""
    rng = np.random.default_rng(0)

    def world(a: int, b: int) -> tuple[Any, Any]:
        common = rng.standard_normal((a, 1)) + rng.standard_normal((1, b))

        def one() -> Any:
            own = rng.standard_normal((a, 1)) + rng.standard_normal((1, b))
            return (common + 0.5 * own + 0.3 * rng.standard_normal((a, b))).ravel()

        return one(), one()

    x, y = [f"x{i // 5}" for i in range(40)], [f"y{i % 5}" for i in range(40)]
    truth = np.mean([kendall_over_pairs(*world(60, 40), ["x"] * 2400, ["y"] * 2400).tau
                     for _ in range(5)])  # fmt: skip
    found = [kendall_over_pairs(*world(8, 5), x, y) for _ in range(60)]

    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.85
    assert np.mean([one.high - one.low for one in found]) < 1


# --- experiments on disk ---

MODELS = ["a", "b", "a (random)", "u", "v", "w"]


def finished(folder: Path, scores: list[float], **columns: Any) -> Path:
    """The tables of an experiment of two x, three y and a random copy, as `run` leaves them."""
    best = pd.DataFrame({"x": X, "y": Y, "score": scores, "control": ""})
    control = best[best["x"] == "a"].assign(x="a (random)", score=[9.0, 8.0, 7.0])
    shuffled = best.assign(control="shuffled", score=0.0)
    best = pd.concat([best, control, shuffled], ignore_index=True)
    best = best.assign(dataset="d", metric="mutual_knn{k: 10}", x_family="F", y_family="G", n=64)
    models = pd.DataFrame({"label": MODELS, "random": [name == MODELS[2] for name in MODELS]})
    models = models.assign(random_of=["", "", "a", "", "", ""], changed_of="", view="text")
    results = Results(folder)
    results.write_table(results.best, best.assign(**columns), {})
    results.write_table(results.models, models, {})
    results.record("align", {"settings": {"preprocess": {"clip_quantile": 0.95}}})
    return folder


def compare(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_finished_experiments_are_compared(tmp_path: Path) -> None:
    one = finished(tmp_path / "one", [1, 2, 3, 4, 5, 6])
    other = finished(tmp_path / "other", [1, 2, 3, 4, 6, 5], n=32)
    output = tmp_path / "compared"

    found = compare(one, other, "--output", output, "--json")

    assert found.exit_code == 0, found.output
    (row,) = json.loads(found.stdout)
    assert (row["first"], row["second"], row["num_pairs"]) == ("one", "other", 6)
    assert row["tau"] == pytest.approx(13 / 15, abs=1e-4)  # no control takes part
    assert (row["n_first"], row["n_second"]) == (64, 32)
    assert len(pd.read_csv(output / "consistency_pairs.csv")) == 12
    assert {path.suffix for path in (output / "figures").iterdir()} == {".pdf", ".png", ".csv"}


def test_features_that_were_prepared_otherwise_are_told(tmp_path: Path) -> None:
    one, other = (finished(tmp_path / name, [1, 2, 3, 4, 5, 6]) for name in ("one", "other"))
    assert compare(one, other, "--output", tmp_path / "out").stderr == ""
    Results(other).record("align", {"settings": {"preprocess": {"clip_quantile": 1}}})

    found = compare(one, other, "--output", tmp_path / "out")

    assert found.exit_code == 0
    assert "one and other were aligned with different align.preprocess" in found.stderr


def test_more_than_two_make_a_matrix(tmp_path: Path) -> None:
    orders = {"one": [1, 2, 3, 4, 5, 6], "two": [1, 2, 3, 4, 6, 5], "three": [6, 5, 4, 3, 2, 1]}
    folders = [finished(tmp_path / name, scores) for name, scores in orders.items()]  # type: ignore[arg-type]

    found = compare(*folders, "--output", tmp_path / "out", "--json")

    taus = {(row["first"], row["second"]): row["tau"] for row in json.loads(found.stdout)}
    assert taus == {("one", "two"): pytest.approx(13 / 15, abs=1e-4), ("one", "three"): -1,
                    ("two", "three"): pytest.approx(-13 / 15, abs=1e-4)}  # fmt: skip
    cells = pd.read_csv(tmp_path / "out" / "figures" / "consistency.csv")
    assert len(cells) == 9


def test_sides_and_views_are_no_other_models(tmp_path: Path) -> None:
    """One experiment has the pairs the other way round; its models read another caption."""
    one = finished(tmp_path / "one", [1, 2, 3, 4, 5, 6])
    other = finished(tmp_path / "other", [1, 2, 3, 4, 6, 5])
    results = Results(other)
    best, models = pd.read_csv(results.best), pd.read_csv(results.models)
    renamed = {"a": "a (text_1)", "b": "b (text_1)"}
    turned = best.assign(x=best["y"], y=best["x"].replace(renamed), x_family="G", y_family="F")
    results.write_table(results.best, turned, {})
    renamed_models = models.assign(label=models["label"].replace(renamed), view="text_1")
    both = pd.concat([models, renamed_models[renamed_models["label"].isin(renamed.values())]])
    results.write_table(results.models, both, {})  # others were extracted, and not scored

    found = compare(one, other, "--output", tmp_path / "out", "--json")

    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)[0]["tau"] == pytest.approx(13 / 15, abs=1e-4)
    assert set(pd.read_csv(tmp_path / "out" / "consistency_pairs.csv")["family"]) == {"F"}


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    one = finished(tmp_path / "one", [1, 2, 3, 4, 5, 6])
    strangers = finished(tmp_path / "strangers", [1, 2, 3, 4, 5, 6])
    results = Results(strangers)
    for path in (results.best, results.models):
        results.write_table(path, pd.read_csv(path).replace({"a": "c", "b": "d"}), {})
    metric = finished(tmp_path / "metric", [1, 2, 3, 4, 5, 6], metric="cka")
    (tmp_path / "empty").mkdir()
    cases = (
        ((one, one), 2, "two different experiments"),
        ((one,), 2, "two different experiments"),
        ((one, "nosuch"), 2, "neither a folder of results nor an experiment"),
        ((one, strangers), 2, "one has a, b, u, v, w; strangers has c, d, u, v, w"),
        ((one, metric), 2, "no metric in common: one has mutual_knn"),
        ((one, tmp_path / "empty"), 4, "no best.csv"),
    )
    for arguments, code, message in cases:
        found = compare(*arguments, "--output", tmp_path / "out")
        assert (found.exit_code, message in found.stderr) == (code, True), found.stderr
    assert not (tmp_path / "out").exists()


def test_every_pair_is_in_the_picture() -> None:
    scores = pd.DataFrame({"x": X * 2, "y": Y * 2, "experiment": ["p"] * 6 + ["q"] * 6})
    scores = scores.assign(metric="cka", family=["F", "F", "F", "G", "G", "G"] * 2, n=9)
    scores["score"] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.2, 0.1, 0.3, 0.4, 0.5, 0.7]
    table = pd.DataFrame([{"metric": "cka", "first": "p", "second": "q", "tau": 13 / 15}])
    with figure_style():
        figure = draw_consistency(consistency_points(scores, table.assign(low=0.5, high=1.0)))

    (ax,) = figure.axes
    drawn = {tuple(p) for line in ax.lines for p in line.get_xydata() if line.get_gid()}
    assert drawn == {(0.1, 0.2), (0.2, 0.1), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5), (0.6, 0.7)}
    (text,) = [t.get_text() for t in ax.texts]
    assert text == "cka: Kendall's tau .87 [.50, 1.00] over 6 pairs"
