"""What the commands can be told: arguments and options, each written down once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Overwrite(StrEnum):
    never = "never"
    missing = "missing"
    always = "always"


class Listable(StrEnum):
    models = "models"
    metrics = "metrics"
    figures = "figures"
    configs = "configs"


Config = Annotated[str, typer.Argument(help="An experiment file, or the name of a shipped one.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a value: a.b=v.")
]
Models = Annotated[str, typer.Option("--models", metavar="GLOB", help="Only models so labelled.")]
Limit = Annotated[int | None, typer.Option("--limit", help="Only so many rows (dataset.limit).")]
Output = Annotated[
    Path | None, typer.Option("--output", help="Folder of the results; results/NAME when absent.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Tokens or images per batch (extract.batch).")
]
OverwriteOption = Annotated[
    Overwrite, typer.Option("--overwrite", help="What to compute: never, missing or always.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the network.")]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going/--fail-fast", help="After a failed cell: go on, or stop.")
]
Shard = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="This process's share; else the launcher's word."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say only warnings.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say details too.")]
