"""Feature files of the paper's released code, and their way into the cache."""

from pathlib import Path

import pytest
import torch
from runs import run_of

from platorep.config import ExperimentConfig
from platorep.data import load_dataset
from platorep.errors import AbsentError, DataError, IntegrityError
from platorep.extraction import adopt
from platorep.features import Cell
from platorep.models.released import read_released
from platorep.results import Results


def test_released_files_are_read_as_tensors_only(tmp_path: Path) -> None:
    feats = torch.randn(3, 2, 4).bfloat16()
    torch.save({"feats": feats, "num_params": 5}, tmp_path / "good.pt")
    torch.save({"feats": feats[0]}, tmp_path / "flat.pt")
    torch.save({"feats": feats, "code": Path("x")}, tmp_path / "objects.pt")

    assert torch.equal(read_released(tmp_path / "good.pt"), feats.float())
    for name in ("flat.pt", "objects.pt"):
        with pytest.raises(IntegrityError, match=name):
            read_released(tmp_path / name)
    with pytest.raises(AbsentError):
        read_released(tmp_path / "none.pt")


def test_they_become_a_models_cell(tmp_path: Path) -> None:
    family = {"modality": "language", "models": ["gpt2"]}
    config = ExperimentConfig.model_validate(
        {
            "name": "test",
            "dataset": {"source": "toyworld", "limit": 5},
            "families": [family | {"name": "a"}, family | {"name": "b", "models": ["c"]}],
            "align": {"pairs": [["language", "language"]]},
            "extract": {"rows_per_shard": 2},
        }
    )
    dataset, spec = load_dataset(config.dataset), config.models()[0]
    feats = torch.randn(5, 3, 4)
    torch.save({"feats": feats}, tmp_path / "five.pt")
    torch.save({"feats": feats[:4]}, tmp_path / "four.pt")
    results = Results(tmp_path / "results")

    folder = adopt(run_of(config, results, tmp_path), spec, dataset, tmp_path / "five.pt")

    assert torch.equal(torch.stack(Cell(folder).read(), dim=1), feats)
    cells = results.read_json(results.cells, "extract")["cells"]
    assert tmp_path / cells["gpt2"]["folder"] == folder
    with pytest.raises(DataError, match="4 rows, the dataset 5"):
        adopt(run_of(config, results, tmp_path), spec, dataset, tmp_path / "four.pt")
