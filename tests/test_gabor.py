"""Gabor functions: planted ones are found, noise and spots are not; fields of known networks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares
from torch import nn
from typer.testing import CliRunner

from platorep.cli import app
from platorep.models.inside import OpenNetwork
from platorep.units.directions import watson_u2
from platorep.units.fitting import Shape
from platorep.units.gabor import (
    Gabor,
    GaborFits,
    Spots,
    better_than_spots,
    fit_gabors,
    gabor_share,
    gabors_at,
    spot_share,
)
from platorep.units.noise import SmoothNoise, envelope, smooth_null
from platorep.units.receptive import filter_fields, layer_fields, one_color

SIDE = 12


def planted(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Parameters as a Gabor function's, and pictures made of them by the formula alone."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-1.5, 1.5, (2, num, 1, 1))
    angle = random.uniform(0, np.pi, (num, 1, 1))
    frequency = random.uniform(0.12, 0.33, (num, 1, 1))
    along, across = random.uniform(1.7, 3, (2, num, 1, 1))
    phase = random.uniform(0, 2 * np.pi, (num, 1, 1))
    columns = np.arange(SIDE) - (SIDE - 1) / 2 - x
    rows = (SIDE - 1) / 2 - np.arange(SIDE)[:, None] - y  # upwards
    u = columns * np.cos(angle) + rows * np.sin(angle)
    v = rows * np.cos(angle) - columns * np.sin(angle)
    window = np.exp(-(u**2) / (2 * along**2) - v**2 / (2 * across**2))
    pictures = window * np.cos(2 * np.pi * frequency * u + phase)
    of_each = [x, y, angle, np.log(frequency), np.log(along), np.log(across), phase]
    return np.stack([part.ravel() for part in of_each], axis=1), pictures


def noisy(pictures: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(pictures.shape)
    return pictures + share * pictures.std((1, 2), keepdims=True) * noise


def turned(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return (found - expected + 90) % 180 - 90


def test_planted_gabors_are_recovered_in_noise() -> None:
    parameters, pictures = planted(32)
    fits = fit_gabors(noisy(3 * pictures + 5, 0.25))
    stripes = np.degrees(parameters[:, 2]) + 90
    assert np.abs(turned(fits.orientation, stripes)).max() < 2
    assert np.abs(fits.frequency / np.exp(parameters[:, 3]) - 1).max() < 0.05
    assert np.abs(fits.centres - parameters[:, :2]).max() < 0.5
    assert fits.r2.min() > 0.9


def test_without_noise_nothing_is_left() -> None:
    parameters, pictures = planted(16, seed=3)
    fits = fit_gabors(pictures)
    assert fits.r2.min() > 1 - 1e-4
    assert np.allclose(fits.pictures(), pictures, atol=0.03)
    cosine = np.abs(np.cos(parameters[:, 6]))
    assert np.allclose(np.cos(np.radians(fits.phase)), cosine, atol=0.06)


def test_no_general_solver_comes_nearer() -> None:
    """scipy's, on all nine parameters at once, from where ours ended and from nearby."""
    pictures = noisy(planted(4)[1], 1.0)
    fits = fit_gabors(pictures, restarts=4)
    rows, columns = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2

    def residual(p: np.ndarray, picture: np.ndarray) -> np.ndarray:
        u = (columns - p[0]) * np.cos(p[2]) + (-rows - p[1]) * np.sin(p[2])
        v = (-rows - p[1]) * np.cos(p[2]) - (columns - p[0]) * np.sin(p[2])
        window = np.exp(-0.5 * ((u / p[4]) ** 2 + (v / p[5]) ** 2))
        wave = p[6] * np.cos(2 * np.pi * p[3] * u) + p[7] * np.sin(2 * np.pi * p[3] * u)
        found: np.ndarray = (window * wave + p[8] - picture).ravel()
        return found

    random = np.random.default_rng(0)
    for i, picture in enumerate(pictures):
        shape = np.append(fits.parameters[i, :3], np.exp(fits.parameters[i, 3:]))
        start = np.concatenate([shape, fits.weights[i], fits.offsets[i : i + 1]])
        total = np.square(picture - picture.mean()).sum()
        assert 1 - np.square(residual(start, picture)).sum() / total == pytest.approx(fits.r2[i])
        for away in (0.0, 0.05, 0.2):
            begun = start * (1 + away * random.standard_normal(9))
            theirs = least_squares(residual, begun, args=(picture,))
            if theirs.x[3] <= 0.5 and np.abs(theirs.x[:2]).max() <= SIDE / 2:
                assert 1 - 2 * theirs.cost / total < fits.r2[i] + 2e-3


def test_a_filter_that_is_turned_is_turned() -> None:
    _, pictures = planted(12)
    fits, others = fit_gabors(pictures), fit_gabors(np.rot90(pictures, axes=(1, 2)))
    assert np.allclose(np.abs(turned(others.orientation, fits.orientation)), 90, atol=0.5)
    assert np.allclose(others.frequency, fits.frequency, rtol=0.01)
    assert np.allclose(others.phase, fits.phase, atol=3)


def made(parameters: list[float], weights: list[float]) -> GaborFits:
    size = (SIDE, SIDE)
    waves = Gabor(size).waves(np.array([parameters]))
    pictures = (np.array([weights])[:, None] @ waves).reshape(1, *size)
    return fit_gabors(pictures)


def test_bars_are_even_and_edges_odd() -> None:
    shape = [0.3, -0.2, 0.0, np.log(0.2), np.log(2.0), np.log(2.5)]
    bar, edge = made(shape, [-2.0, 0.0]), made(shape, [0.0, 1.0])
    assert bar.phase[0] == pytest.approx(0, abs=1)
    assert edge.phase[0] == pytest.approx(90, abs=1)
    assert bar.orientation[0] == pytest.approx(90, abs=0.1)  # a wave to the right: upright stripes


def test_bandwidth_is_where_the_amplitude_is_half() -> None:
    fits = made([0, 0, 0, np.log(0.2), np.log(2.0), np.log(2.0)], [1.0, 0.0])
    x = np.arange(-200, 201)
    frequencies = np.linspace(0.001, 0.5, 5000)
    wave = np.exp(-0.5 * (x / 2.0) ** 2) * np.exp(2j * np.pi * 0.2 * x)
    amplitude = np.abs(np.exp(-2j * np.pi * np.outer(frequencies, x)) @ wave)
    passed = frequencies[amplitude >= amplitude.max() / 2]
    assert fits.bandwidth[0] == pytest.approx(np.log2(passed[-1] / passed[0]), abs=0.02)
    slow = gabors_at(fits.pictures(), np.array([[0, 0, 0, np.log(0.05), 0.1, 0.1]]))
    assert np.isnan(slow.bandwidth[0])


@pytest.mark.parametrize("shape", [Gabor((7, 9)), Spots((7, 9))], ids=["gabor", "spots"])
def test_slopes_are_derivatives(shape: Shape) -> None:
    starts = shape.starts()
    places = starts.reshape(-1, starts.shape[-1])[::173] + 0.1
    weights = np.random.default_rng(0).standard_normal((len(places), 2))
    slopes = shape.slopes(places, shape.waves(places), weights)
    for i in range(places.shape[1]):
        step = 1e-6 * np.eye(places.shape[1])[i]
        rise = shape.waves(places + step) - shape.waves(places - step)
        numeric = (weights[:, None] @ rise)[:, 0] / 2e-6
        assert np.allclose(slopes[:, i], numeric, atol=1e-6 * (1 + np.abs(numeric).max()))


def spot(x: float, y: float, width: float) -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    found: np.ndarray = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2))
    return found


def test_spots_and_steps_need_no_wave_but_a_local_edge_does() -> None:
    rows, columns = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    spots = np.stack(
        [
            spot(1, 0.5, 1.2) / 1.2**2 - spot(1, 0.5, 2) / 2**2,  # a difference of Gaussians
            -spot(-1, 2, 2.0),
            (spot(0, 1, 2) > 0.3).astype(float),  # a disc
            (columns > 0.7).astype(float),  # the edge of a large thing, all over the window
        ]
    )
    waves = np.stack(
        [spot(0, 0, 2) * np.sign(columns - 0.4 * rows), spot(0, 1, 2) * np.cos(1.4 * rows)]
    )
    for clean in (True, False):
        of_spots, of_waves = (one if clean else noisy(one, 0.3) for one in (spots, waves))
        for pictures, expected in ((of_spots, False), (of_waves, True)):
            better = better_than_spots(gabor_share(pictures), spot_share(pictures), SIDE * SIDE)
            assert (better == expected).all()


def test_noise_is_told_from_gabors() -> None:
    """White noise beats 19 noises as often as chance says; nearly every planted Gabor does."""
    noise = np.random.default_rng(0).standard_normal((80, 7, 7))
    p, threshold = smooth_null(noise, gabor_share(noise, 1), 19, 1, seed=0, alpha=0.05)
    assert (p <= 0.2).mean() < 0.33
    assert (p <= 0.05).mean() < 0.12
    pictures = noisy(planted(30)[1], 0.3)
    fits = fit_gabors(pictures, 1)
    p, threshold = smooth_null(pictures, fits.r2, 19, 1, seed=0, alpha=0.05)
    assert (p <= 0.05).mean() > 0.8
    assert ((fits.r2 > threshold) == (p <= 0.05)).mean() > 0.9


def test_noise_is_as_smooth_as_the_filter_has_no_direction_and_lies_where_the_bank_does() -> None:
    _, pictures = planted(40)
    noises = SmoothNoise(envelope(pictures))
    noise = noises.draw(noises.powers(pictures), 60, np.random.default_rng(0))

    def slope(of: np.ndarray) -> np.ndarray:
        """Energy of differences between neighbors, down and across, of one of all pixels."""
        down, across = (np.square(np.diff(of, axis=axis)).sum((-1, -2)) for axis in (-2, -1))
        return np.stack([down, across]) / np.square(of).sum((-1, -2))

    before, after = slope(pictures), slope(noise).mean(1)
    assert np.corrcoef(before.sum(0), after.sum(0))[0, 1] > 0.95
    assert np.allclose(after.sum(0), before.sum(0), rtol=0.35)
    assert np.allclose(after[0], after[1], rtol=0.3)
    middle = slice(3, 9), slice(3, 9)
    shares = [np.square(of)[..., *middle].sum() / np.square(of).sum() for of in (pictures, noise)]
    assert shares[1] == pytest.approx(shares[0], abs=0.05)


def test_noise_that_is_smooth_or_lies_in_the_middle_is_noise() -> None:
    """Of each kind one in twenty may pass; a null of white noise would let nearly all of it."""
    random = np.random.default_rng(0)
    wide = random.standard_normal((40, 40, 40))
    smooth = gaussian_filter(wide, (0, 1.5, 1.5))[:, 15:25, 15:25]
    lines = np.arange(10) - 4.5
    local = wide[:, :10, :10] * np.exp(-(lines[:, None] ** 2 + lines**2) / (2 * 2.0**2))
    for pictures in (smooth, local):
        r2 = gabor_share(pictures, 1)
        p, _ = smooth_null(pictures, r2, 19, 1, seed=0, alpha=0.05)
        assert (p <= 0.05).mean() < 0.13
        white = random.standard_normal((60, 10, 10))
        assert (r2 > np.quantile(gabor_share(white, 1), 0.95)).mean() > 0.9


def test_a_flat_filter_has_no_share() -> None:
    pictures = np.concatenate([np.full((1, SIDE, SIDE), 3.0), planted(1)[1]])
    fits = fit_gabors(pictures)
    assert np.isnan(fits.r2[0])
    assert fits.r2[1] > 0.99
    p, _ = smooth_null(pictures, fits.r2, 5, 1, seed=0, alpha=0.05)
    assert np.isnan(p[0])
    assert not better_than_spots(fits.r2, spot_share(pictures), SIDE * SIDE)[0]


def test_watson_by_its_definition() -> None:
    random = np.random.default_rng(0)
    x, y = random.uniform(0, 180, 13).round(-1), random.uniform(0, 180, 9).round(-1)

    def by_definition(a: np.ndarray, b: np.ndarray) -> float:
        every = np.concatenate([a, b])
        apart = np.array([(a <= t).mean() - (b <= t).mean() for t in every])
        return len(a) * len(b) / len(every) * float(np.var(apart))

    for zero in (0, 50, 130):
        moved = (x + zero) % 180, (y + zero) % 180
        assert watson_u2(*moved, draws=1, seed=0)[0] == pytest.approx(by_definition(*moved))
    fine = random.uniform(0, 180, (2, 30))
    statistics = [watson_u2(*((fine + zero) % 180), draws=1, seed=0)[0] for zero in (0, 70)]
    assert statistics[0] == pytest.approx(statistics[1])


def test_watson_tells_orientations_apart_and_only_those() -> None:
    random = np.random.default_rng(0)
    alike = [watson_u2(*random.normal(175, 30, (2, 25)), draws=99, seed=0)[1] for _ in range(60)]
    assert 0.0 <= np.mean(np.array(alike) <= 0.1) < 0.22
    assert watson_u2(random.normal(0, 20, 25), random.normal(90, 20, 25), 99, 0)[1] == 0.01
    assert watson_u2(random.normal(1, 5, 25), random.normal(179, 5, 25), 99, 0)[1] > 0.01


@pytest.mark.usefixtures("shapes_unchecked")
def test_command_fits_networks_of_the_experiment_and_goes_on(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(
        """
name: mine
dataset: {source: deadleaves, limit: 16}
families:
  - {name: ResNet, modality: vision, models: [{name: resnet18, random_init: true}]}
align: {pairs: [[vision, vision]]}
units:
  filters: {objectives: [ica], seeds: [0, 1], units: 8, size: 7, layers: [], restarts: 1,
            surrogates: 19, permutations: 3}
"""
    )
    line = ["units", "filters", str(config), "--output", str(tmp_path / "out"), "--offline"]
    first = CliRunner().invoke(app, line)
    assert first.exit_code == 0, first.output
    table = pd.read_csv(tmp_path / "out" / "units_filters.csv")
    assert set(table["network"]) >= {"ica, seed 1", "random, seed 0", "resnet18 (random)"}
    assert set(table["kind"]) <= {"gabor", "spot", "noise"}
    assert table["r2"].between(0, 1).all()
    assert table["orientation"].between(0, 180).all()
    banks = pd.read_csv(tmp_path / "out" / "units_banks.csv")
    assert len(banks) == 7  # twice ica on leaves and on white noise, random filters; the network
    assert (banks["low"] <= banks["gabors"]).all()
    assert (tmp_path / "out" / "figures" / "units_gallery.png").exists()
    shared = (tmp_path / "out" / "units_sharing.csv").read_bytes()
    again = CliRunner().invoke(app, [*line, "--overwrite", "never"])  # nothing is left to compute
    assert again.exit_code == 0, again.output
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "out" / "units_filters.csv"))
    assert (tmp_path / "out" / "units_sharing.csv").read_bytes() == shared


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("{objectives: []}", "no filters to fit"),
        ("{objectives: [ica, ica]}", "twice"),
        ("{seeds: [0, 0]}", "twice"),
        ("{view: text}", "no view of images"),
        ("{size: 400}", "need images of"),
    ],
)
def test_what_cannot_be_fitted_is_refused(tmp_path: Path, settings: str, says: str) -> None:
    """Once, before anything is trained, whatever networks of its own the experiment has."""
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"""
name: mine
dataset: {{source: toyworld, limit: 16}}
families:
  - {{name: Llama, modality: language, backend: toyworld, training: {{steps: 0}}, models: [llama8]}}
align: {{pairs: [[language, language]]}}
units: {{filters: {settings}}}
"""
    )
    line = ["units", "filters", str(config), "--output", str(tmp_path / "out"), "--offline"]
    failed = CliRunner().invoke(app, line)
    assert failed.exit_code == 2, failed.output
    assert failed.output.count(says) == 1


def opened(network: nn.Module, names: tuple[str, ...], size: tuple[int, int, int]) -> OpenNetwork:
    network = network.eval().requires_grad_(False)
    return OpenNetwork(network, names, lambda sample: sample, size, "network")


def images(num: int, size: tuple[int, int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn(num, *size, generator=generator))


def test_the_field_of_a_linear_unit_is_its_filter() -> None:
    size = (3, 33, 33)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, 2, 3, padding=1))
    fields = layer_fields(opened(network, ("1",), size), "1", images(4, size), units=2)
    first, second = (network[i].weight.double() for i in (0, 1))
    whole = torch.zeros(2, 3, 7, 7, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            whole[:, :, i : i + 5, j : j + 5] += torch.einsum(
                "um,mcij->ucij", second[:, :, i, j], first
            )
    expected, share = one_color(whole.numpy())
    assert fields is not None
    assert np.allclose(fields.fields, expected, atol=1e-5)
    assert np.allclose(fields.color_share, share, atol=1e-5)
    assert np.allclose(fields.reliability, 1)


def test_the_mean_gradient_is_what_the_unit_is_triggered_by() -> None:
    """Stein's lemma: on white noise the average of images weighted by the unit's value."""
    size = (1, 9, 9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Conv2d(1, 3, 5, padding=2), nn.SiLU())
    samples = images(2000, size)
    fields = layer_fields(opened(network, ("1",), size), "1", samples, units=3)
    stack = torch.stack(samples)
    with torch.inference_mode():
        values = network(stack)[:, :, 4, 4]
    weighted = torch.einsum("nu,nhw->uhw", values - values.mean(0), stack[:, 0]) / len(stack)
    triggered = weighted[:, 2:7, 2:7].numpy()
    assert fields is not None
    for field, average in zip(fields.fields, triggered, strict=True):
        assert abs(np.corrcoef(field.ravel(), average.ravel())[0, 1]) > 0.9


def test_filters_of_networks_and_what_is_too_small_or_too_wide() -> None:
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2
    )
    transformer = opened(vit, ("blocks.0",), (3, 32, 32))
    found = filter_fields(transformer, units=10)
    assert found is not None
    assert found.fields.shape == (10, 8, 8)
    assert layer_fields(transformer, "blocks.0", images(2, (3, 32, 32)), 4) is None  # all over
    small = opened(nn.Sequential(nn.Conv2d(3, 4, 3)), ("0",), (3, 9, 9))
    assert filter_fields(small, units=4) is None
    assert layer_fields(small, "0", images(2, (3, 9, 9)), 4) is None


def test_a_filter_of_one_color_keeps_its_form_and_points_to_light() -> None:
    picture = np.random.default_rng(0).standard_normal((5, 5))
    filters = np.stack([-np.multiply.outer([0.2, 0.5, 0.3], picture)])
    found, share = one_color(filters)
    assert share[0] == pytest.approx(1)
    assert np.allclose(found[0] / np.abs(found[0]).max(), -picture / np.abs(picture).max())
