"""Bits per byte of the models of an experiment: from their corpus to rows of `performance.csv`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from platorep.config import BitsPerByteConfig, ModelSpec
from platorep.data import load_dataset
from platorep.files import digest
from platorep.models import compute_dtypes, environment, open_remembered
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.job import Job, Planned, Row
from platorep.performance.kept import is_kept, kept
from platorep.performance.windows import Rule
from platorep.run import Run

RULE_VERSION = 1  # raise when the meaning of a measurement changes


def bits_rows(job: Job, config: BitsPerByteConfig) -> Iterator[Row]:
    """A row for each causal language model; one that fails is noted and left out."""
    corpora = _corpora(job, config)
    views: dict[Corpus, list[str]] = {}
    for view, corpus in corpora.items():
        views.setdefault(corpus, []).append(view)
    for corpus, of in views.items():
        whose = f" ({', '.join(of)})" if len(views) > 1 else ""
        job.report.say(f"{config.name}: {corpus.num_bytes} bytes of {corpus.source}{whose}")
    for spec in job.run.measured:
        with job.failures.catch(f"{config.name} of {spec.label}"):
            if spec.view in corpora:
                yield from _bits_row(job, config, corpora[spec.view], spec)


def fetch_corpus(config: BitsPerByteConfig, offline: bool) -> str:
    if config.source == "captions":
        return ""
    corpus = read_corpus(config, offline=offline)
    return f"{corpus.num_bytes} bytes of {corpus.source}"


def plan_bits(config: BitsPerByteConfig, planned: Planned) -> dict[str, Any]:
    return {}


def _corpora(job: Job, config: BitsPerByteConfig) -> dict[str, Corpus]:
    """View -> what the models that read it are measured on: one corpus, or its texts."""
    views = dict.fromkeys(spec.view for spec in job.run.measured)
    if config.source != "captions":
        return dict.fromkeys(views, read_corpus(config, offline=job.offline))
    dataset = load_dataset(job.run.config.dataset, offline=job.offline)
    job.made_from["rows"] = dataset.fingerprint
    return {
        name: read_corpus(config, texts, offline=job.offline)
        for name, view in dataset.views.items()
        if name in views and (texts := view.texts) is not None
    }


def _bits_row(
    job: Job, config: BitsPerByteConfig, corpus: Corpus, spec: ModelSpec
) -> Iterator[Row]:
    """One row, or none for what is no causal language model."""
    if spec.modality != "language" or spec.backend not in ("transformers", "toyworld"):
        return
    run, report = job.run, job.report
    model = open_remembered(spec, run.root, offline=job.offline)
    run.prepare(model)
    weights = weights_identity(model.identity(), spec)
    rule = Rule(context=config.context, score_end=config.score_end)
    keys = {
        dtype: measurement_key(weights, corpus, rule, dtype=dtype)
        for dtype in compute_dtypes(spec, run.config.extract.dtype, run.device)
    }
    # another machine's automatic choice is taken where it is there; an explicit one binds
    own, *_ = keys
    there = [dtype for dtype, key in keys.items() if is_kept(run.root, key)]
    dtype = there[0] if there and not run.anew else own
    if dtype != own:
        report.say(f"{config.name} of {spec.label} is there in {dtype}, and is taken")

    def make() -> dict[str, Any]:
        run.must_compute(f"{config.name} of {spec.label}")
        return _measure_bits(run, config, corpus, spec, dtype) | {"identity": weights}

    measured = kept(run.root, keys[dtype], make, report, overwrite=run.anew)
    if why := measured.get("why_none"):
        report.say(f"{spec.label} has no {config.name}: {why}")
        return
    if measured["num_not_given_back"]:
        report.warn(
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


def measurement_key(
    identity: Mapping[str, Any],
    corpus: Corpus,
    rule: Rule,
    *,
    dtype: str,
) -> str:
    """Names a measurement by all that is meant to move it.

    Args:
        identity: What names the weights, `weights_identity`.
    """
    return digest(
        {
            "rule": RULE_VERSION,
            "model": dict(identity),
            "corpus": corpus.sha256,
            "context": rule.context,  # None stands for the model's own
            "score_end": rule.score_end,
            "dtype": dtype,
        }
    )


def weights_identity(identity: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """What of a language model's identity moves its bits per byte: how it is pooled does not."""
    names = ("files", "name", "revision", "adapter", "random_init", "trust_remote_code")
    moving = {name: identity[name] for name in names if name in identity}
    return moving | {"attention": spec.attention}


def _measure_bits(
    run: Run, config: BitsPerByteConfig, corpus: Corpus, spec: ModelSpec, dtype: str
) -> dict[str, Any]:
    """What is kept: the measurement, or why there is none."""
    from platorep.performance.bits import ReadsAheadError, bits_per_byte
    from platorep.performance.causal import open_causal

    about = {"model": spec.label, "environment": environment(run.device)}
    model = open_causal(spec, offline=run.options.offline)
    if why := model.why_none():
        return about | {"why_none": why}
    loaded = model.load(run.device, getattr(torch, dtype))
    name = f"{config.name} of {spec.label}"
    try:
        with run.report.task(name, corpus.num_bytes, "bytes") as advance:
            measurement = bits_per_byte(
                loaded.network,
                loaded.tokenizer,
                corpus,
                Rule(context=config.context, score_end=config.score_end),
                progress=advance,
            )
    except ReadsAheadError as error:
        return about | {"why_none": str(error)}
    return about | asdict(measurement)
