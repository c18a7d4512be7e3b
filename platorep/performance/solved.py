"""Share of tasks solved, as on the x axis of figure 2 of arXiv:2405.07987."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platorep.config import TableConfig, TasksSolvedConfig
from platorep.errors import ConfigError, DataError
from platorep.performance.job import Job, Planned, Row
from platorep.performance.table import numbers_of_models, read_table, table_columns
from platorep.reporting import Reporter

ROUNDING = 1e-12
"""Relative: 0.6 is at least 0.8 * 0.75, which floating point makes 0.6000000000000001."""


@dataclass(frozen=True)
class Solved:
    share: float
    solved: tuple[str, ...]
    num_tasks: int


def solved_rows(job: Job, config: TasksSolvedConfig) -> Iterator[Row]:
    """A row for each model that has every task; of the rows of the measures before."""
    accuracies: dict[str, dict[str, float]] = {}

    def add(task: str, numbers: dict[str, float]) -> None:
        if task in accuracies:
            raise ConfigError(
                f"{config.name}: two tasks are called {task!r}. Name each once; of two tables with "
                "one file name, rename one."
            )
        accuracies[task] = numbers

    for one in config.tasks:
        if isinstance(one, str):
            if any(row["better"] == "lower" for row in job.rows if row["measure"] == one):
                raise ConfigError(
                    f"{config.name}: of the task {one!r} less is better, so it is no accuracy and "
                    "cannot be solved at a share of the best. Leave it out."
                )
            add(one, {row["model"]: row["value"] for row in job.rows if row["measure"] == one})
            continue
        header = table_columns(Path(one.table), config.name)
        columns = one.columns or [c for c in header if c not in ("model", "source")]
        if not columns:
            raise ConfigError(f"{config.name}: {one.table} has no column with a task's accuracies.")
        for column in columns:
            table = TableConfig(name=config.name, table=one.table, value=column)
            numbers = {
                label: e.value for label, e in numbers_of_models(job, column, read_table(table))
            }
            add(f"{Path(one.table).name}: {column}", numbers)
    if len(job.run.specs) < len(job.run.config.models()):
        job.report.warn(f"{config.name}: only the models asked for are candidates for the best")
    labels = [spec.label for spec in job.trained]
    chances = {row["measure"]: row["chance"] for row in job.rows if "chance" in row}
    for label, solved in tasks_solved(config, accuracies, labels, chances, job.report).items():
        yield {
            "model": label,
            "measure": config.name,
            "better": "higher",
            "value": solved.share,
            "source": f"{len(solved.solved)} of {solved.num_tasks} tasks, at {config.solved_at:g} "
            f"of the best model's accuracy: {', '.join(solved.solved) or 'none'}",
        }


def plan_solved(config: TasksSolvedConfig, planned: Planned) -> dict[str, Any]:
    return {"note": f"from {len(config.tasks)} other measures"}


def tasks_solved(
    wanted: TasksSolvedConfig,
    accuracies: Mapping[str, Mapping[str, float]],
    trained: Sequence[str],
    chances: Mapping[str, float],
    report: Reporter,
) -> dict[str, Solved]:
    """Label -> the share of tasks at which a model reaches `solved_at` of the best one.

    A model that lacks a task has no share: another set of tasks is another scale.

    Args:
        accuracies: Task -> label -> accuracy.
        trained: Labels of the models of which one is the best; the others are controls.
        chances: Task -> accuracy of always saying the most frequent class, where that is known.

    Raises:
        DataError: no trained model has an accuracy above 0 on some task.
    """
    enough: dict[str, float] = {}
    for task, found in accuracies.items():
        label = max((m for m in trained if m in found), key=lambda m: found[m], default=None)
        if label is None or found[label] <= 0:
            raise DataError(
                f"{wanted.name}: no trained model has an accuracy above 0 on the task {task}, so "
                "none is the best. Leave that task out, or see why it has no numbers."
            )
        enough[task] = wanted.solved_at * found[label] * (1 - ROUNDING)
        report.say(
            f"{wanted.name}: {task}: the best is {label} with {found[label]:.4g}, solved from "
            f"{enough[task]:.4g}"
        )
        if chances.get(task, 0) >= enough[task]:
            report.warn(
                f"{wanted.name}: {task} is solved by always saying the most frequent class "
                f"({chances[task]:.4g}): it does not tell models apart"
            )
    shares = {}
    for model in dict.fromkeys(label for found in accuracies.values() for label in found):
        if missing := [task for task in accuracies if model not in accuracies[task]]:
            report.say(f"{model} has no {wanted.name}: it lacks {', '.join(missing)}")
            continue
        solved = tuple(task for task in accuracies if accuracies[task][model] >= enough[task])
        shares[model] = Solved(len(solved) / len(accuracies), solved, len(accuracies))
    return shares
