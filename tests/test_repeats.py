"""Copies of models on other observations of the same events, and baselines: which there are."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from runs import run_of

from platorep.align.models import model_pairs, warn_of_same_observations
from platorep.config import ExperimentConfig
from platorep.reporting import Reporter
from platorep.results import Results


def experiment(**changes: Any) -> ExperimentConfig:
    raw: dict[str, Any] = {
        "name": "again",
        "dataset": {
            "source": "photos",
            "views": {
                "image": {},
                "text": {"column": "caption_0"},
                "text_1": {"kind": "text", "column": "caption_1"},
                "crop": {"of": "image", "change": "crop"},
            },
        },
        "families": [
            {"name": "readers", "modality": "language", "models": ["org/a"]},
            {"name": "viewers", "modality": "vision", "models": ["resnet18"]},
        ],
        "align": {"repeats": {"text": ["text_1"], "image": ["crop"]}, "ceiling": {}},
        "controls": {"random_weights": True, "baselines": True},
    }
    return ExperimentConfig.model_validate(raw | changes)


def test_everything_that_reads_a_view_is_copied_onto_its_repeats() -> None:
    copies = {spec.label: spec for spec in experiment().models() if spec.repeat_of}

    assert {label: (spec.repeat_of, spec.view) for label, spec in copies.items()} == {
        "a (text_1)": ("a", "text_1"),
        "a (random) (text_1)": ("a (random)", "text_1"),
        "bag of words (text_1)": ("bag of words", "text_1"),
        "resnet18 (crop)": ("resnet18", "crop"),
        "resnet18 (random) (crop)": ("resnet18 (random)", "crop"),
        "colour histogram (crop)": ("colour histogram", "crop"),
        "grey thumbnail (crop)": ("grey thumbnail", "crop"),
    }
    assert copies["a (random) (text_1)"].random_init
    assert all(spec.is_control for spec in copies.values())


def test_a_copy_on_a_repeat_meets_nobody_and_a_baseline_no_random_weights() -> None:
    config = experiment()

    pairs = model_pairs(config, config.models())

    assert pairs == [
        ("a", "resnet18"),
        ("a", "resnet18 (random)"),
        ("a", "colour histogram"),
        ("a", "grey thumbnail"),
        ("a (random)", "resnet18"),
        ("a (random)", "resnet18 (random)"),
        ("bag of words", "resnet18"),
        ("bag of words", "colour histogram"),
        ("bag of words", "grey thumbnail"),
    ]


def test_a_copy_on_a_repeat_is_not_measured(tmp_path: Path) -> None:
    """It is the same network: bits per byte of other captions would be a number of no figure."""
    run = run_of(experiment(), Results(tmp_path), tmp_path, Reporter(-1))

    assert {spec.label for spec in run.measured if spec.repeat_of} == set()
    assert {"a", "a (random)", "bag of words"} < {spec.label for spec in run.measured}


def test_a_baseline_is_of_each_view_that_is_read() -> None:
    families = [
        {
            "name": "readers",
            "modality": "language",
            "reads": ["text", "text_1"],
            "models": ["org/a"],
        }
    ]
    config = experiment(
        families=families, align={"pairs": [["language", "language"]]}, controls={"baselines": True}
    )

    baselines = [(spec.label, spec.view) for spec in config.models() if spec.is_baseline]

    assert baselines == [("bag of words", "text"), ("bag of words (text_1)", "text_1")]


@pytest.mark.parametrize(
    ("align", "what"),
    [
        ({"ceiling": {}}, "need `repeats`"),
        ({"repeats": {"text": ["text_1"]}}, "no effect without"),
        ({"repeats": {"txet": ["text_1"]}, "ceiling": {}}, "Did you mean 'text'"),
        ({"repeats": {"text": ["text"]}, "ceiling": {}}, "other than 'text'"),
        ({"repeats": {"text": []}, "ceiling": {}}, "at least one"),
        ({"repeats": {"text": ["image"]}, "ceiling": {}}, "no view of kind text"),
    ],
)
def test_repeats_that_make_no_sense_are_refused(align: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        experiment(align=align)


def test_a_repeat_that_repeats_the_same_is_told() -> None:
    report = Reporter(-1)
    rows = pd.DataFrame({"a_sha256": list("abcd") * 5, "b_sha256": list("efgh") * 5})
    rows = rows.assign(c_sha256=rows["a_sha256"], d_sha256=["a", *"x" * 19], e_sha256="")

    warn_of_same_observations({"a": ["b", "d"], "b": ["e"], "e": ["d"]}, rows, report)
    assert report.warnings == []
    warn_of_same_observations({"a": ["b", "c"]}, rows, report)
    (warning,) = report.warnings
    assert "a and c are exactly the same in 20 of 20 rows" in warning
