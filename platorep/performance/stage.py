"""The stage: every measure of the experiment for every model that has it -> `performance.csv`."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from platorep.config import BitsPerByteConfig, ExperimentConfig, ModelSpec, TableConfig
from platorep.data import load_dataset
from platorep.errors import IntegrityError
from platorep.files import ByteLocks, write_json
from platorep.models import compute_dtype, environment, open_model
from platorep.performance.bits import bits_per_byte, measurement_key
from platorep.performance.causal import CausalModel, open_causal
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.table import read_table
from platorep.reporting import Reporter
from platorep.results import Failures, Results, write_csv

COLUMNS = ("model", "measure", "value", "source", "num_bytes", "num_documents", "context", "dtype")


def measure(
    config: ExperimentConfig,
    specs: Sequence[ModelSpec],
    results: Results,
    root: Path,
    device: torch.device,
    report: Reporter,
    *,
    offline: bool = False,
    keep_going: bool = True,
    overwrite: bool = False,
) -> tuple[Failures, pd.DataFrame]:
    """Measure all models and write `performance.csv`.

    A measurement is kept in the cache (`measurements/`), shared by all experiments.

    Raises:
        PlatorepError: with `keep_going`, only if nothing at all could be measured.
    """
    started = time.monotonic()
    failures = Failures("measure", results, report, keep_going)
    rows: list[dict[str, Any]] = []
    for wanted in config.performance:
        if isinstance(wanted, TableConfig):
            with failures.catch(wanted.name):
                rows += _from_table(wanted, specs, report)
            continue
        with failures.catch(wanted.name):
            corpora = _corpora(config, wanted, specs, offline)
            for corpus in dict.fromkeys(corpora.values()):
                report.say(f"{wanted.name}: {corpus.num_bytes} bytes of {corpus.source}")
            for spec in specs:
                with failures.catch(f"{wanted.name} of {spec.label}"):
                    corpus = corpora[spec.variant]
                    rows += _bits(
                        config, wanted, corpus, spec, root, device, report, offline, overwrite
                    )
    if not rows:
        failures.raise_if_all(1)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(("num_bytes", "num_documents", "context"), "Int64"))
    write_csv(results.performance, table)
    results.record(
        "measure",
        {
            "environment": environment(device),
            "failed": sorted(failures.errors),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": report.warnings,
        },
    )
    return failures, table


def _corpora(
    config: ExperimentConfig,
    wanted: BitsPerByteConfig,
    specs: Sequence[ModelSpec],
    offline: bool,
) -> dict[str, Corpus]:
    """Variant ("" for none) -> what its models are measured on: one corpus, or their captions."""
    variants = dict.fromkeys(spec.variant for spec in specs)
    if wanted.source != "captions":
        return dict.fromkeys(variants, read_corpus(wanted, offline=offline))
    dataset = load_dataset(config.dataset, offline=offline)
    return {
        variant: read_corpus(wanted, dataset.reading(variant).texts, offline=offline)
        for variant in variants
    }


def _from_table(
    wanted: TableConfig, specs: Sequence[ModelSpec], report: Reporter
) -> Iterator[dict[str, Any]]:
    """A trained model is found by its label or its name; a random copy has no number of its own."""
    table = read_table(wanted)
    for spec in specs:
        if spec.random_init:
            continue
        entry = table.get(spec.label) or table.get(spec.name)
        if entry is None:
            report.detail(f"{wanted.name}: the table has no number for {spec.label}")
        else:
            yield {
                "model": spec.label,
                "measure": wanted.name,
                "value": entry.value,
                "source": entry.source,
            }


def _bits(
    config: ExperimentConfig,
    wanted: BitsPerByteConfig,
    corpus: Corpus,
    spec: ModelSpec,
    root: Path,
    device: torch.device,
    report: Reporter,
    offline: bool,
    overwrite: bool,
) -> Iterator[dict[str, Any]]:
    """One row, or none for what is no causal language model."""
    if spec.modality != "language" or spec.backend not in ("transformers", "toyworld"):
        return
    open_model(spec, offline=offline).prepare(report)
    model = open_causal(spec, offline=offline)
    if why := model.why_none():
        report.say(f"{spec.label} is {why}: it has no {wanted.name}")
        return
    dtype = compute_dtype(spec, config.extract.dtype, device)
    key = measurement_key(
        model.identity(),
        corpus,
        context=wanted.context,
        score_end=wanted.score_end,
        dtype=dtype,
    )
    path = root / "measurements" / f"{key}.json"
    if overwrite or not path.exists():  # without a lock: a cache that is complete may be read-only
        with ByteLocks(path.with_suffix(".lock")) as locks:
            locks.acquire(0, wait=True)
            if overwrite or not path.exists():
                write_json(path, _measure(wanted, corpus, model, dtype, device, report))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(
            f"{path} is damaged: {error}. Delete it; the same command measures again."
        ) from error
    if found["num_not_given_back"]:
        report.warn(
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


def _measure(
    wanted: BitsPerByteConfig,
    corpus: Corpus,
    model: CausalModel,
    dtype: str,
    device: torch.device,
    report: Reporter,
) -> dict[str, Any]:
    loaded = model.load(device, getattr(torch, dtype))
    name = f"{wanted.name} of {model.spec.label}"
    with report.task(name, corpus.num_bytes, "bytes") as advance:
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
        "environment": environment(device),
    }
