"""What only a GPU shows: real memory that runs out, bfloat16, and searches of its own size.

`test_devices.py` asks it for the same numbers as the CPU.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_language
import test_vision
import torch
import transformers
from test_devices import same_lists
from torch import Tensor

from platorep.errors import AbsentError
from platorep.metrics import Layer
from platorep.metrics.nearest import search
from platorep.models import Reading, compute_dtype, environment, open_model, resolve_device
from platorep.models.base import Loaded
from platorep.switches import default_switches

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)
LEFT = 192 << 20
"""Bytes that are left of the card's memory where it is to run out."""


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest, in units of the layer's largest value."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.fixture
def full() -> Iterator[Any]:
    """Fills the card but for LEFT when it is called."""
    held: list[Tensor] = []

    def fill() -> None:
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(GPU)
        held.append(torch.empty(free - LEFT, dtype=torch.uint8, device=GPU))

    yield fill
    held.clear()
    torch.cuda.empty_cache()


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A small Llama whose batches are large: half a megabyte of its middle layers per token."""
    wide = {"hidden_size": 64, "intermediate_size": 1 << 16, "max_position_embeddings": 4096}
    config = transformers.LlamaConfig(**test_language.SHAPE | wide, **test_language.SIZE)
    return test_language.save_random(tmp_path, transformers.AutoModelForCausalLM, config)


def load(spec: Any) -> Loaded:
    return open_model(spec, offline=True).load(GPU, torch.float32)


def test_memory_that_runs_out_halves_the_batch_of_texts(wide: Path, full: Any) -> None:
    loaded = load(test_language.make_spec(wide))
    texts = test_language.Texts(test_language.TEXTS * 64)
    reading = Reading(range(len(texts)), texts)
    expected = loaded.features(reading)
    assert loaded._batches is not None
    before = loaded._batches[2].budget
    full()
    assert difference(loaded.features(reading), expected) < 1e-5
    assert loaded._batches[2].budget < before / 4
    one = test_language.Texts([" ".join(["dog"] * 2000)])  # a gigabyte
    with pytest.raises(AbsentError, match="GPU memory ran out with a single sample"):
        loaded.features(Reading([0], one))
    assert difference(loaded.features(reading), expected) < 1e-5  # it goes on


def test_memory_that_runs_out_halves_the_batch_of_images(full: Any) -> None:
    loaded = load(test_vision.make_spec("vit_tiny_patch16_224", random_init=True))
    images = test_vision.Images([f"row-{i}" for i in range(512)])
    reading = Reading(range(512), images, batch=512, workers=2)
    try:
        expected = loaded.features(reading)
        assert loaded._batches is not None
        full()
        assert difference(loaded.features(reading), expected) < 1e-5
        assert loaded._batches[2].budget < 512
    finally:
        loaded.close()


def test_bfloat16_is_the_choice_for_texts(tmp_path: Path) -> None:
    assert resolve_device("auto").type == "cuda"
    spec = test_language.make_spec(test_language.save(tmp_path))
    assert compute_dtype(spec, "auto", resolve_device("auto")) == "bfloat16"
    reading = Reading(range(8), test_language.Texts())
    model = open_model(spec, offline=True)
    expected = model.load("cpu", torch.float32).features(reading)
    for dtype in (torch.bfloat16, torch.float16):
        assert 1e-5 < difference(model.load(GPU, dtype).features(reading), expected) < 0.05


def test_device_names() -> None:
    assert resolve_device("cuda:0") == GPU
    assert torch.cuda.get_device_name(0) in environment(resolve_device("cuda"))["device"]
    with pytest.raises(AbsentError, match=r"--device cuda:99 is not there"):
        resolve_device("cuda:99")


def test_float32_means_float32() -> None:
    """Also where the process has switched to products of 10 bits."""
    rng = torch.Generator(GPU).manual_seed(0)
    x = torch.randn(512, 2048, generator=rng, device=GPU)
    torch.set_float32_matmul_precision("high")
    try:
        with default_switches():
            found = x @ x.T
        fast = x @ x.T
    finally:
        torch.set_float32_matmul_precision("highest")
    exact = x.double() @ x.double().T
    assert float((found - exact).abs().max()) < 2e-3 < float((fast - exact).abs().max())


@pytest.mark.parametrize(  # by the Gram matrix; in blocks; in few digits
    ("n", "d"), [(2000, 48), (9000, 48), (20000, 48), (20000, 1000)]
)
@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "inner_product"])
def test_neighbors_are_those_of_the_cpu_to_the_bit(n: int, d: int, similarity: str) -> None:
    rng = torch.Generator().manual_seed(n)
    rows = torch.randn(n, d, generator=rng)
    rows[100:400] = rows[:300] + 1e-7 * torch.randn(300, d, generator=rng)  # near copies
    rows[500:520] = rows[0].clone()
    here, there = (search(Layer(rows.to(place)), similarity, center=True) for place in ("cpu", GPU))
    for k in (50, 10, 1):
        one, other = here.nearest(k), there.nearest(k)
        assert one.ties is not None or k == 50  # there are 21 copies
        assert same_lists(one, other), np.argwhere(one.neighbors != other.neighbors)[:5]
