"""What real networks share on photographs, and by how much more than what has learned nothing.

The scores of README's first picture: photographs with one caption each, the best pair of layers.
MiniLM and MobileNet are always there, and read half of the 1,024; SmolLM2, Gemma 3 and
EfficientNet-Lite where `scripts/fetch_real_models.py` has put them (`PLATOREP_REAL_MODELS`), and
then all are read: which of two good networks is the better is not seen in half of them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import Ended

LANGUAGE = {"SmolLM2": "smollm2-135m", "Gemma 3": "gemma3-270m"}
LITE = {f"Lite{version}": f"tf_efficientnet_lite{version}" for version in (0, 2)}
ALL, HALF = 1024, 512
BAG_OF_WORDS = {ALL: 0.0772, HALF: 0.1084}
"""Its score with MobileNet, worked out apart from cached features."""


def experiment(real: Path, minilm: Path, fetched: Path) -> dict[str, Any]:
    mobilenet = {"name": "mobilenetv2_100", "label": "MobileNet"}
    mobilenet |= {"checkpoint": str(real / "vision" / "mobilenetv2_100.safetensors")}
    vision: list[dict[str, Any]] = [mobilenet | {"arguments": {"num_classes": 0}}]
    vision += [
        {"name": name, "label": label, "checkpoint": str(fetched / f"{name}.safetensors")}
        | {"arguments": {"num_classes": 1000}}
        for label, name in LITE.items()
        if (fetched / f"{name}.safetensors").exists()
    ]
    language = [{"name": str(minilm), "label": "MiniLM"}]
    language += [
        {"name": str(fetched / name), "label": label}
        for label, name in LANGUAGE.items()
        if (fetched / name).is_dir()
    ]
    random = [
        {"name": "random language", "modality": "language", "models": language},
        {"name": "random vision", "modality": "vision", "models": vision[:1]},
    ]
    for family in random:
        copies = [one | {"label": f"{one['label']} (random)"} for one in family["models"]]
        for copy in copies:
            copy.pop("checkpoint", None)
        family |= {"random_init": True, "models": copies}
    return {
        "name": "margins",
        "dataset": {
            "source": str(real / "flickr8k"),
            "text": "caption_0",
            "limit": HALF if len(vision) + len(language) == 2 else ALL,
        },
        "families": [
            {"name": "language", "modality": "language", "models": language},
            {"name": "vision", "modality": "vision", "models": vision},
            *random,
        ],
        "extract": {"workers": 0},
        "align": {"null": {"permutations": 0}},
        "controls": {"shuffled_pairs": True, "baselines": True},
    }


@pytest.fixture(scope="module")
def best(
    real: Path,
    minilm: Path,
    real_models: Path,
    command: Callable[..., Ended],
    tmp_path_factory: pytest.TempPathFactory,
) -> pd.DataFrame:
    base = tmp_path_factory.mktemp("margins")
    config = base / "margins.yaml"
    raw = experiment(real, minilm, real_models)
    config.write_text(json.dumps(raw), encoding="utf-8")
    command(base, "run", config.name, "--output", "results")
    return pd.read_csv(base / "results" / "best.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def scores(best: pd.DataFrame) -> pd.DataFrame:
    """Language models by vision models."""
    return best[best["control"] == ""].pivot(index="x", columns="y", values="score").astype(float)


@pytest.fixture(scope="module")
def chance(best: pd.DataFrame) -> float:
    """Of the 10 nearest neighbors."""
    (num_rows,) = set(best["n"])
    return 10 / (int(num_rows) - 1)


def only_where_fetched(scores: pd.DataFrame, *labels: str) -> None:
    if lost := {*labels} - {*scores.index, *scores.columns}:
        pytest.skip(
            f"not fetched: {', '.join(sorted(lost))}. `python scripts/fetch_real_models.py FOLDER "
            "--gemma`, and PLATOREP_REAL_MODELS=FOLDER"
        )


def trained_vision(scores: pd.DataFrame) -> list[str]:
    return [label for label in scores.columns if label == "MobileNet" or label in LITE]


@pytest.mark.parametrize("model", ["MiniLM", *LANGUAGE])
def test_training_is_worth_more_than_words_drawn_at_random(
    scores: pd.DataFrame, model: str
) -> None:
    only_where_fetched(scores, model)
    for vision in trained_vision(scores):
        assert scores.loc[model, vision] > scores.loc[f"{model} (random)", vision] + 0.02


@pytest.mark.parametrize("model", ["MiniLM", *LANGUAGE])
def test_what_networks_learn_is_more_than_which_words_there_are(
    scores: pd.DataFrame, model: str
) -> None:
    """With the paper's preprocessing SmolLM2 and Gemma would not be."""
    only_where_fetched(scores, model)
    for vision in trained_vision(scores):
        assert scores.loc[model, vision] > scores.loc["bag of words", vision] + 0.01


def test_a_bag_of_words_stands_between_random_copies_and_language_models(
    scores: pd.DataFrame, chance: float
) -> None:
    known = BAG_OF_WORDS[round(10 / chance + 1)]
    assert scores.loc["bag of words", "MobileNet"] == pytest.approx(known, abs=0.002)
    assert scores.loc["bag of words", "MobileNet"] > scores.loc["MiniLM (random)", "MobileNet"]


@pytest.mark.parametrize("model", ["MiniLM", "Gemma 3"])
def test_a_better_vision_network_agrees_more(scores: pd.DataFrame, model: str) -> None:
    only_where_fetched(scores, model, *LITE)
    assert scores.loc[model, "Lite2"] > scores.loc[model, "Lite0"]


def test_the_sentence_encoder_is_first(scores: pd.DataFrame) -> None:
    for vision in trained_vision(scores):
        assert scores[vision].idxmax() == "MiniLM"


def test_random_vision_and_pictures_colours_tell_hardly_anything(
    scores: pd.DataFrame, chance: float
) -> None:
    assert scores["MobileNet (random)"].max() < 2.5 * chance
    assert 2 * chance < scores.loc["MiniLM", "colour histogram"] < 4 * chance
    assert scores.loc["MiniLM", "grey thumbnail"] < 2.5 * chance


def test_shuffled_pairs_are_at_chance(best: pd.DataFrame, chance: float) -> None:
    """The best of up to 155 layer pairs is a little above it."""
    shuffled = best.loc[best["control"] == "shuffled", "score"].astype(float)

    assert shuffled.max() < 1.6 * chance
    assert shuffled.mean() < 1.3 * chance
