"""Training of the toy networks: losses by oracle, the same weights after any kill, and learning."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from platorep.errors import ConfigError, DamagedError
from platorep.parameters.toyworld import (
    ATTRIBUTES,
    COLORS,
    ToyNetwork,
    ToyTraining,
    WorldParameters,
    parse_network,
)
from platorep.toyworld import scenes, training
from platorep.toyworld.attributes import attributes
from platorep.toyworld.captions import caption
from platorep.toyworld.checkpoints import is_whole
from platorep.toyworld.inputs import pixel_input
from platorep.toyworld.lessons import (
    augment,
    batch_order,
    tokenize,
    training_attributes,
    training_pictures,
    training_tokens,
)
from platorep.toyworld.networks import build_tokenizer
from platorep.toyworld.objectives import contrastive_loss
from platorep.toyworld.pictures import picture
from platorep.toyworld.scenes import TRAINING_OFFSET, sample_frames, sample_pairs, sample_scene
from platorep.toyworld.training import checkpoint, network_folder, train

WORLD = WorldParameters()
SHORT = ToyTraining(steps=6, num_scenes=40, num_frames=2, batch_size=8, checkpoints=(0, 3))
TASKS = SHORT.model_copy(update={"tasks": ("plain", "disc", "red")})
CASES = [("conv4", SHORT), ("conv4", TASKS), ("llama4", SHORT)]


@pytest.fixture(autouse=True)
def few_held_out_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platorep.toyworld.objectives.NUM_HELD_OUT", 5)


def weights(folders: dict[int, Path]) -> dict[int, dict[str, torch.Tensor]]:
    return {step: load_file(path / "model.safetensors") for step, path in folders.items()}


def assert_equal(
    found: dict[int, dict[str, torch.Tensor]], expected: dict[int, dict[str, torch.Tensor]]
) -> None:
    assert found.keys() == expected.keys()
    for step in expected:
        assert found[step].keys() == expected[step].keys()
        for name, tensor in expected[step].items():
            assert torch.equal(found[step][name], tensor), (step, name)


# --- lessons


def test_lessons_are_the_training_scenes(tmp_path: Path) -> None:
    """The first training scene, its frames and captions; none is among the evaluation pairs."""
    scene = sample_scene(WORLD, TRAINING_OFFSET + 1)
    pictures = training_pictures(WORLD, 3, 2)
    for frame in sample_frames(WORLD, TRAINING_OFFSET + 1, 2):
        expected = torch.from_numpy(picture(WORLD, frame)).permute(2, 0, 1)
        assert torch.equal(pictures[1, frame.frame], expected)

    ids = training_tokens(WORLD, 3, 2)[1, 1]
    text = build_tokenizer().decode(ids, skip_special_tokens=True)
    assert text == caption(WORLD, scene, variant=1)
    assert ids[0] == 0
    assert (ids == 0).sum() == 2

    answers = training_attributes(WORLD, 3)[1]
    assert answers[scene.texture] == 1
    assert {ATTRIBUTES[i] for i in np.flatnonzero(answers[14:22]) + 14} == {
        COLORS[thing.color] for thing in scene.things
    }
    assert set(np.flatnonzero(answers[6:14])) == {thing.shape for thing in scene.things}
    assert answers.max() == 1
    assert attributes(WORLD, [scene])["all"].max() >= 1
    assert TRAINING_OFFSET > 10**9


def test_batches_are_scenes_without_repeats() -> None:
    first, second = (batch_order(0, step, 40, 8) for step in range(2))
    assert len(set(first)) == 8
    assert max(first) < 40
    assert first != second
    assert batch_order(0, 0, 40, 8) == first != batch_order(1, 0, 40, 8)
    seen = [index for step in range(1000) for index in batch_order(0, step, 40, 8)]
    counts = np.bincount(seen, minlength=40)
    assert abs(counts - 200).max() < 60  # 200 expected, deviation 13


def test_input_is_what_the_saved_transform_makes() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 3, 1, 2)
    assert pixel_input(pixels).flatten().tolist() == [-1, 1] * 3


def test_augmentation_follows_its_generator(rng: torch.Generator) -> None:
    images = torch.rand(4, 3, 8, 8)
    once = augment(images, torch.Generator().manual_seed(1))
    assert torch.equal(once, augment(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(once, augment(images, rng))


# --- losses


def test_contrastive_loss_equals_its_definition(rng: torch.Generator) -> None:
    rows = torch.randn(6, 4, generator=rng, dtype=torch.float64)
    values = rows.tolist()

    def cosine(i: int, j: int) -> float:
        a, b = values[i], values[j]
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        return dot / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for i in range(6):
        partner = (i + 3) % 6
        others = [math.exp(cosine(i, j) / 0.3) for j in range(6) if j != i]
        total -= math.log(math.exp(cosine(i, partner) / 0.3) / sum(others))

    assert contrastive_loss(rows, 0.3).item() == pytest.approx(total / 6, abs=1e-12)
    same = torch.ones(6, 4)
    assert contrastive_loss(same, 0.3).item() == pytest.approx(math.log(5), abs=1e-6)


def test_bits_per_byte_equals_its_definition(tmp_path: Path) -> None:
    """Token by token, one caption at a time: after `<s>`, the end not scored."""
    path = train(tmp_path, parse_network("llama4"), WORLD, SHORT)[6]
    found = json.loads((path / "training.json").read_text())

    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    bits, num_bytes = 0.0, 0
    for scene in sample_pairs(WORLD, 5, scenes.HELD_OUT_OFFSET):
        text = caption(WORLD, scene)
        ids = [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]
        for place in range(1, len(ids)):
            with torch.no_grad():
                logits = model(torch.tensor([ids[:place]])).logits[0, -1].double()
            bits -= logits.log_softmax(-1)[ids[place]].item() / math.log(2)
        num_bytes += len(text.encode())

    assert found["step"] == 6
    assert found["bits_per_byte"] == pytest.approx(bits / num_bytes, rel=1e-5)


def test_padding_stands_after_the_end() -> None:
    tokens = tokenize(["red disc", "disc"]).tolist()
    assert [row[0] for row in tokens] == [0, 0]
    assert (tokens[0][-1], tokens[1][-2:]) == (0, [0, 1])


def test_learning_rate() -> None:
    plan = ToyTraining(steps=100, learning_rate=2.0)
    rates = [training.learning_rate(step, plan) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0)
    assert rates[9:] == sorted(rates[9:], reverse=True)


# --- resuming


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("name", "plan"), CASES, ids=["simclr", "tasks", "language"])
def test_an_interrupted_run_ends_the_same(
    name: str, plan: ToyTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "STEPS_PER_STATE", 2)
    network = parse_network(name)
    expected = weights(train(tmp_path / "whole", network, WORLD, plan))
    assert len(expected) == 3

    done: list[int] = []
    for stop in (1, 3, 5):

        def progress(step: int, _: int, stop: int = stop) -> None:
            done.append(step)
            if step == stop:
                raise KilledError

        with pytest.raises(KilledError):
            train(tmp_path / "killed", network, WORLD, plan, progress=progress)
    folders = train(
        tmp_path / "killed", network, WORLD, plan, progress=lambda step, _: done.append(step)
    )

    assert_equal(weights(folders), expected)
    assert done == [1, 1, 2, 3, 3, 4, 5, 5, 6]  # from the states after 2 and 4
    left = sorted(path.name for path in folders[6].parent.iterdir())
    assert left == ["step000000", "step000003", "step000006"]


def test_another_checkpoint_is_made_without_touching_the_others(tmp_path: Path) -> None:
    network = parse_network("llama4")
    last = train(tmp_path, network, WORLD, SHORT)[6]
    before = (last / "model.safetensors").stat().st_mtime_ns
    more = train(tmp_path, network, WORLD, SHORT.model_copy(update={"checkpoints": (0, 2, 3)}))

    assert sorted(more) == [0, 2, 3, 6]
    assert (last / "model.safetensors").stat().st_mtime_ns == before
    steps: list[int] = []
    next(tmp_path.glob("*.lock")).unlink()
    train(tmp_path, network, WORLD, SHORT, progress=lambda step, _: steps.append(step))
    assert steps == []
    assert list(tmp_path.glob("*.lock")) == []  # a read-only cache will do


def test_checkpoints_are_revisions(tmp_path: Path) -> None:
    network = parse_network("llama4")
    assert checkpoint(tmp_path, network, WORLD, SHORT, "step3").name == "step000003"
    assert checkpoint(tmp_path, network, WORLD, SHORT).name == "step000006"
    with pytest.raises(ConfigError, match=r"step5.*Kept: step0, step3, step6"):
        checkpoint(tmp_path, network, WORLD, SHORT, "step5")


def test_wrong_training_parameters() -> None:
    with pytest.raises(ValidationError, match="Did you mean 'crescent'"):
        ToyTraining(tasks=("cresent",))
    with pytest.raises(ValidationError, match="step 9"):
        ToyTraining(steps=8, checkpoints=(0, 9))


KILL = """
import os, signal, sys
from pathlib import Path
from platorep.parameters.toyworld import ToyTraining, WorldParameters, parse_network
from platorep import tensors
from platorep.toyworld import checkpoints, training

training.STEPS_PER_STATE = 2
where, root, plan = sys.argv[1], Path(sys.argv[2]), ToyTraining.model_validate_json(sys.argv[3])
calls = []

def die(path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

def half_a_checkpoint(weights, path, metadata=None):
    calls.append(path)
    if len(calls) < 2:
        return save_file(weights, path, metadata=metadata)
    die(path)

def half_a_state(tensor):
    calls.append(tensor)
    if len(calls) < 2:
        return content(tensor)
    os.kill(os.getpid(), signal.SIGKILL)

if where == "state":
    content, tensors._content = tensors._content, half_a_state
else:
    save_file, checkpoints.save_file = checkpoints.save_file, half_a_checkpoint
training.train(root, parse_network("conv4"), WorldParameters(), plan)
"""


@pytest.mark.parametrize("where", ["state", "checkpoint"])
@pytest.mark.usefixtures("shapes_unchecked")
def test_killed_in_the_middle_of_a_file(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "STEPS_PER_STATE", 2)
    network = parse_network("conv4")
    expected = weights(train(tmp_path / "whole", network, WORLD, SHORT))

    arguments = [where, str(tmp_path / "killed"), SHORT.model_dump_json()]
    killed = subprocess.run([sys.executable, "-W", "ignore", "-c", KILL, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL

    found = train(tmp_path / "killed", network, WORLD, SHORT)
    assert_equal(weights(found), expected)
    left = sorted(path.name for path in found[6].parent.iterdir())
    assert left == ["step000000", "step000003", "step000006"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "training.json"])
@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_damaged_checkpoint_is_trained_again(name: str, damage: str, tmp_path: Path) -> None:
    network = parse_network("llama4")
    plan = ToyTraining(steps=1, num_scenes=8, num_frames=2, batch_size=4)
    (folder,) = train(tmp_path, network, WORLD, plan).values()
    expected = (folder / "model.safetensors").read_bytes()
    path = folder / name
    path.unlink() if damage == "lost" else path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DamagedError):
        is_whole(folder)

    train(tmp_path, network, WORLD, plan)

    assert is_whole(folder)
    assert (folder / "model.safetensors").read_bytes() == expected


def test_a_damaged_state_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STEPS_PER_STATE", 2)
    network = parse_network("llama4")
    expected = weights(train(tmp_path / "whole", network, WORLD, SHORT))
    folder = network_folder(tmp_path / "damaged", network, WORLD, SHORT)
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(b"half")

    assert_equal(weights(train(tmp_path / "damaged", network, WORLD, SHORT)), expected)


# --- what names a run


@pytest.mark.parametrize(
    ("name", "changes", "same"),
    [
        ("conv4", {"world": {"seed": 1}}, False),
        ("conv4", {"world": {"nuisance": 0.5}}, False),
        ("conv4", {"world": {"caption_level": 2}}, True),
        ("llama4", {"world": {"caption_level": 2}}, False),
        ("llama4", {"world": {"nuisance": 0.5, "image_size": 64}}, True),
        ("llama4", {"plan": {"temperature": 0.5, "tasks": ("striped",)}}, True),
        ("conv4", {"plan": {"temperature": 0.5}}, False),
        ("conv4", {"plan": {"tasks": ("striped",)}}, False),
        ("conv4", {"plan": {"checkpoints": (1, 2)}}, True),
        ("conv4", {"plan": {"steps": 7}}, False),
        ("conv4", {"plan": {"seed": 7}}, False),
        ("conv4", {"network": {"depth": 2}}, False),
    ],
)
def test_a_run_is_named_by_all_that_moves_its_weights(
    name: str, changes: dict[str, dict[str, object]], same: bool
) -> None:
    def folder(network: ToyNetwork, world: WorldParameters, plan: ToyTraining) -> Path:
        return network_folder(Path("root"), network, world, plan)

    network = parse_network(name)
    changed = folder(
        network.model_copy(update=changes.get("network", {})),
        WORLD.model_copy(update=changes.get("world", {})),
        SHORT.model_copy(update=changes.get("plan", {})),
    )
    assert (changed == folder(network, WORLD, SHORT)) is same


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("conv4", {"caption_level": 2}),
        ("llama4", {"nuisance": 0.5, "image_size": 64}),
    ],
)
def test_what_does_not_name_a_run_does_not_move_its_weights(
    name: str, changes: dict[str, object], tmp_path: Path
) -> None:
    network, plan = parse_network(name), SHORT.model_copy(update={"steps": 2, "checkpoints": ()})
    other = WORLD.model_copy(update=changes)
    first = weights(train(tmp_path / "a", network, WORLD, plan))
    second = weights(train(tmp_path / "b", network, other, plan))
    assert_equal(second, first)
