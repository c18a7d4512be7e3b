"""Alignment against the number of words in the caption, on real photographs and captions.

One experiment file, one command, three kinds of views: captions joined, ordered by length, cut.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import Ended

N, K = 256, 5
CHANCE = K / (N - 1)
LLAMA = "llama-h128-l4"
VISION = ("mobilenetv2_100", "mobilenetv1_100")
JOINED = {"1 caption": 1, "3": 3, "5": 5}
ENDS = ("1 caption", "5")
ORDERED = {"shortest": 0, "fourth": 3}
CUT = ("5 words", "10 words", "20 words")


def experiment(real: Path, minilm: Path) -> dict[str, Any]:
    weights = real / "vision"
    v1 = {
        "name": "mobilenetv1_100",
        "checkpoint": str(weights / "mobilenetv1_100.safetensors"),
        "arguments": {"num_classes": 0, "pad_type": "same"},
        "transform": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    v2 = {
        "name": "mobilenetv2_100",
        "checkpoint": str(weights / "mobilenetv2_100.safetensors"),
        "arguments": {"num_classes": 0},
    }
    captions = {"kind": "text", "column": [f"caption_{i}" for i in range(5)]}
    joined = {n: captions | {"captions": list(range(k))} for n, k in JOINED.items()}
    ordered = {n: captions | {"captions": i, "order": "shortest_first"} for n, i in ORDERED.items()}
    cut = {n: {"of": "5", "change": "first_words", "n": int(n.split()[0])} for n in CUT}
    llama = str(real / "caption_lms" / LLAMA)
    encoder = {"name": str(minilm), "label": "MiniLM"}
    random = {"modality": "language", "random_init": True}
    # Each model is asked what a claim is about: MiniLM takes a minute for all of them.
    return {
        "name": "flickr8k-density",
        "dataset": {
            "source": str(real / "flickr8k"),
            "limit": N,
            "views": {"image": {}, **joined, **ordered, **cut},
        },
        "families": [
            {"name": "caption models", "modality": "language", "reads": [*JOINED, *ORDERED],
             "models": [llama]},
            {"name": "MiniLM", "modality": "language", "reads": [*JOINED, *CUT],
             "models": [encoder]},
            {"name": "random", "reads": [*JOINED], "models": [llama]} | random,
            {"name": "random MiniLM", "reads": [*ENDS],
             "models": [encoder | {"label": "MiniLM (random)"}]} | random,
            {"name": "MobileNet", "modality": "vision", "models": [v1, v2]},
        ],
        "align": {
            "preprocess": "paper",  # the numbers below are of that
            "metrics": [{"name": "mutual_knn", "k": K}],
            "null": {"permutations": 0},
        },
        "extract": {"workers": 0},
        "controls": {"shuffled_pairs": True},
        "figures": [
            {"kind": "density", "name": "joined", "views": list(JOINED)},
            {"kind": "density", "name": "ordered", "views": list(ORDERED)},
            {"kind": "density", "name": "cut", "views": CUT},
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(
    real: Path,
    minilm: Path,
    command: Callable[..., Ended],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Results of the one run."""
    base = tmp_path_factory.mktemp("density")
    config = base / "density.yaml"
    config.write_text(json.dumps(experiment(real, minilm)), encoding="utf-8")
    command(base, "run", config.name, "--output", "results")
    return base / "results"


@pytest.fixture(scope="module")
def scores(folder: Path) -> pd.Series:
    """Real pairs by (language label, vision label)."""
    best = pd.read_csv(folder / "best.csv", keep_default_na=False)
    real = best[best["control"] == ""]
    return pd.to_numeric(real.set_index(["x", "y"])["score"])  # "" where there is none


def pair(model: str, view: str, vision: str, *, random: bool = False) -> tuple[str, str]:
    return f"{model}{' (random)' if random else ''} ({view})", vision


@pytest.mark.parametrize("vision", VISION)
def test_joined_captions_align_better_one_by_one(scores: pd.Series, vision: str) -> None:
    for model in ("MiniLM", LLAMA):
        along = [scores[pair(model, view, vision)] for view in JOINED]
        assert along == sorted(along)
        assert along[-1] > along[0] + 0.02


def test_numbers_worked_out_apart(scores: pd.Series) -> None:
    """By numpy alone, layer pair by layer pair, from the features of single runs."""
    v2 = "mobilenetv2_100"
    assert scores[pair("MiniLM", "1 caption", v2)] == pytest.approx(0.1578, abs=1e-3)
    assert scores[pair("MiniLM", "5", v2)] == pytest.approx(0.1922, abs=1e-3)
    for random, one, five in ((False, 0.0742, 0.1094), (True, 0.0734, 0.1062)):
        found = [scores[pair(LLAMA, name, v2, random=random)] for name in ENDS]
        assert found == pytest.approx([one, five], abs=1e-3)


@pytest.mark.parametrize("vision", VISION)
def test_bags_of_words_rise_as_well(scores: pd.Series, vision: str) -> None:
    """Why the figure draws random copies: what rises with density needs no training here."""
    along = [scores[pair(LLAMA, view, vision, random=True)] for view in JOINED]
    assert along == sorted(along)
    for view in ENDS:
        own, copy = (scores[pair("MiniLM", view, vision, random=r)] for r in (False, True))
        assert own > 1.3 * copy


@pytest.mark.parametrize("vision", VISION)
def test_what_is_cut_off_is_missed(scores: pd.Series, vision: str) -> None:
    """After five words many captions are alike; what they share is no alignment."""
    along = [scores[pair("MiniLM", words, vision)] for words in CUT]
    assert along == sorted(along)
    assert along[0] > 3.5 * CHANCE


@pytest.mark.parametrize(
    ("name", "kind", "models"),
    [("joined", JOINED, (LLAMA, "MiniLM")), ("ordered", ORDERED, (LLAMA,))],
)
def test_the_figure_is_of_the_tables(
    folder: Path, scores: pd.Series, name: str, kind: dict[str, int], models: tuple[str, ...]
) -> None:
    points = pd.read_csv(folder / "figures" / f"{name}.csv")

    shown = points[points["role"] == "mean"].set_index("view")
    for view in kind:
        own = [scores[pair(model, view, vision)] for model in models for vision in VISION]
        assert shown.loc[view, "score"] == pytest.approx(sum(own) / len(own))
        assert shown.loc[view, "num_pairs"] == len(own)
    assert list(shown["num_words"]) == sorted(shown["num_words"])
    shuffled = points.loc[points["role"] == "shuffled", "score"]
    assert shuffled.max() < 2 * CHANCE
