"""Folders of sentence-transformers: the last layer is what `encode` returns.

Axes: n texts, t tokens, d features.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from test_language import TEXTS, Texts, save
from torch import Tensor
from torch.nn import functional as F

from platorep.config import ModelSpec
from platorep.errors import ConfigError, DataError, IntegrityError
from platorep.models import Reading, open_model, open_remembered

OLD = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def make(folder: Path, pooling: dict[str, Any], *last: str, **settings: Any) -> Path:
    """A small random BERT with what sentence-transformers writes beside it."""
    save(folder, "bert")
    steps = ["Transformer", "Pooling", *last]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{step}" if i else ""}
        | {"type": f"sentence_transformers.models.{step}"}
        for i, step in enumerate(steps)
    ]
    write(folder, "modules.json", modules)
    write(folder, "1_Pooling/config.json", {"word_embedding_dimension": 16} | pooling)
    for i, step in enumerate(last):
        write(folder, f"{i + 2}_{step}/config.json", {})
    write(folder, "sentence_bert_config.json", {"do_lower_case": False} | settings)
    return folder


def make_spec(folder: Path, **settings: Any) -> ModelSpec:
    fixed = {"label": "tiny", "family": "f", "modality": "language", "backend": "transformers"}
    return ModelSpec.model_validate(
        {"name": str(folder), "view": "text", "kind": "text"} | fixed | settings
    )


def features(spec: ModelSpec) -> list[Tensor]:
    loaded = open_model(spec, offline=True).load("cpu", torch.float32)
    return loaded.features(Reading(range(len(TEXTS)), Texts()))


def by_hand(folder: Path, mode: str, prompt: str = "") -> list[Tensor]:
    """Every hidden state of each text alone, pooled."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    pool = {
        "cls": lambda states: states[0],
        "max": lambda states: states.amax(0),
        "mean": lambda states: states.mean(0),
        "lasttoken": lambda states: states[-1],
    }[mode]
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            tokens = tokenizer(prompt + text, return_tensors="pt")
            states = network(**tokens, output_hidden_states=True).hidden_states
        rows.append([pool(state[0]) for state in states])
    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", OLD)
def test_pooling_and_normalisation_are_the_folders(
    mode: str, normalize: bool, tmp_path: Path
) -> None:
    steps = ["Normalize"] if normalize else []
    old = make(tmp_path / "old", {flag: name == mode for name, flag in OLD.items()}, *steps)
    new = make(tmp_path / "new", {"pooling_mode": mode}, *steps)
    expected = by_hand(old, mode)
    if normalize:
        expected = [F.normalize(layer, dim=1) for layer in expected]
    for folder in (old, new):
        for found, layer in zip(features(make_spec(folder)), expected, strict=True):
            torch.testing.assert_close(found, layer, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", OLD)
def test_the_last_layer_is_what_encode_returns(mode: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip(
            "sentence_transformers", reason="`encode` is a function of sentence-transformers"
        )
        folder = make(tmp_path, {"pooling_mode": mode}, "Normalize")
        expected = package.SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS))
    (*_, found) = features(make_spec(folder))
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_a_pool_of_ones_own_takes_the_states_as_they_are(tmp_path: Path) -> None:
    folder = make(tmp_path, {"pooling_mode": "cls"}, "Normalize")
    for found, layer in zip(
        features(make_spec(folder, pool="mean")), by_hand(folder, "mean"), strict=True
    ):
        torch.testing.assert_close(found, layer, rtol=1e-4, atol=1e-5)


def test_the_prompt_of_the_folder_goes_before_every_text(tmp_path: Path) -> None:
    folder = make(tmp_path, {"pooling_mode": "mean"})
    settings = {"prompts": {"query": "the dog "}, "default_prompt_name": "query"}
    write(folder, "config_sentence_transformers.json", settings)
    expected = by_hand(folder, "mean", "the dog ")
    for found, layer in zip(features(make_spec(folder)), expected, strict=True):
        torch.testing.assert_close(found, layer, rtol=1e-4, atol=1e-5)
    plain = features(make_spec(folder, prompt="{text}"))
    torch.testing.assert_close(plain[-1], by_hand(folder, "mean")[-1], rtol=1e-4, atol=1e-5)


def test_what_the_folder_says_is_in_the_key(tmp_path: Path) -> None:
    def key(name: str, *steps: str, **pooling: Any) -> Any:
        spec = make_spec(make(tmp_path / name, pooling, *steps))
        return open_model(spec, offline=True).identity()

    mean = key("mean", pooling_mode="mean")
    save(tmp_path / "plain", "bert")
    assert mean == open_model(make_spec(tmp_path / "plain"), offline=True).identity()
    cls, unit = key("cls", pooling_mode="cls"), key("unit", "Normalize", pooling_mode="mean")
    assert cls["pool"] == "cls"
    assert unit == mean | {"normalize": True}


def test_a_folder_that_says_something_else_is_asked_again(tmp_path: Path) -> None:
    folder = make(tmp_path / "one", {"pooling_mode": "mean"})
    before = open_remembered(make_spec(folder), tmp_path, offline=True).identity()
    write(folder, "1_Pooling/config.json", {"pooling_mode": "cls"})
    after = open_remembered(make_spec(folder), tmp_path, offline=True).identity()
    assert (before["pool"], after["pool"]) == ("mean", "cls")


def test_a_text_that_encode_would_cut_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, {"pooling_mode": "mean"}, max_seq_length=8)
    with pytest.raises(DataError, match=r"positions for 8 .*`max_tokens: 8`"):
        features(make_spec(folder))
    assert len(features(make_spec(folder, max_tokens=8))) == 4


def test_a_saved_copy_says_the_same(tmp_path: Path) -> None:
    folder = make(tmp_path / "one", {"pooling_mode": "max"}, "Normalize")
    (tmp_path / "copy").mkdir()
    copy = open_model(make_spec(folder), offline=True).save_copy(tmp_path / "copy")
    for x, y in zip(features(copy), features(make_spec(folder)), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize(
    ("pooling", "steps", "settings", "match"),
    [
        ({"pooling_mode": "mean"}, ["Dense"], {}, "has the modules Transformer, Pooling, Dense"),
        ({"pooling_mode": ["cls", "mean"]}, [], {}, "pools by cls and mean"),
        ({"pooling_mode_weightedmean_tokens": True}, [], {}, "pools by weightedmean"),
        ({"pooling_mode": "mean"}, [], {"do_lower_case": True}, "lowers the case"),
    ],
)
def test_what_is_not_applied_is_refused(
    pooling: dict[str, Any], steps: list[str], settings: Any, match: str, tmp_path: Path
) -> None:
    folder = make(tmp_path, pooling, *steps, **settings)
    with pytest.raises(ConfigError, match=f"{match}.*Set `pool`"):
        features(make_spec(folder))
    assert len(features(make_spec(folder, pool="mean"))) == 4


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    folder = make(tmp_path, {"pooling_mode": "mean"})
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(IntegrityError, match=r"lacks 1_Pooling/config\.json"):
        features(make_spec(folder))
    (folder / "modules.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"modules.json is no JSON"):
        features(make_spec(folder))
    write(folder, "modules.json", {"a": 1})
    with pytest.raises(IntegrityError, match="is no list of modules"):
        features(make_spec(folder))
