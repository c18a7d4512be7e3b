"""The align stage against loops over rows and layers, on small cells made by hand."""

import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from runs import run_of
from torch import Tensor

import platorep
from platorep.align import align
from platorep.align.models import Aligned, warn_of_copies
from platorep.align.own import score_file
from platorep.config import ExperimentConfig
from platorep.engines import Engine, LocalEngine
from platorep.errors import (
    AbsentError,
    ConfigError,
    DamagedError,
    DataError,
    IntegrityError,
    PlatorepError,
)
from platorep.extraction import extract
from platorep.features import Cell, CellKey, RowIdentities, cell_of
from platorep.files import read_sealed, write_json, write_sealed
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.run import Run
from platorep.statistics import shuffled_order
from platorep.tensors import write_tensors

N, K = 22, 3
IDS = tuple(f"row-{i}" for i in range(N))
ROWS = RowIdentities(ids=IDS, hashes=("",) * N)


def layers(seed: int, *widths: int) -> list[Tensor]:
    """Random layers with some values far out, so that clipping matters."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(N, width, generator=rng).pow(3) for width in widths]


FEATURES = {
    "words-a": layers(1, 4, 6, 5),
    "words-b": layers(2, 3, 3),
    "eyes-a": layers(3, 7, 2),
    "eyes-b": layers(4, 5, 5, 4, 3),
}


class Bench:
    """An experiment whose cells are written by hand."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cache"
        self.results = Results(folder / "results")
        self.report = Reporter(-1)
        self.engine: Engine = LocalEngine()
        write_json(
            self.results.run, {"dataset": {"name": "data", "num_rows": N, "fingerprint": "f"}}
        )
        hashes = {"image_sha256": [""] * N, "text_sha256": [""] * N}
        self.results.write_table(self.results.rows, pd.DataFrame({"id": IDS, **hashes}), {})
        self.cells = {label: self.put(label, layers) for label, layers in FEATURES.items()}

    def put(
        self, label: str, features: Sequence[Tensor], rows: RowIdentities = ROWS, **key: Any
    ) -> Cell:
        """Write a model's cell in shards of 8 rows."""
        of = CellKey(
            model={"name": label} | key,
            rows=rows.fingerprint,
            compute_dtype="float32",
            store_dtype="float32",
        )
        cell_of(self.root, "data", label, of).remove()
        cell = cell_of(self.root, "data", label, of)
        cell.create(of, rows, [(str(i), f.shape[1]) for i, f in enumerate(features)], 8, {})
        for shard in range(cell.num_shards):
            part = cell.shard_range(shard)
            layers = [layer[part.start : part.stop] for layer in features]
            if all(layer.isfinite().all() for layer in layers):
                cell.write_shard(shard, layers)
            else:  # as 0.1.0 did
                tensors = {f"layer-{i:03d}": layer for i, layer in enumerate(layers)}
                write_tensors(cell.shard_path(shard), tensors, cell._shard_metadata(shard))
        folder = cell.folder.relative_to(self.root).as_posix()

        def change(content: dict[str, Any]) -> None:
            content.setdefault("cells", {})[label] = {"folder": folder}

        self.results.update_json(self.results.cells, change)
        return cell

    def config(self, controls: dict[str, Any] | None = None, **said: Any) -> ExperimentConfig:
        families = [
            {"name": side, "modality": "other", "models": [m for m in FEATURES if side in m]}
            for side in ("words", "eyes")
        ]
        settings = {
            "pairs": [{"x": {"family": "words"}, "y": {"family": "eyes"}}],
            "metrics": [{"name": "mutual_knn", "k": K}],
            "null": {"permutations": 0},
        }
        return ExperimentConfig.model_validate(
            {
                "name": "test",
                "dataset": {"source": "toyworld"},
                "families": families,
                "align": settings | said,
                "controls": controls or {},
            }
        )

    def align(self, *, overwrite: bool = False, fail_fast: bool = False, **said: Any) -> Any:
        """Errors by cell, all scores, the best ones."""
        config = self.config(**said)
        run = run_of(
            config,
            self.results,
            self.root,
            self.report,
            keep_going=not fail_fast,
            overwrite="always" if overwrite else "missing",
        )
        failures, best = align(replace(run, engine=self.engine))
        scores = self.results.read_table(self.results.scores, "align")
        written = self.results.read_table(self.results.best, "align")
        pd.testing.assert_frame_equal(written, best, check_dtype=False)
        return failures.errors, scores, best

    def parts(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.results.parts.iterdir()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- the slow twin of clipping, scaling, centring and scoring, in float64 ---


def prepared(
    label: str,
    quantile: float = 0.95,
    scope: str = "layer",
    estimate: str = "sample_mean",
    center: str = "after",
) -> list[np.ndarray]:
    arrays = [layer.double().numpy() for layer in FEATURES[label]]

    def threshold(group: list[np.ndarray]) -> float:
        if estimate == "exact":
            return float(np.quantile(np.concatenate([abs(a).ravel() for a in group]), quantile))
        rows = [np.concatenate([abs(a[i]) for a in group]) for i in range(N)]
        return float(np.mean([np.quantile(row, quantile) for row in rows]))

    found = []
    for array in arrays:
        limit = np.inf if quantile == 1 else threshold(arrays if scope == "model" else [array])
        rows = np.array([[max(-limit, min(limit, v)) for v in row] for row in array])
        rows = rows - rows.mean(axis=0) if center == "before" else rows
        rows = np.array([row / np.sqrt((row**2).sum()) for row in rows])
        found.append(rows - rows.mean(axis=0) if center == "after" else rows)
    return found


def prepared_alone(label: str, layer: int) -> list[np.ndarray]:
    """A layer that is its model's only one."""
    array = FEATURES[label][layer].double().numpy()
    limit = np.mean([np.quantile(abs(row), 0.95) for row in array])
    clipped = array.clip(-limit, limit)
    rows = clipped / np.linalg.norm(clipped, axis=1, keepdims=True)
    return [rows - rows.mean(axis=0)]


def grid(x: list[np.ndarray], y: list[np.ndarray]) -> dict[tuple[int, int], float]:
    return {(i, j): oracles.mutual_knn(a, b, K) for i, a in enumerate(x) for j, b in enumerate(y)}


def scored(scores: pd.DataFrame, x: str, y: str, control: str = "") -> dict[tuple[int, int], float]:
    found = scores[(scores["x"] == x) & (scores["y"] == y) & (scores["control"] == control)]
    return {(row.layer_x, row.layer_y): row.score for row in found.itertuples()}


def labels(best: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(best["x"], best["y"], strict=True))


# --- scores ---


@pytest.mark.parametrize(
    "preprocess",
    [
        {},
        {"clip_scope": "model"},
        {"clip_scope": "model", "center": "none"},
        {"center": "before"},
        {"clip_estimate": "exact"},
        {"clip_quantile": 0.5},
        {"clip_quantile": 1.0},
    ],
    ids=str,
)
def test_every_layer_pair_is_scored_as_loops_do(bench: Bench, preprocess: dict[str, Any]) -> None:
    errors, scores, best = bench.align(preprocess=preprocess)

    how = {name.removeprefix("clip_"): value for name, value in preprocess.items()}
    oracle = {label: prepared(label, **how) for label in FEATURES}
    assert errors == {}
    assert labels(best) == [
        ("words-a", "eyes-a"),
        ("words-a", "eyes-b"),
        ("words-b", "eyes-a"),
        ("words-b", "eyes-b"),
    ]
    for row in best.itertuples():
        expected = grid(oracle[row.x], oracle[row.y])
        assert scored(scores, row.x, row.y) == pytest.approx(expected, abs=1e-12)
        highest = max(expected.values())
        assert row.score == pytest.approx(highest, abs=1e-12)
        first = next(pair for pair, value in expected.items() if value > highest - 1e-12)
        assert (row.layer_x, row.layer_y) == first
        assert row.chance == pytest.approx(K / (N - 1))
        assert (row.n, row.k) == (N, K)
        assert row.num_layers_x == len(FEATURES[row.x])
        assert row.num_layers_y == len(FEATURES[row.y])
    assert len(scores) == (3 + 2) * (2 + 4)


@pytest.mark.usefixtures("shapes_unchecked")
def test_every_setting_moves_scores(bench: Bench) -> None:
    """Else the comparisons above would prove little."""
    found = [
        bench.align(preprocess=settings)[1]["score"].tolist()
        for settings in (
            {},
            {"clip_scope": "model"},
            {"clip_quantile": 1.0},
            {"clip_quantile": 0.5},
            {"center": "none"},
            {"center": "before"},
            {"standardize": True},
            {"remove_components": 1},
        )
    ]
    assert len({tuple(scores) for scores in found}) == len(found)


@pytest.mark.parametrize("groups", [None, [str(i // 6) for i in range(N)]])
def test_a_shuffled_control_is_the_score_of_shuffled_rows(
    bench: Bench, tmp_path: Path, groups: list[str] | None
) -> None:
    """Inside the groups that the null keeps to, if there are any."""
    null: dict[str, Any] = {"permutations": 0}
    if groups is not None:
        null["within"] = str(tmp_path / "groups.csv")
        pd.DataFrame({"id": IDS, "group": groups}).to_csv(null["within"], index=False)

    _, scores, best = bench.align(controls={"shuffled_pairs": True, "seed": 5}, null=null)

    order = shuffled_order(N, 5, groups)
    assert sorted(order) == list(range(N))
    for x, y in [("words-a", "eyes-a"), ("words-b", "eyes-b")]:
        plain = grid(prepared(x), prepared(y))
        shuffled = grid(prepared(x), [layer[order] for layer in prepared(y)])
        assert plain != shuffled
        assert scored(scores, x, y) == pytest.approx(plain, abs=1e-12)
        assert scored(scores, x, y, "shuffled") == pytest.approx(shuffled, abs=1e-12)
        row = best[(best["x"] == x) & (best["y"] == y) & (best["control"] == "shuffled")]
        assert row["score"].item() == pytest.approx(max(shuffled.values()))
    assert best["control"].tolist() == ["", "shuffled"] * 4


def test_layers_may_be_chosen(bench: Bench) -> None:
    metrics = [
        {"name": "mutual_knn", "k": K},
        {"name": "mutual_knn", "k": K + 1, "layers": "last"},
        {"name": "mutual_knn", "k": K + 2, "layers": [-1, 0]},
    ]
    _, scores, _ = bench.align(metrics=metrics)

    of_pair = scores[(scores["x"] == "words-a") & (scores["y"] == "eyes-b")]
    found = {
        metric: list(zip(part["layer_x"], part["layer_y"], strict=True))
        for metric, part in of_pair.groupby("metric")
    }
    assert found["mutual_knn{k: 4}"] == [(2, 3)]
    assert found["mutual_knn{k: 5}"] == [(0, 0), (0, 3), (2, 0), (2, 3)]
    assert len(found["mutual_knn{k: 3}"]) == 12
    four = oracles.mutual_knn(prepared("words-a")[2], prepared("eyes-b")[3], 4)
    of_last = of_pair[of_pair["metric"] == "mutual_knn{k: 4}"]
    assert of_last["score"].item() == pytest.approx(four)


def test_a_layer_that_does_not_exist_is_refused(bench: Bench) -> None:
    metrics = [{"name": "mutual_knn", "k": K, "layers": [2]}]
    errors, _, best = bench.align(
        metrics=metrics, pairs=[[{"model": "words-a"}, {"family": "eyes"}]]
    )

    (name,) = errors
    assert name == "eyes-a, mutual_knn{k: 3}"
    assert isinstance(errors[name], ConfigError)
    assert "layers [2] of a model that has 2" in str(errors[name])
    assert labels(best) == [("words-a", "eyes-b")]


def test_the_number_of_threads_moves_nothing(bench: Bench) -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(bench.align(overwrite=True)[1])
    finally:
        torch.set_num_threads(before)

    pd.testing.assert_frame_equal(*found, check_exact=True)


# --- degenerate layers ---


def test_a_degenerate_layer_is_recorded_and_cannot_win(bench: Bench) -> None:
    """Layers of few distinct rows agree about the groups of equal rows, and mean little."""
    groups = torch.eye(4).repeat(6, 1)[:N]
    bench.put("words-b", [FEATURES["words-b"][0], groups])
    bench.put("eyes-a", [groups, FEATURES["eyes-a"][1]])

    _, scores, best = bench.align()

    of_pair = scores[(scores["x"] == "words-b") & (scores["y"] == "eyes-a")]
    at = of_pair.set_index(["layer_x", "layer_y"])
    assert at["degenerate"].to_dict() == {(0, 0): True, (0, 1): False, (1, 0): True, (1, 1): True}
    assert "layer 0 of y: " in at.loc[(0, 0), "reason"]
    assert "layer 1 of x: " in at.loc[(1, 1), "reason"]
    assert at.loc[(0, 1), "reason"] == ""
    assert not scores[(scores["x"] == "words-a") & (scores["y"] == "eyes-b")]["degenerate"].any()
    assert at["score"].idxmax() == (1, 0), "it would win"
    (chosen,) = best[(best["x"] == "words-b") & (best["y"] == "eyes-a")].itertuples()
    assert (chosen.layer_x, chosen.layer_y) == (0, 1)
    assert chosen.score == at.loc[(0, 1), "score"]
    assert any("left out of the maximum" in warning for warning in bench.report.warnings)


def test_copies_that_both_models_see_are_told(bench: Bench) -> None:
    rows = bench.results.read_table(bench.results.rows, "extract")
    rows["image_sha256"] = ["a", "b", "c", "a", *map(str, range(4, N))]
    rows["text_sha256"] = ["t", "u", "u", "t", *map(str, range(4, N))]
    spec = bench.config().models()[0]
    specs = {
        modality: spec.model_copy(update={"modality": modality, "label": modality, "view": view})
        for modality, view in (("language", "text"), ("vision", "image"))
    }
    of = {modality: Aligned(spec, bench.cells["eyes-a"]) for modality, spec in specs.items()}

    warn_of_copies([(of["language"], of["vision"])] * 2, rows, bench.report)
    (warning,) = bench.report.warnings
    assert "2 of 22 rows, such as 'row-0'" in warning  # rows 1 and 2 have a text in common only
    assert "deduplicate" in warning
    warn_of_copies([(of["vision"], of["vision"])], rows[1:], bench.report)
    assert len(bench.report.warnings) == 1


def test_a_constant_layer_scores_at_chance(bench: Bench) -> None:
    """All rows are equally near, and share the places."""
    bench.put("words-b", [FEATURES["words-b"][0], torch.ones(N, 3)])

    _, scores, _ = bench.align()

    constant = scores[(scores["x"] == "words-b") & (scores["layer_x"] == 1)]
    assert constant["score"].tolist() == pytest.approx([K / (N - 1)] * len(constant))


def test_if_all_layers_are_degenerate_there_is_no_best(bench: Bench) -> None:
    bench.put("words-b", [torch.ones(N, 3), torch.zeros(N, 2)])

    errors, _, best = bench.align()

    assert errors == {}
    none = best[best["x"] == "words-b"]
    assert none["score"].isna().all()
    assert none[["layer_x", "layer_y"]].to_numpy().tolist() == [[-1, -1]] * 2
    assert none["reason"].str.contains("layer 0 of x").all()


def test_what_is_asked_at_no_best_layers_has_a_reason(bench: Bench) -> None:
    bench.put("words-b", [torch.ones(N, 3), torch.zeros(N, 2)])
    metrics = [{"name": "mutual_knn", "k": K}, {"name": "cka", "layers": "best of mutual_knn"}]

    errors, _, best = bench.align(metrics=metrics, controls={"shuffled_pairs": True})

    assert errors == {}
    none = best[(best["x"] == "words-b") & (best["metric"].str.startswith("cka"))]
    assert none["reason"].tolist() == ["mutual_knn has no best layers"] * 2
    assert none["score"].isna().all()
    assert bench.align(metrics=metrics, controls={"shuffled_pairs": True})[0] == {}


# --- which pairs ---


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (
            [["other", "other"]],
            [
                ("words-a", "words-b"),
                ("words-a", "eyes-a"),
                ("words-a", "eyes-b"),
                ("words-b", "eyes-a"),
                ("words-b", "eyes-b"),
                ("eyes-a", "eyes-b"),
            ],
        ),
        ([[{"family": "eyes"}, {"family": "eyes"}]], [("eyes-a", "eyes-b")]),
        (
            [["other", {"family": "eyes"}]],
            [
                ("words-a", "eyes-a"),
                ("words-a", "eyes-b"),
                ("words-b", "eyes-a"),
                ("words-b", "eyes-b"),
                ("eyes-a", "eyes-b"),
            ],
        ),
        (
            [[{"model": "eyes-b"}, {"family": "words"}]],
            [("eyes-b", "words-a"), ("eyes-b", "words-b")],
        ),
        (
            [
                [{"model": "words-a"}, {"model": "eyes-a"}],
                [{"family": "eyes"}, {"family": "words"}],
            ],
            [
                ("words-a", "eyes-a"),  # on the sides of the first entry that has it
                ("eyes-a", "words-b"),
                ("eyes-b", "words-a"),
                ("eyes-b", "words-b"),
            ],
        ),
    ],
)
def test_every_unordered_pair_once(
    bench: Bench, pairs: list[Any], expected: list[tuple[str, str]]
) -> None:
    _, scores, best = bench.align(pairs=pairs)

    assert labels(best) == expected
    assert len({frozenset(pair) for pair in expected}) == len(expected)
    for x, y in expected:
        assert scored(scores, x, y) == pytest.approx(grid(prepared(x), prepared(y)), abs=1e-12)


def test_a_model_with_itself_is_no_pair(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="no two of the models make a pair"):
        bench.align(pairs=[[{"model": "eyes-a"}, {"model": "eyes-a"}]])


COUNTING = """
counts = {}

def count(x, y):
    counts[len(x)] = counts.get(len(x), 0) + 1
    return float((x[:, :2] * y[:, :2]).sum())
"""


@pytest.mark.parametrize(
    ("layers", "permutations", "places"),
    [("all", 0, 30), ("all", 9, 30), ("last", 0, 4), ("last", 9, 4), ("best of mutual_knn", 9, 4)],
)
def test_every_layer_pair_is_compared_once(
    bench: Bench, module: Callable[[str], str], layers: str, permutations: int, places: int
) -> None:
    """And once per control and permutation; of its parts, once in each half, and at the best."""
    name = module(COUNTING)
    metrics = [{"name": "mutual_knn", "k": K}, {"name": f"{name}:count", "layers": layers}]
    settings: dict[str, Any] = {"metrics": metrics, "null": {"permutations": permutations}}
    nulls = permutations if layers != "all" else 0  # too dear at all layers

    bench.align(**settings)
    counts = sys.modules[name].counts
    assert counts == {N: places * (1 + nulls)}

    counts.clear()
    settings["controls"] = {"shuffled_pairs": True}
    bench.align(**settings, held_out=True, interval={"parts": 4})
    halves = {N // 2: 2 * places} if "best" not in layers else {}
    assert counts == {N: places * (2 + nulls), N // 4: 4 * 4} | halves


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"preprocess": "paper"},
        {"preprocess": {"clip_quantile": 0.6, "standardize": True, "center": "none"}},
        {"preprocess": {"normalize": "none"}, "metrics": [{"name": "cka"}]},
        {"concatenated": True},
        {"gallery": {"queries": 12, "sizes": [12, "all"], "k": [1]}},
    ],
    ids=str,
)
def test_a_reference_scores_as_align_did(
    bench: Bench, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of a model of the experiment, against another one of it."""
    monkeypatch.setenv("PLATOREP_CACHE", str(bench.root))
    _, _, best = bench.align(**settings)
    metric = {} if "cka" not in str(settings) else {"metric": "cka"}

    for row in best.itertuples():
        parameters = metric or {"k": K}
        reference = platorep.Reference(bench.results.folder, row.y, **parameters)
        features = [layer[: row.n] for layer in FEATURES[row.x]]
        assert reference.ids == IDS[: row.n]
        assert reference(features) == pytest.approx(row.score, abs=1e-6)


# --- what was refused, and what is done all the same ---


def test_other_rows_are_refused(bench: Bench) -> None:
    others = RowIdentities(ids=(*IDS[1:], IDS[0]), hashes=("",) * N)
    bench.put("eyes-a", FEATURES["eyes-a"], others)

    errors, _, best = bench.align()

    assert list(errors) == ["eyes-a"]
    assert isinstance(errors["eyes-a"], IntegrityError)
    assert "row 0 has id 'row-1', the experiment has 'row-0'" in str(errors["eyes-a"])
    assert set(best["y"]) == {"eyes-b"}
    with pytest.raises(IntegrityError, match="eyes-a"):
        bench.align(fail_fast=True)


def test_a_value_that_is_not_finite_is_named(bench: Bench) -> None:
    broken = [layer.clone() for layer in FEATURES["words-a"]]
    broken[1][7, 2] = torch.nan
    bench.put("words-a", broken, attempt=2)

    errors, _, best = bench.align()

    assert list(errors) == ["words-a"]
    assert isinstance(errors["words-a"], DataError)
    assert "words-a: layer 1, row 7" in str(errors["words-a"])
    assert set(best["x"]) == {"words-b"}


def test_what_was_not_extracted_is_absent(bench: Bench) -> None:
    bench.cells["eyes-a"].shard_path(1).unlink()

    errors, _, best = bench.align()

    assert isinstance(errors["eyes-a"], AbsentError)
    assert "1 shards are missing" in str(errors["eyes-a"])
    assert set(best["y"]) == {"eyes-b"}


def test_own_arrays_are_told_of_as_models_are(bench: Bench, tmp_path: Path) -> None:
    """A metric that cannot take them, a layer that cannot be best, a dimension that drowns."""
    wide = torch.randn(N, N, generator=torch.Generator().manual_seed(5))
    wide[:, 1] = 100
    file = tmp_path / "mine.npz"
    np.savez(file, ids=np.array(IDS), a=wide.numpy(), b=np.ones((N, 2), np.float32))
    metrics = [{"name": "mutual_knn", "k": K}, {"name": "cca_mean"}, {"name": "cka"}]
    config = bench.config(metrics=metrics, preprocess={"clip_quantile": 1, "center": "none"})

    failures, table = score_file(run_of(config, bench.results, bench.root, bench.report), file)

    assert list(failures.errors) == ["mine.npz, cca_mean"]
    assert table.groupby("metric")["layer_x"].agg(list).to_dict() == {
        "mutual_knn{k: 3}": [0] * 4, "cka{kernel: linear, estimator: biased}": [0] * 4
    }  # fmt: skip
    said = [line for line in bench.report.warnings if line.startswith("mine.npz: ")]
    assert len(said) == 3
    assert "one dimension" in said[0]
    assert all("left out" in line and "layer 1" in line for line in said[1:])


@pytest.mark.parametrize("error", [DataError, IntegrityError, DamagedError, ConfigError])
@pytest.mark.parametrize("listed", [True, False])
def test_why_a_model_was_not_extracted_is_told_again(
    bench: Bench, error: type[PlatorepError], listed: bool
) -> None:
    """The only model of a side failed: the command ends with what failed, not with its absence."""
    with run_of(bench.config(), bench.results, bench.root).failures("extract").catch("eyes-a"):
        raise error("row 3 is broken")
    bench.cells["eyes-a"].shard_path(1).unlink()
    if not listed:
        bench.results.update_json(bench.results.cells, lambda known: known["cells"].pop("eyes-a"))

    with pytest.raises(PlatorepError, match=r"eyes-a.*row 3 is broken") as ending:
        bench.align(pairs=[[{"family": "words"}, {"model": "eyes-a"}]])

    assert type(ending.value) is error
    assert set(bench.align()[2]["y"]) == {"eyes-b"}


def test_a_stale_failure_is_forgotten(bench: Bench) -> None:
    shard = bench.cells["eyes-a"].shard_path(1)
    content = shard.read_bytes()
    shard.unlink()
    bench.align()
    lines = [json.loads(line) for line in bench.results.failures.read_text().splitlines()]
    assert [(line["stage"], line["cell"]) for line in lines] == [("align", "eyes-a")]
    shard.write_bytes(content)

    errors, _, best = bench.align()

    assert errors == {}
    assert len(best) == 4
    assert bench.results.failures.read_text() == ""


@pytest.mark.parametrize("layers", ["all", "best of mutual_knn"])
def test_a_metric_that_cannot_take_a_model_leaves_the_others_alone(
    bench: Bench, layers: str
) -> None:
    bench.put("words-a", [torch.randn(N, N, generator=torch.Generator().manual_seed(5))])

    errors, scores, best = bench.align(
        metrics=[{"name": "mutual_knn", "k": K}, {"name": "cca_mean", "layers": layers}]
    )

    (name,) = errors
    assert name == "words-a, cca_mean"
    assert "cca_mean needs fewer features than samples" in str(errors[name])
    of = best.groupby("metric")["x"].agg(list).to_dict()
    assert of == {"mutual_knn{k: 3}": FOUR, "cca_mean": FOUR[2:]}
    assert scores.loc[scores["x"] == "words-a", "metric"].unique().tolist() == ["mutual_knn{k: 3}"]


FOUR = ["words-a", "words-a", "words-b", "words-b"]
PICKY = """
def picky(x, y):
    if x.shape[1] == 3 and y.shape[1] == 2:
        raise ZeroDivisionError("three against two")
    return float(x.sum() * y.sum())
"""


@pytest.mark.parametrize("layers", ["all", "last", "best of mutual_knn"])
def test_a_metric_that_fails_on_a_pair_leaves_the_others_alone(
    bench: Bench, module: Callable[[str], str], layers: str
) -> None:
    """Seen: all pairs of a block lost, every metric of them, and no `best.csv`."""
    bench.put("words-b", [FEATURES["words-b"][0]])
    bench.put("eyes-a", [FEATURES["eyes-a"][1]])
    own = f"{module(PICKY)}:picky"
    metrics = [{"name": "mutual_knn", "k": K}, {"name": own, "layers": layers}]
    settings = {"metrics": metrics, "controls": {"shuffled_pairs": True}}

    errors, scores, best = bench.align(**settings)

    (name,) = errors
    assert name == f"words-b x eyes-a, {own}"
    assert isinstance(errors[name], ZeroDivisionError)
    lines = [json.loads(line) for line in bench.results.failures.read_text().splitlines()]
    assert [line["cell"] for line in lines] == [name]
    rows = best[best["control"] == ""].groupby("metric")["x"].agg(list).to_dict()
    assert rows == {"mutual_knn{k: 3}": FOUR, own: FOUR[:3]}
    assert scored(scores[scores["metric"] != own], "words-b", "eyes-a") == pytest.approx(
        grid(prepared_alone("words-b", 0), prepared_alone("eyes-a", 1)), abs=1e-12
    )
    again = bench.align(**settings)
    assert list(again[0]) == [name]  # tried again
    pd.testing.assert_frame_equal(again[2], best)
    with pytest.raises(ZeroDivisionError, match="three against two"):
        bench.align(fail_fast=True, **settings)


# --- what is done already ---


def test_finished_pairs_are_not_scored_again(bench: Bench) -> None:
    _, scores, _ = bench.align()
    parts = bench.parts()

    _, again, _ = bench.align()

    assert bench.parts() == parts
    pd.testing.assert_frame_equal(again, scores, check_exact=True)


def test_a_finished_pair_is_read_not_scored(bench: Bench) -> None:
    bench.align()
    (part, *_) = sorted(path for path in bench.parts() if path.suffix == ".parquet")
    changed = pd.read_parquet(part).assign(score=7.0)  # shows where the number is from
    statistics = read_sealed(part.with_suffix(".json"), of=part.stem, cure="")
    changed.to_parquet(part, index=False)
    write_sealed(part.with_suffix(".json"), statistics, of=part.stem, files=[part.name])

    assert (bench.align()[1]["score"] == 7.0).sum() == len(changed)
    assert (bench.align(overwrite=True)[1]["score"] < 7.0).all()


@pytest.mark.parametrize("lost", [".parquet", ".json"])
def test_only_the_lost_pair_is_scored_again(bench: Bench, lost: str) -> None:
    _, scores, _ = bench.align()
    before = bench.parts()
    (part, *_) = sorted(path for path in before if path.suffix == lost)
    part.unlink()

    _, again, _ = bench.align()

    pd.testing.assert_frame_equal(again, scores, check_exact=True)
    touched = {path.stem for path, time in bench.parts().items() if before.get(path) != time}
    assert touched == {part.stem}


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": [{"name": "mutual_knn", "k": K + 1}]},
        {"metrics": [{"name": "mutual_knn", "k": K, "layers": "last"}]},
        {"preprocess": {"clip_quantile": 0.9}},
        {"controls": {"shuffled_pairs": True}},
        {"null": {"permutations": 9}},
    ],
    ids=str,
)
def test_changed_settings_are_scored_anew(bench: Bench, change: dict[str, Any]) -> None:
    bench.align()
    before = set(bench.parts())

    bench.align(**change)

    assert len({path for path in set(bench.parts()) - before if path.suffix == ".parquet"}) == 4


def test_another_shuffle_is_scored_anew(bench: Bench) -> None:
    found = [bench.align(controls={"shuffled_pairs": True, "seed": seed})[1] for seed in (0, 1)]
    shuffled = [scores[scores["control"] == "shuffled"]["score"].tolist() for scores in found]
    plain = [scores[scores["control"] == ""]["score"].tolist() for scores in found]
    assert shuffled[0] != shuffled[1]
    assert plain[0] == plain[1]


def test_other_features_are_scored_anew(bench: Bench) -> None:
    bench.align()
    before = set(bench.parts())
    bench.put("eyes-b", FEATURES["words-a"], attempt=2)

    _, scores, _ = bench.align()

    assert len({path for path in set(bench.parts()) - before if path.suffix == ".parquet"}) == 2
    assert scored(scores, "words-a", "eyes-b")[0, 0] == 1.0


def test_what_moves_no_score_is_not_scored_anew(bench: Bench) -> None:
    bench.align()
    parts = bench.parts()

    bench.align(memory="1MiB")
    bench.align(pairs=[[{"model": "words-a"}, {"family": "eyes"}]])

    assert bench.parts() == parts


# --- a metric of the user's own ---

COUNTER = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of the user's; gives its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def write(body: str) -> str:
        name = f"own_{next(COUNTER)}"  # a module stays imported: each test its own
        (folder / f"{name}.py").write_text(body)
        return name

    return write


OWN = """
def first_values(x, y, power=1):
    '''The mean product of the first features.'''
    return float(((x[:, 0] * y[:, 0]) ** power).mean())
"""


def test_what_a_metric_of_ones_own_imports_is_part_of_it(
    bench: Bench, module: Callable[[str], str]
) -> None:
    helper = module("POWER = 1\n")
    name = module(f"from {helper} import POWER\n{OWN.replace('power=1', 'power=POWER')}")
    metrics = [{"name": f"{name}:first_values"}, {"name": "mutual_knn", "k": K}]

    bench.align(metrics=metrics)
    before = bench.parts()
    bench.align(metrics=metrics)
    assert bench.parts() == before
    path = Path(sys.modules[helper].__file__ or "")
    path.write_text("POWER = 3\n")  # of the next process; here it stays as it was imported
    bench.align(metrics=metrics)

    assert len(bench.parts()) > len(before)


def test_a_metric_by_its_path(bench: Bench, module: Callable[[str], str]) -> None:
    name = f"{module(OWN)}:first_values"
    metrics = [{"name": name, "power": 2}, {"name": "mutual_knn", "k": K}]

    _, scores, best = bench.align(metrics=metrics, controls={"shuffled_pairs": True})

    of_own = scores[scores["metric"] == f"{name}{{power: 2}}"]
    assert len(of_own) == 2 * (3 + 2) * (2 + 4)
    x, y = prepared("words-a"), prepared("eyes-b")
    expected = {
        (i, j): float(np.mean((a[:, 0] * b[:, 0]) ** 2))
        for i, a in enumerate(x)
        for j, b in enumerate(y)
    }
    assert scored(of_own, "words-a", "eyes-b") == pytest.approx(expected, abs=1e-6)
    order = shuffled_order(N, 0)
    shuffled = {
        (i, j): float(np.mean((a[:, 0] * b[order, 0]) ** 2))
        for i, a in enumerate(x)
        for j, b in enumerate(y)
    }
    assert scored(of_own, "words-a", "eyes-b", "shuffled") == pytest.approx(shuffled, abs=1e-6)
    row = best[(best["metric"] == f"{name}{{power: 2}}") & (best["control"] == "")].iloc[0]
    assert np.isnan(row["chance"])
    assert pd.isna(row["k"])


def test_a_metric_whose_code_changed_is_scored_anew(
    bench: Bench, module: Callable[[str], str]
) -> None:
    name = module("def one(x, y):\n    return 1.0\n")
    metrics = [{"name": f"{name}:one"}]
    assert set(bench.align(metrics=metrics)[1]["score"]) == {1.0}
    before = bench.parts()
    assert set(bench.align(metrics=metrics)[1]["score"]) == {1.0}
    assert bench.parts() == before

    path = Path(str(sys.modules.pop(name).__file__))  # as the next command would find it
    path.write_text("def one(x, y):\n    return 2.0  # mended\n")

    assert set(bench.align(metrics=metrics)[1]["score"]) == {2.0}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:metric", "no_such_module"),
        ("math:no_such_function", "no_such_function"),
        ("math:pi", "expected a platorep.metrics.Metric or a function"),
    ],
)
def test_a_metric_that_is_none_is_refused(bench: Bench, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bench.align(metrics=[{"name": name}])


def test_features_of_other_settings_are_not_scored(tmp_path: Path) -> None:
    """As they stay behind where `extract` was not run, or failed, after the file was edited."""
    config: dict[str, Any] = {
        "name": "seen",
        "dataset": {"source": "toyworld", "limit": 8},
        "families": [
            {
                "name": "eyes",
                "modality": "vision",
                "pool": "cls",
                "models": [
                    {"name": "test_vit.r160_in1k", "label": f"eye-{seed}", "seed": seed}
                    | {"random_init": True}
                    for seed in (1, 2)
                ],
            }
        ],
        "align": {
            "pairs": [["vision", "vision"]],
            "metrics": [{"name": "mutual_knn", "k": 2}],
            "null": {"permutations": 0},
        },
    }
    results = Results(tmp_path / "results")

    def run(**family: object) -> Run:
        edited = config | {"families": [config["families"][0] | family]}
        return run_of(ExperimentConfig.model_validate(edited), results, tmp_path / "cache")

    extract(run())
    align(run())
    align(run(name="called otherwise"))
    for refused in ({"pool": "mean"}, {"layers": [-1]}):
        with pytest.raises(AbsentError, match=next(iter(refused))):
            align(run(**refused))
