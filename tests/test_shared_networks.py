"""A network is loaded once for all its cells, and read once for several pools.

What is counted are calls of the modules that every forward pass goes through.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from runs import run_of
from test_language import SHAPE, SIZE, save, save_random
from timm.layers import PatchEmbed
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from platorep.config import ExperimentConfig
from platorep.data import load_dataset
from platorep.extraction import extract, open_work
from platorep.extraction.work import by_network
from platorep.features import Cell
from platorep.models import open_model
from platorep.reporting import Reporter
from platorep.results import Results

WITHIN = {"pairs": []}
EYE = {"name": "test_vit", "random_init": True, "arguments": {"img_size": 32}}
POOLS = ["cls", "mean"]


@dataclass
class Count:
    passes: int = 0


@contextmanager
def counted(of: type[nn.Module]) -> Iterator[Count]:
    """How often a module of this class runs."""
    count = Count()

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        count.passes += isinstance(module, of) and output.device.type != "meta"

    handle = register_module_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()


def make(
    folder: Path, model: dict[str, Any], said: dict[str, Any], modality: str = "vision"
) -> dict[str, Cell]:
    """Extract one model in a folder of its own: label -> cell."""
    raw = {
        "name": "shared",
        "dataset": {"source": "toyworld", "world": {"image_size": 32}, "limit": 12},
        "families": [{"name": "f", "modality": modality, "models": [model]}],
        "align": WITHIN,
        "extract": {"rows_per_shard": 8, "batch": 4 if modality == "vision" else 64},
    }
    config = ExperimentConfig.model_validate(raw | said)
    results = Results(folder / "results")
    failures = extract(run_of(config, results, folder / "cache", Reporter(-1)))
    assert failures.errors == {}
    cells = results.read_json(results.cells, "extract")["cells"]
    return {label: Cell(folder / "cache" / cell["folder"]) for label, cell in cells.items()}


def same_bits(one: Cell, other: Cell) -> bool:
    return one.folder.name == other.folder.name and all(
        torch.equal(x, y) for x, y in zip(one.read(), other.read(), strict=True)
    )


def test_several_pools_take_one_forward_pass(tmp_path: Path) -> None:
    passes, alone = {}, {}
    for pool in POOLS:
        with counted(PatchEmbed) as count:
            (alone[pool],) = make(tmp_path / pool, EYE | {"pool": pool}, {}).values()
        passes[pool] = count.passes
    with counted(PatchEmbed) as count:
        together = make(tmp_path / "both", EYE | {"pool": POOLS}, {})
    assert list(together) == ["test_vit (random) (cls)", "test_vit (random) (mean)"]
    assert count.passes == passes["cls"] == passes["mean"] > 0
    for pool in POOLS:
        assert same_bits(together[f"test_vit (random) ({pool})"], alone[pool])
    assert not torch.equal(alone["cls"].read()[0], alone["mean"].read()[0])


def test_pools_of_texts_take_one_forward_pass(tmp_path: Path) -> None:
    save(tmp_path / "llama")
    model = {"name": str(tmp_path / "llama")}
    passes, alone = {}, {}
    for pool in ("mean", "last"):
        with counted(nn.Embedding) as count:
            (alone[pool],) = make(tmp_path / pool, model | {"pool": pool}, {}, "language").values()
        passes[pool] = count.passes
    with counted(nn.Embedding) as count:
        both = make(tmp_path / "both", model | {"pool": ["mean", "last"]}, {}, "language")
    assert count.passes == passes["mean"] == passes["last"] > 0
    assert same_bits(both["llama (mean)"], alone["mean"])
    assert same_bits(both["llama (last)"], alone["last"])


def test_several_views_take_one_load(tmp_path: Path) -> None:
    data = {"source": "toyworld", "world": {"image_size": 32}, "limit": 12}
    data["views"] = {"grey": {"of": "image", "change": "grey"}}

    def said(*views: str) -> dict[str, Any]:
        family = {"name": "f", "modality": "vision", "models": [EYE], "reads": list(views)}
        return {"dataset": data, "families": [family]}

    passes, alone = {}, {}
    for view in ("image", "grey"):
        with counted(PatchEmbed) as count:
            (alone[view],) = make(tmp_path / view, EYE, said(view)).values()
        passes[view] = count.passes
    spec = ExperimentConfig.model_validate({"name": "a", "align": WITHIN} | said("image")).models()[
        0
    ]
    with counted(PatchEmbed) as loading:
        open_model(spec, offline=True).load("cpu", torch.float32)
    with counted(PatchEmbed) as count:
        both = make(tmp_path / "both", EYE, said("image", "grey"))
    assert loading.passes > 0  # it is asked how it may be batched
    assert count.passes == passes["image"] + passes["grey"] - loading.passes
    assert same_bits(both["test_vit (random)"], alone["image"])
    assert same_bits(both["test_vit (random) (grey)"], alone["grey"])


def test_what_is_missing_of_one_pool_is_made_without_the_others(tmp_path: Path) -> None:
    model = EYE | {"pool": POOLS}
    cells = make(tmp_path, model, {})
    kept = {
        label: [cell.shard_path(i).stat().st_mtime_ns for i in (0, 1)]
        for label, cell in cells.items()
    }
    cls, mean = cells.values()
    before = mean.read()
    mean.shard_path(1).unlink()
    again = make(tmp_path, model, {})
    assert all(torch.equal(x, y) for x, y in zip(mean.read(), before, strict=True))
    times = [again[label].shard_path(0).stat().st_mtime_ns for label in again]
    assert times == [kept[label][0] for label in kept]
    assert cls.shard_path(1).stat().st_mtime_ns == next(iter(kept.values()))[1]


def test_a_view_that_fails_is_a_failure_of_its_own(tmp_path: Path) -> None:
    """The captions are longer than the network has positions, and their first words are not."""
    config = transformers.LlamaConfig(**SHAPE | {"max_position_embeddings": 5}, **SIZE)
    save_random(tmp_path / "llama", transformers.AutoModelForCausalLM, config)
    family = {
        **{"name": "f", "modality": "language", "reads": ["text", "short"]},
        "models": [{"name": str(tmp_path / "llama"), "pool": ["mean", "last"]}],
    }
    views = {"short": {"of": "text", "change": "first_words", "n": 2}}
    experiment = ExperimentConfig.model_validate(
        {
            "name": "shared",
            "dataset": {"source": "toyworld", "limit": 12, "views": views},
            "families": [family],
            "align": WITHIN,
        }
    )
    labels = [spec.label for spec in experiment.models()]
    assert labels == [
        f"llama ({pool}){view}" for pool in ("mean", "last") for view in ("", " (short)")
    ]
    run = run_of(experiment, Results(tmp_path / "results"), tmp_path / "cache", Reporter(-1))
    dataset = load_dataset(experiment.dataset, offline=True)
    models = [open_model(spec, offline=True) for spec in run.specs]
    works = [open_work(run, model, dataset) for model in models]
    assert [[work.label for work in group] for group in by_network(works)] == [labels]
    assert [len(group) for group in by_network([*works, works[0]])] == [4, 1]
    failures = extract(run)
    assert list(failures.errors) == ["llama (mean)", "llama (last)"]
    assert "has positions for 5" in str(failures.errors["llama (mean)"])
    assert [work.cell.exists() for work in works] == [False, True, False, True]


def test_a_pool_that_is_refused_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_net.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.Linear(3, 4))\n"
        "def words(text):\n    return torch.ones(4, 3) * len(text)\n"
    )
    model = {"name": "own_net:build", "inputs": "own_net:words", "backend": "module"}
    raw = {
        "name": "pools",
        "dataset": {"source": "toyworld", "world": {"image_size": 32}, "limit": 12},
        "families": [{"name": "f", "modality": "other", "reads": "text", "models": [model],
                      "layers": ["0"], "pool": ["patches_mean", "mean"]}],
        "align": WITHIN,
    }  # fmt: skip
    config, results = ExperimentConfig.model_validate(raw), Results(tmp_path / "results")

    failures = extract(run_of(config, results, tmp_path / "cache", Reporter(-1)))

    assert list(failures.errors) == ["own_net:build (patches_mean) (text)"]
    cell = results.read_json(results.cells, "extract")["cells"]["own_net:build (mean) (text)"]
    assert Cell(tmp_path / "cache" / cell["folder"]).is_complete()


def test_pools_are_listed_once() -> None:
    def config(pool: Any) -> ExperimentConfig:
        model = EYE | {"pool": pool}
        return ExperimentConfig.model_validate(
            {
                "name": "a",
                "dataset": {"source": "toyworld"},
                "families": [{"name": "f", "modality": "vision", "models": [model]}],
                "align": WITHIN,
                "controls": {"random_weights": True},
            }
        )

    for pool in ([], ["cls", "cls"]):
        with pytest.raises(ValueError, match="`pool` must list at least one, and none twice"):
            config(pool)
    assert [spec.pool for spec in config(["mean"]).models()] == ["mean"]


def test_random_copies_of_several_pools_are_one_network() -> None:
    models = [
        {"name": "test_vit.r160_in1k", "pool": POOLS},
        {"name": "test_vit.other", "label": "other", "pool": "cls"},
    ]
    config = ExperimentConfig.model_validate(
        {
            "name": "a",
            "dataset": {"source": "toyworld"},
            "families": [{"name": "f", "modality": "vision", "models": models}],
            "align": WITHIN,
            "controls": {"random_weights": True},
        }
    )
    copies = {spec.label: spec.seed for spec in config.models() if spec.random_of}
    assert copies == {
        "test_vit.r160_in1k (cls) (random)": 0,
        "test_vit.r160_in1k (mean) (random)": 0,
        "other (random)": 1,
    }


def test_random_copies_of_ones_own_networks_are_of_what_has_a_checkpoint() -> None:
    """Of others nobody knows whether their function can leave its weights random."""
    own = {"inputs": "m:f", "layers": ["output"]}
    models = [
        own | {"name": "m:net", "label": "trained", "checkpoint": "net.pth"},
        own | {"name": "m:other", "label": "formula"},
    ]
    family = {"name": "f", "modality": "vision", "backend": "module", "models": models}
    config = ExperimentConfig.model_validate(
        {
            "name": "a",
            "dataset": {"source": "toyworld"},
            "families": [family],
            "align": WITHIN,
            "controls": {"random_weights": True},
        }
    )
    assert [spec.label for spec in config.models()] == ["trained", "formula", "trained (random)"]
