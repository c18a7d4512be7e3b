"""What an analysis is given: the scores, the models behind them, and their layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import torch

from platorep.align.asked import Asked
from platorep.align.models import Aligned, find_cell
from platorep.align.prepared import ModelLayers
from platorep.config import AlignConfig, ModelSpec
from platorep.failures import Failures
from platorep.run import Run


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an analysis gives back."""

    tables: Mapping[str, pd.DataFrame]
    """By name: each is written as `<name>.csv`."""
    best: pd.DataFrame | None = None
    """Columns to add to best.csv, a row for each of its rows."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The scores of an experiment and all that they were made of."""

    run: Run
    asked: Sequence[Asked]
    models: Mapping[str, Aligned]
    """The models that were scored, by label."""
    best: pd.DataFrame
    """One row per pair, control and metric: best.csv, as far as it is known."""
    rows: pd.DataFrame
    """Ids and hashes of the rows that were scored."""
    failures: Failures
    _opened: dict[str, Aligned] = field(default_factory=dict)
    _read: dict[str, ModelLayers] = field(default_factory=dict)

    @property
    def config(self) -> AlignConfig:
        return self.run.config.align

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        return self.run.device

    def metric(self, label: str) -> Asked:
        """The metric that a row of `best` is of."""
        return next(a for a in self.asked if a.label == label)

    def aligned(self, label: str) -> Aligned:
        """Any model of the experiment, the scored ones and those on repeats.

        Raises:
            AbsentError: it was not extracted.
            IntegrityError: its rows are others.
        """
        if label in self.models:
            return self.models[label]
        if label not in self._opened:
            spec = next(spec for spec in self._specs if spec.label == label)
            self._opened[label] = find_cell(self.run, spec)
        return self._opened[label]

    def repeats(self, label: str) -> dict[str, str]:
        """View -> label of the model's copy that reads it: the other observations of the same."""
        view, copies = self.aligned(label).spec.view, self._copies(label)
        return {other: copies[other] for other in self.config.repeats.get(view, ()) if copies}

    def joined(self, label: str) -> dict[int, str]:
        """Number of observations -> label of the model's copy that reads so many in one."""
        view, copies = self.aligned(label).spec.view, self._copies(label)
        views = {} if self.config.observations is None else self.config.observations.joined
        return {m: copies[other] for m, other in views.get(view, {}).items() if copies}

    def _copies(self, label: str) -> dict[str, str]:
        return {spec.view: spec.label for spec in self._specs if spec.repeat_of == label}

    @cached_property
    def _specs(self) -> tuple[ModelSpec, ...]:
        return self.run.config.models()

    def prepared(self, label: str) -> ModelLayers:
        """All layers of a model, prepared as `align.preprocess` says, each when it is looked at.

        Raises:
            AbsentError, IntegrityError: as `aligned`.
        """
        if label not in self._read:
            self._read.clear()
            self._read[label] = ModelLayers(label, self.aligned(label).cell, self.config)
        return self._read[label]

    def kept(self, name: str, decides: Sequence[Any], make: Callable[[], Any]) -> Any:
        """What `make` returns (JSON), kept as a finished piece under all that decides it.

        Args:
            name: Of the analysis; with its version, if the meaning of a number has changed.
            decides: Keys of models, settings; preprocessing and number of rows are added.

        Raises:
            NotComputedError: it is not there and `--overwrite never`.
        """
        return self.run.kept(name, self._all_of(decides), make)

    def will_make(self, name: str, decides: Sequence[Any]) -> bool:
        """Whether `kept` would make the piece: it is not there, and may be made."""
        return self.run.will_make(name, self._all_of(decides))

    def _all_of(self, decides: Sequence[Any]) -> list[Any]:
        preprocess = self.config.preprocess.model_dump(mode="json")
        return [preprocess, self.config.concatenated, self.n, *decides]
