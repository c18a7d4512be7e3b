"""One set of tiny networks, and one undisturbed run of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Forks
from small_experiment import MODELS, NUM_ROWS, Place, experiment


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs and untrained networks of the toy world, as ordinary folders."""
    from platorep.parameters.toyworld import WorldParameters, parse_network
    from platorep.toyworld.checkpoints import write_untrained
    from platorep.toyworld.folder import write_folder

    folder = tmp_path_factory.mktemp("material")
    write_folder(folder / "pairs", WorldParameters(), NUM_ROWS)
    for name in MODELS:
        write_untrained(folder / name, parse_network(name))
    return folder


@pytest.fixture
def place(tmp_path: Path, material: Path) -> Place:
    """An experiment that was not run yet."""
    place = Place(tmp_path)
    place.write(experiment(material))
    return place


@pytest.fixture(scope="session")
def undisturbed(forks: Forks, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same experiment, run once without any trouble. Not to be changed."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    place.write(experiment(material))
    ended = forks.run("run", str(place.file), folder=place.folder, cache=place.cache)
    assert ended.code == 0, ended.stderr
    return place


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Place], Place]:
    """A finished run that may be damaged."""
    import shutil

    def copy(place: Place) -> Place:
        shutil.copytree(place.folder, tmp_path / "copy")
        return Place(tmp_path / "copy")

    return copy


def command(forks: Forks, place: Place, *arguments: str, **how: Any) -> Any:
    return forks.run(*arguments, folder=place.folder, cache=place.cache, **how)
