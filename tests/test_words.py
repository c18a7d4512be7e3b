"""Probes of words at one width: areas by counting pairs, planted layers, a measure of models.

Axes: n rows, d features, w words.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from elsewhere import Elsewhere
from runs import run_of
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from platorep.config import ExperimentConfig, WordsConfig
from platorep.data import load_dataset
from platorep.errors import DataError, NotComputedError
from platorep.features import Cell
from platorep.performance import measure
from platorep.performance.words import Labels, areas, labels_of, probe_words, reduce, words_key

N = 240


def config(**said: Any) -> WordsConfig:
    return WordsConfig.model_validate({"name": "words", "words": ["a", "b"]} | said)


def test_areas_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    told, having = rng.integers(0, 5, (30, 2)).astype(float), rng.random((30, 2)) < 0.4

    found, stderr = areas(told, having)

    for scores, has, area in zip(told.T, having.T, found, strict=True):
        pairs = [(p > q) + (p == q) / 2 for p in scores[has] for q in scores[~has]]
        assert area == pytest.approx(np.mean(pairs))
    draws = [rng.integers(0, 30, 30) for _ in range(500)]
    means = [areas(told[rows], having[rows])[0].mean() for rows in draws]
    assert stderr == pytest.approx(np.std(means), rel=0.15)


@pytest.mark.parametrize("d", [12, 60])
def test_one_width_by_principal_components(d: int) -> None:
    rng = np.random.default_rng(1)
    z, known = rng.normal(size=(50, d)) @ rng.normal(size=(d, d)), np.arange(40)
    scaler = StandardScaler().fit(z[known])
    expected = (
        PCA(5, svd_solver="full").fit(scaler.transform(z[known])).transform(scaler.transform(z))
    )

    found = reduce(z, known, 5)

    assert found[known].var(axis=0).mean() == pytest.approx(1)
    signs = np.sign((found * expected).sum(axis=0))  # a component may point either way
    scale = np.sqrt(expected[known].var(axis=0).mean())
    np.testing.assert_allclose(found * signs * scale, expected, atol=1e-8)


def planted(seed: int = 0) -> tuple[np.ndarray, Labels]:
    """Two words, and what each row has of them."""
    rng = np.random.default_rng(seed)
    having = rng.random((N, 2)) < 0.3
    texts = [" ".join(["x", *np.array(["a", "b"])[has]]) for has in having]
    return having, labels_of(config(), texts)


def test_what_is_planted_is_told_and_nothing_else() -> None:
    having, labels = planted()
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(N, 24))
    knows = noise + np.pad(2.0 * having, ((0, 0), (0, 22)))
    assert (labels.having == having).all()

    found = probe_words(config(), ["noise", "knows"], [noise, knows], labels, 24)
    none = probe_words(config(), ["noise"], [noise], labels, 24)

    assert found.layer == "knows"
    assert found.value > 0.85
    assert found.shuffled == pytest.approx(0.5, abs=0.15)
    assert none.value == pytest.approx(0.5, abs=0.15)
    assert found.converged
    narrow = probe_words(config(), ["narrow", "knows"], [knows[:, :2], knows], labels, 8)
    assert narrow.layer == "knows"  # the other has no 8 dimensions


def test_rows_are_divided_once_and_by_the_seed() -> None:
    _, labels = planted()
    parts = np.concatenate([labels.train, labels.validation, labels.test])
    assert sorted(parts) == list(range(N))
    assert (len(labels.train), len(labels.validation), len(labels.test)) == (120, 48, 72)
    texts = ["a" if has else "b" for has in labels.having[:, 0]]
    assert list(labels_of(config(seed=1), texts).test) != list(labels.test)
    with pytest.raises(DataError, match=r"[01] of .* rows have the word 'a': too few"):
        labels_of(config(), ["a a", "b"] + ["b x"] * 10 + ["x"] * 20)


def experiment(tmp_path: Path, **words: Any) -> ExperimentConfig:
    """Arrays of one's own, wide and narrow, that know the colours of toy scenes, or nothing."""
    rng = np.random.default_rng(0)
    raw: dict[str, Any] = {
        "name": "test",
        "dataset": {"source": "toyworld", "limit": N // 2},
        "families": [],
        "align": {"pairs": [["other", "other"]]},
    }
    wanted = {"name": "words", "words": ["medium", "big"], "width": 4} | words
    dataset = load_dataset(ExperimentConfig.model_validate(raw | {"families": [
        {"name": "f", "modality": "vision", "models": ["resnet18"]}], "align": {}
        | {"pairs": [["vision", "vision"]]}}).dataset)  # fmt: skip
    texts = dataset.views["text"].texts or ()
    having = np.array(
        [[word in re.findall(r"\w+", text) for word in ("medium", "big")] for text in texts]
    )
    arrays = {
        "knows": np.hstack([4.0 * having, rng.normal(size=(len(texts), 6))]),
        "blind": rng.normal(size=(len(texts), 16)),
        "narrow": 4.0 * having,
    }
    for name, values in arrays.items():
        np.savez(tmp_path / f"{name}.npz", layer=values.astype(np.float32), ids=dataset.ids)
    files = [str(tmp_path / f"{name}.npz") for name in arrays]
    family = {"name": "own", "modality": "other", "backend": "features", "models": files}
    return ExperimentConfig.model_validate(raw | {"families": [family], "performance": [wanted]})


def test_a_measure_of_models_at_one_width(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)

    def run(config: ExperimentConfig, **options: Any) -> tuple[Any, pd.DataFrame]:
        return measure(run_of(config, tmp_path / "results", tmp_path / "cache", **options))

    failures, table = run(wanted)

    assert not failures.errors
    values = table.set_index("model")["value"]
    assert list(values.index) == ["knows.npz", "blind.npz"]
    assert values.iloc[0] > 0.8
    assert values.iloc[1] == pytest.approx(0.5, abs=0.2)
    assert (table["better"] == "higher").all()
    assert table["source"].str.contains("4 dimensions of layer.*labels of other rows").all()

    engine = Elsewhere(tmp_path / "worker")
    place = (tmp_path / "results 2", tmp_path / "cache 2")
    _, from_elsewhere = measure(run_of(wanted, *place, engine=engine))
    pd.testing.assert_frame_equal(from_elsewhere, table)
    assert {done.unit.name for done in engine.done} == {"words of knows.npz", "words of blind.npz"}

    again, same = run(wanted, overwrite="never")
    assert not again.errors
    pd.testing.assert_frame_equal(same, table)
    narrowest, all_three = run(experiment(tmp_path, width=None))
    assert not narrowest.errors
    assert all_three["source"].str.contains(" 2 dimensions").all()
    assert len(all_three) == 3
    with pytest.raises(NotComputedError, match="words of knows"):
        run(experiment(tmp_path, seed=1), overwrite="never")


OTHERS: dict[str, Any] = {
    "layers": "last",
    "c": (0.5,),
    "max_iterations": 5,
    "validation_share": 0.3,
    "test_share": 0.2,
    "seed": 1,
}


def test_every_setting_is_in_the_key() -> None:
    _, labels = planted()
    cell = Cell(Path("cell"))
    keys = [words_key(config(**{name: value}), labels, cell, 4) for name, value in OTHERS.items()]
    keys += [words_key(config(), labels, cell, width) for width in (4, 5)]
    assert len(set(keys)) == len(keys)
    assert set(OTHERS) | {"name", "words", "view", "width"} == set(WordsConfig.model_fields)
