"""`platorep cache`: look after the feature cache."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from platorep.cli.experiment import open_experiment
from platorep.cli.options import CommandLine, Json, command, epilog
from platorep.cli.running import exit_on_error, others_on_stderr, print_table
from platorep.errors import IntegrityError

app = typer.Typer(no_args_is_help=True, help="Look after the feature cache.")


@app.command("list", epilog=epilog("platorep cache list --json", "cache.md"))
def cache_list(as_json: Json = False) -> None:
    """List the cells of the cache: dataset, model, rows, layers, size, complete or not."""
    with exit_on_error():
        from platorep.features.upkeep import cell_table
        from platorep.files import cache_root

        print_table(cell_table(cache_root()), as_json)


Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RESULTS]...", help="Folders of results too; results/* if absent."),
]


@app.command("verify", epilog=epilog("platorep cache verify results/mine", "cache.md"))
def cache_verify(results: Folders = None, as_json: Json = False) -> None:
    """Read every file of the cache and of results that holds a number and compare its checksum.

    Exit code 5 if one is not what was written.
    """
    with exit_on_error():
        import pandas as pd

        from platorep.features.upkeep import damaged_files
        from platorep.files import cache_root
        from platorep.upkeep import damaged_results, default_folders

        folders = default_folders() if results is None else results
        parts = [damaged_files(cache_root()), damaged_results(folders)]
        table = pd.concat(parts, ignore_index=True)
        if len(table) or as_json:
            print_table(table, as_json)
        else:
            print("no file of the cache or of the results is damaged")
        if len(table):
            raise IntegrityError(
                f"{len(table)} files are not what was written. `platorep cache clean --broken` "
                "removes what is damaged; the command that made it makes it again."
            )


@app.command("clean", epilog=epilog("platorep cache clean --broken --partial", "cache.md"))
def cache_clean(
    results: Folders = None,
    broken: Annotated[bool, typer.Option("--broken", help="Damaged files.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="What killed runs left.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Cells of models like GLOB.")] = None,
    as_json: Json = False,
) -> None:
    """Remove damaged files, left-overs of killed runs, or whole cells; lists what was removed."""
    with exit_on_error():
        import pandas as pd

        from platorep.features.upkeep import clean
        from platorep.files import cache_root
        from platorep.upkeep import clean_results, default_folders

        folders = default_folders() if results is None else results
        parts = [
            clean(cache_root(), broken=broken, partial=partial, model=model),
            clean_results(folders, broken=broken, partial=partial),
        ]
        print_table(pd.concat(parts, ignore_index=True), as_json)


@command(
    app,
    "import",
    *("config", "model", "file", "overrides", "output", "offline"),
    example="platorep cache import mine.yaml pythia-70m features.pt",
    page="cache.md",
)
def cache_import(line: CommandLine) -> None:
    """Take features over that other code has saved (the paper's .pt, arrays), as a model's cell."""
    experiment = open_experiment(replace(line, models=[line.model]))
    from platorep.execute import import_features

    with others_on_stderr():
        folder = import_features(experiment, line.file)
    print(folder)
