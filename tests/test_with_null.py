"""Scores with their permutation null, from Python."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from runs import run_of

import platorep
from platorep.config import ExperimentConfig
from platorep.errors import ConfigError
from platorep.execute import align_stage, extract_stage
from platorep.experiment_rows import open_rows
from platorep.metrics import Claims, own_metric
from platorep.statistics import draw_order

K = 19


def layers(*widths: int, seed: int = 0) -> list[torch.Tensor]:
    """Layers of 24 samples that share a part."""
    rng = torch.Generator().manual_seed(seed)
    shared = torch.randn(24, 2, generator=torch.Generator().manual_seed(99))
    return [
        torch.cat([shared, 2 * torch.randn(24, width, generator=rng)], dim=1) for width in widths
    ]


APART = own_metric(
    name="apart",
    compare=lambda x, y: (x[:, 0] - y[:, 0]).abs().mean(),
    claims=Claims(low=0.0, perfect=0.0, larger_is_closer=False),
)


@pytest.mark.parametrize(
    ("metric", "parameters"), [("mutual_knn", {"k": 4}), ("rsa", {}), ("test_with_null:APART", {})]
)
def test_the_null_is_the_best_score_of_y_in_other_orders(
    metric: str, parameters: dict[str, int]
) -> None:
    x, y = layers(3, 5), layers(4, 2, 6, seed=1)
    best = np.min if "APART" in metric else np.max
    plain = platorep.score(x, y, metric=metric, **parameters)
    orders = [draw_order(24, 7, index) for index in range(K)]
    null = [best(platorep.score(x, [of[o] for of in y], metric, **parameters)) for o in orders]

    found = platorep.score(x, y, metric, permutations=K, null_seed=7, **parameters)

    np.testing.assert_array_equal(found.scores, plain)
    assert float(found) == found.score == best(plain) == plain[found.layer_x, found.layer_y]
    np.testing.assert_allclose(found.null, null, rtol=1e-6)
    as_good = sum(best([n, found.score]) == n for n in null)
    assert found.p == (1 + as_good) / (K + 1)
    assert found.null_mean == pytest.approx(np.mean(null))
    assert found.null_sd == pytest.approx(np.std(null, ddof=1))


def test_thresholds_are_those_of_the_level_that_is_asked() -> None:
    x, y = layers(3)[0], layers(3, seed=1)[0]
    found = platorep.score(x, y, k=4, permutations=K)
    values = sorted([*found.null, found.score])

    assert found.threshold() == values[K - 1]  # the 19th of 20
    assert found.threshold(0.5) == values[9]
    left = (found.score - found.threshold(0.5)) / (1 - found.threshold(0.5))
    assert found.calibrated(0.5) == pytest.approx(max(left, 0))
    assert found.chance == pytest.approx(4 / 23)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        found.threshold(5.0)


def test_permutations_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="permutations must be 1 or more"):
        platorep.score(*layers(3, 3), k=4, permutations=-1)
    assert isinstance(platorep.score(*layers(3, 3), k=4), float)
    with pytest.warns(UserWarning, match="no score: all layers of x are degenerate"):
        none = platorep.score(torch.ones(24, 3), layers(3)[0], k=4, permutations=K)
    assert np.isnan(none.score)
    assert np.isnan(none.p)


def test_a_metric_keeps_its_own_seed() -> None:
    x, y = layers(3, 5)
    first, second = (
        platorep.score(x, y, "ordinal_triplets", triplets=20, seed=seed, permutations=1).score
        for seed in (0, 1)
    )
    assert first != second


def test_a_reference_has_the_p_of_best_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose null has a seed, and keeps rows inside their groups."""
    monkeypatch.setenv("PLATOREP_CACHE", str(tmp_path / "cache"))
    groups = tmp_path / "groups.csv"
    null = {"permutations": K, "seed": 5, "within": str(groups)}
    family = {"backend": "toyworld", "training": {"steps": 0}}
    config = ExperimentConfig.model_validate(
        {
            "name": "null",
            "dataset": {"source": "toyworld", "limit": 32},
            "families": [
                {"name": "L", "modality": "language", "models": ["llama8"]} | family,
                {"name": "V", "modality": "vision", "models": ["conv4"]} | family,
            ],
            "align": {"metrics": [{"name": "mutual_knn", "k": 3}, "cka"], "null": null},
        }
    )
    run = run_of(config, tmp_path / "results", tmp_path / "cache")
    extract_stage(run)
    ids = open_rows(run.results).ids()
    groups.write_text("id,group\n" + "".join(f"{a},{i % 4}\n" for i, a in enumerate(ids)))
    align_stage(run)
    best = pd.read_csv(run.results.best).set_index("metric")
    own = platorep.load_features(tmp_path / "results", "llama8").layers

    for label, metric in (("mutual_knn{k: 3}", {"k": 3}), (CKA, {"metric": "cka"})):
        reference = platorep.Reference(tmp_path / "results", "conv4", **metric)
        found = reference(own, permutations=K)
        row = best.loc[label]
        assert (found.layer_x, found.layer_y) == (row["layer_x"], row["layer_y"])
        assert found.p == row["p"]
        for name in ("score", "null_mean", "null_sd"):
            assert getattr(found, name) == pytest.approx(row[name], abs=1e-12)
        assert found.threshold() == pytest.approx(row["threshold"], abs=1e-12)
        assert found.calibrated() == pytest.approx(row["calibrated"], abs=1e-12)
        assert reference(own) == found.score


CKA = "cka{kernel: linear, estimator: biased}"
