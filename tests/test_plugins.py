"""What an installed package adds by entry points: `tests/plugin_example`, installed by pip."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from runs import run_of
from typer.testing import CliRunner

import platorep
from platorep import plugins
from platorep.align.asked import own_code_of
from platorep.cli import app
from platorep.config import load_config
from platorep.data.table import decoders
from platorep.drawn import figure_inputs
from platorep.errors import ConfigError, UnknownNameError
from platorep.models import open_model

EXAMPLE = Path(__file__).parent / "plugin_example"
NUM_ROWS = 24


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that has the example."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")  # pip builds inside it
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--no-compile"),
            *("--target", str(folder / "site"), str(source)),
        ],
        check=True,
    )
    return folder / "site"


@pytest.fixture
def installed(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example as Python finds it, in a copy that a test may change."""
    own = shutil.copytree(site, tmp_path / "site")
    monkeypatch.syspath_prepend(own)
    yield own
    sys.modules.pop("platorep_example", None)


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images, and the same in grids of numbers with noise: an experiment of nothing built in."""
    monkeypatch.chdir(tmp_path)
    data, rng = tmp_path / "data", np.random.default_rng(0)
    data.mkdir()
    lines = ["image,grid"]
    for row in range(NUM_ROWS):
        numbers = rng.integers(0, 256, size=(8, 8))
        Image.fromarray(numbers.astype(np.uint8)).save(data / f"{row}.png")
        noisy = numbers + rng.integers(-20, 20, size=(8, 8))
        text = "\n".join(" ".join(map(str, line)) for line in noisy)
        (data / f"{row}.grid").write_text(text)
        lines.append(f"{row}.png,{row}.grid")
    (data / "captions.csv").write_text("\n".join(lines))
    file = tmp_path / "mine.yaml"
    file.write_text(
        """
name: mine
dataset: {source: data, views: {image: , grid: }}
families:
  - {name: images, modality: vision, backend: profile, models: [rows, columns]}
  - {name: grids, modality: other, backend: profile, reads: grid,
     models: [{name: rows, label: lines}, {name: columns, label: files}]}
extract: {workers: 0}
align:
  pairs: [[vision, other]]
  preprocess: {clip_quantile: 1}
  metrics: [{name: distance_agreement, layers: last, power: 2}]
  null: {permutations: 19}
controls: {random_weights: true}
figures: [{kind: margins, colour: tab:blue, name: bars}]
report: {after_run: false}
"""
    )
    return file


def run(*words: str) -> str:
    """What a command prints; it must not fail."""
    found = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_an_experiment_of_nothing_built_in(installed: Path, experiment: Path) -> None:
    run("run", str(experiment), "-q", "--json")
    results = experiment.parent / "results" / "mine"
    best = pd.read_csv(results / "best.csv").set_index(["x", "y"])

    assert set(best["metric"]) == {"distance_agreement{power: 2}"}
    assert best.loc[("rows", "lines (grid)"), "score"] > 0.9
    assert best.loc[("rows", "files (grid)"), "score"] < 0.9
    assert best.loc[("rows", "lines (grid)"), "p"] == 1 / 20
    points = pd.read_csv(results / "figures" / "bars.csv")
    expected = best["score"] - best["null_mean"]
    assert points["margin"].to_numpy() == pytest.approx(expected.to_numpy())
    assert (results / "figures" / "bars.pdf").stat().st_size > 1000


def test_another_version_of_the_package_gives_new_features_scores_and_figures(
    installed: Path, experiment: Path
) -> None:
    def names() -> tuple[list[Any], ...]:
        """What features, scores, figures and checked rows are found by."""
        config = load_config(experiment)
        of_features = [open_model(s, offline=True).identity() for s in config.models()]
        drawn = figure_inputs(run_of(config, Path("results"), Path("cache")))
        rows = [decoders(config.dataset)]
        return of_features, [own_code_of(m) for m in config.align.metrics], [drawn], rows

    first = names()
    assert names() == first
    assert [len(of["packages"]) for of in first[0]] == [1, 1, 2, 2]  # kind and backend

    (about,) = installed.glob("*.dist-info/METADATA")
    about.write_text(about.read_text().replace("Version: 1.0", "Version: 1.1"))
    plugins._installed.cache_clear()  # as in the next process
    second = names()
    module = installed / "platorep_example.py"
    module.write_text(module.read_text() + "# changed")
    third = names()
    for before, after in (first, second), (second, third):
        for one, other in zip(before, after, strict=True):
            assert all(a != b for a, b in zip(one, other, strict=True))


def test_a_metric_by_name_in_python(installed: Path, rng: torch.Generator) -> None:
    x = torch.randn(8, 3, generator=rng)

    assert platorep.score(x, 2 * x, metric="distance_agreement") == pytest.approx(1)
    assert platorep.list_metrics()[-1] == "distance_agreement"
    with pytest.raises(UnknownNameError, match="Did you mean 'distance_agreement'"):
        platorep.score(x, x, metric="distance_agrement")


@pytest.mark.parametrize(
    ("what", "name", "built_in"),
    [
        ("metrics", "distance_agreement", "cka"),
        ("figures", "margins", "scaling"),
        ("kinds", "grid", "audio"),
        ("models", "platorep_example:ProfileModel", "resnet18.a1_in1k"),
    ],
)
def test_lists_name_the_package(installed: Path, what: str, name: str, built_in: str) -> None:
    table = pd.DataFrame(json.loads(run("list", what, "--json"))).set_index("name")

    assert table.loc[name, "package"] == "platorep-example 1.0"
    assert table.loc[built_in, "package"] == ""


def test_nothing_is_imported_before_it_is_asked_for(installed: Path) -> None:
    load_config(Path("configs/smoke.yaml"))
    assert plugins.find_plugin("kinds", "grid") is not None

    assert "platorep_example" not in sys.modules


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("metrics: [{name: distance_agreement", "metrics: [{name: distance_agrement",
         "Did you mean 'distance_agreement'"),
        ("kind: margins", "kind: margin", "unknown figure 'margin'. Did you mean 'margins'"),
        ("colour: tab:blue", "color: red", "unknown key 'color'. Did you mean 'colour'"),
        ("colour: tab:blue", "colour: 3", "mine.yaml:15: figures.0: colour: Input"),
        ("vision, backend: profile", "vision, backend: profil", "Did you mean 'profile'"),
        ("grid: }", "grid: {kind: grit}}", "Did you mean 'grid'"),
        ("grid: }", "tiles: }", "text, audio, video, array, grid"),
    ],
)  # fmt: skip
def test_a_name_or_key_that_is_not_there(
    installed: Path, experiment: Path, before: str, after: str, message: str
) -> None:
    experiment.write_text(experiment.read_text().replace(before, after, 1))

    with pytest.raises(ConfigError) as error:
        load_config(experiment)
    assert message in str(error.value)


def entries(site: Path, text: str) -> None:
    (file,) = site.glob("*.dist-info/entry_points.txt")
    file.write_text(text)
    plugins._installed.cache_clear()


def test_a_broken_package_fails_when_it_is_asked_for(installed: Path, rng: torch.Generator) -> None:
    x = torch.randn(8, 3, generator=rng)
    entries(
        installed,
        "[platorep.metrics]\ngone = platorep_example:gone\nlost = no_such_module:metric\n"
        "nothing =\n[platorep.figures]\nwrong = platorep_example:GRID\n",
    )

    assert platorep.score(x, x, k=2) == 1
    with pytest.raises(ConfigError, match=r"'gone' of the package .*1\.0: .*has no"):
        platorep.score(x, x, metric="gone")
    with pytest.raises(ConfigError, match=r"no_such_module.*Update the package"):
        platorep.score(x, x, metric="lost")
    found = CliRunner().invoke(app, ["list", "metrics", "--json"])
    assert found.exit_code == 0
    assert len(json.loads(found.stdout)) == len(platorep.list_metrics()) - 3
    told = [line for line in found.stderr.splitlines() if "platorep-example 1.0" in line]
    assert len(told) == 3
    found = CliRunner().invoke(app, ["list", "figures", "--json"])
    assert "figure 'wrong'" in found.stderr
    assert "expected a platorep.plots.Figure" in found.stderr


def test_a_built_in_name_stays_what_it_is(installed: Path, rng: torch.Generator) -> None:
    x, y = torch.randn(2, 8, 3, generator=rng)
    before = platorep.score(x, y, metric="cka")
    entries(installed, "[platorep.metrics]\ncka = platorep_example:distance_agreement\n")

    assert platorep.score(x, y, metric="cka") == before
    found = CliRunner().invoke(app, ["list", "metrics", "cka", "--json"])
    assert "'cka' of the package platorep-example 1.0 is left out" in found.stderr
    (row,) = json.loads(found.stdout)
    assert "package" not in row


def test_two_packages_with_one_name(installed: Path, rng: torch.Generator) -> None:
    (about,) = installed.glob("*.dist-info")
    other = shutil.copytree(about, about.with_name("other-2.0.dist-info"))
    text = (other / "METADATA").read_text()
    text = text.replace("Name: platorep-example", "Name: other").replace("1.0", "2.0")
    (other / "METADATA").write_text(text)
    plugins._installed.cache_clear()

    with pytest.raises(ConfigError, match=r"both .*other 2\.0 have|both other 2\.0 and"):
        platorep.score(torch.eye(8), torch.eye(8), metric="distance_agreement")
