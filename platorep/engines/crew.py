"""Workers that are processes, and units that are under way, as they are seen by the driver."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from platorep.engines.telling import Telling
from platorep.engines.unit import Kept, Needs, Unit


class Size(NamedTuple):
    """What a worker takes of the cluster: units of equal sizes may follow each other in it."""

    cpus: int
    gpus: float
    memory_bytes: int


@dataclass(frozen=True)
class Died:
    """The worker is no more."""

    how: str
    out_of_memory: bool = False


@dataclass(frozen=True)
class Lost:
    """What a unit was to be given was on a node that is no more."""

    refs: list[Any]


@dataclass(eq=False)
class KeptThere(Kept):
    """It lies in the cluster's object store, and can be made again."""

    ref: Any
    """None: it is lost."""
    unit: Unit | None = None
    part: Any = None
    error: Exception | None = None
    """Why it could not be made again."""


@dataclass(eq=False)
class Part:
    value: Any
    deaths: int = 0


@dataclass(eq=False)
class Call:
    """Something that a worker was told to do."""

    what: str
    """`hello`, `open`, `do` or `close`."""
    stream: Any
    """Of its messages."""
    part: Part | None = None
    given: list[Any] = field(default_factory=list)
    """References among what it is opened with."""
    keeps: bool = False
    begun: bool = True
    """Whether the worker is known to be alive; one that had nothing to do may have died."""
    advanced: int = 0
    started: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Hand:
    """A worker, as it is seen from here."""

    actor: Any
    size: Size
    calls: deque[Call] = field(default_factory=deque)
    """Done one after the other; the first is what it is at."""
    job: "Job | None" = None
    is_open: bool = False
    is_used: bool = False
    """It had a unit before."""

    @property
    def is_idle(self) -> bool:
        return not self.calls and self.job is None

    @property
    def is_starting(self) -> bool:
        return bool(self.calls) and self.calls[0].what == "hello"


@dataclass(eq=False)
class Job:
    """A unit that is under way."""

    unit: Unit
    parts: Iterator[Any]
    telling: Telling
    again: deque[Part] = field(default_factory=deque)
    """To be done again, since their worker died."""
    restores: KeptThere | None = None
    drawn: int = 0
    drawn_all: bool = False
    hands: list[Hand] = field(default_factory=list)
    error: Exception | None = None
    """Why no further part of it will be done."""
    one_hand: bool = False
    """One more worker could not open it."""
    deaths: int = 0
    """Of workers that opened it."""
    alone: bool = False
    """Memory ran out: it is tried once more with a node for itself."""
    open_s: float = 0.0
    part_s: float = 0.0
    """The longest so far; 0: none is done."""

    @property
    def has_parts(self) -> bool:
        """Whether somebody who is free can do some of it."""
        return self.error is None and (bool(self.again) or not self.drawn_all)

    @property
    def left(self) -> int:
        return len(self.again) + (0 if self.drawn_all else self.unit.num_parts - self.drawn)


@runtime_checkable
class Crew(Protocol):
    """Starts workers, passes on calls, and hears their messages."""

    def size_of(self, needs: Needs, *, alone: bool) -> Size:
        """Raises AbsentError if no node is as large."""

    def has_room(self, sizes: Iterable[Size]) -> bool:
        """Whether the cluster, if it has no other guests, has a core more than these take."""

    def start(self, size: Size) -> Any: ...

    def call(self, actor: Any, method: str, *args: Any) -> Any:
        """Returns the stream of messages."""

    def hear(self, calls: list[Call], timeout_s: float) -> tuple[Call, Any, Any] | None:
        """The next message of any call, and what stays in the cluster if it ended and keeps."""

    def end(self, actor: Any) -> None: ...

    def describe(self) -> str:
        """What of the cluster is free now."""


def described(size: Size) -> str:
    """`2 CPUs, 0.5 GPU, 3.1 GB of memory`."""
    words = [f"{size.cpus} CPU{'s' if size.cpus > 1 else ''}"]
    words += [f"{size.gpus:g} GPU{'s' if size.gpus > 1 else ''}"] if size.gpus else []
    words += [f"{size.memory_bytes / 1e9:.1f} GB of memory"] if size.memory_bytes else []
    return ", ".join(words)
