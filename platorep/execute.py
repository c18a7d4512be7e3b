"""Doing what is to do: the stages of an experiment, and what their commands print.

A stage is imported when it is its turn: a run with nothing left to do needs few of the libraries.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from platorep.config import ColorConfig
from platorep.errors import ConfigError
from platorep.files import digest, sha256_file
from platorep.holding import held
from platorep.parameters.theory import PmiConfig
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.run import Options, Run

if TYPE_CHECKING:
    from platorep.packing import Choice

Outcome = tuple[Sequence[Exception], pd.DataFrame]
"""The error of every cell that failed, and the table to print."""


def run_stages(run: Run, command: str = "") -> Outcome:
    """Every stage in a row. A later stage takes what the earlier ones could make.

    Args:
        command: For the page to say.
    """
    from platorep.align import ScoresHook, asked_metrics, asked_pairs, refuse_too_few_rows
    from platorep.drawn import is_reported, undrawn_figures

    # what cannot be is found before the long work: a metric to import, a gallery of more rows
    asked_metrics(run.config)
    asked_pairs(run)
    ScoresHook(run)
    refuse_too_few_rows(run.config.align, run.config.dataset.limit)
    with run.holding_results():
        errors = [*extract_stage(run)[0]]
        if run.config.performance or run.results.performance.exists():
            errors += measure_stage(run)[0]  # or an old table would be drawn from
        aligned, best = align_stage(run)
        errors += aligned
        if run.config.figures and (run.anew or undrawn_figures(run)):
            errors += plot_stage(run)[0]
        if run.config.report.after_run and (run.anew or not is_reported(run)):
            from platorep.report.stage import report

            errors += report(run, command)[0].all
        return errors, best


def extract_stage(run: Run) -> Outcome:
    """What failed, and a table of the models that were asked for."""
    from platorep.extraction import extract

    with run.holding_results(extracting=True):
        failures = extract(run)
    models = run.results.read_table(run.results.models, "extract", run.report)
    of_run = models[models["label"].isin([spec.label for spec in run.specs])]
    return failures.all, of_run[["label", "family", "modality", "num_layers", "num_parameters"]]


def measure_stage(run: Run) -> Outcome:
    """What failed, and a table of the numbers."""
    from platorep.performance import measure

    _say_what_is_left_out(run, run.results.performance)
    with run.holding_results():
        failures, table = measure(run)
    return failures.all, table[["model", "measure", "value", "source"]]


def align_stage(run: Run) -> Outcome:
    """What failed, and the best scores."""
    from platorep.align import align

    _say_what_is_left_out(run, run.results.best)
    with run.holding_results():
        failures, best = align(run)
    columns = ["x", "y", "control", "metric", "layer_x", "layer_y", "score", "chance", "p_adjusted"]
    return failures.all, _shown(best, columns)


def _say_what_is_left_out(run: Run, table: Path) -> None:
    if len(run.specs) < len(run.config.models()):
        run.report.warn(
            f"--models: {table} will hold the models asked for only; the same command without it "
            "fills in the others"
        )


def score_stage(run: Run, file: Path) -> Outcome:
    """What failed, and the best scores of the file with each other one."""
    from platorep.align.own import score_file

    failures, table = score_file(run, file)
    run.report.say(
        "chance is of one pair of layers, and the best of several is above it for random features "
        "too: `platorep.score` and `platorep.Reference` in Python have a null (`permutations=`)"
    )
    columns = ["x", "y", "metric", "layer_x", "layer_y", "score", "chance"]
    return failures.all, _shown(table, columns)


def _shown(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What is printed; with the reason, if any pair has one for having no best layers."""
    shown = table[[name for name in columns if name in table]]
    return shown.assign(reason=table["reason"]) if table["reason"].any() else shown


def ground_stage(run: Run, pattern: str) -> Outcome:
    """What failed, and how each metric does where the answer is known; extracts what is missing."""
    from platorep.grounding import ground, grounded_metrics

    metrics = grounded_metrics(run, pattern)
    with run.holding_results():
        errors = [*extract_stage(run)[0]]
        failures, table = ground(run, metrics)
    return errors + failures.all, table


def study_stage(run: Run, name: str) -> Outcome:
    """What failed, and what the study found; extracts what is missing."""
    from platorep.studies import STUDIES, study

    which = STUDIES[name]
    with run.holding_results():
        errors = [*extract_stage(run)[0]] if which.extracts else []
        failures, table = study(run, which)
    return errors + failures.all, table


def plot_stage(run: Run) -> Outcome:
    """What failed, and the files that were written."""
    from platorep.plots.stage import plot

    with run.holding_results():
        failures, files = plot(run)
    return failures.all, files


def report_stage(run: Run, command: str = "") -> Outcome:
    """What failed, and the page."""
    from platorep.report.stage import report

    with run.holding_results():
        failures, file = report(run, command)
    failures.raise_if_all(1)
    return failures.all, file


MOST_ROWS = 20
"""Of the table that `run` ends with."""


def what_matters(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """The best scores: pairs of trained models first, metric by metric, the closest first."""
    from platorep.align import asked_metrics

    controls = {spec.label for spec in run.specs if spec.is_control}
    asked = asked_metrics(run.config)
    signs = {a.label: -1 if a.metric.claims.larger_is_closer else 1 for a in asked}
    order = {label: place for place, label in enumerate(signs)}
    is_control = table["x"].isin(controls) | table["y"].isin(controls) | table["control"].ne("")
    places = table.assign(
        first=is_control,
        second=table["metric"].map(order),
        third=table["score"] * table["metric"].map(signs),
    )
    ordered = places.sort_values(["first", "second", "third"], kind="stable").index[:MOST_ROWS]
    return table.loc[ordered]


def ending(run: Run, table: pd.DataFrame) -> list[str]:
    """What `run` says when its table is printed."""
    from platorep.drawn import is_reported

    said = []
    if len(table) > MOST_ROWS:
        said.append(f"{len(table) - MOST_ROWS} more rows: {run.results.best}")
    if is_reported(run):
        said.append(how_to_open(run.results.report))
    return said


def how_to_open(page: Path) -> str:
    """Where the page is, and what to type."""
    opener = {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")
    return f"report: {page} (to see it: {opener} {shlex.quote(str(page))})"


def bundle_stage(run: Run, target: Path, choice: "Choice") -> Outcome:
    """Pack the experiment; what went into the bundle, and how much room it takes."""
    from platorep.packing import pack

    path, about = pack(run, target, choice)
    folders = {"settings and tables": ("experiment.yaml", "results/"), "features": ("features/",)}
    folders |= {"neighbors": ("neighbors/",), "texts and pictures": ("shown/",)}
    rows = []
    for what, starts in folders.items():
        files = [file for file in about.files if file.path.startswith(starts)]
        if files:
            size = round(sum(file.size for file in files) / 1e6, 2)
            rows.append({"inside": what, "files": len(files), "mb": size})
    run.report.say(f"bundle: {path}")
    return [], pd.DataFrame(rows)


def download(run: Run) -> Outcome:
    """Bring data and models into the local caches, so that other processes can work offline."""
    from platorep.data import load_dataset
    from platorep.models import open_model
    from platorep.performance import measure_of

    report, offline = run.report, run.options.offline
    failures = run.failures("download")
    dataset = load_dataset(run.config.dataset, offline=offline)
    report.say(f"dataset {dataset.name}: {len(dataset)} rows")
    for config in run.config.performance:
        with failures.catch(config.name):
            if about_it := measure_of(config).fetch(config, offline):
                report.say(f"{config.name}: {about_it}")
    here = []
    for spec in run.specs:
        with failures.catch(spec.label):
            model = open_model(spec, offline=offline)
            model.prepare(report)
            model.download()
            here.append({"model": spec.label, "state": "here"})
            report.say(f"{spec.label}: here")
    failures.raise_if_all(len(run.specs))
    return failures.all, pd.DataFrame(here, columns=["model", "state"])


def import_features(run: Run, file: Path) -> Path:
    """Put a file of features into the cache, as those of the run's one model."""
    from platorep.data import load_dataset
    from platorep.extraction import adopt

    if len(run.specs) != 1:
        labels = ", ".join(spec.label for spec in run.specs)
        raise ConfigError(f"a file holds the features of one model; here are several: {labels}.")
    (spec,) = run.specs
    dataset = load_dataset(run.config.dataset, offline=run.options.offline)
    with run.holding_results(extracting=True):
        return adopt(run, spec, dataset, file)


def compare_stage(names: Sequence[str], output: Path | None, report: Reporter) -> pd.DataFrame:
    """Put the scores of several experiments beside each other: tables and figure; the taus."""
    from platorep.comparing import common_scores, consistency, find_results, warn_of_settings
    from platorep.plots.about import framed
    from platorep.plots.consistency import consistency_points, draw_consistency, say_consistency
    from platorep.plots.saving import write_figure
    from platorep.plots.style import figure_style

    experiments = find_results(names)
    scores = common_scores(experiments, report)
    warn_of_settings(experiments, report)
    table = consistency(scores, list(experiments), report)
    results = Results(output or Path("results") / "compare")
    made_from = {f"best of {a}": sha256_file(of.best) for a, of in experiments.items()}
    with held(results.folder, digest(made_from), models=None), figure_style():
        results.write_table(results.folder / "consistency.csv", table, made_from)
        results.write_table(results.folder / "consistency_pairs.csv", scores, made_from)
        points = consistency_points(scores, table)
        about = say_consistency(scores, table)
        figure = framed(draw_consistency, points, about)
        write_figure(results.figures / "consistency", figure, points)
    return table.round(4)


def pmi_stage(config: PmiConfig, results: Results, report: Reporter) -> pd.DataFrame:
    """Train the learners, write tables and figure; returns the rows of the last step."""
    from platorep.plots.about import framed
    from platorep.plots.pmi import draw_pmi, pmi_points, say_pmi
    from platorep.plots.saving import write_figure
    from platorep.plots.style import figure_style
    from platorep.theory.stages import learn_pmi

    settings = digest(config.model_dump(mode="json"))
    with held(results.folder, settings, models=None), figure_style():
        kernels, pairs = learn_pmi(config, results, report)
        points = pmi_points(kernels, pairs)
        figure = framed(lambda _: draw_pmi(kernels, pairs), points, say_pmi(kernels, pairs))
        write_figure(results.figures / "pmi", figure, points)
    last: pd.DataFrame = kernels[kernels["step"] == kernels["step"].max()].round(4)
    return last


def color_stage(
    config: ColorConfig, results: Results, options: Options, report: Reporter
) -> Outcome:
    """Compare the colours, write tables and figure; what failed, and how alike the rest is."""
    from platorep.plots.about import framed
    from platorep.plots.color import color_points, draw_color, say_color
    from platorep.plots.saving import write_figure
    from platorep.plots.style import figure_style
    from platorep.theory.stages import compare_colors

    settings = digest(config.model_dump(mode="json"))
    with held(results.folder, settings, models=None), figure_style():
        colors = compare_colors(config, results, options, report)
        points = color_points(colors.geometry, colors.agreement)
        figure = framed(draw_color, points, say_color(points))
        write_figure(results.figures / "color", figure, points)
    columns = ["items", "x", "y", "layer", "num_colors", "residual", "residual_null", "residual_p"]
    table = colors.agreement[[*columns, "correlation", "correlation_p"]]
    return colors.failures.all, table.round(4)
