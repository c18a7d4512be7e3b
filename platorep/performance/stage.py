"""The stage: every measure of the experiment for every model that has it -> `performance.csv`."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from platorep.config import (
    BitsPerByteConfig,
    HarnessConfig,
    LabelledConfig,
    ModelSpec,
    PerformanceConfig,
    ProbeConfig,
    TableConfig,
    TasksSolvedConfig,
)
from platorep.data import load_dataset
from platorep.errors import ConfigError
from platorep.models import compute_dtypes, environment, open_model
from platorep.performance.bits import bits_per_byte, measurement_key
from platorep.performance.causal import CausalModel, open_causal
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.harness import evaluations_of, read_evaluations
from platorep.performance.kept import is_kept, kept
from platorep.performance.labelled import Labelled, read_labelled
from platorep.performance.probing import probed
from platorep.performance.solved import tasks_solved
from platorep.performance.table import TableEntry, entry_of, read_table, table_columns
from platorep.reporting import Reporter
from platorep.results import Failures, write_csv
from platorep.run import Run

COLUMNS = (
    *("model", "measure", "value", "stderr", "source"),
    *("num_bytes", "num_documents", "context", "dtype"),
)
Row = dict[str, Any]


@dataclass
class Job:
    """What all measures of one run need."""

    run: Run
    failures: Failures
    _labelled: dict[LabelledConfig, Labelled] = field(default_factory=dict)

    @property
    def report(self) -> Reporter:
        return self.run.report

    @property
    def offline(self) -> bool:
        return self.run.options.offline

    @property
    def overwrite(self) -> bool:
        return self.run.options.overwrite == "always"

    @cached_property
    def trained(self) -> tuple[ModelSpec, ...]:
        return tuple(spec for spec in self.run.specs if not spec.random_init)

    def labelled(self, config: LabelledConfig) -> Labelled:
        """Read once, though several probes may use it."""
        if config not in self._labelled:
            found = read_labelled(config, offline=self.offline)
            self._labelled[config] = found
            sizes = (len(part.rows) for part in (found.train, found.validation, found.test))
            self.report.say(
                f"{config.source}: {'/'.join(map(str, sizes))} images to train, choose and report "
                f"on; always saying the most frequent class gets {found.chance:.3f}"
            )
            if found.num_leaked:
                self.report.warn(
                    f"{config.source}: {found.num_leaked} of {len(found.test.rows)} test images "
                    "are exact copies of images that the probes are trained or chosen on"
                )
        return self._labelled[config]


def measure(run: Run) -> tuple[Failures, pd.DataFrame]:
    """Measure all models and write `performance.csv`.

    A measurement is kept in the cache (`measurements/`), shared by all experiments.

    Raises:
        PlatorepError: with `keep_going`, only if nothing at all could be measured.
    """
    started = time.monotonic()
    failures = run.failures("measure")
    job = Job(run, failures)
    rows: list[Row] = []
    # the share of tasks solved comes last: it is made of the others
    for wanted in sorted(
        run.config.performance, key=lambda one: isinstance(one, TasksSolvedConfig)
    ):
        with failures.catch(wanted.name):
            rows += _rows(job, wanted, rows)
    if not rows:
        failures.raise_if_all(1)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(("num_bytes", "num_documents", "context"), "Int64"))
    table = table.astype({"stderr": float})
    write_csv(run.results.performance, table)
    run.results.record(
        "measure",
        {
            "environment": environment(run.device),
            "failed": sorted(failures.errors),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": run.report.warnings,
        },
    )
    return failures, table


def _rows(job: Job, wanted: PerformanceConfig, before: Sequence[Row]) -> list[Row]:
    """What a measure adds to the table. Whatever fails for one model only is noted and left out."""
    if isinstance(wanted, TableConfig):
        entries = _of_models(job, wanted.name, read_table(wanted))
        return [{"model": label, "measure": wanted.name} | asdict(e) for label, e in entries]
    if isinstance(wanted, HarnessConfig):
        return list(_from_harness(job, wanted))
    if isinstance(wanted, TasksSolvedConfig):
        return list(_solved(job, wanted, before))
    rows: list[Row] = []
    if isinstance(wanted, ProbeConfig):
        labelled = job.labelled(wanted.dataset)
        for spec in job.run.specs:
            with job.failures.catch(f"{wanted.name} of {spec.label}"):
                rows += _probe(job, wanted, labelled, spec)
        return rows
    corpora = _corpora(job, wanted)
    for corpus in dict.fromkeys(corpora.values()):
        job.report.say(f"{wanted.name}: {corpus.num_bytes} bytes of {corpus.source}")
    for spec in job.run.specs:
        with job.failures.catch(f"{wanted.name} of {spec.label}"):
            rows += _bits(job, wanted, corpora[spec.variant], spec)
    return rows


def _of_models(
    job: Job, measure: str, entries: dict[str, TableEntry]
) -> Iterator[tuple[str, TableEntry]]:
    for spec in job.trained:
        entry = entry_of(entries, spec)
        if entry is None:
            job.report.detail(f"{measure}: the table has no number for {spec.label}")
        else:
            yield spec.label, entry


def _from_harness(job: Job, wanted: HarnessConfig) -> Iterator[Row]:
    evaluations = read_evaluations(wanted)
    found = evaluations_of(wanted, evaluations, job.trained)
    if not any(found.values()):
        names = sorted({name for evaluation in evaluations for name in evaluation.models})
        job.report.warn(f"{wanted.name}: the result files are of other models: {', '.join(names)}")
    for label, (*older, newest) in ((one, own) for one, own in found.items() if own):
        if older:
            job.report.say(
                f"{wanted.name}: {label} was evaluated {1 + len(older)} times; the newest is "
                f"taken, {newest.path.name}, not {', '.join(one.path.name for one in older)}"
            )
        value, stderr = newest.number(wanted)
        yield {
            "model": label,
            "measure": wanted.name,
            "value": value,
            "stderr": stderr,
            "source": newest.source(wanted),
        }
    for label in (one for one, own in found.items() if not own):
        job.report.detail(f"{wanted.name}: no result file is of {label}")


def _solved(job: Job, wanted: TasksSolvedConfig, before: Sequence[Row]) -> Iterator[Row]:
    accuracies: dict[str, dict[str, float]] = {}

    def add(task: str, found: dict[str, float]) -> None:
        if task in accuracies:
            raise ConfigError(
                f"{wanted.name}: two tasks are called {task!r}. Name each once; of two tables with "
                "one file name, rename one."
            )
        accuracies[task] = found

    for one in wanted.tasks:
        if isinstance(one, str):
            add(one, {row["model"]: row["value"] for row in before if row["measure"] == one})
            continue
        header = table_columns(Path(one.table), wanted.name)
        columns = one.columns or [c for c in header if c not in ("model", "source")]
        if not columns:
            raise ConfigError(f"{wanted.name}: {one.table} has no column with a task's accuracies.")
        for column in columns:
            table = TableConfig(name=wanted.name, table=one.table, value=column)
            found = {label: e.value for label, e in _of_models(job, column, read_table(table))}
            add(f"{Path(one.table).name}: {column}", found)
    if len(job.run.specs) < len(job.run.config.models()):
        job.report.warn(f"{wanted.name}: only the models asked for are candidates for the best")
    labels = [spec.label for spec in job.trained]
    chances = {row["measure"]: row["chance"] for row in before if "chance" in row}
    for label, solved in tasks_solved(wanted, accuracies, labels, chances, job.report).items():
        yield {
            "model": label,
            "measure": wanted.name,
            "value": solved.share,
            "source": f"{len(solved.solved)} of {solved.num_tasks} tasks, at {wanted.solved_at:g} "
            f"of the best model's accuracy: {', '.join(solved.solved) or 'none'}",
        }


def _probe(job: Job, wanted: ProbeConfig, labelled: Labelled, spec: ModelSpec) -> Iterator[Row]:
    """One row, or none for what sees no images of a dataset."""
    if spec.modality != "vision" or spec.backend not in ("timm", "toyworld"):
        return
    dtype, found = probed(job.run, wanted, labelled, spec)
    if not found["converged"]:
        job.report.warn(
            f"{wanted.name} of {spec.label}: the solver did not converge in "
            f"{wanted.max_iterations} iterations; raise max_iterations or leave out the larger c"
        )
    setting = "c" if wanted.probe == "linear" else "k"
    yield {
        "model": spec.label,
        "measure": wanted.name,
        "value": found["value"],
        "stderr": found["stderr"],
        "source": f"{wanted.probe} probe of {found['layer']} ({setting} {found['setting']:g}) on "
        f"{labelled.test.dataset.name}, {found['num_test']} test images of "
        f"{found['num_classes']} classes, {found['num_train'] + found['num_validation']} to train "
        f"on, most frequent class {found['chance']:.3f}",
        "dtype": dtype,
        "chance": found["chance"],  # for the share of tasks solved
    }


def _corpora(job: Job, wanted: BitsPerByteConfig) -> dict[str, Corpus]:
    """Variant ("" for none) -> what its models are measured on: one corpus, or their captions."""
    variants = dict.fromkeys(spec.variant for spec in job.run.specs)
    if wanted.source != "captions":
        return dict.fromkeys(variants, read_corpus(wanted, offline=job.offline))
    dataset = load_dataset(job.run.config.dataset, offline=job.offline)
    return {
        variant: read_corpus(wanted, dataset.reading(variant).texts, offline=job.offline)
        for variant in variants
    }


def _bits(job: Job, wanted: BitsPerByteConfig, corpus: Corpus, spec: ModelSpec) -> Iterator[Row]:
    """One row, or none for what is no causal language model."""
    if spec.modality != "language" or spec.backend not in ("transformers", "toyworld"):
        return
    open_model(spec, offline=job.offline).prepare(job.report)
    model = open_causal(spec, offline=job.offline)
    if why := model.why_none():
        job.report.say(f"{spec.label} is {why}: it has no {wanted.name}")
        return
    own, *others = compute_dtypes(spec, job.run.config.extract.dtype, job.run.device)
    key_in = partial(
        measurement_key,
        model.identity(),
        corpus,
        context=wanted.context,
        score_end=wanted.score_end,
    )
    # another machine's automatic choice is taken where it is there; an explicit one binds
    there = [dtype for dtype in (own, *others) if is_kept(job.run.root, key_in(dtype=dtype))]
    dtype = there[0] if there and not job.overwrite else own
    if dtype != own:
        job.report.say(f"{wanted.name} of {spec.label} is there in {dtype}, and is taken")
    found = kept(
        job.run.root,
        key_in(dtype=dtype),
        lambda: _measure_bits(job.run, wanted, corpus, model, dtype),
        overwrite=job.overwrite,
    )
    if found["num_not_given_back"]:
        job.report.warn(
            f"{spec.label}: the tokenizer does not give {found['num_not_given_back']} documents "
            f"back, first number {found['first_not_given_back']}: their bits are of another text"
        )
    yield {
        "model": spec.label,
        "measure": wanted.name,
        "source": corpus.source,
        "dtype": dtype,
        **{name: found[name] for name in ("value", "num_bytes", "num_documents", "context")},
    }


def _measure_bits(
    run: Run, wanted: BitsPerByteConfig, corpus: Corpus, model: CausalModel, dtype: str
) -> dict[str, Any]:
    loaded = model.load(run.device, getattr(torch, dtype))
    name = f"{wanted.name} of {model.spec.label}"
    with run.report.task(name, corpus.num_bytes, "bytes") as advance:
        found = bits_per_byte(
            loaded.network,
            loaded.tokenizer,
            corpus,
            context=wanted.context,
            score_end=wanted.score_end,
            progress=advance,
        )
    return asdict(found) | {
        "model": model.spec.label,
        "identity": model.identity(),
        "environment": environment(run.device),
    }
