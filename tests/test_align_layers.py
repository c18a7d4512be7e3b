"""What each layer is like (`layers.csv`), by hand, and what is said of layers that mislead."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_align import FEATURES, Bench, K, N, prepared

from platorep.align.geometry import geometry
from platorep.align.layers import concentration, mean_cosine
from platorep.features import Cell
from platorep.reporting import Reporter


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def layers_of(bench: Bench, **settings: Any) -> pd.DataFrame:
    bench.align(**settings)
    return bench.results.read_table(bench.results.layers, "align").set_index(["model", "layer"])


# --- the numbers ---


def test_every_layer_has_a_row_of_what_is_scored(bench: Bench) -> None:
    """From the loops that are the twin of preprocessing, in float64."""
    table = layers_of(bench)

    assert list(table.index) == [
        (m, i) for m, layers in FEATURES.items() for i in range(len(layers))
    ]
    for (model, number), row in table.iterrows():
        raw, x = FEATURES[model][number].double().numpy(), prepared(model)[number]
        assert row["layer_name"] == str(number)
        assert row["width"] == raw.shape[1]
        assert row["largest_share_before"] == pytest.approx((raw**2).sum(0).max() / (raw**2).sum())
        assert row["largest_share"] == pytest.approx((x**2).sum(0).max() / (x**2).sum())
        assert row["largest_dimension"] == (x**2).sum(0).argmax()
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosines = unit @ unit.T
        assert row["mean_cosine"] == pytest.approx(cosines[~np.eye(N, dtype=bool)].mean(), abs=1e-6)
        eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
        ratio = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
        assert row["effective_dimension"] == pytest.approx(ratio, rel=1e-5)
        for column, value in geometry(torch.from_numpy(x)).items():  # test_geometry.py
            assert row[column] == pytest.approx(value, rel=1e-4, nan_ok=True)


def test_numbers_worked_by_hand() -> None:
    cross = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # 18 of 20 along the first
    assert concentration(cross) == (0, pytest.approx(0.9))
    assert mean_cosine(cross) == pytest.approx(-4 / 12)  # two opposite pairs, twice each
    assert mean_cosine(torch.tensor([[1.0, 0], [0, 0], [5, 0]])) == pytest.approx(2 / 6)


def test_the_queries_alone_are_described(bench: Bench) -> None:
    gallery = {"queries": 8, "sizes": [8, "all"], "k": [1]}
    raw = FEATURES["words-a"][0][:8].double().numpy()

    table = layers_of(bench, gallery=gallery)

    share = (raw**2).sum(0).max() / (raw**2).sum()
    assert table.loc[("words-a", 0), "largest_share_before"] == pytest.approx(share)


# --- what is done once ---


def test_nothing_is_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[str, int]] = []
    read = Cell.read

    def counted(cell: Cell, num_rows: int | None, layers: Sequence[int]) -> list[torch.Tensor]:
        reads.extend((cell.folder.parent.name, layer) for layer in layers)
        return read(cell, num_rows, layers)

    monkeypatch.setattr(Cell, "read", counted)
    table = layers_of(bench)
    once = [(label, layer) for label, of in FEATURES.items() for layer in range(len(of))]
    assert sorted(reads) == sorted(once)

    reads.clear()
    pd.testing.assert_frame_equal(layers_of(bench), table)
    assert reads == []
    (lost, *_) = bench.results.parts.glob("layers-*")
    lost.write_text(lost.read_text().replace("1", "2", 1))  # damaged
    pd.testing.assert_frame_equal(layers_of(bench), table)
    assert len({label for label, _ in reads}) == 1
    reads.clear()
    assert len(layers_of(bench, preprocess={"clip_scope": "model"})) == len(table)
    assert sorted(reads) == sorted(once)


# --- what is said ---


def test_a_dimension_that_drowns_the_others_is_said_with_the_cure(bench: Bench) -> None:
    """One value of 8 is 1,000 times the others; a deep layer of large scale sets the threshold."""
    rng = torch.Generator().manual_seed(0)
    early = [torch.randn(N, 30, generator=rng) for _ in range(2)]
    for layer in early:
        layer[:, 4] = 1000
    bench.put("words-a", [*early, 1e5 * torch.randn(N, 30, generator=rng)])

    table = layers_of(bench, preprocess="paper")

    assert (table.loc["words-a", "largest_share"] > 0.5).tolist() == [True, True, False]
    assert table.loc["words-a", "largest_dimension"].tolist()[:2] == [4, 4]
    (line,) = [w for w in bench.report.warnings if "one dimension" in w]
    assert line.startswith("words-a: ")
    assert "2 of 3 layers" in line
    assert "clip_scope: layer" in line

    bench.report = Reporter(-1)
    cured = layers_of(bench, preprocess={"clip_scope": "layer", "center": "none"})
    assert cured.loc["words-a", "largest_share"].max() < 0.5
    assert cured.loc[("words-a", 0), "largest_share_before"] > 0.99
    assert not bench.report.warnings


def test_layers_that_cannot_be_best_are_named_once_per_model(bench: Bench) -> None:
    bench.put("words-b", [FEATURES["words-b"][0], torch.ones(N, 3), torch.zeros(N, 2)])
    metrics = [{"name": "mutual_knn", "k": K}, {"name": "cka"}]

    for _ in range(2):  # a finished run says it too
        bench.report = Reporter(-1)
        bench.align(metrics=metrics)
        assert len(bench.report.warnings) == 2
        for line, label in zip(bench.report.warnings, ("mutual_knn", "cka"), strict=True):
            assert line.startswith("words-b: ")
            assert label in line
            assert "layer 1, 2: " in line
