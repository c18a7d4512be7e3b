"""The whole pipeline through the command line, on real photographs, captions and networks.

One experiment with one caption per photograph and one with five joined; they share the image
features. What must hold is known beforehand: see the README beside the data.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from processes import Ended

N, K = 512, 10
CHANCE = K / (N - 1)
LANGUAGE = ("llama-h8-l1", "llama-h16-l2", "llama-h32-l2", "llama-h64-l3", "llama-h128-l4")
VISION = ("mobilenetv2_100", "mobilenetv1_100")


def experiment(real: Path, minilm: Path, captions: int) -> dict[str, Any]:
    """With five captions only what is asked of them: the sentence encoder, without copies."""
    weights = real / "vision"
    whole: dict[str, Any] = {
        "name": f"flickr8k-{captions}",
        "dataset": {
            "source": str(real / "flickr8k"),
            "limit": N,
            "text": [f"caption_{i}" for i in range(5)],
            "caption_index": list(range(captions)),
        },
        "families": [
            {
                "name": "caption models",
                "modality": "language",
                "models": [str(real / "caption_lms" / name) for name in LANGUAGE],
            },
            {
                "name": "sentence encoder",
                "modality": "language",
                "models": [{"name": str(minilm), "label": "MiniLM"}],
            },
            {
                "name": "MobileNet",
                "modality": "vision",
                "models": [
                    {
                        "name": "mobilenetv2_100",
                        "checkpoint": str(weights / "mobilenetv2_100.safetensors"),
                        "arguments": {"num_classes": 0},
                    },
                    {
                        "name": "mobilenetv1_100",
                        "checkpoint": str(weights / "mobilenetv1_100.safetensors"),
                        "arguments": {"num_classes": 0, "pad_type": "same"},
                        "transform": {"mean": [0.5] * 3, "std": [0.5] * 3},
                    },
                ],
            },
        ],
        "performance": [
            {
                "name": "bits_per_byte",
                "source": str(real / "flickr8k" / "other_captions.txt"),
                "limit_documents": 1000,
                "score_end": True,
            }
        ],
        "extract": {"workers": 0},
        "align": {"metrics": [{"name": "mutual_knn", "k": K}], "null": {"permutations": 100}},
        "controls": {"random_weights": True, "shuffled_pairs": True},
        "figures": [
            {"kind": "scaling", "x": "bits_per_byte"},
            {"kind": "heatmap"},
            {"kind": "layer_heatmap"},
        ],
    }
    if captions == 1:
        return whole
    part = {"families": whole["families"][1:], "figures": [{"kind": "heatmap"}]}
    return whole | part | {"performance": [], "controls": {}}


@pytest.fixture(scope="session")
def folders(
    real: Path,
    minilm: Path,
    command: Callable[..., Ended],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[int, Path]:
    """Number of captions -> results folder of a finished run."""
    base = tmp_path_factory.mktemp("real")
    found = {}
    for captions in (1, 5):
        config = base / f"{captions}.yaml"
        config.write_text(json.dumps(experiment(real, minilm, captions)), encoding="utf-8")
        found[captions] = base / f"results-{captions}"
        command(base, "run", config.name, "--output", str(found[captions]))
    return found


@pytest.fixture(scope="session")
def best(folders: dict[int, Path]) -> dict[int, pd.Series]:
    """Number of captions -> best score by (language label, vision label)."""
    found = {}
    for captions, folder in folders.items():
        table = pd.read_csv(folder / "best.csv", keep_default_na=False)
        scores = table[table["control"] == ""].set_index(["x", "y"])["score"].astype(float)
        found[captions] = scores
    return found


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("language", ["llama-h32-l2", "llama-h64-l3", "llama-h128-l4", "MiniLM"])
def test_trained_vision_is_clearly_above_random_weights(
    best: dict[int, pd.Series], language: str, vision: str
) -> None:
    assert best[1][language, vision] > 1.7 * best[1][language, f"{vision} (random)"]


def test_random_vision_is_near_chance(best: dict[int, pd.Series]) -> None:
    assert best[1][:, "mobilenetv2_100 (random)"].max() < 3 * CHANCE


@pytest.mark.parametrize("vision", VISION)
def test_the_sentence_encoder_is_clearly_above_its_random_copy(
    best: dict[int, pd.Series], vision: str
) -> None:
    assert best[1]["MiniLM", vision] > 1.3 * best[1]["MiniLM (random)", vision]


@pytest.mark.parametrize("vision", VISION)
def test_five_captions_are_better_than_one(best: dict[int, pd.Series], vision: str) -> None:
    assert best[5]["MiniLM", vision] > 1.15 * best[1]["MiniLM", vision]


def test_shuffled_pairs_are_at_chance(folders: dict[int, Path]) -> None:
    """Every layer pair within its sampling error of k/(n-1): a hypergeometric count per row."""
    scores = pd.read_parquet(folders[1] / "scores.parquet")
    shuffled = scores[(scores["control"] == "shuffled") & ~scores["degenerate"]]["score"]
    per_row = K * CHANCE * (1 - CHANCE) * (N - 1 - K) / (N - 2)  # variance of the common neighbors
    error = np.sqrt(per_row / N) / K

    assert len(shuffled) > 500
    assert abs(shuffled.mean() - CHANCE) < error
    assert (shuffled - CHANCE).abs().max() < 6 * error  # hubs make neighbor lists less independent


def test_bits_per_byte_equal_those_measured_at_training(
    folders: dict[int, Path], real: Path
) -> None:
    known = json.loads((real / "caption_lms" / "bits_per_byte.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folders[1] / "performance.csv").set_index("model")["value"]

    for name in LANGUAGE:
        assert table[name] == pytest.approx(known[name]["bpb_captions"], abs=5e-5)


def test_the_figure_has_the_models_and_their_controls(folders: dict[int, Path]) -> None:
    points = pd.read_csv(folders[1] / "figures" / "scaling.csv", keep_default_na=False)
    performance = pd.read_csv(folders[1] / "performance.csv").set_index("model")["value"]
    best = pd.read_csv(folders[1] / "best.csv", keep_default_na=False)

    trained = points[points["role"] == "trained"]
    for _, point in trained.iterrows():
        row = best[
            (best["x"] == point["point"]) & (best["y"] == point["line"]) & (best["control"] == "")
        ]
        assert float(point["x"]) == pytest.approx(1 - performance[point["point"]])
        assert float(point["score"]) == pytest.approx(float(row["score"].iloc[0]))
    assert len(trained) == len(LANGUAGE) * len(VISION)
    drawn = {"trained", "random point", "random line", "shuffled", "correlation"}
    assert set(points["role"]) == drawn


def test_a_second_run_computes_nothing(
    folders: dict[int, Path],
    real: Path,
    minilm: Path,
    command: Callable[..., Ended],
    tmp_path: Path,
) -> None:
    config = tmp_path / "again.yaml"
    config.write_text(json.dumps(experiment(real, minilm, 5)), encoding="utf-8")
    before = (folders[5] / "best.csv").read_bytes()

    ended = command(tmp_path, "run", config.name, "-v", "--output", str(folders[5]))

    assert "wrote shard" not in ended.stderr
    assert (folders[5] / "best.csv").read_bytes() == before
