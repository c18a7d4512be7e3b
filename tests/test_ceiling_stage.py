"""Ceilings in the align stage, on small cells made by hand: of which rows, layers and files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from runs import run_of
from torch import Tensor

from platorep.align import align
from platorep.config import ExperimentConfig
from platorep.errors import NotComputedError
from platorep.features import CellKey, RowIdentities, cell_of
from platorep.files import write_json
from platorep.metrics import bind
from platorep.results import Results
from platorep.statistics import (
    THRESHOLD,
    Agreement,
    interval_of_subsamples,
    noise_ceiling,
    subsamples,
)

N, K = 60, 5
IDS = tuple(f"row-{i}" for i in range(N))
COMMON = torch.randn(N, 8, generator=torch.Generator().manual_seed(0))


def observed(seed: int, noise: float) -> list[Tensor]:
    """Two layers: of nothing, and of what all have in common, seen through noise."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(N, 4, generator=rng), COMMON + noise * torch.randn(N, 8, generator=rng)]


SEEN = {
    "words": observed(1, 0.3),
    "words (text_1)": observed(2, 0.3),
    "words (text_2)": observed(3, 0.3),
    "letters": observed(4, 0.5),
    "letters (text_1)": observed(5, 0.5),
    "letters (text_2)": observed(6, 0.5),
    "eyes": observed(7, 0.2),
}
CONFIG: dict[str, Any] = {
    "name": "test",
    "dataset": {
        "source": "photos",
        "views": {"image": {}} | {v: {"kind": "text"} for v in ("text", "text_1", "text_2")},
    },
    "families": [
        {
            "name": "readers",
            "modality": "language",
            "reads": ["text"],
            "models": ["words", "letters"],
        },
        {"name": "viewers", "modality": "vision", "models": ["eyes"]},
    ],
    "controls": {"shuffled_pairs": True},
    "align": {
        "preprocess": {"clip_quantile": 1.0, "normalize": "none", "center": "none"},
        "metrics": [
            {"name": "mutual_knn", "k": K},
            {"name": "cka", "kernel": "linear", "estimator": "biased"},
        ],
        "null": {"permutations": 0},
        "repeats": {"text": ["text_1", "text_2"]},
        "ceiling": {"draws": 3},
    },
}


class Bench:
    def __init__(self, folder: Path, seen: Mapping[str, Sequence[Tensor]] = SEEN) -> None:
        self.root, self.results = folder, Results(folder / "results")
        rows = RowIdentities(ids=IDS, hashes=("",) * N)
        cells = {}
        for label, layers in seen.items():
            key = CellKey(
                model={"name": label},
                rows=rows.fingerprint,
                compute_dtype="float32",
                store_dtype="float32",
            )
            cell = cell_of(folder, "data", label, key)
            cell.create(key, rows, [(str(i), f.shape[1]) for i, f in enumerate(layers)], N, {})
            cell.write_shard(0, layers)
            cells[label] = {"folder": cell.folder.relative_to(folder).as_posix()}
        self.cells = cells
        write_json(self.results.cells, {"cells": cells})
        facts = {"name": "data", "num_rows": N, "fingerprint": "f"}
        write_json(self.results.run, {"dataset": facts})
        hashes = {f"{v}_sha256": [""] * N for v in ("image", "text", "text_1", "text_2")}
        self.results.write_table(self.results.rows, pd.DataFrame({"id": IDS, **hashes}), {})

    def align(self, **options: Any) -> Any:
        """The failures and best.csv, by pair, of rows that are not shuffled."""
        config = ExperimentConfig.model_validate(CONFIG)
        failures, best = align(run_of(config, self.results, self.root, **options))
        return failures, best

    def pieces(self) -> dict[str, float]:
        return {p.name: p.stat().st_mtime for p in self.results.parts.glob("ceiling*")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def by_hand(label: str) -> dict[str, float]:
    """The ceiling of a reader and the viewer at their second layers, of neighbors."""
    metric = bind("mutual_knn", {"k": K})
    found = []
    for rows in (None, *subsamples(N, N // 2, 3, 0)):
        take = slice(None) if rows is None else torch.from_numpy(rows)
        x, *others, y = (
            metric.summarize(SEEN[name][1][take])
            for name in (label, f"{label} (text_1)", f"{label} (text_2)", "eyes")
        )
        grid = metric.compare([x, *others], [x, *others])
        chance = K / (x.n - 1)
        reliable = Agreement(float(np.mean(grid[np.triu_indices(3, 1)])), chance)
        score = Agreement(float(metric.compare([x], [y])[0, 0]), chance)
        found.append((reliable.score, noise_ceiling(score, reliable, None, THRESHOLD)))
    reliabilities, ceilings = zip(*found, strict=True)
    names = {"ceiling": "value", "share_of_ceiling": "share", "noise_free": "noise_free"}
    expected = {"reliability_x": reliabilities[0]}
    for column, name in names.items():
        whole, *parts = (getattr(one, name) for one in ceilings)
        ends = interval_of_subsamples(whole, np.array(parts), n=N, size=N // 2)
        expected |= {column: whole, f"{column}_low": ends.low, f"{column}_high": ends.high}
    return expected


def test_each_pair_gets_the_ceiling_of_its_chosen_layers(bench: Bench) -> None:
    failures, best = bench.align()

    assert not failures.errors
    knn = best[best["metric"] == f"mutual_knn{{k: {K}}}"]
    for label in ("words", "letters"):
        (row,) = knn[(knn["x"] == label) & (knn["control"] == "")].to_dict("records")
        assert (row["layer_x"], row["layer_y"]) == (1, 1)
        assert row["without_repeats"] == "y"
        assert np.isnan(row["reliability_y"])
        expected = by_hand(label)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert knn.loc[knn["control"] != "", "ceiling"].isna().all()
    cka = best[(best["metric"] != knn["metric"].iloc[0]) & (best["control"] == "")]
    assert cka["share_of_ceiling"].between(0.5, 1.1).all()
    assert cka["noise_free"].between(0.5, 1.1).all()
    assert len(best) == 8


def test_ceiling_csv_has_a_row_per_model_metric_and_chosen_layer(bench: Bench) -> None:
    bench.align()

    table = bench.results.read_table(bench.results.further("ceiling"), "align")

    assert list(table["model"]) == ["letters", "letters", "words", "words"]
    assert set(table["layer"]) == {1}
    assert set(table["observations"]) == {3}
    assert (table["low"] < table["reliability"]).all()
    assert (table["reliability"] < table["high"]).all()
    biased = table[table["metric"].str.startswith("cka")]
    assert biased["chance"].between(0.05, 0.3).all()  # 8 features of 60 rows: about 8 / 59


def test_what_is_finished_is_not_computed_again(bench: Bench) -> None:
    _, first = bench.align()
    before = bench.pieces()
    assert len(before) == 8  # two models and two pairs, two metrics

    _, again = bench.align(overwrite="never")

    pd.testing.assert_frame_equal(again, first)
    assert bench.pieces() == before
    next(bench.results.parts.glob("ceiling*")).unlink()
    failures, _ = bench.align(overwrite="never")
    (error,) = failures.errors.values()
    assert isinstance(error, NotComputedError)


def test_an_observation_that_is_not_there_fails_its_model_alone(bench: Bench) -> None:
    cells = {label: cell for label, cell in bench.cells.items() if label != "words (text_2)"}
    write_json(bench.results.cells, {"cells": cells})

    failures, best = bench.align()

    assert list(failures.errors) == ["ceiling of words"]
    assert "words (text_2)" in json.dumps(str(failures.errors["ceiling of words"]))
    trained = best[best["control"] == ""].set_index(["metric", "x"])["ceiling"].unstack()
    assert trained["words"].isna().all()
    assert trained["letters"].notna().all()


def test_no_ceiling_is_told_of_observations_that_agree_by_chance(tmp_path: Path) -> None:
    others = {f"words (text_{i})": observed(10 + i, 20.0) for i in (1, 2)}

    failures, best = Bench(tmp_path, SEEN | others).align()

    assert not failures.errors
    best = best[best["control"] == ""].set_index("x")
    told = ["ceiling", "ceiling_low", "share_of_ceiling", "noise_free"]
    assert best.loc["words", told].isna().all(axis=None)
    assert best.loc["words", "reliability_x"].notna().all()
    assert best.loc["letters", "ceiling"].notna().all()


def test_where_no_layer_was_chosen_the_table_is_empty_and_can_be_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SEEN | {"eyes": [torch.ones(N, 4)]})

    bench.align()

    table = bench.results.read_table(bench.results.further("ceiling"), "align")
    assert table.empty
    assert "reliability" in table
