"""Bits per byte of the models of an experiment: from their corpus to rows of `performance.csv`."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from platorep.config import BitsPerByteConfig, ModelSpec
from platorep.data import load_dataset
from platorep.models import compute_dtypes, environment, open_model
from platorep.performance.bits import ReadsAheadError, bits_per_byte, measurement_key
from platorep.performance.causal import CausalModel, open_causal
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.job import Job, Planned, Row
from platorep.performance.kept import is_kept, kept
from platorep.run import Run


def bits_rows(job: Job, config: BitsPerByteConfig) -> Iterator[Row]:
    """A row for each causal language model; one that fails is noted and left out."""
    corpora = _corpora(job, config)
    for corpus in dict.fromkeys(corpora.values()):
        job.report.say(f"{config.name}: {corpus.num_bytes} bytes of {corpus.source}")
    for spec in job.run.specs:
        with job.failures.catch(f"{config.name} of {spec.label}"):
            yield from _bits_row(job, config, corpora[spec.variant], spec)


def fetch_corpus(config: BitsPerByteConfig, offline: bool) -> str:
    if config.source == "captions":
        return ""
    corpus = read_corpus(config, offline=offline)
    return f"{corpus.num_bytes} bytes of {corpus.source}"


def plan_bits(config: BitsPerByteConfig, planned: Planned) -> dict[str, Any]:
    return {}


def _corpora(job: Job, config: BitsPerByteConfig) -> dict[str, Corpus]:
    """Variant ("" for none) -> what its models are measured on: one corpus, or their captions."""
    variants = dict.fromkeys(spec.variant for spec in job.run.specs)
    if config.source != "captions":
        return dict.fromkeys(variants, read_corpus(config, offline=job.offline))
    dataset = load_dataset(job.run.config.dataset, offline=job.offline)
    return {
        variant: read_corpus(config, dataset.reading(variant).texts, offline=job.offline)
        for variant in variants
    }


def _bits_row(
    job: Job, config: BitsPerByteConfig, corpus: Corpus, spec: ModelSpec
) -> Iterator[Row]:
    """One row, or none for what is no causal language model."""
    if spec.modality != "language" or spec.backend not in ("transformers", "toyworld"):
        return
    open_model(spec, offline=job.offline).prepare(job.report)
    model = open_causal(spec, offline=job.offline)
    if why := model.why_none():
        job.report.say(f"{spec.label} is {why}: it has no {config.name}")
        return
    own, *others = compute_dtypes(spec, job.run.config.extract.dtype, job.run.device)
    key_in = partial(
        measurement_key,
        model.identity(),
        corpus,
        context=config.context,
        score_end=config.score_end,
    )
    # another machine's automatic choice is taken where it is there; an explicit one binds
    there = [dtype for dtype in (own, *others) if is_kept(job.run.root, key_in(dtype=dtype))]
    dtype = there[0] if there and not job.overwrite else own
    if dtype != own:
        job.report.say(f"{config.name} of {spec.label} is there in {dtype}, and is taken")
    measured = kept(
        job.run.root,
        key_in(dtype=dtype),
        lambda: _measure_bits(job.run, config, corpus, model, dtype),
        overwrite=job.overwrite,
    )
    if why := measured.get("why_none"):
        job.report.say(f"{spec.label} has no {config.name}: {why}")
        return
    if measured["num_not_given_back"]:
        job.report.warn(
            f"{spec.label}: the tokenizer does not give {measured['num_not_given_back']} documents "
            f"back, first number {measured['first_not_given_back']}: their bits are of another text"
        )
    yield {
        "model": spec.label,
        "measure": config.name,
        "better": "lower",
        "source": corpus.source,
        "dtype": dtype,
        **{name: measured[name] for name in ("value", "num_bytes", "num_documents", "context")},
    }


def _measure_bits(
    run: Run, config: BitsPerByteConfig, corpus: Corpus, model: CausalModel, dtype: str
) -> dict[str, Any]:
    """What is kept: the measurement, or why there is none."""
    loaded = model.load(run.device, getattr(torch, dtype))
    name = f"{config.name} of {model.spec.label}"
    measured: dict[str, Any]
    try:
        with run.report.task(name, corpus.num_bytes, "bytes") as advance:
            measurement = bits_per_byte(
                loaded.network,
                loaded.tokenizer,
                corpus,
                context=config.context,
                score_end=config.score_end,
                progress=advance,
            )
        measured = asdict(measurement)
    except ReadsAheadError as error:
        measured = {"why_none": str(error)}
    return measured | {
        "model": model.spec.label,
        "identity": model.identity(),
        "environment": environment(run.device),
    }
