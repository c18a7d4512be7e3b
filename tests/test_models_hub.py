"""Models from a hub: a real one over HTTP, on this machine."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
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

from platorep.config import DatasetConfig, ModelSpec
from platorep.data import load_dataset
from platorep.data.hub import Repository
from platorep.errors import AbsentError, IntegrityError, PlatorepError
from platorep.models import Reading, open_model


class Rows:
    ids, texts = ("a", "b"), ("two children play", "snow")

    def __init__(self, *, text: bool) -> None:
        self._text = text

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int, /) -> Any:
        if self._text:
            return self.texts[i]
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
        monkeypatch.setenv("PLATOREP_CACHE", str(tmp_path / "own"))
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
                layers = model.load("cpu", torch.float32).features(
                    Reading(range(2), Rows(text=settings["modality"] == "language"), workers=0)
                )
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
    assert "'org/none' at revision 'main' is neither" in refusal("org/none")
    assert "has no revision 'v9'" in refusal("org/empty", revision="v9")
    assert "has no weights" in refusal("org/empty")
    random = attempt("features", name="org/empty", random_init=True, **LANGUAGE)
    assert len(random["features"]) == 4


def test_a_hub_that_is_down_is_replaced_by_the_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
    assert f"commit {online['identity']['revision']}: {nowhere}" in capsys.readouterr().err
    assert attempt("identity", **about | {"name": "org/other"})["error"][0] == "AbsentError"


FAULTS = {
    "silent": "did not answer within 0.2 s",
    "reset": "broke off",
    "loop": "redirects without end",
    "page": "no JSON",
    "500": "status 500",
    "429": "status 429",
}


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_hub_out_of_order_is_told_and_not_waited_for(
    fault: str, kind: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.commit("org/some", "main", {"config.json": b"{}"})
    hub.fault = fault
    spec = ModelSpec(name="org/some", label="m", family="f", **LANGUAGE)
    asks: dict[str, Callable[[], object]] = {
        "model": lambda: open_model(spec, offline=False).identity(),
        "dataset": lambda: load_dataset(DatasetConfig(source="org/some")),
    }
    with pytest.raises(AbsentError) as refused:
        asks[kind]()
    assert FAULTS[fault] in str(refused.value)
    assert hub.url in str(refused.value)
    hub.fault = ""
    assert len({r for r in hub.requests if "org/some" in r}) == 1  # and nothing else was tried


OF_FILES = FAULTS | {"page": "does not seem to be served by a Hugging Face Hub"}


@pytest.mark.parametrize("fault", OF_FILES)
def test_so_is_one_that_has_lists_and_no_files(
    fault: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.commit("org/gpt", "main", language_files(tmp_path / "model"))
    hub.fault, hub.only_files = fault, True
    kind, message = attempt("download", name="org/gpt", **LANGUAGE)["error"]
    assert kind == "AbsentError"
    assert OF_FILES[fault].replace("0.2", "0.1") in message


def test_a_long_wait_says_what_it_is_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.4)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.4)
    monkeypatch.setattr("platorep.hub.QUIET_S", 0.1)
    hub.fault = "silent"
    attempt("identity", name="org/gpt", **LANGUAGE)
    assert f"waiting for model org/gpt of {hub.url}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["org/nowhere", "photos"])
def test_a_name_that_is_no_folder_is_asked_for_once(
    name: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens, `datasets` itself would try for half a minute."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(AbsentError, match=f"there is no '{name}'"):
        load_dataset(DatasetConfig(source=name))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("chunk", [100, 10**6])
def test_a_download_that_always_breaks_off_ends(
    chunk: int, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of which something comes each time, for which huggingface_hub has no end."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", chunk)
    files = language_files(tmp_path / "model")
    hub.commit("org/gpt", "main", files)
    hub.fault = "cut"
    kind, message = attempt("download", name="org/gpt", **LANGUAGE)["error"]
    assert kind == "AbsentError"
    assert ("breaks off at the same byte" if chunk == 100 else "broke off") in message
    hub.fault = ""
    assert "error" not in attempt("download features", name="org/gpt", **LANGUAGE)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_file_of_the_hub_cache_is_not_loaded(
    name: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("org/gpt", "main", language_files(tmp_path / "model"))
    about: dict[str, Any] = {"name": "org/gpt", **LANGUAGE}
    whole = attempt("download features", **about)
    (link,) = (tmp_path / "cache").glob(f"**/snapshots/*/{name}")
    content = bytearray(link.read_bytes())
    content[-1] ^= 1
    link.resolve().write_bytes(content)
    kind, message = attempt("features", offline=True, **about)["error"]
    assert kind == "IntegrityError"
    assert str(link.resolve()) in message
    link.resolve().unlink()
    assert attempt("features", **about) == {"features": whole["features"]}


def test_a_file_is_checked_once(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("org/gpt", "main", language_files(tmp_path / "model"))
    attempt("download", name="org/gpt", **LANGUAGE)
    read: list[Path] = []
    real = Path.open

    def opened(path: Path, *rest: Any, **how: Any) -> Any:
        read.append(path)
        return real(path, *rest, **how)

    monkeypatch.setattr(Path, "open", opened)
    assert "error" not in attempt("download", name="org/gpt", offline=True, **LANGUAGE)
    assert not [path for path in read if path.name == "model.safetensors"]


def test_damaged_rows_of_the_hub_cache_are_not_read(hub: Hub, tmp_path: Path) -> None:
    commit = hub.commit("org/pairs", "main", {"train.parquet": b"rows"})
    repository = Repository(
        source="org/pairs",
        subset=None,
        commit=commit,
        builder="parquet",
        splits={"train": ["train.parquet"]},
    )
    (path,) = repository.paths("train", offline=False)
    assert path.read_bytes() == b"rows"
    path.resolve().write_bytes(b"raws")
    with pytest.raises(IntegrityError, match=str(path.resolve())):
        list(repository.paths("train", offline=True))


def test_weights_at_a_url_are_not_waited_for_without_end(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    registry = timm.models._registry._model_pretrained_cfgs
    name = "test_vit.r160_in1k"
    elsewhere = replace(registry[name], hf_hub_id=None, url=f"{hub.url}/weights.pth")
    monkeypatch.setitem(registry, name, elsewhere)
    hub.fault = "silent"
    kind, message = attempt("download", name=name, **VISION)["error"]
    assert kind == "AbsentError"
    assert "timed out" in message
