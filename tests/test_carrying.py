"""Which worker does what, where workers die or no room is left: a crew that can be told when."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from platorep.engines import Done, LocalEngine, Needs, Talk, Unit, Work, carrying
from platorep.engines.carrying import Carrying
from platorep.engines.crew import Call, Died, Hand, Size
from platorep.engines.worker import Worker
from platorep.reporting import Reporter
from platorep.workplace import Home


@dataclass(eq=False)
class Actor:
    worker: Worker
    size: Size
    number: int
    dead: bool = False
    heard: int = 0
    """When it last said something."""


@dataclass
class Cluster:
    """A machine of so many cores whose workers do what they are told at once, in turns."""

    cores: int
    dies: Callable[[Actor, Call, list[Call]], Died | None] = lambda actor, call, calls: None
    """How a worker dies of a call, beside the calls that others are at."""
    waits: Callable[[Actor, Call, list[Call]], bool] = lambda actor, call, calls: False
    """Whether a worker takes longer over a call than the others over theirs."""
    actors: list[Actor] = field(default_factory=list)
    started: int = 0
    turn: int = 0
    silent: int = 0

    def size_of(self, needs: Needs, *, alone: bool) -> Size:
        return Size(self.cores if alone else needs.cpus, 0.0, needs.memory_bytes)

    def has_room(self, sizes: Iterable[Size]) -> bool:
        return sum(size.cpus for size in sizes) < self.cores

    def start(self, size: Size) -> Actor:
        self.started += 1
        self.actors.append(Actor(Worker([]), size, self.started))
        return self.actors[-1]

    def call(self, actor: Actor, method: str, *args: Any) -> Any:
        return actor, getattr(actor.worker, method)(*args)

    def hear(self, calls: list[Call], timeout_s: float) -> tuple[Call, Any, Any] | None:
        free, here = self.cores, list[Actor]()
        for actor in self.actors:  # in the order in which they were asked for
            if actor.size.cpus <= free:
                free -= actor.size.cpus
                here.append(actor)
        for call in sorted(calls, key=lambda one: one.stream[0].heard):
            actor, messages = call.stream
            if actor not in here or self.waits(actor, call, calls):
                continue
            self.silent, self.turn = 0, self.turn + 1
            actor.heard = self.turn
            died = Died("it is gone") if actor.dead else self.dies(actor, call, calls)
            return call, died or next(messages), None
        self.silent += 1
        assert self.silent < 100, "everybody waits for everybody"
        time.sleep(0.001)
        return None

    def end(self, actor: Actor) -> None:
        self.actors.remove(actor)

    def describe(self) -> str:
        return "nothing is free"


@contextmanager
def opens_slow(talk: Talk, *refused: str) -> Iterator[Work]:
    """Its parts take a while."""

    def work(part: int) -> int:
        time.sleep(0.005)
        return part

    yield work


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "STUCK_S", 0.01)
    monkeypatch.setattr(carrying, "START_S", 0.0)
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # a worker takes hold of it


def carried(cluster: Cluster, units: Iterable[Unit], hands: list[Hand] | None = None) -> list[Done]:
    return list(Carrying(cluster, units, Reporter(-1), [] if hands is None else hands).done())


def values(found: list[Done]) -> list[object]:
    return sorted(
        (done.value if done.error is None else str(done.error) for done in found), key=str
    )


def test_the_last_part_of_a_dead_worker_is_done_though_the_other_is_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waits(actor: Actor, call: Call, calls: list[Call]) -> bool:
        """The second is at a part until the first has none left."""
        return actor.number == 2 and call.what == "do" and calls[0].what == "do"

    def dies(actor: Actor, call: Call, calls: list[Call]) -> Died | None:
        if actor.number == 2 and call.what == "do" and calls[0].what == "close":
            monkeypatch.setattr(carrying, "START_S", 100.0)  # no further one would pay
            return Died("it was killed")
        return None

    unit = Unit(name="a", opens=opens_slow, parts=range(9), num_parts=9)
    cluster = Cluster(2, dies, waits)
    assert values(carried(cluster, [unit])) == [*range(9)]
    assert cluster.started == 2
    assert [actor.number for actor in cluster.actors] == [1]


def test_who_needs_a_machine_alone_does_not_wait_for_workers_that_are_kept_from_others() -> None:
    died: list[str] = []

    def dies(actor: Actor, call: Call, calls: list[Call]) -> Died | None:
        if call.what == "do" and actor.number == 1 and not died:
            died.append("once")
            return Died("its node was low on memory", out_of_memory=True)
        return None

    units = [Unit(name=str(i), opens=opens_slow, parts=(i,)) for i in range(5)]
    assert values(carried(Cluster(2, dies), units)) == [0, 1, 2, 3, 4]


def test_workers_that_died_while_they_had_nothing_to_do_are_nobodys_fault() -> None:
    hands: list[Hand] = []
    cluster = Cluster(4)
    units = [Unit(name=str(i), opens=opens_slow, parts=(i,)) for i in range(4)]
    assert values(carried(cluster, units, hands)) == [0, 1, 2, 3]
    assert len(hands) > carrying.MOST_TRIES
    for actor in cluster.actors:
        actor.dead = True
    report = Reporter(-1)
    unit = Unit(name="a", opens=opens_slow, parts=(7,))
    assert values(list(Carrying(cluster, [unit], report, hands).done())) == [7]
    assert report.warnings == []


@contextmanager
def opens_once(talk: Talk, opened: list[int]) -> Iterator[Work]:
    if opened:
        raise ValueError("it is no second time there")
    opened.append(1)
    with opens_slow(talk) as work:
        yield work


def test_one_more_worker_that_cannot_open_a_unit_leaves_it_to_the_first() -> None:
    unit = Unit(name="a", opens=opens_once, given=([],), parts=range(6), num_parts=6)
    cluster = Cluster(2)
    assert values(carried(cluster, [unit])) == [0, 1, 2, 3, 4, 5]
    assert cluster.started == 2


def test_after_a_failure_of_all_that_is_left_nothing_comes_of_a_unit() -> None:
    def parts() -> Iterator[int]:
        yield from range(3)
        raise ValueError("row 3 cannot be read")

    unit = Unit(name="a", opens=opens_slow, parts=parts(), num_parts=6)
    found = carried(Cluster(2), [unit])
    assert [done.part for done in found if done.error] == [None]
    assert found[-1].error is not None
    assert values(found) == [0, 1, 2, "row 3 cannot be read"]


@contextmanager
def opens_unclosable(talk: Talk) -> Iterator[Work]:
    yield lambda part: part
    raise ValueError("it does not close")


@pytest.mark.parametrize("here", [True, False])
def test_what_cannot_be_closed_is_done_nevertheless(here: bool) -> None:
    report, units = Reporter(-1), [Unit(name="a", opens=opens_unclosable)]
    carry_out = (
        LocalEngine().carry_out(units, report)
        if here
        else Carrying(Cluster(2), units, report, []).done()
    )
    assert [(done.part, done.error) for done in carry_out] == [(None, None)]
    assert report.warnings == [
        "a: it is done, but could not be closed: ValueError: it does not close"
    ]


@contextmanager
def opens_counting(talk: Talk) -> Iterator[Work]:
    def work(part: int) -> int:
        with talk.report.task(f"counting {part}", 2, "steps"):
            return 1 // part

    yield work


def test_what_failed_is_not_told_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    unit = Unit(name="a", opens=opens_counting, parts=(0, 1), num_parts=2)
    list(Carrying(Cluster(1), [unit], Reporter(0), []).done())
    told = capsys.readouterr().err
    assert "counting 1: 2 steps" in told
    assert "counting 0" not in told


def test_a_cache_that_may_not_be_looked_into_is_not_seen() -> None:
    assert Home(Path("/" + 300 * "x"), "token").seen() is None
