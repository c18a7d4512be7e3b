"""What was asked and how it was answered: settings, versions, definitions, sources."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from platorep.align.asked import ask
from platorep.config import ExperimentConfig
from platorep.errors import PlatorepError
from platorep.files import yaml_text
from platorep.metrics import BoundMetric
from platorep.opened import Opened
from platorep.plots.labels import metric_text
from platorep.report.content import Metric, Model
from platorep.report.models import TRAINED
from platorep.results import last_parts

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


def metrics_of(opened: Opened) -> list[Metric]:
    """Every metric of the tables; defined where the experiment still names it."""
    bound: dict[str, BoundMetric] = {}
    for entry in opened.run.config.align.metrics:
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
    for name, field in type(parameters).model_fields.items():
        if name in parameters.always and field.description:
            said.append(f"{name} = {getattr(parameters, name)}: {_sentence(field.description)}")
    unseen = sorted(invariance.value for invariance in metric.claims.invariances)
    if unseen:
        said.append(f"Not moved by: {', '.join(unseen)}.")
    if parameters.source:
        said.append(f"Source: {parameters.source}.")
    return " ".join(said)


def _sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def method_of(opened: Opened, command: str) -> list[tuple[str, str]]:
    """Command, settings, versions, sources, as term and text."""
    run = opened.results.read_json(opened.results.run, "extract")
    said = [("Command", command)] if command else []
    said.append(("Settings", _settings(opened.run.config)))
    for stage in ("extract", "measure", "align"):
        text = _environment(run.get(stage, {}).get("environment", {}))
        said += [(f"Computed with ({stage})", text)] if text else []
    said.append(("Rows known by", str(opened.results.dataset()["fingerprint"])))
    return [*said, ("To cite", PAPER), ("Null", CALIBRATION)]


def _settings(config: ExperimentConfig) -> str:
    """The experiment's file without defaults, and without paths of the machine it was run on."""
    said = config.model_dump(mode="json", exclude_defaults=True, exclude={"figures", "report"})
    for entry, measure in zip(said.get("performance", ()), config.performance, strict=True):
        entry["name"] = measure.name
    text = yaml_text(last_parts(said), width=100)
    return f"# Without defaults: `platorep list keys` has them.\n{text}"


def _environment(environment: dict[str, Any]) -> str:
    versions = environment.get("versions", {})
    parts = [f"{name} {version}" for name, version in versions.items()]
    if device := environment.get("device"):
        parts.append(str(device))
    return ", ".join(parts)
