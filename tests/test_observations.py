"""Averages over observations of a world whose signal and noise are known, on cells made by hand."""

import importlib
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from runs import run_of
from test_align import Bench
from torch import Tensor

from platorep.align import align
from platorep.align.analyses.averages import averaged, subsets_of
from platorep.config import ExperimentConfig
from platorep.errors import DataError
from platorep.features import RowIdentities
from platorep.files import write_json
from platorep.reporting import Reporter
from platorep.results import Results

N, K, D = 96, 5, 6
ROWS = RowIdentities(ids=tuple(f"row-{i}" for i in range(N)), hashes=("",) * N)
VIEWS = ("text", "text_1", "text_2", "text_3")
NOISE = 1.0


class World(Bench):
    """`reader` sees each of four captions with as much noise as signal, `clean` sees what they are
    of, `viewer` sees it too and a little noise, in an image and in a crop of it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.results, self.report = folder / "cache", Results(folder), Reporter(-1)
        write_json(self.results.run, {"dataset": {"name": "d", "num_rows": N, "fingerprint": "f"}})
        columns = (*VIEWS, "joined", "image", "crop")
        hashes = {f"{view}_sha256": [""] * N for view in columns}
        self.results.write_table(self.results.rows, pd.DataFrame({"id": ROWS.ids, **hashes}), {})
        rng = torch.Generator().manual_seed(3)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng)

        z, turn = normal(N, D), torch.linalg.qr(normal(D, D)).Q
        noise = NOISE * normal(len(VIEWS), N, D)
        self.features: dict[str, list[Tensor]] = {}
        for view, own in zip(VIEWS, noise, strict=True):
            label = "reader" if view == "text" else f"reader ({view})"
            self.features[label] = [normal(N, 3), z + own]
            self.features[label.replace("reader", "clean")] = [z]
        self.features["reader (joined)"] = [normal(N, 3), z + noise.mean(dim=0)]
        self.features["clean (joined)"] = [z]
        self.features["viewer"] = [z @ turn + 0.5 * normal(N, D)]
        self.features["viewer (crop)"] = [z @ turn + 0.5 * normal(N, D)]
        for label, layers in self.features.items():
            self.put(label, layers, ROWS)

    models: tuple[str, ...] = ("reader",)

    def config(self, controls: dict[str, Any] | None = None, **said: Any) -> ExperimentConfig:
        views: dict[str, Any] = {view: {"kind": "text", "column": view} for view in VIEWS}
        views |= {"joined": {"kind": "text", "column": "all"}, "image": {}}
        views |= {"crop": {"of": "image", "change": "crop"}}
        settings: dict[str, Any] = {
            "preprocess": {"clip_quantile": 1, "center": "none"},
            "metrics": [{"name": "mutual_knn", "k": K}],
            "null": {"permutations": 0},
            "repeats": {"text": VIEWS[1:]},
            "observations": {"joined": {"text": {4: "joined"}}},
        }
        raw = {
            "name": "test",
            "dataset": {"source": "photos", "views": views},
            "families": [
                {"name": "words", "modality": "language", "models": list(self.models)},
                {"name": "eyes", "modality": "vision", "models": ["viewer"]},
            ],
            "align": settings | said,
            "controls": controls or {},
        }
        return ExperimentConfig.model_validate(raw)

    def observe(self, **said: Any) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
        """Errors, observations.csv, asymptotes.csv."""
        run = run_of(self.config(**said), self.results, self.root, self.report, keep_going=True)
        failures, _ = align(run)
        found, ends = (
            self.results.read_table(self.results.further(name), "align")
            for name in ("observations", "asymptotes")
        )
        return failures.errors, found, ends

    def oracle(self, labels: list[str]) -> float:
        """Neighbors in the mean of the features, counted by loops."""
        mean = np.mean([self.features[label][1].double().numpy() for label in labels], axis=0)
        return oracles.mutual_knn(mean, self.features["viewer"][0].double().numpy(), K)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_subsets_by_hand() -> None:
    everything = subsets_of(5, most=20, seed=0)
    assert [sum(len(s) == m for s in everything) for m in range(1, 6)] == [5, 10, 10, 5, 1]
    assert (everything[0], everything[-1]) == ((0,), (0, 1, 2, 3, 4))
    some = subsets_of(9, most=7, seed=0)
    assert [sum(len(s) == m for s in some) for m in range(1, 10)] == [7] * 8 + [1]
    assert len(set(some)) == len(some)
    assert some[0] == (0,)
    assert some == subsets_of(9, most=7, seed=0)
    assert some != subsets_of(9, most=7, seed=1)


def test_an_average_by_hand() -> None:
    one, other = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]])

    assert averaged([[one], [other]])[0].tolist() == [[2.0, 1.0]]
    assert averaged([[one]])[0] is one
    with pytest.raises(DataError, match="layer 0 has 2, 1 dimensions"):
        averaged([[one], [other[:, :1]]])


def test_every_average_is_scored_as_loops_do(world: World) -> None:
    errors, found, _ = world.observe()

    assert errors == {}
    best = world.results.read_table(world.results.best, "align")
    of_reader = found[(found["x"] == "reader") & (found["layers"] == "kept")]
    subsets = [s for m in range(1, 5) for s in itertools.combinations(VIEWS, m)]
    assert of_reader["subset"].tolist() == [*(" + ".join(s) for s in subsets), "joined"]
    assert of_reader["m"].tolist() == [*map(len, subsets), 4]
    assert of_reader["joined"].tolist() == [False] * 15 + [True]
    assert set(of_reader["layer_x"]) == {1}
    for place in (1, 9, 14):  # one, two, all
        labels = [f"reader ({view})" for view in subsets[place]]
        labels = [label.replace(" (text)", "") for label in labels]
        score = of_reader["score"].iloc[place]
        assert score == pytest.approx(world.oracle(labels), abs=1e-12)
    assert of_reader["score"].iloc[0] == best.loc[best["x"] == "reader", "score"].iloc[0]
    assert of_reader["score"].iloc[-1] == of_reader["score"].iloc[-2]  # joined is their mean here
    again = found[(found["x"] == "reader") & (found["layers"] == "again")]
    assert again["subset"].tolist() == [" + ".join(VIEWS), "joined"]
    assert again["score"].tolist() == of_reader["score"].tolist()[-2:]  # the other layer is noise


def test_averages_rise_to_what_is_seen_without_noise(world: World) -> None:
    _, found, ends = world.observe(metrics=[{"name": "mutual_knn", "k": K}, {"name": "cka"}])

    seen, viewed = (world.features[name][0].double().numpy() for name in ("clean", "viewer"))
    truths = [oracles.mutual_knn(seen, viewed, K), oracles.cka(seen, viewed, "linear", None, False)]
    attenuation = ends[ends["law"] == "attenuation"]
    assert len(attenuation) == 2
    for end, truth in zip(attenuation.to_dict("records"), truths, strict=True):
        scored = found[(found["metric"] == end["metric"]) & ~found["joined"]]
        means = scored.groupby("m")["score"].mean()
        assert (np.diff(means) > 0).all()
        assert end["low"] <= truth <= end["high"]
        assert end["asymptote"] == pytest.approx(truth, rel=0.15)
        assert end["half"] == pytest.approx(NOISE**2, rel=0.6)
        assert (end["score_one"], end["score_all"]) == pytest.approx((means[1], means[4]))
        assert end["r2"] > 0.98


def test_a_partner_with_observations_is_averaged_too(world: World) -> None:
    _, found, ends = world.observe(repeats={"text": VIEWS[1:], "image": ["crop"]})

    of_reader = found[(found["x"] == "reader") & (found["layers"] == "kept") & ~found["joined"]]
    means = of_reader.groupby(["side", "partner_m", "m"])["score"].mean()
    assert means.index.tolist() == [
        *(("x", partner_m, m) for partner_m in (1, 2) for m in range(1, 5)),
        *(("y", partner_m, m) for partner_m in (1, 4) for m in (1, 2)),
    ]
    assert means["x", 2, 4] > means["x", 1, 4] > means["x", 1, 1]
    assert means["x", 2, 4] == means["y", 4, 2]  # both: all captions with image and crop
    few = ends[(ends["side"] == "y")]
    assert set(few["reason"]) == {"2 points, and 4 are the fewest for a curve"}


def test_a_bag_of_words_is_joined_and_never_averaged(world: World) -> None:
    """Its dimensions are the words of each view."""
    for view in ("", *VIEWS[1:], "joined"):
        label = f"bag of words ({view})" if view else "bag of words"
        world.put(label, [torch.randn(N, 4 + len(view))], ROWS)

    pair = {"x": {"model": "bag of words"}, "y": {"model": "viewer"}}
    errors, found, _ = world.observe(controls={"baselines": True}, pairs=[pair])

    assert errors == {}
    bag = found[found["layers"] == "kept"]
    assert list(zip(bag["m"], bag["subset"], strict=True)) == [(1, "text"), (4, "joined")]


def test_what_is_finished_is_kept_when_another_model_fails(world: World) -> None:
    world.models = ("reader", "clean")
    label = "clean (text_2)"
    world.results.update_json(world.results.cells, lambda content: content["cells"].pop(label))

    errors, found, _ = world.observe()

    assert list(errors) == ["observations of clean"]
    assert set(found["x"]) == {"reader"}
    before = world.parts()
    world.put(label, world.features[label], ROWS)
    errors, whole, _ = world.observe()
    assert errors == {}
    assert set(whole["x"]) == {"reader", "clean"}
    after = world.parts()
    assert {path: after[path] for path in before} == before
    assert len([path for path in after if path.name.startswith("observations")]) == 2


OWN = """
from platorep.metrics import own_metric

def compare(x, y):
    return float((x @ x.T).ravel() @ (y @ y.T).ravel())

metric = own_metric(name="observed_own:metric", compare=compare)
"""


def test_nothing_is_kept_of_a_metric_whose_code_has_changed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    scores = []
    for code in (OWN, OWN.replace("float(", "float(2 * ")):
        (folder / "observed_own.py").write_text(code)
        sys.modules.pop("observed_own", None)
        importlib.invalidate_caches()
        errors, found, _ = world.observe(metrics=["observed_own:metric"])
        assert errors == {}
        scores.append(found["score"].to_numpy())

    np.testing.assert_allclose(scores[1], 2 * scores[0])


def test_the_best_layer_is_looked_for_again_only_where_all_are_asked(world: World) -> None:
    _, of_all, _ = world.observe(metrics=[{"name": "mutual_knn", "k": K}])
    _, of_last, _ = world.observe(metrics=[{"name": "mutual_knn", "k": K, "layers": "last"}])

    assert set(of_all["layers"]) == {"kept", "again"}
    assert set(of_last["layers"]) == {"kept"}


@pytest.mark.parametrize(
    ("align", "what"),
    [
        ({"repeats": {}}, "need `repeats`"),
        ({"repeats": {"text": ["text_9"]}}, "'text_9' is no view of kind text"),
        ({"observations": {"joined": {"txt": {2: "joined"}}}}, "no `repeats`. Did you mean 'text'"),
        ({"observations": {"joined": {"text": {2: "image"}}}}, "'image' is no view of kind text"),
        ({"observations": {"joined": {"text": {1: "joined"}}}}, "greater than or equal to 2"),
        ({"observations": {"joined": {"text": {2: "text_1"}}}}, "none twice"),
        ({"observations": {"subsets": 0}}, "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, align: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        world.config(**align)
