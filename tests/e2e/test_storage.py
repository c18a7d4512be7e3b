"""A place that cannot be written: exit code 6, which file, and what is finished is kept."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Ended, Forks
from small_experiment import Place, experiment, identities, tables


def command(forks: Forks, place: Place, *arguments: str, **conditions: object) -> Ended:
    return forks.run(*arguments, folder=place.folder, cache=place.cache, conditions=conditions)


def is_told(end: Ended) -> bool:
    """Whether the message has all its parts."""
    parts = ("cannot write", "run the same command again", "PLATOREP_CACHE", "--output")
    return end.code == 6 and "Traceback" not in end.stderr and all(p in end.stderr for p in parts)


def test_a_full_disk_at_every_size(forks: Forks, place: Place, undisturbed: Place) -> None:
    """Files may not grow beyond a limit: one after the other of the run's files meets it."""
    met: list[str] = []
    num_shards = 0
    size_bytes, code = 6144, 6  # the log itself must fit
    while code:
        end = command(forks, place, "run", str(place.file), file_size_limit=size_bytes)
        assert is_told(end) or end.code == 0, (size_bytes, end)
        met += [] if end.code == 0 else [end.stderr.partition("cannot write ")[2].split(":")[0]]
        assert place.partials() == []
        assert len(place.shards()) >= num_shards
        num_shards, code = len(place.shards()), end.code
        size_bytes = size_bytes * 5 // 4

    assert len(set(met)) >= 3, "the limit was met in several places"
    assert tables(place) == tables(undisturbed)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An own small file system, where this process may mount one."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if made.returncode:
        pytest.skip(f"mounting a file system is not allowed here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(forks: Forks, place: Place, mounted: Path) -> None:
    arguments = ("extract", str(place.file))
    end = forks.run(*arguments, folder=place.folder, cache=mounted / "cache")

    assert is_told(end)
    assert "the disk is full" in end.stderr
    finished = identities(sorted(mounted.rglob("shard-*.safetensors")))
    assert finished
    subprocess.run(["mount", "-o", "remount,size=10m", str(mounted)], check=True)
    again = forks.run(*arguments, folder=place.folder, cache=mounted / "cache")
    assert again.code == 0, again.stderr
    assert identities(sorted(mounted.rglob("shard-*.safetensors"))).items() >= finished.items()


def test_a_file_system_that_is_read_only(forks: Forks, place: Place, mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)

    end = forks.run("extract", str(place.file), folder=place.folder, cache=mounted / "cache")

    assert is_told(end)
    assert "the file system is read-only" in end.stderr
    assert str(mounted) in end.stderr


@pytest.fixture
def read_only_cache(place: Place, undisturbed: Place) -> Iterator[Place]:
    """All is there, and nothing may be added."""
    shutil.copytree(undisturbed.cache, place.cache)
    folders = [place.cache, *(path for path in place.cache.rglob("*") if path.is_dir())]
    for path in place.cache.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    for folder in folders:
        folder.chmod(0o555)
    yield place
    for folder in folders:
        folder.chmod(0o755)


def test_a_read_only_cache(forks: Forks, read_only_cache: Place) -> None:
    place = read_only_cache
    extract = ("extract", str(place.file), "--set", "dataset.limit=12")

    end = command(forks, place, *extract, no_privileges=True)

    assert is_told(end)
    assert "permission is denied" in end.stderr
    assert str(place.cache) in end.stderr


def test_a_read_only_cache_that_has_everything(
    forks: Forks, read_only_cache: Place, undisturbed: Place
) -> None:
    """As several users of one cluster share one."""
    place = read_only_cache

    end = command(forks, place, "run", str(place.file), no_privileges=True)

    assert end.code == 0, end.stderr
    assert tables(place) == tables(undisturbed)


def test_a_file_in_the_place_of_the_cache(forks: Forks, place: Place) -> None:
    place.cache.write_text("in the way")

    end = command(forks, place, "extract", str(place.file))

    assert is_told(end)
    assert str(place.cache) in end.stderr


@pytest.mark.parametrize("name", ["results", "results/small", "results/small/figures"])
def test_a_file_in_the_place_of_a_folder(
    forks: Forks, place: Place, undisturbed: Place, name: str
) -> None:
    shutil.copytree(undisturbed.cache, place.cache)
    path = place.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")

    end = command(forks, place, "run", str(place.file))

    assert is_told(end)
    assert path.read_text() == "in the way"


@pytest.mark.parametrize("name", ["best.csv", "scores.parquet", "figures/heatmap.png"])
def test_a_folder_in_the_place_of_a_file(
    forks: Forks, place: Place, undisturbed: Place, name: str
) -> None:
    shutil.copytree(undisturbed.cache, place.cache)
    (place.results / name).mkdir(parents=True)

    end = command(forks, place, "run", str(place.file))

    assert is_told(end)
    assert name in end.stderr


def test_toy_networks_on_a_full_disk(forks: Forks, place: Place, material: Path) -> None:
    """They are written on first use, by the libraries that read them."""
    families = [
        {"name": "readers", "modality": "language", "backend": "toyworld", "models": ["llama8"]},
        {"name": "viewers", "modality": "vision", "backend": "toyworld", "models": ["conv4"]},
    ]
    families = [family | {"training": {"steps": 0}} for family in families]
    dataset = {"source": "toyworld", "limit": 12}
    place.write(experiment(material, families=families, dataset=dataset))
    size_bytes, code = 512, 6
    while code:
        end = command(forks, place, "extract", str(place.file), file_size_limit=size_bytes)
        assert is_told(end) or end.code == 0, (size_bytes, end)
        size_bytes, code = size_bytes * 4, end.code
    assert size_bytes > 512 * 16
