"""Bundles: what goes in comes out, and scores from neighbor lists are those of the features."""

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hub_server import Hub, serve
from huggingface_hub import DatasetCard, constants
from runs import run_of
from typer.testing import CliRunner

from platorep.align import align
from platorep.align.own import score_file
from platorep.bundles import find_bundle
from platorep.bundles.lists import BundledLists, Ordered, ordered, write_lists
from platorep.cli import app
from platorep.config import ExperimentConfig, load_config
from platorep.errors import AbsentError, ConfigError, IntegrityError, UnknownNameError
from platorep.extraction import extract
from platorep.metrics.layer import Layer
from platorep.metrics.nearest import Nearest, search
from platorep.opened import Opened, open_results
from platorep.packing import Choice, open_bundle, pack
from platorep.packing.card import results_text
from platorep.packing.opening import bundled_run
from platorep.packing.pack import said
from platorep.report.building import build_content
from platorep.reporting import Reporter
from platorep.results import Results, cell_settings
from platorep.run import Options, Run

FROZEN = Path(__file__).parent / "data" / "0.1.0"
OLD = Path(__file__).parent / "data" / "bundle-1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished experiment that computes nothing: the one of 0.1.0, and three metrics of it."""
    folder = tmp_path_factory.mktemp("packed") / "0.1.0"
    shutil.copytree(FROZEN, folder)
    more = "align.metrics=[{name: mutual_knn, k: 3}, {name: cycle_knn, k: 2}, cka]"
    config = load_config(folder / "experiment.yaml", [more, "align.preprocess=paper"])
    return run_of(config, Results(folder / "results/frozen", "frozen"), folder / "cache")


@pytest.fixture(scope="module")
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(run, tmp_path_factory.mktemp("whole") / "b", Choice(licence="cc0-1.0"))[0]


@pytest.fixture(scope="module")
def lists(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("lists") / "b.zip"
    return pack(run, target, Choice(features="none", licence="cc0-1.0"))[0]


@pytest.fixture
def mine(run: Run, tmp_path: Path) -> Path:
    """The features of a model of the experiment, its rows in another order."""
    features = Opened(run).features("conv4")
    order = np.random.default_rng(0).permutation(len(features.ids))
    layers = {f"layer{i}": layer[order].numpy() for i, layer in enumerate(features.layers)}
    np.savez(tmp_path / "mine.npz", **layers, ids=np.array(features.ids)[order])
    return tmp_path / "mine.npz"


def scores(run: Run, file: Path) -> tuple[pd.DataFrame, list[str]]:
    failures, table = score_file(run, file)
    return table.set_index(["y", "metric"])["score"], [str(error) for error in failures.all]


def of_bundle(path: Path, output: Path) -> Run:
    return bundled_run(
        find_bundle(path), output=output, options=Options(device="cpu"), report=Reporter(-1)
    )


def test_tables_and_features_come_out_as_they_went_in(run: Run, whole: Path) -> None:
    before, after = Opened(run), open_bundle(whole)
    for name in ("best", "scores", "performance", "models"):
        pd.testing.assert_frame_equal(getattr(after, name), getattr(before, name))
    for model in ("llama8", "conv4"):
        one, other = before.features(model), after.features(model)
        assert (one.names, one.ids) == (other.names, other.ids)
        for x, y in zip(one.layers, other.layers, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_scores_are_those_of_the_experiment(
    run: Run, whole: Path, lists: Path, mine: Path, tmp_path: Path
) -> None:
    expected, _ = scores(run, mine)
    assert expected["conv4", "mutual_knn{k: 3}"] == 1
    of_features, errors = scores(of_bundle(whole, tmp_path / "a"), mine)
    pd.testing.assert_series_equal(of_features, expected, check_exact=True)
    assert not errors
    of_lists, errors = scores(of_bundle(lists, tmp_path / "b"), mine)
    on_sets = expected[expected.index.get_level_values("metric").str.contains("knn")]
    pd.testing.assert_series_equal(of_lists, on_sets, check_exact=True)
    assert len(errors) == 3
    assert all("cka" in error and "needs features" in error for error in errors)


def test_more_neighbors_than_there_are_is_told(lists: Path, mine: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app,
        ["score", str(mine), str(lists), "--set", "align.metrics=[{name: mutual_knn, k: 4}]"],
    )
    assert said.exit_code == AbsentError.exit_code
    assert "holds 3 neighbors of each row, asked for are 4" in said.stderr.replace("\n", " ")
    assert "--neighbors 4" in said.stderr


def test_an_opened_bundle_tells_the_same_neighbors(run: Run, lists: Path) -> None:
    before = Opened(run).neighbors("llama8", "conv4")
    after = open_bundle(lists).neighbors("llama8", "conv4")
    np.testing.assert_array_equal(before.x, after.x)
    np.testing.assert_array_equal(before.y, after.y)
    np.testing.assert_array_equal(before.agreement, after.agreement)
    with pytest.raises(AbsentError, match="holds neighbor lists, no features of conv4"):
        open_bundle(lists).features("conv4")


def test_archives_of_the_same_content_are_the_same_bytes(
    run: Run, lists: Path, tmp_path: Path
) -> None:
    again, _ = pack(run, tmp_path / "again.zip", Choice(features="none", licence="cc0-1.0"))
    assert again.read_bytes() == lists.read_bytes()
    with zipfile.ZipFile(again) as archive:
        names = archive.namelist()
        assert names[0] == "bundle.json"
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    listed = json.loads(zipfile.ZipFile(again).read("bundle.json"))["files"]
    assert {file["path"] for file in listed} == {*names} - {"bundle.json", "README.md"}


def test_a_bundle_does_not_tell_where_files_lay(run: Run, whole: Path, tmp_path: Path) -> None:
    places = ("/frozen/", str(run.root), str(run.results.folder), f"{Path.home()}/")
    assert "/frozen/" in run.results.run.read_text(encoding="utf-8")
    for path in whole.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".yaml", ".md", ".csv"):
            text = path.read_text(encoding="utf-8")
            assert not any(place in text for place in places), path


def test_settings_come_out_as_they_went_in(run: Run, whole: Path) -> None:
    opened = open_bundle(whole).run.config
    scored = Opened(run).align
    assert opened.align.preprocess == scored.preprocess == run.config.align.preprocess
    assert opened.align.metrics == run.config.align.metrics
    assert said(opened, scored) == said(run.config, scored)
    for before, after in zip(run.config.models(), opened.models(), strict=True):
        assert cell_settings(run.config, before) == cell_settings(opened, after)


def test_what_is_done_to_features_is_what_was_done_then(run: Run, mine: Path) -> None:
    """Whatever the experiment's file leaves to defaults."""
    later = load_config(run.root.parent / "experiment.yaml")
    assert later.align.preprocess != run.config.align.preprocess
    target = mine.with_name("later.zip")
    pack(dataclasses.replace(run, config=later), target, Choice(features="none", licence="x"))
    found, _ = scores(of_bundle(target, mine.with_name("out")), mine)
    expected, _ = scores(run, mine)
    label = "conv4", "mutual_knn{k: 3}"
    assert found[label] == expected[label] == 1
    center = ["--set", "align.preprocess.center=after"]
    ended = CliRunner().invoke(app, ["score", str(mine), str(target), *center])
    assert (ended.exit_code, "no effect on neighbor lists" in ended.stderr) == (2, True)


def test_texts_and_pictures_stay_at_home_unless_asked(whole: Path) -> None:
    assert not list(whole.glob("shown*"))
    card = (whole / "README.md").read_text(encoding="utf-8")
    assert "Texts of the rows are not inside." in card


def test_what_is_asked_for_of_the_rows_is_shown_in_a_report(run: Run, tmp_path: Path) -> None:
    choice = Choice(features="none", texts=True, images=True, licence="cc0-1.0")
    target, about = pack(run, tmp_path / "shown.zip", choice)
    assert {file.path for file in about.listed("shown")} == {
        "shown/texts.parquet",
        "shown/images.parquet",
    }
    captions = run.root.glob("toyworld/pairs-*/captions.csv")
    caption = pd.read_csv(next(captions))["caption"].iloc[0]
    content = build_content(Opened(of_bundle(target, tmp_path / "out")), "")
    assert content.rows[0].texts["text"] == caption
    assert content.rows[0].pictures["image"].startswith("data:image/webp;base64,")
    assert "Texts of the rows are inside." in zipfile.ZipFile(target).read("README.md").decode()


def test_the_card_is_one_that_the_hub_reads(whole: Path) -> None:
    card = DatasetCard.load(whole / "README.md")
    assert card.data.license == "cc0-1.0"
    assert "platorep" in (card.data.tags or [])
    said = yaml.safe_load((whole / "README.md").read_text(encoding="utf-8").split("---")[1])
    for config in said["configs"]:
        assert (whole / config["data_files"]).is_file()
    best = pd.read_csv(whole / "results/best.csv")
    assert f"{best[best['control'].isna()]['score'].max():.4g}" in card.text


def test_bundles_are_refused_where_they_would_be_overwritten(whole: Path, run: Run) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        pack(run, whole, Choice())
    with pytest.raises(ConfigError, match=r"ends in \.zip"):
        pack(run, whole.with_name("b.tar"), Choice())
    with pytest.raises(ConfigError, match="licence"):
        pack(run, whole.with_name("c"), Choice(licence="Free for all!"))
    with pytest.raises(ConfigError, match=r"is a bundle\. Open it by `platorep\.open_bundle"):
        open_results(whole)
    ended = CliRunner().invoke(app, ["align", str(whole)])
    assert ended.exit_code == 2
    assert "is a bundle" in ended.stderr


def test_figures_are_drawn_beside_a_bundle_and_not_in_it(whole: Path, tmp_path: Path) -> None:
    before = sorted(path for path in whole.rglob("*"))
    figures = ["--set", "figures=[{kind: heatmap}]", "--output", str(tmp_path / "out")]
    ended = CliRunner().invoke(app, ["plot", str(whole), *figures])
    assert ended.exit_code == 0, ended.stderr
    assert (tmp_path / "out/figures/heatmap.png").is_file()
    assert sorted(path for path in whole.rglob("*")) == before


def test_the_card_calls_no_baseline_trained(whole: Path) -> None:
    opened = open_bundle(whole)
    assert "conv4" in results_text(opened)
    models = opened.models.assign(baseline=opened.models["label"] == "conv4")
    opened.tables = dataclasses.replace(opened.tables, models=models)
    assert "conv4" not in results_text(opened)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and an empty cache: what HF_ENDPOINT and HF_HOME set, were they set before import."""
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield hub


def test_one_from_the_hub_is_read_by_name_and_revision(
    lists: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(lists) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    commit = hub.commit("me/mine", "v1", files | {".gitattributes": b"", "extra.bin": b"x"})
    hub.commit("me/mine", "main", {"README.md": b"emptied"})
    found = find_bundle("hub:me/mine@v1")
    assert (found.revision, found.about.experiment) == (commit, "frozen")
    assert not any("extra.bin" in asked for asked in hub.requests)
    hub.fault = "500"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_bundle("me/mine", revision="v1").best["score"].notna().all()
    with pytest.raises(AbsentError, match="not, or not whole, in the local cache"):
        find_bundle("hub:me/mine@v2")


def test_one_on_the_hub_that_is_no_bundle_or_lacks_a_file_is_told(lists: Path, hub: Hub) -> None:
    hub.commit("me/other", "main", {"README.md": b"words"})
    with pytest.raises(IntegrityError, match=r"'me/other' is no bundle: it has no bundle\.json"):
        find_bundle("hub:me/other")
    with zipfile.ZipFile(lists) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    del files["results/best.csv"]
    hub.commit("me/cut", "main", files)
    with pytest.raises(IntegrityError, match=r"results/best\.csv has None bytes on the hub"):
        find_bundle("hub:me/cut")
    with pytest.raises(AbsentError, match="neither"):
        find_bundle("hub:me/nothing")


def beside(run: Run, bundle: Path, output: Path, **family: Any) -> Run:
    """An experiment of one's own on the same rows: recordings, beside a model of the bundle."""
    own = {"name": "V1", "modality": "other", "models": [str(run.root.parent / "v1.npz")]}
    theirs = {"name": "theirs", "modality": "vision", "models": [{"name": "conv4"}]}
    theirs |= {"backend": "bundle", "bundle": str(bundle)} | family
    settings = {"metrics": [{"name": "mutual_knn", "k": 3}], "preprocess": "paper"}
    settings |= {"null": {"permutations": 0}, "gallery": {"queries": 12, "sizes": [12], "k": [3]}}
    said = {
        "name": "beside",
        "dataset": {"source": "toyworld", "limit": 24},
        "families": [own, theirs],
        "align": settings | {"pairs": [[{"family": "V1"}, {"family": "theirs"}]]},
    }
    made = ExperimentConfig.model_validate(said)
    return run_of(made, output, output.parent / "cache")


def test_models_of_a_bundle_stand_beside_one_s_own(run: Run, whole: Path, tmp_path: Path) -> None:
    """Their features, under their keys; the score is that of the experiment that they are from."""
    own = beside(run, whole, tmp_path / "results")
    assert not extract(own).all
    failures, best = align(own)
    assert not failures.all
    keys = run.results.read_json(run.results.cells, "extract")["cells"]
    found = own.results.read_json(own.results.cells, "extract")["cells"]
    assert found["conv4"]["key"] == keys["conv4"]["key"]
    for one, other in zip(
        Opened(own).features("conv4").layers, Opened(run).features("conv4").layers, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    before = Opened(run).best.set_index(["x", "y", "control", "metric"])["score"]
    assert best["score"].item() == before["v1.npz", "conv4", "", "mutual_knn{k: 3}"]


def test_models_of_a_bundle_are_refused_for_other_rows(
    run: Run, whole: Path, lists: Path, tmp_path: Path
) -> None:
    fewer = beside(run, whole, tmp_path / "fewer")
    dataset = fewer.config.dataset.model_copy(update={"limit": 20})
    config = fewer.config.model_copy(update={"dataset": dataset})
    specs = [spec for spec in config.models() if spec.backend == "bundle"]
    with pytest.raises(IntegrityError, match="24 rows, the data set has 20"):
        extract(dataclasses.replace(fewer, config=config, specs=tuple(specs)))
    for bundle, changes, kind, why in (
        (lists, {}, AbsentError, "holds neighbor lists, no features of conv4"),
        (whole, {"modality": "other"}, IntegrityError, "belong to other rows"),
        (whole, {"models": ["conv5"]}, UnknownNameError, "'conv4'"),
    ):
        other = beside(run, bundle, tmp_path / "other", **changes)
        specs = [spec for spec in other.specs if spec.backend == "bundle"]
        with pytest.raises(kind, match=why):
            extract(dataclasses.replace(other, specs=tuple(specs)))


def test_ties_are_those_of_the_features_for_every_smaller_k(
    rng: torch.Generator, tmp_path: Path
) -> None:
    for similarity, center in (("cosine", False), ("euclidean", False), ("inner_product", True)):
        x = torch.randint(0, 3, (40, 3), generator=rng).float()
        made = ordered(Layer(x), 12, similarity, center=center)
        write_lists(tmp_path / "x.safetensors", {(similarity, center): [made]}, [("x", 3)])
        read = BundledLists(tmp_path / "x.safetensors").of_layer(0, similarity, center=center)
        for k in range(1, 13):
            same(read.nearest(k), search(Layer(x), similarity, center=center).nearest(k))


def same(found: Nearest, expected: Nearest) -> None:
    np.testing.assert_array_equal(found.neighbors, expected.neighbors)
    assert (found.ties is None) == (expected.ties is None)
    if found.ties is not None and expected.ties is not None:
        np.testing.assert_array_equal(found.ties.rows, expected.ties.rows)
        np.testing.assert_array_equal(found.ties.columns, expected.ties.columns)
        np.testing.assert_allclose(found.ties.weights, expected.ties.weights, rtol=0, atol=1e-15)


def test_lists_take_two_bytes_for_each_neighbor(rng: torch.Generator, tmp_path: Path) -> None:
    made = ordered(Layer(torch.randn(300, 8, generator=rng)), 10, "cosine", center=False)
    write_lists(tmp_path / "x.safetensors", {("cosine", False): [made]}, [("x", 8)])
    assert (tmp_path / "x.safetensors").stat().st_size < 2 * 300 * 10 + 1000


def test_row_65535_has_its_place_in_two_bytes(tmp_path: Path) -> None:
    n = 1 << 16
    neighbors = np.roll(np.arange(n), 1)[:, None]  # of row 0 the last
    none = np.empty(0, np.int64)
    made = Ordered(neighbors, none, np.empty((0, 1), np.int64), np.empty((0, 2), np.int64), None)
    write_lists(tmp_path / "x.safetensors", {("cosine", False): [made]}, [("x", 1)])
    assert (tmp_path / "x.safetensors").stat().st_size < 2 * n + 1000
    read = BundledLists(tmp_path / "x.safetensors").of_layer(0, "cosine", center=False)
    np.testing.assert_array_equal(read.neighbors, neighbors)


def test_a_bundle_of_the_first_format_is_read() -> None:
    opened = open_bundle(OLD)
    assert len(opened.ids) == 48
    best = opened.best[(opened.best["control"] == "")]
    found = opened.neighbors("llama8", "conv4")
    of_table = best[(best["x"] == "llama8") & (best["y"] == "conv4")]["score"].item()
    assert found.agreement.mean() == pytest.approx(of_table, abs=1e-12)
