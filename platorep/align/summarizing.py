"""The summaries of whole models: a unit of work for each model, layer by layer.

Axes: n samples, d features.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from platorep.align.asked import Asked, ask
from platorep.align.attempts import attempt
from platorep.align.layers import Descriptions, Row, describe
from platorep.align.models import Aligned
from platorep.align.prepared import (
    ModelLayers,
    RawLayer,
    SentLayer,
    Unreadable,
    working_bytes,
)
from platorep.align.scoring import Settings
from platorep.align.summaries import LayerSummaries, summarize_layer
from platorep.config import MetricConfig
from platorep.engines import Done, Kept, Needs, Talk, Unit, Work
from platorep.engines.worker import travels
from platorep.failures import Errors, Failures
from platorep.run import Run
from platorep.workplace import Home

AtLayers = Mapping[str, Sequence[int]]
"""Metric label -> numbers of layers."""


@dataclass(frozen=True)
class Wanted:
    """What is to be known of the layers of one model."""

    metrics: tuple[MetricConfig, ...]
    at: AtLayers
    described: bool
    """Also what each layer is like."""


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
    talk: Talk, layers: ModelLayers, home: Home, wanted: Wanted, settings: Settings
) -> Iterator[Work]:
    """The work of a unit: a layer, or its number where the cache can be read -> `LayerDone` and
    `LayerSummaries`."""
    asked = [ask(config) for config in wanted.metrics]
    names, device = layers.cell.layers, settings.device
    layers_here = layers.in_cache(home)

    def work(part: int | RawLayer | Unreadable) -> tuple[LayerDone | None, LayerSummaries]:
        if isinstance(part, Unreadable):
            raise part.error
        if isinstance(part, int):
            if layers_here is None:
                return None, {}
            part = layers_here.raw(part)
        number = part.number
        prepared = part.prepared(layers.label, settings.align).to(device)
        row = None
        if wanted.described and not part.side_by_side:
            (features,) = part.features
            row = describe(number, names[number], features, prepared)
        del part  # before the summaries need room
        errors = Errors()
        made = attempt(
            lambda some: summarize_layer(some, prepared, settings.sets, device),
            [a for a in asked if number in wanted.at[a.label]],
            lambda a: a.label,
            errors,
        )
        told = errors.errors.items()
        why = {metric: error if home.is_here else travels(error) for metric, error in told}
        return LayerDone(number, row, why), made

    yield work


@dataclass(eq=False)
class _Coming:
    """What has come back of a model."""

    model: Aligned
    wanted: Wanted
    left: set[int]
    """Layers that have not come back."""
    layers: dict[int, Kept] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


class Summarizing:
    """Has the summaries of models made, and notes what cannot be had."""

    def __init__(
        self,
        run: Run,
        home: Home,
        settings: Settings,
        descriptions: Descriptions,
        failures: Failures,
    ) -> None:
        self._run, self._home, self._settings = run, home, settings
        self._descriptions, self.failures = descriptions, failures
        self._carried = False
        """Whether layers are read here, since some worker does not see the cache."""

    @cached_property
    def _given(self) -> Kept:
        return self._run.engine.put(self._settings)

    def describe(self, models: Sequence[Aligned]) -> None:
        """Only what their layers are like, where that is not known."""
        self.summarize([], [(model, {}) for model in models if self._descriptions.lack(model)])

    def summarize(
        self, asked: Sequence[Asked], models: Sequence[tuple[Aligned, AtLayers]]
    ) -> dict[str, Held]:
        """The summaries of models at some of their layers, without the models that fail."""
        every = [self._coming(asked, model, at) for model, at in models]
        while todo := [one for one in every if one.left and not self._failed(one)]:
            units: dict[Unit, _Coming] = {}
            for done in self._run.engine.carry_out(self._units(todo, units), self._run.report):
                self._take(units[done.unit], done)
        return {one.model.label: self._held(one) for one in every if not self._failed(one)}

    def _coming(self, asked: Sequence[Asked], model: Aligned, at: AtLayers) -> _Coming:
        configs = tuple(a.config for a in asked if a.label in at)
        wanted = Wanted(configs, at, self._descriptions.lack(model))
        left = set().union(*at.values())
        if wanted.described:
            left |= set(range(len(model.cell.layers)))
        return _Coming(model, wanted, left)

    def _units(self, todo: Sequence[_Coming], units: dict[Unit, _Coming]) -> Iterator[Unit]:
        for one in todo:
            model = one.model
            layers = ModelLayers(model.label, model.cell, self._settings.align)
            room = working_bytes(model.cell, self._settings.align)
            unit = Unit(
                name=f"summaries of {model.label}",
                opens=opens_summaries,
                given=(layers, self._home, one.wanted, self._given),
                parts=self._parts(one, layers),
                num_parts=len(one.left),
                cost=float(room * len(one.left)),
                needs=Needs(memory_bytes=room, gpu_bytes=room * self._settings.on_gpu),
                keeps=True,
            )
            units[unit] = one
            yield unit

    def _parts(self, one: _Coming, layers: ModelLayers) -> Iterator[int | SentLayer]:
        for number in sorted(one.left):
            if self._failed(one):
                return
            yield SentLayer(layers, number) if self._carried else number

    def _take(self, one: _Coming, done: Done) -> None:
        if self._failed(one):
            return
        with self.failures.catch(one.model.label):
            found: LayerDone | None = done.result()
            if found is None:
                self._carried = True
                return
            assert done.kept is not None
            one.left.remove(found.number)
            one.layers[found.number] = done.kept
            for metric, error in found.errors.items():
                self._note(f"{one.model.label}, {metric}", error)
            one.rows += [] if found.row is None else [found.row]
            if len(one.rows) == len(one.model.cell.layers):
                self._descriptions.keep(one.model, one.rows)

    def _held(self, one: _Coming) -> Held:
        label, at = one.model.label, one.wanted.at
        able = frozenset(m for m in at if f"{label}, {m}" not in self.failures.errors)
        numbers = sorted({number for metric in able for number in at[metric]})
        return Held({number: one.layers[number] for number in numbers}, able)

    def _failed(self, one: _Coming) -> bool:
        return one.model.label in self.failures.errors

    def _note(self, name: str, error: Exception) -> None:
        if name not in self.failures.errors:  # once, whichever layer it was
            with self.failures.catch(name):
                raise error
