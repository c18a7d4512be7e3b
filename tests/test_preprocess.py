"""Clipping and normalising, against numpy and by hand."""

import numpy as np
import pytest
import torch

from platorep.errors import DataError
from platorep.preprocess import clip_threshold, preprocess


def test_sample_mean_is_the_mean_of_each_samples_quantile(rng: torch.Generator) -> None:
    layers = [torch.randn(37, d, generator=rng) for d in (5, 8)]
    together = torch.cat(layers, dim=1).abs().double().numpy()

    found = clip_threshold(layers, 0.95, "sample_mean")

    assert found == pytest.approx(np.quantile(together, 0.95, axis=1).mean(), rel=1e-6)


def test_exact_is_the_quantile_of_all_values(rng: torch.Generator) -> None:
    layers = [torch.randn(37, d, generator=rng) for d in (5, 8)]
    together = torch.cat(layers, dim=1).abs().double().numpy()

    assert clip_threshold(layers, 0.9, "exact") == pytest.approx(
        np.quantile(together, 0.9), rel=1e-6
    )


def test_by_hand() -> None:
    small, large = torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 300.0]])
    settings = {"clip_quantile": 0.5, "clip_estimate": "exact", "normalize": "none"}

    together = preprocess([small, large], clip_scope="model", **settings)
    apart = preprocess([small, large], clip_scope="layer", **settings)

    assert [t.tolist() for t in together] == [[[0.0, 1.5]], [[0.0, 1.5]]]
    assert [t.tolist() for t in apart] == [[[0.0, 1.5]], [[0.0, 150.0]]]


def test_rows_have_unit_length_and_zeros_stay() -> None:
    settings = {"clip_quantile": 1.0, "clip_scope": "model", "clip_estimate": "exact"}

    (found,) = preprocess([torch.tensor([[3.0, 4.0], [0.0, 0.0]])], normalize="l2", **settings)

    assert torch.allclose(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_a_value_that_is_not_finite_is_named() -> None:
    bad = torch.zeros(3, 2)
    bad[1, 0] = float("nan")
    settings = {"clip_quantile": 0.95, "clip_scope": "model", "clip_estimate": "exact"}

    with pytest.raises(DataError, match="layer 1, row 1"):
        preprocess([torch.ones(3, 2), bad], normalize="l2", **settings)


def test_clipping_that_would_erase_everything_is_refused() -> None:
    settings = {"clip_scope": "model", "clip_estimate": "sample_mean", "normalize": "l2"}
    one_hot = torch.eye(40)

    with pytest.raises(DataError, match="clip_quantile: 1"):
        preprocess([one_hot], clip_quantile=0.95, **settings)
    assert torch.equal(preprocess([one_hot], clip_quantile=1.0, **settings)[0], one_hot)
    preprocess([torch.zeros(3, 2)], clip_quantile=0.95, **settings)  # nothing to erase
