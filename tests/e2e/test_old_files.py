"""The cache and results of each released version, frozen in `tests/data`, are read for good."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from processes import Ended, Forks
from small_experiment import identities

import platorep

DATA = Path(__file__).parents[1] / "data"
LABELS = ("llama8", "conv4", "v1.npz")

Run = Callable[..., Ended]


@pytest.fixture(params=["0.1.0"])
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / request.param, tmp_path / "frozen"))


@pytest.fixture
def run(forks: Forks, frozen: Path) -> Run:
    return lambda *arguments: forks.run(*arguments, folder=frozen, cache=frozen / "cache")


@pytest.fixture
def results(frozen: Path) -> Path:
    return frozen / "results" / "frozen"


def kept(frozen: Path) -> dict[Path, tuple[int, int]]:
    """What took time to make, and must be neither made again nor made anew beside the old."""
    endings = ("*.safetensors", "*.json", "*.png", "*.parquet")
    rooms = [frozen / "cache" / room for room in ("features", "measurements", "toyworld")]
    return identities([path for room in rooms for e in endings for path in room.rglob(e)])


def scores(results: Path) -> pd.DataFrame:
    """Of real pairs by `mutual_knn`, by number of the layers."""
    table = pd.read_parquet(results / "scores.parquet")
    table = table[(table["metric"] == "mutual_knn{k: 3}") & (table["control"] == "")]
    return table.set_index(["x", "y", "layer_x", "layer_y"])["score"].sort_index()


def test_nothing_is_made_again(run: Run, frozen: Path, results: Path) -> None:
    before, measured = kept(frozen), pd.read_csv(results / "performance.csv")

    for stage in ("extract", "measure"):
        ended = run(stage, "experiment.yaml", "--device", "cpu")
        assert ended.code == 0, ended.stderr

    assert kept(frozen) == before
    again = pd.read_csv(results / "performance.csv")
    pd.testing.assert_frame_equal(again[list(measured)], measured)


def test_the_cache_is_whole(run: Run) -> None:
    verified = run("cache", "verify")
    assert verified.code == 0, verified.stdout

    listed = run("cache", "list", "--json")
    cells = json.loads(listed.stdout)
    assert {cell["model"]: cell["state"] for cell in cells} == dict.fromkeys(LABELS, "2/2 shards")


def test_tables_are_made_and_drawn(run: Run, results: Path) -> None:
    old = scores(results)

    drawn = run("plot", "experiment.yaml")
    assert drawn.code == 0, drawn.stderr
    assert {path.name for path in (results / "figures").glob("*.png")} == {
        "scaling.png",
        "heatmap.png",
    }

    for parts_are_there in (True, False):
        paper = "align.preprocess=paper"  # as was the default
        aligned = run("align", "experiment.yaml", "--device", "cpu", "--set", paper)
        assert aligned.code == 0, aligned.stderr
        pd.testing.assert_series_equal(scores(results), old)
        if parts_are_there:
            shutil.rmtree(results / "parts")


def test_a_reference_prepares_features_as_its_version_did(
    frozen: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(frozen / "cache"))
    features = platorep.load_features(results, "llama8").layers

    reference = platorep.Reference(results, "conv4", k=3)
    queries = [layer[: len(reference.ids)] for layer in features]

    assert reference(queries) == pytest.approx(scores(results)["llama8", "conv4"].max())


@pytest.mark.parametrize("label", LABELS)
def test_features_are_read(
    frozen: Path, results: Path, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(frozen / "cache"))
    (shards,) = {path.parent for path in frozen.rglob(f"{label}/*/shard-*.safetensors")}
    raw = [safetensors.numpy.load_file(path) for path in sorted(shards.glob("shard-*"))]

    features = platorep.load_features(results, label)

    assert features.ids == tuple(f"scene-{i:06d}.png" for i in range(24))
    for number, layer in enumerate(features.layers):
        expected = np.concatenate([shard[f"layer-{number:03d}"] for shard in raw])
        np.testing.assert_array_equal(layer.numpy(), expected)
