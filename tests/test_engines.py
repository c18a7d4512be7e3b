"""Units of work, and the engines that carry them out."""

import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from engine_units import opens_keeping, opens_powers

from platorep.engines import Done, Engine, LocalEngine, Needs, Unit
from platorep.engines.carrying import Carrying
from platorep.engines.crew import Call, Size
from platorep.engines.worker import Worker, allow_shared_arrays
from platorep.reporting import Reporter

pytestmark = pytest.mark.xdist_group("ray")  # whose cluster is started once


@pytest.fixture
def report() -> Reporter:
    return Reporter(0)


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "local":
        return LocalEngine()
    engine: Engine = request.getfixturevalue("ray_engine")
    return engine


def values(found: list[Done]) -> list[object]:
    return [done.value if done.error is None else str(done.error) for done in found]


def test_parts_come_back_with_their_units_and_failures(engine: Engine, report: Reporter) -> None:
    units = [
        Unit(name="two", opens=opens_powers, given=(2, 5), parts=(3, 5, 4), num_parts=3),
        Unit(name="nothing", opens=opens_powers, given=(0,), parts=(1, 2), num_parts=2),
        Unit(name="three", opens=opens_powers, given=(3,), parts=(2,)),
    ]
    found = list(engine.carry_out(units, report))
    found.sort(key=lambda done: units.index(done.unit))  # which may be done at the same time
    assert values(found) == [8, "not 5", 16, "no powers of 0", 9]
    assert [done.part for done in found] == [3, 5, 4, None, 2]
    with pytest.raises(ValueError, match="not 5"):
        found[1].result()
    said = [[text for text in report.warnings if text.endswith(base)] for base in "23"]
    assert said == [["opened 2", "closed 2"], ["opened 3", "closed 3"]]


def test_what_is_kept_is_given_to_others(engine: Engine, report: Reporter) -> None:
    (first,) = engine.carry_out(
        [Unit(name="a", opens=opens_keeping, given=(engine.put([1]),), parts=(2,), keeps=True)],
        report,
    )
    (second,) = engine.carry_out(
        [Unit(name="b", opens=opens_keeping, given=(first.kept,), parts=(3,))], report
    )
    assert (first.value, second.value) == (1, (2, [1, 2, 3]))


def test_parts_and_units_are_drawn_when_their_turn_comes(report: Reporter) -> None:
    drawn: list[object] = []

    def parts() -> Iterator[int]:
        for exponent in (1, 2, 3):
            drawn.append(exponent)
            yield exponent

    def units() -> Iterator[Unit]:
        for base in (2, 3):
            drawn.append(f"unit {base}")
            yield Unit(name=str(base), opens=opens_powers, given=(base,), parts=parts())

    finished = LocalEngine().carry_out(units(), report)
    next(finished)
    assert drawn == ["unit 2", 1]
    finished.close()
    assert drawn == ["unit 2", 1]


def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    unit = Unit(name="powers", opens=opens_powers, given=(2,), parts=(1, 2), total=2, counted="x")
    list(LocalEngine().carry_out([unit], Reporter(0)))
    assert "powers: 2 x in" in capsys.readouterr().err


def test_every_engine_is_one(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert engine.num_workers == {LocalEngine: 1}.get(type(engine), 3)


def test_parts_that_cannot_be_drawn_end_their_unit(engine: Engine, report: Reporter) -> None:
    def parts() -> Iterator[int]:
        yield 2
        raise ValueError("row 3 cannot be read")

    units = [
        Unit(name="two", opens=opens_powers, given=(2,), parts=parts(), num_parts=3),
        Unit(name="three", opens=opens_powers, given=(3,), parts=(2,)),
    ]
    found = list(engine.carry_out(units, report))
    found.sort(key=lambda done: units.index(done.unit))
    assert [done.part for done in found if done.error] == [None]
    assert sorted(values(found), key=str) == [4, 9, "row 3 cannot be read"]


class OneCore:
    """A cluster with room for one worker at a time; they do what they are told at once."""

    def __init__(self) -> None:
        self.alive: list[object] = []

    def size_of(self, needs: Needs, *, alone: bool) -> Size:
        return Size(needs.cpus, 0.0, needs.memory_bytes)

    def has_room(self, sizes: Iterable[Size]) -> bool:
        return len(list(sizes)) < 2  # it promises one more than it has

    def start(self, size: Size) -> Any:
        worker = Worker([])
        self.alive.append(worker)
        return worker

    def call(self, actor: Any, method: str, *args: Any) -> Any:
        return actor, getattr(actor, method)(*args)

    def hear(self, calls: list[Call], timeout_s: float) -> tuple[Call, Any, Any] | None:
        for call in calls:
            worker, messages = call.stream
            if worker is self.alive[0]:
                return call, next(messages), None
        time.sleep(0.1)
        return None

    def end(self, actor: Any) -> None:
        self.alive.remove(actor)

    def describe(self) -> str:
        return "nothing is free"


def test_workers_that_nobody_waits_for_make_room(
    report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of the same size as an idle one, that was asked for and has not begun."""
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # a worker takes hold of it
    monkeypatch.setattr(sys, "path", [*sys.path])
    units = [
        Unit(name=name, opens=opens_powers, given=(2,), parts=(exponent,),
             needs=Needs(memory_bytes=memory))
        for name, exponent, memory in (("a", 1, 7), ("b", 2, 7), ("c", 3, 5))
    ]  # fmt: skip
    found = list(Carrying(OneCore(), units, report, []).done())
    assert values(found) == [2, 4, 8]


def test_shared_arrays_are_no_news_to_workers() -> None:
    shared = np.arange(3)
    shared.flags.writeable = False
    with warnings.catch_warnings():
        allow_shared_arrays()
        assert torch.from_numpy(shared).tolist() == [0, 1, 2]
