"""What a model is asked before its numbers are trusted: no feature may depend on its batch.

Axes: n texts or images, b samples of a batch, d features.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from test_language import SHAPE, SIZE, Texts, make_spec, save, save_random
from test_language import same as same_features
from test_switches import SWITCHES
from test_vision import NUM_IMAGES, Images
from test_vision import make_spec as make_vision_spec
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from platorep.models import Reading, open_model
from platorep.models.blocks import PooledBlocks
from platorep.models.memory import Batches, Batching
from platorep.models.probing import probe_batches, tolerance
from platorep.models.vision import LoadedVisionModel

READ_PADDING: dict[str, Any] = {
    "fnet": transformers.FNetConfig(**SHAPE, **SIZE),
    "yoso": transformers.YosoConfig(**SHAPE, **SIZE),
    "convbert": transformers.ConvBertConfig(embedding_size=16, **SHAPE, **SIZE),
}


def load(folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    return open_model(make_spec(folder, **settings), offline=True).load("cpu", dtype)


@pytest.mark.parametrize("name", READ_PADDING)
def test_a_network_that_reads_padding_sees_none(name: str, tmp_path: Path) -> None:
    folder = save_random(tmp_path, transformers.AutoModelForMaskedLM, READ_PADDING[name])
    loaded = load(folder)
    alone = loaded.features(Reading(range(8), Texts(), batch=1))
    assert same_features(loaded.features(Reading(range(8), Texts(), batch="auto")), alone)
    assert loaded.batching is Batching.EQUAL_LENGTH
    (note,) = loaded.notes
    assert "texts were batched by equal length" in note

    loaded.batching, loaded._batches = Batching.ANY, None  # as it would without the probe
    assert not same_features(loaded.features(Reading(range(8), Texts(), batch="auto")), alone, 0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["llama", "gemma", "mixtral", "bloom", "bert", "t5"])
def test_rounding_is_no_dependence(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    assert load(save(tmp_path, name), dtype).batching is Batching.ANY


def test_low_precision_hides_no_padding(tmp_path: Path) -> None:
    folder = save_random(tmp_path, transformers.AutoModelForMaskedLM, READ_PADDING["yoso"])
    for dtype in (torch.bfloat16, torch.float16):
        assert load(folder, dtype).batching is Batching.EQUAL_LENGTH


# One table of networks that are functions of a batch of token lists: each sample is a list.


def padded(batch: Sequence[Sequence[float]]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(s) for s in batch], batch_first=True)


def of_the_row(batch: Sequence[Sequence[float]]) -> list[Tensor]:
    return [torch.tensor([[sum(s), max(s)] for s in batch])]


def of_the_padded_row(batch: Sequence[Sequence[float]]) -> list[Tensor]:
    return [*of_the_row(batch), padded(batch).mean(dim=1, keepdim=True)]


def of_the_batch(batch: Sequence[Sequence[float]]) -> list[Tensor]:
    sums = of_the_row(batch)[0]
    return [sums - sums.mean(dim=0) / 2]


def of_chance(batch: Sequence[Sequence[float]]) -> list[Tensor]:
    return [torch.rand(len(batch), 3)]


def of_nothing(batch: Sequence[Sequence[float]]) -> list[Tensor]:
    return [torch.full((len(batch), 2), torch.nan)]


@pytest.mark.parametrize(
    ("features", "batching", "repeats"),
    [
        (of_the_row, Batching.ANY, True),
        (of_the_padded_row, Batching.EQUAL_LENGTH, True),
        (of_the_batch, Batching.ONE_BY_ONE, True),
        (of_chance, Batching.ONE_BY_ONE, False),
        (of_nothing, Batching.ANY, True),  # its shards are refused, which says more
    ],
)
def test_what_a_network_depends_on(features: Any, batching: Batching, repeats: bool) -> None:
    texts = [3.0, 1.0], [2.0, 5.0], [4.0, 1.0, 6.0]
    found = probe_batches(features, *texts, torch.float32)
    assert (found.batching, found.repeats) == (batching, repeats)
    assert bool(found.notes("texts")) == (batching is not Batching.ANY)
    images = probe_batches(features, *texts[:2], None, torch.float32)
    assert images.batching is (Batching.ANY if batching is Batching.EQUAL_LENGTH else batching)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_tolerance_is_half_the_digits(dtype: torch.dtype) -> None:
    def moved(by: float, batch: Sequence[Sequence[float]]) -> list[Tensor]:
        return [torch.ones(len(batch), 1), torch.full((len(batch), 4), 1 + by * (len(batch) - 1))]

    texts = [1.0], [1.0], [1.0, 2.0]
    half = {torch.float32: 3.5e-4, torch.bfloat16: 0.0884, torch.float16: 0.0313}[dtype]
    assert tolerance(dtype) == pytest.approx(half, rel=0.02)
    for by, batching in ((0.9, Batching.ANY), (1.1, Batching.ONE_BY_ONE)):
        found = probe_batches(partial(moved, by * half), *texts, dtype)
        assert found.batching is batching


@pytest.mark.parametrize(
    ("batching", "expected"),
    [
        (Batching.ANY, [(0, 2), (2, 5), (5, 6)]),
        (Batching.EQUAL_LENGTH, [(0, 1), (1, 2), (2, 4), (4, 5), (5, 6)]),
        (Batching.ONE_BY_ONE, [(i, i + 1) for i in range(6)]),
    ],
)
def test_batches(batching: Batching, expected: list[tuple[int, int]]) -> None:
    steps: list[tuple[int, int]] = []
    batches = Batches(10, batching)
    batches.run([5, 4, 3, 3, 2, 1], lambda start, stop: steps.append((start, stop)), "tokens")
    assert steps == expected


class BatchStatistics(nn.BatchNorm2d):
    """Normalises by the batch that it sees, though it is told to evaluate."""

    def __init__(self, channels: int, **_: Any) -> None:
        super().__init__(channels, track_running_stats=False)


def test_an_image_network_that_mixes_its_batch_sees_one_image_at_a_time() -> None:
    def load(**settings: Any) -> LoadedVisionModel:
        network = timm.create_model("test_resnet", num_classes=0, **settings).eval()
        transform = create_transform(**resolve_data_config({}, model=network))
        return LoadedVisionModel(
            PooledBlocks(network, (3, 160, 160), ["mean"], (0, 3)), transform, ()
        )

    plain, mixing = load(), load(norm_layer=BatchStatistics)
    assert (plain.batching, plain.notes) == (Batching.ANY, ())
    assert mixing.batching is Batching.ONE_BY_ONE
    (note,) = mixing.notes
    assert "images were run alone" in note
    found = mixing.features(Reading(range(NUM_IMAGES), Images(), batch=4, workers=0))
    alone = [mixing.features(Reading([i], Images(), batch=1, workers=0)) for i in range(NUM_IMAGES)]
    assert same_features(found, [torch.cat(layer) for layer in zip(*alone, strict=True)])


# No switch of the process moves a feature.


@pytest.mark.parametrize("switch", [switch for switch in SWITCHES if "errors" not in switch])
def test_a_switch_moves_no_feature(switch: str, tmp_path: Path) -> None:
    def features() -> list[Tensor]:
        language = load(folder, random_init=True).features(Reading(range(3), Texts()))
        vision = open_model(make_vision_spec("test_vit", random_init=True), offline=True)
        loaded = vision.load("cpu", torch.float32)
        return language + loaded.features(Reading([1], Images(), workers=0))

    folder = save(tmp_path)
    plain = features()
    with SWITCHES[switch]():
        found = features()
    assert all(layer.dtype == torch.float32 and layer.device.type == "cpu" for layer in found)
    assert all(map(torch.equal, found, plain))
