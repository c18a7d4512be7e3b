"""The Python interface."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import platorep
from platorep.config import PreprocessConfig
from platorep.errors import AbsentError, ConfigError, DataError, UnknownNameError
from platorep.features import CellKey, RowIdentities, cell_of
from platorep.files import write_json
from platorep.preprocess import preprocess


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


X = on_circle(0, 10, 90, 100)  # nearest: 0->1, 1->0, 2->3, 3->2
Y = on_circle(0, 10, 30, 100)  # nearest: 0->1, 1->0, 2->1, 3->2


def test_two_arrays_give_a_number() -> None:
    assert platorep.score(X, Y, metric="mutual_knn", k=1) == 3 / 4
    assert platorep.score(torch.from_numpy(X), Y, k=1) == 3 / 4


def test_lists_of_layers_give_a_grid() -> None:
    found = platorep.score([X, Y], [Y, X, Y], k=1)

    assert found.tolist() == [[3 / 4, 1.0, 3 / 4], [1.0, 3 / 4, 1.0]]
    assert platorep.score([X], Y, k=1).tolist() == [[3 / 4]]


def test_whole_numbers_are_features_too() -> None:
    counts = np.arange(24).reshape(8, 3) % 7

    assert platorep.score(counts, counts.astype(np.float32), k=2) > 0.9


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError, match="at least 4 samples"):
        platorep.score(X, Y[:3], k=1)
    with pytest.raises(DataError, match="expected two axes"):
        platorep.score(X[None], Y, k=1)
    with pytest.raises(UnknownNameError, match="mutual_knn"):
        platorep.score(X, Y, metric="mutual_kn")
    with pytest.raises(ConfigError, match="'k'"):
        platorep.score(X, Y, kk=3)


def test_metrics_are_listed() -> None:
    assert "mutual_knn" in platorep.list_metrics()


def test_type_checkers_are_told_to_read_the_annotations() -> None:
    root = Path(platorep.__file__).parent
    settings = tomllib.loads((root.parent / "pyproject.toml").read_text(encoding="utf-8"))

    assert (root / "py.typed").is_file()
    assert "py.typed" in settings["tool"]["setuptools"]["package-data"]["platorep"]


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = platorep.scores


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment with one model `m`: two layers on six rows."""
    monkeypatch.setenv("PLATOREP_CACHE", str(tmp_path))
    rows = RowIdentities(ids=tuple("abcdef"), hashes=tuple("123456"))
    key = CellKey(
        model={"name": "m"}, rows=rows.fingerprint, compute_dtype="float32", store_dtype="float32"
    )
    cell = cell_of(tmp_path, "data", "m", key)
    cell.create(key, rows, [("first", 3), ("second", 4)], 6, {})
    cell.write_shard(0, LAYERS)
    folder = cell.folder.relative_to(tmp_path).as_posix()
    write_json(tmp_path / "results" / "cells.json", {"cells": {"m": {"folder": folder}}})
    align = {"preprocess": {"clip_quantile": 0.7}, "metrics": [{"name": "cka", "parameters": {}}]}
    write_json(tmp_path / "results" / "run.json", {"config": {"align": align}})
    return tmp_path / "results"


LAYERS = [torch.randn(6, d, generator=torch.Generator().manual_seed(d)) for d in (3, 4)]


def test_features_of_an_experiment(results: Path) -> None:
    found = platorep.load_features(results, "m")

    assert all(torch.equal(a, b) for a, b in zip(found.layers, LAYERS, strict=True))
    assert (found.names, found.ids) == (["first", "second"], tuple("abcdef"))
    with pytest.raises(UnknownNameError, match="Known: m"):
        platorep.load_features(results, "n")
    with pytest.raises(AbsentError, match="platorep extract"):
        platorep.load_features(results / "none", "m")


def test_a_reference_says_why_there_is_no_score(results: Path) -> None:
    reference = platorep.Reference(results, "m", k=2)

    with pytest.warns(UserWarning, match="no score: .*constant: all rows are equal"):
        assert np.isnan(reference(torch.ones(6, 3)))


def test_a_reference_scores_features_as_the_experiment_would(results: Path) -> None:
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(9))
    settings = PreprocessConfig(clip_quantile=0.7)
    (own,), theirs = preprocess([features], settings), preprocess(LAYERS, settings)
    expected = platorep.score([own], theirs, k=2).max()

    reference = platorep.Reference(results, "m", k=2)

    assert reference(features) == expected
    assert reference([features, LAYERS[1]]) == 1.0  # the second is the reference's own
    with pytest.raises(DataError, match=r"\(5, 5\), expected 6 rows"):
        reference(features[:5])


def test_every_name_that_is_handed_on_is_there() -> None:
    for name in platorep.__all__:
        assert getattr(platorep, name) is not None
