"""A bundle as an experiment: what its file says is checked as anybody's, and no code is run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from platorep.bundles import Bundle, find_bundle
from platorep.bundles.about import CURE, EXPERIMENT, RESULTS, is_cell
from platorep.config import ExperimentConfig, load_config
from platorep.errors import ConfigError, DamagedError, IntegrityError, PlatorepError, shown
from platorep.experiment_rows import open_rows
from platorep.opened import AS_SCORED, Opened
from platorep.parameters.metrics import OwnMetric
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.run import Options, Run, chosen_specs


def open_bundle(name: str | Path, revision: str | None = None) -> Opened:
    """The experiment in a bundle, read only.

    Args:
        name: A folder, an archive `*.zip`, or `user/name` (`user/name@revision`) of a dataset on
            the Hugging Face Hub.
        revision: Branch, tag or commit on the hub.

    Raises:
        AbsentError: there is no such bundle, or the hub is not to be had.
        IntegrityError: a file is not the one that is listed, or the bundle holds what none does.
    """
    run = bundled_run(find_bundle(name, revision), options=Options(), report=Reporter(-1))
    return Opened(run)


def bundled_run(
    bundle: Bundle,
    *,
    output: Path | None = None,
    overrides: Sequence[str] = (),
    models: Sequence[str] = ("*",),
    options: Options,
    report: Reporter,
) -> Run:
    """One command at work on a bundle.

    Args:
        output: Where page and figures go; `results/NAME-bundle` when absent: an experiment of
            one's own may have the same name.

    Raises:
        DamagedError, IntegrityError: what is in it is no experiment.
    """
    try:
        config = load_config(bundle.folder / EXPERIMENT, overrides)
    except ConfigError as error:
        if overrides:
            raise
        raise IntegrityError(f"{bundle.source}: {error} {CURE}") from error
    if overrides and not bundle.has_features:
        _refuse_other_layers(config, load_config(bundle.folder / EXPERIMENT), bundle)
    config = _without_code(config, bundle, report)
    results = Results(
        bundle.folder / RESULTS,
        bundle.about.experiment,
        output=output or Path("results") / f"{bundle.about.experiment}-bundle",
    )
    _refuse_unusable(results, bundle)
    return Run(
        config=config,
        specs=chosen_specs(config, models),
        results=results,
        root=bundle.folder,
        options=options,
        report=report,
        bundle=bundle,
    )


def _refuse_other_layers(asked: ExperimentConfig, made: ExperimentConfig, bundle: Bundle) -> None:
    for name in AS_SCORED:
        if getattr(asked.align, name) != getattr(made.align, name):
            raise ConfigError(
                f"--set align.{name} has no effect on neighbor lists, which is all that "
                f"{bundle.source} holds. Leave it out, or ask whoever made the bundle for features."
            )


def _without_code(config: ExperimentConfig, bundle: Bundle, report: Reporter) -> ExperimentConfig:
    """The experiment without metrics of somebody's own code, which a bundle must not name: what it
    imports would be for the bundle to choose."""
    metrics = config.align.metrics
    kept = tuple(entry for entry in metrics if not isinstance(entry.parameters, OwnMetric))
    for entry in metrics:
        if entry not in kept:
            report.warn(
                f"{bundle.source}: the metric {shown(entry.name)} is its author's code, which is "
                "not run from a bundle; its scores are in the tables"
            )
    if len(kept) == len(metrics):
        return config
    return config.model_copy(update={"align": config.align.model_copy(update={"metrics": kept})})


def _refuse_unusable(results: Results, bundle: Bundle) -> None:
    """Refuse what others would stumble over, or be led astray by.

    Raises:
        DamagedError: it is not what `bundle` writes.
    """
    try:
        cells: Any = results.read_json(results.cells, "bundle")["cells"]
        for label, entry in cells.items():
            if not is_cell(entry["folder"]):
                raise ValueError(f"{label!r} lies in {shown(entry['folder'])}")
        about = results.read_json(results.run, "bundle")
        for key in ("dataset", "extract", "config"):
            if not isinstance(about[key], dict):
                raise TypeError(f"{key} of {results.run.name}")
        open_rows(results)
    except PlatorepError as error:
        raise type(error)(f"{bundle.source}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"{bundle.source}: its results are not those of an experiment ({error!r}). {CURE}"
        ) from error
