"""The paper's experiments as they are shipped, from an empty cache to figures, in small.

What is changed: `--models` leaves out all vision models but the smallest, and the pair of
`layer_heatmap` names that. `scripts/rehearse_paper.py` has those up to ViT-S and DINOv2.
"""

import io
import itertools
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from conftest import Rehearsal
from paper_hub import GATED, LANGUAGE, NOT_NEEDED, TOKEN, VISION, network_of, pairs_files
from PIL import Image
from small_experiment import identities

import platorep

CHOSEN = ("--models", "[!v]*", "--models", VISION[0])
PAPER = [name.partition("/")[2] for name in list(LANGUAGE)[:12]]
LATER = [name.partition("/")[2] for name in list(LANGUAGE)[12:]]


def pair(language: str) -> tuple[str, str]:
    return "--set", f"figures.2.pair=[{language}, {VISION[0]}]"


def downloads(rehearsal: Rehearsal, name: str, *flags: str) -> None:
    """`plan` says what `extract --download-only` then fetches, and nothing else is fetched."""
    plan = rehearsal.rows("plan", name, *flags, token=TOKEN)
    sent = rehearsal.hub.sent_bytes
    ended = rehearsal.command("extract", name, *flags, "--download-only", token=TOKEN)

    assert ended.code == 0, ended.stderr
    of_models = [row for row in plan if row["stage"] == "extract"]
    assert {row["state"] for row in of_models} <= {"missing", "cached"}
    planned = sum(row["download_mb"] for row in of_models)
    fetched = (rehearsal.hub.sent_bytes - sent) / 1e6
    assert fetched == pytest.approx(planned, abs=0.05 * len(of_models) + 0.01)
    for (repo, _), files in rehearsal.hub.files.items():
        unwanted = [file for file, content in files.items() if content == NOT_NEEDED]
        assert not {f"GET /{repo}/resolve/main/{file}" for file in unwanted} & set(
            rehearsal.hub.requests
        )


NO_PAGE = ("--set", "report.after_run=false")


def runs_offline(
    rehearsal: Rehearsal, name: str, languages: list[str], figures: list[str], *flags: str
) -> None:
    """`run --offline` makes every score and figure without a request; again, it makes nothing."""
    so_far = len(rehearsal.hub.requests)

    ended = rehearsal.command("run", name, *flags, "--offline", *NO_PAGE)

    assert ended.code == 0, ended.stderr
    results = rehearsal.folder / "results" / name
    is_complete(results, languages, figures)
    kept = everything(rehearsal.cache)
    tables = {path.name: path.read_bytes() for path in results.glob("*.csv")}
    again = rehearsal.command("run", name, *flags, "--offline", *NO_PAGE)
    assert (again.code, again.stdout) == (0, ended.stdout)
    assert "rows/s" not in again.stderr
    assert "bytes/s" not in again.stderr
    assert everything(rehearsal.cache) == kept
    assert {path.name: path.read_bytes() for path in results.glob("*.csv")} == tables
    plan = rehearsal.rows("plan", name, *flags, "--offline")
    assert {row["state"] for row in plan} == {"here", "cached", None}  # None: sums and largest
    (total,) = [row["cell"] for row in plan if row["stage"] == "total"]
    assert total.endswith(", 0 to do")
    assert {row["download_mb"] for row in plan if row["stage"] == "extract"} == {0}
    assert rehearsal.hub.requests[so_far:] == []


def everything(folder: Path) -> dict[Path, tuple[int, int]]:
    return identities([path for path in folder.rglob("*") if path.is_file()])


def is_complete(results: Path, languages: list[str], figures: list[str]) -> None:
    best = pd.read_csv(results / "best.csv", keep_default_na=False)
    pairs = set(zip(best["x"], best["y"], best["control"], strict=True))
    assert pairs == set(itertools.product(languages, VISION[:1], ("", "shuffled")))
    assert len(best) == len(pairs)
    assert best["score"].between(0, 1).all()
    tested = best[best["control"] == ""]
    assert pd.to_numeric(tested["p_adjusted"]).between(1 / 1001, 1).all()
    measured = pd.read_csv(results / "performance.csv")
    assert sorted(measured["model"]) == sorted(languages)
    assert measured["value"].between(0.5, 20).all()  # random networks; uniform over bytes: 8
    models = pd.read_csv(results / "models.csv").set_index("label")
    assert set(models.index) == {*languages, VISION[0]}
    assert models.loc[VISION[0], "num_layers"] == 12
    for name in figures:
        assert len(pd.read_csv(results / "figures" / f"{name}.csv")) >= len(languages)
        with Image.open(results / "figures" / f"{name}.png") as image:
            assert min(image.size) > 300
            assert sum(map(bool, image.convert("L").histogram())) > 8, "it is empty"


def has_the_weights(rehearsal: Rehearsal, name: str, *repositories: str) -> None:
    """The features are those of the networks before they were saved, renamed, cut and sent."""
    file = pairs_files()["data/train-00000-of-00001.parquet"]
    texts = [row["text"][0] for row in pq.read_table(io.BytesIO(file)).to_pylist()]
    for repository in repositories:
        snapshots = rehearsal.folder / "home" / "hub" / f"models--{repository.replace('/', '--')}"
        (folder,) = (snapshots / "snapshots").iterdir()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        network = network_of(LANGUAGE[repository])
        with torch.inference_mode():
            states = [
                network(torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True)
                for text in texts
            ]
        found = platorep.load_features(
            rehearsal.folder / "results" / name, repository.partition("/")[2]
        )
        for i, layer in enumerate(found.layers):
            expected = torch.stack([state.hidden_states[i][0].mean(0) for state in states])
            torch.testing.assert_close(layer, expected, rtol=1e-4, atol=1e-5)


def test_prh_val_and_then_prh_laptop(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(rehearsal.cache))
    of_val = (*CHOSEN, *pair("llama-65b"))
    downloads(rehearsal, "prh-val", *of_val)
    runs_offline(rehearsal, "prh-val", PAPER, ["scaling", "heatmap", "layer_heatmap"], *of_val)

    of_each_kind = ("bigscience/bloomz-560m", "openlm-research/open_llama_7b")
    has_the_weights(rehearsal, "prh-val", *of_each_kind, "huggyllama/llama-30b")

    sent, before = rehearsal.hub.sent_bytes, everything(rehearsal.cache / "features")
    downloads(rehearsal, "prh-laptop", *CHOSEN)
    runs_offline(rehearsal, "prh-laptop", PAPER[:3], ["scaling", "heatmap", "layers"], *CHOSEN)
    assert rehearsal.hub.sent_bytes == sent, "it is part of prh-val"
    assert everything(rehearsal.cache / "features") == before


def test_prh_test_and_its_gated_models(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(rehearsal.cache))
    flags = (*CHOSEN, *pair("Meta-Llama-3-70B"))
    gated = [name.partition("/")[2] for name in GATED]
    names_the_way = [f"https://huggingface.co/{name}, then set HF_TOKEN" for name in GATED]

    for token in ("", "hf_of_somebody_else"):
        refused = rehearsal.command("extract", "prh-test", *flags, "--download-only", token=token)
        assert refused.code == 3
        assert all(words in refused.stderr for words in names_the_way)
    failures = rehearsal.folder / "results" / "prh-test" / "failures.jsonl"
    assert [json.loads(line)["cell"] for line in failures.read_text().splitlines()] == gated
    only = rehearsal.command("extract", "prh-test", "--models", "gemma*")
    assert only.code == 4
    assert all(words in only.stderr for words in names_the_way)
    plan = {row["cell"]: row for row in rehearsal.rows("plan", "prh-test", "--models", "gemma*")}
    for name in gated:
        assert plan[name]["state"] == "unknown"
        assert "HF_TOKEN" in plan[name]["note"]

    downloads(rehearsal, "prh-test", *flags)
    runs_offline(rehearsal, "prh-test", LATER, ["scaling", "heatmap", "layer_heatmap"], *flags)
    assert failures.read_text() == ""
    of_each_kind = [name for name in LANGUAGE if name.partition("/")[2] in LATER[::2]]
    has_the_weights(rehearsal, "prh-test", *of_each_kind, "mistralai/Mixtral-8x7B-v0.1")
