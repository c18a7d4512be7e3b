"""Accuracies that EleutherAI's lm-evaluation-harness measured, from its result files.

Such a file is one JSON object. What is read of it: `results` (task -> `acc_norm,none`, where
`none` is a filter; before version 0.4 just `acc_norm`; the standard error under
`acc_norm_stderr,none`), `versions` and `n-shot` (by task), `config` (`model_args`, `limit`,
before 0.4 `num_fewshot`), `model_name`, `date`.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from platorep.config import HarnessConfig, ModelSpec
from platorep.config.performance import Better
from platorep.data.patterns import matching_files
from platorep.data.source import parse_json
from platorep.errors import (
    AbsentError,
    ConfigError,
    DataError,
    IntegrityError,
    PlatorepError,
    UnknownNameError,
)
from platorep.files import reading
from platorep.performance.job import Job, Planned, Row

NAMES = ("pretrained", "model", "model_path")
"""Arguments that name a model, the first that is there."""
PLAIN = frozenset(
    (
        *("revision", "backend", "dtype", "torch_dtype", "softmax_dtype", "mixed_precision_dtype"),
        *("device", "device_map", "parallelize", "gpus", "max_memory_per_gpu", "max_cpu_memory"),
        *("offload_folder", "low_cpu_mem_usage", "attn_implementation", "trust_remote_code"),
        *("batch_size", "max_batch_size", "max_length", "max_model_len", "max_gen_toks"),
        *("context_length", "truncation", "logits_cache", "use_fast_tokenizer", "tokenizer_mode"),
        *("add_bos_token", "prefix_token_id", "seed", "cache_dir", "token", "local_files_only"),
        *("think_end_token", "enable_thinking", "chat_template_args", "use_safetensors"),
        # how vLLM and SGLang spread a model and its memory
        *("tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size", "tp_size"),
        *("dp_size", "gpu_memory_utilization", "mem_fraction_static", "swap_space"),
        *("max_num_seqs", "max_num_batched_tokens", "enforce_eager", "enable_prefix_caching"),
        *("enable_chunked_prefill", "chunked_prefill_size", "distributed_executor_backend"),
        *("disable_log_stats", "max_lora_rank"),
    )
)
"""Arguments that leave the weights as they are; any other makes another model of what is named."""
MAIN = ("", "main", None)
NOTHING = ("", "None", "False", "false")
LESS_IS_BETTER = (
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
    "brier_score",
)
"""Of the harness's metrics, for files that do not say so: those from before version 0.4."""
NO_METRICS = ("alias", "name", "sample_len", "sample_count", "samples", " ")
"""What else stands among a task's numbers."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d")


@dataclass(frozen=True)
class Evaluation:
    """One result file: one model, some tasks."""

    path: Path
    content: Mapping[str, Any]
    plain: frozenset[str] = PLAIN
    """Arguments that leave the model as it is."""

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """Task or group -> its numbers. A group stands in both tables, and often in one empty."""
        groups, results = self.content.get("groups") or {}, self.content["results"]
        return {task: groups.get(task, {}) | results.get(task, {}) for task in groups | results}

    @property
    def models(self) -> tuple[str, ...]:
        """What the evaluated model is called."""
        name = next((own for key in NAMES if (own := self._arguments.get(key))), None)
        added = [
            f"{key}={value}"
            for key, value in self._arguments.items()
            if key not in self.plain and str(value) not in (*NOTHING, str(name))
        ]
        if added:
            return (f"{name} with {', '.join(added)}",)
        names = (name, self.content.get("model_name"))
        return tuple(dict.fromkeys(_bare(str(name)) for name in names if name))

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

    def parts(self, group: str) -> tuple[str, ...]:
        """The tasks of a group."""
        return tuple((self.content.get("group_subtasks") or {}).get(group) or ())

    def is_of(self, spec: ModelSpec) -> bool:
        """Whether this is the trained model of `spec`: by name and revision, or by label."""
        wanted = None if spec.revision in MAIN else spec.revision
        commit = str(self._config.get("model_sha") or "")
        same_revision = self.revision == wanted or bool(wanted and commit.startswith(wanted))
        if _bare(spec.name) in self.models:
            return same_revision
        return spec.label in self.models and (same_revision or self.revision is None)

    def better(self, wanted: HarnessConfig) -> Better:
        """Which values of the metric are better: what the experiment says, else what the file."""
        by_metric = (self.content.get("higher_is_better") or {}).get(wanted.task) or {}
        higher = by_metric.get(wanted.metric)
        if wanted.better or higher is None:
            return wanted.better or ("lower" if wanted.metric in LESS_IS_BETTER else "higher")
        return "higher" if higher else "lower"

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
        """`model_args`: an object, or `pretrained=org/name,revision=main`, perhaps with quotes."""
        arguments = self._config.get("model_args") or {}
        if not isinstance(arguments, Mapping):
            pairs = (part.partition("=") for part in str(arguments).split(","))
            arguments = {key.strip(): value for key, equals, value in pairs if equals}
        return {
            key: value.strip().strip("'\"") if isinstance(value, str) else value
            for key, value in arguments.items()
        }


def _bare(name: str) -> str:
    """A model's name or folder without a closing slash."""
    return name.rstrip("/") or name


def harness_rows(job: Job, config: HarnessConfig) -> Iterator[Row]:
    """A row for each trained model that a result file is of."""
    evaluations = read_evaluations(config)
    of_models = evaluations_of(config, evaluations, job.trained)
    if not any(of_models.values()):
        names = sorted({name for evaluation in evaluations for name in evaluation.models})
        way_out = ". An argument that leaves a model what it is can be named in `regardless_of`"
        job.report.warn(
            f"{config.name}: the result files are of other models: {', '.join(names)}"
            + (way_out if any(" with " in name for name in names) else "")
        )
    for label, (*older, newest) in ((one, own) for one, own in of_models.items() if own):
        if older:
            job.report.say(
                f"{config.name}: {label} was evaluated {1 + len(older)} times; the newest is "
                f"taken, {newest.path.name}, not {', '.join(one.path.name for one in older)}"
            )
        value, stderr = newest.number(config)
        yield {
            "model": label,
            "measure": config.name,
            "better": newest.better(config),
            "value": value,
            "stderr": stderr,
            "source": newest.source(config),
        }
    for label in (one for one, own in of_models.items() if not own):
        job.report.detail(f"{config.name}: no result file is of {label}")


def plan_harness(config: HarnessConfig, planned: Planned) -> dict[str, Any]:
    files = read_evaluations(config)
    known = sum(map(bool, evaluations_of(config, files, planned.trained).values()))
    return {"note": f"{known} of {len(planned.trained)} models, in {len(files)} result files"}


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
    named = Path(wanted.harness)
    if named.is_dir():
        paths: Iterable[Path] = named.rglob("results*.json")
    elif named.is_file():
        paths = [named]
    else:
        paths = matching_files(wanted.harness)
    plain = PLAIN.union(wanted.regardless_of)
    evaluations = [replace(_read(path), plain=plain) for path in sorted(paths)]
    if not evaluations:
        raise AbsentError(
            f"performance {wanted.name}: no result file of lm-evaluation-harness at {named}. "
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
    with_task = [one for one in evaluations if wanted.task in one.tasks]
    if not with_task:
        tasks = {task for one in evaluations for task in one.tasks}
        raise UnknownNameError("task of the result files", wanted.task, tasks)
    usable = [one for one in with_task if metric_key(one.tasks[wanted.task], wanted)]
    if not usable:
        raise _no_such_metric(wanted, with_task)
    return {spec.label: [one for one in usable if one.is_of(spec)] for spec in specs}


def _no_such_metric(wanted: HarnessConfig, evaluations: Sequence[Evaluation]) -> PlatorepError:
    keys = {
        key.removesuffix(",none")
        for one in evaluations
        for key in one.tasks[wanted.task]
        if "_stderr" not in key and key not in NO_METRICS
    }
    parts = dict.fromkeys(part for one in evaluations for part in one.parts(wanted.task))
    if parts and not keys:
        return ConfigError(
            f"performance {wanted.name}: {wanted.task} is a group of tasks without a number of its "
            f"own. Name one of its tasks: {', '.join(parts)}."
        )
    asked = wanted.metric + ("" if wanted.filter == "none" else f",{wanted.filter}")
    return UnknownNameError(f"metric of task {wanted.task} (metric,filter)", asked, keys)


def _read(path: Path) -> Evaluation:
    def is_table(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())

    try:
        with reading(path):
            content = parse_json(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}.") from error
    keys = (
        "results",
        "groups",
        "versions",
        "n-shot",
        "config",
        "group_subtasks",
        "higher_is_better",
    )
    if (
        not isinstance(content, dict)
        or not content.get("results")
        or not all(is_table(content.get(key) or {}) for key in keys[:2])
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
