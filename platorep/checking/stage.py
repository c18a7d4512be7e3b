"""From names of models and an experiment to verdicts."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch

from platorep.checking.checks import CHECKS, CheckAnew, CheckInMemory, Subject
from platorep.checking.judging import Judge, Verdict
from platorep.checking.trust import share
from platorep.config import ExperimentConfig, ModelSpec, PreprocessConfig
from platorep.config.data import DatasetConfig
from platorep.config.experiment import model_specs
from platorep.data import EventDataset, load_dataset
from platorep.errors import (
    AbsentError,
    ConfigError,
    FailedCellsError,
    IntegrityError,
    PlatorepError,
    listed,
    nearest,
)
from platorep.failures import Errors
from platorep.metrics import bind
from platorep.models import compute_dtype, open_model, resolve_device
from platorep.models.recognised import recognise
from platorep.reporting import Reporter

LENGTHS: Mapping[str, Callable[[Any], int | float]] = {
    "text": len,
    "audio": lambda sound: sound.seconds,
}
"""Of a sample, by kind; those of other kinds become equally long before a network reads them."""
BUILT_IN = DatasetConfig.model_validate(
    {"source": "toyworld", "views": {kind: {} for kind in ("text", "image", "audio", "video")}}
)
"""Whose samples are read where no experiment is named: scenes of the toy world."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `platorep check` was told."""

    models: Sequence[str]
    """Labels of the experiment (or patterns of them), or names that stand for themselves."""
    config: ExperimentConfig | None = None
    modality: str | None = None
    """Of the names that stand for themselves; None: their configurations are asked."""
    checks: Sequence[str] = ("*",)
    """Patterns of names of checks."""
    limit: int = 128
    device: str = "auto"
    offline: bool = False


def check_models(asked: Asked, report: Reporter) -> tuple[PlatorepError | None, pd.DataFrame]:
    """The verdicts on all models, and what a command ends with if one is bad.

    Raises:
        ConfigError: no check, or no model, has such a name.
        PlatorepError: the dataset cannot be used, or no model could be checked.
    """
    checks = chosen_checks(asked.checks)
    bind("mutual_knn").check(asked.limit, 1)
    dataset_config = BUILT_IN if asked.config is None else asked.config.dataset
    specs = find_specs(asked, dataset_config)
    limit = min(asked.limit, dataset_config.limit or asked.limit)
    if asked.config is None:  # what nobody reads is not made
        views = {spec.view: BUILT_IN.views[spec.view] for spec in specs}
        dataset_config = BUILT_IN.model_copy(update={"views": views})
    dataset = load_dataset(
        dataset_config.model_copy(update={"limit": limit}), offline=asked.offline
    )
    errors = Errors()
    verdicts: list[Verdict] = []
    for spec in specs:
        with errors.catch(spec.label):
            verdicts += _checked(asked, spec, dataset, checks, report)
    errors.raise_if_all(len(specs))
    return _ending(verdicts, errors), pd.DataFrame([verdict.row() for verdict in verdicts])


def chosen_checks(patterns: Sequence[str]) -> list[CheckInMemory | CheckAnew]:
    """The checks whose names match one of the patterns, in their order.

    Raises:
        ConfigError: a pattern matches none.
    """
    for pattern in patterns:
        if not fnmatch.filter(CHECKS, pattern):
            raise ConfigError(
                f"--checks {pattern}: no check matches. There are: {', '.join(CHECKS)}."
            )
    return [
        check
        for name, check in CHECKS.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]


def find_specs(asked: Asked, dataset: DatasetConfig) -> list[ModelSpec]:
    """Each model once: labels of the experiment first, then folders, hub and timm names.

    Raises:
        AbsentError, ConfigError: a name is neither.
    """
    known = () if asked.config is None else asked.config.models()
    found: dict[str, ModelSpec] = {}
    for name in asked.models:
        labelled = [spec for spec in known if fnmatch.fnmatchcase(spec.label, name)]
        if not labelled:
            labelled = [_named(name, asked, dataset, [spec.label for spec in known])]
        found |= {spec.label: spec for spec in labelled}
    return list(found.values())


def _named(name: str, asked: Asked, dataset: DatasetConfig, labels: Sequence[str]) -> ModelSpec:
    """A model that is none of the experiment's."""
    try:
        family = recognise(name, offline=asked.offline).family(asked.modality)
    except AbsentError as error:
        if not labels:
            raise
        raise AbsentError(
            f"{error} Nor is it a label of the experiment.{nearest(name, labels)} There are: "
            f"{listed(labels)}."
        ) from error
    try:
        (spec,) = model_specs((family,), dataset)
    except ValueError as error:
        raise ConfigError(f"{error}. Name an experiment that has such a view by --data.") from error
    last = spec.label
    several = [one for one in asked.models if one.rstrip("/").rsplit("/", 1)[-1] == last]
    return spec if len(several) < 2 else spec.model_copy(update={"label": name})


def _checked(
    asked: Asked,
    spec: ModelSpec,
    dataset: EventDataset,
    checks: Sequence[CheckInMemory | CheckAnew],
    report: Reporter,
) -> list[Verdict]:
    if not spec.view or spec.modality == "truth" or spec.is_baseline:
        words = f"not checked: nothing is computed, backend {spec.backend} has the features as such"
        return [Verdict(model=spec.label, check="all", trusted=None, words=words)]
    subject = _subject(asked, spec, dataset)
    subject.model.prepare(report)
    preprocessing = asked.config.align.preprocess if asked.config else PreprocessConfig()
    with report.task(f"check {spec.label}", len(checks), "checks") as advance:
        verdicts = []
        for verdict in Judge(subject, preprocessing).verdicts(checks):
            verdicts.append(verdict)
            advance(1)
    return verdicts


def _subject(asked: Asked, spec: ModelSpec, dataset: EventDataset) -> Subject:
    """The model and the rows that differ for it: equal ones would be neighbors by chance."""
    device = resolve_device(asked.device)
    default = asked.config.extract.dtype if asked.config else "auto"
    view = dataset.views[spec.view]
    first = {sha: row for row, sha in reversed([*enumerate(view.hashes)])}
    rows = sorted(first.values())
    bind("mutual_knn").check(len(rows), 1)
    length = LENGTHS.get(view.kind.name)
    return Subject(
        spec=spec,
        open=partial(open_model, offline=asked.offline),
        samples=view,
        rows=rows,
        kind=view.kind.name,
        lengths=[length(view[row]) for row in rows] if length else None,
        device=device,
        dtype=getattr(torch, compute_dtype(spec, default, device)),
    )


def _ending(verdicts: Iterable[Verdict], errors: Errors) -> PlatorepError | None:
    """What is not trusted (5) is told before what could not be checked at all (3)."""
    bad: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.trusted == "no":
            bad.setdefault(verdict.model, []).append(verdict.check)
    failed = "".join(
        f"\n{label} was not checked: {error}" for label, error in errors.errors.items()
    )
    if bad:
        models = "; ".join(f"{model}: {', '.join(checks)}" for model, checks in bad.items())
        return IntegrityError(
            f"not everything can be trusted ({models}): the table says what moves, docs/check.md "
            f"what to do.{failed}"
        )
    return FailedCellsError(f"the rest is checked.{failed}") if failed else None


def in_short(table: pd.DataFrame) -> pd.DataFrame:
    """The table of verdicts for a person: without layers, and with few digits."""
    short = table.drop(columns="layers")
    for column in ("change", "limit"):
        short[column] = short[column].map(lambda value: f"{value:.1g}", na_action="ignore")
    short["mutual_knn"] = short["mutual_knn"].map(share, na_action="ignore")
    return short


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """One row per model, check and layer, of the table of verdicts."""
    rows = [
        {"model": row["model"], "check": row["check"], **layer}
        for row in table.to_dict("records")
        for layer in row["layers"]
    ]
    return pd.DataFrame(rows, columns=["model", "check", "layer", "change", "mutual_knn"])
