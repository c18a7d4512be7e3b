"""Workers that die, nodes that go, units that ask for more than there is: on a real cluster."""

import pickle
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from engine_units import (
    opens_dying,
    opens_facts,
    opens_given,
    opens_large,
    opens_meeting,
    opens_powers,
    opens_sending,
    opens_sum,
    opens_talk,
)
from ray_cluster import Cluster

from platorep import errors
from platorep.engines import Done, Needs, Unit
from platorep.engines.ray import RayEngine
from platorep.engines.worker import travels
from platorep.errors import AbsentError, ConfigError, PlatorepError, WorkerDiedError
from platorep.reporting import Reporter

pytestmark = pytest.mark.xdist_group("ray")


def meet(engine: RayEngine, folder: Path, workers: int) -> None:
    """Have so many workers, of which each did something."""
    folder.mkdir()
    unit = {"opens": opens_meeting, "given": (folder, workers)}
    units = [Unit(name=f"meeting {i}", **unit) for i in range(workers)]  # type: ignore[arg-type]
    assert [done.error for done in engine.carry_out(units, Reporter(-1))] == [None] * workers


def powers(base: int, **what: Any) -> Unit:
    return Unit(name=f"powers of {base}", opens=opens_powers, given=(base,), parts=(2,), **what)


def by_unit(found: list[Done]) -> dict[str, list[Done]]:
    names = dict.fromkeys(done.unit.name for done in found)
    return {name: [done for done in found if done.unit.name == name] for name in names}


@pytest.fixture
def report() -> Reporter:
    return Reporter(0)


def test_what_a_killed_worker_had_is_done_elsewhere(
    ray_engine: RayEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Reporter(0)
    unit = Unit(
        name="dying",
        opens=opens_dying,
        given=(tmp_path, 1, {2: 1}),
        parts=range(4),
        num_parts=4,
        total=4,
        counted="parts",
    )
    found = list(ray_engine.carry_out([unit, powers(3)], report))
    assert sorted(done.part for done in found if done.unit is unit) == [0, 1, 2, 3]
    assert all(done.error is None for done in found)
    assert len({done.value for done in found if done.unit is unit}) >= 2, "another process"
    opening, part = (text for text in report.warnings if text.startswith("dying"))
    assert "died while it opened it (try 1 of 3)" in opening
    assert "died while it was at work on it (try 1 of 3)" in part
    assert "/logs" in part
    assert "dying: 4 parts in" in capsys.readouterr().err


def test_what_kills_every_worker_is_one_failure(
    ray_engine: RayEngine, tmp_path: Path, report: Reporter
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    units = [
        Unit(
            name="a part",
            opens=opens_dying,
            given=(tmp_path / "a", 0, {1: 9}),
            parts=range(3),
            num_parts=3,
        ),
        Unit(name="opening", opens=opens_dying, given=(tmp_path / "b", 9, {}), parts=(0, 1)),
    ]
    found = by_unit(list(ray_engine.carry_out(units, report)))
    outcome = {done.part: done.error for done in found["a part"]}
    assert [type(outcome[part]) for part in range(3)] == [type(None), WorkerDiedError, type(None)]
    assert "try 3 of 3" in str(outcome[1])
    (failed,) = found["opening"]
    assert failed.part is None
    assert isinstance(failed.error, WorkerDiedError)
    assert len(list((tmp_path / "b").iterdir())) == 3


def test_workers_get_what_their_units_need(ray_engine: RayEngine, report: Reporter) -> None:
    def unit(name: str, **needs: Any) -> Unit:
        return Unit(name=name, opens=opens_facts, needs=Needs(**needs))

    small = Unit(name="small", opens=opens_facts, parts=("threads",))
    units = [small, unit("large", memory_bytes=2**30), unit("wide", cpus=2), powers(2)]
    found = by_unit(list(ray_engine.carry_out(units, report)))
    assert found["small"][0].value["threads"] == 1
    assert found["large"][0].value["resources"]["memory"] == 2**30
    refused = found["wide"][0].error
    assert isinstance(refused, AbsentError)
    assert "it needs 2 CPUs on one machine; those of the cluster have 1 CPU" in str(refused)
    assert found["powers of 2"][0].value == 4


def test_a_unit_takes_its_share_of_a_gpu(
    ray_engine: RayEngine, cluster: Cluster, report: Reporter
) -> None:
    """On a node that says that it has two, of 40 and 80 GiB."""
    assert ray_engine.has_gpus is False
    cluster.add_node(num_gpus=2)
    try:
        assert ray_engine.has_gpus is True
        units = [
            Unit(name=name, opens=opens_facts, needs=needs)
            for name, needs in {
                "share": Needs(gpu_bytes=9 * 2**30),
                "whole": Needs(gpu_bytes=70 * 2**30),
                "every": Needs(gpu_bytes=2**30, every_gpu=True),
                "none": Needs(),
            }.items()
        ]
        found = by_unit(list(ray_engine.carry_out(units, report)))
        facts = {name: done[0].value for name, done in found.items()}
        assert {name: fact["resources"].get("GPU") for name, fact in facts.items()} == {
            "share": 0.25,
            "whole": 1,
            "every": 2,
            "none": None,
        }
        assert [len(facts[name]["gpus"].split(",")) for name in ("share", "whole", "every")] == [
            1,
            1,
            2,
        ]
        assert facts["none"]["gpus"] == ""
    finally:
        cluster.remove_node()


def test_a_node_goes_and_what_it_kept_is_made_again(
    ray_engine: RayEngine, cluster: Cluster, tmp_path: Path, report: Reporter
) -> None:
    cluster.add_node()
    meet(ray_engine, tmp_path / "meeting", 4)
    units = [Unit(name=f"large {i}", opens=opens_large, given=(i,), keeps=True) for i in range(4)]
    made = list(ray_engine.carry_out(units, report))
    assert len({done.value for done in made}) == 4, "one on every node"
    above = [
        Unit(name="above", opens=opens_large, given=(10, done.kept), keeps=True) for done in made
    ]
    kept = list(ray_engine.carry_out(above, report))
    cluster.remove_node()

    everything = [done.kept for done in [*made, *kept]]
    unit = Unit(name="sum", opens=opens_sum, given=tuple(everything))
    (done,) = ray_engine.carry_out([unit], report)

    assert sorted(done.result()) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert any("made again, since a node with it is gone" in text for text in report.warnings)
    assert ray_engine.num_workers == 3


def test_what_a_worker_could_not_send_is_not_done(
    ray_engine: RayEngine, report: Reporter, tmp_path: Path
) -> None:
    """Though its word that the part is done came first."""
    unit = Unit(name="a", opens=opens_sending, given=(tmp_path,), parts=(0, 1), keeps=True)
    sent, unsent = ray_engine.carry_out([unit], report)
    assert (sent.value, sent.error, str(unsent.error)) == ("done", None, "it cannot be sent")
    assert unsent.kept is None
    (told,) = report.warnings
    assert "a: its worker died while it was at work on it (try 1 of 3)" in told
    given = Unit(name="b", opens=opens_given, given=(sent.kept,))
    assert [done.value for done in ray_engine.carry_out([given], report)] == ["whole"]


def test_idle_workers_join_a_unit_of_many_parts(
    ray_engine: RayEngine, tmp_path: Path, report: Reporter
) -> None:
    meet(ray_engine, tmp_path / "meeting", 3)
    unit = Unit(
        name="many", opens=opens_dying, given=(tmp_path, 0, {}), parts=range(40), num_parts=40
    )
    found = list(ray_engine.carry_out([unit], report))
    assert sorted(done.part for done in found) == list(range(40))
    assert len(Counter(done.value for done in found)) == 3


def test_workers_are_heard_while_they_work(
    ray_engine: RayEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    class Timed(Reporter):
        def warn(self, text: str) -> None:
            heard[text] = time.time()

    heard: dict[str, float] = {}
    unit = Unit(name="talker", opens=opens_talk, parts=(1, 2), num_parts=2)
    first, second = ray_engine.carry_out([unit], Timed(0))
    assert heard["said 1"] < first.value < heard["said 2"] < second.value
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" in ")[0] for line in said if "inner" in line] == ["inner: 2 steps"] * 2
    assert [line for line in said if "printed" in line] == [
        "talker: printed 1",
        "talker: printed 2",
    ]
    assert len([line for line in said if line.endswith("UserWarning: python's")]) == 1


def test_who_stops_listening_ends_the_work(ray_engine: RayEngine, report: Reporter) -> None:
    slow = [Unit(name=f"slow {i}", opens=opens_talk, parts=range(99)) for i in range(2)]
    work = ray_engine.carry_out([powers(2), *slow], report)
    next(work)
    started = time.monotonic()
    work.close()
    list(ray_engine.carry_out([powers(3)], report))
    assert time.monotonic() - started < 30


def test_errors_arrive_as_themselves() -> None:
    def every(of: type[PlatorepError]) -> Iterator[type[PlatorepError]]:
        for one in of.__subclasses__():
            yield one
            yield from every(one)

    found = set(every(PlatorepError))
    assert {errors.UnknownNameError, errors.DamagedError, WorkerDiedError} <= found
    for kind in found:
        error = (
            kind("metric", "cka", ["cka_rbf"])  # type: ignore[call-arg]
            if kind is errors.UnknownNameError
            else kind("the reason")
        )
        arrived = pickle.loads(pickle.dumps(travels(error)))
        assert (type(arrived), str(arrived)) == (kind, str(error))
        assert vars(arrived).keys() == vars(error).keys()
        assert arrived.__notes__[0].startswith("In the worker:\n")

    class LocalError(Exception):  # cannot be pickled
        pass

    assert str(travels(LocalError("x"))) == "LocalError: x"
    assert str(travels(SystemExit(3))) == "SystemExit: 3"


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("ray://127.0.0.1:10001", ConfigError, "on a machine of it"),
        ("127.0.0.1", ConfigError, "expected host:port"),
        ("127.0.0.1:65536", ConfigError, "expected host:port"),
        ("two..dots:1", ConfigError, "no host can have that name"),
        ("127.0.0.1:1", AbsentError, "no Ray cluster answers at 127.0.0.1:1"),
    ],
)
def test_an_address_without_a_cluster(
    monkeypatch: pytest.MonkeyPatch, address: str, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr("platorep.engines.ray.ANSWER_S", 0.1)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(error, match=words):
        RayEngine(address, Reporter(-1))
