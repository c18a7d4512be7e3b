"""Share of tasks solved, by hand."""

from pathlib import Path

import pytest
from runs import run_of

from platorep.config import ExperimentConfig, TasksSolvedConfig
from platorep.errors import ConfigError, DataError
from platorep.performance import measure
from platorep.performance.solved import tasks_solved
from platorep.reporting import Reporter

ACCURACIES = {
    "birds": {"big": 0.9, "small": 0.71, "big (random)": 0.95},  # solved from 0.72
    "signs": {"big": 0.6, "small": 0.75, "big (random)": 0.1},  # solved from 0.6, exactly
    "plants": {"big": 0.5, "small": 0.2, "big (random)": 0.1, "blind": 0.5},  # solved from 0.4
}
CHANCES = {"birds": 0.1, "signs": 0.6}


def shares(accuracies: dict[str, dict[str, float]], solved_at: float = 0.8) -> dict[str, float]:
    wanted = TasksSolvedConfig(name="solved", tasks=tuple(accuracies), solved_at=solved_at)
    found = tasks_solved(wanted, accuracies, ["big", "small", "blind"], CHANCES, Reporter(0))
    return {label: one.share for label, one in found.items()}


def test_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """The random copy is better than both on birds, and yet it is not what they must reach."""
    found = shares(ACCURACIES)
    said = capsys.readouterr().err

    assert found == {"big": 1.0, "small": 1 / 3, "big (random)": 1 / 3}
    assert "birds: the best is big with 0.9, solved from 0.72" in said
    assert "blind has no solved: it lacks birds, signs" in said
    assert "signs is solved by always saying the most frequent class (0.6)" in said
    assert "birds is solved by always" not in said


def test_the_best_model_solves_its_task_at_any_share() -> None:
    found = shares({"a": {"big": 1 / 3, "small": 0.3333}}, solved_at=1.0)

    assert found == {"big": 1.0, "small": 0.0}


def test_a_task_that_nobody_can_do() -> None:
    with pytest.raises(DataError, match="no trained model has an accuracy above 0 on the task a"):
        shares({"a": {"big": 0.0}})
    with pytest.raises(DataError, match="no trained model"):
        shares({"a": {"big (random)": 0.5}})


def test_tasks_of_one_name_are_refused_and_so_is_a_table_without_tasks(tmp_path: Path) -> None:
    """Two tables in two folders may have one file name; neither may hide the other."""
    (tmp_path / "other").mkdir()
    for place, numbers in ((".", ".5\nllama16,.6"), ("other", ".1\nllama16,.9")):
        (tmp_path / place / "t.csv").write_text(f"model,a\nllama8,{numbers}\n")
    (tmp_path / "empty.csv").write_text("model,source\n")
    tables = {
        name: {"table": str(tmp_path / name)} for name in ("t.csv", "other/t.csv", "empty.csv")
    }

    for tasks, problem in (
        ([tables["t.csv"], tables["other/t.csv"]], "two tasks are called 't.csv: a'"),
        ([tables["t.csv"] | {"columns": ["a", "a"]}], "two tasks are called 't.csv: a'"),
        ([tables["empty.csv"]], "no column with a task's accuracies"),
    ):
        raw = {
            "name": "solved",
            "dataset": {"source": "toyworld", "limit": 16},
            "families": [
                {
                    "name": "Llamas",
                    "modality": "language",
                    "backend": "toyworld",
                    "models": ["llama8", "llama16"],
                    "training": {"steps": 0},
                }
            ],
            "performance": [{"name": "solved", "tasks": tasks}],
            "align": {"pairs": [["language", "language"]]},
        }
        config = ExperimentConfig.model_validate(raw)
        with pytest.raises(ConfigError, match=problem):
            measure(run_of(config, tmp_path / "results", tmp_path / "cache"))


def test_a_task_of_which_less_is_better_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("model,a\nllama8,.5\n")
    config = ExperimentConfig.model_validate(
        {
            "name": "test",
            "dataset": {"source": "toyworld", "limit": 8},
            "families": [{"name": "f", "modality": "language", "models": ["llama8"]}],
            "performance": [
                {"name": "loss", "table": str(tmp_path / "t.csv"), "value": "a", "better": "lower"},
                {"name": "solved", "tasks": ["loss"]},
            ],
            "align": {"pairs": [["language", "language"]]},
        }
    )

    failures, table = measure(run_of(config, tmp_path / "results", tmp_path / "cache"))

    assert isinstance(failures.errors["solved"], ConfigError)
    assert list(table["measure"]) == ["loss"]
