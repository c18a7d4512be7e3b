"""What `plot` makes of tables that were changed, or that do not go together."""

import re
import shutil

import pytest
from processes import Ended, Forks
from small_experiment import Place, tables


@pytest.fixture
def finished(undisturbed: Place, place: Place) -> Place:
    shutil.copytree(undisturbed.cache, place.cache)
    shutil.copytree(undisturbed.results, place.results)
    return place


def command(forks: Forks, place: Place, *arguments: str) -> Ended:
    return forks.run(*arguments, folder=place.folder, cache=place.cache)


def edit(place: Place, name: str, old: str, new: str) -> None:
    path = place.results / name
    changed = re.sub(old, new, path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("best.csv", r"(?<=,)0\.\d+", "0.5"),
        ("performance.csv", "llama8", "llama9"),
        ("models.csv", r"\d\d\d+", "777"),
    ],
)
def test_an_edited_table_is_drawn_and_said(
    forks: Forks, finished: Place, name: str, old: str, new: str
) -> None:
    edit(finished, name, old, new)

    end = command(forks, finished, "plot", str(finished.file))

    assert end.code == 0, end.stderr
    assert f"results/small/{name} was edited" in end.stderr
    verified = command(forks, finished, "cache", "verify")
    assert verified.code == 5
    assert f"results/small/{name}" in verified.stdout
    assert command(forks, finished, "cache", "clean", "--broken").code == 0
    assert (finished.results / name).exists(), "what was edited is not damaged"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("best.csv", "score", "scare"),
        ("best.csv", r"(?<=,)0\.\d+", "0.5x"),
        ("models.csv", "llama8", "llama9"),
        ("models.csv", "label", "lebal"),
    ],
)
def test_a_table_that_cannot_be_drawn_is_refused(
    forks: Forks, finished: Place, name: str, old: str, new: str
) -> None:
    edit(finished, name, old, new)

    end = command(forks, finished, "plot", str(finished.file))

    assert end.code == 5, end.stderr
    assert "Traceback" not in end.stderr
    assert name in end.stderr
    assert "platorep " in end.stderr


def test_tables_of_different_data_are_not_drawn_together(
    forks: Forks, finished: Place, undisturbed: Place
) -> None:
    """As after a run that was killed between two stages."""
    measure = ("measure", str(finished.file), "--set", "dataset.shuffle=1")
    assert command(forks, finished, *measure).code == 0

    end = command(forks, finished, "plot", str(finished.file))

    assert end.code == 5
    assert "do not go together" in end.stderr
    assert "platorep run" in end.stderr
    assert command(forks, finished, "run", str(finished.file)).code == 0
    assert tables(finished) == tables(undisturbed)
    assert command(forks, finished, "cache", "verify").code == 0
