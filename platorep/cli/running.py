"""Around every command: signals, exit codes, and tables on stdout."""

import contextlib
import errno
import os
import re
import signal
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from platorep.errors import PlatorepError, StorageError
from platorep.machine import share_threads
from platorep.reporting import printable

LONGEST = 100
"""Characters of a sentence that stands in its cell; a longer one becomes a note below the table."""


_ENDLESS = re.compile(r"\S{400,}")  # a name that nobody reads to its end


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Expected errors become one message on stderr and an exit code; bugs keep their traceback."""
    received = _listen_to_signals()
    try:
        share_threads()
        yield
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        # what is being imported may turn an interruption into an error of its own
        if isinstance(error, KeyboardInterrupt) and not received:
            received.append(signal.SIGINT)
        if received:
            signal.setitimer(signal.ITIMER_REAL, 0)
            what = "ended by a signal" if received[0] == signal.SIGTERM else "interrupted"
            _say(f"{what}; everything finished so far is kept.")
            raise typer.Exit(128 + received[0]) from error
        if isinstance(error, SystemExit):  # nobody here does so
            _say(
                f"code that is not platorep's ended the command (SystemExit: {error}); everything "
                "finished so far is kept. A metric, model or function of your own must not exit."
            )
            raise typer.Exit(1) from error
        if isinstance(error, PlatorepError):
            _say(str(error))
            raise typer.Exit(error.exit_code) from error
        if isinstance(error, OSError) and error.filename and error.errno != errno.EPIPE:
            _say(f"{error.filename} cannot be used: {error.strerror}. Check path and permissions.")
            raise typer.Exit(StorageError.exit_code) from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _say("the output cannot be written: the disk is full.")
            raise typer.Exit(StorageError.exit_code) from error
        raise


def _say(text: str) -> None:
    text = _ENDLESS.sub(lambda word: f"{word[0][:100]}...{word[0][-100:]}", text)
    print(printable(f"platorep: {text}", keep="\n\t"), file=sys.stderr)


def _listen_to_signals() -> list[int]:
    """SIGTERM and Ctrl-C end the command. What is raised in a signal handler may be swallowed by
    whoever is at work, such as C code, so it is raised again every second until it is heard.

    Returns:
        The signals, in the order in which they come.
    """
    received: list[int] = []

    def end(number: int, _: object) -> None:
        if number != signal.SIGALRM:
            received.append(number)
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        raise SystemExit(143) if received[-1] == signal.SIGTERM else KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        if signal.getsignal(number) != signal.SIG_IGN:  # such as by nohup
            signal.signal(number, end)
    return received


@contextlib.contextmanager
def others_on_stderr() -> Iterator[None]:
    """What others print meanwhile (libraries, compiled or not; a metric of one's own) goes to
    stderr: stdout is for tables, which programs read."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def print_table(frame: Any, as_json: bool) -> None:
    """A table on stdout: aligned columns, with long sentences below; or a list of JSON objects."""
    if as_json:
        text = frame.to_json(orient="records", indent=1, force_ascii=False)
        _print(_UNPRINTABLE.sub(_json_escape, text))
        return
    notes: dict[str, str] = {}  # once each, though many rows may say the same
    texts = frame.astype(object).where(frame.notna(), "-").map(lambda value: _cell(value, notes))
    texts = texts.apply(lambda column: column.str.ljust(max(map(len, [column.name, *column]))))
    titles = [name.ljust(len(texts[name].iloc[0])) for name in texts] if len(texts) else []
    _print(texts.to_string(index=False, header=titles) if len(texts) else "nothing")
    for text, mark in notes.items():
        _print("\n" + textwrap.fill(f"{mark} {text}", LONGEST, **_WHOLE_WORDS))


def _print(text: str) -> None:
    """On stdout, with escapes for what its encoding lacks: a terminal may know ASCII only."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


_WHOLE_WORDS: Any = {"subsequent_indent": "    ", "break_long_words": False,
                     "break_on_hyphens": False}  # fmt: skip
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def _json_escape(character: re.Match[str]) -> str:
    """JSON itself escapes the older control characters only."""
    return f"\\u{ord(character[0]):04x}"


def _cell(value: Any, notes: dict[str, str]) -> str:
    text = printable(f"{value:.6g}" if isinstance(value, float) else str(value))
    if len(text) <= LONGEST or " " not in text:
        return text
    return notes.setdefault(text, f"[{len(notes) + 1}]")
