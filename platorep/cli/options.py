"""What a command can be told: every argument and option once, and which command takes which."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from platorep.cli.running import exit_on_error


class Overwrite(StrEnum):
    never = "never"
    missing = "missing"
    always = "always"


class Features(StrEnum):
    all = "all"
    none = "none"


class EngineName(StrEnum):
    local = "local"
    ray = "ray"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """All that the commands of an experiment can be told. Each takes some of it (`command`)."""

    config: Annotated[
        str, typer.Argument(help="An experiment file, or the name of a shipped one.")
    ] = ""
    target: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to: a folder, or an archive NAME.zip.")
    ] = Path()
    features: Annotated[
        Features,
        typer.Option("--features", help="Of all layers; or none: of each who is near whom."),
    ] = Features.all
    num_neighbors: Annotated[
        int | None,
        typer.Option(
            "--neighbors", min=1, help="How many of each row, without features; as metrics ask."
        ),
    ] = None
    pack_texts: Annotated[bool, typer.Option("--texts", help="Pack the texts of the rows too.")] = (
        False
    )
    pack_images: Annotated[
        bool, typer.Option("--images", help="Pack small pictures of the rows too.")
    ] = False
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", "--license", metavar="ID", help="As the hub calls it, such as cc-by-4.0."
        ),
    ] = None
    model: Annotated[str, typer.Argument(help="Label of the model in the experiment.")] = ""
    file: Annotated[
        Path, typer.Argument(help="Features of your own: .safetensors, .npy, .npz, .pt (`feats`).")
    ] = Path()
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="A folder, a hub or timm identifier, or a label of the experiment (GLOB).",
        ),
    ] = None
    experiments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EXPERIMENT...",
            help="Two or more: folders of results, experiment files, or names of shipped ones.",
        ),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="CONFIG", help="The experiment whose rows, and labels, are meant."
        ),
    ] = None
    modality: Annotated[
        str | None,
        typer.Option("--modality", help="What the models are; else their configuration is asked."),
    ] = None
    checks: Annotated[
        list[str] | None,
        typer.Option("--checks", metavar="GLOB", help="Only checks so called; repeat to add."),
    ] = None
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="One line per layer, in place of verdicts.")
    ] = False
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value: a.b=v."),
    ] = None
    models: Annotated[
        list[str] | None,
        typer.Option("--models", metavar="GLOB", help="Only models so labelled; repeat to add."),
    ] = None
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only so many rows (dataset.limit).")
    ] = None
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the results; results/NAME if absent.")
    ] = None
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto"
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Tokens or images per batch (extract.batch).")
    ] = None
    overwrite: Annotated[
        Overwrite, typer.Option("--overwrite", help="What to compute: never, missing or always.")
    ] = Overwrite.missing
    offline: Annotated[bool, typer.Option("--offline", help="Never ask the network.")] = False
    keep_going: Annotated[
        bool, typer.Option("--keep-going/--fail-fast", help="After a failed cell: go on, or stop.")
    ] = True
    engine: Annotated[
        EngineName, typer.Option("--engine", help="Who works: this process, or workers of Ray.")
    ] = EngineName.local
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Of a Ray cluster; else RAY_ADDRESS; else this machine's cores and GPUs.",
        ),
    ] = None
    on_scores: Annotated[
        str | None,
        typer.Option(
            "--on-scores",
            metavar="MODULE:FUNCTION",
            help="A function of your own that is told of each score: docs/extending.md.",
        ),
    ] = None
    download_only: Annotated[
        bool, typer.Option("--download-only", help="Fetch models and data, compute nothing.")
    ] = False
    rows: Annotated[
        int | None, typer.Option("--rows", help="On the page, at most (report.rows).")
    ] = None
    no_images: Annotated[
        bool, typer.Option("--no-images", help="No picture of a row (report.images).")
    ] = False
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="No text of a row (report.texts).")
    ] = False
    as_json: Json = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say only warnings.")] = False
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say details too.")] = False

    @property
    def verbosity(self) -> int:
        """As `Reporter` has it."""
        return -1 if self.quiet else int(self.verbose)


REQUIRED = ("config", "target", "model", "file", "names", "experiments")
TALK = ("as_json", "quiet", "verbose")
EXPERIMENT = ("config", "overrides", "limit", "output")
WORK = ("models", "device", "keep_going")
ENGINE = ("engine", "address")

Command = Callable[[CommandLine], None]


def epilog(example: str, page: str) -> str:
    """What stands below the help of a command, and in docs/cli.md.

    Args:
        example: A whole line that one can type.
        page: The file of docs/ that explains this command.
    """
    return f"Example: {example}\n\nMore: docs/{page}"


def command(
    app: typer.Typer, name: str, *takes: str, example: str, page: str, **defaults: Any
) -> Callable[[Command], Command]:
    """Make a function the command `name`, with those fields of `CommandLine` that it takes.

    Args:
        example, page: As `epilog` has them.
        **defaults: Of fields that have another one here; an argument with one may be left out.
    """
    hints = get_type_hints(CommandLine, include_extras=True)
    known = {field.name: field.default for field in fields(CommandLine)}
    assert set(takes) <= set(known), takes

    def default(field: str) -> Any:
        return defaults.get(field, inspect.Parameter.empty if field in REQUIRED else known[field])

    def register(function: Command) -> Command:
        def from_shell(**values: Any) -> None:
            with exit_on_error():
                function(CommandLine(**values))

        from_shell.__doc__ = function.__doc__
        from_shell.__annotations__ = {field: hints[field] for field in takes}
        from_shell.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    field,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=default(field),
                    annotation=hints[field],
                )
                for field in takes
            ]
        )
        app.command(name, epilog=epilog(example, page))(from_shell)
        return function

    return register
