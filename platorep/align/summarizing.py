"""The summaries of whole models: a unit of work for each model, layer by layer.

Axes: n samples, d features.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from platorep.align.asked import Asked, ask
from platorep.align.attempts import attempt
from platorep.align.layers import Descriptions, Row, describe
from platorep.align.models import Aligned
from platorep.align.prepared import ModelLayers, RawLayer
from platorep.align.scoring import Settings
from platorep.align.summaries import LayerSummaries, summarize_layer
from platorep.config import MetricConfig
from platorep.engines import Kept, Needs, Talk, Unit, Work
from platorep.failures import Errors, Failures
from platorep.run import Run

AtLayers = Mapping[str, Sequence[int]]
"""Metric label -> numbers of layers."""
WORKING_BYTES = 32
"""For each value of a layer: it is read, prepared (in float64) and summarized."""


@dataclass(frozen=True)
class Held:
    """The summaries of a model, wherever they are."""

    layers: Mapping[int, Kept]
    """By number of the layer: `LayerSummaries`."""
    metrics: frozenset[str]
    """Labels of those that can take the model."""


@dataclass(frozen=True)
class LayerDone:
    """What comes back of a layer, beside the summaries that stay where they are."""

    number: int
    row: Row | None
    """What it is like."""
    errors: Mapping[str, Exception]
    """Metric label -> why it cannot take the layer."""


@contextmanager
def opens_summaries(
    talk: Talk,
    layers: ModelLayers,
    metrics: Sequence[MetricConfig],
    at: AtLayers,
    settings: Settings,
    described: bool,
) -> Iterator[Work]:
    """The work of a unit: a layer, or its number where the cache can be read -> `LayerDone` and
    `LayerSummaries`."""
    asked = [ask(config) for config in metrics]
    names, device = layers.cell.layers, settings.device

    def work(part: int | RawLayer) -> tuple[LayerDone, LayerSummaries]:
        raw = layers.raw(part) if isinstance(part, int) else part
        number = raw.number
        prepared = raw.prepared(layers.label, settings.align).to(device)
        row = None
        if described and not raw.side_by_side:
            (features,) = raw.features
            row = describe(number, names[number], features, prepared)
        del raw  # before the summaries need room
        errors = Errors()
        made = attempt(
            lambda some: summarize_layer(some, prepared, settings.sets, device),
            [a for a in asked if number in at[a.label]],
            lambda a: a.label,
            errors,
        )
        return LayerDone(number, row, errors.errors), made

    yield work


class Summarizing:
    """Has the summaries of models made, and notes what cannot be had."""

    def __init__(
        self, run: Run, settings: Settings, descriptions: Descriptions, failures: Failures
    ) -> None:
        self._run, self._settings = run, settings
        self._descriptions, self.failures = descriptions, failures

    @cached_property
    def _given(self) -> Kept:
        return self._run.engine.put(self._settings)

    def describe(self, models: Sequence[Aligned]) -> None:
        """Only what their layers are like, where that is not known."""
        self.summarize([], [(model, {}) for model in models if self._descriptions.lack(model)])

    def summarize(
        self, asked: Sequence[Asked], wanted: Sequence[tuple[Aligned, AtLayers]]
    ) -> dict[str, Held]:
        """The summaries of models at some of their layers, without the models that fail."""
        failures = self.failures
        units: dict[Unit, Aligned] = {}
        layers: dict[str, dict[int, Kept]] = {model.label: {} for model, _ in wanted}
        rows: dict[str, list[Row]] = {model.label: [] for model, _ in wanted}

        def drawn() -> Iterator[Unit]:
            for model, at in wanted:
                unit = self._unit(model, asked, at)
                units[unit] = model
                yield unit

        for done in self._run.engine.carry_out(drawn(), self._run.report):
            model = units[done.unit]
            if model.label in failures.errors:
                continue
            with failures.catch(model.label):
                found: LayerDone = done.result()
                assert done.kept is not None
                layers[model.label][found.number] = done.kept
                for metric, error in found.errors.items():
                    self._note(f"{model.label}, {metric}", error)
                rows[model.label] += [] if found.row is None else [found.row]
                if len(rows[model.label]) == len(model.cell.layers):
                    self._descriptions.keep(model, rows[model.label])
        return {
            model.label: self._held(model, at, layers[model.label])
            for model, at in wanted
            if model.label not in failures.errors
        }

    def _unit(self, model: Aligned, asked: Sequence[Asked], at: AtLayers) -> Unit:
        described = self._descriptions.lack(model)
        layers = ModelLayers(model.label, model.cell, self._settings.align)
        numbers = set().union(*at.values())
        if described:
            numbers |= set(range(len(model.cell.layers)))
        widths = [int(layer["width"]) for layer in model.cell.meta["layers"]]
        room = WORKING_BYTES * model.cell.num_rows * max(widths)
        configs = [a.config for a in asked if a.label in at]
        return Unit(
            name=f"summaries of {model.label}",
            opens=opens_summaries,
            given=(layers, configs, at, self._given, described),
            parts=self._parts(layers, sorted(numbers)),
            num_parts=len(numbers),
            cost=float(sum(widths)),
            needs=Needs(
                memory_bytes=room, gpu_bytes=room if self._settings.device.type == "cuda" else 0
            ),
            keeps=True,
        )

    def _parts(self, layers: ModelLayers, numbers: Sequence[int]) -> Iterator[int | RawLayer]:
        for number in numbers:
            if layers.label in self.failures.errors:
                return
            yield number

    def _held(self, model: Aligned, at: AtLayers, layers: Mapping[int, Kept]) -> Held:
        able = frozenset(m for m in at if f"{model.label}, {m}" not in self.failures.errors)
        asked = {number for metric in able for number in at[metric]}
        return Held({number: layers[number] for number in sorted(asked)}, able)

    def _note(self, name: str, error: Exception) -> None:
        if name not in self.failures.errors:  # once, whichever layer it was
            with self.failures.catch(name):
                raise error
