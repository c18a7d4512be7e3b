"""Around every command: signals, exit codes, the session, and tables on stdout."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from platorep.errors import PlatorepError
from platorep.reporting import Reporter

if TYPE_CHECKING:
    from platorep.session import Session


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


def open_command(
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
    """The experiment that a command names, with what its options say.

    Args:
        **options: Of `ExtractOptions`, and `shard`.
    """
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


def fail_if(failed: Sequence[Exception], session: "Session") -> None:
    """End with the right exit code if cells failed, once everything has been printed."""
    if failed:
        from platorep.results import failed_cells

        raise failed_cells(failed, session.results.failures)


def print_table(frame: Any, as_json: bool) -> None:
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
