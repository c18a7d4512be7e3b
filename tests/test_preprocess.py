"""Clipping, scaling, centring and what else is done to features, against numpy and by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from platorep.config import AlignConfig, PreprocessConfig, load_config, shipped_configs
from platorep.errors import DataError
from platorep.metrics import bind
from platorep.preprocess import clip_threshold, prepare, preprocess

PAPER = PreprocessConfig.model_validate("paper")
NO_CLIPPING: dict[str, Any] = {"clip_quantile": 1}


def prepared(layer: Tensor, **settings: Any) -> Tensor:
    """One layer, as the settings say."""
    (found,) = preprocess([layer], PreprocessConfig(**settings))
    return found


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def layer(rng: torch.Generator) -> Tensor:
    """Heavy tails around a mean that is not zero."""
    return torch.randn(37, 8, generator=rng).pow(3) + torch.arange(8)


# --- clipping ---


def test_sample_mean_is_the_mean_of_each_samples_quantile(rng: torch.Generator) -> None:
    layers = [torch.randn(37, d, generator=rng) for d in (5, 8)]
    together = torch.cat(layers, dim=1).abs().double().numpy()

    found = clip_threshold(lambda: [layers], 0.95, "sample_mean")

    assert found == pytest.approx(np.quantile(together, 0.95, axis=1).mean(), rel=1e-6)


def test_exact_is_the_quantile_of_all_values(rng: torch.Generator) -> None:
    layers = [torch.randn(37, d, generator=rng) for d in (5, 8)]
    together = torch.cat(layers, dim=1).abs().double().numpy()

    assert clip_threshold(lambda: [layers], 0.9, "exact") == pytest.approx(
        np.quantile(together, 0.9), rel=1e-6
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.95, 1 - 1e-9])
def test_a_threshold_does_not_depend_on_blocks(
    rng: torch.Generator, kind: torch.dtype, quantile: float
) -> None:
    """The threshold of all values is one of them, or between two, to the bit."""
    layers = [torch.randn(37, d, generator=rng, dtype=kind) for d in (5, 8)]
    layers += [torch.zeros(37, 1, dtype=kind)]
    values = np.sort(torch.cat(layers, dim=1).abs().flatten().numpy()).astype(np.float64)
    place = quantile * (len(values) - 1)
    low, high = values[[math.floor(place), math.ceil(place)]]
    some = [slice(0, 7), slice(7, 30), slice(30, 37)]

    for cut in (some, [slice(None)]):
        parts = [[layer[rows] for layer in layers] for rows in cut]
        exact = clip_threshold(lambda parts=parts: parts, quantile, "exact")
        assert exact == low + (high - low) * (place - math.floor(place))
        mean = clip_threshold(lambda parts=parts: parts, quantile, "sample_mean")
        assert mean == clip_threshold(lambda: [layers], quantile, "sample_mean")


def test_by_hand() -> None:
    small, large = torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 300.0]])
    settings: dict[str, Any] = {"clip_quantile": 0.5, "clip_estimate": "exact"}
    settings |= {"normalize": "none", "center": "none"}

    together = preprocess([small, large], PreprocessConfig(clip_scope="model", **settings))
    apart = preprocess([small, large], PreprocessConfig(clip_scope="layer", **settings))

    assert [t.tolist() for t in together] == [[[0.0, 1.5]], [[0.0, 1.5]]]
    assert [t.tolist() for t in apart] == [[[0.0, 1.5]], [[0.0, 150.0]]]


def test_clipping_that_would_erase_everything_is_refused() -> None:
    """One-hot features, bags of words: clipping is nothing for them, and the rest is."""
    one_hot = torch.eye(40)

    for config in (PAPER, PreprocessConfig()):
        with pytest.raises(DataError, match="clip_quantile: 1"):
            preprocess([one_hot], config)
        preprocess([torch.zeros(3, 2)], config)  # nothing to erase
    assert torch.equal(prepared(one_hot, center="none", **NO_CLIPPING), one_hot)
    assert torch.allclose(prepared(one_hot, **NO_CLIPPING), one_hot - 1 / 40)


# --- every step, in its place ---


def test_the_default_is_clip_each_layer_then_unit_rows_then_subtract_the_mean(
    layer: Tensor,
) -> None:
    exact = layer.double().numpy()
    limit = np.mean([np.quantile(abs(row), 0.95) for row in exact])
    rows = unit(exact.clip(-limit, limit))

    assert torch.equal(prepared(layer), prepared(layer, clip_scope="layer", center="after"))
    assert prepared(layer).numpy() == pytest.approx(rows - rows.mean(axis=0), abs=1e-6)
    (found,) = preprocess([layer], PAPER)
    assert found.numpy() == pytest.approx(rows, abs=1e-6)


def test_numbers_worked_by_hand() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])

    assert torch.allclose(
        prepared(rows, center="none", **NO_CLIPPING),
        torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]]),  # rows of zeros stay
    )
    assert torch.allclose(
        prepared(rows, **NO_CLIPPING), torch.tensor([[0.4, 0.2], [-0.2, 0.4], [-0.2, -0.6]])
    )
    assert torch.allclose(
        prepared(rows, center="before", normalize="none", **NO_CLIPPING),
        torch.tensor([[2.0, 2.0], [-1.0, 0.0], [-1.0, -2.0]]),
    )


def test_centred_before_scaling_nothing_depends_on_the_origin(layer: Tensor) -> None:
    settings = {"center": "before", **NO_CLIPPING}
    moved = layer + torch.linspace(-20, 50, 8)

    assert torch.allclose(prepared(moved, **settings), prepared(layer, **settings), atol=1e-4)
    assert torch.allclose(prepared(layer, **settings).norm(dim=1), torch.ones(37))
    assert not torch.allclose(prepared(moved, **NO_CLIPPING), prepared(layer, **NO_CLIPPING))


def test_what_all_unit_rows_have_in_common_goes_when_centred_after(rng: torch.Generator) -> None:
    """A unit that is large whatever the row: beside it the angles between rows are lost."""
    inside = torch.randn(40, 6, generator=rng) * torch.randn(40, 1, generator=rng).exp()
    massive = torch.cat([torch.full((40, 1), 100.0), inside], dim=1)
    neighbors = bind("mutual_knn", {"k": 5})

    def agreement(center: str) -> float:
        sides = (massive, center), (inside, "before")
        x, y = (
            [neighbors.summarize(prepared(layer, center=how, **NO_CLIPPING))]
            for layer, how in sides
        )
        return float(neighbors.compare(x, y)[0, 0])

    assert agreement("none") < 0.6
    assert agreement("after") > 0.95


def test_standardized_units_have_no_scale(layer: Tensor) -> None:
    settings = {"standardize": True, **NO_CLIPPING}
    exact = layer.double().numpy()
    scores = unit((exact - exact.mean(axis=0)) / exact.std(axis=0))

    found = prepared(layer, center="none", **settings)
    assert found.numpy() == pytest.approx(scores, abs=1e-6)
    assert torch.allclose(prepared(layer, **settings), found - found.mean(dim=0), atol=1e-6)
    changed = layer * torch.logspace(-3, 3, 8) + 5
    assert torch.allclose(prepared(changed, center="none", **settings), found, atol=2e-3)


def test_a_unit_that_does_not_vary_is_zero_and_not_its_rounding(layer: Tensor) -> None:
    """Such as one that is clipped in every row."""
    flat = torch.cat([layer, torch.full((37, 1), 0.1)], dim=1)

    found = prepared(flat, standardize=True, center="none", **NO_CLIPPING)

    assert torch.equal(found[:, -1], torch.zeros(37))
    alone = prepared(layer, standardize=True, center="none", **NO_CLIPPING)
    assert torch.allclose(found[:, :-1], alone)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)], ids=["tall", "wide"])
@pytest.mark.parametrize("count", [1, 3])
def test_removed_components_are_those_of_a_singular_value_decomposition(
    shape: tuple[int, int], count: int, rng: torch.Generator
) -> None:
    layer = torch.randn(*shape, generator=rng) + 2
    rows = unit(layer.double().numpy())
    rows = rows - rows.mean(axis=0)
    u, s, v = np.linalg.svd(rows, full_matrices=False)
    s[:count] = 0

    found = prepared(layer, remove_components=count, **NO_CLIPPING)

    assert found.numpy() == pytest.approx((u * s) @ v, abs=1e-6)


# --- what holds whatever the settings ---

SETTINGS: list[dict[str, Any]] = [
    {},
    {"clip_scope": "model", "center": "none"},
    {"center": "before"},
    {"standardize": True, "remove_components": 2},
    {"clip_quantile": 1, "normalize": "none"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_rows_keep_their_order_and_fit_alone(settings: dict[str, Any], layer: Tensor) -> None:
    """Row order moves nothing, and other rows are prepared by what was fitted on these."""
    order = torch.randperm(37, generator=torch.Generator().manual_seed(1))
    (fitted,) = prepare([layer], PreprocessConfig(**settings))

    assert torch.allclose(prepared(layer[order], **settings), fitted.rows[order], atol=1e-6)
    assert torch.equal(fitted(layer), fitted.rows)
    assert torch.equal(fitted(layer[5:9]), fitted.rows[5:9])
    assert torch.equal(fitted(torch.cat([layer, 9 * layer]))[:37], fitted.rows)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_value_that_is_not_finite_is_named(settings: dict[str, Any]) -> None:
    bad = torch.zeros(9, 4)
    bad[1, 0] = float("nan")

    with pytest.raises(DataError, match="layer 1, row 1"):
        preprocess([torch.ones(9, 4), bad], PreprocessConfig(**settings))


@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[1], SETTINGS[3]], ids=str)
def test_rows_that_point_the_same_way_leave_nothing_or_themselves(
    settings: dict[str, Any],
) -> None:
    """Multiples of one row differ by rounding when they have unit length: no neighbors in that."""
    direction = torch.tensor([[0.1, 0.7, -0.3, 0.2, 0.9, -0.4]])
    rows = torch.linspace(1, 3, 20)[:, None] * direction

    found = prepared(rows, **NO_CLIPPING | settings)

    assert bool(found.isfinite().all())
    if not settings:
        assert not found.any()
    neighbors = bind("mutual_knn", {"k": 3})
    assert neighbors.degenerate(neighbors.summarize(found)) is not None


# --- what a file may say ---


def test_what_a_file_of_0_1_0_says_keeps_its_meaning() -> None:
    """Its four settings in full, as in its run.json and its shipped files, centred nothing."""
    old = {"clip_quantile": 0.9, "clip_scope": "layer", "clip_estimate": "exact", "normalize": "l2"}

    assert PreprocessConfig.model_validate(old).center == "none"
    assert PreprocessConfig.model_validate({**old, "center": "after"}).center == "after"
    assert PreprocessConfig.model_validate(PreprocessConfig().model_dump()) == PreprocessConfig()
    assert AlignConfig.model_validate({"preprocess": "paper"}).preprocess == PAPER
    assert (PAPER.clip_scope, PAPER.clip_quantile, PAPER.center) == ("model", 0.95, "none")


def test_the_papers_experiments_preprocess_as_the_paper_does() -> None:
    shipped = {name: path for name, path in shipped_configs().items() if name.startswith("prh-")}
    assert len(shipped) > 5
    for name, path in shipped.items():
        said = load_config(path).align.preprocess
        by_layer = name == "prh-gallery"  # arXiv:2604.18572 clips each layer
        assert said == PAPER.model_copy(update={"clip_scope": "layer"} if by_layer else {}), name
        assert "center: none" in path.read_text(encoding="utf-8"), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"standardize": True, "center": "before"}, "center: before has no effect"),
        ({"remove_components": 1, "center": "none"}, "say `center: after`"),
        ({"center": "rows"}, "after"),
        ({"remove_components": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PreprocessConfig(**settings)


@pytest.mark.parametrize(("n", "d", "most"), [(30, 2, 1), (4, 9, 2)])
def test_no_more_components_than_there_are(n: int, d: int, most: int) -> None:
    layer = torch.randn(n, d, generator=torch.Generator().manual_seed(0))

    prepared(layer, remove_components=most, **NO_CLIPPING)
    with pytest.raises(DataError, match=f"layer 0: .*Remove at most {most}"):
        prepared(layer, remove_components=most + 1, **NO_CLIPPING)
