"""Accuracies that EleutherAI's lm-evaluation-harness measured, from its result files.

Such a file is one JSON object. What is read of it: `results` (task -> `acc_norm,none`, where
`none` is a filter; before version 0.4 just `acc_norm`; the standard error under
`acc_norm_stderr,none`), `versions` and `n-shot` (by task), `config` (`model_args`, `limit`,
before 0.4 `num_fewshot`), `model_name`, `date`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import glob
from pathlib import Path
from typing import Any

from platorep.config import HarnessConfig, ModelSpec
from platorep.errors import AbsentError, DataError, IntegrityError, UnknownNameError

ADDITIONS = (
    *("peft", "delta", "gguf_file", "subfolder", "autogptq", "gptqmodel"),
    *("load_in_8bit", "load_in_4bit"),
)
"""Arguments that make another model of what `pretrained` names."""
MAIN = ("", "main", None)
NOTHING = ("", "None", "False", "false")
NO_METRICS = ("alias", "name", "sample_len", "sample_count", "samples")
"""What else stands among a task's numbers."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d")


@dataclass(frozen=True)
class Evaluation:
    """One result file: one model, some tasks."""

    path: Path
    content: Mapping[str, Any]

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        return {**self.content.get("groups", {}), **self.content["results"]}

    @property
    def models(self) -> tuple[str, ...]:
        """What the evaluated model is called."""
        name = self._arguments.get("pretrained") or self._arguments.get("model")
        said = ((key, self._arguments.get(key)) for key in ADDITIONS)
        added = [f"{key}={value}" for key, value in said if str(value) not in NOTHING]
        if added:
            return (f"{name} with {', '.join(added)}",)
        names = (name, self.content.get("model_name"))
        return tuple(dict.fromkeys(str(name) for name in names if name))

    @property
    def revision(self) -> str | None:
        found = self._arguments.get("revision") or self._config.get("model_revision")
        return None if found in MAIN else str(found)

    @property
    def date(self) -> float:
        """Seconds since 1970: what the file says, else what its name says, else 0."""
        date = self.content.get("date")
        if isinstance(date, int | float):
            return float(date)
        stamp = _STAMP.search(self.path.name)
        if stamp is None:
            return 0.0
        return datetime.strptime(stamp[0], "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC).timestamp()

    def is_of(self, spec: ModelSpec) -> bool:
        """Whether this is the trained model of `spec`: by name and revision, or by label."""
        wanted = None if spec.revision in MAIN else spec.revision
        commit = str(self._config.get("model_sha") or "")
        same_revision = self.revision == wanted or bool(wanted and commit.startswith(wanted))
        if spec.name in self.models:
            return same_revision
        return spec.label in self.models and (same_revision or self.revision is None)

    def source(self, wanted: HarnessConfig) -> str:
        """For tables: file, task, version, shots, metric."""
        by_task = self.content.get("n-shot") or {}
        shots = by_task.get(wanted.task, self._config.get("num_fewshot"))
        parts = (
            self.path.name,
            f"task {wanted.task}",
            _said("version", (self.content.get("versions") or {}).get(wanted.task)),
            "" if shots is None else f"{shots}-shot",
            f"metric {wanted.metric}",
            "" if wanted.filter == "none" else f"filter {wanted.filter}",
            _said("limited to", self._config.get("limit")),
        )
        return ", ".join(part for part in parts if part)

    def number(self, wanted: HarnessConfig) -> tuple[float, float]:
        """Value and standard error (NaN where the file has none).

        Raises:
            DataError: what stands there is no finite number.
        """
        numbers = self.tasks[wanted.task]
        key = metric_key(numbers, wanted)
        assert key is not None
        value = numbers[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise DataError(
                f"{self.path}: {wanted.task}, {key}: expected a number, found {value!r}."
            )
        stderr = numbers.get(key.replace(wanted.metric, f"{wanted.metric}_stderr", 1))
        return float(value), float(stderr) if isinstance(stderr, int | float) else math.nan

    @property
    def _config(self) -> Mapping[str, Any]:
        return self.content.get("config") or {}

    @property
    def _arguments(self) -> Mapping[str, Any]:
        """`model_args`: an object, or `pretrained=org/name,revision=main`."""
        found = self._config.get("model_args") or {}
        if isinstance(found, Mapping):
            return found
        pairs = (part.partition("=") for part in str(found).split(","))
        return {key.strip(): value.strip() for key, _, value in pairs}


def metric_key(numbers: Mapping[str, Any], wanted: HarnessConfig) -> str | None:
    """The key of the metric among a task's numbers; None if it has no such metric."""
    key = f"{wanted.metric},{wanted.filter}"
    if key not in numbers and wanted.filter == "none":
        key = wanted.metric  # as before version 0.4
    return key if key in numbers else None


def read_evaluations(wanted: HarnessConfig) -> list[Evaluation]:
    """Every result file that `harness` names, the oldest first.

    Raises:
        AbsentError: there is none.
        IntegrityError: a file is no result of the harness; names it.
    """
    place = Path(wanted.harness)
    if place.is_dir():
        paths: Iterable[Path] = place.rglob("results*.json")
    elif place.is_file():
        paths = [place]
    else:
        paths = map(Path, glob(wanted.harness, recursive=True))  # noqa: PTH207  absolute patterns
    evaluations = [_read(path) for path in sorted(paths)]
    if not evaluations:
        raise AbsentError(
            f"performance {wanted.name}: no result file of lm-evaluation-harness at {place}. "
            "Expected a file, a folder with results*.json, or a pattern."
        )
    return sorted(evaluations, key=lambda evaluation: evaluation.date)


def evaluations_of(
    wanted: HarnessConfig, evaluations: Sequence[Evaluation], specs: Sequence[ModelSpec]
) -> dict[str, list[Evaluation]]:
    """Label -> the evaluations of a model that have the task and the metric, in their order.

    Args:
        specs: Trained models; a random copy has no number of its own.

    Raises:
        UnknownNameError: no file has the task, or the metric with this filter.
    """
    with_task = [found for found in evaluations if wanted.task in found.tasks]
    if not with_task:
        tasks = {task for found in evaluations for task in found.tasks}
        raise UnknownNameError("task of the result files", wanted.task, tasks)
    usable = [found for found in with_task if metric_key(found.tasks[wanted.task], wanted)]
    if not usable:
        keys = {
            key.removesuffix(",none")
            for found in with_task
            for key in found.tasks[wanted.task]
            if "_stderr" not in key and key not in NO_METRICS
        }
        asked = wanted.metric + ("" if wanted.filter == "none" else f",{wanted.filter}")
        raise UnknownNameError(f"metric of task {wanted.task} (metric,filter)", asked, keys)
    return {spec.label: [found for found in usable if found.is_of(spec)] for spec in specs}


def _read(path: Path) -> Evaluation:
    def is_table(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}.") from error
    keys = ("results", "groups", "versions", "n-shot", "config")
    if (
        not isinstance(content, dict)
        or not content.get("results")
        or not all(is_table(content.get(key, {})) for key in keys[:2])
        or not all(isinstance(content.get(key) or {}, dict) for key in keys[2:])
    ):
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise IntegrityError(
            f"{path} is no result file of lm-evaluation-harness: expected an object whose "
            f"`results` hold the numbers of each task, found {found[:200] or 'nothing'}."
        )
    return Evaluation(path, content)


def _said(what: str, value: Any) -> str:
    return "" if value is None else f"{what} {value}"
