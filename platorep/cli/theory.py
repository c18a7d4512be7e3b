"""`platorep theory`: what can be computed without pretrained networks, or beside them."""

import os
from pathlib import Path

import typer

from platorep.cli.options import TALK, CommandLine, command
from platorep.cli.running import others_on_stderr, print_table
from platorep.reporting import Reporter

app = typer.Typer(no_args_is_help=True, help="The theory, where it can be computed.")
FILE = ("config", "overrides", "output")


@command(
    app,
    "pmi",
    *(*FILE, "as_json", "quiet"),
    config="theory-pmi",
    example="platorep theory pmi --json",
    page="toyworld.md",
)
def theory_pmi(line: CommandLine) -> None:
    """Contrastive learners of discrete events: do they end at one kernel, the PMI?"""
    from platorep.config import config_path, load_theory
    from platorep.execute import pmi_stage
    from platorep.results import Results

    config = load_theory(config_path(line.config, "theory pmi"), line.overrides or [])
    results = Results(line.output or Path("results") / config.name)
    with others_on_stderr():
        table = pmi_stage(config, results, Reporter(line.verbosity))
    print_table(table, line.as_json)


@command(
    app,
    "color",
    *(*FILE, "device", "offline", "keep_going", *TALK),
    config="toyworld-color",
    example="platorep theory color prh-color",
    page="color.md",
)
def theory_color(line: CommandLine) -> None:
    """Colours in images, in language models and in CIELAB: do they lie alike?"""
    if line.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported
    from platorep.config import config_path, load_color

    config = load_color(config_path(line.config, "theory color"), line.overrides or [])
    from platorep.execute import color_stage
    from platorep.failures import failed_cells
    from platorep.results import Results
    from platorep.run import Options

    results = Results(line.output or Path("results") / config.name)
    options = Options(device=line.device, offline=line.offline, keep_going=line.keep_going)
    with others_on_stderr():
        errors, table = color_stage(config, results, options, Reporter(line.verbosity))
    print_table(table, line.as_json)
    if errors:
        raise failed_cells(errors, results.failures)
