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
    DamagedError,
    FailedCellsError,
    IntegrityError,
    PlatorepError,
    StorageError,
)
from platorep.failures import Failures, earlier_failure, failed_cells
from platorep.reporting import Reporter
from platorep.results import Results

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
        results.write_table(path, table, {})
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

    with pytest.raises(IntegrityError, match=f"{name} is not a table.*platorep align"):
        results.read_table(path, "align")


def test_json_is_changed_in_place(results: Results) -> None:
    results.record("extract", {"seconds": 1})
    results.record("align", {"seconds": 2})
    results.record("extract", {"seconds": 3})

    assert results.read_json(results.run, "extract") == {
        "extract": {"seconds": 3},
        "align": {"seconds": 2},
    }


@pytest.mark.parametrize("content", ["", "{", "[1]", "7"])
def test_damaged_json_is_refused_and_kept(results: Results, content: str) -> None:
    results.folder.mkdir()
    results.run.write_text(content)

    with pytest.raises(IntegrityError, match=r"run\.json is damaged"):
        results.record("align", {})
    assert results.run.read_text() == content


def table(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"label": [f"m{i}" for i in range(len(values))], "value": values})


def test_a_table_that_changed_is_seen(results: Results) -> None:
    results.write_table(results.scores, table(1, 2), {})
    content = bytearray(results.scores.read_bytes())
    content[len(content) // 2] ^= 1
    results.scores.write_bytes(content)

    with pytest.raises(DamagedError, match=r"scores\.parquet is damaged.*platorep align"):
        results.read_table(results.scores, "align", Reporter(-1))


def test_a_csv_that_was_edited_is_said(results: Results) -> None:
    results.write_table(results.performance, table(1.0, 2.0), {"rows": "a"})
    results.performance.write_text(results.performance.read_text().replace("2.0", "9.0"))
    report = Reporter(-1)

    found = results.read_table(results.performance, "measure", report)

    assert found["value"].tolist() == [1, 9]
    (warning,) = report.warnings
    assert "was edited" in warning
    assert results.made_from(results.performance, "measure") == {"rows": "a"}
    with pytest.raises(IntegrityError, match="was edited"):
        results.read_table(results.performance, "measure")


def test_a_kill_between_checksum_and_table_leaves_the_old_table_whole(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.write_table(results.best, table(1), {"rows": "old"})

    replace = Path.replace

    def killed(partial: Path, target: Path) -> Path:
        if target == results.best:
            raise KeyboardInterrupt
        return replace(partial, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            results.write_table(results.best, table(2), {"rows": "new"})

    assert results.read_table(results.best, "align")["value"].tolist() == [1]
    assert results.made_from(results.best, "align") == {"rows": "old"}
    results.write_table(results.best, table(3), {"rows": "new"})
    assert results.made_from(results.best, "align") == {"rows": "new"}


def test_tables_that_do_not_go_together_are_refused(results: Results) -> None:
    results.write_table(results.best, table(1), {"rows": "caption 0", "align": "a"})
    results.write_table(results.performance, table(1), {"rows": "caption 1", "network m": "n"})
    results.write_table(results.models, table(1), {"network m": "n"})

    stages = {results.best: "align", results.performance: "measure", results.models: "extract"}
    with pytest.raises(IntegrityError, match=r"best\.csv and performance\.csv .* different rows"):
        results.refuse_mixed(stages)
    del stages[results.best]
    results.refuse_mixed(stages)


def test_what_0_1_0_wrote_goes_with_anything(results: Results) -> None:
    results.write_table(results.best, table(1), {"rows": "a"})
    results.performance.write_text("model,value\nm,1\n")

    results.refuse_mixed({results.best: "align", results.performance: "measure"})

    assert results.read_table(results.performance, "measure")["value"].tolist() == [1]


def test_the_files_of_another_experiment_are_no_substitute(tmp_path: Path) -> None:
    ours, theirs = (Results(tmp_path / name, name) for name in ("ours", "theirs"))
    for folder in (ours, theirs):
        folder.begin({"dataset": {"limit": 3}}, Reporter(-1))
    ours.run.write_bytes(theirs.run.read_bytes())

    with pytest.raises(DamagedError, match="belongs to 'theirs', expected 'ours'"):
        ours.read_json(ours.run, "extract")
    report = Reporter(-1)
    ours.begin({"dataset": {"limit": 4}}, report)
    assert ours.read_json(ours.run, "extract")["config"] == {"dataset": {"limit": 4}}
    assert "belongs to 'theirs'" in report.warnings[0]


def test_other_settings_are_said(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"dataset": {"limit": 3, "split": "a"}, "extract": {"batch": 1}, "figures": []}
    results.begin(settings, Reporter())
    results.begin(settings | {"extract": {"batch": 2}, "figures": [{}]}, Reporter())
    assert capsys.readouterr().err == ""

    results.begin(settings | {"dataset": {"limit": 4, "split": "a"}}, Reporter())

    assert "dataset.limit" in capsys.readouterr().err


# --- failures ---


@pytest.fixture
def failing(results: Results) -> Callable[..., Failures]:
    """A stage in which cells fail."""

    def failing(stage: str, errors: dict[str, Exception], keep_going: bool = True) -> Failures:
        failures = Failures(stage, results.failures, Reporter(-1), keep_going)
        for cell, error in errors.items():
            with failures.catch(cell):
                raise error
        return failures

    return failing


def lines(results: Results) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.failures.read_text().splitlines()]


def test_failures_of_names_with_line_ends_of_other_alphabets_stay(
    results: Results, failing: Callable[..., Failures]
) -> None:
    """Unicode has more ends of lines than JSON escapes, and halves of characters no file holds."""
    hostile = "a\u2028b\x85c\udc80"
    failing("extract", {hostile: AbsentError(hostile)})
    failing("align", {"x": AbsentError("y")})  # reads what is there, and keeps it

    kept = [json.loads(line) for line in results.failures.read_bytes().split(b"\n") if line]

    assert [(line["stage"], line["cell"]) for line in kept] == [
        ("extract", hostile),
        ("align", "x"),
    ]
    assert earlier_failure(results.failures, "extract", hostile) == ("AbsentError", hostile)


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
    assert f"{len(errors)} cell{'s' * (len(errors) > 1)} failed" in str(found)
    assert str(tmp_path / "failures.jsonl") in str(found)
    if kind is IntegrityError:
        assert "shard 3 is damaged" in str(found)


def test_a_damaged_note_of_what_is_drawn_is_written_anew(tmp_path: Path) -> None:
    results = Results(tmp_path, "mine")
    results.update_json(results.drawn, lambda drawn: drawn.update(scaling={}))
    results.drawn.write_text(results.drawn.read_text().replace("scaling", "Scaling"))
    results.begin({}, Reporter(-1))
    assert "scaling" not in results.read_json(results.drawn, "plot")
