"""The engine without workers: a loop in this process."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from platorep.engines.telling import Telling, unclosed
from platorep.engines.unit import Done, Kept, Talk, Unit, Work
from platorep.reporting import Reporter


@dataclass(frozen=True, eq=False)
class KeptHere(Kept):
    """It stays in this process."""

    value: Any


class LocalEngine:
    """One unit after the other, in this process, part by part."""

    num_workers = 1
    has_gpus: bool | None = None

    def carry_out(self, units: Iterable[Unit], report: Reporter) -> Generator[Done, None, None]:
        for unit in units:
            yield from _parts(unit, report)

    def put(self, value: Any) -> Kept:
        return KeptHere(value)

    def rest(self) -> None:
        """Nobody is idle."""

    def close(self) -> None:
        """There is nothing to end."""


def _parts(unit: Unit, report: Reporter) -> Iterator[Done]:
    telling = Telling(unit, report, set())
    given = [one.value if isinstance(one, KeptHere) else one for one in unit.given]
    whole = False
    with ExitStack() as stack:
        stack.callback(lambda: telling.end(whole=whole))
        try:
            work = stack.enter_context(unit.opens(Talk(report, telling.advance), *given))
        except Exception as error:  # whoever listens decides what it means
            yield Done(unit=unit, part=None, error=error)
            return
        telling.begin()
        parts = iter(unit.parts)
        while True:
            try:
                part = next(parts)
            except StopIteration:
                break
            except Exception as error:
                yield Done(unit=unit, part=None, error=error)
                return
            yield _done(unit, part, work)
        whole = True
        try:
            stack.close()
        except Exception as error:
            report.warn(unclosed(unit, error))


def _done(unit: Unit, part: Any, work: Work) -> Done:
    try:
        value = work(part)
    except Exception as error:
        return Done(unit=unit, part=part, error=error)
    kept = None
    if unit.keeps:
        value, kept = value[0], KeptHere(value[1])
    return Done(unit=unit, part=part, value=value, kept=kept)
