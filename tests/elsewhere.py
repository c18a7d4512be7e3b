"""An engine whose worker sees nothing of the driver, or its cache alone: what it is given and what
comes back goes through pickle, and it has a cache of its own."""

import os
import pickle
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platorep.engines import Done, Kept, Talk, Unit
from platorep.reporting import Reporter

SEEN, UNSEEN = b"driver-cache", b"hidden-cache"
"""The name of a folder that no worker sees: every path into it is another there."""


def sent(value: Any, *, seen: bool = False) -> Any:
    """As it arrives; `seen`: where it may look into the driver's cache."""
    content = pickle.dumps(value)
    return pickle.loads(content if seen else content.replace(SEEN, UNSEEN))


@dataclass(frozen=True, eq=False)
class Stored(Kept):
    content: bytes


class Elsewhere:
    """One worker, part by part.

    Args:
        cache: The worker's.
        seen: Whether it sees the driver's too.
    """

    num_workers = 2
    has_gpus = False

    def __init__(self, cache: Path, *, seen: bool = False) -> None:
        self.cache, self.seen = cache, seen
        self.done: list[Done] = []

    @contextmanager
    def there(self) -> Iterator[None]:
        before = os.environ["PLATOREP_CACHE"]
        os.environ["PLATOREP_CACHE"] = str(self.cache)
        try:
            yield
        finally:
            os.environ["PLATOREP_CACHE"] = before

    def carry_out(self, units: Iterable[Unit], report: Reporter) -> Generator[Done, None, None]:
        for unit in units:
            for done in self._parts(unit, report):
                self.done.append(done)
                yield done

    def _parts(self, unit: Unit, report: Reporter) -> Iterator[Done]:
        given = [pickle.loads(g.content) if isinstance(g, Stored) else g for g in unit.given]
        copy = sent(replace(unit, parts=(), given=tuple(given)), seen=self.seen)
        with ExitStack() as stack:
            with self.there():
                try:
                    talk = Talk(report, lambda count: None)
                    work = stack.enter_context(copy.opens(talk, *copy.given))
                except Exception as error:
                    yield Done(unit=unit, part=None, error=error)
                    return
            for part in unit.parts:
                with self.there():
                    try:
                        found = Done(
                            unit=unit, part=part, value=sent(work(sent(part, seen=self.seen)))
                        )
                    except Exception as error:
                        found = Done(unit=unit, part=part, error=error)
                yield found

    def put(self, value: Any) -> Kept:
        return Stored(pickle.dumps(value))

    def rest(self) -> None:
        """Nobody is idle."""

    def close(self) -> None:
        """There is nothing to end."""
