"""A finished experiment, looked at: its numbers are those of the tables and the cache."""

import numpy as np
import pytest
import torch
from runs import run_of

from platorep.config import ExperimentConfig
from platorep.errors import AbsentError, UnknownNameError
from platorep.execute import run_stages
from platorep.opened import Opened


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    families = [
        {"name": "tiny Llamas", "modality": "language", "models": ["llama8"]},
        {"name": "tiny ResNets", "modality": "vision", "models": ["conv4"]},
    ]
    config = ExperimentConfig.model_validate(
        {
            "name": "opened",
            "dataset": {"source": "toyworld", "limit": 48},
            "families": [f | {"backend": "toyworld", "training": {"steps": 0}} for f in families],
            "align": {"metrics": [{"name": "mutual_knn", "k": 5}], "null": {"permutations": 9}},
            "report": {"after_run": False},
        }
    )
    folder = tmp_path_factory.mktemp("opened")
    run = run_of(config, folder / "results", folder / "cache")
    errors, _ = run_stages(run)
    assert not errors
    return Opened(run)


def test_neighbors_are_those_that_a_plain_search_finds(opened: Opened) -> None:
    found = opened.neighbors("llama8", "conv4")
    for model, layer, lists in (
        ("llama8", found.layer_x, found.x),
        ("conv4", found.layer_y, found.y),
    ):
        features = torch.nn.functional.normalize(opened.layers(model)[layer].double())
        similar = (features @ features.T).fill_diagonal_(-2.0)
        np.testing.assert_array_equal(lists, similar.topk(5, dim=1).indices.numpy())


def test_agreement_is_the_share_of_common_neighbors_and_its_mean_the_score(opened: Opened) -> None:
    found = opened.neighbors("llama8", "conv4")
    by_hand = [len({*a} & {*b}) / 5 for a, b in zip(found.x, found.y, strict=True)]
    np.testing.assert_allclose(found.agreement, by_hand)
    assert found.agreement.mean() == pytest.approx(opened.best["score"].iloc[0])


def test_other_neighbors_can_be_asked_for(opened: Opened) -> None:
    found = opened.neighbors("llama8", "conv4", k=3, layer_x=0, layer_y=1)
    assert (found.layer_x, found.layer_y) == (0, 1)
    assert found.x.shape == found.y.shape == (48, 3)
    assert list(found.ids) == list(opened.features("conv4").ids)


def test_unknown_models_and_pairs_are_told(opened: Opened) -> None:
    with pytest.raises(UnknownNameError, match=r"llama9.*llama8"):
        opened.neighbors("llama9", "conv4")
    with pytest.raises(AbsentError, match="conv4 x llama8 is no pair"):
        opened.neighbors("conv4", "llama8")
