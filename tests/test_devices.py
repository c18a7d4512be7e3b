"""On a GPU all comes out as on the CPU, and no tensor is left behind.

Where there is no GPU, a device that only says it is one shows the latter (`fake_gpu.py`); with the
mark `gpu` the same is asked of a real one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_language
import test_vision
import torch
from fake_gpu import fake_gpu
from runs import run_of
from test_align import Bench
from test_gallery_search import SIZES, Q, galleries, in_blocks
from test_metric_claims import VARIANTS
from torch import Tensor

from platorep.align import align
from platorep.metrics import METRICS, bind
from platorep.metrics.gallery import search_galleries
from platorep.metrics.nearest import Nearest
from platorep.models import Reading, open_model
from platorep.statistics import Permutations, null_maxima, permutation_null

CPU = torch.device("cpu")
ROUNDING = 2e-5
EXACT = ("mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn", "rank_similarity")
"""Scores that are made of neighbors alone."""
ONE_OF_EACH = {name: parameters for name, parameters in reversed(VARIANTS)}  # noqa: C416


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    if request.param == "real":
        yield torch.device("cuda", 0)
    elif torch.cuda.is_available():
        pytest.skip("a GPU is here: the real one is asked")
    else:
        with fake_gpu() as found:
            yield found


def features(seed: int, n: int = 40, d: int = 12) -> Tensor:
    """Rows with a part in common, copies and near copies among them."""
    common = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(seed)
    found = common @ torch.randn(3, d, generator=rng) + torch.randn(n, d, generator=rng)
    found[[5, 6, 7]] = found[0].clone()
    found[9] = found[8] * (1 + 1e-7)
    return found


X, Y = ([features(seed) for seed in seeds] for seeds in ((1, 2), (3, 4, 5)))
ORDER = np.random.default_rng(0).permutation(40)


def everything(metric: Any, device: torch.device) -> list[Any]:
    """All that a metric is asked for, on a device."""
    x, y = ([metric.summarize(layer.to(device)) for layer in side] for side in (X, Y))
    found = [
        metric.compare(x, y),
        metric.prepare(x, y)(ORDER),
        metric.compare(x, [metric.reorder(summary, ORDER) for summary in y]),
    ]
    if metric.has_rows:
        found.append(metric.by_row(x[0], y[0]))
    return found


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name: str, device: torch.device) -> None:
    metric = bind(name, ONE_OF_EACH[name])
    for here, there in zip(everything(metric, CPU), everything(metric, device), strict=True):
        tolerance = 1e-15 if name in EXACT else ROUNDING
        np.testing.assert_allclose(there, here, rtol=tolerance, atol=tolerance)


def test_nulls(device: torch.device) -> None:
    found = []
    for place in (CPU, device):
        metric = bind("mutual_knn", {"k": 5})
        groups = [[[metric.summarize(f.to(place)) for f in side]] for side in (X, Y)]
        found.append(permutation_null(metric, *groups, Permutations(5, 1))[0].null)
    assert np.array_equal(*found)
    assert len(null_maxima(metric, *groups, Permutations(2), pairs=[(0, 0)])) == 1


def same_lists(one: Nearest, other: Nearest) -> bool:
    if not np.array_equal(one.neighbors, other.neighbors) or (one.ties is None) != (
        other.ties is None
    ):
        return False
    return one.ties is None or all(
        np.array_equal(getattr(one.ties, part), getattr(other.ties, part))
        for part in ("rows", "columns", "weights")
    )


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("shared", [False, True])
def test_galleries(similarity: str, shared: bool, device: torch.device) -> None:
    rows = features(7, SIZES[-1])
    sources = np.arange(SIZES[-1]) % 45 if shared else None
    wanted = [(n, k) for n in SIZES[1:] for k in (1, 5)]
    here, there = (
        search_galleries(
            rows[:Q].to(place),
            in_blocks(rows, 7),
            galleries(sources),
            wanted,
            similarity=similarity,
            center=True,
        )
        for place in (CPU, device)
    )
    assert all(same_lists(here[key], there[key]) for key in wanted)


def tables(folder: Path, device: torch.device) -> dict[str, pd.DataFrame]:
    """Those of an experiment with all that `align` does on a device."""
    bench = Bench(folder)
    config = bench.config(
        pairs=[{"x": {"model": "words-b"}, "y": {"model": "eyes-a"}}],
        null={"permutations": 2},
        interval={"method": "subsamples", "parts": 2},
        held_out=True,
        concatenated=True,
        memory="1GiB",
        gallery={"queries": 16, "sizes": [16, "all"], "k": [1, 3]},
    )
    failures, _ = align(run_of(config, bench.results, bench.root, bench.report, device=str(device)))
    assert not failures.errors
    return {path.name: pd.read_csv(path) for path in bench.results.folder.rglob("*.csv")}


def test_an_experiment(tmp_path: Path, device: torch.device) -> None:
    here, there = (tables(tmp_path / place.type, place) for place in (CPU, device))
    assert "gallery.csv" in here
    for name, table in here.items():
        pd.testing.assert_frame_equal(there[name], table, rtol=ROUNDING, atol=ROUNDING)


def pooled(spec: Any, samples: Any, device: torch.device) -> list[Tensor]:
    loaded = open_model(spec, offline=True).load(device, torch.float32)
    return loaded.features(Reading(range(len(samples)), samples, workers=0))


@pytest.mark.parametrize(("name", "pool"), [("llama", "last"), ("t5", "mean")])
def test_language_models(name: str, pool: str, tmp_path: Path, device: torch.device) -> None:
    spec = test_language.make_spec(test_language.save(tmp_path, name), pool=pool)
    here, there = (pooled(spec, test_language.Texts(), place) for place in (CPU, device))
    torch.testing.assert_close(there, here, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_vision_models(name: str, device: torch.device) -> None:
    spec = test_vision.make_spec(name, random_init=True)
    here, there = (pooled(spec, test_vision.Images(), place) for place in (CPU, device))
    torch.testing.assert_close(there, here, rtol=ROUNDING, atol=ROUNDING)


def test_a_tensor_left_on_the_wrong_device_is_found() -> None:
    with fake_gpu() as device:
        away = torch.ones(3, device=device)
        assert (away + 1).mul_(torch.tensor(2.0)).cpu().tolist() == [4.0] * 3
        assert away[torch.tensor([0])].device == device
        for wrong in (
            lambda: away + torch.ones(3),
            lambda: torch.ones(3)[away.long()],
            lambda: torch.stack([away, torch.ones(3)]),
            away.numpy,
        ):
            with pytest.raises(RuntimeError, match=r"expected all tensors on one device|numpy"):
                wrong()
