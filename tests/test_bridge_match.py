"""Matching without pairs: the search, the items, and the command on arrays of one's own.

Axes: n items, d features.
"""

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from platorep.bridges.items import (
    draw_items,
    groups_of_rows,
    kernel_of,
    means,
    rarest_group,
    single_rows,
    whitened,
)
from platorep.bridges.matching import EQUAL, match, objective
from platorep.cli import app

RNG = np.random.default_rng
NUM = 240  # rows of the experiment
GROUPS = 8


def features(seed: int, n: int = 12, d: int = 6) -> np.ndarray:
    return RNG(seed).standard_normal((n, d)) * np.linspace(2, 0.5, d)


def turned(x: np.ndarray, noise: float, seed: int = 9) -> np.ndarray:
    """A rotated copy with noise of this share of its spread."""
    rotation = np.linalg.qr(RNG(seed).standard_normal((x.shape[1], x.shape[1])))[0]
    rotated: np.ndarray = x @ rotation + noise * x.std() * RNG(seed + 1).standard_normal(x.shape)
    return rotated


def accuracy(x: np.ndarray, y: np.ndarray, seed: int = 0, kernel: Any = "linear") -> float:
    found = match(kernel_of(x, kernel), kernel_of(y, kernel), restarts=8, rng=RNG(seed))
    return float((found.order == np.arange(len(x))).mean())


@pytest.mark.parametrize("kernel", ["linear", "debiased", "gaussian"])
def test_a_rotated_copy_is_matched(kernel: str) -> None:
    assert (
        np.mean([accuracy(features(s), turned(features(s), 0), s, kernel) for s in range(5)]) == 1
    )


def test_independent_items_are_at_chance() -> None:
    found = [accuracy(features(2 * s), features(2 * s + 1), s) for s in range(60)]
    assert abs(np.mean(found) - 1 / 12) < 4 / 12 / 60**0.5  # its standard deviation is 1/n


def test_noise_makes_it_worse_step_by_step() -> None:
    found = [
        np.mean([accuracy(features(s), turned(features(s), noise, s), s) for s in range(12)])
        for noise in (0.0, 0.3, 1.0, 4.0)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.95
    assert found[-1] < 0.3


def test_the_best_of_all_orders_of_seven_is_found() -> None:
    hits = 0
    orders = np.array(list(itertools.permutations(range(7))))
    for seed in range(12):
        x, y = (kernel_of(features(s, n=7), "debiased") for s in (2 * seed, 2 * seed + 1))
        found = match(x, y, restarts=64, rng=RNG(seed))
        ordered = y[orders[:, :, None], orders[:, None, :]]
        best = np.einsum("ij,rij->r", x, ordered).max() / np.linalg.norm(x) / np.linalg.norm(y)
        assert found.objective <= best + 1e-12
        hits += found.objective > best - EQUAL
    assert hits >= 11  # it is a search, and these two have nothing in common


def test_the_objective_is_that_of_the_order_and_no_swap_is_better() -> None:
    x, y = kernel_of(features(0), "linear"), kernel_of(features(1), "linear")
    found = match(x, 5 * y, restarts=2, rng=RNG(0))
    assert found.objective == pytest.approx(objective(x, y, found.order), abs=1e-12)
    for i, j in itertools.combinations(range(len(x)), 2):
        swapped = found.order.copy()
        swapped[[i, j]] = swapped[[j, i]]
        assert objective(x, y, swapped) <= found.objective + EQUAL


def test_the_order_of_the_items_tells_nothing() -> None:
    """Where every order is as good as every other, the one in which the items came is not found."""
    nothing = np.zeros((20, 20))
    found = [
        (match(nothing, nothing, restarts=2, rng=RNG(s)).order == np.arange(20)).mean()
        for s in range(40)
    ]
    assert np.mean(found) < 0.1
    gains = []
    for seed in range(40):
        x, order = features(seed), RNG(seed).permutation(12)
        y = turned(x, 0.5, seed)
        mixed = match(kernel_of(x, "linear"), kernel_of(y[order], "linear"), restarts=8, rng=RNG(1))
        gains.append((order[mixed.order] == np.arange(12)).mean() - accuracy(x, y, 1))
    assert abs(np.mean(gains)) < 3 * np.std(gains) / 40**0.5


def test_a_row_is_of_its_rarest_word_and_sides_share_no_row() -> None:
    members = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
    assert rarest_group(members).tolist() == [1, 0, 0, 2, -1]
    group = np.arange(NUM) % GROUPS
    items = groups_of_rows(list("abcdefgh"), group, RNG(0).permutation(NUM), 5, apart=True)
    assert set(np.concatenate(items.x)).isdisjoint(np.concatenate(items.y))
    for name, x, y in zip(items.names, items.x, items.y, strict=True):
        assert {"abcdefgh"[g] for g in group[[*x, *y]]} == {name}
        assert min(len(x), len(y)) >= 5


def test_groups_alone_tell_nothing_of_features_that_know_nothing() -> None:
    """Features of single rows drawn apart: words that share rows, and are of all sizes."""
    rng = RNG(3)
    members = rng.random((600, 10)) < np.linspace(0.1, 0.5, 10)
    group = rarest_group(members)
    items = groups_of_rows([str(i) for i in range(10)], group, rng.permutation(600), 8, apart=False)
    found = []
    for _ in range(40):
        x, y = (rng.standard_normal((600, 12)) for _ in "xy")
        found.append(accuracy(means(x, items.x, 8, rng), means(y, items.y, 8, rng)))
    assert abs(np.mean(found) - 1 / len(items)) < 4 / len(items) / 40**0.5


def test_the_null_takes_other_items_first() -> None:
    few, many = draw_items(10, 7, RNG(0)), draw_items(20, 7, RNG(0))
    assert len(set(few.unrelated) & set(few.items)) == 4
    assert not set(many.unrelated) & set(many.items)
    assert len(set(few.unrelated)) == 7
    assert single_rows(["a", "b", "c"], np.array([2, 0])).names == ("c", "a")


def test_whitened_features_have_one_variance() -> None:
    before, after = (z.var(axis=0) for z in (features(0, n=400), whitened(features(0, n=400))))
    assert before.max() > 10 * before.min()
    assert after.max() < 2 * after.min()


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models of one set of rows in eight groups: two alike, one knows nothing."""
    folder = tmp_path_factory.mktemp("match")
    ids = [f"{i:03d}.png" for i in range(NUM)]
    (folder / "data").mkdir()
    with (folder / "data" / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "caption"])
        writer.writerows([name, f"number {i} of kind{i % GROUPS}"] for i, name in enumerate(ids))
    for i, name in enumerate(ids):
        Image.new("RGB", (4, 4), (i % 256, i // 256, 0)).save(folder / "data" / name)
    group = np.arange(NUM) % GROUPS
    pd.DataFrame({"id": ids, "group": [f"g{g}" for g in group]}).to_csv(
        folder / "groups.csv", index=False
    )
    rows = features(0, GROUPS)[group] + 0.2 * RNG(1).standard_normal((NUM, 6))
    arrays = {"x": rows, "y": turned(rows, 0.05), "z": features(7, NUM)}
    families = []
    for name, array in arrays.items():
        np.savez(folder / f"{name}.npz", features=array.astype(np.float32), ids=np.array(ids))
        modality = "language" if name == "x" else "vision"
        families.append(
            {"name": name, "modality": modality, "backend": "features"}
            | {"models": [{"name": f"{name}.npz", "label": name}]}
        )
    raw = {
        "name": "small",
        "dataset": {"source": "data", "views": {"image": {}, "text": {"column": "caption"}}},
        "families": families,
        "align": {"pairs": [["language", "vision"]], "metrics": [{"name": "mutual_knn", "k": 5}]},
        "bridge": {
            "match": {
                "groups": "groups.csv",
                "kernel": "linear",
                "rows": 4,
                "choose": 0.1,
                "items": [5, 8],
                "subsets": 12,
                "restarts": 4,
            }
        },
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(raw))
    return folder


def run(folder: Path, *arguments: str, output: str = "out") -> Any:
    line = ["bridge", "match", str(folder / "experiment.yaml"), "--device", "cpu", *arguments]
    return CliRunner().invoke(app, [*line, "--output", str(folder / output)])


@pytest.fixture(autouse=True)
def _own_cache(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(experiment / "cache"))


def test_the_command_matches_a_copy_and_nothing_else_and_resumes(experiment: Path) -> None:
    done = run(experiment, "--json")
    assert done.exit_code == 0, done.output
    path = experiment / "out" / "bridge_match.csv"
    table = pd.read_csv(path).set_index(["y", "n"])
    assert (table["subsets_done"] == 12).all()
    assert (table[["found_true", "found_better", "missed"]].sum(axis=1) - 1).abs().max() < 1e-9
    assert table.loc["y", "accuracy"].min() > 0.8
    assert table.loc["z", "accuracy"].max() < 0.45
    assert table["null"].max() < 0.45
    before = path.read_bytes()
    again = run(experiment, "--overwrite", "never")
    assert again.exit_code == 0, again.output
    assert path.read_bytes() == before


def test_what_time_left_out_is_said(experiment: Path) -> None:
    done = run(experiment, "--set", "bridge.match.seconds=0.000001", output="hurried")
    assert done.exit_code == 0, done.output
    assert "1 of 12 subsets" in done.output
    table = pd.read_csv(experiment / "hurried" / "bridge_match.csv")
    assert (table["subsets_done"] == 1).all()


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ("bridge.match.items=[50]", 5, "50 items are to be matched, and 8 groups have 4 rows"),
        ("bridge.match.groups=place", 2, "only the toy world has places"),
        ("bridge.match.groups=nowhere.csv", 4, "there is no file"),
        ("bridge.match.words=[kind1]", 2, "not of both"),
        ("bridge.match.kernel=cubic", 2, "kernel"),
    ],
)
def test_bad_settings_are_refused(experiment: Path, settings: str, code: int, says: str) -> None:
    failed = run(experiment, "--set", settings, output="bad")
    assert failed.exit_code == code, failed.output
    assert says in " ".join(failed.output.split())


def test_words_and_single_rows_are_items(experiment: Path) -> None:
    words = [f"kind{g}" for g in range(GROUPS)]
    settings = ["--set", "bridge.match.groups=null", "--set", "bridge.match.items=[6]"]
    of_words = run(experiment, *settings, "--set", f"bridge.match.words={words}", output="words")
    assert of_words.exit_code == 0, of_words.output
    found = pd.read_csv(experiment / "words" / "bridge_match.csv").set_index("y")
    assert found.loc["y", "accuracy"] > 0.7
    single = run(experiment, *settings, "--set", "bridge.match.layers=last", output="rows")
    assert single.exit_code == 0, single.output
    assert pd.read_csv(experiment / "rows" / "bridge_match.csv")["rows_per_item"].eq(1).all()
