"""The command line: parse, call one function, print. No logic lives here.

Heavy modules are imported inside the commands, so that `--help` answers at once. The commands of an
experiment are in this file, `platorep cache` and `platorep theory` in files of their own.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from platorep.cli import cache as cache_commands
from platorep.cli import theory as theory_commands
from platorep.cli.options import (
    BatchSize,
    Config,
    Device,
    Json,
    KeepGoing,
    Limit,
    Listable,
    Models,
    Offline,
    Output,
    Overwrite,
    OverwriteOption,
    Quiet,
    Set,
    Shard,
    Verbose,
)
from platorep.cli.running import exit_on_error, fail_if, open_command, print_table
from platorep.errors import IntegrityError

app = typer.Typer(
    name="platorep",
    help="Do neural networks, trained apart, converge on one representation of the world?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cache_commands.app, name="cache")
app.add_typer(theory_commands.app, name="theory")


def main() -> None:
    """The console command. A metric of one's own may stand beside the experiment."""
    sys.path.append(str(Path.cwd()))
    app()


@app.command()
def run(
    config: Config,
    overrides: Set = None,
    models: Models = "*",
    limit: Limit = None,
    output: Output = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    overwrite: OverwriteOption = Overwrite.missing,
    offline: Offline = False,
    keep_going: KeepGoing = True,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """All stages in a row: extract, measure, align, plot. Redoes nothing that is done."""
    with exit_on_error():
        session = open_command(
            config,
            overrides,
            models=models,
            limit=limit,
            batch_size=batch_size,
            output=output,
            quiet=quiet,
            verbose=verbose,
            device=device,
            overwrite=overwrite.value,
            offline=offline,
            keep_going=keep_going,
        )
        from platorep.execute import run_stages

        failed, best = run_stages(session)
        print_table(best, as_json)
        fail_if(failed, session)


@app.command()
def plan(
    config: Config,
    overrides: Set = None,
    models: Models = "*",
    limit: Limit = None,
    output: Output = None,
    device: Device = "auto",
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """What is there already, what is missing, and what it will take. Computes nothing."""
    with exit_on_error():
        session = open_command(
            config,
            overrides,
            models=models,
            limit=limit,
            output=output,
            device=device,
            offline=offline,
        )
        from platorep.plan import plan_table

        print_table(plan_table(session), as_json)


@app.command()
def extract(
    config: Config,
    overrides: Set = None,
    models: Models = "*",
    limit: Limit = None,
    output: Output = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    overwrite: OverwriteOption = Overwrite.missing,
    offline: Offline = False,
    keep_going: KeepGoing = True,
    shard: Shard = None,
    download_only: Annotated[
        bool, typer.Option("--download-only", help="Fetch models and data, compute nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Cache the features of every layer of every model."""
    with exit_on_error():
        session = open_command(
            config,
            overrides,
            models=models,
            limit=limit,
            batch_size=batch_size,
            output=output,
            quiet=quiet,
            verbose=verbose,
            device=device,
            overwrite=overwrite.value,
            offline=offline,
            keep_going=keep_going,
            shard=shard,
        )
        from platorep.execute import download, extract_stage

        failed, table = (download if download_only else extract_stage)(session)
        print_table(table, as_json)
        fail_if(failed, session)


@app.command()
def measure(
    config: Config,
    overrides: Set = None,
    models: Models = "*",
    output: Output = None,
    device: Device = "auto",
    overwrite: OverwriteOption = Overwrite.missing,
    offline: Offline = False,
    keep_going: KeepGoing = True,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put a number on each model's competence: bits per byte, probes, or numbers of others."""
    with exit_on_error():
        session = open_command(
            config,
            overrides,
            models=models,
            output=output,
            quiet=quiet,
            verbose=verbose,
            device=device,
            overwrite=overwrite.value,
            offline=offline,
            keep_going=keep_going,
        )
        from platorep.execute import measure_stage

        failed, table = measure_stage(session)
        print_table(table, as_json)
        fail_if(failed, session)


@app.command()
def align(
    config: Config,
    overrides: Set = None,
    models: Models = "*",
    output: Output = None,
    device: Device = "auto",
    overwrite: OverwriteOption = Overwrite.missing,
    keep_going: KeepGoing = True,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score all layer pairs of all model pairs from cached features."""
    with exit_on_error():
        session = open_command(
            config,
            overrides,
            models=models,
            output=output,
            quiet=quiet,
            verbose=verbose,
            device=device,
            overwrite=overwrite.value,
            keep_going=keep_going,
        )
        from platorep.execute import align_stage

        failed, best = align_stage(session)
        print_table(best, as_json)
        fail_if(failed, session)


@app.command()
def score(
    features: Annotated[
        Path, typer.Argument(help="A file of your own: .safetensors, .npy, .npz, .pt.")
    ],
    config: Config,
    overrides: Set = None,
    models: Models = "*",
    output: Output = None,
    device: Device = "auto",
    keep_going: KeepGoing = True,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score your own features against the models of an extracted experiment."""
    with exit_on_error():
        session = open_command(
            config,
            overrides,
            models=models,
            output=output,
            quiet=quiet,
            verbose=verbose,
            device=device,
            keep_going=keep_going,
        )
        from platorep.execute import score_stage

        failed, table = score_stage(session, features)
        print_table(table, as_json)
        fail_if(failed, session)


@app.command()
def plot(
    config: Config,
    overrides: Set = None,
    output: Output = None,
    keep_going: KeepGoing = True,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw the experiment's figures from its tables."""
    with exit_on_error():
        session = open_command(
            config,
            overrides,
            output=output,
            quiet=quiet,
            verbose=verbose,
            keep_going=keep_going,
        )
        from platorep.execute import plot_stage

        failed, table = plot_stage(session)
        print_table(table, as_json)
        fail_if(failed, session)


@app.command("list")
def list_things(
    what: Annotated[Listable, typer.Argument(help="Which table.")],
    pattern: Annotated[str, typer.Argument(help="Only names like this (GLOB).")] = "*",
    check: Annotated[
        str | None, typer.Option("--check", metavar="NAME", help="Try every claim of a metric.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what there is: models (timm), metrics, figures, shipped configs.

    `platorep list metrics --check package.module:metric` tries the claims of a metric of your own;
    exit code 5 if one does not hold.
    """
    with exit_on_error():
        from platorep.plan import checked_claims, listing

        if check is None:
            print_table(listing(what.value, pattern), as_json)
            return
        claims = checked_claims(check)
        print_table(claims, as_json)
        if not claims["holds"].all():
            raise IntegrityError(f"{check} does not do all that it claims: see the table.")
