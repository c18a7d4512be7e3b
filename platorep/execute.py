"""Doing what is to do: the stages of an experiment, here, in this process's share of the work."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from platorep.align import align, asked_metrics, refuse_too_few_rows, score_file
from platorep.config import BitsPerByteConfig, ColorConfig, ProbeConfig
from platorep.data import load_dataset
from platorep.errors import ConfigError
from platorep.extract import ExtractOptions, adopt, extract
from platorep.models import environment, open_model, resolve_device
from platorep.parameters.theory import PmiConfig
from platorep.performance import measure, read_corpus, read_labelled
from platorep.plots import Tables, figure_names, save_figure
from platorep.plots.color import color_points, draw_color
from platorep.plots.pmi import draw_pmi, pmi_points
from platorep.plots.saving import no_old_figure, write_figure
from platorep.plots.style import figure_style
from platorep.reporting import Reporter
from platorep.results import Failures, Results, write_csv
from platorep.session import Session
from platorep.theory import color
from platorep.theory.pmi import kernels_table, num_trainings, worlds_table

Outcome = tuple[Sequence[Exception], pd.DataFrame]
"""The error of every cell that failed, and the table to print."""


def run_stages(session: Session) -> Outcome:
    """Every stage in a row. A later stage takes what the earlier ones could make."""
    # what cannot be is found before the long work: a metric to import, a gallery of more rows
    asked_metrics(session.config)
    refuse_too_few_rows(session.config.align, session.config.dataset.limit)
    extracted, _ = extract_stage(session)
    measures = session.config.performance or session.results.performance.exists()
    measured = measure_stage(session)[0] if measures else []  # or an old table would be drawn from
    aligned, best = align_stage(session)
    plotted = plot_stage(session)[0] if session.config.figures else []
    return [*extracted, *measured, *aligned, *plotted], best


def extract_stage(session: Session) -> Outcome:
    """What failed, and a table of the models."""

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
    return failures.all, models[columns]


def measure_stage(session: Session) -> Outcome:
    """What failed, and a table of the numbers."""
    _say_what_is_left_out(session, session.results.performance)
    failures, table = measure(
        session.config,
        session.specs,
        session.results,
        session.root,
        resolve_device(session.options.device),
        session.report,
        offline=session.options.offline,
        keep_going=session.options.keep_going,
        overwrite=session.options.overwrite == "always",
    )
    return failures.all, table[["model", "measure", "value", "source"]]


def align_stage(session: Session) -> Outcome:
    """What failed, and the best scores."""
    _say_what_is_left_out(session, session.results.best)
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
    columns = ["x", "y", "control", "metric", "layer_x", "layer_y", "score", "chance", "p_adjusted"]
    return failures.all, best[[name for name in columns if name in best]]


def _say_what_is_left_out(session: Session, table: Path) -> None:
    if len(session.specs) < len(session.config.models()):
        session.report.warn(
            f"--models: {table} will hold the models asked for only; the same command without it "
            "fills in the others"
        )


def score_stage(session: Session, file: Path) -> Outcome:
    """What failed, and the best scores of the file with each other one."""
    failures, table = score_file(
        session.config,
        session.specs,
        file,
        session.results,
        session.root,
        resolve_device(session.options.device),
        session.report,
        keep_going=session.options.keep_going,
    )
    columns = ["x", "y", "metric", "layer_x", "layer_y", "score", "chance"]
    return failures.all, table[columns]


def plot_stage(session: Session) -> Outcome:
    """What failed, and the files that were written."""

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
        gallery=results.read_table(results.gallery, "align")
        if results.gallery.exists()
        else pd.DataFrame(),
    )
    written = []
    names = figure_names(session.config.figures)
    for name, figure in zip(names, session.config.figures, strict=True):
        with failures.catch(name), no_old_figure(results.figures / name):
            saved = save_figure(results.figures / name, tables, figure)
            for note in saved.notes:
                report.say(f"{name}: {note}")
            written += [{"figure": name, "file": str(path)} for path in saved.paths]
    failures.raise_if_all(len(names))
    return failures.all, pd.DataFrame(written, columns=["figure", "file"])


def download(session: Session) -> Outcome:
    """Bring data and models into the local caches, so that other processes can work offline."""

    options, report = session.options, session.report
    failures = Failures("download", session.results, report, options.keep_going)
    dataset = load_dataset(session.config.dataset, offline=options.offline)
    report.say(f"dataset {dataset.name}: {len(dataset)} pairs")
    for wanted in session.config.performance:
        if isinstance(wanted, BitsPerByteConfig) and wanted.source != "captions":
            with failures.catch(wanted.name):
                corpus = read_corpus(wanted, offline=options.offline)
                report.say(f"{wanted.name}: {corpus.num_bytes} bytes of {corpus.source}")
        elif isinstance(wanted, ProbeConfig):
            with failures.catch(wanted.name):
                read_labelled(wanted.dataset, offline=options.offline)
                report.say(f"{wanted.name}: the images of {wanted.dataset.source} are here")
    done = []
    for spec in session.specs:
        with failures.catch(spec.label):
            model = open_model(spec, offline=options.offline)
            model.prepare(report)
            model.download()
            done.append({"model": spec.label, "state": "here"})
            report.say(f"{spec.label}: here")
    failures.raise_if_all(len(session.specs))
    return failures.all, pd.DataFrame(done, columns=["model", "state"])


def import_features(session: Session, file: Path) -> Path:
    """Put a file of features into the cache, as those of the session's one model."""

    if len(session.specs) != 1:
        labels = ", ".join(spec.label for spec in session.specs)
        raise ConfigError(f"a file holds the features of one model; here are several: {labels}.")
    (spec,) = session.specs
    dataset = load_dataset(session.config.dataset, offline=session.options.offline)
    return adopt(session.config, spec, dataset, file, session.results, session.root)


def pmi_stage(config: PmiConfig, results: Results, report: Reporter) -> pd.DataFrame:
    """Write the tables and the figure of `theory pmi`; returns the rows of the last step."""
    worlds = worlds_table(config)
    with report.task(f"train {config.name}", num_trainings(config), "pairs of learners") as advance:
        kernels, pairs = kernels_table(config, progress=advance)
    write_csv(results.folder / "worlds.csv", worlds)
    write_csv(results.folder / "kernels.csv", kernels)
    with figure_style():
        points = pmi_points(kernels, pairs)
        write_figure(results.figures / "pmi", draw_pmi(kernels, pairs), points)
    results.record("theory", {"config": config.model_dump(mode="json")})
    last: pd.DataFrame = kernels[kernels["step"] == kernels["step"].max()].round(4)
    return last


def color_stage(
    config: ColorConfig, results: Results, options: ExtractOptions, report: Reporter
) -> Outcome:
    """Write the tables and the figure of `theory color`; what failed, and how alike the rest is."""
    failures = Failures("theory", results, report, options.keep_going)
    device = resolve_device(options.device)
    words, cells = color.word_list(config), color.grid(config)
    spaces = color.perception_spaces(config, words)
    counts: list[pd.DataFrame] = []
    for images in config.images:
        with failures.catch(images.name):
            found, table = color.vision_spaces(
                config, images, words, cells, report, offline=options.offline
            )
            spaces += found
            counts.append(table)
    specs = config.models()
    for spec in specs:
        with failures.catch(spec.label):
            spaces += color.language_spaces(
                config, spec, words, device, report, offline=options.offline
            )
    failures.raise_if_all(len(config.images) + len(specs))
    spaces = color.with_cells_of_perception(spaces, cells)

    geometry = color.geometry_table(spaces, words, cells)
    agreement = color.agreement_table(config, spaces)
    write_csv(results.folder / "words.csv", color.words_table(words))
    if counts:
        write_csv(results.folder / "counts.csv", pd.concat(counts, ignore_index=True))
    write_csv(results.folder / "distances.csv", color.distances_table(spaces, words, cells))
    write_csv(results.folder / "geometry.csv", geometry)
    write_csv(results.folder / "agreement.csv", agreement)
    with figure_style():
        points = color_points(geometry, agreement)
        write_figure(results.figures / "color", draw_color(points), points)
    results.record(
        "theory",
        {
            "config": config.model_dump(mode="json"),
            "environment": environment(device),
            "failed": sorted(failures.errors),
            "warnings": report.warnings,
        },
    )
    columns = ["items", "x", "y", "layer", "num_colors", "residual", "residual_null", "residual_p"]
    return failures.all, agreement[[*columns, "correlation", "correlation_p"]].round(4)
