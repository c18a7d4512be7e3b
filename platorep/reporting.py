"""What a run says while it works: bars on a terminal, one line per finished thing elsewhere.

Everything goes to stderr; results go to stdout and are the command line's business.
"""

import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

Advance = Callable[[int], None]
_JOINERS = "\u200c\u200d"  # inside words and emoji


def printable(text: str, keep: str = "") -> str:
    """`text` with escapes (`\\x1b`) for what is no character to be seen: control characters, marks
    that turn the direction of writing, halves of characters. A terminal would act on them.

    Args:
        keep: Characters to leave alone, such as line ends.
    """

    def shown(character: str) -> str:
        if character.isprintable() or character in keep or character in _JOINERS:
            return character
        if unicodedata.category(character) == "Zs":  # spaces that do not break
            return character
        return character.encode("unicode_escape").decode()

    return text if text.isprintable() else "".join(map(shown, text))


class Reporter:
    """Talks to a person.

    Args:
        verbosity: -1 warnings only, 0 what was done, 1 also details.
        stream: Where to; stderr when absent.
    """

    def __init__(self, verbosity: int = 0, stream: IO[str] | None = None) -> None:
        self.verbosity = verbosity
        self.warnings: list[str] = []
        self._stream = stream or sys.stderr
        self._bars: _Bars | None = None

    def say(self, text: str) -> None:
        if self.verbosity >= 0:
            self._line(text)

    def detail(self, text: str) -> None:
        if self.verbosity >= 1:
            self._line(text)

    def warn(self, text: str) -> None:
        """Said even when quiet, once, and kept for run.json."""
        if text not in self.warnings:
            self.warnings.append(text)
            self._line(f"warning: {text}")

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        """Show the way through `total` units (None: as many as there are); yields the function that
        counts them."""
        started, finished = time.monotonic(), 0

        with ExitStack() as shown:
            advance = None
            if self.verbosity >= 0 and self._stream.isatty():
                self._bars = self._bars or _Bars(self._stream)
                advance = shown.enter_context(self._bars.bar(printable(name), total, unit))

            def count(number: int) -> None:
                nonlocal finished
                finished += number
                if advance is not None:
                    advance(number)

            yield count
        total = finished if total is None else total
        seconds = time.monotonic() - started
        rate = f", {_rate(total / seconds)} {unit}/s" if total and seconds > 0 else ""
        self.say(f"{name}: {total} {unit} in {seconds:.1f} s{rate}")

    def _line(self, text: str) -> None:
        text = printable(text, keep="\n\t")
        if self._bars is None or not self._bars.line(text):
            print(text, file=self._stream, flush=True)


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


class _Bars:
    """One bar below the other, of tasks that go on at the same time."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console  # rich is slow to import, and only a terminal needs it
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                unit = task.fields["unit"]
                return Text(f"{_rate(task.speed)} {unit}/s" if task.speed else f"- {unit}/s")

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),  # [a] in a label is no markup
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )

    @contextmanager
    def bar(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        task = self._progress.add_task(name, total=total, unit=unit)
        self._progress.start()  # if it is the first
        try:
            yield lambda count: self._progress.advance(task, count)
        finally:
            if len(self._progress.task_ids) == 1:
                self._progress.stop()
            self._progress.remove_task(task)

    def line(self, text: str) -> bool:
        """Say it above the bars; whether there are any."""
        if self._progress.task_ids:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        return bool(self._progress.task_ids)
