"""Around every command: signals, exit codes, and tables on stdout."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from platorep.errors import PlatorepError


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
