"""`platorep run --engine ray` on a cluster that sees nothing of the driver's cache."""

import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from processes import Forks
from ray_cluster import Cluster
from safetensors.numpy import load_file
from small_experiment import NUM_SHARDS, Place, identities, tables

pytestmark = pytest.mark.xdist_group("ray")


def run(place: Place, cluster: Cluster) -> tuple[str, ...]:
    return ("run", str(place.file), "-v", "--engine", "ray", "--address", cluster.address)


def workers(cluster: Cluster) -> set[int]:
    """Processes of workers."""
    found = set[int]()
    for process in psutil.process_iter(["cmdline"]):
        if cluster.address in " ".join(process.info["cmdline"] or ()):
            with suppress(psutil.Error):  # it has just ended
                children = process.children()
                named = ((one.pid, "".join(one.cmdline()[:1])) for one in children)
                found |= {pid for pid, name in named if "ray::Worker" in name}
    return found


def test_the_tables_are_those_of_one_process(
    forks: Forks, place: Place, undisturbed: Place, cluster: Cluster
) -> None:
    end = forks.run(*run(place, cluster), folder=place.folder, cache=place.cache)

    assert end.code == 0, end.stderr
    assert "Warning" not in end.stderr
    assert tables(place) == tables(undisturbed)
    assert (place.results / "scores.parquet").read_bytes() == (
        undisturbed.results / "scores.parquet"
    ).read_bytes()
    for made, expected in zip(place.shards(), undisturbed.shards(), strict=True):
        features, others = load_file(made), load_file(expected)
        assert features.keys() == others.keys()
        assert all(np.array_equal(features[name], others[name]) for name in features)
    for words in ("extract conv4: 24 rows in", "extract llama8: 24 rows in"):
        assert words in end.stderr


def test_a_driver_that_dies_leaves_nobody_and_goes_on(
    forks: Forks, place: Place, undisturbed: Place, cluster: Cluster
) -> None:
    """Killed first; then ended; then left alone."""
    arguments, kept = run(place, cluster), dict[str, object]()
    for number, code, num_shards in ((signal.SIGKILL, -9, 2), (signal.SIGTERM, 143, 4)):
        before = workers(cluster)
        slow = {"slow_disk": 0.2}
        ended = forks.start(*arguments, folder=place.folder, cache=place.cache, conditions=slow)
        assert ended.wait_until(lambda wanted=num_shards: len(place.shards()) >= wanted)
        ended.send(number)
        assert ended.end().code == code
        until = time.monotonic() + 60
        while workers(cluster) - before and time.monotonic() < until:
            time.sleep(0.1)
        assert not workers(cluster) - before
        there = identities(place.shards())
        assert there.items() >= kept.items()
        kept = there

    end = forks.run(*arguments, folder=place.folder, cache=place.cache)

    assert end.code == 0, end.stderr
    assert identities(place.shards()).items() >= kept.items()
    assert len(place.shards()) == NUM_SHARDS
    assert tables(place) == tables(undisturbed)


def test_without_ray_it_is_said_what_to_install(forks: Forks, place: Place, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray here')\n")
    extract = ("extract", str(place.file), "--engine", "ray")
    found = {"PYTHONPATH": str(tmp_path)}
    end = forks.run(*extract, folder=place.folder, cache=place.cache, environment=found)
    assert end.code == 4
    assert "Install platorep[ray]" in end.stderr
