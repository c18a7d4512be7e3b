"""What a study is given: the experiment, its models, their layers, and the rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure

from platorep.align.asked import Asked, asked_metrics
from platorep.align.models import Aligned, asked_pairs, find_cell
from platorep.align.prepared import ModelLayers
from platorep.config import ModelSpec
from platorep.data import EventDataset, load_dataset
from platorep.failures import Failures
from platorep.models import Model, open_remembered
from platorep.plots.about import data_text
from platorep.run import Run


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a study gives back."""

    tables: Mapping[str, pd.DataFrame]
    """By name: each is written as `<name>.csv`."""
    figures: Mapping[str, tuple[Figure, pd.DataFrame]]
    """By name: the figure, and exactly the points that it shows."""
    shown: pd.DataFrame
    """What the command prints."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """An experiment whose rows are known, and what every study asks of it."""

    run: Run
    failures: Failures
    _opened: dict[str, Aligned] = field(default_factory=dict)
    _read: dict[str, ModelLayers] = field(default_factory=dict)

    @cached_property
    def specs(self) -> dict[str, ModelSpec]:
        """The models that were asked for, by label; without copies that read a repeat."""
        return {spec.label: spec for spec in self.run.measured}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Labels of the models that `align.pairs` puts together, x before y.

        Raises:
            ConfigError: no two of the models make a pair.
        """
        return asked_pairs(self.run)

    @cached_property
    def metric(self) -> Asked:
        """The first metric of `align`: what layers are chosen by."""
        return asked_metrics(self.run.config)[0]

    @cached_property
    def dataset(self) -> EventDataset:
        """The rows with their samples, for what must look at images and texts again."""
        return load_dataset(self.run.config.dataset, offline=self.run.options.offline)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Ids and hashes of all rows, as they were extracted."""
        return self.run.results.read_table(self.run.results.rows, "extract")

    def about(self, said: str) -> str:
        """What stands below a figure: data, rows and first metric, and what is `said` of it."""
        name = str(self.run.results.dataset()["name"])
        num_rows = self.run.config.align.scored_rows(len(self.rows))
        return f"{data_text(name, [float(num_rows)], [self.metric.label])} {said}"

    def model(self, spec: ModelSpec) -> Model:
        """The model, with its weights where they are made here."""
        model = open_remembered(spec, self.run.root, offline=self.run.options.offline)
        self.run.prepare(model)
        return model

    def aligned(self, label: str) -> Aligned:
        """A model with its cell; `.key` names its features.

        Raises:
            AbsentError: it was not extracted.
            IntegrityError: its rows are others.
        """
        if label not in self._opened:
            self._opened[label] = find_cell(self.run, self.specs[label])
        return self._opened[label]

    def prepared(self, label: str) -> ModelLayers:
        """All layers of a model, prepared as `align.preprocess` says, each when it is looked at.

        Raises:
            AbsentError, IntegrityError: as `aligned`.
        """
        if label not in self._read:
            self._read.clear()
            self._read[label] = ModelLayers(label, self.aligned(label).cell, self.run.config.align)
        return self._read[label]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One command of `platorep bridge` or `platorep units`."""

    name: str
    """As it is called on the command line: `bridge map`."""
    extracts: bool
    """Whether it needs the features of all models."""
    work: Callable[[Context], Found]
