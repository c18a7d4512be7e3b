"""Share of tasks solved, by hand."""

import pytest

from platorep.config import TasksSolvedConfig
from platorep.errors import DataError
from platorep.performance import tasks_solved
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
