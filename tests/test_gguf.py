"""GGUF files: the same weights as safetensors, through the same tokens."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.models import Reading, open_model
from platorep.performance.causal import CausalModel

gguf = pytest.importorskip("gguf", reason="GGUF files are written with the package gguf")

TEXTS = ("a dog", "the dog runs over the snow", "x")
TOKENS = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "do", "dog"]
MERGES = [("d", "o"), ("do", "g")]
SHAPE = {
    **{"vocab_size": len(TOKENS), "hidden_size": 16, "intermediate_size": 24},
    **{"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
    **{"max_position_embeddings": 40, "initializer_range": 0.3, "tie_word_embeddings": False},
    **{"bos_token_id": 0, "eos_token_id": 1},
}


class Texts:
    ids = tuple(f"row-{i}" for i in range(len(TEXTS)))

    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, i: int, /) -> str:
        return TEXTS[i]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network as `plain/` and as `model.gguf`."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    network.save_pretrained(folder / "plain")
    vocabulary = {token: i for i, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder / "plain")
    write_gguf(folder / "model.gguf", network)
    return folder


def write_gguf(file: Path, network: Any) -> None:
    """As llama.cpp's converter writes a Llama: queries and keys with their rotated halves woven."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(SHAPE["num_attention_heads"])
    writer.add_head_count_kv(SHAPE["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(network.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(TOKENS)
    writer.add_token_merges([" ".join(merge) for merge in MERGES])
    writer.add_token_types([3, 3] + [1] * (len(TOKENS) - 2))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, SHAPE["num_hidden_layers"])
    for name, tensor in network.state_dict().items():
        weights = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:
            heads = SHAPE["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            woven = weights.reshape(heads, 2, -1, weights.shape[1]).swapaxes(1, 2)
            weights = np.ascontiguousarray(woven.reshape(weights.shape))
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_spec(name: Path, **settings: Any) -> ModelSpec:
    fixed = {"label": "tiny", "family": "f", "modality": "language", "backend": "transformers"}
    return ModelSpec.model_validate(
        {"name": str(name), "view": "text", "kind": "text"} | fixed | settings
    )


def features(spec: ModelSpec) -> list[Tensor]:
    loaded = open_model(spec, offline=True).load("cpu", torch.float32)
    return loaded.features(Reading(range(len(TEXTS)), Texts()))


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_a_gguf_file_is_the_model_that_it_was_made_from(pool: str, made: Path) -> None:
    found = features(make_spec(made / "model.gguf", pool=pool))
    expected = features(make_spec(made / "plain", pool=pool))
    assert len(found) == 3
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


def test_what_is_known_of_it(made: Path) -> None:
    model = open_model(make_spec(made / "model.gguf"), offline=True)
    plain = open_model(make_spec(made / "plain"), offline=True)
    known = model.describe()
    assert known.layers == plain.describe().layers
    assert known.parameters == plain.describe().parameters
    assert known.weight_bytes == (made / "model.gguf").stat().st_size
    files = model.identity()["files"]
    assert list(files) == ["model.gguf"]
    assert files != plain.identity()["files"]
    random = features(make_spec(made / "model.gguf", random_init=True))
    assert not torch.allclose(random[-1], features(make_spec(made / "model.gguf"))[-1])


def test_it_predicts_text_as_the_other_does(made: Path) -> None:
    losses = []
    tokens = torch.tensor([[0, 5, 9, 200, 33]])
    for name in ("model.gguf", "plain"):
        model = CausalModel(make_spec(made / name), offline=True)
        network = model.load("cpu", torch.float32).network
        with torch.no_grad():
            losses.append(float(network(tokens, labels=tokens).loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_is_no_gguf_file(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGML or so")
    with pytest.raises(ConfigError, match=r"x\.gguf is no GGUF file: it begins with b'GGML'"):
        features(make_spec(tmp_path / "x.gguf"))
    with pytest.raises(AbsentError, match=r"no file .*y\.gguf\. From the hub: `hf download"):
        features(make_spec(tmp_path / "y.gguf"))
    with pytest.raises(ConfigError, match="`revision` means nothing"):
        features(make_spec(made / "model.gguf", revision="v1"))
    whole = (made / "model.gguf").read_bytes()
    for length in (3000, len(whole) - 100):
        (tmp_path / "z.gguf").write_bytes(whole[:length])
        with pytest.raises((ConfigError, IntegrityError), match=r"z\.gguf"):
            features(make_spec(tmp_path / "z.gguf"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(AbsentError, match=r"pip install 'platorep\[gguf\]'") as caught:
        features(make_spec(made / "model.gguf"))
    assert caught.value.exit_code == 4
