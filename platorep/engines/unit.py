"""What a stage and an engine agree on: units of work, what comes back, and who carries them out.

A stage cuts its work into units and puts finished parts together; an engine carries units out and
knows nothing of models. A unit is opened once (a model is loaded, summaries are prepared) and then
does its parts (ranges of rows, of permutations). Everything in a unit but `parts` can be pickled,
and so can its parts and their values. Arrays of NumPy travel fastest: workers of one machine share
them, read-only, while tensors are copied.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from platorep.reporting import Advance, Reporter


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a unit takes of the machine that opens it."""

    cpus: int = 1
    """Threads that it works with."""
    memory_bytes: int = 0
    gpu_bytes: int = 0
    """Of GPU memory; 0: it needs no GPU."""
    every_gpu: bool = False
    """It spreads itself over several GPUs (`device_map`)."""


@dataclass(frozen=True)
class Talk:
    """How a unit speaks while it is at work, wherever that is."""

    report: Reporter
    advance: Advance
    """Counts what `Unit.total` is a number of."""


class Kept:
    """A value that stays with the engine, to be given to other units; freed when nobody has it.

    Where it can be lost, with a machine, its unit is opened again and does its part again; what
    that unit was given is held as long.
    """


Work = Callable[[Any], Any]
"""A part -> its value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """A piece of a stage's work. Units know nothing of each other and may be done in any order."""

    name: str
    """What progress, failures and waits call it."""
    opens: Callable[..., AbstractContextManager[Work]]
    """Called as `opens(talk, *given)` where the work is done."""
    given: tuple[Any, ...] = ()
    """A `Kept` among these arrives as its value."""
    parts: Iterable[Any] = (None,)
    """Drawn one by one, here, when somebody is free to do the next (or soon will be): a generator
    may read a part's rows then, and may end early. An error of its own ends the unit."""
    num_parts: int = 1
    """At most. An engine may open a unit of several parts in several places at once, and again
    where one of these is lost."""
    cost: float = 0.0
    """Of all parts, in seconds or anything that is in proportion to them."""
    needs: Needs = Needs()
    keeps: bool = False
    """The value of a part is a pair: what comes back, and what stays with the engine."""
    total: int = 0
    """Shown as the way through so many ...; 0: not shown."""
    counted: str = ""
    """... of these: `rows`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """One part of a unit, done or failed."""

    unit: Unit
    part: Any
    """As it was drawn; None if the unit could not be opened, or its next part not be drawn: what is
    not done of it by now will not be."""
    value: Any = None
    kept: Kept | None = None
    error: Exception | None = None

    def result(self) -> Any:
        """What came back, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.value


@runtime_checkable
class Engine(Protocol):
    """Carries out units: here (`LocalEngine`), or by workers elsewhere.

    The parts that an engine hands out decide no number: who did them, how many at once and in
    which order leaves every result as it is.
    """

    @property
    def num_workers(self) -> int:
        """How many units may be at work at once: work may be cut as finely as keeps all busy."""
        ...

    @property
    def has_gpus(self) -> bool | None:
        """Whether its workers have GPUs; None: its worker is this process."""
        ...

    def carry_out(self, units: Iterable[Unit], report: Reporter) -> Generator[Done, None, None]:
        """Parts as they are finished. Units are drawn in their order, as there is room for them:
        a generator may take a lock, or read, when its unit's turn comes. One unit may be drawn
        before there is room, and must not wait for another's results.

        Whoever stops listening, and closes it, ends the work.
        """
        ...

    def put(self, value: Any) -> Kept:
        """Send a value that several units are given, once."""
        ...

    def rest(self) -> None:
        """End the workers that have nothing to do: whoever waits for another process, which may
        wait for room in the same cluster, rests first."""
        ...

    def close(self) -> None:
        """End the workers, if there are any."""
        ...
