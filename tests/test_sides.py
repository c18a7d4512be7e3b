"""Which part of a network of transformers reads a view, what names it, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from test_any_network import (
    BODY,
    CASES,
    CLIP_SIZE,
    CUT,
    Rows,
    by_hand,
    difference,
    images,
    load,
    make_spec,
    save,
)
from test_language import make_tokenizer

from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError
from platorep.kinds.audio import Sound
from platorep.kinds.video import film_of
from platorep.models import Reading, open_model
from platorep.models.sides import choose_side


def test_what_moves_a_feature_is_in_the_identity(tmp_path: Path) -> None:
    folder = save(tmp_path / "clip", CASES["clip-vision"])
    make_tokenizer().save_pretrained(folder)

    def identity(case: str, **settings: Any) -> dict[str, Any]:
        return open_model(make_spec(folder, CASES[case], **settings), offline=True).identity()

    plain = identity("clip-vision")
    assert plain == identity("clip-vision", side="vision", pool="cls", label="other")
    assert plain["side"] == "vision_model"
    assert "tokenizer.json" not in plain["files"]
    text = identity("clip-text")
    assert "preprocessor_config.json" not in text["files"]
    changed = [text, identity("clip-vision", pool="mean"), identity("clip-vision", layers=(0,))]
    changed += [identity("clip-vision", attention="eager")]
    size = {"shortest_edge": 40}
    hf.CLIPImageProcessor(**(CLIP_SIZE | {"size": size})).save_pretrained(folder)
    assert plain not in [*changed, identity("clip-vision")]


def test_a_random_copy_needs_no_weights(tmp_path: Path) -> None:
    case = CASES["vit"]
    folder, rows = save(tmp_path, case), Rows(images())
    (folder / "model.safetensors").unlink()
    found = load(folder, case, random_init=True, seed=3).features(Reading(range(4), rows))
    torch.manual_seed(3)
    hf.AutoModel.from_config(case.config()).save_pretrained(folder)
    assert difference(found, by_hand(folder, case, "cls")) < 1e-5


def test_only_the_weights_of_the_used_side_need_be_there(tmp_path: Path) -> None:
    case = CASES["clip-vision"]
    folder, rows = save(tmp_path, case), Rows(images())
    make_tokenizer().save_pretrained(folder)
    expected = load(folder, case).features(Reading(range(4), rows))
    file = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if not k.startswith("text_model.encoder")}
    save_file(kept, file, {"format": "pt"})
    assert difference(load(folder, case).features(Reading(range(4), rows)), expected) == 0
    with pytest.raises(IntegrityError, match=r"lack .*'text_model\.encoder"):
        load(folder, CASES["clip-text"])
    save_file({k: v for k, v in kept.items() if "layers.1" not in k}, file, {"format": "pt"})
    with pytest.raises(IntegrityError, match=r"lack .*'vision_model\.encoder\.layers\.1"):
        load(folder, case)


def test_sounds_are_brought_to_the_rate_of_the_model(tmp_path: Path) -> None:
    case = CASES["wav2vec2"]
    tones = [
        Sound(np.sin(np.arange(rate // 4) * 2 * np.pi * 440 / rate).astype(np.float32), rate)
        for rate in (16_000, 48_000)
    ]
    found = load(save(tmp_path, case), case).features(Reading(range(2), Rows(tones)))
    for layer in found:
        assert (layer[0] - layer[1]).norm() < 0.02 * layer[0].norm()


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such side": (
        "clip-vision",
        {"side": "audio"},
        r"no side `audio`. It has text \(text_",
    ),
    "no sides": ("vit", {"side": "vision"}, "ViTModel has no side `vision`. It is whole: leave"),
    "the other side": ("clip-vision", {"side": "text"}, r"does not read .* Use `side: vision`"),
    "another kind": ("clip-vision", {"kind": "video"}, "no view of kind video .*backend: features"),
    "an array": ("vit", {"kind": "array"}, "no view of kind array .*backend: features"),
    "no class token": ("convnext", {"pool": "cls"}, "no class token"),
    "the last token": ("vit", {"pool": "last"}, "no language model.*Use `pool: mean`"),
    "a layer too far": ("vit", {"layers": (7,)}, r"layers \[7\] do not exist. It has 3 layers"),
    "a prompt": ("vit", {"prompt": "a {text}"}, "`prompt` mean nothing"),
    "a decoder of sounds": ("whisper", {"side": "language"}, "no side `language`. It has audio"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_to_be_had_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    case, settings, told = REFUSED[name]
    folder = save(tmp_path, CASES[case])
    with pytest.raises(ConfigError, match=told):
        load(folder, CASES[case], **settings)


def test_several_sides_of_one_kind_are_listed(tmp_path: Path) -> None:
    config = hf.Blip2Config(
        vision_config=BODY | CUT,
        qformer_config=BODY | {"vocab_size": 60, "encoder_hidden_size": 16},
        text_config=hf.OPTConfig(
            **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
            **{"ffn_dim": 16, "vocab_size": 60, "word_embed_proj_dim": 16},
        ).to_dict(),
    )
    torch.manual_seed(0)
    network = hf.Blip2Model(config)
    network.other_eyes = hf.Blip2VisionModel(config.vision_config)
    told = r"several sides of Blip2Model .* kind image: vision \(vision_model, .*other_eyes"
    with pytest.raises(ConfigError, match=told):
        choose_side(network, make_spec(tmp_path, CASES["vit"]))


def test_a_folder_without_a_processor_says_what_is_expected(tmp_path: Path) -> None:
    folder = save(tmp_path, CASES["vit"])
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(AbsentError, match=r"kind image is prepared.*processor\.save_pretrained"):
        load(folder, CASES["vit"])


def test_samples_that_a_model_cannot_read_name_their_row(tmp_path: Path) -> None:
    long = Sound(np.random.default_rng(0).standard_normal(17_000).astype(np.float32), 16_000)
    short = film_of(np.zeros((3, 40, 40, 3), np.uint8), 10.0)
    told = {"whisper": (long, r"1\.06 s.* reads 1\.00 s"), "videomae": (short, "has 3 frames")}
    for name, (sample, message) in told.items():
        case = CASES[name]
        loaded = load(save(tmp_path / name, case), case)
        with pytest.raises(DataError, match=f"row 'row-1': .*{message}"):
            loaded.features(Reading(range(2), Rows([case.samples()[0], sample]), workers=0))
