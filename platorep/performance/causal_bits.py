"""Bits per byte of the models of an experiment: from their corpus to rows of `performance.csv`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from platorep.config import BitsPerByteConfig, ModelSpec
from platorep.data import load_dataset
from platorep.engines import Kept, Talk, Unit, Work
from platorep.files import digest
from platorep.models import compute_dtypes, environment, open_remembered
from platorep.models.cost import BYTES_PER_TOKEN
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.job import Job, Planned, Row
from platorep.performance.kept import Measured, Wanted, is_kept
from platorep.performance.windows import Rule
from platorep.workplace import ModelThere, model_there, needs_of

if TYPE_CHECKING:
    from platorep.performance.causal import CausalModel

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
    sent = {corpus: job.run.engine.put(corpus) for corpus in views}
    asked: dict[str, tuple[ModelSpec, str, Wanted]] = {}
    for spec in job.run.measured:
        if spec.modality != "language" or spec.backend not in ("transformers", "toyworld"):
            continue
        with job.failures.catch(f"{config.name} of {spec.label}"):
            if (of_view := corpora.get(spec.view)) is not None:
                asked[spec.label] = spec, *_wanted(job, config, of_view, sent[of_view], spec)
    found = job.measurements([wanted for _, _, wanted in asked.values()])
    for spec, dtype, wanted in asked.values():
        if wanted.name in found:
            source = corpora[spec.view].source
            yield from _row(job, config.name, spec, found[wanted.name], dtype, source)


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


def _wanted(
    job: Job, config: BitsPerByteConfig, corpus: Corpus, kept: Kept, spec: ModelSpec
) -> tuple[str, Wanted]:
    """The compute precision, and the measurement of a causal language model."""
    run, report = job.run, job.report
    model = open_remembered(spec, run.root, offline=job.offline)
    run.prepare(model)
    weights = weights_identity(model.identity(), spec)
    rule = Rule(context=config.context, score_end=config.score_end)
    keys = {
        dtype: measurement_key(weights, corpus, rule, dtype=dtype)
        for dtype in compute_dtypes(spec, run.config.extract.dtype, run.worker_device)
    }
    # another machine's automatic choice is taken where it is there; an explicit one binds
    own, *_ = keys
    there = [dtype for dtype, key in keys.items() if is_kept(run.root, key)]
    dtype = there[0] if there and not run.anew else own
    name = f"{config.name} of {spec.label}"
    if dtype != own:
        report.say(f"{name} is there in {dtype}, and is taken")

    def unit() -> Unit:
        placed, files = model_there(run, model, job.home)
        asked = Bits(name, placed, weights, str(run.worker_device), dtype, rule)
        return Unit(
            name=name,
            opens=opens_bits,
            given=(asked, kept, files),
            cost=cost,
            needs=needs_of(run, model, dtype),
        )

    cost = 0.0
    if run.engine.num_workers > 1:
        cost = (model.flops() or 0.0) * corpus.num_bytes / BYTES_PER_TOKEN
    return dtype, Wanted(name=name, key=keys[dtype], unit=unit, cost=cost)


def _row(
    job: Job, name: str, spec: ModelSpec, measured: Measured, dtype: str, source: str
) -> Iterator[Row]:
    """One row, or none for what cannot be measured so."""
    if why := measured.get("why_none"):
        job.report.say(f"{spec.label} has no {name}: {why}")
        return
    if measured["num_not_given_back"]:
        job.report.warn(
            f"{spec.label}: the tokenizer does not give {measured['num_not_given_back']} documents "
            f"back, first number {measured['first_not_given_back']}: their bits are of another text"
        )
    yield {
        "model": spec.label,
        "measure": name,
        "better": "lower",
        "source": source,
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


@dataclass(frozen=True)
class Bits:
    """What is measured, and how, wherever that is."""

    name: str
    model: ModelThere
    weights: Mapping[str, Any]
    """As `weights_identity` has it."""
    device: str
    dtype: str
    rule: Rule


@contextmanager
def opens_bits(
    talk: Talk, asked: Bits, corpus: Corpus, files: Mapping[str, bytes]
) -> Iterator[Work]:
    """The unit of work; its only part is what is kept: the measurement, or why there is none."""
    from platorep.performance.causal import open_causal

    asked.model.open(files)
    model = open_causal(asked.model.spec, offline=asked.model.offline)
    yield lambda part: _measure_bits(talk, asked, model, corpus)


def _measure_bits(talk: Talk, asked: Bits, model: "CausalModel", corpus: Corpus) -> Measured:
    from platorep.performance.bits import ReadsAheadError, bits_per_byte

    device = torch.device(asked.device)
    about = {
        "model": asked.model.spec.label,
        "environment": environment(device),
        "identity": dict(asked.weights),
    }
    if why := model.why_none():
        return about | {"why_none": why}
    loaded = model.load(device, getattr(torch, asked.dtype))
    try:
        with talk.report.task(asked.name, corpus.num_bytes, "bytes") as advance:
            measurement = bits_per_byte(
                loaded.network, loaded.tokenizer, corpus, asked.rule, progress=advance
            )
    except ReadsAheadError as error:
        return about | {"why_none": str(error)}
    return about | asdict(measurement)
