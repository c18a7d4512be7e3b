"""Probes: scikit-learn's numbers, chosen as promised, on the features of the cache, once."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from elsewhere import Elsewhere
from numpy.typing import NDArray
from PIL import Image
from runs import run_of
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from platorep.config import ExperimentConfig, ProbeConfig
from platorep.errors import ConfigError, DataError
from platorep.files import read_sealed, write_sealed
from platorep.parameters.toyworld import parse_network
from platorep.performance import measure
from platorep.performance.probes import Examples, ProbeResult, run_probe, standard_error
from platorep.reporting import Reporter
from platorep.toyworld.checkpoints import write_untrained

SIZES = (60, 30, 40)


def config(probe: str = "linear", **settings: Any) -> ProbeConfig:
    dataset = {"source": "org/set"}
    return ProbeConfig.model_validate({"name": "p", "probe": probe, "dataset": dataset} | settings)


def made_up(noise: tuple[float, ...], seed: int = 0) -> tuple[list[str], list[Examples]]:
    """Three classes in 12 dimensions, a layer per noise level; training, validation, test."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 12))
    parts = []
    for size in SIZES:
        classes = rng.integers(3, size=size)
        layers = [
            (centres[classes] + level * rng.normal(size=(size, 12))).astype(np.float32)
            for level in noise
        ]
        parts.append(Examples(layers=layers, labels=[f"class {c}" for c in classes]))
    return [f"blocks.{i}" for i in range(len(noise))], parts


def oracle(
    probe: str, settings: list[Any], parts: list[Examples], layer: int
) -> tuple[dict[Any, float], dict[Any, float]]:
    """Setting -> accuracy on validation, and on test after training on both: scikit-learn alone."""

    def model(setting: Any) -> Any:
        if probe == "knn":
            return KNeighborsClassifier(setting, metric="cosine")
        return make_pipeline(StandardScaler(), LogisticRegression(C=setting, max_iter=1000))

    def x(*which: int) -> NDArray[Any]:
        return np.concatenate([parts[i].layers[layer] for i in which]).astype(float)

    def y(*which: int) -> list[str]:
        return [label for i in which for label in parts[i].labels]

    validation = {s: model(s).fit(x(0), y(0)).score(x(1), y(1)) for s in settings}
    test = {s: model(s).fit(x(0, 1), y(0, 1)).score(x(2), y(2)) for s in settings}
    return validation, test


def check(found: ProbeResult, validation: dict[Any, float], test: dict[Any, float]) -> None:
    assert {s: v for _, s, v in found.tried} == validation
    best = max(validation.values())
    assert found.setting == min(s for s, v in validation.items() if v == best)
    assert found.value == test[found.setting]
    n = SIZES[2]
    outcomes = [1.0] * round(found.value * n) + [0.0] * round((1 - found.value) * n)
    assert found.stderr == pytest.approx(np.std(outcomes, ddof=1) / math.sqrt(n))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_probe_is_scikit_learns(seed: int) -> None:
    layers, parts = made_up((1.5,), seed)
    settings = [0.001, 0.01, 0.1, 1, 10, 100]

    found = run_probe(config(), layers, *parts)

    assert found.converged
    check(found, *oracle("linear", settings, parts, 0))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_knn_probe_is_scikit_learns(seed: int) -> None:
    layers, parts = made_up((1.5,), seed)

    found = run_probe(config("knn", k=[20, 1, 5]), layers, *parts)

    check(found, *oracle("knn", [1, 5, 20], parts, 0))


def test_neighbors_by_hand() -> None:
    """Nearest by angle, whatever the length: 10 degrees belongs to `east` at 0, not to `north`."""

    def at(*degrees: float, lengths: tuple[float, ...] = (1, 1, 1, 1)) -> NDArray[Any]:
        angles = np.deg2rad(np.array(degrees))
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return (rows * np.array(lengths)[: len(rows), None]).astype(np.float32)

    train = Examples([at(0, 90, lengths=(100, 1))], ["east", "north"])
    validation = Examples([at(10, 80)], ["east", "north"])
    test = Examples([at(20, 70, 30, 60)], ["east", "north", "north", "north"])

    found = run_probe(config("knn", k=[1]), ["only"], train, validation, test)

    assert (found.validation, found.value) == (1.0, 0.75)
    assert found.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 3))
    assert (found.num_train, found.num_validation, found.num_test) == (2, 2, 4)


def test_the_layer_is_chosen_on_validation_and_never_on_test() -> None:
    """The best layer on the test part is another one, and must not be taken."""
    layers, parts = made_up((4.0, 0.5, 4.0))
    flipped = parts[2].layers
    test = Examples([flipped[1], flipped[0], flipped[2]], parts[2].labels)  # good at layer 0

    found = run_probe(config(c=[1.0]), layers, parts[0], parts[1], test)

    assert found.layer == "blocks.1"
    assert [layer for layer, _, _ in found.tried] == layers
    assert found.validation > 0.9
    assert found.value < 0.7


def test_a_solver_that_was_stopped_says_so() -> None:
    layers, parts = made_up((1.5,))

    assert not run_probe(config(max_iterations=2, c=[100.0]), layers, *parts).converged


def test_features_that_no_probe_can_use() -> None:
    layers, parts = made_up((1.0,))
    parts[2].layers[0][3, 4] = np.nan

    with pytest.raises(DataError, match=r"layer blocks\.0 has features that are not finite"):
        run_probe(config(), layers, *parts)
    with pytest.raises(ConfigError, match="61 neighbors are asked for, but there are 60"):
        run_probe(config("knn", k=[1, 61]), *made_up((1.0,))[:1], *made_up((1.0,))[1])


def test_standard_errors() -> None:
    assert standard_error(0.4, 10) == pytest.approx(math.sqrt(0.4 * 0.6 / 9))
    assert standard_error(1.0, 10) == 0
    assert math.isnan(standard_error(1.0, 1))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"probe": "knn", "c": [1]}, "`c` has no effect with `probe: knn`"),
        ({"probe": "linear", "k": [1]}, "`k` has no effect with `probe: linear`"),
        ({"probe": "linear", "layers": []}, "at least 1"),
    ],
)
def test_settings_without_effect(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        config(**settings)


# Through the measure stage

NUM_IMAGES = 60


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reddish and greenish noise in class folders, and two untrained convolutional networks."""
    folder = tmp_path_factory.mktemp("probes")
    rng = np.random.default_rng(0)
    for i in range(NUM_IMAGES):
        pixels = rng.integers(0, 120, size=(32, 32, 3), dtype=np.uint8)
        pixels[..., i % 2] += 60
        path = folder / "set" / ("red", "green")[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    for name in ("conv4", "conv8"):
        write_untrained(folder / name, parse_network(name))
    return folder


def experiment(
    material: Path, *measures: dict[str, Any], controls: bool = True
) -> ExperimentConfig:
    networks = [f"local-dir:{material / name}" for name in ("conv4", "conv8")]
    return ExperimentConfig.model_validate(
        {
            "name": "test",
            "dataset": {"source": "toyworld", "limit": 8},
            "families": [
                {"name": "viewers", "modality": "vision", "models": networks},
                {"name": "readers", "modality": "language", "models": ["org/none"]},
            ],
            "extract": {"rows_per_shard": 16, "workers": 0},
            "performance": list(measures),
            "controls": {"random_weights": controls},
        }
    )


def probe(material: Path, **settings: Any) -> dict[str, Any]:
    dataset = {"source": str(material / "set")}
    return {"name": "colors", "probe": "linear", "dataset": dataset} | settings


def run(config: ExperimentConfig, folder: Path, **options: Any) -> tuple[Any, pd.DataFrame]:
    return measure(run_of(config, folder / "results", folder / "cache", Reporter(0), **options))


def test_every_vision_model_is_probed(material: Path, tmp_path: Path) -> None:
    failures, table = run(experiment(material, probe(material)), tmp_path)

    assert not failures.errors
    found = table.set_index("model")
    assert list(found.index) == ["conv4", "conv8", "conv4 (random)", "conv8 (random)"]
    assert (found["value"] > 0.9).all()  # colour survives any weights
    assert found.loc["conv4", "stderr"] == pytest.approx(
        standard_error(found.loc["conv4", "value"], NUM_IMAGES // 5)
    )
    assert (
        "12 test images of 2 classes, 48 to train on, most frequent class"
        in found.loc["conv4", "source"]
    )
    assert found.loc["conv4", "dtype"] == "float32"


def test_the_same_probes_from_elsewhere(material: Path, tmp_path: Path) -> None:
    config = experiment(material, probe(material, probe="knn", k=[5]), controls=False)
    engine = Elsewhere(tmp_path / "worker")

    there = run(config, tmp_path / "there", engine=engine)
    here = run(config, tmp_path / "here")

    assert there[0].errors == here[0].errors == {}
    pd.testing.assert_frame_equal(there[1], here[1])
    names = [done.unit.name for done in engine.done]
    assert sorted({*names}) == [
        *("colors of conv4", "colors of conv8", "extract conv4", "extract conv8")
    ]


def test_the_features_are_those_of_the_cache(material: Path, tmp_path: Path) -> None:
    """A probe worked out from the cell on disk, by scikit-learn alone, is the measured one."""
    from safetensors.numpy import load_file

    config = experiment(material, probe(material, c=[0.5]), controls=False)
    _, table = run(config, tmp_path)
    (cell,) = (tmp_path / "cache" / "features" / "set").glob("*conv4*/*")
    shards = [load_file(path) for path in sorted(cell.glob("shard-*.safetensors"))]
    meta = json.loads((cell / "meta.json").read_text())
    ids = pd.read_parquet(cell / "rows.parquet")["id"]
    features = np.concatenate([shard["layer-000"] for shard in shards]).astype(float)
    labels = np.array([name.split("/")[0] for name in ids])

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
    expected = model.fit(features[:48], labels[:48]).score(features[48:], labels[48:])

    assert len(shards) == 4
    assert len(meta["layers"]) == 1  # only the last was asked for
    assert table.set_index("model")["value"]["conv4"] == expected
    assert meta["layers"][0]["name"] in table.set_index("model")["source"]["conv4"]


def test_a_probe_is_measured_once(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(experiment(material, probe(material)), tmp_path)
    assert "extract conv4" in capsys.readouterr().err
    (first, *_) = sorted((tmp_path / "cache" / "measurements").glob("*.json"))
    content = read_sealed(first, of=first.stem, cure="")
    write_sealed(first, content | {"value": -1.0}, of=first.stem)  # shows where the number is from

    assert -1.0 in run(experiment(material, probe(material)), tmp_path)[1]["value"].tolist()
    other = probe(material, c=[1.0, 2.0])
    assert -1.0 not in run(experiment(material, other), tmp_path)[1]["value"].tolist()
    again = experiment(material, probe(material))
    assert -1.0 not in run(again, tmp_path, overwrite="always")[1]["value"].tolist()
    assert "extract conv4" not in capsys.readouterr().err  # the features were there


def test_a_killed_extraction_goes_on(material: Path, tmp_path: Path) -> None:
    config = experiment(material, probe(material))
    _, before = run(config, tmp_path)
    shards = sorted((tmp_path / "cache").rglob("shard-*.safetensors"))
    kept = {path: path.stat().st_mtime_ns for path in shards if "00001" not in path.name}
    for path in {*shards} - {*kept}:
        path.unlink()
    for path in (tmp_path / "cache" / "measurements").glob("*.json"):
        path.unlink()

    _, after = run(config, tmp_path)

    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pd.testing.assert_frame_equal(before, after)


def test_all_layers_and_some(material: Path, tmp_path: Path) -> None:
    measures = [
        probe(material, name="first", layers=[0]),
        probe(material, name="all", layers="all"),
        probe(material, name="none", layers=[99]),
    ]
    failures, table = run(experiment(material, *measures), tmp_path)

    assert sorted(failures.errors) == sorted(
        f"none of {name}{random}" for name in ("conv4", "conv8") for random in ("", " (random)")
    )
    assert "layers [99] do not exist" in str(failures.errors["none of conv4"])
    cells = (tmp_path / "cache" / "features" / "set" / "conv4").glob("*/meta.json")
    widths = sorted(len(json.loads(path.read_text())["layers"]) for path in cells)
    assert widths[:2] == [1, 1]  # the first layer: trained and random
    assert widths[2:] == [max(widths)] * 2 > [1, 1]  # all of them
    assert set(table["measure"]) == {"all", "first"}


def test_layers_that_another_probe_had_made_are_not_extracted_again(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = probe(material, name="all", layers="all")
    last = probe(material, c=[0.01])
    _, alone = run(experiment(material, last, controls=False), tmp_path / "alone")
    capsys.readouterr()

    _, both = run(experiment(material, every, last, controls=False), tmp_path / "both")

    assert capsys.readouterr().err.count("extract conv4") == 1
    pd.testing.assert_frame_equal(both[both["measure"] == "colors"].reset_index(drop=True), alone)


def test_tasks_solved_follow_from_probes_and_tables(material: Path, tmp_path: Path) -> None:
    table = tmp_path / "vtab.csv"
    table.write_text("model,dtd,source\nconv4,0.5,made up\nconv8,0.3,made up\n")
    solved = {"name": "solved", "tasks": ["colors", {"table": str(table)}]}
    config = experiment(material, solved, probe(material))

    failures, found = run(config, tmp_path)

    assert not failures.errors
    rows = found[found["measure"] == "solved"].set_index("model")
    assert rows["value"].to_dict() == {"conv4": 1.0, "conv8": 0.5}  # random copies: no dtd
    assert (
        rows.loc["conv8", "source"] == "1 of 2 tasks, at 0.8 of the best model's accuracy: colors"
    )


def test_layers_of_a_network_of_ones_own(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layers are named: `last` is the last of those, from the same features as all of them."""
    (material / "own_eyes.py").write_text(
        "import torch\nfrom torchvision.transforms.functional import to_tensor\n"
        "def network(width):\n    return torch.nn.Sequential(\n"
        "        torch.nn.Conv2d(3, width, 3), torch.nn.ReLU(), torch.nn.Conv2d(width, 2, 3))\n"
    )
    monkeypatch.syspath_prepend(str(material))
    own = {"name": "own_eyes:network", "backend": "module", "inputs": "own_eyes:to_tensor"}
    own |= {"layers": ["[02]"], "arguments": {"width": 4}, "label": "own"}
    family = {"name": "own", "modality": "vision", "models": [own], "reads": "grey"}
    measures = [
        probe(material, name="last"),
        probe(material, name="first", layers=[0]),
        probe(material, name="none", layers=[7]),
    ]
    config = ExperimentConfig.model_validate(
        {
            "name": "test",
            "dataset": {
                **{"source": "toyworld", "limit": 8},
                "views": {"grey": {"of": "image", "change": "grey"}},
            },
            "families": [family],
            "extract": {"rows_per_shard": 16, "workers": 0},
            "performance": measures,
            "align": {"pairs": []},
        }
    )
    failures, table = run(config, tmp_path)
    assert list(failures.errors) == ["none of own (grey)"]
    assert "layers [7] of 'own (grey)', which keeps only 2: ['0', '2']" in str(
        failures.errors["none of own (grey)"]
    )
    sources = table.set_index("measure")["source"]
    assert sources["last"].startswith("linear probe of 2 ")
    assert sources["first"].startswith("linear probe of 0 ")
    assert len(list((tmp_path / "cache" / "features").rglob("meta.json"))) == 1
