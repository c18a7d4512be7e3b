"""Vision models: every kind of architecture through timm's loaders, against hooks on its blocks.

Axes: n images, d features or channels.
"""

import functools
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config
from timm.models import save_for_hf
from torch import Tensor

from platorep.config import ModelSpec
from platorep.config.models import TransformConfig
from platorep.errors import (
    AbsentError,
    ConfigError,
    DataError,
    IntegrityError,
    UnknownNameError,
)
from platorep.models import Reading, open_model
from platorep.models.sample_stream import SampleStream

NUM_IMAGES = 7


@dataclass
class Images:
    """As much of a dataset as a vision model reads; every image has its own size."""

    ids: Sequence[str] = field(default_factory=lambda: [f"row-{i}" for i in range(NUM_IMAGES)])
    broken: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int, /) -> Image.Image:
        if i == self.broken:
            raise DataError(f"row {self.ids[i]!r}: broken")
        size = 5 + i % 3, 6
        noise = torch.randint(256, (6, 5 + i % 3, 3), generator=torch.Generator().manual_seed(i))
        small = Image.frombytes("RGB", size, noise.to(torch.uint8).numpy().tobytes())
        return small.resize((200 + i, 180), Image.Resampling.BILINEAR)


def make_spec(name: str, **settings: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        family="tests",
        **({"label": "tiny", "modality": "vision", "backend": "timm"} | settings),
    )


def extract(
    name: str, images: Images | None = None, *, batch: Any = "auto", workers: Any = 0, **spec: Any
) -> list[Tensor]:
    loaded = open_model(make_spec(name, **spec), offline=True).load("cpu", torch.float32)
    try:
        return loaded.features(
            Reading(range(NUM_IMAGES), images or Images(), batch=batch, workers=workers)
        )
    finally:
        loaded.close()


def save_checkpoint(file: Path, name: str, **arguments: Any) -> Path:
    """Random weights that are not near zero, with a classifier, as timm's training writes them."""
    torch.manual_seed(2)
    network = timm.create_model(name, **arguments)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_file(network.state_dict(), file)
    return file


def one_at_a_time(
    file: Path, name: str, modules: Sequence[str], pool: str, prefix: int, **arguments: Any
) -> list[Tensor]:
    """Outputs of `modules` seen by hooks, for each image alone; pooled in float64."""
    network = timm.create_model(name, checkpoint_path=str(file), **arguments).eval()
    config = resolve_data_config({}, model=network)
    if "img_size" in arguments:
        config["input_size"] = (3, arguments["img_size"], arguments["img_size"])
    transform = create_transform(**config)
    seen: dict[str, Tensor] = {}
    for module in modules:
        network.get_submodule(module).register_forward_hook(
            lambda _, __, output, module=module: seen.update({module: output[0].double()})
        )
    rows = []
    for i in range(NUM_IMAGES):
        with torch.no_grad():
            network(transform(Images()[i])[None])
        rows.append([pooled(seen[module], pool, prefix) for module in modules])
    return [torch.stack(layer).float() for layer in zip(*rows, strict=True)]


def pooled(output: Tensor, pool: str, prefix: int) -> Tensor:
    if output.ndim == 3:  # d h w
        return output.mean((1, 2))
    return output[0] if pool == "cls" else output[prefix:].mean(0)


def same(found: list[Tensor], expected: list[Tensor], tolerance: float = 2e-5) -> bool:
    assert [tuple(layer.shape) for layer in found] == [tuple(layer.shape) for layer in expected]
    return all(
        (a - b).abs().max() <= tolerance * b.abs().max()
        for a, b in zip(found, expected, strict=True)
    )


SMALL = {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2}
BLOCKS = ["blocks.0", "blocks.1"]
TOKENS = {  # name: arguments, prefix tokens, whether one is a class token
    "vit_tiny_patch16_224": (SMALL, 1, True),
    "deit_tiny_distilled_patch16_224": (SMALL, 2, True),
    "vit_base_patch14_reg4_dinov2": (SMALL | {"img_size": 28}, 5, True),
    "vit_small_patch16_dinov3": (SMALL, 5, True),
    "vit_base_patch16_siglip_224": (SMALL, 0, False),
    "vit_medium_patch16_reg4_gap_256": (SMALL, 4, False),
    "eva02_tiny_patch14_224": (SMALL | {"img_size": 28}, 1, True),
    "beit_base_patch16_224": (SMALL, 1, True),
    "cait_xxs24_224": (SMALL, 0, False),  # its class token joins after the blocks
}
MAPS = {  # name: arguments, modules
    "test_resnet": ({}, ["layer1", "layer2", "layer3", "layer4"]),
    "test_convnext": ({}, ["stages.0", "stages.1", "stages.2", "stages.3"]),
    "test_efficientnet": ({}, ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4"]),
}


@pytest.mark.parametrize("pool", [None, "cls", "mean"])
@pytest.mark.parametrize("name", TOKENS)
def test_token_networks_equal_hooks(name: str, pool: str | None, tmp_path: Path) -> None:
    arguments, prefix, class_token = TOKENS[name]
    file = save_checkpoint(tmp_path / "weights.safetensors", name, **arguments)
    spec = {"checkpoint": str(file), "arguments": arguments, "pool": pool}
    if pool == "cls" and not class_token:
        with pytest.raises(ConfigError, match=r"has no class token.*`pool: mean`"):
            extract(name, **spec)
        return
    kind = pool or ("cls" if class_token else "mean")
    expected = one_at_a_time(file, name, BLOCKS, kind, prefix, **arguments)
    for batch in (1, 3, "auto"):
        assert same(extract(name, batch=batch, **spec), expected), batch
    other = one_at_a_time(
        file, name, BLOCKS, {"cls": "mean", "mean": "cls"}[kind], prefix, **arguments
    )
    assert not same(expected, other, 1e-3)


@pytest.mark.parametrize("name", MAPS)
def test_convolutional_networks_equal_hooks(name: str, tmp_path: Path) -> None:
    arguments, modules = MAPS[name]
    file = save_checkpoint(tmp_path / "weights.safetensors", name, **arguments)
    model = open_model(make_spec(name, checkpoint=str(file)), offline=True)
    layers = model.describe().layers
    assert layers is not None
    places = tuple(layers.index(module) for module in modules if module in layers)
    assert len(places) >= 4
    expected = one_at_a_time(file, name, [layers[i] for i in places], "mean", 0, **arguments)
    found = extract(name, checkpoint=str(file), batch=3, layers=places)
    assert same(found, expected)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("swin_tiny_patch4_window7_224", {"img_size": 32, "embed_dim": 16, "window_size": 4}),
        ("convit_tiny", {"img_size": 32, "depth": 3, "embed_dim": 8, "local_up_to_layer": 2}),
        ("test_nfnet", {}),
        ("naflexvit_base_patch16_gap", {"depth": 2, "embed_dim": 32, "num_heads": 2}),
    ],
)
def test_other_architectures_equal_forward_intermediates(
    name: str, arguments: dict[str, Any]
) -> None:
    if not hasattr(timm.create_model(name), "forward_intermediates"):
        pytest.skip(f"timm {timm.__version__} cannot tap {name}")
    model = open_model(make_spec(name, random_init=True, arguments=arguments), offline=True)
    description = model.describe()
    found = extract(name, random_init=True, arguments=arguments, batch=2)
    assert description.widths == tuple(layer.shape[1] for layer in found)
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0, **arguments).eval()
    size = arguments.get("img_size", network.pretrained_cfg["input_size"][1])
    config = resolve_data_config({"input_size": (3, size, size)}, model=network)
    images = torch.stack([create_transform(**config)(Images()[i]) for i in range(NUM_IMAGES)])
    with torch.no_grad():
        maps = network.forward_intermediates(images, intermediates_only=True)
    assert same(found, [m.double().mean((2, 3)).float() for m in maps], 1e-4)


@pytest.mark.parametrize("pool", [None, "mean"])
@pytest.mark.parametrize("name", ["test_convnext", *TOKENS])
def test_blocks_are_pooled_one_at_a_time(name: str, pool: str | None) -> None:
    arguments = TOKENS.get(name, [{}])[0]
    spec = make_spec(name, random_init=True, arguments=arguments, pool=pool)
    loaded = open_model(spec, offline=True).load("cpu", torch.float32)
    assert loaded._blocks.hooked
    size = arguments.get("img_size", 64)
    for pooled in loaded._blocks(torch.zeros(2, 3, size, size)):  # and nothing else is kept
        assert pooled.untyped_storage().nbytes() == 4 * pooled.numel()


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_keep_the_order(workers: int) -> None:
    expected = extract("test_vit", random_init=True)
    assert same(extract("test_vit", random_init=True, workers=workers, batch=2), expected, 0.0)


def test_workers_are_kept_from_call_to_call_and_ended() -> None:
    loaded = open_model(make_spec("test_vit", random_init=True), offline=True).load(
        "cpu", torch.float32
    )
    images = Images()
    every = loaded.features(Reading(range(NUM_IMAGES), images, workers=2))
    stream = loaded._stream
    some = loaded.features(Reading([5, 1, 3], images, workers=2))
    assert loaded._stream is stream
    assert same(some, [layer[[5, 1, 3]] for layer in every])
    workers = list(stream._loader._iterator._workers)
    assert [worker.is_alive() for worker in workers] == [True, True]
    loaded.close()
    for worker in workers:
        worker.join(20)
    assert [worker.is_alive() for worker in workers] == [False, False]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_stays_one_clear_error(workers: int) -> None:
    loaded = open_model(make_spec("test_vit", random_init=True), offline=True).load(
        "cpu", torch.float32
    )
    images = Images(broken=4)
    with pytest.raises(DataError) as error:
        loaded.features(Reading(range(NUM_IMAGES), images, workers=workers))
    assert str(error.value) == "row 'row-4': broken"
    after = loaded.features(Reading([6, 5], images, workers=workers))  # of use still
    loaded.close()
    assert same(after, [layer[[6, 5]] for layer in extract("test_vit", random_init=True)])


class Deadly(Images):
    def __getitem__(self, i: int, /) -> Image.Image:
        if i == 2:
            os._exit(9)
        return super().__getitem__(i)


def test_a_worker_that_dies_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"has died.*`extract\.workers: 0`"):
        extract("test_vit", Deadly(), random_init=True, workers=1)


def test_every_image_gets_timms_own_transform() -> None:
    config = resolve_data_config({}, timm.get_pretrained_cfg("test_vit").to_dict())
    transform = create_transform(**config)
    images = list(SampleStream(Images(), transform, 0).prepared([3]))
    assert images[0].shape == (3, 160, 160)
    spelled = open_model(make_spec("test_vit", random_init=True), offline=True).identity()
    assert spelled["transform"] == json.loads(json.dumps(config))


def test_transform_overrides_reach_the_network() -> None:
    override = {"input_size": 96, "mean": (0.1, 0.2, 0.3), "std": (1, 1, 1), "crop_pct": 1.0}
    spec = make_spec("test_vit", random_init=True, transform=override, pool="mean")
    identity = open_model(spec, offline=True).identity()["transform"]
    assert identity["input_size"] == [3, 96, 96]
    assert identity["mean"] == [0.1, 0.2, 0.3]
    found = extract("test_vit", random_init=True, transform=override, pool="mean")
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0, img_size=96).eval()
    config = resolve_data_config(override | {"input_size": (3, 96, 96)}, model=network)
    images = torch.stack([create_transform(**config)(Images()[i]) for i in range(NUM_IMAGES)])
    with torch.no_grad():
        tokens = network.forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
    assert same(found, [t.mean(1) for t in tokens])
    # A convolutional network takes any size and is not told; `num_classes` may be said beside it.
    small = {"transform": {"input_size": 64}, "arguments": {"num_classes": 0}}
    sized = extract("test_resnet", random_init=True, **small)
    assert not same(sized, extract("test_resnet", random_init=True), 1e-3)


def test_chosen_layers() -> None:
    every = extract("test_vit", random_init=True)
    found = extract("test_vit", random_init=True, layers=(-1, 0, 2))
    assert same(found, [every[5], every[0], every[2]])
    with pytest.raises(ConfigError, match=r"layers \[6\] do not exist. It has 6 layers"):
        extract("test_vit", random_init=True, layers=(6,))


def test_random_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = extract("test_vit", random_init=True, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert same(extract("test_vit", random_init=True, seed=3), first, 0)
    assert not same(extract("test_vit", random_init=True, seed=4), first, 1e-2)


def test_local_folders(tmp_path: Path) -> None:
    folder, arguments = tmp_path / "model", SMALL | {"num_classes": 3}
    torch.manual_seed(2)
    network = timm.create_model("vit_tiny_patch16_224", **arguments).eval()
    save_for_hf(network, folder, model_args=arguments, safe_serialization=True)
    found = extract(f"local-dir:{folder}")
    config = resolve_data_config({"input_size": (3, 32, 32)}, model=network)
    images = torch.stack([create_transform(**config)(Images()[i]) for i in range(NUM_IMAGES)])
    with torch.no_grad():
        maps = network.forward_intermediates(
            images, intermediates_only=True, return_prefix_tokens=True
        )
    assert same(found, [prefix[:, 0] for _, prefix in maps])

    def identity(where: Path) -> dict[str, Any]:
        return open_model(make_spec(f"local-dir:{where}"), offline=True).identity()

    copy = shutil.copytree(folder, tmp_path / "copy")
    assert identity(copy) == identity(folder)
    assert str(tmp_path) not in json.dumps(identity(folder))
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes() + b" ")
    assert identity(copy) != identity(folder)
    with pytest.raises(AbsentError, match=r"has no config\.json"):
        extract(f"local-dir:{tmp_path}")


def test_what_transformers_wrote_is_sent_to_its_backend(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    for name in (f"local-dir:{tmp_path}", str(tmp_path), "facebook/dinov2-small"):
        with pytest.raises(ConfigError, match=r"transformers.*`.*backend: transformers`"):
            extract(name)


def test_weights_that_lack_a_parameter_are_refused(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "weights.safetensors", "test_vit")
    extract("test_vit", checkpoint=str(file))
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if k != "blocks.1.attn.qkv.weight"}, file)
    with pytest.raises(IntegrityError, match=r"lack parameters.*blocks\.1\.attn\.qkv\.weight"):
        extract("test_vit", checkpoint=str(file))
    save_file(weights | {"blocks.1.norm1.weight": torch.ones(3)}, file)
    with pytest.raises(IntegrityError, match="do not fit"):
        extract("test_vit", checkpoint=str(file))


def test_weights_left_over_are_noted(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "weights.safetensors", "test_vit")
    loaded = open_model(make_spec("test_vit", checkpoint=str(file)), offline=True).load(
        "cpu", torch.float32
    )
    assert loaded.notes == ()  # the classifier is no loss
    save_file(load_file(file) | {"decoder.weight": torch.ones(3)}, file)
    loaded = open_model(make_spec("test_vit", checkpoint=str(file)), offline=True).load(
        "cpu", torch.float32
    )
    assert "decoder.weight" in loaded.notes[0]


def test_pickled_checkpoints_are_read_as_tensors_only(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "weights.safetensors", "test_vit")
    expected = extract("test_vit", checkpoint=str(file))
    torch.save({"state_dict": load_file(file)}, tmp_path / "weights.pth")
    assert same(extract("test_vit", checkpoint=str(tmp_path / "weights.pth")), expected)
    torch.save({"state_dict": load_file(file), "code": shutil.copytree}, tmp_path / "bad.pth")
    with pytest.raises(IntegrityError, match="not unpickled"):
        extract("test_vit", checkpoint=str(tmp_path / "bad.pth"))


def test_identity_says_what_moves_a_number(tmp_path: Path) -> None:
    def of(**settings: Any) -> str:
        identity = open_model(make_spec("test_vit", **settings), offline=True).identity()
        return json.dumps(identity, sort_keys=True)

    file = save_checkpoint(tmp_path / "a.safetensors", "test_vit")
    other = tmp_path / "b.safetensors"
    save_file({k: v + 1 for k, v in load_file(file).items()}, other)
    different = [
        {"random_init": True},
        {"random_init": True, "seed": 1},
        {"random_init": True, "pool": "mean"},
        {"random_init": True, "layers": (1,)},
        {"random_init": True, "arguments": {"img_size": 64}},
        {"random_init": True, "transform": {"crop_pct": 1.0}},
        {"checkpoint": str(file)},
        {"checkpoint": str(other)},
    ]
    assert len({of(**settings) for settings in different}) == len(different)
    assert of(random_init=True, pool="cls") == of(random_init=True)
    assert of(random_init=True, layers=(-5,)) == of(random_init=True, layers=(1,))
    copy = shutil.copy(file, tmp_path / "c.safetensors")
    assert of(checkpoint=str(copy)) == of(checkpoint=str(file))
    assert str(tmp_path) not in of(checkpoint=str(file))


TINY = {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2}
MOVING: list[dict[str, Any]] = [
    {"arguments": TINY | {"qkv_bias": False}},
    {"arguments": TINY | {"act_layer": "relu"}},
    {"arguments": TINY | {"init_values": 0.1}},
    {"arguments": TINY | {"num_heads": 4}},
    {"arguments": TINY | {"depth": 3}},
    {"arguments": TINY | {"img_size": 48}},
    {"arguments": TINY | {"patch_size": 8}},
    {"arguments": TINY, "seed": 1},
    {"arguments": TINY, "layers": (1,)},
    {"arguments": TINY, "pool": "mean"},
    {"arguments": TINY | {"dynamic_img_size": True}, "transform": {"input_size": 48}},
    {"arguments": TINY, "transform": {"mean": (0.1, 0.5, 0.5)}},
    {"arguments": TINY, "transform": {"std": (0.5, 0.5, 0.4)}},
    {"arguments": TINY, "transform": {"interpolation": "nearest"}},
    {"arguments": TINY, "transform": {"crop_pct": 0.5}},
    {"arguments": TINY, "transform": {"crop_mode": "squash"}},
]


def test_whatever_moves_a_feature_is_in_the_identity() -> None:
    def of(changes: dict[str, Any]) -> tuple[str, list[Tensor]]:
        spec = make_spec("vit_tiny_patch16_224", random_init=True, **changes)
        model = open_model(spec, offline=True)
        features = model.load("cpu", torch.float32).features(Reading([3], Images(), workers=0))
        return json.dumps(model.identity(), sort_keys=True), features

    identity, features = of({"arguments": TINY})
    identities = {identity}
    for changes in MOVING:
        other, moved = of(changes)
        same_shape = [a.shape for a in moved] == [b.shape for b in features]
        assert not (same_shape and all(map(torch.equal, moved, features))), changes
        identities.add(other)
    assert len(identities) == len(MOVING) + 1
    sections = {field for changes in MOVING for field in changes.get("transform", {})}
    assert sections == set(TransformConfig.model_fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [("checkpoint_path", "w.pth"), ("pretrained", True), ("pretrained_cfg", "x"), ("no_jit", True)],
)
def test_arguments_load_no_weights(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"of the architecture, and {name} would"):
        extract("test_vit", random_init=True, arguments={name: value})


def test_memory_that_runs_out_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = extract("test_vit", random_init=True)
    network = timm.models.VisionTransformer
    forward = network.forward_intermediates
    sizes: list[int] = []

    @functools.wraps(forward)
    def small(self: Any, x: Tensor, **others: Any) -> Any:
        if not x.is_meta:
            sizes.append(len(x))
            if len(x) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, x, **others)

    most = 2
    monkeypatch.setattr(network, "forward_intermediates", small)
    assert same(extract("test_vit", random_init=True, batch=6), expected)
    assert 6 in sizes
    most = 0
    with pytest.raises(torch.OutOfMemoryError):  # not even the network with one image
        extract("test_vit", random_init=True)


def test_unknown_names_suggest_near_ones() -> None:
    for name, meant in {
        "vit_smal_patch14_dinov2.lvd142m": "vit_small_patch14_dinov2.lvd142m",
        "vit_small_patch14_dinov2.lvd142": "vit_small_patch14_dinov2.lvd142m",
        "resnet_18": "resnet18",
    }.items():
        with pytest.raises(UnknownNameError) as error:
            open_model(make_spec(name), offline=True)
        assert meant in error.value.known
        assert f"Did you mean {meant!r}?" in str(error.value)


def test_absences(tmp_path: Path) -> None:
    absent = open_model(make_spec("vit_base_patch16_224.mae"), offline=True).describe()
    assert absent.widths == (768,) * 12
    assert absent.weight_bytes is None
    assert "timm/vit_base_patch16_224.mae" in absent.unknown[0]
    with pytest.raises(AbsentError, match=r"'timm/vit_base_patch16_224.mae'.*--download-only"):
        extract("vit_base_patch16_224.mae")
    with pytest.raises(AbsentError, match=r"'org/net'.*--download-only"):
        extract("hf-hub:org/net")
    with pytest.raises(AbsentError, match="no weight file"):
        extract("test_vit", checkpoint=str(tmp_path / "nowhere.pth"))
    trained = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    with pytest.raises(AbsentError, match=r"no pretrained weights.*random_init"):
        extract(next(iter(sorted(set(timm.list_models()) - trained))))


def test_a_network_without_taps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(timm.models.ResNet, "forward_intermediates")
    with pytest.raises(ConfigError, match="ResNet has no `forward_intermediates`"):
        extract("test_resnet", random_init=True)


def test_settings_of_other_backends_are_refused() -> None:
    with pytest.raises(ConfigError, match="`prompt`, `max_tokens` mean nothing"):
        extract("test_vit", max_tokens=3, prompt="a {text}")
    with pytest.raises(ConfigError, match="whose kind is text"):
        extract("test_vit", modality="language")
    with pytest.raises(ConfigError, match="is no language model: `pool: last`"):
        extract("test_vit", random_init=True, pool="last")
    sizes = {"arguments": {"img_size": 32}, "transform": {"input_size": 64}}
    with pytest.raises(ConfigError, match=r"`transform\.input_size: 64` is not"):
        extract("test_vit", random_init=True, **sizes)
    with pytest.raises(ConfigError, match="cannot build 'test_vit' with the arguments"):
        extract("test_vit", random_init=True, arguments={"imgsize": 3})


PAPER = {
    "vit_tiny_patch16_224.augreg_in21k": (12, 192),
    "vit_small_patch16_224.augreg_in21k": (12, 384),
    "vit_base_patch16_224.augreg_in21k": (12, 768),
    "vit_large_patch16_224.augreg_in21k": (24, 1024),
    "vit_base_patch16_224.mae": (12, 768),
    "vit_large_patch16_224.mae": (24, 1024),
    "vit_huge_patch14_224.mae": (32, 1280),
    "vit_small_patch14_dinov2.lvd142m": (12, 384),
    "vit_base_patch14_dinov2.lvd142m": (12, 768),
    "vit_large_patch14_dinov2.lvd142m": (24, 1024),
    "vit_giant_patch14_dinov2.lvd142m": (40, 1536),
    "vit_base_patch16_clip_224.laion2b": (12, 768),
    "vit_large_patch14_clip_224.laion2b": (24, 1024),
    "vit_huge_patch14_clip_224.laion2b": (32, 1280),
    "vit_base_patch16_clip_224.laion2b_ft_in12k": (12, 768),
    "vit_large_patch14_clip_224.laion2b_ft_in12k": (24, 1024),
    "vit_huge_patch14_clip_224.laion2b_ft_in12k": (32, 1280),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_networks_of_the_paper(name: str) -> None:
    num_layers, width = PAPER[name]
    model = open_model(make_spec(name, random_init=True), offline=True)
    found = model.describe()
    assert found.layers == tuple(f"blocks.{i}" for i in range(num_layers))
    assert found.widths == (width,) * num_layers
    assert found.parameters is not None
    size = 518 if "dinov2" in name else 224
    identity = model.identity()
    assert identity["pool"] == "cls"
    assert identity["transform"]["input_size"] == [3, size, size]


def test_the_paper_has_352_vision_layers() -> None:
    assert sum(num_layers for num_layers, _ in PAPER.values()) == 352


def test_a_folder_or_file_as_a_name_is_told_how_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    for name in (tmp_path, tmp_path / "weights.pth"):
        with pytest.raises(ConfigError, match=r"local-dir:FOLDER.*checkpoint: FILE"):
            extract(str(name))
