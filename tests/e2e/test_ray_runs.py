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
                found |= {one.pid for one in children if "ray::Worker" in one.cmdline()[0]}
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_dies_leaves_nobody_and_goes_on(
    forks: Forks, place: Place, undisturbed: Place, cluster: Cluster, number: signal.Signals
) -> None:
    before = workers(cluster)
    slow = {"slow_disk": 0.2}
    arguments = run(place, cluster)
    first = forks.start(*arguments, folder=place.folder, cache=place.cache, conditions=slow)
    assert first.wait_until(lambda: len(place.shards()) >= 2), first.end()
    first.send(number)
    assert first.end().code == (-9 if number == signal.SIGKILL else 143)
    kept = identities(place.shards())
    until = time.monotonic() + 60
    while workers(cluster) - before and time.monotonic() < until:
        time.sleep(0.1)
    assert not workers(cluster) - before

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
