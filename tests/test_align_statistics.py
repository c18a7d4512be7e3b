"""Nulls, intervals, chosen layers and memory in the align stage, on small cells made by hand."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from runs import run_of
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from platorep.align import align
from platorep.config import ExperimentConfig, PreprocessConfig
from platorep.errors import AbsentError, DataError
from platorep.features import CellKey, RowIdentities, cell_of
from platorep.files import write_json
from platorep.metrics import Claims, bind, own_metric
from platorep.preprocess import preprocess
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.statistics import disjoint_rows, draw_order, subsamples

N = 40
IDS = tuple(f"row-{i}" for i in range(N))
PLAIN = {"clip_quantile": 1.0, "center": "none"}

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
    rows = RowIdentities(ids=IDS, hashes=("",) * N)
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
    write_json(results.run, {"dataset": {"name": "data", "num_rows": N, "fingerprint": "f"}})
    hashes = {"image_sha256": [""] * N, "text_sha256": [""] * N}
    results.write_table(results.rows, pd.DataFrame({"id": IDS, **hashes}), {})

    def run(
        report: Reporter | None = None, random: Sequence[str] = (), **settings: Any
    ) -> pd.DataFrame:
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
        run = run_of(config, results, tmp_path, report)
        specs = tuple(
            spec.model_copy(update={"random_init": spec.label in random}) for spec in run.specs
        )
        _, best = align(dataclasses.replace(run, specs=specs))
        return best.set_index(["metric", "x", "y"])

    return run


def test_the_null_is_of_the_maximum_over_layers(run: Run) -> None:
    best = run(null={"permutations": 19}).loc["mutual_knn{k: 5}"]
    metric = bind("mutual_knn", {"k": 5})

    def prepared(label: str) -> list[Any]:
        settings = PreprocessConfig(**PLAIN)
        return [metric.summarize(f) for f in preprocess(MODELS[label], settings)]

    for (x, y), row in best.iterrows():
        scores = metric.compare(prepared(x), prepared(y))
        null = []
        for index in range(19):
            order = draw_order(N, 0, index)
            moved = [metric.reorder(summary, order) for summary in prepared(y)]
            null.append(metric.compare(prepared(x), moved).max())
        assert row["score"] == scores.max()
        assert row["p"] == pytest.approx((1 + sum(v >= scores.max() for v in null)) / 20)
        assert row["null_mean"] == pytest.approx(np.mean(null))
        assert row["threshold"] == pytest.approx(sorted([*null, scores.max()])[18])
        tau = row["threshold"]
        assert row["calibrated"] == pytest.approx(max((row["score"] - tau) / (1 - tau), 0))
    assert best.loc[("words-a", "eyes-a"), "p"] == 0.05
    assert best.loc["words-b", "p"].min() > 0.05


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


@pytest.mark.parametrize("correction", ["benjamini_hochberg", "holm", "westfall_young"])
def test_pairs_with_a_random_copy_are_corrected_apart(run: Run, correction: str) -> None:
    """Two families of two tests: each as if the other were not there."""
    null = {"permutations": 99, "correction": correction}
    both = run(random=["words-b"], null=null).loc["mutual_knn{k: 5}", "p_adjusted"]

    for x in ("words-a", "words-b"):
        pairs = [{"x": {"model": x}, "y": {"family": "eyes"}}]
        alone = run(random=["words-b"], null=null, pairs=pairs).loc["mutual_knn{k: 5}"]
        assert both[x].tolist() == alone["p_adjusted"].tolist()
    assert both.tolist() != run(null=null)["p_adjusted"].tolist()


def test_too_few_permutations_are_said(run: Run) -> None:
    """For as many tests as the correction has: four pairs, or twice two."""
    report = Reporter(-1)
    run(report, null={"permutations": 20})

    assert any("permutations >= 79" in warning for warning in report.warnings)
    assert "p" not in run(null={"permutations": 0})
    report = Reporter(-1)
    run(report, random=["words-b"], null={"permutations": 38})
    assert any("permutations >= 39" in warning for warning in report.warnings)
    report = Reporter(-1)
    run(report, random=["words-b"], null={"permutations": 39})
    assert not report.warnings


def squared_distance(x: Tensor, y: Tensor, sign: int = 1) -> float:
    return sign * float((x[:, :3] - y[:, :3]).square().sum())


distance = own_metric(
    name="distance", compare=squared_distance, claims=Claims(perfect=0.0, larger_is_closer=False)
)


def test_a_distance_is_tested_as_its_negative_is(run: Run) -> None:
    here = __name__
    metrics = [
        {"name": f"{here}:distance", "layers": [0]},
        {"name": f"{here}:squared_distance", "sign": -1, "layers": [0]},
    ]
    null = {"permutations": 99, "correction": "westfall_young"}

    best = run(metrics=metrics, null=null).reset_index("metric")

    of_distance, of_negative = (part for _, part in best.groupby("metric", sort=False))
    for column in ("p", "p_adjusted"):
        assert of_distance[column].tolist() == of_negative[column].tolist()
    assert of_distance["score"].tolist() == (-of_negative["score"]).tolist()
    assert of_distance.loc[("words-a", "eyes-a"), "p_adjusted"] == 0.01
    assert of_distance["p_adjusted"].max() > 0.05


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


@pytest.mark.parametrize("method", ["disjoint", "subsamples"])
def test_an_interval_is_of_the_chosen_layers(run: Run, method: str) -> None:
    """By hand, from the features of the parts at these layers."""
    report = Reporter(-1)
    best = run(report, interval={"method": method, "parts": 4}).loc["mutual_knn{k: 5}"]

    metric = bind("mutual_knn", {"k": 5})
    disjoint = method == "disjoint"
    parts = disjoint_rows(N, 4, 0) if disjoint else subsamples(N, N // 2, 4, 0)
    assert (best["layer_x"] != best["layer_y"]).any()
    for (x, y), row in best.iterrows():
        sides = MODELS[x][row["layer_x"]], MODELS[y][row["layer_y"]]
        of_parts = [
            metric.compare(*([metric.summarize(F.normalize(s)[rows])] for s in sides))[0, 0]
            for rows in parts
        ]
        scale = 1 / 2 if disjoint else 1.0  # sqrt(1 / 4), or sqrt(20 / (40 - 20))
        reach = stats.t.ppf(0.975, 3) * np.std(of_parts, ddof=1) * scale
        assert (row["low"], row["high"]) == pytest.approx(
            (row["score"] - reach, row["score"] + reach)
        )
    assert any("rows" in warning for warning in report.warnings)  # too few in a part


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
