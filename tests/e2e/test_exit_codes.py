"""What cannot be had or done: the exit code, the message, and what is there all the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import Ended, Forks
from small_experiment import Place, experiment


def command(forks: Forks, place: Place, *arguments: str) -> Ended:
    return forks.run(*arguments, folder=place.folder, cache=place.cache)


def with_families(material: Path, readers: list[Any], viewers: list[Any]) -> dict[str, Any]:
    return experiment(
        material,
        families=[
            {"name": "readers", "modality": "language", "models": readers},
            {"name": "viewers", "modality": "vision", "models": viewers},
        ],
    )


@pytest.mark.parametrize("stage", ["extract", "run"])
def test_a_dataset_that_is_not_here(forks: Forks, place: Place, material: Path, stage: str) -> None:
    place.write(experiment(material, dataset={"source": "minhuh/prh", "revision": "wit_1024"}))

    end = command(forks, place, stage, str(place.file), "--offline")

    assert end.code == 4
    assert "minhuh/prh" in end.stderr
    assert "Traceback" not in end.stderr


def test_models_that_are_not_here(forks: Forks, place: Place, material: Path) -> None:
    absent = ["bigscience/bloomz-560m"], ["vit_tiny_patch16_224.augreg_in21k"]
    place.write(with_families(material, *absent))

    end = command(forks, place, "extract", str(place.file), "--offline")

    assert end.code == 4
    for name in ("bigscience/bloomz-560m", "vit_tiny_patch16_224.augreg_in21k"):
        assert name in end.stderr
    assert "Traceback" not in end.stderr


def test_one_of_three_models_fails(forks: Forks, place: Place, material: Path) -> None:
    here, absent = str(material / "llama8"), "bigscience/bloomz-560m"
    place.write(with_families(material, [here, absent], [f"local-dir:{material / 'conv4'}"]))

    end = command(forks, place, "run", str(place.file), "--offline")

    assert end.code == 3
    assert "failures.jsonl" in end.stderr
    lines = (place.results / "failures.jsonl").read_text().splitlines()
    failures = [json.loads(line) for line in lines]
    assert {line["cell"] for line in failures if line["stage"] == "extract"} == {"bloomz-560m"}
    assert {line["stage"] for line in failures} == {"extract", "measure", "align"}
    assert all(absent.split("/")[1] in line["cell"] for line in failures)
    assert all(line["error"] == "AbsentError" and line["traceback"] is None for line in failures)
    best = pd.read_csv(place.results / "best.csv")
    assert set(zip(best["x"], best["y"], strict=True)) == {("llama8", "conv4")}
    assert pd.read_csv(place.results / "performance.csv")["model"].tolist() == ["llama8"]
    assert (place.results / "figures" / "heatmap.pdf").exists()

    place.write(with_families(material, [here], [f"local-dir:{material / 'conv4'}"]))
    again = command(forks, place, "run", str(place.file), "--offline")
    assert again.code == 0, again.stderr
    assert (place.results / "failures.jsonl").read_text() == ""


def test_the_first_failure_ends_it_if_asked(forks: Forks, place: Place, material: Path) -> None:
    models = ["bigscience/bloomz-560m", str(material / "llama8")]
    place.write(with_families(material, models, [f"local-dir:{material / 'conv4'}"]))

    end = command(forks, place, "extract", str(place.file), "--offline", "--fail-fast")

    assert end.code == 4
    assert place.shards() == []


def test_a_wrong_file_says_all_that_is_wrong(forks: Forks, place: Place) -> None:
    place.file.write_text(
        "name: small\n"
        "datset: {source: toyworld}\n"
        "families:\n"
        "  - name: readers\n"
        "    modality: language\n"
        "    pol: mean\n"
        "    models: [llama8]\n"
        "align: {metrics: [{name: mutual_kn, k: 3}]}\n"
    )

    end = command(forks, place, "run", str(place.file))

    assert end.code == 2
    assert "small.yaml:2: datset: unknown key. Did you mean 'dataset'?" in end.stderr
    assert "small.yaml:1: dataset: is missing" in end.stderr
    assert "small.yaml:6: families.0.pol: unknown key. Did you mean 'pool'?" in end.stderr
    assert "small.yaml:8: align.metrics.0: unknown metric 'mutual_kn'. Did you mean" in end.stderr
    assert "Traceback" not in end.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "smok"),
        ("run", "none.yaml"),
        ("extract", "small.yaml", "--address", "127.0.0.1:6379"),
        ("extract", "small.yaml", "--models", "gpt*"),
        ("extract", "small.yaml", "--set", "dataset.limt=3"),
        ("extract", "small.yaml", "--limit", "0"),
        ("extract", "small.yaml", "--device", "abacus"),
        ("extract", "small.yaml", "--overwrite", "sometimes"),
        ("list", "nothing"),
        ("cache", "clean"),
        ("nothing",),
        ("run",),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(forks: Forks, place: Place, arguments: tuple[str, ...]) -> None:
    end = command(forks, place, *arguments)

    assert end.code == 2
    assert end.stdout == ""
    assert end.stderr
    assert "Traceback" not in end.stderr


@pytest.mark.parametrize(
    ("stage", "before"), [("align", "extract"), ("plot", "align")], ids=["align", "plot"]
)
def test_a_stage_before_its_turn(forks: Forks, place: Place, stage: str, before: str) -> None:
    assert command(forks, place, "measure", str(place.file)).code == 0  # may come first

    end = command(forks, place, stage, str(place.file))

    assert end.code == 4
    assert f"platorep {before}" in end.stderr
    assert "Traceback" not in end.stderr


def test_never_overwrite_makes_nothing(forks: Forks, place: Place) -> None:
    end = command(forks, place, "extract", str(place.file), "--overwrite", "never")

    assert end.code == 4
    assert "--overwrite never" in end.stderr
    assert place.shards() == []


def test_a_bug_keeps_its_traceback(forks: Forks, place: Place, material: Path) -> None:
    """Here in a metric of the user's own."""
    (place.folder / "broken.py").write_text("def metric(x, y):\n    return x.nothing\n")
    place.write(experiment(material, align={"metrics": [{"name": "broken:metric"}]}))
    assert command(forks, place, "extract", str(place.file)).code == 0

    end = forks.run(
        *("align", str(place.file)),
        folder=place.folder,
        cache=place.cache,
        environment={"PYTHONPATH": str(place.folder)},
    )

    assert end.code == 1
    assert "Traceback" in end.stderr
    assert "has no attribute 'nothing'" in end.stderr
    first = json.loads((place.results / "failures.jsonl").read_text().splitlines()[0])
    assert "broken.py" in first["traceback"]


def test_stdout_is_for_tables(forks: Forks, undisturbed: Place, place: Place) -> None:
    """Though a metric of the user's own prints, and a compiled library would: here both."""
    (place.folder / "loud.py").write_text(
        "import os\n"
        "print('imported')\n"
        "def metric(x, y):\n"
        "    print('from Python')\n"
        "    os.write(1, b'from elsewhere\\n')\n"
        "    return 0.5\n"
    )
    loud = "align.metrics=[{name: 'loud:metric', layers: [-1]}]"
    shutil.copytree(undisturbed.cache, place.cache)
    shutil.copytree(undisturbed.results, place.results)

    end = forks.run(
        *("align", str(place.file), "--json", "--set", loud, "--set", "align.null.permutations=0"),
        folder=place.folder,
        cache=place.cache,
        environment={"PYTHONPATH": str(place.folder)},
    )

    assert end.code == 0, end.stderr
    assert {row["metric"] for row in json.loads(end.stdout)} == {"loud:metric"}
    assert all(word in end.stderr for word in ("imported", "from Python", "from elsewhere"))
