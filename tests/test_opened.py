"""A finished experiment, looked at: its numbers are those of the tables and the cache."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from runs import run_of

import platorep
from platorep.config import ExperimentConfig, load_config, shipped_configs
from platorep.config.recorded import recorded_config
from platorep.errors import AbsentError, ConfigError, UnknownNameError
from platorep.execute import align_stage, run_stages
from platorep.files import write_json
from platorep.opened import Opened
from platorep.plots.summary import summary_html
from platorep.reporting import Reporter


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    families = [
        {"name": "tiny Llamas", "modality": "language", "models": ["llama8"]},
        {"name": "tiny ResNets", "modality": "vision", "models": ["conv4"]},
    ]
    config = ExperimentConfig.model_validate(
        {
            "name": "opened",
            "dataset": {"source": "toyworld", "limit": 48},
            "families": [f | {"backend": "toyworld", "training": {"steps": 0}} for f in families],
            "align": {"metrics": [{"name": "mutual_knn", "k": 5}], "null": {"permutations": 9}},
            "report": {"after_run": False},
        }
    )
    folder = tmp_path_factory.mktemp("opened")
    run = run_of(config, folder / "results", folder / "cache")
    errors, _ = run_stages(run)
    assert not errors
    return Opened(run)


def test_neighbors_are_those_that_a_plain_search_finds(opened: Opened) -> None:
    found = opened.neighbors("llama8", "conv4")
    for model, layer, lists in (
        ("llama8", found.layer_x, found.x),
        ("conv4", found.layer_y, found.y),
    ):
        features = torch.nn.functional.normalize(opened.layers(model)[layer].double())
        similar = (features @ features.T).fill_diagonal_(-2.0)
        np.testing.assert_array_equal(lists, similar.topk(5, dim=1).indices.numpy())


def test_agreement_is_the_share_of_common_neighbors_and_its_mean_the_score(opened: Opened) -> None:
    found = opened.neighbors("llama8", "conv4")
    by_hand = [len({*a} & {*b}) / 5 for a, b in zip(found.x, found.y, strict=True)]
    np.testing.assert_allclose(found.agreement, by_hand)
    assert found.agreement.mean() == pytest.approx(opened.best["score"].iloc[0])


def test_other_neighbors_can_be_asked_for(opened: Opened) -> None:
    found = opened.neighbors("llama8", "conv4", k=3, layer_x=0, layer_y=1)
    assert (found.layer_x, found.layer_y) == (0, 1)
    assert found.x.shape == found.y.shape == (48, 3)
    assert list(found.ids) == list(opened.features("conv4").ids)


def test_models_that_make_no_pair_are_refused_before_any_work(opened: Opened) -> None:
    one_side = replace(opened.run, specs=opened.run.specs[:1])
    before = opened.results.run.read_bytes()
    with pytest.raises(ConfigError, match=r"no two .* make a pair; they are of modality language"):
        run_stages(one_side)
    assert opened.results.run.read_bytes() == before


def test_a_setting_that_an_older_version_lacked_is_no_change(
    opened: Opened, tmp_path: Path
) -> None:
    shutil.copytree(opened.results.folder, tmp_path / "results")
    results = replace(opened.results, folder=tmp_path / "results")

    def aligned(change: Callable[[dict[str, Any]], None]) -> list[str]:
        results.update_json(results.run, lambda run: change(run["config"]["families"][0]))
        report = Reporter(-1)
        align_stage(replace(opened.run, results=results, report=report))
        return [said for said in report.warnings if "changed since" in said]

    assert aligned(lambda family: family.pop("bundle")) == []
    (said,) = aligned(lambda family: family.update(pool="last"))
    assert said.startswith("families changed since these features were extracted")


def test_unknown_models_and_pairs_are_told(opened: Opened) -> None:
    with pytest.raises(UnknownNameError, match=r"llama9.*llama8"):
        opened.neighbors("llama9", "conv4")
    with pytest.raises(AbsentError, match="conv4 x llama8 is no pair"):
        opened.neighbors("conv4", "llama8")


def test_a_folder_of_results_is_enough(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(opened.run.root))
    found = platorep.open_results(opened.results.folder)

    assert found.run.config == opened.run.config
    pd.testing.assert_frame_equal(found.best, opened.best)
    np.testing.assert_array_equal(
        found.neighbors("llama8", "conv4").x, opened.neighbors("llama8", "conv4").x
    )
    assert found.features("conv4").names == opened.features("conv4").names
    with pytest.raises(AbsentError, match="platorep extract"):
        platorep.open_results(opened.results.folder / "none")


@pytest.mark.parametrize(
    "change", [lambda run: run.pop("config"), lambda run: run["config"].clear()]
)
def test_settings_that_cannot_be_read_are_told(
    tmp_path: Path, opened: Opened, change: Callable[[dict[str, Any]], Any]
) -> None:
    run = json.loads(opened.results.run.read_text())
    del run["seal"]
    change(run)
    write_json(tmp_path / "run.json", run)

    with pytest.raises(ConfigError, match=r"(?s)cannot be read as an exp.*with its file again"):
        platorep.open_results(tmp_path)


def test_settings_come_back_as_they_were() -> None:
    """Of every shipped experiment: the same models with the same settings, the same everything."""
    for path in shipped_configs().values():
        config = load_config(path)
        settings = json.loads(json.dumps(config.model_dump(mode="json")))
        again = recorded_config(settings)
        assert again.model_dump(mode="json") == settings
        assert again.models() == config.models()


def test_figures_are_drawn_with_parameters(opened: Opened) -> None:
    figure = opened.figure("layer_heatmap", pair=("llama8", "conv4"))
    texts = " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))

    assert "llama8" in texts
    assert "conv4" in texts
    for parameters, message in (
        ({"kind": "scalings"}, "Did you mean 'scaling'"),
        ({"kind": "scaling", "xx": 1}, "figure 'scaling': unknown key 'xx'. Did you mean 'x'"),
        ({"kind": "scaling", "x": 1}, "figure 'scaling': x: Input should be a valid string"),
    ):
        with pytest.raises(ConfigError) as error:
            opened.figure(**parameters)
        assert message in str(error.value)


def test_a_notebook_shows_the_best_pairs_of_trained_models(opened: Opened) -> None:
    html = opened._repr_html_()
    assert "2 models, 48 rows of toyworld" in html
    assert f"{opened.best['score'].iloc[0]:.3f}" in html

    tables = opened.tables
    hostile = "<script>alert(1)</script>"
    named = replace(
        tables,
        best=tables.best.replace("llama8", hostile),
        models=tables.models.replace("llama8", hostile),
    )
    assert "<script" not in summary_html(hostile, named, 48)
    assert "&lt;script&gt;" in summary_html("e", named, 48)
    random = replace(tables, models=tables.models.assign(random=[True, False]))
    assert "no two trained models" in summary_html("e", random, 48)


def test_the_notebook_of_the_docs_runs(tmp_path: Path) -> None:
    file = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
    notebook = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # of the repository

    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output.data for output in outputs if "data" in output]
    assert "4 models, 64 rows of toyworld" in shown[0]["text/html"]
    assert any("image/png" in data for data in shown)
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    best = pd.read_csv(tmp_path / "results" / "smoke" / "best.csv")
    mean = shown[2]["text/plain"].removeprefix("np.float64(").removesuffix(")")
    assert float(mean) == pytest.approx(best.loc[best["control"].isna(), "score"].max())
    assert "ScoreWithNull(score=" in printed
