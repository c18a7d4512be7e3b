"""The examples of docs/models.md: each is run as it stands, and equals a forward pass by hand.

Networks are small and random. Two examples need a package that platorep does not; they are left
out, with a word, where it is not installed.
"""

import importlib
import json
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from torch import Tensor

from platorep.config import ExperimentConfig, ModelSpec
from platorep.kinds.audio import Sound
from platorep.models import Reading, open_model

DOC = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
EXAMPLES = {
    title: (python, families)
    for title, python, families in re.findall(
        r"### ([^\n]+)\n(?:(?!###).)*?```python\n(.*?)```\s+```yaml\n(.*?)```", DOC, re.DOTALL
    )
}
NEEDS = {"open_clip": "open_clip", "A diffusion U-Net at a timestep": "diffusers"}
TINY_CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 16, "head_width": 8, "patch_size": 56},
    "text_cfg": {"context_length": 8, "vocab_size": 20, "width": 8, "heads": 1, "layers": 1},
}
NUM_SAMPLES = 3


@dataclass
class Samples:
    """Some rows of a view of this kind."""

    kind: str
    ids: Sequence[str] = tuple(f"row-{i}" for i in range(NUM_SAMPLES))

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, i: int, /) -> Any:
        rng = np.random.default_rng(i)
        if self.kind == "text":
            return " ".join(rng.choice(["dog", "snow", "runs", "over"], 3 + i))
        if self.kind == "audio":
            return Sound(rng.normal(size=8000 + 500 * i).astype("float32"), 16000)
        return Image.fromarray(rng.integers(256, size=(50, 60 + i, 3), dtype="uint8"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


def write_weights(family: dict[str, Any], folder: Path) -> None:
    """What each `checkpoint` names: random weights, or what the example's training saves."""
    for model in family["models"]:
        module, _, factory = model["name"].partition(":")
        own = importlib.import_module(module)
        if hasattr(own, "train"):
            own.train(folder)
        elif "checkpoint" in model:
            torch.manual_seed(3)
            network = getattr(own, factory)(**model.get("arguments", {}))
            for parameter in network.parameters():
                parameter.data += 0.02 * torch.randn(parameter.shape)
            torch.save(network.state_dict(), folder / model["checkpoint"])


def specs_of(family: dict[str, Any], folder: Path) -> tuple[ModelSpec, ...]:
    views = {"image": {}, "text": {}, "sound": {"kind": "audio", "column": "sound"}}
    raw = {
        "name": "doc",
        "dataset": {"source": str(folder), "views": views},
        "families": [family],
        "align": {"pairs": []},
    }
    return ExperimentConfig.model_validate(raw, context={"folder": folder}).models()


def by_hand(spec: ModelSpec, layers: Sequence[str], samples: Samples) -> list[Tensor]:
    """Each sample alone through the example's own functions, with hooks."""
    module, _, factory = spec.name.partition(":")
    own = importlib.import_module(module)
    torch.manual_seed(0)
    network = getattr(own, factory)(**spec.arguments)
    if spec.checkpoint is not None:
        state = torch.load(spec.checkpoint, weights_only=True)
        network.load_state_dict(state.get("state_dict", state))
    network.eval()
    seen: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def note(layer: str, output: Any) -> None:
        while not isinstance(output, Tensor):
            output = next(iter(output.values())) if isinstance(output, dict) else output[0]
        axes = tuple(range(2, output.ndim))
        if output.ndim == 3:
            seen[layer].append(output[0, 0] if spec.pool == "cls" else output[0].mean(0))
        else:
            seen[layer].append(output.mean(axes)[0] if axes else output[0])

    for layer in layers:
        part = network if layer == "output" else network.get_submodule(layer)
        part.register_forward_hook(lambda _, __, output, layer=layer: note(layer, output))
    assert spec.inputs is not None
    inputs = getattr(own, spec.inputs.partition(":")[2])
    for i in range(NUM_SAMPLES):
        torch.manual_seed(0)
        given = inputs(samples[i])
        with torch.no_grad():
            if isinstance(given, dict):
                network(**{name: value[None] for name, value in given.items()})
            else:
                network(given[None])
    return [torch.stack(seen[layer]) for layer in layers]


def test_every_door_has_an_example() -> None:
    assert list(EXAMPLES) == [
        *("torchvision", "open_clip", "The discriminator of a GAN"),
        *("A diffusion U-Net at a timestep", "A network under training", "A formula"),
    ]
    assert DOC.count("```python") == len(EXAMPLES)


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_runs_as_it_stands(title: str, folder: Path) -> None:
    if title in NEEDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(NEEDS[title], reason=f"this example is about {NEEDS[title]}")
    python, families = EXAMPLES[title]
    (folder / python.split("\n")[0].removeprefix("# ")).write_text(python)
    (family,) = yaml.safe_load(families)["families"]
    if title == "open_clip":
        (folder / "tiny-clip.json").write_text(json.dumps(TINY_CLIP))
        importlib.import_module("open_clip").add_model_config(folder / "tiny-clip.json")
        family["models"][0]["arguments"] = {"name": "tiny-clip"}
    write_weights(family, folder)
    specs = specs_of(family, folder)
    assert len(specs) == len(family["models"])
    keys = []
    for spec in specs:
        assert spec.kind is not None
        samples = Samples(spec.kind)
        model = open_model(spec, offline=True)
        loaded = model.load("cpu", torch.float32)
        found = loaded.features(Reading(range(NUM_SAMPLES), samples, workers=0))
        assert len(found) == len(loaded.layers) >= 1
        for layer, expected in zip(found, by_hand(spec, loaded.layers, samples), strict=True):
            torch.testing.assert_close(layer, expected, rtol=1e-3, atol=1e-4)
            assert not torch.allclose(layer[0], layer[1])
        assert not any("draws random numbers" in note for note in loaded.notes)
        keys.append(str(model.identity()))
    assert len(set(keys)) == len(keys)


def test_pooled_penultimate_features() -> None:
    """The last stage of a ResNet, averaged; of ConvNeXt what comes out without a classifier."""
    samples = Samples("image")

    def features(name: str, layers: Any) -> list[Tensor]:
        fixed = {"label": "m", "family": "f", "modality": "vision", "backend": "timm"}
        spec = ModelSpec.model_validate(
            {"name": name, "random_init": True, "layers": layers, "kind": "image"} | fixed
        )
        loaded = open_model(spec, offline=True).load("cpu", torch.float32)
        return loaded.features(Reading(range(NUM_SAMPLES), samples, workers=0))

    (last,), (pooled, output) = (
        features("test_resnet", [-1]),
        features("test_resnet", ["global_pool", "output"]),
    )
    torch.testing.assert_close(last, pooled, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output, pooled, rtol=1e-5, atol=1e-6)
    (last,), (output,) = features("test_convnext", [-1]), features("test_convnext", ["output"])
    torch.manual_seed(0)
    norm = timm.create_model("test_convnext", num_classes=0).head.norm
    assert last.shape == output.shape
    assert not torch.allclose(last, output, atol=1e-3)
    with torch.no_grad():
        expected = norm(last[:, :, None, None]).flatten(1)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
