"""The truth as a model, pairs that share only a place, and random copies of toy networks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from platorep.config import DatasetConfig, ExperimentConfig, ModelSpec, config_path, load_config
from platorep.config.reading import shipped_configs
from platorep.data import load_dataset
from platorep.errors import ConfigError
from platorep.models import Reading, open_model
from platorep.parameters.toyworld import ToyTraining, WorldParameters, parse_network
from platorep.toyworld.attributes import attributes, blur, truth_features
from platorep.toyworld.captions import caption
from platorep.toyworld.scenes import sample_pairs, sample_scene
from platorep.toyworld.training import network_folder

WORLD = WorldParameters()
PLACE = WorldParameters(pairs="same_place")
FLAT = WorldParameters(pairs="same_place", uniform_share=1)


def truth(**settings: object) -> ModelSpec:
    given = {"name": "truth", "label": "truth", "family": "t", "modality": "truth"} | settings
    return ModelSpec.model_validate(given | {"backend": "toyworld", "world": WORLD})


def test_truth_describes_the_scenes_of_the_rows() -> None:
    """Whatever the order in which they are asked for."""
    dataset = load_dataset(DatasetConfig(source="toyworld", limit=6), offline=True)
    model = open_model(truth(), offline=True)
    loaded = model.load("cpu", torch.float32)

    found = loaded.features(Reading([4, 1], dataset.views["image"]))

    scenes = [sample_scene(WORLD, 4), sample_scene(WORLD, 1)]
    expected = truth_features(WORLD, scenes)
    assert loaded.layers == tuple(expected) == model.describe().layers
    assert model.describe().widths == tuple(layer.shape[1] for layer in found)
    for layer, exact in zip(found, expected.values(), strict=True):
        lengths = np.linalg.norm(exact, axis=1)
        moved = np.linalg.norm(layer.double().numpy() - exact, axis=1)
        assert moved == pytest.approx(0.01 * lengths, rel=1e-3)


def test_blur_leaves_what_is_nearer_nearer() -> None:
    """Scenes of one texture stay nearer to each other than to any scene of another texture."""
    scenes = sample_pairs(WORLD, 60)
    exact = attributes(WORLD, scenes)["texture"]
    blurred = blur(WORLD, scenes, exact)
    near = blurred @ blurred.T

    same = exact @ exact.T > 0.5
    assert near[same].min() > near[~same].max()
    assert len(np.unique(near[0].round(12))) == 60  # no ties are left


def test_truth_keeps_the_asked_layers() -> None:
    model = open_model(truth(layers=(-1, 0)), offline=True)

    assert model.describe().layers == ("posterior", "texture")
    assert model.identity() != open_model(truth(), offline=True).identity()


@pytest.mark.parametrize(
    "settings", [{"name": "conv8"}, {"pool": "mean"}, {"training": {"steps": 3}}], ids=str
)
def test_truth_refuses_what_means_nothing(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="truth"):
        open_model(truth(**settings), offline=True)


def test_pairs_of_one_place() -> None:
    """The caption is that of another scene: the place is the same, nothing else has to be."""
    dataset = load_dataset(DatasetConfig(source="toyworld", limit=40, world=PLACE), offline=True)
    others = [sample_scene(PLACE, index, elsewhen=True) for index in range(40)]

    assert list(dataset.views["text"].texts) == [caption(PLACE, scene) for scene in others]
    pictured = sample_pairs(PLACE, 40)
    assert [scene.place for scene in others] == [scene.place for scene in pictured]
    assert all(a.things != b.things for a, b in zip(others, pictured, strict=True))


def test_only_the_statistics_tie_pairs_of_one_place_together() -> None:
    """Shapes in common, beside those of shuffled pairs: more, but not if it is flat."""

    def shared(world: WorldParameters, shift: int) -> float:
        num = 600
        pictured = attributes(world, sample_pairs(world, num))["shapes"]
        told = attributes(world, [sample_scene(world, i, elsewhen=True) for i in range(num)])
        return float(np.minimum(pictured, np.roll(told["shapes"], shift, axis=0)).sum(1).mean())

    assert shared(PLACE, 0) > 1.5 * shared(PLACE, 1)
    assert shared(FLAT, 0) == pytest.approx(shared(FLAT, 1), abs=0.12)


@pytest.mark.parametrize("name", ["conv8", "llama8"])
def test_training_does_not_depend_on_how_pairs_are_made(name: str) -> None:
    network, training = parse_network(name), ToyTraining()

    found = {network_folder(Path(), network, world, training) for world in (WORLD, PLACE)}

    assert len(found) == 1


def test_one_random_copy_per_network_and_none_of_the_truth() -> None:
    config = load_config(config_path("toyworld"))
    copies = {spec.label: spec.random_of for spec in config.models() if spec.random_init}

    assert copies["llama16@350 (random)"] == "llama16@350"
    assert copies["conv8 (random)"] == "conv8"
    assert len(copies) == 7


def test_a_model_adds_to_the_training_of_its_family() -> None:
    family = {
        "name": "f",
        "modality": "vision",
        "backend": "toyworld",
        "training": {"steps": 7, "tasks": ["disc"]},
        "models": ["conv4", {"name": "conv4", "training": {"seed": 2}}],
    }
    config = ExperimentConfig.model_validate(
        {"name": "n", "dataset": {"source": "toyworld"}, "families": [family],
         "align": {"pairs": [["vision", "vision"]]}}
    )  # fmt: skip
    first, second = config.models()

    assert (first.label, second.label) == ("conv4", "conv4-seed2")
    assert (second.training.steps, second.training.tasks, second.training.seed) == (7, ("disc",), 2)
    assert first.training.seed == 0


@pytest.mark.parametrize("name", [n for n in shipped_configs() if n.startswith("toyworld")])
def test_shipped_files_name_models_that_there_are(name: str) -> None:
    for spec in load_config(config_path(name)).models():
        open_model(spec, offline=True)
