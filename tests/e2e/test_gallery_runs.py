"""From YAML to PNG through the command line: galleries of the toy world."""

import json
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from processes import Forks
from small_experiment import Place

ROWS, QUERIES = 96, 24


def experiment() -> dict[str, Any]:
    """Networks with random weights, on pairs that are made up: seconds."""
    training = {"steps": 0}
    return {
        "name": "small",
        "dataset": {"source": "toyworld", "limit": ROWS, "deduplicate": "near"},
        "families": [
            {"name": "viewers", "modality": "vision", "backend": "toyworld",
             "models": ["conv4"], "training": training},
            {"name": "readers", "modality": "language", "backend": "toyworld",
             "models": ["llama8", "llama16"], "training": training},
        ],
        "extract": {"rows_per_shard": 16, "workers": 0},
        "align": {
            "metrics": [{"name": "mutual_knn", "k": 5}],
            "null": {"permutations": 9},
            "gallery": {"queries": QUERIES, "sizes": [QUERIES, 48, "all"], "k": [1, 5, "10%"]},
        },
        "controls": {"shuffled_pairs": True},
        "figures": [{"kind": "gallery"}],
    }  # fmt: skip


def test_from_yaml_to_png(forks: Forks, place: Place) -> None:
    place.write(experiment())

    end = forks.run("run", str(place.file), folder=place.folder, cache=place.cache)

    assert end.code == 0, end.stderr
    run = json.loads((place.results / "run.json").read_text())
    num_rows = run["dataset"]["num_rows"]
    assert num_rows + len(run["dataset"]["dropped"]) == ROWS
    gallery = pd.read_csv(place.results / "gallery.csv", keep_default_na=False)
    best = pd.read_csv(place.results / "best.csv", keep_default_na=False)
    assert set(gallery["n"]) == {QUERIES, 48, num_rows}
    own = gallery[gallery["control"] == ""]
    at_queries = own[(own["n"] == QUERIES) & (own["k_rule"] == "5")]
    assert at_queries["score"].tolist() == best.loc[best["control"] == "", "score"].tolist()
    assert set(best["n"]) == {QUERIES}
    points = pd.read_csv(place.results / "figures" / "gallery.csv", keep_default_na=False)
    mean = own.groupby(["k_rule", "n"])["score"].mean()
    for _, point in points[points["role"] == "trained"].iterrows():
        assert point["value"] == pytest.approx(mean[point["rule"], point["n"]])
    with Image.open(place.results / "figures" / "gallery.png") as image:
        assert image.width == pytest.approx(6.9 * 300, abs=2)


def test_what_is_asked_too_much_costs_nothing(forks: Forks, place: Place) -> None:
    raw = experiment()
    place.write(raw)
    run = forks.run("run", str(place.file), folder=place.folder, cache=place.cache)
    assert run.code == 0, run.stderr
    before = (place.results / "gallery.csv").read_bytes()
    raw["align"]["gallery"]["sizes"] = [QUERIES, 5000]
    place.write(raw)

    end = forks.run("align", str(place.file), folder=place.folder, cache=place.cache)

    assert end.code == 2
    assert "asks for 5000 rows, and the dataset has" in end.stderr
    assert (place.results / "gallery.csv").read_bytes() == before


def test_galleries_that_are_asked_no_more_stay_and_are_not_drawn_from(
    forks: Forks, place: Place
) -> None:
    raw = experiment()
    place.write(raw)
    forks.run("run", str(place.file), folder=place.folder, cache=place.cache)
    table = place.results / "gallery.csv"
    before = table.read_bytes()
    del raw["align"]["gallery"]
    place.write(raw | {"figures": [{"kind": "gallery"}, {"kind": "heatmap"}]})

    end = forks.run("run", str(place.file), folder=place.folder, cache=place.cache)

    assert end.code == 3, end.stderr
    assert "gallery" in end.stderr
    assert table.read_bytes() == before
