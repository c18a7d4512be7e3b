"""Nulls, intervals, chosen layers and memory in the align stage, on small cells made by hand."""

import shutil
from collections.abc import Callable
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
from platorep.errors import AbsentError, DataError
from platorep.features import CellKey, Rows, cell_of
from platorep.files import write_json
from platorep.metrics import bind
from platorep.preprocess import preprocess
from platorep.reporting import Reporter
from platorep.results import Results, write_parquet
from platorep.statistics import draw_order

N = 40
IDS = tuple(f"row-{i}" for i in range(N))
PLAIN = {"clip_quantile": 1.0, "normalize": "l2"}

Run = Callable[..., pd.DataFrame]


def layers(seed: int, num: int, shared: Tensor | None = None) -> list[Tensor]:
    """Random layers; with `shared` they all tell of the same thing."""
    rng = torch.Generator().manual_seed(seed)
    noise = [torch.randn(N, 3 + i, generator=rng) for i in range(num)]
    if shared is None:
        return noise
    return [torch.cat([shared, 0.3 * layer], dim=1) for layer in noise]


SHARED = torch.randn(N, 4, generator=torch.Generator().manual_seed(99))
MODELS = {
    "words-a": layers(1, 2, SHARED),
    "words-b": layers(2, 3),
    "eyes-a": layers(3, 2, SHARED),
    "eyes-b": layers(4, 2),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Align the four models with given settings; the best table."""
    rows = Rows(ids=IDS, hashes=("",) * N)
    results = Results(tmp_path / "results")
    cells: dict[str, Any] = {}
    for label, features in MODELS.items():
        key = CellKey(
            model={"name": label},
            rows=rows.fingerprint,
            compute_dtype="float32",
            store_dtype="float32",
        )
        cell = cell_of(tmp_path, "data", label, key)
        cell.create(key, rows, [(str(i), f.shape[1]) for i, f in enumerate(features)], N, {})
        cell.write_shard(0, features)
        cells[label] = {"folder": cell.folder.relative_to(tmp_path).as_posix()}
    write_json(results.cells, {"cells": cells})
    write_json(results.run, {"dataset": {"name": "data", "num_rows": N}})
    hashes = {"image_sha256": [""] * N, "text_sha256": [""] * N}
    write_parquet(results.rows, pd.DataFrame({"id": IDS, **hashes}))

    def run(report: Reporter | None = None, **settings: Any) -> pd.DataFrame:
        families = [
            {"name": side, "modality": "other", "models": [m for m in MODELS if side in m]}
            for side in ("words", "eyes")
        ]
        pairs = [{"x": {"family": "words"}, "y": {"family": "eyes"}}]
        asked = {"pairs": pairs, "preprocess": PLAIN, "metrics": [{"name": "mutual_knn", "k": 5}]}
        config = ExperimentConfig.model_validate(
            {
                "name": "test",
                "dataset": {"source": "toyworld"},
                "families": families,
                "align": asked | {"null": {"permutations": 99}} | settings,
            }
        )
        _, best = align(run_of(config, results, tmp_path, report))
        return best.set_index(["metric", "x", "y"])

    return run


def test_the_null_is_of_the_maximum_over_layers(run: Run) -> None:
    best = run().loc["mutual_knn{k: 5}"]
    metric = bind("mutual_knn", {"k": 5})

    def prepared(label: str) -> list[Any]:
        settings = {"clip_scope": "model", "clip_estimate": "exact", **PLAIN}
        return [metric.summarize(f) for f in preprocess(MODELS[label], **settings)]

    for (x, y), row in best.iterrows():
        scores = metric.compare(prepared(x), prepared(y))
        null = []
        for index in range(99):
            order = draw_order(N, 0, index)
            moved = [metric.reorder(summary, order) for summary in prepared(y)]
            null.append(metric.compare(prepared(x), moved).max())
        assert row["score"] == scores.max()
        assert row["p"] == pytest.approx((1 + sum(v >= scores.max() for v in null)) / 100)
        assert row["null_mean"] == pytest.approx(np.mean(null))
        assert row["threshold"] == pytest.approx(sorted([*null, scores.max()])[94])
        tau = row["threshold"]
        assert row["calibrated"] == pytest.approx(max((row["score"] - tau) / (1 - tau), 0))
    assert best.loc[("words-a", "eyes-a"), "p"] == 0.01
    assert best.drop(index=("words-a", "eyes-a"))["p"].min() > 0.01


def test_p_values_are_corrected_over_model_pairs(run: Run) -> None:
    best = run().loc["mutual_knn{k: 5}"]
    p = best["p"].to_numpy()

    ranks = p.argsort().argsort() + 1
    by_hand = [min(q * 4 / r for q, r in zip(p, ranks, strict=True) if q >= own) for own in p]
    assert best["p_adjusted"].to_numpy() == pytest.approx(np.minimum(by_hand, 1))
    strict = run(null={"permutations": 99, "correction": "holm"})["p_adjusted"].min()
    assert strict == pytest.approx(0.04)
    family = run(null={"permutations": 99, "correction": "westfall_young"})["p_adjusted"]
    assert 0.01 <= family.min() <= 0.04


def test_too_few_permutations_are_said(run: Run) -> None:
    report = Reporter(-1)
    run(report, null={"permutations": 20})

    assert any("permutations >= 79" in warning for warning in report.warnings)
    assert "p" not in run(null={"permutations": 0})


def test_no_score_depends_on_the_memory(run: Run, tmp_path: Path) -> None:
    metrics = [{"name": "mutual_knn", "k": 5}, {"name": "cka", "estimator": "debiased"}]
    settings = {"metrics": metrics, "held_out": True, "interval": {"parts": 2}}
    all_at_once = run(**settings)
    shutil.rmtree(tmp_path / "results" / "parts")

    one_by_one = run(**settings, memory="0.001MiB")

    exact = ["layer_x", "layer_y", "score", "low", "high", "held_out", "p", "p_adjusted"]
    pd.testing.assert_frame_equal(all_at_once[exact], one_by_one[exact], check_exact=True)
    pd.testing.assert_frame_equal(all_at_once, one_by_one, rtol=1e-6)


def test_metrics_at_the_best_layers_of_another(run: Run) -> None:
    metrics = [
        {"name": "mutual_knn", "k": 5},
        {"name": "procrustes", "layers": "best of mutual_knn"},
    ]
    best = run(metrics=metrics)

    chosen = best.loc["mutual_knn{k: 5}"][["layer_x", "layer_y"]]
    pd.testing.assert_frame_equal(chosen, best.loc["procrustes"][["layer_x", "layer_y"]])
    i, j = best.loc[("procrustes", "words-a", "eyes-a"), ["layer_x", "layer_y"]]
    metric = bind("procrustes")
    unit = [
        torch.nn.functional.normalize(MODELS[m][layer], dim=1)
        for m, layer in (("words-a", i), ("eyes-a", j))
    ]
    x, y = (metric.summarize(features) for features in unit)
    score = best.loc[("procrustes", "words-a", "eyes-a"), "score"]
    assert score == pytest.approx(metric.compare([x], [y])[0, 0])
    assert best.loc[("procrustes", "words-a", "eyes-a"), "p"] == 0.01


def test_costly_metrics_at_all_layers_have_no_null(run: Run) -> None:
    report = Reporter(-1)
    best = run(report, metrics=["procrustes"])

    assert best["p"].isna().all()
    assert best["score"].notna().all()
    assert any("procrustes" in warning for warning in report.warnings)


def test_all_layers_side_by_side_are_one_more_layer(run: Run) -> None:
    best = run(concatenated=True, metrics=[{"name": "mutual_knn", "k": 5, "layers": "last"}])

    row = best.loc[("mutual_knn{k: 5}", "words-a", "eyes-a")]
    assert (row["layer_x"], row["layer_y"]) == (2, 2)
    metric = bind("mutual_knn", {"k": 5})
    x, y = (
        metric.summarize(
            torch.cat([torch.nn.functional.normalize(f, dim=1) for f in MODELS[m]], dim=1)
        )
        for m in ("words-a", "eyes-a")
    )
    assert row["score"] == metric.compare([x], [y])[0, 0]


def test_intervals_and_held_out_layers(run: Run) -> None:
    best = run(interval={"parts": 4}, held_out=True).loc["mutual_knn{k: 5}"]

    assert (best["low"] < best["score"]).all()
    assert (best["score"] < best["high"]).all()
    assert best.loc[("words-a", "eyes-a"), "held_out"] > best.loc[("words-b", "eyes-b"), "held_out"]


def test_settings_changed_since_extraction_are_said(run: Run, tmp_path: Path) -> None:
    results, report = Results(tmp_path / "results"), Reporter(-1)
    extracted = {"dataset": {"source": "another"}}
    results.record("config", extracted)

    run(report)

    assert any("dataset, families" in warning for warning in report.warnings)


def test_permutations_inside_groups(run: Run, tmp_path: Path) -> None:
    groups = pd.DataFrame({"id": IDS, "group": [str(i % 2) for i in range(N)]})
    groups.iloc[::-1].to_csv(tmp_path / "groups.csv", index=False)
    groups.iloc[1:].to_csv(tmp_path / "short.csv", index=False)

    inside = run(null={"permutations": 99, "within": str(tmp_path / "groups.csv")})

    assert inside["null_mean"].tolist() != run()["null_mean"].tolist()
    groups.assign(group="one").to_csv(tmp_path / "groups.csv", index=False)  # the same place
    anew = run(null={"permutations": 99, "within": str(tmp_path / "groups.csv")})
    assert anew["null_mean"].tolist() == run(null={"permutations": 99})["null_mean"].tolist()
    with pytest.raises(DataError, match="row-0"):
        run(null={"permutations": 99, "within": str(tmp_path / "short.csv")})
    with pytest.raises(AbsentError, match=r"none\.csv"):
        run(null={"permutations": 99, "within": str(tmp_path / "none.csv")})
