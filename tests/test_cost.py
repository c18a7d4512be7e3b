"""The cost of a forward pass: counted without weights, against numbers worked by hand."""

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from platorep.config import ModelSpec
from platorep.models import open_model
from platorep.models.cost import count_flops, products_per_second


def test_one_layer_by_hand() -> None:
    with torch.device("meta"):
        layer = nn.Linear(5, 7)
    x = torch.zeros(3, 5, device="meta")

    assert count_flops(lambda: layer(x)) == 2 * 3 * 5 * 7


def test_what_cannot_run_without_numbers_is_unknown() -> None:
    assert count_flops(lambda: float(torch.zeros(1, device="meta").sum())) is None


@pytest.mark.parametrize(
    ("name", "giga_multiplications"),  # as timm's own table of results states them
    [("vit_base_patch16_224", 17.58), ("mobilenetv2_100", 0.31), ("convnext_tiny", 4.47)],
)
def test_vision_networks_cost_what_timm_states(name: str, giga_multiplications: float) -> None:
    spec = ModelSpec(
        name=name, label=name, family="f", modality="vision", backend="timm", random_init=True
    )

    flops = open_model(spec, offline=True).flops()

    assert flops == pytest.approx(2e9 * giga_multiplications, rel=0.05)


def test_a_llama_costs_two_operations_per_weight_and_token(tmp_path: Path) -> None:
    """But for the embedding, which is looked up, and attention, which short texts hardly feel."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, vocab_size=1000)
    config.save_pretrained(tmp_path)
    spec = ModelSpec(
        name=str(tmp_path),
        label="llama",
        family="f",
        modality="language",
        backend="transformers",
        random_init=True,
    )

    flops = open_model(spec, offline=True).flops()

    weights = 3 * (4 * 256**2 + 3 * 256 * 512)
    attention = 3 * 2 * 32 * 256  # two products of every token with all 32
    assert flops == pytest.approx(2 * (weights + attention), rel=0.01)


def test_products_run_at_a_speed() -> None:
    slow = products_per_second(torch.device("cpu"), torch.float64, size=64)

    assert 1e6 < slow < 1e15
