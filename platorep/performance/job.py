"""What every kind of measure is given: the run, what is said of failures, the rows so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from platorep.config import LabelledConfig, ModelSpec
from platorep.data import EventDataset
from platorep.extraction import Work, complete
from platorep.failures import Errors
from platorep.performance.kept import Measured, Wanted, measurements
from platorep.performance.labelled import Labelled, read_labelled
from platorep.reporting import Reporter
from platorep.run import Run
from platorep.workplace import Home

Row = dict[str, Any]
"""Of `performance.csv`; and `chance` of a probe, for the share of tasks solved."""


@dataclass
class Job:
    """What all measures of one run need."""

    run: Run
    failures: Errors
    home: Home
    """The cache, for units."""
    rows: list[Row] = field(default_factory=list)
    """Of the measures that are done."""
    made_from: dict[str, str] = field(default_factory=dict)
    """As `Results.write_table` takes it."""
    _labelled: dict[LabelledConfig, Labelled] = field(default_factory=dict)

    def measurements(self, wanted: Sequence[Wanted]) -> dict[str, Measured]:
        """By name, those that could be made; the rest is noted."""
        return measurements(self.run, wanted, self.failures)

    def complete(self, measure: str, works: Sequence[Work], dataset: EventDataset) -> None:
        """Make what is missing of cells; what fails is the measure of that model."""
        errors = Errors(keep_going=self.run.options.keep_going)
        complete(self.run, works, dataset, errors)
        for label, error in errors.errors.items():
            with self.failures.catch(f"{measure} of {label}"):
                raise error

    @property
    def report(self) -> Reporter:
        return self.run.report

    @property
    def offline(self) -> bool:
        return self.run.options.offline

    @cached_property
    def trained(self) -> tuple[ModelSpec, ...]:
        return tuple(spec for spec in self.run.specs if not spec.is_control)

    def labelled(self, config: LabelledConfig) -> Labelled:
        """Read once, though several probes may use it."""
        if config not in self._labelled:
            labelled = self._labelled[config] = read_labelled(config, offline=self.offline)
            sizes = (
                len(part.rows) for part in (labelled.train, labelled.validation, labelled.test)
            )
            self.report.say(
                f"{config.source}: {'/'.join(map(str, sizes))} images to train, choose and report "
                f"on; always saying the most frequent class gets {labelled.chance:.3f}"
            )
            if labelled.num_leaked:
                self.report.warn(
                    f"{config.source}: {labelled.num_leaked} of {len(labelled.test.rows)} test "
                    "images are exact copies of images that the probes are trained or chosen on"
                )
        return self._labelled[config]


@dataclass(frozen=True)
class Planned:
    """What can be known of the models before a measure is made."""

    specs: Sequence[ModelSpec]
    widths: Mapping[str, Sequence[int]]
    """Label -> widths of the layers, where they are known."""
    itemsize: int
    """Bytes of a stored number."""

    @cached_property
    def trained(self) -> tuple[ModelSpec, ...]:
        return tuple(spec for spec in self.specs if not spec.is_control)
