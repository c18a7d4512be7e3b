"""Alignment against how much captions say, from YAML to PNG: tables, cells, the figure's points."""

import importlib.util
import shutil
from pathlib import Path
from statistics import mean, stdev

import matplotlib.image as mpl_image
import numpy as np
import pandas as pd
import pytest
import yaml
from processes import Ended, Forks
from test_views import COLUMNS, VIEWS, caption_folder

from platorep.files import read_sealed, write_sealed
from platorep.parameters.toyworld import parse_network
from platorep.toyworld.checkpoints import write_untrained

BLURRED = {"of": "image", "change": "blur"}


@pytest.fixture(scope="module")
def ran(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `density.yaml` was run by the command itself."""
    base = tmp_path_factory.mktemp("density")
    caption_folder(base / "pairs", 24)
    for name in ("llama8", "llama16", "conv4", "conv8"):
        write_untrained(base / name, parse_network(name))
    raw = {
        "name": "density",
        "dataset": {"source": "pairs", "views": VIEWS | {"blurred": BLURRED}},
        "families": [
            {"name": "small", "modality": "language", "reads": COLUMNS, "models": ["llama8"]},
            {"name": "large", "modality": "language", "reads": COLUMNS, "models": ["llama16"]},
            {"name": "V", "modality": "vision", "models": ["local-dir:conv4", "local-dir:conv8"]},
        ],
        "extract": {"workers": 0},
        "performance": [{"name": "bits_per_byte", "source": "captions"}],
        # Short captions of so few scenes are often alike, and neighbors would be left out for it.
        "align": {
            "metrics": [{"name": "cka", "kernel": "linear", "estimator": "debiased"}],
            "null": {"permutations": 9},
        },
        "controls": {"random_weights": True, "shuffled_pairs": True, "changed_views": True},
        "report": {"after_run": False},
        "figures": [
            {"kind": "density"},
            {"kind": "density", "name": "two", "views": ["long", "short"], "controls": False},
            {"kind": "heatmap"},
        ],
    }
    (base / "density.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    run = command(forks, base, "run", "density.yaml", "-v")
    assert run.code == 0, run.stderr
    (base / "log.txt").write_text(run.stderr)
    return base


def command(forks: Forks, base: Path, *arguments: str) -> Ended:
    return forks.run(*arguments, folder=base, cache=base / "cache")


def test_the_figure_shows_the_tables(ran: Path) -> None:
    results = ran / "results" / "density"
    best = pd.read_csv(results / "best.csv", keep_default_na=False).astype({"score": float})
    points = pd.read_csv(results / "figures" / "density.csv", keep_default_na=False)
    captions = pd.read_csv(ran / "pairs" / "captions.csv")

    def scores(view: str, *, control: str = "", x_random: bool = False, y_random: bool = False,
               models: tuple[str, ...] = ("llama8", "llama16")) -> list[float]:  # fmt: skip
        labels = [f"{name} ({view}){' (random)' if x_random else ''}" for name in models]
        rows = best[best["x"].isin(labels) & (best["control"] == control)]
        rows = rows[rows["y_random"].astype(str) == str(y_random)]
        rows = rows[~rows["y"].str.contains("blurred")]
        assert len(rows) == 2 * len(models)
        return list(rows["score"])

    def shown(role: str, family: str = "") -> pd.DataFrame:
        rows = points[(points["role"] == role) & (points["family"] == family)]
        return rows.set_index("view").astype({"score": float, "num_words": float})

    for view in COLUMNS:
        words = mean(len(text.split()) for text in captions[view])
        assert set(points.loc[points["view"] == view, "num_words"]) == {words}
        found, own = shown("mean").loc[view], scores(view)
        assert found["score"] == pytest.approx(mean(own))
        assert float(found["high"]) - found["score"] == pytest.approx(stdev(own) / 4**0.5)
        assert found["score"] - float(found["low"]) == pytest.approx(stdev(own) / 4**0.5)
        assert int(found["num_pairs"]) == 4
        for family, model in (("small", "llama8"), ("large", "llama16")):
            expected = mean(scores(view, models=(model,)))
            assert shown("family", family).loc[view, "score"] == pytest.approx(expected)
        for role, kind in (
            ("random language", {"x_random": True}),
            ("random other", {"y_random": True}),
            ("shuffled", {"control": "shuffled"}),
        ):
            expected = mean(scores(view, **kind))  # type: ignore[arg-type]
            assert shown(role).loc[view, "score"] == pytest.approx(expected)
        assert shown("chance").loc[view, "score"] == pytest.approx(float(best["chance"].iloc[0]))
        pairs = points[(points["role"] == "pair") & (points["view"] == view)]
        assert sorted(pairs["score"].astype(float)) == pytest.approx(sorted(own))
    two = pd.read_csv(results / "figures" / "two.csv")
    assert set(two["view"]) == {"long", "short"}
    assert set(two["role"]) == {"mean", "family", "pair", "chance"}


def test_the_script_tells_the_same(ran: Path) -> None:
    """That for finished runs of the toy world, whose tables are these."""
    results = ran / "results" / "density"
    path = Path(__file__).parents[1] / "scripts" / "check_toyworld.py"
    spec = importlib.util.spec_from_file_location("check_toyworld", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    table, pairs = script.Table(), script.read_pairs(results)

    assert not pairs["y"].str.contains("blurred").any()  # controls on changed views
    script.density(pairs, results, table)

    points = pd.read_csv(results / "figures" / "density.csv")
    told = {what.split(",")[0]: value for what, value, *_ in table.rows if "mean of 4" in what}
    means = points[points["role"] == "mean"].set_index("view")["score"]
    random = points[points["role"] == "random language"].set_index("view")["score"]
    shuffled = points[points["role"] == "shuffled"].set_index("view")["score"]
    assert told == {
        view: f"{means[view]:.3f} (random language models {random[view]:.3f}, "
        f"shuffled {shuffled[view]:.3f})"
        for view in COLUMNS
    }


def test_the_picture_is_drawn(ran: Path) -> None:
    image = mpl_image.imread(ran / "results" / "density" / "figures" / "density.png")

    assert image.shape[1] == pytest.approx(3.3 * 300, abs=3)
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 100


def test_tables_say_what_was_read(ran: Path) -> None:
    results = ran / "results" / "density"
    models = pd.read_csv(results / "models.csv", keep_default_na=False).set_index("label")
    captions = pd.read_csv(ran / "pairs" / "captions.csv")
    rows = pd.read_parquet(results / "rows.parquet")

    for name in COLUMNS:
        words = mean(len(text.split()) for text in captions[name])
        for label in (f"llama8 ({name})", f"llama16 ({name}) (random)"):
            assert models.loc[label, "view"] == name
            assert float(models.loc[label, "num_words"]) == pytest.approx(words)
    assert list(rows) == ["id", *(f"{name}_sha256" for name in ("image", *COLUMNS, "blurred"))]
    assert list(models.loc["conv4", ["view", "num_words", "changed_of"]]) == ["image", "", ""]
    assert list(models.loc["conv4 (blurred)", ["view", "changed_of"]]) == ["blurred", "conv4"]
    assert models.loc["llama8 (long) (random)", "random_of"] == "llama8 (long)"
    cells = read_sealed(results / "cells.json", of="density", cure="")["cells"]
    assert {label: cell["view"] for label, cell in cells.items()} == models["view"].to_dict()


def test_each_view_is_extracted_once_for_each_model(forks: Forks, ran: Path) -> None:
    wrote = [line for line in (ran / "log.txt").read_text().splitlines() if "wrote shard" in line]

    # language x views x random; vision x (random and blurred)
    assert len(wrote) == 2 * 3 * 2 + 2 * 3
    again = command(forks, ran, "run", "density.yaml", "-v")
    assert "wrote shard" not in again.stderr


def test_bits_per_byte_are_of_what_the_model_reads(ran: Path) -> None:
    table = pd.read_csv(ran / "results" / "density" / "performance.csv").set_index("model")
    captions = pd.read_csv(ran / "pairs" / "captions.csv")

    for name in COLUMNS:
        num_bytes = sum(len(text.encode()) for text in captions[name])
        assert table.loc[f"llama8 ({name})", "num_bytes"] == num_bytes


def test_other_texts_under_the_same_name_are_refused(
    forks: Forks, ran: Path, tmp_path: Path
) -> None:
    base = tmp_path / "copy"
    shutil.copytree(ran, base)
    raw = yaml.safe_load((base / "density.yaml").read_text())
    cells = base / "results" / "density" / "cells.json"
    content = read_sealed(cells, of="density", cure="")
    short, long = (content["cells"][f"llama8 ({name})"] for name in ("short", "long"))
    short["folder"], long["folder"] = long["folder"], short["folder"]
    write_sealed(cells, content, of="density")

    swapped = command(forks, base, "align", "density.yaml", "--fail-fast")
    assert swapped.code == 5
    assert "llama8 (short)" in swapped.stderr
    assert "short_sha256" in swapped.stderr
    views = raw["dataset"]["views"]
    views["brief"] = views.pop("short")
    for family in raw["families"][:2]:
        family["reads"][0] = "brief"
    raw["figures"] = []
    (base / "density.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    renamed = command(forks, base, "align", "density.yaml", "--fail-fast", "--models", "*conv*")
    assert renamed.code != 0
    extracted = command(forks, base, "extract", "density.yaml", "-v")
    assert extracted.code == 0, extracted.stderr
    assert "wrote shard" not in extracted.stderr  # another name is no other text
