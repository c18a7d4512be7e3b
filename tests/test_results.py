"""The folder of results: tables that come back as they were, failures that are written down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from platorep.errors import (
    AbsentError,
    ConfigError,
    FailedCellsError,
    IntegrityError,
    PlatorepError,
    StorageError,
)
from platorep.reporting import Reporter
from platorep.results import Failures, Results, failed_cells, write_csv, write_parquet

ODD_NAMES = ["7", "007", "1e5", "NA", "nan", "None", "", "True", "2024-01-01", 'a,"b"', "ü\tx"]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


Written = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(params=["csv", "parquet"])
def written(results: Results, request: pytest.FixtureRequest) -> Written:
    """What a table is after it was written and read."""

    def written(table: pd.DataFrame) -> pd.DataFrame:
        path = results.folder / f"table.{request.param}"
        (write_csv if request.param == "csv" else write_parquet)(path, table)
        return results.read_table(path, "align")

    return written


@pytest.mark.parametrize(
    "column",
    ["x", "y", "model", "label", "family", "x_family", "metric", "measure", "reason", "source"],
)
def test_names_stay_text(column: str, written: Written) -> None:
    table = pd.DataFrame({column: ODD_NAMES, "score": range(len(ODD_NAMES))})

    found = written(table)

    assert found[column].tolist() == ODD_NAMES
    assert found["score"].tolist() == list(range(len(ODD_NAMES)))


def test_names_that_are_all_numbers_stay_text(written: Written) -> None:
    found = written(pd.DataFrame({"label": ["7", "8"], "random_of": ["", "7"]}))

    assert found["label"].tolist() == ["7", "8"]
    assert found["random_of"].tolist()[1] == "7"


def test_numbers_come_back_to_the_last_digit(written: Written) -> None:
    values = [1 / 3, 1e-300, -0.1 + 0.3, np.nextafter(1, 2), np.nan]
    table = pd.DataFrame({"score": values, "flag": [True, False] * 2 + [True]})
    table["k"] = pd.array([1, None, 3, 4, 5], dtype="Int64")

    found = written(table)

    assert np.array_equal(found["score"], values, equal_nan=True)
    assert found["flag"].tolist() == table["flag"].tolist()
    assert found["k"].isna().tolist() == [False, True, False, False, False]
    assert found["k"].dropna().tolist() == [1, 3, 4, 5]


def test_an_empty_table_has_its_columns(written: Written) -> None:
    assert list(written(pd.DataFrame(columns=["model", "value"])).columns) == ["model", "value"]


@pytest.mark.parametrize("name", ["best.csv", "scores.parquet"])
def test_an_absent_table_says_what_makes_it(results: Results, name: str) -> None:
    with pytest.raises(AbsentError, match=rf"no {name} in .*results. Run `platorep align`"):
        results.read_table(results.folder / name, "align")


@pytest.mark.parametrize("name", ["best.csv", "scores.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x00", b"PAR1 and then nothing"])
def test_a_damaged_table_is_refused(results: Results, name: str, content: bytes) -> None:
    results.folder.mkdir()
    path = results.folder / name
    path.write_bytes(content)
    if name == "best.csv" and content.startswith(b"PAR1"):
        return  # a table of one column

    with pytest.raises(IntegrityError, match=f"{name} is not a table.*Delete it"):
        results.read_table(path, "align")


def test_json_is_changed_in_place(results: Results) -> None:
    results.record("extract", {"seconds": 1})
    results.record("align", {"seconds": 2})
    results.record("extract", {"seconds": 3})

    assert json.loads(results.run.read_text()) == {
        "extract": {"seconds": 3},
        "align": {"seconds": 2},
    }


@pytest.mark.parametrize("content", ["", "{", "[1]", "7"])
def test_damaged_json_is_refused_and_kept(results: Results, content: str) -> None:
    results.folder.mkdir()
    results.run.write_text(content)

    with pytest.raises(IntegrityError, match=r"run\.json is not"):
        results.record("align", {})
    assert results.run.read_text() == content


# --- failures ---


@pytest.fixture
def failing(results: Results) -> Callable[..., Failures]:
    """A stage in which cells fail."""

    def failing(stage: str, errors: dict[str, Exception], keep_going: bool = True) -> Failures:
        failures = Failures(stage, results, Reporter(-1), keep_going)
        for cell, error in errors.items():
            with failures.catch(cell):
                raise error
        return failures

    return failing


def lines(results: Results) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.failures.read_text().splitlines()]


def test_a_failure_is_written_down_and_the_rest_goes_on(
    results: Results, failing: Callable[..., Failures], capsys: pytest.CaptureFixture[str]
) -> None:
    failures = failing("extract", {"a": AbsentError("no ü"), "b": ZeroDivisionError("bug")})

    first, second = lines(results)
    assert first == {
        "stage": "extract",
        "cell": "a",
        "error": "AbsentError",
        "message": "no ü",
        "traceback": None,
    }
    assert second["error"] == "ZeroDivisionError"
    assert "raise error" in second["traceback"]
    assert list(failures.errors) == ["a", "b"]
    assert "extract a failed: AbsentError: no ü" in capsys.readouterr().err


def test_a_failure_ends_it_if_asked(results: Results, failing: Callable[..., Failures]) -> None:
    with pytest.raises(AbsentError):
        failing("extract", {"a": AbsentError("no")}, keep_going=False)
    assert not results.failures.exists()


@pytest.mark.parametrize("error", [StorageError("full"), KeyboardInterrupt(), SystemExit(143)])
def test_some_things_always_end_it(
    results: Results, failing: Callable[..., Failures], error: Exception
) -> None:
    with pytest.raises(type(error)):
        failing("extract", {"a": error})
    assert not results.failures.exists()


def test_a_stage_forgets_its_own_failures_only(
    results: Results, failing: Callable[..., Failures]
) -> None:
    failing("extract", {"a": AbsentError("no")})
    failing("align", {"b": AbsentError("no")})

    failing("extract", {"c": AbsentError("no")})

    assert [(line["stage"], line["cell"]) for line in lines(results)] == [
        ("align", "b"),
        ("extract", "c"),
    ]
    failing("extract", {})
    failing("align", {})
    assert lines(results) == []


def test_a_line_that_was_cut_off_is_forgotten(
    results: Results, failing: Callable[..., Failures]
) -> None:
    failing("extract", {"a": AbsentError("no")})
    with results.failures.open("a") as file:  # what a killed run leaves
        file.write('{"stage": "al')

    failing("align", {"b": AbsentError("no")})

    assert [(line["stage"], line["cell"]) for line in lines(results)] == [
        ("extract", "a"),
        ("align", "b"),
    ]


def test_if_all_failed_the_first_error_is_the_runs(failing: Callable[..., Failures]) -> None:
    failures = failing("extract", {"a": AbsentError("no"), "b": ConfigError("wrong")})

    failures.raise_if_all(3)
    with pytest.raises(AbsentError):
        failures.raise_if_all(2)
    failing("align", {}).raise_if_all(0)


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([AbsentError("a")], FailedCellsError),
        ([AbsentError("a"), ValueError("b")], FailedCellsError),
        ([AbsentError("a"), IntegrityError("shard 3 is damaged")], IntegrityError),
    ],
)
def test_damage_is_told_first(
    errors: list[Exception], kind: type[PlatorepError], tmp_path: Path
) -> None:
    found = failed_cells(errors, tmp_path / "failures.jsonl")

    assert type(found) is kind
    assert f"{len(errors)} cells failed" in str(found)
    assert str(tmp_path / "failures.jsonl") in str(found)
    if kind is IntegrityError:
        assert "shard 3 is damaged" in str(found)
