"""Colours of real photographs and of trained language models, through the command line.

What was found when this was written is in docs/color.md; the margins here are wide.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from processes import Ended

LLAMAS = ("llama-h8-l1", "llama-h128-l4")
SETS = ("as they are", "32 px")


@pytest.fixture(scope="module")
def found(
    real: Path,
    minilm: Path,
    command: Callable[..., Ended],
    tmp_path_factory: pytest.TempPathFactory,
) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("color")
    photographs = {"source": str(real / "flickr8k")}
    raw = {
        "name": "flickr8k-color",
        "images": [
            {"name": SETS[0], "dataset": photographs},
            {"name": SETS[1], "dataset": photographs, "resolution": 32},
        ],
        "families": [
            {
                "name": "sentence encoder",
                "modality": "language",
                "models": [{"name": str(minilm), "label": "MiniLM"}],
            },
            {
                "name": "caption models",
                "modality": "language",
                "models": [str(real / "caption_lms" / name) for name in LLAMAS],
            },
        ],
        "geometry": {"starts": 5, "permutations": 199},
        "controls": {"random_weights": True},
    }
    (folder / "color.yaml").write_text(json.dumps(raw))
    output = folder / "results"
    ended = command(folder, "theory", "color", "color.yaml", "--output", "results")
    assert "left out for fewer than 100 drawn pixels: violet" in ended.stderr
    assert (output / "figures" / "color.png").stat().st_size > 100_000
    return pd.read_csv(output / "agreement.csv")


@pytest.mark.parametrize("name", SETS)
def test_colours_that_meet_in_photographs_are_near_in_cielab(
    found: pd.DataFrame, name: str
) -> None:
    fits = found[(found["x"] == "CIELAB") & (found["y"] == name)].set_index("items")

    for items, residual in {"words": 0.7, "cells": 0.6}.items():
        assert fits.loc[items, "residual"] < residual < fits.loc[items, "residual_low"]
        assert fits.loc[items, "residual_p"] < 0.01
        assert fits.loc[items, "correlation"] > 0.2
        assert fits.loc[items, "correlation_p"] < 0.01
    assert fits.loc["words", "num_colors"] == 19
    assert fits.loc["cells", "num_colors"] > 60


def test_a_sentence_encoder_is_nearer_to_cielab_than_its_random_copy(found: pd.DataFrame) -> None:
    """By the residual. Its distances do not correlate, and the MDS behind it has many minima that
    are nearly as good, so little is asked."""
    fits = found[found["x"] == "CIELAB"].set_index("y")

    assert fits.loc["MiniLM", "residual"] < 0.85
    assert fits.loc["MiniLM", "residual"] < fits.loc["MiniLM (random)", "residual"]
    assert fits.loc["MiniLM", "residual_p"] < 0.1


def test_nothing_else_of_language_shows_much(found: pd.DataFrame) -> None:
    """Tiny caption models and random copies: no residual far below chance."""
    others = found[(found["y_kind"] == "language") & (found["y"] != "MiniLM")]

    assert len(others) == 5 * 4
    assert (others["residual"] > others["residual_null"] - 0.25).all()
    assert (others["residual_p"] < 0.05).mean() < 0.25
