"""What workers elsewhere say, told here by a reporter, in the order of each unit."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

from platorep.engines.unit import Unit
from platorep.engines.worker import Word
from platorep.reporting import Advance, Reporter


class Telling:
    """Of one unit, however many workers do its parts.

    Args:
        printed: Lines that libraries printed and that were told: each is told once.
    """

    def __init__(self, unit: Unit, report: Reporter, printed: set[str]) -> None:
        self._unit, self._report, self._printed = unit, report, printed
        self._tasks: dict[Any, tuple[AbstractContextManager[Advance], Advance]] = {}

    def begin(self) -> None:
        """The unit is open: show the way through it."""
        if self._unit.total and self._unit not in self._tasks:
            self._begin(self._unit, self._unit.name, self._unit.total, self._unit.counted)

    def tell(self, worker: Any, words: Iterable[Word]) -> int:
        """Say it; returns how far the unit came meanwhile."""
        advanced = 0
        for what, *rest in words:
            if what == "advance":
                advanced += rest[0]
            elif what == "printed":
                if rest[0] not in self._printed:
                    self._printed.add(rest[0])
                    self._report.say(rest[0])
            elif what == "begin":
                self._begin((worker, rest[0]), *rest[1:])
            elif what == "step":
                self._tasks[worker, rest[0]][1](rest[1])
            elif what == "end":
                self._end((worker, rest[0]), None if rest[1] else _GoneError())
            else:
                say: Callable[[str], None] = getattr(self._report, what)
                say(rest[0])
        self.advance(advanced)
        return advanced

    def advance(self, count: int) -> None:
        if count and self._unit in self._tasks:
            self._tasks[self._unit][1](count)

    def forget(self, worker: Any) -> None:
        """A worker is gone: what it was in the middle of is not done."""
        for key in [key for key in self._tasks if isinstance(key, tuple) and key[0] is worker]:
            self._end(key, _GoneError())

    def end(self, *, whole: bool) -> None:
        """The unit is over; whether all of it was done."""
        for key in list(self._tasks):
            self._end(key, None if whole else _GoneError())

    def _begin(self, key: Any, name: str, total: int | None, counted: str) -> None:
        context = self._report.task(name, total, counted)
        self._tasks[key] = context, context.__enter__()

    def _end(self, key: Any, error: Exception | None = None) -> None:
        context, _ = self._tasks.pop(key)
        with suppress(_GoneError):
            context.__exit__(type(error) if error else None, error, None)


class _GoneError(Exception):
    """What a task ends with that is not told as done."""


def unclosed(unit: Unit, error: Exception) -> str:
    """Of a unit whose parts are done, so that nothing of it is lost."""
    return f"{unit.name}: it is done, but could not be closed: {type(error).__name__}: {error}"
