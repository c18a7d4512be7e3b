"""Networks of one's own: `backend: module`, against forward passes by hand.

Axes: n samples, b samples of a batch, t tokens, d features.
"""

import importlib
import itertools
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import Forks
from safetensors.torch import save_file
from torch import Tensor, nn

from platorep import load_features
from platorep.config import ModelSpec, load_config
from platorep.data import load_dataset
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError, PlatorepError
from platorep.models import Loaded, Reading, open_model
from platorep.models.memory import Batching
from platorep.models.taps import first_tensor, named_taps

NUM_SAMPLES = 7
CLOSE = {"rtol": 1e-4, "atol": 1e-5}

CODE = '''
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    """Tokens b t d, then a map b d h w, a film b d f h w, and a vector b d."""

    def __init__(self, width=6, prefix=None):
        super().__init__()
        self.embed = nn.Linear(4, width)
        blocks = [nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(3)]
        self.blocks = nn.Sequential(*blocks)
        self.conv = nn.Conv1d(width, 5, 1)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(0.5)
        self.picture = nn.Unflatten(2, (1, -1))
        self.film = nn.Unflatten(2, (1, 1, -1))
        self.pair = Pair()
        self.idle = nn.Identity()
        if prefix is not None:
            self.num_prefix_tokens = prefix

    def forward(self, x):
        x = self.drop(self.blocks(self.embed(x)))
        columns = self.conv(x.mT)
        self.picture(columns), self.film(columns)
        self.pair(x)
        return self.norm(x).mean(1)

class Pair(nn.Module):
    def forward(self, x):
        return {"nothing": None, "states": (x.transpose(0, 1), x)}

def build(width=6, prefix=None, scale=1.0):
    network = Net(width, prefix)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=scale)
    return network

def choosing(random_init=False, seed=0):
    network = Net()
    if not random_init:
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.5)
    else:
        assert seed == 3
    return network

def tokens(sample):
    return torch.from_numpy(sample)

def as_array(sample):
    return sample.astype("float64")

def ragged(sample):
    return torch.from_numpy(sample[: 2 + int(abs(sample[0, 0]) * 10) % 3])

def noisy(sample):
    return torch.from_numpy(sample) + torch.randn(4) + float(np.random.rand()) + random.random()

def no_tensor(sample):
    return [1, 2]

def failing(sample):
    raise KeyError("what")

def rude():
    raise RuntimeError("no weights today")

def no_module():
    return lambda x: x

def broken():
    network = Net()
    network.norm.bias.data[0] = float("nan")
    return network

class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.table = nn.Embedding(3, 4)
        self.silent = Silent()
        self.relu = nn.ReLU()

    def forward(self, x):
        self.silent(x)
        self.table(torch.arange(3))
        return self.relu(self.one(self.relu(x)))

class Silent(nn.Module):
    def forward(self, x):
        return None

class Crowd(nn.Module):
    """Depends on who else is there."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, x):
        return self.one(x) + x.mean()

class Alone(Crowd):
    def forward(self, x):
        if len(x) > 1:
            raise ValueError("one at a time")
        return self.one(x)

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, x, shift):
        return self.one(x).mean(1) + shift[:, None]

def named(sample):
    return {"shift": torch.tensor(2), "x": torch.from_numpy(sample)}

def placed(sample):
    return torch.from_numpy(sample), torch.tensor(2)
'''


@dataclass
class Arrays:
    """As much of a view as a module reads."""

    ids: Sequence[str] = field(default_factory=lambda: [f"row-{i}" for i in range(NUM_SAMPLES)])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int, /) -> np.ndarray:
        return np.random.default_rng(i).normal(size=(5, 4)).astype("float32")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with CODE."""
    name = f"own_{next(_NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


_NUMBERS = itertools.count()


def make_spec(module: str, factory: str = "build", **settings: Any) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": f"{module}:{factory}",
            "label": "own",
            "family": "f",
            "modality": "other",
            "backend": "module",
            "inputs": f"{module}:tokens",
            "layers": ["blocks.*", "norm"],
        }
        | settings
    )


def load(spec: ModelSpec) -> Loaded:
    return open_model(spec, offline=True).load("cpu", torch.float32)


def features(spec: ModelSpec, batch: Any = "auto") -> list[Tensor]:
    loaded = load(spec)
    try:
        return loaded.features(Reading(range(NUM_SAMPLES), Arrays(), batch=batch, workers=0))
    finally:
        loaded.close()


def network_of(module: str, factory: str = "build", **arguments: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(importlib.import_module(module), factory)(**arguments).eval()


def by_hand(network: nn.Module, names: Sequence[str]) -> list[list[Tensor]]:
    """What the modules give for each sample alone, unpooled, in float64."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for name in names:
        network.get_submodule("" if name == "output" else name).register_forward_hook(
            lambda _, __, output, name=name: found[name].append(output[0].double())
        )
    with torch.no_grad():
        for i in range(NUM_SAMPLES):
            network(torch.from_numpy(Arrays()[i])[None])
    return [found[name] for name in names]


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda tokens: tokens.mean(0),
    "cls": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
    "patches_mean": lambda tokens: tokens[2:].mean(0),
}


@pytest.mark.parametrize("batch", [1, 3, "auto"])
@pytest.mark.parametrize("pool", POOLS)
def test_features_are_the_pooled_outputs_of_the_modules(module: str, pool: str, batch: Any) -> None:
    spec = make_spec(module, pool=pool, arguments={"prefix": 2}, layers=["blocks.*", "output"])
    loaded = load(spec)
    found = loaded.features(Reading(range(NUM_SAMPLES), Arrays(), batch=batch))
    assert loaded.layers == ("blocks.0", "blocks.1", "blocks.2", "output")
    assert loaded.batching is Batching.ANY
    assert loaded.notes == ()
    *blocks, output = by_hand(network_of(module, prefix=2), loaded.layers)
    for layer, tokens in zip(found, blocks, strict=False):
        expected = torch.stack([POOLS[pool](one) for one in tokens]).float()
        torch.testing.assert_close(layer, expected, **CLOSE)
    torch.testing.assert_close(found[-1], torch.stack(output).float(), **CLOSE)


def test_outputs_of_every_number_of_axes(module: str) -> None:
    found = features(make_spec(module, layers=["embed", "picture", "film", "pair"]))
    embed, picture, film = by_hand(network_of(module), ["embed", "picture", "film"])
    expected = [
        torch.stack([one.mean(0) for one in embed]),
        torch.stack([one.mean((1, 2)) for one in picture]),
        torch.stack([one.mean((1, 2, 3)) for one in film]),
    ]
    for layer, other in zip(found, expected, strict=False):
        torch.testing.assert_close(layer, other.float(), **CLOSE)
    assert found[1].shape == (NUM_SAMPLES, 5)
    # `pair` gives t b d inside of tuples and dictionaries: what the blocks give
    (blocks,) = by_hand(network_of(module), ["blocks"])
    torch.testing.assert_close(
        found[3], torch.stack([one.mean(0) for one in blocks]).float(), **CLOSE
    )


def test_a_network_says_where_its_channels_are(module: str) -> None:
    network = network_of(module)
    network.conv.output_fmt = "NCL"
    path = Path(str(sys.modules[module].__file__))
    path.write_text(
        CODE + "\ndef said():\n    n = build()\n    n.conv.output_fmt = 'NCL'\n"
        "    n.picture.output_fmt = 'NHWC'\n    return n\n"
    )
    del sys.modules[module]
    importlib.invalidate_caches()
    found = features(make_spec(module, "said", layers=["conv", "picture"]))
    conv, picture = by_hand(network_of(module), ["conv", "picture"])
    assert found[0].shape == (NUM_SAMPLES, 5)
    torch.testing.assert_close(found[0], torch.stack([one.mean(1) for one in conv]).float())
    torch.testing.assert_close(found[1], torch.stack([one.mean((0, 1)) for one in picture]).float())


def test_features_of_a_convolution_in_one_dimension_are_second(module: str) -> None:
    found = features(make_spec(module, layers=["conv"]))
    (conv,) = by_hand(network_of(module), ["conv"])
    torch.testing.assert_close(found[0], torch.stack([one.mean(1) for one in conv]).float())


def test_a_width_that_is_a_length_is_refused(module: str) -> None:
    own = importlib.import_module(module)
    path = Path(str(own.__file__))
    path.write_text(CODE.replace("self.pair(x)", "self.idle(columns)"))
    del sys.modules[module]
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="others than b t d"):
        features(make_spec(module, layers=["idle"], inputs=f"{module}:ragged"))


def test_several_pools_in_one_forward_pass(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(module, arguments={"prefix": 1})
    alone = [features(spec.model_copy(update={"pool": pool})) for pool in POOLS]
    loaded = load(spec.model_copy(update={"pools": tuple(POOLS)}))
    samples = Arrays(ids=[f"row-{i}" for i in range(NUM_SAMPLES)])
    together = loaded.features(Reading(range(NUM_SAMPLES), samples))
    for found, expected in zip(together, itertools.chain(*alone), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("inputs", ["named", "placed"])
def test_several_inputs_by_name_or_place(module: str, inputs: str) -> None:
    spec = make_spec(module, "Named", inputs=f"{module}:{inputs}", layers=["output"])
    (found,) = features(spec)
    network = network_of(module, "Named")
    with torch.no_grad():
        expected = [
            network(torch.from_numpy(Arrays()[i])[None], torch.tensor([2])) for i in range(7)
        ]
    torch.testing.assert_close(found, torch.cat(expected))


def test_samples_of_unequal_shapes_and_arrays_of_doubles(module: str) -> None:
    found = features(make_spec(module, inputs=f"{module}:ragged"), batch=4)
    one = features(make_spec(module, inputs=f"{module}:ragged"), batch=1)
    for x, y in zip(found, one, strict=True):
        torch.testing.assert_close(x, y, **CLOSE)
    own = importlib.import_module(module)
    assert len({own.ragged(Arrays()[i]).shape for i in range(NUM_SAMPLES)}) > 1
    doubles = features(make_spec(module, inputs=f"{module}:as_array"))
    plain = features(make_spec(module))
    assert all(torch.equal(x, y) for x, y in zip(doubles, plain, strict=True))


def test_random_numbers_of_inputs_are_the_same_in_every_run(module: str) -> None:
    spec = make_spec(module, inputs=f"{module}:noisy")
    torch.manual_seed(1)
    first = features(spec)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = features(spec, batch=1)
    assert torch.equal(torch.get_rng_state(), state)
    for x, y in zip(first, again, strict=True):
        torch.testing.assert_close(x, y, **CLOSE)


def test_what_depends_on_its_batch_is_run_alone(module: str) -> None:
    loaded = load(make_spec(module, "Crowd", layers=["output"]))
    (found,) = loaded.features(Reading(range(NUM_SAMPLES), Arrays(), batch=3))
    assert loaded.batching is Batching.ONE_BY_ONE
    assert "depend on what else is in the batch" in loaded.notes[0]
    (expected,) = features(make_spec(module, "Crowd", layers=["output"]), batch=1)
    assert torch.equal(found, expected)
    loaded = load(make_spec(module, "Alone", layers=["output"]))
    loaded.features(Reading(range(NUM_SAMPLES), Arrays(), batch=3))
    assert "two in a batch fail" in loaded.notes[0]
    assert loaded.batching is Batching.ONE_BY_ONE


WRAPS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "module.": lambda state: {f"module.{name}": value for name, value in state.items()},
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_weights_of_a_file(module: str, wrap: str, tmp_path: Path) -> None:
    trained = network_of(module, scale=0.3)
    torch.save(WRAPS[wrap](trained.state_dict()), tmp_path / "w.pth")
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    found = features(make_spec(module, checkpoint=str(tmp_path / "w.pth")))
    (*_, norm) = by_hand(trained, ["norm"])
    torch.testing.assert_close(
        found[-1], torch.stack([one.mean(0) for one in norm]).float(), **CLOSE
    )
    safe = features(make_spec(module, checkpoint=str(tmp_path / "w.safetensors")))
    assert all(torch.equal(x, y) for x, y in zip(found, safe, strict=True))


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code was run')",))


def test_weights_that_are_none_are_refused(module: str, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    spec = make_spec(module, checkpoint=str(file))
    with pytest.raises(AbsentError, match=r"there is no weight file .*w.pth"):
        open_model(spec, offline=True).identity()
    state = network_of(module).state_dict()

    def refused(content: Any, match: str) -> None:
        torch.save(content, file)
        with pytest.raises(IntegrityError, match=match):
            load(spec)

    refused(
        {"state_dict": state, "extra": Evil()},
        "hold more than names with tensors, and are not unpickled",
    )
    refused(state | {"epoch": 3}, "hold epoch, which are no tensors")
    refused([1, 2], "more than names with tensors")
    del state["norm.weight"]
    refused(state, r"lack 1 of Net, which would be random: norm.weight")
    refused(state | {"norm.weight": torch.ones(2)}, "do not fit Net")
    file.write_bytes(b"abc")
    with pytest.raises(IntegrityError, match=r"w.pth are broken"):
        load(spec)
    file.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(IntegrityError, match=r"w.pth"):
        load(spec)
    state |= {"norm.weight": torch.ones(6), "head.weight": torch.ones(1)}
    torch.save(state, file)
    assert "no place for: head.weight" in load(spec).notes[0]


def test_random_weights(module: str, tmp_path: Path) -> None:
    spec = make_spec(module, "choosing", random_init=True, seed=3)
    assert not torch.equal(features(spec)[0], features(make_spec(module, "choosing"))[0])
    with pytest.raises(ConfigError, match=r"decides its weights itself.*`random_init`"):
        load(make_spec(module, random_init=True))
    file = tmp_path / "w.pth"
    torch.save(network_of(module, scale=0.3).state_dict(), file)
    copies = [
        features(make_spec(module, checkpoint=str(file), random_init=True, seed=seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(copies[0][0], copies[1][0])
    assert not torch.equal(copies[0][0], copies[2][0])
    torch.manual_seed(0)
    assert torch.equal(copies[0][0], features(make_spec(module))[0])


def key_of(spec: ModelSpec) -> Any:
    return open_model(spec, offline=True).identity()


def test_the_key_names_code_weights_and_arguments(module: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        network = network_of(module, scale=0.1 if name == "a" else 0.2)
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
    file = tmp_path / "c.pth"
    base = {"checkpoint": str(tmp_path / "a.pth"), "arguments": {"width": 6}}
    plain = key_of(make_spec(module, **base))
    (file).write_bytes((tmp_path / "a.pth").read_bytes())
    assert key_of(make_spec(module, **base | {"checkpoint": str(file)})) == plain
    changes: list[dict[str, Any]] = [
        {"checkpoint": str(tmp_path / "b.pth")},
        {"arguments": {"width": 7}},
        {"inputs": f"{module}:noisy"},
        {"layers": ["blocks.*"]},
        {"pool": "cls"},
        {"random_init": True},
        {"name": f"{module}:choosing"},
        {"kind": "video"},  # a GIF is an image and a film, and its bytes are the same
    ]
    keys = [key_of(make_spec(module, **base | change)) for change in changes]
    assert len({str(key) for key in [plain, *keys]}) == len(changes) + 1
    assert key_of(make_spec(module, **base | {"pool": "mean", "label": "x"})) == plain
    # the code, and what it imports beside it, without being imported
    sys.modules.pop(module)
    path = tmp_path / f"{module}.py"
    path.write_text(CODE + "\nimport beside_it\n")
    (tmp_path / "beside_it.py").write_text("x = 1\n")
    first = key_of(make_spec(module, **base))
    (tmp_path / "beside_it.py").write_text("x = 2\n")
    assert plain != first != key_of(make_spec(module, **base))
    assert module not in sys.modules
    # a file that an argument names counts by its content
    by_file = [
        key_of(make_spec(module, arguments={"weights": str(tmp_path / f"{name}.pth")}))
        for name in "abc"
    ]
    assert by_file[0] != by_file[1]


@pytest.mark.parametrize("edited", ["nets/helper.py", "nets/deep/far.py", "common.py", "door.py"])
@pytest.mark.parametrize("package", [False, True])
def test_the_key_names_all_code_that_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str, package: bool
) -> None:
    """Packages with and without `__init__.py`, relative and absolute imports, late ones too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {
        "door.py": "def pixels(sample): pass",
        "nets/mine.py": "from nets.helper import x\nimport torch, platorep\ndef build(): pass",
        "nets/helper.py": "def x():\n    from .deep import far",
        "nets/deep/far.py": "import common",
        "common.py": "from nets import mine",
    }
    files |= {"nets/__init__.py": ""} if package else {}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    spec = make_spec("nets.mine", "build", inputs="door:pixels")
    before = key_of(spec)
    assert set(before["code"]) == files.keys()
    (tmp_path / edited).write_text(files[edited] + "\n")
    assert key_of(spec) != before
    # and two files that change places
    (tmp_path / edited).write_text(files["nets/mine.py"])
    (tmp_path / "nets/mine.py").write_text(files[edited])
    swapped = key_of(make_spec("nets.mine", "build", inputs="door:pixels"))
    assert swapped != before
    for one in ("nets", "nets.deep"):
        sys.modules.pop(one, None)


def test_what_is_known_before_it_is_loaded(module: str, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save(network_of(module).state_dict(), file)
    known = open_model(make_spec(module, checkpoint=str(file)), offline=True).describe()
    assert known.layers == ("blocks.0", "blocks.1", "blocks.2", "norm")
    assert known.parameters == sum(one.numel() for one in network_of(module).parameters())
    assert known.weight_bytes == file.stat().st_size
    assert known.widths is None
    unknown = open_model(make_spec(module, "rude"), offline=True).describe().unknown
    assert "no weights today" in unknown[0]


REFUSALS: dict[str, tuple[dict[str, Any], type[PlatorepError], str]] = {
    "no function": ({"name": "net"}, ConfigError, "`name: package.module:function`; found 'net'"),
    "no inputs": ({"inputs": None}, ConfigError, "`inputs` must name the function"),
    "no taps": ({"layers": "all"}, ConfigError, "`layers` must name the modules to tap"),
    "numbers": ({"layers": [0]}, ConfigError, "`layers` must name the modules to tap"),
    "another setting": ({"prompt": "{text}"}, ConfigError, "`prompt` mean nothing to backend mod"),
    "no module": ({"name": "nowhere_at_all:f"}, ConfigError, "module 'nowhere_at_all' cannot be"),
    "no attribute": ({"name": "MODULE:bild"}, ConfigError, "has no 'bild'. Did you mean 'build'"),
    "not callable": ({"name": "MODULE:np.pi"}, ConfigError, "is no function but of type float"),
    "raises": ({"name": "MODULE:rude"}, ConfigError, "fails with the .* no weights today"),
    "arguments": ({"arguments": {"depth": 3}}, ConfigError, "unexpected keyword argument 'depth'"),
    "returns": ({"name": "MODULE:no_module"}, ConfigError, "must return a torch.nn.Module; found"),
    "not finite": ({"name": "MODULE:broken"}, IntegrityError, "are not finite: norm.bias"),
    "no match": (
        {"layers": ["block.*"]},
        ConfigError,
        "no module of Net is called 'block.*'.*Did you mean 'blocks.*Its outermost modules: embed",
    ),
    "not run": ({"layers": ["idle"]}, ConfigError, "are not run in a forward pass: idle"),
    "runs twice": ({"name": "MODULE:Shared", "layers": ["relu"]}, ConfigError, "several times"),
    "no tensor": ({"name": "MODULE:Shared", "layers": ["silent"]}, ConfigError, "give no tensor"),
    "no samples": (
        {"name": "MODULE:Shared", "layers": ["table"]},
        ConfigError,
        "are no features of samples; two samples gave table: 3 x 4",
    ),
    "no prefix": ({"pool": "patches_mean"}, ConfigError, "Set `num_prefix_tokens` on the network"),
    "inputs fail": (
        {"inputs": "MODULE:failing"},
        DataError,
        "row 'row-0': model 'own'.* fails at a sample of type ndarray: KeyError: 'what'",
    ),
    "inputs of no tensors": ({"inputs": "MODULE:no_tensor"}, ConfigError, "found int, int"),
    "forward fails": (
        {"inputs": "MODULE:placed"},
        ConfigError,
        r"Net fails at 1 of what `inputs` returns \(5x4, \): TypeError",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_goes_wrong_is_one_sentence(module: str, case: str) -> None:
    settings, error, match = REFUSALS[case]
    settings = {
        name: value.replace("MODULE", module) if isinstance(value, str) else value
        for name, value in settings.items()
    }
    with pytest.raises(error, match=match) as caught:
        features(make_spec(module, **settings))
    assert "own" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_globs_stop_at_dots(module: str) -> None:
    network = network_of(module)

    def found(*globs: str) -> tuple[str, ...]:
        return named_taps(network, globs, "own")

    assert found("blocks.*") == ("blocks.0", "blocks.1", "blocks.2")
    assert found("norm", "blocks.[02]") == ("norm", "blocks.0", "blocks.2")
    assert found("blocks.*.1", "blocks.0.1") == ("blocks.0.1", "blocks.1.1", "blocks.2.1")
    assert len(found("blocks.**")) == 10
    assert "output" in found("*")
    assert not any("." in name for name in found("*"))


def test_the_first_tensor() -> None:
    one = torch.ones(1)
    assert first_tensor({"a": None, "b": [3, (one, torch.zeros(1))]}) is one
    assert first_tensor((None, "x")) is None


EXPERIMENT = """
name: own
dataset: {source: toyworld, world: {image_size: 16}, limit: 12}
families:
  - name: mine
    modality: vision
    backend: module
    inputs: beside_the_file:pixels
    layers: ["[02]", output]
    models: [{name: "beside_the_file:network", label: net, checkpoint: net.pth, pool: [mean, cls]}]
controls: {random_weights: true}
extract: {workers: 2, rows_per_shard: 8}
align: {pairs: [[vision, vision]], metrics: [{name: mutual_knn, k: 3}], null: {permutations: 0}}
"""
BESIDE = """
import numpy as np
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))

def pixels(image):  # rows of an image are its tokens
    return torch.from_numpy(np.asarray(image.convert("L"), dtype="float32")) / 255
"""


def test_a_module_beside_the_experiments_file(forks: Forks, tmp_path: Path) -> None:
    """From another folder, in worker processes, and planned before."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "own.yaml").write_text(EXPERIMENT)
    (own / "beside_the_file.py").write_text(BESIDE)
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    torch.save(network.state_dict(), own / "net.pth")

    def platorep(*arguments: str) -> Any:
        cache = Path(os.environ["PLATOREP_CACHE"])
        said = (*arguments, "--json", "--output", "out")
        ended = forks.run(*said, folder=tmp_path, cache=cache)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)

    plan = {row["cell"]: row for row in platorep("plan", "own/own.yaml")}
    assert plan["net (mean)"]["state"] == "missing"
    assert plan["net (mean)"]["parameters"] == sum(p.numel() for p in network.parameters())
    platorep("run", "own/own.yaml", "--set", "report.after_run=false")
    labels = ["net (mean)", "net (cls)", "net (mean) (random)", "net (cls) (random)"]
    features = {label: load_features(tmp_path / "out", label) for label in labels}
    dataset = load_dataset(load_config(own / "own.yaml").dataset, offline=True)
    sys.path.insert(0, str(own))
    try:
        pixels = importlib.import_module("beside_the_file").pixels
    finally:
        sys.path.remove(str(own))
        sys.modules.pop("beside_the_file")
    samples = torch.stack([pixels(image) for image in dataset.views["image"]])
    with torch.no_grad():
        expected = network(samples)
    assert list(features["net (mean)"].names) == ["0", "2", "output"]
    torch.testing.assert_close(features["net (mean)"].layers[-1], expected.mean(1), **CLOSE)
    torch.testing.assert_close(features["net (cls)"].layers[-1], expected[:, 0], **CLOSE)
    random = features["net (mean) (random)"].layers[-1]
    assert not torch.allclose(random, expected.mean(1), atol=0.01)
