"""No switch of the process moves a digit of a score or of a feature."""

import contextlib
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor

import platorep
from platorep.metrics import METRICS, BoundMetric, bind, own_metric
from platorep.metrics.gallery import Galleries, search_galleries
from platorep.parameters.metrics import OwnMetric
from platorep.switches import HALF_SUMS, PRODUCTS, default_switches


def features(d: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    shared = torch.randn(40, 4, generator=rng.manual_seed(9))
    own = torch.randn(40, d, generator=rng.manual_seed(seed))
    return own + torch.nn.functional.pad(shared, (0, d - 4)) + 1


X, Y = features(12, 1), features(9, 2)


@contextlib.contextmanager
def switched(change: Callable[[object], None], to: object, back: object) -> Iterator[None]:
    change(to)
    try:
        yield
    finally:
        change(back)


@contextlib.contextmanager
def products_in_bfloat16() -> Iterator[None]:
    if not PRODUCTS:
        pytest.skip("this PyTorch has the older switch only")
    before = [product.fp32_precision for product in PRODUCTS]
    on_cpu = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    for product in PRODUCTS:
        product.fp32_precision = "bf16" if product in on_cpu else "tf32"
    try:
        yield
    finally:
        for product, precision in zip(PRODUCTS, before, strict=True):
            product.fp32_precision = precision


SWITCHES: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "matmul precision medium": lambda: switched(
        torch.set_float32_matmul_precision, "medium", "highest"
    ),
    "matmul precision by backend": products_in_bfloat16,
    "default dtype float64": lambda: switched(
        torch.set_default_dtype, torch.float64, torch.float32
    ),
    "default dtype bfloat16": lambda: switched(
        torch.set_default_dtype, torch.bfloat16, torch.float32
    ),
    "default device": lambda: torch.device("meta"),
    "no grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "floating-point errors": lambda: np.errstate(all="raise"),
}


def test_half_precision_sums_in_float32() -> None:
    matmul = torch.backends.cuda.matmul
    assert all(getattr(matmul, name) for name in HALF_SUMS)
    with default_switches():
        assert not any(getattr(matmul, name) for name in HALF_SUMS)
    assert all(getattr(matmul, name) for name in HALF_SUMS)


@lru_cache
def expected(metric: str) -> float:
    found = platorep.score(X, Y, metric=metric)
    assert 0 < abs(found) < 1
    return float(found)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("metric", METRICS)
def test_a_switch_moves_no_score(metric: str, switch: str) -> None:
    plain = expected(metric)

    with SWITCHES[switch]():
        assert platorep.score(X, Y, metric=metric) == plain


@pytest.mark.parametrize("metric", METRICS)
def test_features_that_require_grad_are_features(metric: str) -> None:
    x, y = X.clone().requires_grad_(), (Y.clone().requires_grad_() * 1)

    assert platorep.score(x, y, metric=metric) == expected(metric)
    assert x.requires_grad
    with torch.inference_mode():
        made_inside = X.clone()
    assert platorep.score(made_inside, Y, metric=metric) == expected(metric)


@pytest.mark.parametrize("metric", METRICS)
def test_precisions_may_differ(metric: str) -> None:
    """One model in float64, the other in float32."""
    assert platorep.score(X.double(), Y, metric=metric) == pytest.approx(expected(metric), abs=1e-5)


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_function_of_a_metric_is_behind_the_door(switch: str) -> None:
    """What a null calls, under switches that were changed after the summaries were made."""
    metric, order = bind("cka"), np.random.default_rng(0).permutation(40)
    x, y = metric.summarize(X), metric.summarize(Y)
    plain = metric.prepare([x], [y])(order)

    with SWITCHES[switch]():
        scorer = metric.prepare([x], [y])
        assert np.array_equal(scorer(order), plain)
        moved = metric.reorder(metric.summarize(Y), order)
    with SWITCHES[switch]():
        assert np.array_equal(scorer(order), plain)
        assert metric.compare([x], [moved]) == pytest.approx(plain, abs=1e-7)


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_gallery_is_searched_alike_under_every_switch(switch: str) -> None:
    galleries = Galleries(8, (8, 40), np.repeat([0, 1], [8, 32]).astype(np.int8), None)

    def blocks(rows: object) -> Iterator[tuple[np.ndarray, Tensor]]:
        yield np.arange(40), X

    def search() -> list[list[int]]:
        found = search_galleries(
            X[:8], blocks, galleries, [(40, 5)], similarity="cosine", center=False
        )
        return found[40, 5].neighbors.tolist()

    plain = search()
    with SWITCHES[switch]():
        assert search() == plain


def state() -> list[object]:
    return [
        torch.is_autocast_enabled("cpu"),
        *(product.fp32_precision for product in PRODUCTS),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        np.geterr()["divide"],
    ]


@pytest.mark.parametrize("switch", SWITCHES)
def test_an_own_metric_finds_the_switches_at_their_defaults(switch: str) -> None:
    """And they are afterwards as they were, after an error too."""
    with SWITCHES[switch]():  # which may spell the default in another way afterwards
        pass
    outside = state()
    with default_switches():
        plain = state()

    def summarize(features: Tensor) -> Tensor:
        assert state() == plain
        return features

    def compare(x: Tensor, y: Tensor) -> float:
        assert state() == plain
        raise ZeroDivisionError

    metric = BoundMetric(
        own_metric(name="m", summarize=summarize, compare=compare), OwnMetric(name="m")
    )
    with SWITCHES[switch]():
        before = state()
        assert before != plain
        summary = metric.summarize(X)
        for score in (metric.compare, lambda x, y: metric.prepare(x, y)(None)):
            with pytest.raises(ZeroDivisionError):
                score([summary], [summary])
        assert state() == before
    assert state() == outside
