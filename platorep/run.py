"""One command at work on one experiment: what every stage takes."""

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from platorep.bundles import Bundle
from platorep.config import ExperimentConfig, ModelSpec, config_path, load_config
from platorep.engines import Engine, LocalEngine
from platorep.errors import AbsentError, ConfigError, DamagedError, NotComputedError
from platorep.failures import Failures
from platorep.files import cache_root, digest, read_sealed, write_sealed
from platorep.holding import held
from platorep.models import Model, resolve_device
from platorep.reporting import Reporter
from platorep.results import Results, without_effect_removed


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to work; nothing here is meant to move a number."""

    device: str = "auto"
    offline: bool = False
    keep_going: bool = True
    overwrite: Literal["never", "missing", "always"] = "missing"
    """never: compute nothing; missing: what is not there; always: everything anew."""
    on_scores: str | None = None
    """`package.module:function` that is told of scores as they come (docs/extending.md)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One experiment, the models that were asked for, where they lie, and how to work on them."""

    config: ExperimentConfig
    specs: tuple[ModelSpec, ...]
    results: Results
    root: Path
    """Of the cache."""
    options: Options
    report: Reporter
    bundle: Bundle | None = None
    """The bundle that these results and features are of: then there is nothing else to read."""
    engine: Engine = field(default_factory=LocalEngine)
    """Who carries out what the stages cut into units."""

    @cached_property
    def device(self) -> torch.device:
        try:
            return resolve_device(self.options.device)
        except AbsentError:
            if self.works_elsewhere:  # whose device it is
                return torch.device("cpu")
            raise

    @property
    def works_elsewhere(self) -> bool:
        """Whether the engine has workers beside this process."""
        return self.engine.has_gpus is not None

    @cached_property
    def worker_device(self) -> torch.device:
        """Where the engine's workers compute; which GPU is theirs to choose."""
        if not self.works_elsewhere:
            return self.device
        auto = "cuda" if self.engine.has_gpus else "cpu"
        return torch.device(auto if self.options.device == "auto" else self.options.device)

    @cached_property
    def measured(self) -> tuple[ModelSpec, ...]:
        """The models that a measure may be of: one is not another by what it reads anew."""
        return tuple(spec for spec in self.specs if not spec.repeat_of)

    @property
    def anew(self) -> bool:
        """Whether what is there is to be computed again."""
        return self.options.overwrite == "always"

    def must_compute(self, what: str, where: Path | None = None) -> None:
        """Say before computing `what` that it is not there.

        Raises:
            NotComputedError: `--overwrite never`.
        """
        if self.options.overwrite == "never":
            place = "" if where is None else f" (expected {where})"
            raise NotComputedError(
                f"{what} is not there{place} and --overwrite never forbids to compute it. Leave "
                "that out."
            )

    def kept(
        self,
        name: str,
        decides: Sequence[Any],
        make: Callable[[], Any],
        files: Sequence[str] = (),
    ) -> Any:
        """What `make` returns (JSON), kept as a finished piece under all that decides it.

        Args:
            name: Of the work; with its version, if the meaning of a number has changed.
            decides: Keys of models, rows and settings: everything that moves the result.
            files: Names of those that `make` writes beside it; without them it is made again.

        Raises:
            NotComputedError: it is not there and `--overwrite never`.
        """
        path, whole = self._piece(name, decides)
        if not self.anew:
            with suppress(FileNotFoundError, DamagedError):  # it is made again
                return _read_piece(path, whole)
        self.must_compute(f"{name} ({path.name})")
        made = make()
        write_sealed(path, {"made": made}, of=whole, files=files)
        return made

    def will_make(self, name: str, decides: Sequence[Any]) -> bool:
        """Whether `kept` would make the piece: it is not there, or damaged, and may be made."""
        if self.options.overwrite == "never":
            return False
        if not self.anew:
            with suppress(FileNotFoundError, DamagedError):
                _read_piece(*self._piece(name, decides))
                return False
        return True

    def _piece(self, name: str, decides: Sequence[Any]) -> tuple[Path, str]:
        """Where a piece is kept, and the digest of all that decides it."""
        whole = digest([name, *decides])
        return self.results.parts / f"{name}-{whole}.json", whole

    @contextmanager
    def holding_results(self, *, extracting: bool = False) -> Iterator[None]:
        """Keep runs of other settings out of the folder of results.

        Args:
            extracting: Features alone are made, so that others may work on other models.

        Raises:
            StorageError: a run of other settings is at work there.
        """
        settings = without_effect_removed(self.config.model_dump(mode="json"))
        models = None if extracting else digest([spec.label for spec in self.specs])
        with held(self.results.made, digest(settings), models):
            yield

    def prepare(self, model: Model) -> None:
        """Make the weights that are made here (toy networks), where anything may be computed."""
        if self.options.overwrite != "never":
            model.prepare(self.report)

    def failures(self, stage: str) -> Failures:
        """A collector of what `stage` cannot do."""
        return Failures(stage, self.results.failures, self.report, self.options.keep_going)


def _read_piece(path: Path, whole: str) -> Any:
    return read_sealed(path, of=whole, cure="It is made again.")["made"]


def open_run(
    name: str,
    *,
    overrides: Sequence[str] = (),
    models: Sequence[str] = ("*",),
    output: Path | None = None,
    options: Options,
    report: Reporter,
) -> Run:
    """Read an experiment and find its folders.

    Args:
        name: A file, or the bare name of a shipped experiment.
        models: Patterns of labels; only models that one of them matches are worked on.

    Raises:
        ConfigError: the file is wrong, or a pattern matches no label.
    """
    config = load_config(config_path(name), overrides)
    return Run(
        config=config,
        specs=chosen_specs(config, models),
        results=Results(output or Path("results") / config.name, config.name),
        root=cache_root(),
        options=options,
        report=report,
    )


def chosen_specs(config: ExperimentConfig, patterns: Sequence[str]) -> tuple[ModelSpec, ...]:
    """The models whose labels match a pattern.

    Raises:
        ConfigError: a pattern matches none.
    """
    specs = config.models()
    for pattern in patterns:
        if not any(fnmatch.fnmatch(spec.label, pattern) for spec in specs):
            labels = ", ".join(spec.label for spec in specs)
            raise ConfigError(f"--models {pattern}: no model matches. There are: {labels}.")
    return tuple(s for s in specs if any(fnmatch.fnmatch(s.label, p) for p in patterns))
