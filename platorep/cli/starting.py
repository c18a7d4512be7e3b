"""`platorep init`: from data to a first experiment file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from platorep.cli.options import Json
from platorep.cli.running import exit_on_error, others_on_stderr, print_table
from platorep.reporting import Reporter


def init(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of images with a CSV, or one per class; *.csv, *.jsonl, *.parquet, "
            "*.tar; or a hub dataset."
        ),
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Folders, weight or feature files, names; known ones that fit if absent.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", metavar="MODEL...", help="The same, as an option."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="The file; DATA.yaml if absent.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    device: Annotated[
        str, typer.Option("--device", help="Whose memory models must fit: auto, cpu, cuda.")
    ] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Never ask the network.")] = False,
    as_json: Json = False,
) -> None:
    """Look at data and write a first experiment file, with comments.

    Finds out what the columns hold, names models that fit this machine (or the ones you name), and
    prints what it saw. `platorep plan` says what the experiment will take.
    """
    with exit_on_error():
        if offline:
            os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported
        from platorep.starting import Wanted, start

        wanted = Wanted(
            data=data,
            models=[*(models or []), *(more or [])],
            output=output,
            force=force,
            device=device,
            offline=offline,
        )
        with others_on_stderr():
            file, table = start(wanted)
        print_table(table, as_json)
        Reporter().say(
            f"wrote {file}; its comments say what one may change. Next:\n"
            f"  platorep plan {file}\n  platorep run {file}"
        )
