"""`platorep theory`: what can be computed without pretrained networks, or beside them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from platorep.cli.options import (
    Device,
    Json,
    KeepGoing,
    Offline,
    Output,
    Quiet,
    Set,
    Verbose,
)
from platorep.cli.running import exit_on_error, print_table
from platorep.reporting import Reporter

app = typer.Typer(no_args_is_help=True, help="The theory, where it can be computed.")


@app.command("pmi")
def theory_pmi(
    config: Annotated[
        str, typer.Argument(help="A file, or the name of a shipped one.")
    ] = "theory-pmi",
    overrides: Set = None,
    output: Output = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Contrastive learners of discrete events: do they end at one kernel, the PMI?"""
    with exit_on_error():
        from platorep.config import config_path, load_theory
        from platorep.execute import pmi_stage
        from platorep.results import Results

        asked = load_theory(config_path(config, "theory pmi"), overrides or [])
        results = Results(output or Path("results") / asked.name)
        print_table(pmi_stage(asked, results, Reporter(-1 if quiet else 0)), as_json)


@app.command("color")
def theory_color(
    config: Annotated[
        str, typer.Argument(help="A file, or the name of a shipped one.")
    ] = "toyworld-color",
    overrides: Set = None,
    output: Output = None,
    device: Device = "auto",
    offline: Offline = False,
    keep_going: KeepGoing = True,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Colours in images, in language models and in CIELAB: do they lie alike?"""
    with exit_on_error():
        if offline:
            os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported
        from platorep.config import config_path, load_color

        asked = load_color(config_path(config, "theory color"), overrides or [])
        from platorep.execute import color_stage
        from platorep.extract import ExtractOptions
        from platorep.results import Results, failed_cells

        results = Results(output or Path("results") / asked.name)
        options = ExtractOptions(device=device, offline=offline, keep_going=keep_going)
        report = Reporter(-1 if quiet else int(verbose))
        failed, table = color_stage(asked, results, options, report)
        print_table(table, as_json)
        if failed:
            raise failed_cells(failed, results.failures)
