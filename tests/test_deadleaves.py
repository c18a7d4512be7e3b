"""Dead leaves: what hides what, the law of sizes, and the statistics that photographs have."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from platorep.config import DatasetConfig
from platorep.data import load_dataset
from platorep.data.deadleaves import (
    DeadLeavesSource,
    Discs,
    colors,
    front_disc,
    picture,
    power_law_radii,
)
from platorep.parameters.deadleaves import LeavesParameters

NUM = 10
SIZE = 96


@pytest.fixture(scope="module")
def greys() -> np.ndarray:
    world = LeavesParameters(image_size=SIZE, octaves=0)
    return np.stack([picture(world, i).astype(float).mean(-1) for i in range(NUM)])


def slope_of_power(images: np.ndarray) -> float:
    """Of log power on log frequency over a decade, rings of equal width in the logarithm."""
    size = images.shape[1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    centred = images - images.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    edges = np.geomspace(0.03, 0.3, 9)
    rings = [
        (math.sqrt(low * high), power[(frequency >= low) & (frequency < high)].mean())
        for low, high in itertools.pairwise(edges)
    ]
    return float(np.polyfit(*np.log(rings).T, 1)[0])


def kurtosis(values: np.ndarray) -> float:
    values = values - values.mean()
    return float((values**4).mean() / (values**2).mean() ** 2)


def test_the_front_disc_hides_the_other_by_hand() -> None:
    # of the 4 x 4 points around its middle, a disc of radius 1.6 has all but the corners
    discs = Discs(x=np.array([2.0, 4.0]), y=np.array([2.0, 2.0]), radius=np.array([1.6, 1.6]))

    seen = front_disc(discs, 4, 7)

    rows = ["2001122", "0000112", "0000112", "2001122"]
    expected = np.array([[int(c) for c in row] for row in rows])
    assert seen.tolist() == expected.tolist()
    behind = Discs(discs.x[::-1], discs.y[::-1], discs.radius[::-1])
    assert front_disc(behind, 4, 7)[1].tolist() == [1, 1, 0, 0, 0, 0, 2]


def test_discs_off_the_picture_are_not_seen() -> None:
    discs = Discs(x=np.array([-5.0, 1e4]), y=np.array([2.0, -1e4]), radius=np.array([3.0, 9.0]))

    assert (front_disc(discs, 4, 4) == 2).all()


def test_the_number_of_discs_falls_with_the_cube_of_the_radius() -> None:
    uniform = np.random.default_rng(0).random(200_000)

    radii = power_law_radii(uniform, 1.0, 8.0)

    assert radii.min() >= 1
    assert radii.max() <= 8
    # between a and b: (a^-2 - b^-2) / (1 - 1/64) of all
    shares = [((radii >= a) & (radii < 2 * a)).mean() for a in (1, 2, 4)]
    assert shares == pytest.approx([48 / 63, 12 / 63, 3 / 63], abs=0.004)


def test_power_falls_as_the_square_of_the_frequency(greys: np.ndarray) -> None:
    assert slope_of_power(greys) == pytest.approx(-2, abs=0.25)
    noise = np.random.default_rng(0).permuted(greys.reshape(NUM, -1), axis=1)
    assert slope_of_power(noise.reshape(greys.shape)) == pytest.approx(0, abs=0.1)


def test_differences_of_neighbors_have_heavy_tails(greys: np.ndarray) -> None:
    """A Gaussian has 3, and so have differences of a Gaussian picture of the same spectrum."""
    assert kurtosis(np.diff(greys, axis=2)) > 6
    noise = np.random.default_rng(0).standard_normal(greys.shape)
    gaussian = np.fft.ifft2(np.abs(np.fft.fft2(greys)) * np.fft.fft2(noise)).real
    assert kurtosis(np.diff(gaussian, axis=2)) < 4


def test_bright_leaves_are_yellow_where_there_is_color() -> None:
    uniform = np.random.default_rng(0).random((500, 3))
    red, green, blue = colors(uniform, 1.0).T
    luminance = (red + green + blue) / 3
    assert np.corrcoef(luminance, (red + green) / 2 - blue)[0, 1] > 0.5
    assert np.ptp(colors(uniform, 0.0), axis=1).max() == 0


def test_pictures_are_seen_from_near_and_far() -> None:
    """Of three octaves some pictures have few edges, of none all have many."""

    def edges(octaves: int) -> list[float]:
        world = LeavesParameters(image_size=48, r_max=12, octaves=octaves, color=0)
        pixels = [picture(world, i)[..., 0].astype(int) for i in range(16)]
        return sorted((np.diff(p, axis=1) != 0).mean() for p in pixels)

    assert edges(0)[0] > 2 * edges(3)[0]
    assert edges(0)[0] > 0.7 * edges(0)[-1]


def test_any_picture_is_drawn_without_the_others() -> None:
    config = DatasetConfig.model_validate(
        {"source": "deadleaves", "leaves": {"image_size": 24}, "limit": 6}
    )
    dataset = load_dataset(config)
    view = dataset.views["image"]

    assert len(dataset) == 6
    assert list(dataset.views) == ["image"]
    assert len(set(view.hashes)) == 6
    assert np.array_equal(np.asarray(view[4]), picture(config.leaves, 4))
    first = load_dataset(config.model_copy(update={"limit": 3}))
    assert first.views["image"].hashes == view.hashes[:3]
    with pytest.raises(IndexError):
        DeadLeavesSource(config).row(6)


def test_no_point_is_bare() -> None:
    """Few large discs leave holes at first: more fall behind them."""
    world = LeavesParameters(image_size=16, r_min=1, r_max=1.5, octaves=0, color=0)

    for index in range(4):
        assert picture(world, index).min() >= 40


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"leaves": {"r_min": 5, "r_max": 40}}, "above r_min"),
        ({"text": "caption"}, "`text` has no effect"),
        ({"world": {"seed": 1}}, "`world` has no effect"),
        ({"views": {"text": {}}}, "an image without"),
        ({"views": {"image": {"column": "picture"}}}, "an image without"),
        ({"views": {"image": {"again": 1}}}, "again"),
    ],
)
def test_what_dead_leaves_have_not_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DatasetConfig.model_validate({"source": "deadleaves"} | settings)


def test_others_say_nothing_of_leaves() -> None:
    """What is kept of older experiments counts on: their settings are spelled as they were."""
    assert "leaves" not in DatasetConfig(source="toyworld").model_dump(mode="json")
    with pytest.raises(ValidationError, match="`leaves` has no effect"):
        DatasetConfig.model_validate({"source": "toyworld", "leaves": {}})
