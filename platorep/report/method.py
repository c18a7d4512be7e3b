"""What was asked and how it was answered: settings, versions, definitions, sources."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from platorep.align.asked import ask
from platorep.config import ExperimentConfig
from platorep.errors import PlatorepError
from platorep.metrics import BoundMetric
from platorep.opened import Opened
from platorep.plots.labels import metric_text
from platorep.report.content import Metric, Model
from platorep.report.models import TRAINED
from platorep.report.null import null_of
from platorep.report.settings import settings_text

PAPER = (
    "Huh, Cheung, Wang, Isola: The Platonic Representation Hypothesis. ICML 2024, arXiv:2405.07987"
)
CALIBRATION = "Calibrated scores and the null of the maximum over layers: arXiv:2602.14486"


def asked_of(opened: Opened, models: Sequence[Model], n: int) -> list[tuple[str, str]]:
    """What was asked, as term and text."""
    dataset = opened.results.dataset()
    rows = f"{n:,}" if n == dataset["num_rows"] else f"{n:,} of {dataset['num_rows']:,}"
    asked = [("Data", str(dataset["name"])), ("Rows", rows)]
    for modality in dict.fromkeys(model.modality for model in models):
        trained = [m for m in models if m.modality == modality and m.kind == TRAINED]
        families = dict.fromkeys(model.family for model in trained)
        if trained:
            asked.append((f"Models: {modality}", f"{len(trained)}: {'; '.join(families)}"))
    controls = pd.Series([m.kind for m in models if m.kind != TRAINED], dtype=str)
    if len(controls):
        counts = controls.value_counts(sort=False).items()
        asked.append(("Controls", ", ".join(f"{count} {kind}" for kind, count in counts)))
    return asked


def metrics_of(opened: Opened, scored: ExperimentConfig) -> list[Metric]:
    """Every metric of the tables, defined where the experiment names it."""
    bound: dict[str, BoundMetric] = {}
    for entry in scored.align.metrics:
        try:
            metric = ask(entry).metric
        except PlatorepError:  # of one's own, and not here
            continue
        bound[metric.label] = metric
    return [
        Metric(
            name=name,
            title=metric_text(name),
            definition=definition(bound[name]) if name in bound else "",
            larger_is_closer=bound[name].claims.larger_is_closer if name in bound else True,
        )
        for name in map(str, opened.best["metric"].unique())
    ]


def definition(metric: BoundMetric) -> str:
    """What it is, its parameters, what it does not see, and who has defined it."""
    parameters = metric.parameters
    said = [_sentence(type(parameters).__doc__ or "")]
    named = []
    for name, field in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        shown = name in (*parameters.always, "similarity") or value != field.default
        if shown and field.description:
            means = _sentence(field.description).removesuffix(".")
            named.append(f"{name} = {value} ({means[:1].lower()}{means[1:]})")
    if named:
        said.append(f"Here {', '.join(named)}, of features after preprocessing.")
    unseen = sorted(invariance.value for invariance in metric.claims.invariances)
    if unseen:
        said.append(f"Not moved by: {', '.join(unseen)}.")
    if parameters.source:
        said.append(f"Source: {parameters.source}.")
    return " ".join(said)


def _sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def method_of(
    opened: Opened, scored: ExperimentConfig, pairs: pd.DataFrame, command: str
) -> list[tuple[str, str]]:
    """Command, settings, null, versions, sources, as term and text.

    Args:
        scored: The experiment as it was scored.
    """
    run = opened.results.read_json(opened.results.run, "extract")
    said = [("Command", command)] if command else []
    said.append(("Settings", settings_text(scored)))
    steps = scored.align.preprocess.model_dump(mode="json").items()
    said.append(("Preprocessing", ", ".join(f"{name}: {_text(value)}" for name, value in steps)))
    said.append(("Null and p", null_of(scored.align, pairs)))
    for stage in ("extract", "measure", "align"):
        text = _environment(run.get(stage, {}).get("environment", {}))
        said += [(f"Computed with ({stage})", text)] if text else []
    said.append(("Rows known by", str(opened.results.dataset()["fingerprint"])))
    return [*said, ("To cite", PAPER), ("To cite for the null", CALIBRATION)]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _environment(environment: dict[str, Any]) -> str:
    versions = environment.get("versions", {})
    parts = [f"{name} {version}" for name, version in versions.items()]
    if device := environment.get("device"):
        parts.append(str(device))
    return ", ".join(parts)
