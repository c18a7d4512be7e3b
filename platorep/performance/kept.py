"""Finished measurements in the cache, so that none is made twice, whatever experiment asks.

Each is a unit of work; what comes back is written by this process, which holds its lock.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platorep.engines import Unit
from platorep.errors import DamagedError
from platorep.failures import Errors
from platorep.files import ByteLocks, read_sealed, write_sealed
from platorep.run import Run

Measured = dict[str, Any]
"""A measurement, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A measurement to look up, or to make."""

    name: str
    """Of measure and model; what a failure is noted under."""
    key: str
    unit: Callable[[], Unit]
    """Makes, when its turn comes, the unit whose only part is the measurement."""
    cost: float = 0.0


def is_kept(root: Path, key: str) -> bool:
    """Whether it is finished, and whole."""
    try:
        read_sealed(_path(root, key), of=key, cure="")
    except (FileNotFoundError, DamagedError):
        return False
    return True


def measurements(run: Run, wanted: Sequence[Wanted], errors: Errors) -> dict[str, Measured]:
    """By name; what is not there is made now. What another process is making is waited for.

    One that is damaged is told and made again; one that cannot be made is noted and left out.
    """
    measuring = _Measuring(run, errors)
    waiting, told = list(wanted), set[str]()
    while waiting:  # first what nobody else is doing, then what others have left undone
        before = measuring.tried
        waiting = measuring.measure(waiting)
        if waiting and measuring.tried == before:
            one = waiting[0]
            if one.name not in told:
                run.report.say(f"{one.name}: waiting for another process that is measuring it")
                told.add(one.name)
            run.engine.rest()  # the other may wait for room where our workers are idle
            with ByteLocks(_lock(run.root, one.key)) as locks:
                locks.acquire(0, wait=True)
    return {one.name: measuring.found[one.name] for one in wanted if one.name in measuring.found}


@dataclass
class _Measuring:
    run: Run
    errors: Errors
    found: dict[str, Measured] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    """Keys of what was finished here."""
    tried: int = 0

    def measure(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Those that another process, or another name of the same here, is at."""
        with ExitStack() as held:
            at_work: dict[Unit, tuple[Wanted, ByteLocks]] = {}
            units = self._units(wanted, at_work, held)
            with closing(self.run.engine.carry_out(units, self.run.report)) as parts:
                for done in parts:
                    one, locks = at_work.pop(done.unit)  # and with it what it was given
                    with self.errors.catch(one.name):
                        path = _path(self.run.root, one.key)
                        write_sealed(path, done.result(), of=one.key)
                        self.made.add(one.key)
                        self.found[one.name] = read_sealed(path, of=one.key, cure="")
                    locks.close()
        done_with = {*self.found, *self.errors.errors}
        return [one for one in wanted if one.name not in done_with]

    def _units(
        self,
        wanted: Sequence[Wanted],
        at_work: dict[Unit, tuple[Wanted, ByteLocks]],
        held: ExitStack,
    ) -> Iterator[Unit]:
        begun = set[str]()
        if self.run.engine.num_workers > 1:
            wanted = sorted(wanted, key=lambda one: one.cost, reverse=True)
        for one in wanted:
            with self.errors.catch(one.name):
                if one.key in begun or self._is_there(one, tell=True):
                    continue
                self.run.must_compute(one.name)
            if one.name in self.errors.errors:
                continue
            locks = held.enter_context(ByteLocks(_lock(self.run.root, one.key)))
            free = locks.acquire(0, wait=False)
            if not free or self._is_there(one):  # another process may just have made it
                locks.close()
                continue
            begun.add(one.key)
            units: list[Unit] = []
            with self.errors.catch(one.name):
                units.append(one.unit())
            self.tried += 1
            for unit in units:
                at_work[unit] = one, locks
                yield unit

    def _is_there(self, one: Wanted, *, tell: bool = False) -> bool:
        """Whether it is finished; without a lock: a cache that is complete may be read-only."""
        if self.run.anew and one.key not in self.made:
            return False
        try:
            with suppress(FileNotFoundError):
                path = _path(self.run.root, one.key)
                self.found[one.name] = read_sealed(path, of=one.key, cure="It is measured again.")
        except DamagedError as error:
            if tell:
                self.run.report.warn(str(error))
        return one.name in self.found


def _path(root: Path, key: str) -> Path:
    return root / "measurements" / f"{key}.json"


def _lock(root: Path, key: str) -> Path:
    return _path(root, key).with_suffix(".lock")
