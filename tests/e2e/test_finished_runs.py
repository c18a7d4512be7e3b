"""A run with nothing left to do looks at no image, and notices when it must."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Forks
from small_experiment import Place


@pytest.mark.parametrize("stage", ["plan", "run", "extract"])
def test_a_finished_run_opens_no_image(
    forks: Forks, undisturbed: Place, copy_of: Callable[[Place], Place], material: Path, stage: str
) -> None:
    place = copy_of(undisturbed)
    how = {"folder": place.folder, "cache": place.cache}
    conditions = {"blind": str(material / "pairs")}

    end = forks.run(stage, str(place.file), **how, conditions=conditions)

    assert (end.code, "an image is looked at" in end.stderr) == (0, False), end.stderr
    shutil.rmtree(place.cache / "rows")
    end = forks.run(stage, str(place.file), **how, conditions=conditions)
    assert end.code != 0
    assert "an image is looked at" in end.stderr + end.stdout


def test_plan_checks_for_run(
    forks: Forks, undisturbed: Place, copy_of: Callable[[Place], Place], material: Path
) -> None:
    place = copy_of(undisturbed)
    how = {"folder": place.folder, "cache": place.cache}
    shutil.rmtree(place.cache / "rows")
    assert forks.run("plan", str(place.file), **how).code == 0

    conditions = {"blind": str(material / "pairs")}
    end = forks.run("run", str(place.file), **how, conditions=conditions)

    assert end.code == 0, end.stderr
