"""Shared units: planted ones are found under sign, order and shift; others are at the null."""

import numpy as np
import pytest

from platorep.units.sharing import (
    SHIFT,
    covariance,
    match_strength,
    partners,
    scrambled,
    sharing,
    stronger_than,
    turned,
)

SIDE = 12
UNITS = 24


def bank(seed: int, units: int = UNITS) -> np.ndarray:
    """Gabor functions of random place, orientation, frequency and phase."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    filters = []
    for _ in range(units):
        x, y = rng.uniform(-1, 1, 2)
        angle, phase, frequency = rng.uniform(0, np.pi), rng.uniform(0, 7), rng.uniform(0.12, 0.3)
        along = (across - x) * np.cos(angle) + (down - y) * np.sin(angle)
        envelope = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * 1.5**2))
        filters.append(envelope * np.cos(2 * np.pi * frequency * along + phase))
    return np.stack(filters)


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bank, and the same in another order, of other signs and scales, each shifted."""
    rng = np.random.default_rng(seed)
    inner = bank(seed)[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    inner -= inner.mean((1, 2), keepdims=True)
    x = np.pad(inner, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))  # room to shift
    order = rng.permutation(UNITS)
    gains = rng.choice([-1, 1], UNITS) * rng.uniform(0.2, 5, UNITS)
    shifts = rng.integers(-SHIFT, SHIFT + 1, (UNITS, 2))
    moved = [np.roll(f, tuple(s), (0, 1)) for f, s in zip(x[order], shifts, strict=True)]
    return x, gains[:, None, None] * np.stack(moved), order


def pixels(seed: int, num: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, SIDE + 2 * SHIFT, SIDE + 2 * SHIFT))


def test_equals_brute_force_over_shifts() -> None:
    x, y = bank(0, 2), bank(1, 3)

    found = match_strength(x, y, shift=1)

    for i, f in enumerate(x - x.mean((1, 2), keepdims=True)):
        for j, g in enumerate(y - y.mean((1, 2), keepdims=True)):
            products = []
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    total = 0.0
                    for a in range(SIDE):
                        for b in range(SIDE):
                            if 0 <= a - down < SIDE and 0 <= b - right < SIDE:
                                total += f[a, b] * g[a - down, b - right]
                    products.append(abs(total))
            expected = max(products) / np.sqrt((f**2).sum() * (g**2).sum())
            assert found[i, j] == pytest.approx(expected, abs=1e-12)


def test_by_responses_is_the_correlation_of_responses() -> None:
    x, y = bank(0, 3), bank(1, 4)
    patches = pixels(0)
    patches += np.roll(patches, 1, 2)  # correlated neighbors
    patches -= patches.mean((1, 2), keepdims=True)
    of_pixels = covariance(patches)

    found = match_strength(x, y, of_pixels, shift=SHIFT)

    inner = patches[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    centred = [f - f.mean((1, 2), keepdims=True) for f in (x, y)]
    responses = [np.einsum("uij,mij->um", f, inner) for f in centred]
    unshifted = np.abs(np.corrcoef(*responses)[:3, 3:])
    assert (found >= unshifted - 0.02).all()
    alone = match_strength(x, x, of_pixels)
    assert np.diag(alone) == pytest.approx(1)


def test_planted_units_are_all_found() -> None:
    x, y, order = planted(0)

    rows, columns, strengths = partners(match_strength(x, y))

    assert strengths == pytest.approx(1)
    assert order[columns].tolist() == rows.tolist()
    too_far = np.roll(bank(0), SHIFT + 3, 2)
    assert partners(match_strength(bank(0), too_far))[2].mean() < 0.95


def test_planted_units_are_shared_and_scrambled_ones_are_not() -> None:
    x, y, _ = planted(1)
    noise = np.random.default_rng(5).standard_normal((2, UNITS, SIDE, SIDE))

    shared = sharing([(x, y)], draws=19, alpha=0.05, seed=0)
    other = sharing([(noise[0], noise[1])], draws=19, alpha=0.05, seed=0)

    assert shared.strength == pytest.approx(1)
    assert shared.share == 1
    assert shared.p_value("scrambled") == shared.p_value("turned") == 1 / 20
    assert other.p_value("scrambled") > 0.05
    assert other.p_value("turned") > 0.05
    assert other.share < 0.25


def test_banks_of_one_kind_share_the_kind_and_no_orientations() -> None:
    """Independent Gabors beat shapeless noise of their spectra, and not themselves turned."""
    p_turned = []
    for seed in range(3):
        found = sharing([(bank(seed), bank(100 + seed))], draws=19, alpha=0.05, seed=0)
        assert found.p_value("scrambled") == 1 / 20
        p_turned.append(found.p_value("turned"))
    assert max(p_turned) > 0.3


def test_the_null_holds_its_level() -> None:
    """Where the second bank is noise of its own spectra, p is as often small as it says."""
    rng = np.random.default_rng(0)
    small = 0
    for seed in range(30):
        y = scrambled(bank(seed, 8), rng)
        found = sharing([(bank(200 + seed, 8), y)], draws=4, alpha=0.05, seed=seed)
        small += found.p_value("scrambled") <= 0.2
    assert small <= 13  # 6 expected; more than 13 in 1 of 1000 such tests


def test_scrambling_keeps_spectra_and_turning_keeps_pixels() -> None:
    x = bank(3)
    rng = np.random.default_rng(0)

    noise, other = scrambled(x, rng), turned(x, rng)

    np.testing.assert_allclose(np.abs(np.fft.fft2(noise)), np.abs(np.fft.fft2(x)), atol=1e-9)
    assert partners(match_strength(x, noise))[2].mean() < 0.8
    np.testing.assert_allclose(np.sort(other.reshape(UNITS, -1)), np.sort(x.reshape(UNITS, -1)))
    assert not np.allclose(other, x)


def test_units_find_better_partners_in_a_copy_than_in_a_control() -> None:
    x, y, _ = planted(2)
    control = np.random.default_rng(1).standard_normal(x.shape)

    of_control, p_value = stronger_than([(x, y, control)])
    assert of_control == pytest.approx(partners(match_strength(x, control))[2].mean())
    assert p_value < 1e-4
    assert stronger_than([(x, control, y)])[1] > 0.999
    assert stronger_than([(x, y, y)])[1] == 1


def test_a_silent_filter_has_no_partner() -> None:
    x, y = bank(0, 3), bank(1, 3)
    x[1] = 4.0  # constant: no patch has a mean to answer to

    assert match_strength(x, y)[1].tolist() == [0, 0, 0]


def test_the_same_seed_gives_the_same_draws() -> None:
    pair = [(bank(0, 6), bank(1, 6))]
    one, same, other = (sharing(pair, draws=3, alpha=0.05, seed=s) for s in (0, 0, 1))

    assert one.nulls["scrambled"].tolist() == same.nulls["scrambled"].tolist()
    assert one.nulls["scrambled"].tolist() != other.nulls["scrambled"].tolist()
