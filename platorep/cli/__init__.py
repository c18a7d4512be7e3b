"""The command line: parse, call one function, print. No logic lives here.

Heavy modules are imported inside the commands, so that `--help` answers at once. The commands of an
experiment are in this file, `platorep cache` and `platorep theory` in files of their own.
"""

import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platorep.cli import cache as cache_commands
from platorep.cli import studies
from platorep.cli import theory as theory_commands
from platorep.cli.bundling import BUNDLE, bundle
from platorep.cli.checking import CHECK, check
from platorep.cli.experiment import finish, open_experiment, typed
from platorep.cli.options import ENGINE, EXPERIMENT, TALK, WORK, CommandLine, Json, command, epilog
from platorep.cli.running import exit_on_error, others_on_stderr, print_table
from platorep.cli.starting import init
from platorep.errors import ConfigError, IntegrityError
from platorep.reporting import Reporter

if TYPE_CHECKING:
    from platorep.run import Run

app = typer.Typer(
    name="platorep",
    help="Do neural networks, trained apart, converge on one representation of the world?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cache_commands.app, name="cache")
app.add_typer(theory_commands.app, name="theory")
app.add_typer(studies.units, name="units")
app.add_typer(studies.bridge, name="bridge")
app.command("init", epilog=epilog("platorep init photos", "start.md"))(init)
command(
    *(app, "check", *CHECK),
    limit=128,
    example="platorep check local-dir:my/vit --checks 'batch*'",
    page="check.md",
)(check)
command(
    app,
    "bundle",
    *BUNDLE,
    example="platorep bundle mine.yaml mine.zip --licence cc-by-4.0",
    page="bundle.md",
)(bundle)


def main() -> None:
    """The console command. Code of one's own may stand in the working folder."""
    sys.path.append(str(Path.cwd()))
    app()


@command(
    app,
    "run",
    *(*EXPERIMENT, *WORK, *ENGINE, "batch_size", "overwrite", "offline", "on_scores", *TALK),
    example="platorep run mine.yaml --set align.metrics.0.k=20",
    page="start.md",
)
def run(line: CommandLine) -> None:
    """All stages in a row: extract, measure, align, plot, report. Redoes nothing that is done."""
    experiment = open_experiment(line)
    from platorep.execute import ending, run_stages, what_matters

    stage = partial(run_stages, command=typed("run", line))
    finish(experiment, stage, line, shown=what_matters, ending=ending)


@command(
    app,
    "plan",
    *(*EXPERIMENT, "models", "device", "offline", *TALK),
    example="platorep plan mine.yaml --limit 256",
    page="start.md",
)
def plan(line: CommandLine) -> None:
    """What is there already, what is missing, and what it will take. Computes no features."""
    experiment = open_experiment(line)
    from platorep.plan import plan_table

    with others_on_stderr():
        trouble, table = plan_table(experiment)
    print_table(table, line.as_json)
    if trouble is not None:
        raise trouble


@command(
    app,
    "extract",
    *(*EXPERIMENT, *WORK, *ENGINE, "batch_size", "overwrite", "offline"),
    *("download_only", *TALK),
    example="platorep extract mine.yaml --models 'pythia*' --download-only",
    page="start.md",
)
def extract(line: CommandLine) -> None:
    """Cache the features of every layer of every model."""
    experiment = open_experiment(line)
    from platorep.execute import download, extract_stage

    stage = download if line.download_only else extract_stage
    finish(experiment, stage, line)


@command(
    app,
    "measure",
    *(*EXPERIMENT, *WORK, *ENGINE, "overwrite", "offline", *TALK),
    example="platorep measure mine.yaml --offline",
    page="performance.md",
)
def measure(line: CommandLine) -> None:
    """Put a number on each model's competence: bits per byte, probes, or numbers of others."""
    experiment = open_experiment(line)
    from platorep.execute import measure_stage

    finish(experiment, measure_stage, line)


@command(
    app,
    "align",
    *(*EXPERIMENT, *WORK, *ENGINE, "overwrite", "on_scores", *TALK),
    example="platorep align mine.yaml --json",
    page="start.md",
)
def align(line: CommandLine) -> None:
    """Score all layer pairs of all model pairs from cached features."""
    experiment = open_experiment(line)
    from platorep.execute import align_stage

    finish(experiment, align_stage, line)


@command(
    app,
    "score",
    *("file", *EXPERIMENT, *WORK, *TALK),
    example="platorep score mine.npz mine.yaml --models 'vit*'",
    page="start.md",
)
def score(line: CommandLine) -> None:
    """Score your own features against the models of an extracted experiment, or of a bundle."""
    experiment = open_experiment(line, bundles=True)
    from platorep.execute import score_stage

    finish(experiment, lambda run: score_stage(run, line.file), line)


@command(
    app,
    "plot",
    *(*EXPERIMENT, "keep_going", *TALK),
    example="platorep plot mine.yaml --output results/mine",
    page="start.md",
)
def plot(line: CommandLine) -> None:
    """Draw the experiment's figures from its tables."""
    experiment = open_experiment(line, bundles=True)
    from platorep.execute import plot_stage

    finish(experiment, plot_stage, line)


@command(
    app,
    "report",
    *(*EXPERIMENT, "rows", "no_images", "no_texts", *TALK),
    example="platorep report mine.yaml --no-images",
    page="report.md",
)
def report(line: CommandLine) -> None:
    """Write one HTML page that shows the experiment: its answer, figures, what two networks share.

    It needs no network, and nothing beside it. What is on it of the rows, report.md says.
    """
    experiment = open_experiment(line, bundles=True)
    from platorep.execute import how_to_open, report_stage

    stage = partial(report_stage, command=typed("report", line))
    finish(experiment, stage, line, ending=lambda run, _: [how_to_open(run.results.report)])


@command(
    app,
    "compare",
    *("experiments", "output", "as_json", "quiet"),
    example="platorep compare results/photos results/drawings",
    page="comparing.md",
)
def compare(line: CommandLine) -> None:
    """Do the same model pairs rank the same in several experiments? Kendall's tau, and a figure.

    Reads the best.csv of finished experiments and joins trained models by their labels. Writes
    consistency.csv and the figure into --output (results/compare if absent).
    """
    from platorep.execute import compare_stage

    with others_on_stderr():
        table = compare_stage(line.experiments or [], line.output, Reporter(line.verbosity))
    print_table(table, line.as_json)


class Listable(StrEnum):
    models = "models"
    metrics = "metrics"
    figures = "figures"
    configs = "configs"
    kinds = "kinds"
    changes = "changes"
    keys = "keys"


@app.command("list", epilog=epilog("platorep list models '*dinov3*'", "start.md"))
def list_things(
    what: Annotated[Listable, typer.Argument(help="Which table.")],
    pattern: Annotated[
        str, typer.Argument(help="Only names like this (GLOB); of models also a folder or name.")
    ] = "*",
    check: Annotated[
        str | None, typer.Option("--check", metavar="NAME", help="Try every claim of a metric.")
    ] = None,
    ground: Annotated[
        str | None,
        typer.Option(
            "--ground", metavar="CONFIG", help="Try metrics on its networks, and on a dial."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what there is: models, metrics, figures, shipped configs, kinds of views, changes, keys.

    `platorep list models FOLDER`, or the name of a timm or hub model, says what it reads, with
    which side, its layers, widths and pools.

    `platorep list keys 'align.null*'`: what an experiment file may say there.

    `platorep list metrics --check package.module:metric` tries the claims of a metric of your own;
    exit code 5 if one does not hold.

    `platorep list metrics --ground toyworld-ground` tries every metric where the answer is known:
    on two senses that share a known part of their information, and on the networks of CONFIG.
    """
    with exit_on_error():
        if ground is not None:
            _ground(what, pattern, ground, as_json)
            return
        from platorep.listing import checked_claims, in_short, listing

        if check is None:
            with others_on_stderr():
                table = listing(what.value, pattern)
            print_table(table if as_json else in_short(table), as_json)
            return
        with others_on_stderr():
            claims = checked_claims(check)
        print_table(claims, as_json)
        if not claims["holds"].all():
            raise IntegrityError(f"{check} does not do all that it claims: see the table.")


def _ground(what: Listable, pattern: str, config: str, as_json: bool) -> None:
    if what is not Listable.metrics:
        raise ConfigError(f"--ground tries metrics; found {what}. Say `list metrics --ground ...`.")
    line = CommandLine(config=config, as_json=as_json)
    experiment = open_experiment(line)
    from platorep.execute import ground_stage
    from platorep.grounding import in_short

    def stage(run: "Run") -> tuple[Sequence[Exception], Any]:
        errors, table = ground_stage(run, pattern)
        return errors, table if as_json else in_short(table)

    finish(experiment, stage, line)
