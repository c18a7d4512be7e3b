"""The engine without workers: a loop in this process."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from platorep.engines.unit import Done, Kept, Talk, Unit
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

    def close(self) -> None:
        """There is nothing to end."""


def _parts(unit: Unit, report: Reporter) -> Iterator[Done]:
    with ExitStack() as stack:
        advance = None
        if unit.total:
            advance = stack.enter_context(report.task(unit.name, unit.total, unit.counted))
        talk = Talk(report, advance or (lambda count: None))
        given = [one.value if isinstance(one, KeptHere) else one for one in unit.given]
        try:
            work = stack.enter_context(unit.opens(talk, *given))
        except Exception as error:  # whoever listens decides what it means
            yield Done(unit=unit, part=None, error=error)
            return
        for part in unit.parts:
            try:
                value = work(part)
            except Exception as error:
                yield Done(unit=unit, part=part, error=error)
                continue
            kept = None
            if unit.keeps:
                value, kept = value[0], KeptHere(value[1])
            yield Done(unit=unit, part=part, value=value, kept=kept)
