"""PEFT adapters: named in the key and applied where asked for, and nowhere else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from test_language import TEXTS, Texts, extract, make_spec, save

from platorep.config import FamilyConfig, ModelConfig
from platorep.config.experiment import random_copies
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.models import Reading, adapters, open_model
from platorep.performance.causal import open_causal
from platorep.performance.causal_bits import weights_identity

RANK, ALPHA = 2, 6
TARGET = "layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama")


def write_adapter(folder: Path, seed: int = 0, **tensors: torch.Tensor) -> Path:
    """A LoRA of one projection, as peft writes it: B A is added, times alpha over rank."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": ["q_proj"],
        "layers_to_transform": [1],
        "layers_pattern": "layers",
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(about))
    rng = torch.Generator().manual_seed(seed)
    own = {
        f"base_model.model.model.{TARGET}.lora_{part}.weight": torch.randn(shape, generator=rng)
        for part, shape in (("A", (RANK, 16)), ("B", (16, RANK)))
    }
    save_file(own | tensors, folder / "adapter_model.safetensors")
    return folder


def merged_by_hand(llama: Path, adapter: Path, folder: Path) -> Path:
    """The checkpoint with the sum written into its weights: no code of peft."""
    shutil.copytree(llama, folder)
    weights = load_file(folder / "model.safetensors")
    a, b = (
        load_file(adapter / "adapter_model.safetensors")[
            f"base_model.model.model.{TARGET}.lora_{part}.weight"
        ]
        for part in "AB"
    )
    weights[f"model.{TARGET}.weight"] += ALPHA / RANK * (b @ a)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def identity(name: Path, **settings: Any) -> dict[str, Any]:
    return open_model(make_spec(name, **settings), offline=True).identity()


def test_it_is_in_the_keys_of_features_and_of_bits(llama: Path, tmp_path: Path) -> None:
    one, other = (write_adapter(tmp_path / str(seed), seed) for seed in (0, 1))
    for of in (
        identity,
        lambda name, **set_: weights_identity(identity(name, **set_), make_spec(name, **set_)),
    ):
        plain = of(llama)
        assert "adapter" not in plain  # as before there were any
        with_one = of(llama, adapter=str(one))
        assert with_one | {"adapter": None} == plain | {"adapter": None}
        assert of(llama, adapter=str(other)) != with_one
        moved = Path(shutil.copytree(one, tmp_path / f"moved-{len(list(tmp_path.iterdir()))}"))
        assert of(llama, adapter=str(moved)) == with_one


def test_one_beside_the_weights_is_refused_by_every_command(llama: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(llama, tmp_path / "both"))
    write_adapter(both)
    model = open_model(make_spec(both), offline=True)
    for ask in (model.identity, model.download, lambda: model.load("cpu", torch.float32)):
        with pytest.raises(ConfigError, match="folder of their own"):
            ask()
    assert "folder of their own" in model.describe().unknown[0]
    with pytest.raises(ConfigError, match="folder of their own"):
        open_causal(make_spec(both), offline=True).why_none()
    identity(both, random_init=True)  # reads no weights


def test_an_adapter_is_no_model_and_a_model_no_adapter(llama: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    with pytest.raises(AbsentError, match="this as its `adapter`"):
        identity(adapter)
    with pytest.raises(AbsentError, match="is no adapter"):
        identity(llama, adapter=str(llama))


def test_without_the_package_it_is_not_left_out_in_silence(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    adapter = str(write_adapter(tmp_path / "adapter"))
    with pytest.raises(AbsentError, match="pip install peft"):
        open_model(make_spec(llama, adapter=adapter), offline=True).load("cpu", torch.float32)


def test_random_weights_have_none(llama: Path, tmp_path: Path) -> None:
    adapter = str(write_adapter(tmp_path / "adapter"))
    with pytest.raises(ConfigError, match="adapter"):
        open_model(make_spec(llama, adapter=adapter, random_init=True), offline=True)
    (copy,) = random_copies([make_spec(llama, adapter=adapter)], 0)
    open_model(copy, offline=True)


def test_a_path_in_a_file_is_one_beside_the_file(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter")
    entry = ModelConfig.model_validate(
        {"name": "m", "adapter": "adapter"}, context={"folder": tmp_path}
    )
    assert entry.adapter == str(tmp_path / "adapter")
    assert "adapter" in FamilyConfig.model_fields


class TestWithPeft:
    """What peft does with it; the oracle is the sum of the matrices."""

    @pytest.fixture(autouse=True)
    def _peft(self) -> None:
        pytest.importorskip("peft")

    @pytest.mark.parametrize("name", ["llama", "bert"])
    def test_features_are_those_of_the_summed_weights(self, name: str, tmp_path: Path) -> None:
        if name == "bert":
            base = save(tmp_path / "bert", "bert")
            about = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"}
            (tmp_path / "adapter").mkdir()
            (tmp_path / "adapter" / "adapter_config.json").write_text(
                json.dumps(about | {"target_modules": ["query"]})
            )
            rng = torch.Generator().manual_seed(0)
            weights = load_file(base / "model.safetensors")
            own = {}
            for key in [key for key in weights if key.endswith("query.weight")]:
                a, b = (torch.randn(s, generator=rng) for s in ((RANK, 16), (16, RANK)))
                stem = f"base_model.model.{key.removesuffix('.weight')}"
                own |= {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
                weights[key] += ALPHA / RANK * (b @ a)
            save_file(own, tmp_path / "adapter" / "adapter_model.safetensors")
            merged = Path(shutil.copytree(base, tmp_path / "merged"))
            save_file(weights, merged / "model.safetensors", {"format": "pt"})
        else:
            base = save(tmp_path / "llama")
            write_adapter(tmp_path / "adapter")
            merged = merged_by_hand(base, tmp_path / "adapter", tmp_path / "merged")
        found = extract(base, adapter=str(tmp_path / "adapter"))
        expected, plain = extract(merged), extract(base)
        for layer, right in zip(found, expected, strict=True):
            torch.testing.assert_close(layer, right, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found[-1], plain[-1], atol=1e-2)

    def test_so_is_what_bits_per_byte_sees(self, llama: Path, tmp_path: Path) -> None:
        adapter = write_adapter(tmp_path / "adapter")
        merged = merged_by_hand(llama, adapter, tmp_path / "merged")

        def logits(name: Path, **settings: Any) -> torch.Tensor:
            model = open_causal(make_spec(name, **settings), offline=True)
            loaded = model.load("cpu", torch.float32)
            tokens = loaded.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                found: torch.Tensor = loaded.network(tokens).logits
            return found

        found = logits(llama, adapter=str(adapter))
        torch.testing.assert_close(found, logits(merged), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found, logits(llama), atol=1e-2)

    def test_one_for_another_model_is_refused(self, llama: Path, tmp_path: Path) -> None:
        write_adapter(tmp_path / "more", **{"base_model.model.other.lora_A.weight": torch.ones(1)})
        write_adapter(tmp_path / "less")
        weights = load_file(tmp_path / "less" / "adapter_model.safetensors")
        kept = {key: value for key, value in weights.items() if "lora_A" in key}
        save_file(kept, tmp_path / "less" / "adapter_model.safetensors")
        for name in ("more", "less"):
            spec = make_spec(llama, adapter=str(tmp_path / name))
            with pytest.raises(IntegrityError, match="does not fit"):
                open_model(spec, offline=True).load("cpu", torch.float32)

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_one_that_is_no_change_of_weights_is_refused(self, llama: Path, tmp_path: Path) -> None:
        import peft

        network = transformers.AutoModelForCausalLM.from_pretrained(llama)
        prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
        peft.get_peft_model(network, prompt).save_pretrained(tmp_path / "prompt")
        spec = make_spec(llama, adapter=str(tmp_path / "prompt"))
        with pytest.raises(ConfigError, match="no change of weights"):
            open_model(spec, offline=True).load("cpu", torch.float32)

    def test_the_texts_are_read_as_before(self, llama: Path, tmp_path: Path) -> None:
        spec = make_spec(llama, adapter=str(write_adapter(tmp_path / "adapter")))
        loaded = open_model(spec, offline=True).load("cpu", torch.float32)
        assert len(loaded.features(Reading(range(2), Texts()))) == 4
