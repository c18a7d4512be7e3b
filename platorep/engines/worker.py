"""The far end of an engine whose workers are processes of their own: opens a unit, does its parts.

What a unit says on the way travels in messages, in order, while the work goes on; it is told by the
process that collects the results (`platorep.engines.telling`).
"""

import io
import pickle
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import Any

from platorep.engines.unit import Talk
from platorep.reporting import Advance, Reporter

INTERVAL_S = 0.25
"""Between two messages of a unit at work."""

Word = tuple[Any, ...]
"""What to call of a reporter, and with what: ("warn", text), ("advance", 3)."""


@dataclass(frozen=True)
class Said:
    """What a unit said since its last message."""

    words: list[Word]


@dataclass(frozen=True)
class Ended:
    """A unit is open, a part is done, or the unit is closed; or could not be."""

    words: list[Word]
    seconds: float
    value: Any = None
    error: Exception | None = None


class Worker:
    """Opens one unit after the other; all that units do is done in one thread of it.

    Every method yields what is said meanwhile, and `Ended`.

    Args:
        paths: Where the driver finds modules: code of one's own may stand there.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]
        allow_shared_arrays()
        self._relay = Relay()
        self._thread = ThreadPoolExecutor(1)
        self._stack = ExitStack()
        self._work: Callable[[Any], Any] | None = None
        sys.stderr = _Lines(self._relay, sys.stderr)  # before libraries take hold of it

    def hello(self) -> Iterator[Any]:
        """The first call, whose answer says that there is a worker."""
        yield from self._streamed(lambda: None)

    def open(
        self, name: str, opens: Callable[..., Any], verbosity: int, *given: Any
    ) -> Iterator[Any]:
        """Open the unit called `name`; first of all say that it is begun."""
        self._relay.start(name, verbosity)
        yield Said([])

        def act() -> None:
            talk = Talk(self._relay, lambda number: self._relay.add("advance", number))
            self._work = self._stack.enter_context(opens(talk, *given))

        yield from self._streamed(act)

    def do(self, part: Any, keeps: bool) -> Iterator[Any]:
        """Do a part of the open unit; what it keeps comes after that, as an object of its own, and
        at last that it has come."""

        def act() -> Any:
            assert self._work is not None
            return self._work(part)

        yield from self._streamed(act, keeps)

    def close(self) -> Iterator[Any]:
        """Close the unit and let go of all that it was given."""
        self._work, stack, self._stack = None, self._stack, ExitStack()
        yield from self._streamed(stack.close)

    def _streamed(self, act: Callable[[], Any], keeps: bool = False) -> Iterator[Any]:
        started = time.monotonic()
        future = self._thread.submit(act)
        while not wait([future], INTERVAL_S).done:
            if words := self._relay.taken():
                yield Said(words)
        seconds, unknown = time.monotonic() - started, future.exception()
        if unknown is not None:
            error = travels(unknown)
            del future, unknown  # and with its traceback all that stood in its frames
            yield Ended(self._relay.taken(), seconds, error=error)
            return
        value, kept = future.result() if keeps else (future.result(), None)
        yield Ended(self._relay.taken(), seconds, value)
        if keeps:
            yield kept
            yield True


def allow_shared_arrays() -> None:
    """Arrays that have travelled are shared, read-only. PyTorch warns when a tensor is made of one;
    nobody writes to what units are given, or to what comes back."""
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")


class Relay(Reporter):
    """Says nothing: notes the words, for somebody else to say."""

    def __init__(self) -> None:
        super().__init__()
        self._name = ""
        self._numbers = count()
        self._lock = Lock()  # units may talk from threads of theirs
        self._words: list[Word] = []

    def start(self, name: str, verbosity: int) -> None:
        self._name, self.verbosity, self.warnings = name, verbosity, []

    def add(self, *word: Any) -> None:
        with self._lock:
            self._words.append(word)

    def taken(self) -> list[Word]:
        with self._lock:
            words, self._words = self._words, []
        return words

    def say(self, text: str) -> None:
        self.add("say", text)

    def detail(self, text: str) -> None:
        self.add("detail", text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.add("warn", text)

    def printed(self, line: str) -> None:
        """A line that a library printed, or a warning of Python's."""
        self.add("printed", f"{self._name}: {line}" if self._name else line)

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        number = next(self._numbers)
        self.add("begin", number, name, total, unit)
        whole = False
        try:
            yield lambda amount: self.add("step", number, amount)
            whole = True
        finally:
            self.add("end", number, whole)


class _Lines(io.TextIOBase):
    """What is printed to stderr: whole lines are relayed too, bars of libraries are not."""

    def __init__(self, relay: Relay, stream: Any) -> None:
        self._relay, self._stream, self._begun = relay, stream, ""

    def write(self, text: str) -> int:
        self._stream.write(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip() and "\r" not in line:
                self._relay.printed(line)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return int(self._stream.fileno())


def travels(error: BaseException) -> Exception:
    """The error, or one that says the same, such that it can be pickled; with its traceback."""
    told = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
        same = isinstance(error, Exception) and (type(copy), str(copy)) == (type(error), str(error))
    except Exception:  # whatever such a class does
        same = False
    found = error if same else RuntimeError(f"{type(error).__name__}: {error}")
    assert isinstance(found, Exception)
    found.add_note(f"In the worker:\n{told}")
    found.__traceback__ = None
    return found
