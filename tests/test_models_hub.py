"""Models from a hub: a real one over HTTP, on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hub_server import Hub, serve
from huggingface_hub import constants
from PIL import Image
from test_language import save as save_language
from timm.models import save_for_hf

from platorep.config import ModelSpec
from platorep.errors import PlatorepError
from platorep.models import open_model


class Rows:
    ids, texts = ("a", "b"), ("two children play", "snow")

    def image(self, i: int, /) -> Image.Image:
        return Image.new("RGB", (20 + i, 10), (9 * i, 50, 7))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and an empty cache: what HF_ENDPOINT and HF_HOME set, were they set before import."""
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub


def attempt(steps: str, *, offline: bool = False, **settings: Any) -> dict[str, Any]:
    """What `steps` of a model give, up to the first refusal."""
    model = open_model(ModelSpec(label="m", family="f", **settings), offline=offline)
    found: dict[str, Any] = {}
    try:
        for step in steps.split():
            if step == "describe":
                about = model.describe()
                found[step] = (about.widths, about.weight_bytes, about.download_bytes)
                found["unknown"] = about.unknown
            elif step == "features":
                layers = model.load("cpu", torch.float32).features(range(2), Rows(), workers=0)
                found[step] = [layer.tolist() for layer in layers]
            else:
                found[step] = getattr(model, step)()
    except PlatorepError as error:
        found["error"] = (type(error).__name__, str(error))
    return found


LANGUAGE = {"modality": "language", "backend": "transformers"}
VISION = {"modality": "vision", "backend": "timm"}


def language_files(folder: Path) -> dict[str, bytes]:
    save_language(folder, "gpt2")
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"flax.msgpack": b"?" * 99}


def test_a_language_model_is_pinned_to_a_commit(hub: Hub, tmp_path: Path) -> None:
    files = language_files(tmp_path / "model")
    commit = hub.commit("org/gpt", "main", files)
    about: dict[str, Any] = {"name": "org/gpt", **LANGUAGE}
    absent = attempt("describe identity", offline=True, **about)
    assert absent["describe"][0] is None
    assert absent["error"][0] == "AbsentError"
    assert "--download-only" in absent["error"][1]

    online = attempt("identity describe download", **about)
    assert online["identity"]["name"] == "org/gpt"
    assert online["identity"]["revision"] == commit
    assert online["unknown"] == ()
    widths, weight_bytes, download_bytes = online["describe"]
    assert widths == (16,) * 4
    assert weight_bytes == len(files["model.safetensors"])
    assert download_bytes == weight_bytes  # the small files came with the identity
    assert not any("msgpack" in request for request in hub.requests if "resolve" in request)

    hub.commit("org/gpt", "main", files | {"README.md": b"newer"})  # unseen offline
    offline = attempt("identity describe features", offline=True, **about)
    assert offline["identity"] == online["identity"]
    assert offline["describe"][2] == 0
    local = attempt("features", name=str(tmp_path / "model"), **LANGUAGE, offline=True)
    assert offline["features"] == local["features"]
    newer = attempt("identity", **about)
    assert newer["identity"]["revision"] != commit
    pinned = attempt("identity", revision=commit, **about)
    assert pinned["identity"] == online["identity"]


@pytest.mark.parametrize("how", ["registry", "hf-hub"])
def test_a_vision_model_is_pinned_to_a_commit(how: str, hub: Hub, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", pretrained_cfg_overlay={"crop_pct": 1.0})
    save_for_hf(network, tmp_path / "model", safe_serialization="both")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    weights = files["model.safetensors"]
    assert "pytorch_model.bin" in files
    if how == "registry":  # the transform is the registry's, not config.json's
        repo, name, crop = "timm/test_vit.r160_in1k", "test_vit", 0.95
    else:
        repo, name, crop = "org/vit", "hf-hub:org/vit", 1.0
    commit = hub.commit(repo, "main", files)
    about: dict[str, Any] = {"name": name, **VISION}

    online = attempt("describe identity download", **about)
    assert online["describe"] == ((64,) * 6, len(weights), len(weights))
    assert online["identity"]["revision"] == commit
    assert online["identity"]["transform"]["crop_pct"] == crop
    offline = attempt("describe identity features", offline=True, **about)
    assert offline["identity"] == online["identity"]
    assert offline["describe"][2] == 0
    (tmp_path / "weights.safetensors").write_bytes(weights)
    local = attempt(
        "features",
        name="test_vit",
        checkpoint=str(tmp_path / "weights.safetensors"),
        transform={"crop_pct": crop},
        **VISION,
    )
    assert offline["features"] == local["features"]


def test_what_the_hub_refuses(hub: Hub, tmp_path: Path) -> None:
    hub.commit("org/closed", "main", {"config.json": b"{}", "model.safetensors": b""})
    hub.gated.add("org/closed")
    hub.commit("org/empty", "main", language_files(tmp_path / "model") | {"model.safetensors": b""})
    files = dict(hub.files["org/empty", hub.branches["org/empty"]["main"]])
    hub.commit("org/empty", "main", {k: v for k, v in files.items() if "model" not in k})

    def refusal(name: str, steps: str = "download", **settings: Any) -> str:
        found = attempt(steps, name=name, **LANGUAGE, **settings)
        assert found["error"][0] == "AbsentError"
        return str(found["error"][1])

    assert "is gated. Ask for access" in refusal("org/closed")
    assert "no hub repository 'org/none'" in refusal("org/none")
    assert "has no revision 'v9'" in refusal("org/empty", revision="v9")
    assert "has no weights" in refusal("org/empty")
    random = attempt("features", name="org/empty", random_init=True, **LANGUAGE)
    assert len(random["features"]) == 4


def test_a_hub_that_is_down_is_replaced_by_the_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("org/gpt", "main", language_files(tmp_path / "model"))
    about: dict[str, Any] = {"name": "org/gpt", **LANGUAGE}
    online = attempt("identity download", **about)
    with serve() as other:
        nowhere = other.url
    monkeypatch.setattr(constants, "ENDPOINT", nowhere)
    template = nowhere + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    down = attempt("identity features", **about)
    assert down["identity"] == online["identity"]
    assert len(down["features"]) == 4
    assert attempt("identity", **about | {"name": "org/other"})["error"][0] == "AbsentError"
