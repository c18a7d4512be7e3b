"""Copies on changed views through the stages: who is paired, corrected and measured with whom."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from runs import run_of

from platorep.align import align
from platorep.align.models import model_pairs
from platorep.align.tables import family_of_tests
from platorep.config import ExperimentConfig
from platorep.extraction import extract
from platorep.plots.stage import plot

EXPERIMENT: dict[str, Any] = {
    "name": "changed",
    "dataset": {
        "source": "my/pairs",
        "views": {
            "scrambled": {"of": "text", "change": "word_order"},
            "grey": {"of": "image", "change": "grey"},
        },
    },
    "families": [
        {"name": "readers", "modality": "language", "models": ["org/a", "org/b"]},
        {"name": "eyes", "modality": "vision", "models": ["resnet18"]},
    ],
    "controls": {"random_weights": True, "changed_views": True},
}
TEXTS = {"a", "b"}


def experiment(**said: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(EXPERIMENT | said)


def test_a_copy_is_paired_as_its_original_is_with_trained_models_as_they_are() -> None:
    config = experiment()

    pairs = set(model_pairs(config, config.models()))

    random = ["a (random)", "b (random)"]
    plain = set(itertools.product(["a", "b", *random], ["resnet18", "resnet18 (random)"]))
    changed = {("a (scrambled)", "resnet18"), ("b (scrambled)", "resnet18"),
               ("a", "resnet18 (grey)"), ("b", "resnet18 (grey)")}  # fmt: skip
    assert pairs == plain | changed


def test_within_a_modality_a_copy_meets_the_others_but_not_its_original() -> None:
    config = experiment(align={"pairs": [["language", "language"]]})

    pairs = {frozenset(pair) for pair in model_pairs(config, config.models())}

    of_copies = {pair for pair in pairs if any("(scrambled)" in label for label in pair)}
    assert of_copies == {frozenset(("a (scrambled)", "b")), frozenset(("b (scrambled)", "a"))}


def test_controls_make_no_finding_harder() -> None:
    specs = {spec.label: spec for spec in experiment().models()}
    pairs = [("a", "resnet18"), ("b", "resnet18"), ("a (scrambled)", "resnet18"),
             ("a", "resnet18 (grey)"), ("a (random)", "resnet18")]  # fmt: skip

    tests = [family_of_tests(specs[x], specs[y]) for x, y in pairs]

    assert tests == ["pairs"] * 2 + ["pairs with a copy on a changed view"] * 2 + [
        "pairs with a random copy"
    ]


@pytest.mark.parametrize("label", ["a (random)", "a (scrambled)", "resnet18 (grey)"])
def test_what_is_a_control(label: str) -> None:
    specs = {spec.label: spec for spec in experiment().models()}

    assert specs[label].is_control
    assert not specs["a"].is_control


def test_from_the_file_to_the_figure(tmp_path: Path) -> None:
    """Untrained toy networks: the copies are extracted, scored beside their originals and drawn."""
    views = {
        "two words": {"of": "text", "change": "first_words", "n": 2},
        "grey": {"of": "image", "change": "grey"},
    }
    untrained = {"backend": "toyworld", "training": {"steps": 0}}
    config = ExperimentConfig.model_validate(
        {
            "name": "toy",
            "dataset": {"source": "toyworld", "limit": 24, "views": views},
            "families": [
                {"name": "eyes", "modality": "vision", "models": ["conv4"]} | untrained,
                {"name": "readers", "modality": "language", "models": ["llama4"]} | untrained,
            ],
            "extract": {"workers": 0},
            "align": {
                "metrics": [{"name": "cka", "kernel": "linear", "estimator": "debiased"}],
                "null": {"permutations": 9},
            },
            "controls": {"changed_views": True},
            "figures": [{"kind": "changes"}, {"kind": "scaling", "x": "num_parameters"}],
        }
    )
    run = run_of(config, tmp_path / "results", tmp_path / "cache")

    for failures in (extract(run), align(run)[0], plot(run)[0]):
        assert not failures.errors

    models = pd.read_csv(run.results.models, keep_default_na=False).set_index("label")
    assert models["changed_of"].to_dict() == {
        "conv4": "", "llama4": "", "conv4 (grey)": "conv4", "llama4 (two words)": "llama4"
    }  # fmt: skip
    assert models.loc["llama4 (two words)", "num_words"] == "2.0"
    best = pd.read_csv(run.results.best).set_index(["x", "y"])["score"]
    assert set(best.index) == {("llama4", "conv4"), ("llama4 (two words)", "conv4"),
                               ("llama4", "conv4 (grey)")}  # fmt: skip
    assert best.nunique() == 3  # each saw something else
    drawn = pd.read_csv(run.results.figures / "changes.csv")
    found = drawn[drawn["role"] == "pair"].set_index("view")[["score", "original"]]
    assert found.loc["grey"].tolist() == [best["llama4", "conv4 (grey)"], best["llama4", "conv4"]]
    assert set(pd.read_csv(run.results.figures / "scaling.csv")["role"]) >= {
        "trained", "changed line", "changed point"
    }  # fmt: skip
