"""The command line: parse, call one function, print. No logic lives here.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platorep.errors import IntegrityError, PlatorepError
from platorep.reporting import Reporter

if TYPE_CHECKING:
    from platorep.session import Session

app = typer.Typer(
    name="platorep",
    help="Do neural networks, trained apart, converge on one representation of the world?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache_app = typer.Typer(no_args_is_help=True, help="Look after the feature cache.")
app.add_typer(cache_app, name="cache")
theory_app = typer.Typer(no_args_is_help=True, help="The theory, where it can be computed.")
app.add_typer(theory_app, name="theory")


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


def main() -> None:
    """The console command. A metric of one's own may stand beside the experiment."""
    sys.path.append(str(Path.cwd()))
    app()


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Expected errors become one message on stderr and an exit code; bugs keep their traceback."""
    _listen_to_signals()
    try:
        yield
    except PlatorepError as error:
        print(f"platorep: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("platorep: interrupted; everything finished so far is kept.", file=sys.stderr)
        raise typer.Exit(130) from error
    except SystemExit:
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("platorep: ended by a signal; everything finished so far is kept.", file=sys.stderr)
        raise


def _listen_to_signals() -> None:
    """SIGTERM and Ctrl-C end the command. What is raised in a signal handler may be swallowed by
    whoever is at work, such as C code, so it is raised again every second until it is heard."""
    received: list[int] = []

    def end(number: int, _: object) -> None:
        if number != signal.SIGALRM:
            received.append(number)
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        raise SystemExit(143) if received[-1] == signal.SIGTERM else KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        if signal.getsignal(number) != signal.SIG_IGN:  # such as by nohup
            signal.signal(number, end)


def _session(
    name: str,
    overrides: list[str] | None,
    *,
    models: str = "*",
    limit: int | None = None,
    batch_size: int | None = None,
    output: Path | None = None,
    quiet: bool = False,
    verbose: bool = False,
    **options: Any,
) -> "Session":
    if options.get("offline"):
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported: it looks once
    from platorep.config import config_path, load_config

    texts = list(overrides or [])
    texts += [f"dataset.limit={limit}"] if limit is not None else []
    texts += [f"extract.batch={batch_size}"] if batch_size is not None else []
    load_config(config_path(name), texts)  # a wrong file is told before torch is imported

    from platorep.extract import ExtractOptions
    from platorep.session import open_session, share_of_work

    if "shard" in options:
        options["process"], options["num_processes"] = share_of_work(options.pop("shard"))
    return open_session(
        name,
        overrides=texts,
        models=models,
        output=output,
        options=ExtractOptions(**options),
        report=Reporter(-1 if quiet else int(verbose)),
    )


def _fail_if(failed: Sequence[Exception], session: "Session") -> None:
    if failed:
        from platorep.results import failed_cells

        raise failed_cells(failed, session.results.failures)


def _print(frame: Any, as_json: bool) -> None:
    """A table on stdout: aligned columns, or a list of JSON objects."""
    if as_json:
        print(frame.to_json(orient="records", indent=1, force_ascii=False))
    else:
        texts = frame.astype(object).where(frame.notna(), "-").map(_cell)
        texts = texts.apply(lambda column: column.str.ljust(max(map(len, [column.name, *column]))))
        titles = [name.ljust(len(texts[name].iloc[0])) for name in texts] if len(texts) else []
        print(texts.to_string(index=False, header=titles) if len(texts) else "nothing")


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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
        session = _session(
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
        _print(best, as_json)
        _fail_if(failed, session)


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
        session = _session(
            config,
            overrides,
            models=models,
            limit=limit,
            output=output,
            device=device,
            offline=offline,
        )
        from platorep.plan import plan_table

        _print(plan_table(session), as_json)


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
        session = _session(
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
        _print(table, as_json)
        _fail_if(failed, session)


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
        session = _session(
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
        _print(table, as_json)
        _fail_if(failed, session)


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
        session = _session(
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
        _print(best, as_json)
        _fail_if(failed, session)


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
        session = _session(
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
        _print(table, as_json)
        _fail_if(failed, session)


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
        session = _session(
            config,
            overrides,
            output=output,
            quiet=quiet,
            verbose=verbose,
            keep_going=keep_going,
        )
        from platorep.execute import plot_stage

        failed, table = plot_stage(session)
        _print(table, as_json)
        _fail_if(failed, session)


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
            _print(listing(what.value, pattern), as_json)
            return
        claims = checked_claims(check)
        _print(claims, as_json)
        if not claims["holds"].all():
            raise IntegrityError(f"{check} does not do all that it claims: see the table.")


@cache_app.command("list")
def cache_list(as_json: Json = False) -> None:
    """List the cells of the cache: dataset, model, rows, layers, size, complete or not."""
    with exit_on_error():
        from platorep.features import cache_root, cell_table

        _print(cell_table(cache_root()), as_json)


@cache_app.command("verify")
def cache_verify(as_json: Json = False) -> None:
    """Read every shard and compare its checksum; exit code 5 if one is damaged."""
    with exit_on_error():
        from platorep.features import cache_root, damaged_files

        table = damaged_files(cache_root())
        if len(table) or as_json:
            _print(table, as_json)
        else:
            print("no file of the cache is damaged")
        if len(table):
            raise IntegrityError(
                f"{len(table)} files of the cache are damaged. `platorep cache clean --broken` "
                "removes them; `platorep extract` makes them again."
            )


@cache_app.command("clean")
def cache_clean(
    broken: Annotated[bool, typer.Option("--broken", help="Damaged files.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="What killed runs left.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Cells of models like GLOB.")] = None,
    as_json: Json = False,
) -> None:
    """Remove damaged files, left-overs of killed runs, or whole cells; lists what was removed."""
    with exit_on_error():
        from platorep.features import cache_root, clean

        _print(clean(cache_root(), broken=broken, partial=partial, model=model), as_json)


@cache_app.command("import")
def cache_import(
    config: Config,
    model: Annotated[str, typer.Argument(help="Label of the model in the experiment.")],
    file: Annotated[Path, typer.Argument(help="A .pt with `feats`, .npz, .npy or .safetensors.")],
    overrides: Set = None,
    output: Output = None,
    offline: Offline = False,
) -> None:
    """Take features over that other code has saved (the paper's .pt, arrays), as a model's cell."""
    with exit_on_error():
        session = _session(config, overrides, models=model, output=output, offline=offline)
        from platorep.execute import import_features

        print(import_features(session, file))


@theory_app.command("pmi")
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
        _print(pmi_stage(asked, results, Reporter(-1 if quiet else 0)), as_json)


@theory_app.command("color")
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
        _print(table, as_json)
        if failed:
            raise failed_cells(failed, results.failures)


if __name__ == "__main__":
    main()
