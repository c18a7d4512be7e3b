"""Models that read no texts alone: a sentence says what they read and what to do."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from test_language import SIZE, Texts, extract, make_spec, make_tokenizer, same

from platorep.errors import ConfigError
from platorep.models import open_model

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
IMAGES = {"image_size": 32, "patch_size": 16}
PERCEIVER = {
    **{"num_latents": 4, "d_latents": 16, "d_model": 16, "num_self_attends_per_block": 1},
    **{"num_self_attention_heads": 2, "num_cross_attention_heads": 2},
}
WHISPER = {
    **{"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 60},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 1},
    **{"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_source_positions": 20},
}
OTHERS: dict[str, tuple[Any, str]] = {
    "vilt": (transformers.ViltConfig(**SHAPE, **IMAGES, vocab_size=60), "text and image at once"),
    "vit": (transformers.ViTConfig(**SHAPE, **IMAGES), "ViTModel reads image, and no view of kind"),
    "videomae": (transformers.VideoMAEConfig(**SHAPE, **IMAGES), "Model reads video, and no view"),
    "whisper": (
        transformers.WhisperConfig(**WHISPER),
        r"reads audio \(encoder, reads audio",
    ),
    "wav2vec2": (
        transformers.Wav2Vec2Config(**SHAPE, conv_dim=(8,) * 7, num_conv_pos_embeddings=4),
        "Wav2Vec2Model reads audio, and no view of kind text",
    ),
    "perceiver": (transformers.PerceiverConfig(**PERCEIVER), "reads other inputs, and no view of"),
}


def save(folder: Path, config: Any) -> Path:
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", OTHERS)
def test_what_reads_no_text_alone_says_what_it_reads(name: str, tmp_path: Path) -> None:
    config, reads = OTHERS[name]
    folder = save(tmp_path, config)
    with pytest.raises(ConfigError, match=reads) as error:
        extract(folder)
    assert "backend: features" in str(error.value)
    (planned,) = open_model(make_spec(folder), offline=True).describe().unknown
    assert re.search(reads, planned)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=reads):  # before any weight is fetched
        extract(folder)


def test_a_text_side_equals_that_side_in_a_folder_of_its_own(tmp_path: Path) -> None:
    config = transformers.CLIPConfig(text_config=SHAPE | SIZE, vision_config=SHAPE | IMAGES)
    folder = save(tmp_path / "both", config)
    side = transformers.CLIPTextModel.from_pretrained(folder)
    side.save_pretrained(tmp_path / "text")
    make_tokenizer().save_pretrained(tmp_path / "text")
    assert same(extract(folder), extract(tmp_path / "text"), 0)
    both, alone = (
        open_model(make_spec(path), offline=True).identity() for path in (folder, tmp_path / "text")
    )
    assert both["side"] == "text_model"
    assert "side" not in alone  # a folder of one side has the key that it had


def test_hidden_states_of_fewer_places_than_tokens_are_not_pooled(tmp_path: Path) -> None:
    config = transformers.CanineConfig(**SHAPE, max_position_embeddings=64, num_hash_buckets=32)
    folder = save(tmp_path, config)
    with pytest.raises(ConfigError, match=r"hidden states \[2, 3, 4\] of CanineModel do not have"):
        extract(folder)
    found = extract(folder, Texts(["a dog runs over the grass"]), layers=(0, 1, -1))
    tokens = make_tokenizer()("a dog runs over the grass", return_tensors="pt")["input_ids"]
    network = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = network(input_ids=tokens, output_hidden_states=True).hidden_states
    assert same(found, [states[i][0].mean(0)[None] for i in (0, 1, -1)])


def test_a_text_model_with_parts_of_its_own_is_read(tmp_path: Path) -> None:
    """Gemma 3 sees images too, and needs none."""
    text = SHAPE | SIZE | {"head_dim": 8, "num_key_value_heads": 1}
    config = transformers.Gemma3Config(
        text_config=text, vision_config=SHAPE | IMAGES, mm_tokens_per_image=4
    )
    folder = save(tmp_path, config)
    assert len(extract(folder)) == 3


def test_a_precision_that_the_network_does_not_have(tmp_path: Path) -> None:
    """FNet's Fourier transform knows no bfloat16."""
    config = transformers.FNetConfig(**SHAPE, **SIZE)
    model = open_model(make_spec(save(tmp_path, config)), offline=True)
    with pytest.raises(ConfigError, match=r"BFloat16.*dtype: float32"):
        model.load("cpu", torch.bfloat16)
