"""How p was made, and which warnings are one: held to cases that are worked by hand."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from platorep.config import AlignConfig
from platorep.report.null import null_of
from platorep.report.warned import merged, without_answered
from platorep.statistics import warn_too_few

KNN = "mutual_knn{k: 10}"


def table(**counts: int) -> pd.DataFrame:
    """So many pairs of each kind with a corrected p, and one that has none."""
    rows = [{"metric": KNN, "kind": kind.replace("_", ", "), "p_adjusted": 0.1}
            for kind, count in counts.items() for _ in range(count)]  # fmt: skip
    return pd.DataFrame([*rows, {"metric": KNN, "kind": "shuffled", "p_adjusted": None}])


def text(pairs: pd.DataFrame, metrics: Any = ("mutual_knn",), **null: Any) -> str:
    return null_of(AlignConfig.model_validate({"metrics": metrics, "null": null}), pairs)


def test_no_null_is_told() -> None:
    assert text(table(trained=1), permutations=0) == "There is none: align.null.permutations is 0."


def test_families_of_tests_are_counted_apart() -> None:
    """ceil(.95 * 201) = 191; 1 / 201 = .00498. A copy with a baseline is of the baselines."""
    found = text(
        table(trained=3, random=2, random_baseline=1, baseline=4), permutations=200, seed=7
    )
    assert found == (
        "200 permutations of the rows of y (seed 7), each the same for all layers and all pairs of "
        "models. Of each permutation, as of the rows in their order, the score is the best of all "
        "layer pairs, wherever that is. p = (1 + the number of permutations that come as close or "
        "closer) / 201, so no p is below 0.00498. Corrected over 3 pairs of trained models and 2 "
        "pairs with a random copy and 5 pairs with a baseline, each of these by itself, by "
        "Benjamini and Hochberg's (false discovery rate). "
        "The threshold is the 0.95 quantile: of these 200 "
        "scores and the observed one number 191, counted from the farthest."
    )


@pytest.mark.parametrize(
    ("correction", "named"), [("holm", "Holm's"), ("westfall_young", "Westfall and Young's")]
)
def test_the_correction_is_named(correction: str, named: str) -> None:
    assert f"by {named} (any false finding" in text(table(trained=3), correction=correction)


def test_a_null_at_fewer_layers_says_at_which() -> None:
    found = text(
        table(trained=3),
        [
            {"name": "mutual_knn", "k": 10},
            {"name": "cka", "layers": "last"},
            {"name": "svcca", "layers": "best of mutual_knn"},
            {"name": "procrustes"},
            {"name": "rv", "layers": [-1, -2]},
        ],
    )
    assert "k\xa0=\xa010, rv: of each permutation" in found
    assert "the best of the layer pairs asked, wherever" in found
    assert "biased: at the last layers." in found
    assert "at the layers where mutual_knn is best, in every permutation the same." in found
    assert "procrustes has no null, since" in found


LAYERS: Mapping[str, list[str]] = {"a": ["h.0", "h.1"], "a@2": ["h.0"], "b": ["sizes", "layers"]}


def test_alike_warnings_are_one() -> None:
    def drowned(label: str, share: int, layers: str) -> str:
        return f"{label}: one dimension holds up to {share}% of 2 layers: {layers}. Cure: c."

    found = merged(
        [
            drowned("a", 58, "h.0, h.1"),
            "few rows: 58",
            "few rows: 59",  # of no model
            drowned("b", 65, "sizes"),
            drowned("a@2", 6, "h.0"),
            "a: another matter",
            "b: one more matter",
            "few rows: 58",
        ],
        LAYERS,
    )
    assert found == [
        "3 models (a, b, a@2), of which the first: one dimension holds up to 58% of 2 layers: h.0, "
        "h.1. Cure: c.",
        "few rows: 58",
        "few rows: 59",
        "a: another matter",
        "b: one more matter",
    ]


def test_of_many_models_some_are_named() -> None:
    layers: dict[str, list[str]] = {f"m{i}": [] for i in range(5)}
    assert merged([f"{label}: no good" for label in layers], layers) == [
        "5 models (m0, m1, m2 and 2 more), of which the first: no good"
    ]


def test_too_few_permutations_are_no_matter_where_something_is_significant() -> None:
    warning = warn_too_few(200, {"pairs": 83}, 0.05, "benjamini_hochberg")
    assert warning is not None
    assert without_answered([warning, "few rows"], significant=True) == ["few rows"]
    assert without_answered([warning, "few rows"], significant=False) == [warning, "few rows"]
