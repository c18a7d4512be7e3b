"""Doing what is to do: the stages of an experiment, here, in this process's share of the work."""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from platorep.align import align
from platorep.config import ExperimentConfig, ModelSpec, config_path, load_config
from platorep.data import load_dataset
from platorep.errors import ConfigError
from platorep.extract import ExtractOptions, adopt, extract, resolve_device
from platorep.features import cache_root, read_released
from platorep.models import open_model
from platorep.plots import Tables, figure_names, save_figure
from platorep.reporting import Reporter
from platorep.results import Failures, Results


@dataclass(frozen=True, kw_only=True)
class Session:
    """One experiment, the models asked for, and how to work on them."""

    config: ExperimentConfig
    specs: tuple[ModelSpec, ...]
    results: Results
    root: Path
    options: ExtractOptions
    report: Reporter


def open_session(
    name: str,
    *,
    overrides: Sequence[str] = (),
    models: str = "*",
    output: Path | None = None,
    options: ExtractOptions,
    report: Reporter,
) -> Session:
    """Read an experiment and find its folders.

    Args:
        name: A file, or the bare name of a shipped experiment.
        models: A pattern of labels; only these models are worked on.

    Raises:
        ConfigError: the file is wrong, or no model has such a label.
    """
    config = load_config(config_path(name), overrides)
    specs = tuple(spec for spec in config.models() if fnmatch.fnmatch(spec.label, models))
    if not specs:
        labels = ", ".join(spec.label for spec in config.models())
        raise ConfigError(f"--models {models}: no model matches. There are: {labels}.")
    results = Results(output or Path("results") / config.name)
    return Session(
        config=config,
        specs=specs,
        results=results,
        root=cache_root(),
        options=options,
        report=report,
    )


def share_of_work(
    shard: str | None, environment: Mapping[str, str] = os.environ
) -> tuple[int, int]:
    """This process's number and the number of processes: `i/n`, or what a cluster's launcher says.

    Without `i/n`: RANK of WORLD_SIZE (torchrun), or the task of a Slurm array and, within it,
    SLURM_PROCID of SLURM_NTASKS.

    Raises:
        ConfigError: not of the form i/n with 0 <= i < n.
    """

    def number(name: str, default: int) -> int:
        text = environment.get(name, str(default))
        if not text.isdigit():
            raise ConfigError(f"{name} is {text!r}, expected a number. Use --shard i/n.")
        return int(text)

    if shard is not None:
        process, slash, total = shard.partition("/")
        if not (slash and process.isdigit() and total.isdigit() and int(process) < int(total)):
            raise ConfigError(f"--shard {shard}: expected i/n with 0 <= i < n, such as 0/4.")
        return int(process), int(total)
    if "RANK" in environment:
        return number("RANK", 0), number("WORLD_SIZE", 1)
    first, step = number("SLURM_ARRAY_TASK_MIN", 0), number("SLURM_ARRAY_TASK_STEP", 1)
    task = (number("SLURM_ARRAY_TASK_ID", first) - first) // step
    within, per_task = number("SLURM_PROCID", 0), number("SLURM_NTASKS", 1)
    return task * per_task + within, number("SLURM_ARRAY_TASK_COUNT", 1) * per_task


def run_stages(session: Session) -> tuple[int, pd.DataFrame]:
    """Every stage in a row. A later stage takes what the earlier ones could make."""
    extracted, _ = extract_stage(session)
    measured = measure_stage(session)[0] if session.config.performance else 0
    aligned, best = align_stage(session)
    plotted = plot_stage(session)[0] if session.config.figures else 0
    return extracted + measured + aligned + plotted, best


def extract_stage(session: Session) -> tuple[int, pd.DataFrame]:
    """The number of cells that failed, and a table of the models."""

    failures = extract(
        session.config,
        session.specs,
        session.results,
        session.root,
        session.options,
        session.report,
    )
    models = session.results.read_table(session.results.models, "extract")
    columns = ["label", "family", "modality", "num_layers", "num_parameters"]
    return len(failures.errors), models[columns]


def align_stage(session: Session) -> tuple[int, pd.DataFrame]:
    """The number of model pairs that failed, and the best scores."""

    failures, best = align(
        session.config,
        session.specs,
        session.results,
        session.root,
        resolve_device(session.options.device),
        session.report,
        keep_going=session.options.keep_going,
        overwrite=session.options.overwrite == "always",
    )
    columns = ["x", "y", "control", "metric", "layer_x", "layer_y", "score", "chance"]
    return len(failures.errors), best[columns]


def plot_stage(session: Session) -> tuple[int, pd.DataFrame]:
    """The number of figures that failed, and the files that were written."""

    results, report = session.results, session.report
    failures = Failures("plot", results, report, session.options.keep_going)
    performance = pd.DataFrame(columns=["model", "measure", "value", "source"])
    if results.performance.exists():
        performance = results.read_table(results.performance, "measure")
    tables = Tables(
        best=results.read_table(results.best, "align"),
        scores=results.read_table(results.scores, "align"),
        performance=performance,
        models=results.read_table(results.models, "extract"),
    )
    written = []
    names = figure_names(session.config.figures)
    for name, figure in zip(names, session.config.figures, strict=True):
        with failures.catch(name):
            saved = save_figure(results.figures / name, tables, figure)
            for note in saved.notes:
                report.say(f"{name}: {note}")
            written += [{"figure": name, "file": str(path)} for path in saved.paths]
    failures.raise_if_all(len(names))
    return len(failures.errors), pd.DataFrame(written, columns=["figure", "file"])


def download(session: Session) -> tuple[int, pd.DataFrame]:
    """Bring data and models into the local caches, so that other processes can work offline."""

    options, report = session.options, session.report
    failures = Failures("download", session.results, report, options.keep_going)
    dataset = load_dataset(session.config.dataset, offline=options.offline)
    report.say(f"dataset {dataset.name}: {len(dataset)} pairs")
    done = []
    for spec in session.specs:
        with failures.catch(spec.label):
            open_model(spec, offline=options.offline).download()
            done.append({"model": spec.label, "state": "here"})
            report.say(f"{spec.label}: here")
    failures.raise_if_all(len(session.specs))
    return len(failures.errors), pd.DataFrame(done, columns=["model", "state"])


def import_features(session: Session, file: Path) -> Path:
    """Put the features of a released `.pt` file into the cache, as those of the session's model.

    Raises:
        IntegrityError: the file's rows are not as many as the dataset's.
    """

    (spec,) = session.specs
    dataset = load_dataset(session.config.dataset, offline=session.options.offline)
    return adopt(session.config, spec, dataset, read_released(file), session.results, session.root)
