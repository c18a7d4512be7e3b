"""Copies on changed views through the stages: who is paired, corrected and measured with whom."""

import itertools
from typing import Any

import pytest

from platorep.align.models import model_pairs
from platorep.align.tables import family_of_tests
from platorep.config import ExperimentConfig

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
