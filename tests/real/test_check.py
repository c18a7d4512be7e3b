"""The example of docs/check.md: a sentence encoder can be trusted, MobileNet in halves cannot."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platorep.cli import app


@pytest.fixture
def config(real: Path, minilm: Path, tmp_path: Path) -> Path:
    weights = real / "vision" / "mobilenetv2_100.safetensors"
    text = {"name": str(minilm), "label": "MiniLM"}
    image = {"name": "mobilenetv2_100", "checkpoint": str(weights)}
    path = tmp_path / "check.yaml"
    path.write_text(
        json.dumps(
            {
                "name": "check",
                "dataset": {"source": str(real / "flickr8k"), "text": "caption_0"},
                "families": [
                    {"name": "text", "modality": "language", "models": [text]},
                    {"name": "image", "modality": "vision", "models": [image]},
                ],
            }
        ),
        encoding="utf-8",
    )
    return path


def verdicts(config: Path, model: str, *checks: str) -> tuple[int, dict[str, dict[str, float]]]:
    asked = [argument for check in checks for argument in ("--checks", check)]
    data = ["--data", str(config), "--limit", "32", "--device", "cpu"]
    arguments = ["check", model, *data, "--json", *asked]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, {row["check"]: row for row in json.loads(result.stdout)}


def test_a_sentence_encoder_can_be_trusted(config: Path) -> None:
    code, found = verdicts(config, "MiniLM")

    assert code == 0
    assert {name for name, row in found.items() if row["trusted"] is None} == {"sdpa", "device"}
    for exact in ("again", "reloaded"):
        assert found[exact]["change"] == 0
    for rounded in ("batch", "padding", "eager"):
        assert found[rounded]["change"] < 1e-5
        assert found[rounded]["mutual_knn"] > 0.999
    assert found["bfloat16"]["change"] == pytest.approx(0.012, rel=0.3)
    assert found["bfloat16"]["mutual_knn"] == pytest.approx(0.990, abs=0.006)
    assert found["float16"]["change"] == pytest.approx(0.0016, rel=0.3)


def test_an_image_network_cannot_in_half_precision(config: Path) -> None:
    code, found = verdicts(config, "mobilenetv2_100", "batch", "bfloat16", "reloaded")

    assert code == 5
    assert {name: row["trusted"] for name, row in found.items()} == {
        "batch": "yes",
        "bfloat16": "no",
        "reloaded": "yes",
    }
    assert found["bfloat16"]["change"] == pytest.approx(0.32, rel=0.3)
    assert found["bfloat16"]["mutual_knn"] == pytest.approx(0.960, abs=0.015)
