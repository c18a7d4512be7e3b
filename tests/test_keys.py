"""Every key of an experiment file: listed, explained, and in a schema for editors."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from test_config import FULL

from platorep.config import shipped_configs
from platorep.config.keys import json_schema, keys
from platorep.config.reading import _Loader

ROOT = Path(__file__).parents[1]
PAGES: dict[str, Callable[[], str]] = runpy.run_path(str(ROOT / "scripts/write_reference.py"))[
    "PAGES"
]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_every_key_is_explained() -> None:
    assert [row["key"] for row in keys() if not row["about"]] == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("align.null.permutations", ("integer >= 0", "1000")),
        ("extract.dtype", ("auto | float32 | bfloat16 | float16", '"auto"')),
        ("align.metrics[[]]{name: cka}.kernel", ("linear | rbf", '"linear"')),
        ("families[[]].models[[]].label", ("string or null", "")),
        ("dataset.views.NAME{change: blur}.radius", ("number > 0 <= 1000", "4.0")),
    ],
)
def test_a_key_has_its_type_and_default(pattern: str, expected: tuple[str, str]) -> None:
    (row,) = keys(pattern)
    assert (row["type"], row["default"]) == expected


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_shipped_experiments_fit_the_schema(name: str, validator: Draft202012Validator) -> None:
    text = shipped_configs()[name].read_text(encoding="utf-8")
    assert list(validator.iter_errors(yaml.load(text, Loader=_Loader))) == []


def test_what_says_something_of_everything_fits_the_schema(validator: Draft202012Validator) -> None:
    assert list(validator.iter_errors(FULL)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"align": {"metrics": [{"name": "cka", "k": 10}]}},
        {"align": {"metrics": [{"name": "mutual_knn", "k": 0}]}},
        {"align": {"nul": {}}},
        {"align": {"pairs": [["language", "vision", "audio"]]}},
        {"figures": [{"kind": "scatter"}]},
        {"families": [{"name": "a", "modality": "language", "models": [{"label": "b"}]}]},
    ],
)
def test_the_schema_refuses_what_the_command_refuses(
    wrong: dict[str, Any], validator: Draft202012Validator
) -> None:
    right = {"name": "a", "dataset": {"source": "toyworld"}, "families": []}
    assert validator.is_valid(right)
    assert not validator.is_valid(right | wrong)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_reference_is_current(name: str) -> None:
    """`python scripts/write_reference.py` writes it anew."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name]()
