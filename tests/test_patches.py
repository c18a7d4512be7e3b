"""Patches of images, and what small networks learn from them."""

import numpy as np
import pytest
import torch

from platorep.data.deadleaves import picture
from platorep.parameters.deadleaves import LeavesParameters
from platorep.units.objectives import (
    CLASSICAL,
    OBJECTIVES,
    learned_filters,
    normalized,
    responses,
)
from platorep.units.patches import (
    BORDER,
    MARGIN,
    Patches,
    cut_patches,
    mean_spectrum,
    opponent,
    shuffled_pixels,
    whitened,
)

SIDE = 8
WORLD = LeavesParameters(image_size=64)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [picture(WORLD, i) for i in range(12)]


@pytest.fixture(scope="module")
def patches(images: list[np.ndarray]) -> Patches:
    return cut_patches(images, 250, SIDE + 2 * MARGIN, 0)


@pytest.fixture(scope="module")
def noise(images: list[np.ndarray]) -> Patches:
    shuffled = [shuffled_pixels(image, i) for i, image in enumerate(images)]
    return cut_patches(shuffled, 250, SIDE + 2 * MARGIN, 0)


def concentration(filters: np.ndarray) -> np.ndarray:
    """Share of a filter's power in the strongest eighth of the orientations: 1/8 if it has none."""
    power = np.abs(np.fft.fft2(filters, (32, 32))) ** 2
    down, across = np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32), indexing="ij")
    angle = np.arctan2(down, across) % np.pi
    found = []
    for middle in np.linspace(0, np.pi, 16, endpoint=False):
        off = np.abs((angle - middle + np.pi / 2) % np.pi - np.pi / 2)
        near = (off < np.pi / 16) & (np.hypot(down, across) > 0.05)
        found.append((power * near).sum((1, 2)) / power.sum((1, 2)))
    return np.max(found, axis=0)


def test_opponent_channels_by_hand() -> None:
    yellow = np.array([[[200, 100, 0]]], dtype=np.uint8)

    assert opponent(yellow).ravel().tolist() == [100, 150, 100]


def test_a_patch_is_where_and_what_it_says() -> None:
    """Of images of one grey each, color tells the image, and luminance nothing."""
    colors = [(10, 10, 200), (90, 90, 90), (200, 200, 10)]
    plain = [np.full((20, 24, 3), c, dtype=np.uint8) for c in colors]

    found = cut_patches(plain, 5, 8, 0)

    assert found.pixels.shape == (15, 3, 8, 8)
    assert found.image.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert np.abs(found.pixels[:, 0]).max() == 0
    yellow = found.pixels[:, 1].mean((1, 2))
    assert (np.diff(yellow[::5]) > 0).all()
    with pytest.raises(ValueError, match=f"and a patch with its border {13 + 2 * BORDER}"):
        cut_patches(plain, 5, 13, 0)


def test_whitening_flattens_the_world_it_was_measured_in(images: list[np.ndarray]) -> None:
    greys = [opponent(image)[0] for image in images]
    spectrum = mean_spectrum(greys)

    after = mean_spectrum(whitened(grey, spectrum) for grey in greys)

    frequencies = (np.arange(len(after)) + 0.5) * 0.75 / len(after)
    middle = (frequencies > 0.05) & (frequencies < 0.25)
    assert np.ptp(np.log(spectrum[middle])) > 1  # the control: a factor of three before
    assert np.ptp(np.log(after[middle] * np.exp((frequencies[middle] / 0.4) ** 4))) < 0.1
    assert after[frequencies > 0.6].max() < 0.02 * after[middle].mean()


def test_a_wave_is_scaled_by_the_gain_at_its_frequency() -> None:
    spectrum = np.full(48, 2.0)
    wave = np.cos(2 * np.pi * 0.25 * (np.arange(32) + 0.5)) * np.ones((16, 1))

    found = whitened(wave, spectrum, cutoff=0.5)

    np.testing.assert_allclose(found, wave * np.exp(-(0.5**4)) / 2, atol=1e-5)


def test_shuffled_pixels_are_the_same_ones(images: list[np.ndarray]) -> None:
    found = shuffled_pixels(images[0], 3)

    assert not np.array_equal(found, images[0])
    for one, other in zip(found.reshape(-1, 3).T, images[0].reshape(-1, 3).T, strict=True):
        assert np.array_equal(np.sort(one), np.sort(other))
    spectrum = mean_spectrum([opponent(found)[0]])
    natural = mean_spectrum([opponent(images[0])[0]])
    low, high = slice(2, 8), slice(30, 40)
    assert spectrum[low].mean() / spectrum[high].mean() == pytest.approx(1, abs=0.15)
    assert natural[low].mean() / natural[high].mean() > 2


def test_normalized_patches_have_one_contrast() -> None:
    grey = torch.randn(5, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    grey[1] = 50 + 20 * grey[1]
    grey[4] = 7.0

    found = normalized(grey)

    assert found.mean((1, 2)).abs().max() < 1e-5
    assert found[1].square().mean().item() == pytest.approx(1, abs=1e-3)
    assert found[4].abs().max() == 0


def test_responses_are_products_with_what_a_filter_sees() -> None:
    wide = torch.randn(3, SIDE + 2 * MARGIN, SIDE + 2 * MARGIN).numpy()
    filters = np.random.default_rng(0).standard_normal((2, SIDE, SIDE))

    found = responses(filters, wide)

    inner = normalized(torch.from_numpy(wide[2, MARGIN:-MARGIN, MARGIN:-MARGIN])).numpy()
    assert found[1, 2] == pytest.approx((filters[1] * inner).sum(), rel=1e-5)


def test_independent_components_of_leaves_are_oriented_and_of_noise_not(
    patches: Patches, noise: Patches
) -> None:
    of_leaves, of_noise, random = (
        concentration(learned_filters(objective, of, (24, SIDE), 0, 0))
        for objective, of in (("ica", patches), ("ica", noise), ("random", patches))
    )

    assert np.quantile(of_leaves, 0.25) > np.quantile(of_noise, 0.75)
    assert np.quantile(of_leaves, 0.25) > np.quantile(random, 0.75)
    assert np.median(of_leaves) > 0.32


@pytest.mark.parametrize("objective", [*OBJECTIVES, *CLASSICAL, "random"])
def test_filters_come_from_the_seed_alone(objective: str, patches: Patches) -> None:
    few = Patches(pixels=patches.pixels[::10], image=patches.image[::10])
    before = torch.random.get_rng_state()

    one, same, other = (learned_filters(objective, few, (6, SIDE), 4, s) for s in (0, 0, 1))

    assert one.shape == (6, SIDE, SIDE)
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_moves_the_filters(objective: str, patches: Patches) -> None:
    start = learned_filters("random", patches, (8, SIDE), 0, 0)
    counted: list[int] = []

    found = learned_filters(objective, patches, (8, SIDE), 60, 0, counted.append)

    assert sum(counted) == 60
    assert np.linalg.norm(found - start) > 0.03 * np.linalg.norm(start)
