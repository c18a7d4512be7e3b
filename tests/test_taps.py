"""Modules tapped by name, of networks of timm, and weights as torch.hub has them.

Axes: n images, d features or channels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from test_language import TEXTS, Texts, save
from timm.data import create_transform, resolve_data_config
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import ConfigError, IntegrityError
from platorep.kinds.audio import Sound
from platorep.models import Reading, open_model

NUM_IMAGES = 3
SWIN = "swin_tiny_patch4_window7_224"
SMALL = {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2}


class Images:
    ids: Sequence[str] = tuple(f"row-{i}" for i in range(NUM_IMAGES))

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, i: int, /) -> Image.Image:
        noise = torch.randint(256, (6, 5, 3), generator=torch.Generator().manual_seed(i))
        small = Image.frombytes("RGB", (5, 6), noise.to(torch.uint8).numpy().tobytes())
        return small.resize((200 + i, 180), Image.Resampling.BILINEAR)


def make_spec(name: str, **settings: Any) -> ModelSpec:
    fixed = {"label": "tiny", "family": "f", "modality": "vision", "backend": "timm"}
    return ModelSpec.model_validate(
        {"name": name, "random_init": True, "view": "image", "kind": "image"} | fixed | settings
    )


def features(spec: ModelSpec) -> tuple[tuple[str, ...], list[Tensor]]:
    loaded = open_model(spec, offline=True).load("cpu", torch.float32)
    found = loaded.features(Reading(range(NUM_IMAGES), Images(), workers=0))
    assert open_model(spec, offline=True).describe().layers == loaded.layers
    num_pools = max(1, len(spec.pools))
    widths = open_model(spec, offline=True).describe().widths
    assert widths == tuple(layer.shape[1] for layer in found[: len(found) // num_pools])
    return loaded.layers, found


def by_hand(name: str, modules: Sequence[str], **arguments: Any) -> list[list[Tensor]]:
    """What modules give for each image alone."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0, **arguments).eval()
    config = resolve_data_config({}, model=network)
    if "img_size" in arguments:
        config["input_size"] = (3, arguments["img_size"], arguments["img_size"])
    transform = create_transform(**config)
    seen: dict[str, list[Tensor]] = {module: [] for module in modules}
    for module in modules:
        network.get_submodule("" if module == "output" else module).register_forward_hook(
            lambda _, __, output, module=module: seen[module].append(output[0].double())
        )
    for i in range(NUM_IMAGES):
        with torch.no_grad():
            network(transform(Images()[i])[None])
    return [seen[module] for module in modules]


def close(found: Tensor, expected: Sequence[Tensor]) -> None:
    torch.testing.assert_close(found, torch.stack(list(expected)).float(), rtol=1e-4, atol=1e-5)


def test_named_blocks_are_the_numbered_layers() -> None:
    name = "vit_base_patch14_reg4_dinov2"
    arguments = SMALL | {"img_size": 28}
    for pool in ("cls", "mean"):
        names, numbered = features(make_spec(name, arguments=arguments, pool=pool))
        taps = {"layers": ["blocks.*", "norm"], "arguments": arguments, "pool": pool}
        named_names, named = features(make_spec(name, **taps))
        assert named_names == (*names, "norm")
        for found, expected in zip(named, numbered, strict=False):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        (norm,) = by_hand(name, ["norm"], **arguments)
        prefix = 5  # a class token and four registers
        close(named[-1], [one[0] if pool == "cls" else one[prefix:].mean(0) for one in norm])


def test_convolutional_networks_by_name() -> None:
    names, found = features(make_spec("test_resnet", layers=["layer4", "layer1.*", "output"]))
    assert names == ("layer4", "layer1.0", "output")
    layer4, inner, output = by_hand("test_resnet", names)
    close(found[0], [one.mean((1, 2)) for one in layer4])
    close(found[1], [one.mean((1, 2)) for one in inner])
    close(found[2], output)


def test_channels_are_last_where_timm_says_so() -> None:
    arguments = {"img_size": 64, "embed_dim": 8, "window_size": 4}
    names, found = features(make_spec(SWIN, layers=["layers.*"], arguments=arguments))
    outputs = by_hand(SWIN, names, **arguments)
    for layer, expected in zip(found, outputs, strict=True):
        close(layer, [one.mean((0, 1)) for one in expected])


def test_several_pools_of_named_modules() -> None:
    alone = [
        features(make_spec("test_vit", layers=["blocks.*"], pool=pool))[1]
        for pool in ("cls", "mean")
    ]
    _, both = features(make_spec("test_vit", layers=["blocks.*"], pools=("cls", "mean")))
    for found, expected in zip(both, [*alone[0], *alone[1]], strict=True):
        assert torch.equal(found, expected)


def test_the_patches_mean_is_timms_mean() -> None:
    keys = [
        open_model(make_spec("test_vit", pool=pool), offline=True).identity()
        for pool in ("mean", "patches_mean")
    ]
    assert keys[0] == keys[1]


def test_what_a_name_leads_to_is_in_the_key() -> None:
    def key(layers: Any) -> Any:
        return open_model(make_spec("test_vit", layers=layers), offline=True).identity()

    assert key(["blocks.*"])["layers"] == ["blocks.*"]
    assert key(["blocks.*"]) != key("all")
    assert key([0, -1])["tap"] == "forward_intermediates, without a final norm"
    with pytest.raises(ConfigError, match=r"no module of VisionTransformer is called 'block\.\*'"):
        open_model(make_spec("test_vit", layers=["block.*"]), offline=True).load(
            "cpu", torch.float32
        )


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module."])
def test_weights_as_torch_hub_has_them(wrap: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = timm.create_model("test_vit").state_dict()
    content: Any = {"state_dict": {"epoch": 3, "state_dict": state}, "model": {"model": state}}.get(
        wrap, state
    )
    if wrap == "module.":
        content = {f"module.{name}": value for name, value in state.items()}
    torch.save(content, tmp_path / "weights.pth")
    spec = make_spec("test_vit", checkpoint=str(tmp_path / "weights.pth"), random_init=False)
    _, found = features(spec)
    torch.save(state, tmp_path / "plain.bin")
    _, plain = features(spec.model_copy(update={"checkpoint": str(tmp_path / "plain.bin")}))
    assert all(torch.equal(x, y) for x, y in zip(found, plain, strict=True))


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code was run')",))


@pytest.mark.parametrize("content", [{"state_dict": Evil()}, {"epoch": 3}, [1, 2]])
def test_weights_with_code_or_without_tensors_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    spec = make_spec("test_vit", checkpoint=str(tmp_path / "weights.pth"), random_init=False)
    with pytest.raises(IntegrityError, match=r"weights\.pth"):
        open_model(spec, offline=True).load("cpu", torch.float32)


def texts_spec(folder: Path, **settings: Any) -> ModelSpec:
    fixed = {"label": "tiny", "family": "f", "modality": "language", "backend": "transformers"}
    return ModelSpec.model_validate(
        {"name": str(folder), "view": "text", "kind": "text"} | fixed | settings
    )


def test_modules_of_a_language_model_by_name(tmp_path: Path) -> None:
    """The blocks by name are the hidden states by number, over real tokens, in padded batches."""
    save(tmp_path / "llama")
    for pool in ("mean", "last", "cls"):
        numbered = features_of_texts(texts_spec(tmp_path / "llama", pool=pool))[1]
        names, named = features_of_texts(
            texts_spec(tmp_path / "llama", pool=pool, layers=["embed_tokens", "layers.*", "norm"])
        )
        assert names == ("embed_tokens", "layers.0", "layers.1", "layers.2", "norm")
        for found, expected in zip(named[:3] + named[4:], numbered, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match=r"`layers.\*.nothing`|'layers.\*.nothing'"):
        features_of_texts(texts_spec(tmp_path / "llama", layers=["layers.*.nothing"]))


def test_outputs_with_the_batch_second_or_without_tokens(tmp_path: Path) -> None:
    save(tmp_path / "xlnet", "xlnet")  # t b d
    numbered = features_of_texts(texts_spec(tmp_path / "xlnet"))[1]
    names, named = features_of_texts(texts_spec(tmp_path / "xlnet", layers=["layer.*"]))
    assert names == ("layer.0", "layer.1", "layer.2")
    for found, expected in zip(named, numbered[1:], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    save(tmp_path / "bert", "bert")
    spec = texts_spec(tmp_path / "bert", layers=["encoder.layer.*", "pooler"], random_init=True)
    names, pooled = features_of_texts(spec)
    assert names[-1] == "pooler"
    assert pooled[-1].abs().max() <= 1  # a tanh of the first token
    save(tmp_path / "llama")
    spec = texts_spec(tmp_path / "llama", layers=["rotary_emb"])
    with pytest.raises(ConfigError, match=r"'rotary_emb' gives \(1 x .* neither one state for"):
        features_of_texts(spec)


def features_of_texts(spec: ModelSpec) -> tuple[tuple[str, ...], list[Tensor]]:
    model = open_model(spec, offline=True)
    loaded = model.load("cpu", torch.float32)
    found = loaded.features(Reading(range(len(TEXTS)), Texts()))
    known = model.describe()
    assert known.layers == loaded.layers
    assert known.widths is None or known.widths == tuple(layer.shape[1] for layer in found)
    return loaded.layers, found


def test_modules_of_a_vision_network_of_transformers_by_name(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=32,
        patch_size=16,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    fixed = {"backend": "transformers", "random_init": False}

    def of(**settings: Any) -> tuple[tuple[str, ...], list[Tensor]]:
        return features(make_spec(str(tmp_path), **fixed | settings))

    for pool in ("cls", "mean"):
        _, numbered = of(pool=pool)
        names, named = of(pool=pool, layers=["**.[01]", "layernorm"])
        assert names[-1] == "layernorm"
        torch.testing.assert_close(named[0], numbered[1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(named[-1], numbered[-1], rtol=1e-5, atol=1e-6)
    _, both = of(pools=("cls", "mean"), layers=["layernorm"])
    assert [tuple(layer.shape) for layer in both] == [(NUM_IMAGES, 16)] * 2


class Sounds:
    ids: Sequence[str] = ("a", "b", "c")

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int, /) -> Sound:
        values = np.random.default_rng(i).standard_normal(4000 + 1000 * i)
        return Sound(values.astype(np.float32), 16_000)


def hears(folder: Path, *, norm: str) -> transformers.Wav2Vec2Model:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    front = {"conv_dim": (8, 6), "conv_stride": (5, 4), "conv_kernel": (10, 8)}
    places = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = transformers.Wav2Vec2Config(
        num_hidden_layers=1, feat_extract_norm=norm, **small, **front, **places
    )
    network = transformers.Wav2Vec2Model(config).eval()
    network.save_pretrained(folder)
    masked = norm == "layer"
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=masked).save_pretrained(folder)
    return network


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_convolutions_over_a_sound_have_their_features_second(tmp_path: Path, norm: str) -> None:
    """b d t, at a rate of their own; in a padded batch the mean is of a sound's own frames."""
    network = hears(tmp_path, norm=norm)
    names = [f"feature_extractor.conv_layers.{i}.conv" for i in range(2)]
    asked = {"modality": "audio", "backend": "transformers", "view": "audio", "kind": "audio"}
    asked |= {"random_init": False, "layers": ["feature_extractor.conv_layers.*.conv"]}
    model = open_model(make_spec(str(tmp_path), **asked), offline=True)
    loaded = model.load("cpu", torch.float32)
    found = loaded.features(Reading(range(3), Sounds(), workers=0, batch=3))
    assert loaded.layers == tuple(names)
    assert model.describe().widths in (None, (8, 6))
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    for i, name in enumerate(names):
        of_sounds: list[Tensor] = []
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, into=of_sounds: into.append(output[0].mean(1))
        )
        with torch.no_grad():
            for n in range(3):
                network(
                    **extractor(Sounds()[n].waveform, sampling_rate=16_000, return_tensors="pt")
                )
        torch.testing.assert_close(found[i], torch.stack(of_sounds), rtol=1e-4, atol=1e-5)
    # a module of which nobody says so is as wide as a sound is long
    whole = open_model(
        make_spec(str(tmp_path), **asked | {"layers": ["feature_extractor"]}), offline=True
    )
    with pytest.raises(ConfigError, match=r"features for one sample and .* others than b t d"):
        whole.load("cpu", torch.float32)
