"""The align stage with galleries, on small cells made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from test_align import FEATURES, IDS, Bench, N
from torch import Tensor

from platorep.align.gallery import levels
from platorep.config import GalleryConfig, PreprocessConfig
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError
from platorep.metrics import bind
from platorep.preprocess import preprocess

Q, SIZES = 8, (8, 15, N)
GALLERY: dict[str, Any] = {"queries": Q, "sizes": [8, 15, "all"], "k": [1, 3, "20%"]}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def grow(bench: Bench, **said: Any) -> tuple[dict[str, Exception], pd.DataFrame, pd.DataFrame]:
    """Errors by cell, the best scores, and those in galleries."""
    gallery = GALLERY | said.pop("gallery", {})
    errors, _, best = bench.align(gallery=gallery, **said)
    return errors, best, bench.results.read_table(bench.results.gallery, "align")


def prepared(label: str, layer: int) -> Tensor:
    """Clipped where the queries say, at length 1, around the mean of the queries."""
    rows = FEATURES[label][layer].double().numpy()
    limit = np.mean([np.quantile(abs(row), 0.95) for row in rows[:Q]])
    rows = rows.clip(-limit, limit)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.from_numpy(rows - rows[:Q].mean(axis=0))


def test_layers_are_chosen_on_the_queries_alone(bench: Bench) -> None:
    _, best, _ = grow(bench)

    metric = bind("mutual_knn", {"k": 3})
    for _, row in best.iterrows():
        x, y = (
            [
                metric.summarize(layer)
                for layer in preprocess([p[:Q] for p in FEATURES[row[s]]], PreprocessConfig())
            ]
            for s in "xy"
        )
        scores = metric.compare(x, y)
        assert row["score"] == scores.max() == scores[row["layer_x"], row["layer_y"]]
        assert (row["n"], row["chance"]) == (Q, 3 / 7)


def test_the_gallery_of_the_queries_has_the_ordinary_score(bench: Bench) -> None:
    """Exactly: the same rows, clipped at the same place, and the same ties."""
    errors, best, gallery = grow(bench)

    smallest = gallery[(gallery["n"] == Q) & (gallery["k_rule"] == "3")]
    assert smallest["score"].tolist() == best["score"].tolist()
    assert smallest["chance"].tolist() == best["chance"].tolist()
    assert not errors


def test_scores_and_errors_equal_loops_and_sets(bench: Bench) -> None:
    _, best, gallery = grow(bench)
    level = levels(N, Q, SIZES, seed=0)
    ks = {(n, rule): k for n in SIZES for rule, k in (("1", 1), ("3", 3), ("20%", round(n / 5)))}

    assert len(gallery) == len(best) * len(ks)
    for _, row in gallery.iterrows():
        members = np.flatnonzero(level <= SIZES.index(row["n"])).tolist()
        x, y = (prepared(row[s], row[f"layer_{s}"]).tolist() for s in "xy")
        k = ks[row["n"], row["k_rule"]]
        each = oracles.gallery_score(x, y, Q, members, list(range(N)), k)

        assert row["k"] == k
        assert row["score"] == pytest.approx(np.mean(each), abs=1e-12)
        assert row["se"] == pytest.approx(np.std(each, ddof=1) / Q**0.5, abs=1e-12)
        assert row["chance"] == pytest.approx(k / (row["n"] - 1))


def test_a_hit_counts_by_its_source(bench: Bench, tmp_path: Path) -> None:
    groups = [f"source {i % 9}" for i in range(N)]
    pd.DataFrame({"id": IDS, "group": groups}).to_csv(tmp_path / "groups.csv", index=False)

    _, _, gallery = grow(bench, gallery={"groups": str(tmp_path / "groups.csv")})

    level = levels(N, Q, SIZES, seed=0)
    sources = [i % 9 for i in range(N)]
    for _, row in gallery.iterrows():
        members = np.flatnonzero(level <= SIZES.index(row["n"])).tolist()
        x, y = (prepared(row[s], row[f"layer_{s}"]).tolist() for s in "xy")
        each = oracles.gallery_score(x, y, Q, members, sources, row["k"])
        assert row["score"] == pytest.approx(np.mean(each), abs=1e-12)
        assert row["num_sources"] == len({sources[i] for i in members})
        equal = row["k"] / (row["num_sources"] - 1)  # the least, if sources had equally many rows
        assert equal - 1e-12 <= row["chance"] < 1.2 * equal


def test_other_settings_of_the_metric_and_the_features(bench: Bench) -> None:
    """Each in its own way through all rows; at n = queries nothing may change."""
    for said in (
        {"metrics": [{"name": "mutual_knn", "k": 3, "similarity": "euclidean", "center": True}]},
        {"preprocess": "paper"},
        {"preprocess": {"clip_scope": "model", "clip_estimate": "exact", "center": "before"}},
        {"preprocess": {"clip_quantile": 1, "normalize": "none"}},
        {"preprocess": {"standardize": True, "remove_components": 1}},
        {"concatenated": True},
    ):
        _, best, gallery = grow(bench, **said)
        smallest = gallery[(gallery["n"] == Q) & (gallery["k_rule"] == "3")]
        expected = best["score"].tolist()  # ties are added up in another order
        assert smallest["score"].tolist() == pytest.approx(expected, abs=1e-12), said


def test_shuffled_pairs_keep_galleries_and_queries_apart(bench: Bench) -> None:
    _, _, gallery = grow(bench, controls={"shuffled_pairs": True})

    assert set(gallery["control"]) == {"", "shuffled"}
    by_pair = gallery.pivot_table(
        index=["x", "y", "n", "k_rule"], columns="control", values="score"
    )
    moved = (by_pair[""] - by_pair["shuffled"]).abs().groupby("n").max()
    assert (moved > 0.05).all()  # in the gallery of the queries alone as well


def test_shuffled_pairs_keep_to_the_groups_of_the_null(bench: Bench, tmp_path: Path) -> None:
    """Only the first two rows may change places: the score is that of one order or the other."""
    file = tmp_path / "groups.csv"
    pd.DataFrame({"id": IDS, "group": ["both", "both", *IDS[2:]]}).to_csv(file, index=False)
    null = {"permutations": 0, "within": str(file)}

    _, best, gallery = grow(bench, controls={"shuffled_pairs": True}, null=null)

    chosen = best[best["control"] == ""].set_index(["x", "y"])
    rows = gallery[(gallery["n"] == Q) & (gallery["k"] == 3) & (gallery["control"] == "shuffled")]
    assert len(rows) == len(chosen) == 4
    for row in rows.itertuples():
        pair = chosen.loc[(row.x, row.y)]
        x, y = prepared(row.x, pair["layer_x"])[:Q], prepared(row.y, pair["layer_y"])[:Q]
        swapped = y[[1, 0, *range(2, Q)]]
        either = [
            oracles.mutual_knn(x.double().numpy(), o.double().numpy(), 3) for o in (y, swapped)
        ]
        assert min(abs(row.score - score) for score in either) < 1e-12


def test_what_is_finished_is_not_searched_again(bench: Bench) -> None:
    _, _, before = grow(bench)
    written = bench.parts()
    searches = sorted(path for path in written if path.suffix == ".safetensors")

    grow(bench)
    assert bench.parts() == written
    searches[0].unlink()
    grow(bench)
    after = bench.parts()
    assert {path for path in after if after[path] != written[path]} == {searches[0]}

    _, _, again = grow(bench, gallery={"seed": 1})
    assert not again["score"].equals(before["score"])
    largest = again["n"] == N  # all rows, whatever the order in which they join
    pd.testing.assert_frame_equal(again[largest], before[largest])


def test_more_sizes_leave_the_layers_alone(bench: Bench) -> None:
    grow(bench)
    written = {p: t for p, t in bench.parts().items() if p.suffix != ".safetensors"}

    grow(bench, gallery={"sizes": [8, 12, 15, "all"]})

    after = bench.parts()
    assert {path: after[path] for path in written} == written
    assert {p for p in after if p.suffix != ".safetensors"} == set(written)


def test_a_damaged_row_outside_the_queries_costs_its_pairs_only(bench: Bench) -> None:
    shard = bench.cells["eyes-a"].shard_path(2)  # rows 16 to 21
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1  # in the last layer
    content[-N * 4] ^= 1
    shard.write_bytes(content)

    errors, best, gallery = grow(bench)

    chosen = best.loc[best["y"] == "eyes-a", "layer_y"].unique()
    assert {f"gallery eyes-a, layer {i}" for i in chosen} == set(errors)
    assert all(isinstance(error, IntegrityError) for error in errors.values())
    assert set(best["y"]) == {"eyes-a", "eyes-b"}
    assert set(gallery["y"]) == {"eyes-b"}


def test_a_value_that_is_not_finite_is_named(bench: Bench) -> None:
    features = [layer.clone() for layer in FEATURES["eyes-a"]]
    for layer in features:
        layer[17, 0] = torch.nan
    bench.put("eyes-a", features, changed=True)

    errors, _, _ = grow(bench)

    (error, *_) = [e for cell, e in errors.items() if "eyes-a" in cell]
    assert isinstance(error, DataError)
    assert "eyes-a: layer " in str(error)
    assert "row 17 holds a value that is not finite" in str(error)


def test_what_does_not_fit_the_rows_is_said_before_any_work(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"asks for 30 rows, and the dataset has {N}"):
        grow(bench, gallery={"sizes": [8, 30]})
    with pytest.raises(AbsentError, match=r"align\.gallery\.groups: there is no file"):
        grow(bench, gallery={"groups": str(tmp_path / "none.csv")})
    groups = pd.DataFrame({"id": IDS, "group": [i % 3 for i in range(N)]})
    groups.to_csv(tmp_path / "groups.csv", index=False)
    with pytest.raises(ConfigError, match="k: 3 means 3 sources in the gallery of 8 rows, which"):
        grow(bench, gallery={"groups": str(tmp_path / "groups.csv")})
    for text, problem in (
        ("", "lacks the column 'group'; it has none"),
        (",".join(f"c{i}" for i in range(9999)), "lacks .* and 9899 more"),
        ("id,group\n" + "".join(f"{i},x,y\n" for i in IDS), "line 2: expected 2 cells"),
        ("id,group\n" + f"{IDS[0]}\n", "line 2: expected 2 cells"),
        ("id,group\n" + f'{IDS[0]},"a\n', "cannot be read as CSV"),
        ("id,group\n" + f"{IDS[0]},{'a' * 140_000}\n", "cannot be read as CSV"),
        ("id,group\n" + "".join(f"{i},\n" for i in IDS), "line 2: row .* has no group"),
        ("id,group\n" + f"{IDS[0]},a\n{IDS[0]},b\n", "line 3: row .* was named before"),
    ):
        (tmp_path / "groups.csv").write_text(text)
        with pytest.raises(DataError, match=problem):
            grow(bench, gallery={"groups": str(tmp_path / "groups.csv")})
    assert not bench.results.best.exists()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"sizes": [1024, 512]}, "must rise"),
        ({"sizes": ["all", 2048]}, "must rise"),
        ({"sizes": [512, 1024]}, "512 is too few for 1024"),
        ({"k": [1024]}, "fewer than the 1023 other rows"),
        ({"k": ["100%"]}, "fewer than the 1023 other rows"),
        ({"k": [1, 1]}, "twice"),
        ({"k": ["5%", "5.0%"]}, "twice"),
        ({"k": ["0%"]}, "no neighbors"),
        ({"k": ["1 percent"]}, "pattern"),
    ],
)
def test_galleries_that_cannot_be(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        GalleryConfig.model_validate(said)


def test_the_metric_must_be_there(bench: Bench) -> None:
    with pytest.raises(ValueError, match="must be there, with `ties: shared`"):
        bench.config(metrics=["cka"], gallery=GALLERY)


def test_a_share_of_the_gallery_is_rounded() -> None:
    gallery = GalleryConfig()

    assert [gallery.neighbors("1%", n) for n in (40, 149, 150, 1024)] == [1, 1, 2, 10]
    assert gallery.neighbors("0.5%", 1000) == 5
    assert gallery.neighbors(10, 1024) == 10
