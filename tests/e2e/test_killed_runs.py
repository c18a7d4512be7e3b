"""A run that is killed, at any moment and as often as you like, ends where an undisturbed one does.

The disk is made slow (every flush takes a while), so that a kill hits a file while it is written;
what such a kill leaves, a `.partial` file, is the proof that it did.
"""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Command, Ended, Forks
from small_experiment import NUM_SHARDS, Place, identities, tables

SLOW = {"slow_disk": 0.02}
LONG_S = 30.0

Seen = Callable[[], bool]


def start(forks: Forks, place: Place) -> Command:
    arguments = ("run", str(place.file), "-v")
    return forks.start(*arguments, folder=place.folder, cache=place.cache, conditions=SLOW)


def being_written(place: Place, name: str) -> list[Path]:
    """The `.partial` files of a file so called, or of one in a folder so called."""
    return [path for path in place.partials() if f"{path.parent.name}/{path.name}".find(name) >= 0]


class Victim:
    """The same command again and again, killed every time."""

    def __init__(self, forks: Forks, place: Place) -> None:
        self.forks, self.place = forks, place
        self.random = random.Random(0)
        self.kills = self.in_extraction = self.in_shards = self.in_tables = 0
        self.finished = identities(place.shards())

    def kill_when(self, seen: Seen, after_s: float = 0.0) -> None:
        """Start it, kill it a random while after `seen`, and write down what it was doing."""
        command = start(self.forks, self.place)
        before = set(self.place.partials())
        if command.wait_until(seen):
            time.sleep(self.random.uniform(0, after_s))
        ended = command.kill()
        if ended.code != -signal.SIGKILL:  # it was faster
            return
        left = {path.name for path in set(self.place.partials()) - before}
        self.kills += 1
        self.in_extraction += self._was_extracting(ended)
        self.in_shards += any(name.startswith(".shard-") for name in left)
        self.in_tables += any(".csv." in name or ".parquet." in name for name in left)
        self.nothing_was_made_twice()

    def _was_extracting(self, ended: Ended) -> bool:
        return "loading on cpu" in ended.stderr and len(self.place.shards()) < NUM_SHARDS

    def nothing_was_made_twice(self) -> None:
        found = identities(self.place.shards())
        assert found.items() >= self.finished.items()
        self.finished = found


@pytest.fixture
def victim(forks: Forks, place: Place) -> Victim:
    return Victim(forks, place)


def test_twenty_kills_change_nothing(victim: Victim, undisturbed: Place) -> None:
    place = victim.place
    num_before = len(place.shards())

    def writes(name: str) -> Seen:
        """A new file of that name is being written."""
        old = set(place.partials())
        return lambda: any(path not in old for path in being_written(place, name))

    def finished_one_more() -> bool:
        return len(place.shards()) > num_before

    victim.kill_when(writes("rows.parquet"))  # of the results: the first table of all
    victim.kill_when(writes("meta.json"))
    while victim.in_shards < 4:
        victim.kill_when(writes(".shard-"))
    while victim.in_extraction < 9:
        num_before = len(place.shards())
        victim.kill_when(finished_one_more, after_s=0.05)
    assert len(place.shards()) < NUM_SHARDS, "something must be left to extract"
    for name in ("models.csv", "performance.csv", "parts/", "scores.parquet", "best.csv"):
        victim.kill_when(writes(name))
    victim.kill_when(writes("heatmap.csv"))
    while victim.kills < 20:
        victim.kill_when(lambda: True, after_s=1.0)

    assert victim.in_extraction >= 5
    assert victim.in_shards >= 3
    assert victim.in_tables >= 3
    last = start(victim.forks, place).end()
    assert last.code == 0, last.stderr
    victim.nothing_was_made_twice()
    assert len(victim.finished) == NUM_SHARDS
    assert tables(place) == tables(undisturbed)
    assert not (place.results / "failures.jsonl").exists()


def test_what_a_killed_process_held_another_takes_over(
    forks: Forks, place: Place, undisturbed: Place
) -> None:
    slow = {"slow_disk": 0.2}
    arguments = ("run", str(place.file), "-v")
    first = forks.start(*arguments, folder=place.folder, cache=place.cache, conditions=slow)
    assert first.wait_until(lambda: bool(being_written(place, ".shard-")))
    second = start(forks, place)
    assert second.wait_until(lambda: "wrote" in second.log.read_text())  # another model's
    first.kill()
    kept = identities(place.shards())

    ended = second.end()

    assert ended.code == 0, ended.stderr
    assert identities(place.shards()).items() >= kept.items()
    assert tables(place) == tables(undisturbed)


def test_left_overs_can_be_removed(forks: Forks, place: Place) -> None:
    command = start(forks, place)
    assert command.wait_until(lambda: bool(being_written(place, ".shard-")))
    command.kill()
    (left,) = being_written(place, ".shard-")

    ended = forks.run("cache", "clean", "--partial", folder=place.folder, cache=place.cache)

    assert ended.code == 0, ended.stderr
    assert str(left) in ended.stdout
    assert place.partials() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_what_is_finished(
    forks: Forks, place: Place, number: signal.Signals, code: int
) -> None:
    moments = random.Random(int(number))
    kept: dict[Path, tuple[int, int]] = {}
    for _ in range(4):
        before = len(kept)
        command = start(forks, place)
        assert command.wait_until(lambda before=before: len(place.shards()) > before)
        time.sleep(moments.uniform(0, 0.1))
        command.send(number)

        ended = command.end()

        assert ended.code == code, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "kept" in ended.stderr
        assert place.partials() == []  # it had the time to tidy up
        found = identities(place.shards())
        assert found.items() >= kept.items()
        kept = found
    assert len(kept) >= 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_heard_though_it_was_swallowed(
    forks: Forks, place: Place, number: signal.Signals, code: int
) -> None:
    arguments = ("run", str(place.file), "-v")
    conditions = {"slow_disk": 0.4, "deaf": 1}
    command = forks.start(*arguments, folder=place.folder, cache=place.cache, conditions=conditions)
    assert command.wait_until(lambda: len(place.shards()) == 1)
    command.send(number)

    ended = command.end()

    assert ended.code == code, ended.stderr
    assert "kept" in ended.stderr
    assert len(place.shards()) < NUM_SHARDS
    assert place.partials() == []
