"""Fixtures of all tests. Imports nothing of platorep: the shape-checking hook must come first."""

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # thread pools of several processes fight for cores

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # tests that a shell started in the background, and all that they start, would not hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch
from processes import Forks
from ray_cluster import Cluster
from signatures import unchecked

if TYPE_CHECKING:
    from platorep.engines.ray import RayEngine


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU: torch.cuda.is_available() is false")


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of folders, one after the other: pytest would look at all that are there each time."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / f"{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's feature cache."""
    cache = next(caches)
    cache.mkdir()
    monkeypatch.setenv("PLATOREP_CACHE", str(cache))


@pytest.fixture(scope="session", autouse=True)
def no_power_fails() -> Iterator[None]:
    """Nothing waits for the disk here, thousands of times; what is started apart does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """For what takes long and goes through code whose shapes quicker tests check."""
    with unchecked():
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Ray cluster of three nodes, on this machine, with a cache of its own.

    Of one module: it keeps a core busy for as long as it is there.
    """
    folder = tmp_path_factory.mktemp("cluster")
    tool = folder / "nvidia-smi"  # what nodes with GPUs have
    tool.write_text("#!/bin/sh\nprintf '40960\\n81920\\n'\n")
    tool.chmod(0o755)
    cluster = Cluster(
        3,
        {"PLATOREP_CACHE": str(folder / "cache"), "PATH": f"{folder}:{os.environ['PATH']}"},
    )
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def ray_engine(cluster: Cluster) -> Iterator["RayEngine"]:
    """Workers of the cluster, of all tests."""
    from platorep.engines.ray import RayEngine
    from platorep.reporting import Reporter

    engine = RayEngine(cluster.address, Reporter(-1))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """A warm process to start commands from, whose shapes are not checked; of all tests."""
    forks = Forks()
    yield forks
    forks.close()
