"""The schedule of scripts/simulate_cluster.py, against schedules worked by hand."""

import random
import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "simulate_cluster.py"
simulation = runpy.run_path(str(SCRIPT))
Cluster, Task, simulate = (simulation[name] for name in ("Cluster", "Task", "simulate"))


def task(name: str, parts: int, part_s: float, open_s: float = 0.0, **more: Any) -> Any:
    return Task(name=name, num_parts=parts, part_s=part_s, open_s=open_s, **more)


def test_one_worker_does_one_after_the_other() -> None:
    """Starts in 4, opens a in 1, reads 3 x 2, opens b in 1, reads 2 x 1."""
    found = simulate([task("b", 2, 1, 1), task("a", 3, 2, 1)], Cluster(gpus=1, start_s=4))
    assert found.ends == {"a": 11, "b": 14}
    assert (found.seconds, found.busy) == (14, 8 / 14)


def test_the_heaviest_come_first() -> None:
    """5 and 4 at once; 3 at 4, 3 at 5, 3 at 7: the last ends at 10, though 18 / 2 are 9."""
    tasks = [task(name, 1, cost) for name, cost in zip("edcba", (3, 3, 3, 4, 5), strict=True)]
    found = simulate(tasks, Cluster(gpus=2))
    assert found.ends == {"a": 5, "b": 4, "e": 7, "d": 8, "c": 10}
    assert found.busy == 18 / 20


def test_who_is_free_helps_where_that_is_worth_it() -> None:
    """The first starts in .5, opens in 1 and has read one range at 2.5: then the second starts, and
    is open at 4. The first ends ranges at 2.5, 3.5, 4.5, 5.5 and 6.5, the second at 5, 6 and 7.
    """
    found = simulate([task("a", 8, 1, 1)], Cluster(gpus=2, start_s=0.5))
    assert found.seconds == 7
    assert simulate([task("a", 8, 1, 3.5)], Cluster(gpus=2)).seconds == 11.5  # it is not worth 3.5


def test_what_the_driver_has_not_written_holds_workers_up() -> None:
    """Ranges are read by 1, 2, 4 and 8, and written by 3, 5, 7 and 10: a worker has two at most, so
    the third is handed out at 3; and one, when what is left is no more than there are workers, so
    the fourth is handed out at 7.
    """
    slow = Cluster(gpus=1, bytes_per_s=5)
    found = simulate([task("a", 4, 1, part_bytes=10)], slow)
    assert (found.seconds, found.driver_busy) == (10, 8 / 10)
    fast = Cluster(gpus=1, bytes_per_s=20)
    assert simulate([task("a", 4, 1, part_bytes=10)], fast).seconds == 5  # the fourth at 3.5


def test_a_large_network_waits_for_its_gpus_and_the_rest_behind_it() -> None:
    """a on one of two until 6; b wants both; c, though one is free, comes after b."""
    tasks = [task("a", 6, 1), task("b", 1, 2.5, gpus=2), task("c", 1, 1)]
    assert simulate(tasks, Cluster(gpus=2)).ends == {"a": 6, "b": 8.5, "c": 9.5}
    with pytest.raises(AssertionError, match="b needs more GPUs"):
        simulate(tasks, Cluster(gpus=1))


def test_no_schedule_is_shorter_than_its_work_or_longer_than_one_worker() -> None:
    draw = random.Random(0)
    for _ in range(50):
        tasks = [
            task(str(i), draw.randint(1, 9), draw.uniform(0.1, 2), draw.uniform(0, 1))
            for i in range(draw.randint(1, 8))
        ]
        work = sum(one.cost for one in tasks)
        alone = simulate(tasks, Cluster(gpus=1)).seconds
        assert alone == pytest.approx(work + sum(one.open_s for one in tasks))
        for gpus in (2, 3, 5):
            found = simulate(tasks, Cluster(gpus=gpus))
            assert max(work / gpus, *(one.part_s for one in tasks), 0) <= found.seconds + 1e-9
            assert found.seconds <= alone + 1e-9
            assert set(found.ends) == {one.name for one in tasks}
            assert found.busy * found.seconds * gpus == pytest.approx(work)
