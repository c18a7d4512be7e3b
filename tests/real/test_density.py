"""Alignment against the number of words in the caption, on real photographs and captions.

One experiment file, one command, three kinds of variants: captions joined, ordered by length, cut.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

N, K = 1024, 10
CHANCE = K / (N - 1)
LANGUAGE = ("llama-h8-l1", "llama-h16-l2", "llama-h32-l2", "llama-h64-l3", "llama-h128-l4")
JOINED = ("1 caption", "2", "3", "4", "5")
ORDERED = ("shortest", "second", "third", "fourth", "longest")
CUT = ("5 words", "10 words", "20 words", "40 words")


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
    joined = [{"name": n, "caption_index": list(range(i + 1))} for i, n in enumerate(JOINED)]
    ordered = [
        {"name": n, "caption_index": i, "order": "shortest_first"} for i, n in enumerate(ORDERED)
    ]
    cut = [{"name": n, "caption_index": "all", "max_words": int(n.split()[0])} for n in CUT]
    llamas = [str(real / "caption_lms" / name) for name in LANGUAGE]
    encoder = [{"name": str(minilm), "label": "MiniLM"}]
    return {
        "name": "flickr8k-density",
        "dataset": {
            "source": str(real / "flickr8k"),
            "text": [f"caption_{i}" for i in range(5)],
            "variants": [*joined, *ordered, *cut],
        },
        "families": [
            {"name": "caption models", "modality": "language", "models": llamas},
            {"name": "MiniLM", "modality": "language", "models": encoder},
            {"name": "MobileNet", "modality": "vision", "models": [v1, v2]},
        ],
        "align": {"metrics": [{"name": "mutual_knn", "k": K}], "null": {"permutations": 0}},
        "controls": {"random_weights": True, "shuffled_pairs": True},
        "figures": [
            {"kind": "density", "name": "joined", "variants": JOINED},
            {"kind": "density", "name": "ordered", "variants": ORDERED},
            {"kind": "density", "name": "cut", "variants": CUT},
        ],
    }


@pytest.fixture(scope="module")
def folder(real: Path, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the one run."""
    base = tmp_path_factory.mktemp("density")
    config = base / "density.yaml"
    config.write_text(json.dumps(experiment(real, minilm)), encoding="utf-8")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "platorep", "run", str(config)),
            *("--offline", "-v", "--output", str(base / "results")),
        ],
        env=os.environ | {"PLATOREP_CACHE": str(base / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (base / "results" / "log.txt").write_text(run.stderr)
    return base / "results"


@pytest.fixture(scope="module")
def scores(folder: Path) -> pd.Series:
    """Real pairs by (language label, vision label)."""
    best = pd.read_csv(folder / "best.csv", keep_default_na=False)
    real = best[best["control"] == ""]
    return real.set_index(["x", "y"])["score"].astype(float)
