"""A bare name: what it is, what it reads, and what `platorep list models` says of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from test_any_network import CASES, SAMPLES, Rows, make_spec, save
from timm.models import save_for_hf
from typer.testing import CliRunner

from platorep.cli import app
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.kinds import KINDS
from platorep.listing import in_short, listing
from platorep.models import Reading, open_model
from platorep.models.recognised import recognise
from platorep.parameters.views import CHANGES

SOME = (
    *("convnext", "clip-vision", "clip-text", "llava-language", "qwen2-vl-films", "whisper"),
    *("videomae", "t5-encoder", "t5-decoder"),
)


@pytest.mark.parametrize("name", SOME)
def test_what_is_listed_is_what_is_extracted(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    spec = make_spec(save(tmp_path, case), case)
    loaded = open_model(spec, offline=True).load("cpu", torch.float32)
    features = loaded.features(Reading([0], Rows(SAMPLES[case.kind]()), workers=0))

    rows = listing("models", str(tmp_path), offline=True).to_dict("records")

    row = next(
        row for row in rows if row["reads"] == case.kind and case.side in (None, row["side"])
    )
    assert row["layers"] == list(loaded.layers)
    assert row["widths"] == [layer.shape[1] for layer in features]


@pytest.mark.parametrize("name", SOME)
def test_a_saved_copy_is_the_same_network(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = open_model(make_spec(save(tmp_path, case), case), offline=True)
    copy = open_model(model.save_copy(tmp_path / "copy"), offline=True)

    rows = Rows(SAMPLES[case.kind]())
    found, expected = (
        one.load("cpu", torch.float32).features(Reading(range(4), rows, batch=1, workers=0))
        for one in (copy, model)
    )

    assert all(map(torch.equal, found, expected))


def test_a_network_of_timm_is_described_by_name_and_by_folder(tmp_path: Path) -> None:
    save_for_hf(timm.create_model("test_vit"), tmp_path)

    by_name, by_folder = (
        listing("models", name, offline=True).to_dict("records")[0]
        for name in ("test_vit", str(tmp_path))
    )

    assert (by_name["reads"], by_name["pools"]) == ("image", ["cls", "mean"])
    assert by_name["layers"] == [f"blocks.{i}" for i in range(6)]
    assert by_name["widths"] == [64] * 6
    assert by_folder["name"] == f"local-dir:{tmp_path}"
    assert by_folder | {"name": 0} == by_name | {"name": 0}


def test_a_pattern_still_searches_timm() -> None:
    names = list(listing("models", "resnet18*", offline=True)["name"])

    assert "resnet18.a1_in1k" in names
    assert list(listing("models", "resnet", offline=True)["name"]) == []


def test_long_lists_are_short_in_a_table() -> None:
    table = in_short(listing("models", "test_vit", offline=True))

    assert table["widths"][0] == "6 x 64"
    assert table["pools"][0] == "cls, mean"


def test_a_network_of_two_senses_must_be_told_which(tmp_path: Path) -> None:
    found = recognise(str(save(tmp_path, CASES["clip-vision"])), offline=True)

    with pytest.raises(ConfigError, match=r"reads text and image.*--modality language or vision"):
        found.family()
    assert found.family("vision").backend == "transformers"


def test_refusals(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for content, error, told in (
        (None, AbsentError, "has no config.json"),
        ("{", IntegrityError, "is no JSON"),
        ("[]", IntegrityError, "expected an object, found list"),
        ("{}", ConfigError, "neither `model_type` .* nor `architecture`"),
    ):
        if content is not None:
            (folder / "config.json").write_text(content)
        with pytest.raises(error, match=told):
            recognise(str(folder), offline=True)
    with pytest.raises(ConfigError, match="a function of your own"):
        recognise("package.module:network", offline=True)


def listed(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, ["list", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def test_kinds_and_changes_are_listed() -> None:
    kinds, changes = listed("kinds"), listed("changes")

    assert [row["name"] for row in kinds] == list(KINDS)
    assert [row["name"] for row in changes] == list(CHANGES)
    assert all(row["about"].endswith(".") for row in changes)
    (audio,) = listed("kinds", "audio")
    assert audio["changes"] == "reverse, noise"
