"""Tokenizers of files with names of their own: fetched from a hub, and part of a folder's key."""

import io
import json
from pathlib import Path

import pytest
import sentencepiece
import torch
import transformers
from hub_server import Hub
from test_language import SHAPE, SIZE, Texts, make_spec, save
from test_models_hub import hub  # noqa: F401  a fixture

from platorep.errors import AbsentError
from platorep.models import Reading, open_model
from platorep.models.sources import open_source

SENTENCES = ("two children play", "a dog runs", "snow")


def bertweet(folder: Path) -> Path:
    """As vinai/bertweet-base is laid out: no tokenizer.json, no tokenizer_config.json."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("a 10\ndog 9\nd@@ 3\nog 3\nsn@@ 2\now 2\n")
    (folder / "bpe.codes").write_text("d o 10\ndo g</w> 9\n")
    config = transformers.RobertaConfig(**SHAPE, **SIZE, tokenizer_class="BertweetTokenizer")
    torch.manual_seed(0)
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def marian(folder: Path) -> Path:
    folder.mkdir()
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 9),
        model_writer=pieces,
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(pieces.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces.getvalue())
    vocabulary = {processor.id_to_piece(i): i for i in range(processor.get_piece_size())}
    pad = vocabulary["<pad>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    parts = {
        f"{part}_{what}": value
        for part in ("encoder", "decoder")
        for what, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))
    }
    special = {"pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": 2}
    config = transformers.MarianConfig(
        d_model=16, vocab_size=len(vocabulary), max_position_embeddings=40, **parts, **special
    )
    torch.manual_seed(0)
    transformers.MarianMTModel(config).save_pretrained(folder)
    return folder


MODELS = {"bertweet": (bertweet, {"bpe.codes"}), "marian": (marian, {"source.spm", "target.spm"})}
pytestmark = pytest.mark.filterwarnings("ignore:.*sacremoses")


def features(name: str | Path) -> list[torch.Tensor]:
    loaded = open_model(make_spec(name), offline=False).load("cpu", torch.float32)
    return loaded.features(Reading(range(3), Texts(SENTENCES)))


@pytest.mark.parametrize("name", MODELS)
def test_from_the_hub_as_from_a_folder(name: str, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    make, _ = MODELS[name]
    folder = make(tmp_path / "model")
    hub.commit("org/m", "main", {path.name: path.read_bytes() for path in folder.iterdir()})
    for found, expected in zip(features("org/m"), features(folder), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_every_file_of_the_tokenizer_is_in_the_key(name: str, tmp_path: Path) -> None:
    make, own = MODELS[name]
    folder = make(tmp_path / "model")
    files = set(open_model(make_spec(folder), offline=True).identity()["files"])
    assert own <= files
    (folder / "README.md").write_text("moves nothing")
    assert set(open_model(make_spec(folder), offline=True).identity()["files"]) == files


OWN_CODE = """
from transformers import GPT2Tokenizer


class OwnTokenizer(GPT2Tokenizer):
    vocab_files_names = {"words_file": "own.words"}
"""


@pytest.mark.parametrize("auto_map", [["own.OwnTokenizer", None], [None, "own.OwnTokenizer"]])
def test_a_class_of_the_repository_is_asked_if_its_code_may_run(
    auto_map: list[str | None], tmp_path: Path
) -> None:
    folder = save(tmp_path / "model")
    (folder / "own.py").write_text(OWN_CODE)
    (folder / "own.words").write_text("snow")
    about = json.loads((folder / "tokenizer_config.json").read_text())
    about["auto_map"] = {"AutoTokenizer": auto_map}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    for trusted in (True, False):
        spec = make_spec(folder, trust_remote_code=trusted)
        files = open_source(spec, offline=True).identity(weights=True)["files"]
        assert ("own.words" in files, "own.py" in files) == (trusted, trusted)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_ordinary_models_keep_their_key(name: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", name)
    (folder / "generation_config.json").touch()
    files = open_source(make_spec(folder), offline=True).identity(weights=True)["files"]
    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(files) == expected


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = bertweet(tmp_path / "model")
    (folder / "bpe.codes").unlink()
    with pytest.raises(AbsentError, match=r"a file of it seems to be missing.*vocab\.txt"):
        features(folder)


def test_sinusoids_that_are_not_saved_are_computed(tmp_path: Path) -> None:
    """`save_pretrained` leaves them out; the oracle is the network that was saved."""
    folder = marian(tmp_path / "model")
    torch.manual_seed(0)
    network = transformers.MarianMTModel(transformers.AutoConfig.from_pretrained(folder)).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(SENTENCES[0], return_tensors="pt")
    with torch.inference_mode():
        states = network.get_encoder()(**tokens, output_hidden_states=True).hidden_states
    for found, expected in zip(features(folder), states, strict=True):
        assert torch.allclose(found[0], expected[0].mean(0), atol=1e-6)
