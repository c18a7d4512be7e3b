"""Which units two banks of filters have in common, and whether more than chance has.

Axes: u and v filters of two banks, s pixels per side, w = (s + 2 shift)^2 pixels of a window, r
draws of a null, m patches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from platorep.units.patches import MARGIN

VERSION = 1  # raise when the same filters give other numbers
SHIFT = MARGIN
"""Pixels by which a filter may lie elsewhere, in both directions, and still be the same unit."""
Bank = Float[np.ndarray, "_ s s"]


def covariance(windows: Float[np.ndarray, "m _ _"]) -> Float[np.ndarray, "w w"]:
    """Of the pixels of patches as large as a filter with its shifts, each patch around its mean."""
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    found: np.ndarray = flat.T @ flat / len(flat)
    return found


def match_strength(
    x: Float[np.ndarray, "u s s"],
    y: Float[np.ndarray, "v s s"],
    of_pixels: Float[np.ndarray, "w w"] | None = None,
    shift: int = SHIFT,
) -> Float[np.ndarray, "u v"]:
    """How alike each two filters are: 1 the same one up to sign, scale and a shift, 0 orthogonal.

    The largest absolute cosine over all shifts of y by up to `shift` pixels, in a window that holds
    both whole. The mean of a filter counts for nothing, as no patch has one. With the covariance of
    the window's pixels it is the absolute correlation of the two units' responses (before ReLU) to
    patches of that covariance: what filters do, not how they look.
    """
    side, wide = x.shape[1], x.shape[1] + 2 * shift
    fixed = _placed(x, wide, shift, shift)
    places = [(top, left) for top in range(2 * shift + 1) for left in range(2 * shift + 1)]
    moved = np.stack([_placed(y, wide, *place) for place in places])  # places, v, w
    assert of_pixels is None or len(of_pixels) == wide * wide, f"a window of {side} + 2 {shift}"
    of_x = fixed if of_pixels is None else fixed @ of_pixels
    centre = moved[len(places) // 2]
    of_y = centre if of_pixels is None else centre @ of_pixels
    lengths_x = np.sqrt((of_x * fixed).sum(1))
    lengths_y = np.sqrt((of_y * centre).sum(1))  # the same at every place, as images are
    products = np.abs(moved.reshape(-1, wide * wide) @ of_x.T)
    best = products.reshape(len(places), len(y), len(x)).max(0).T
    lengths = np.outer(lengths_x, lengths_y)
    strength: np.ndarray = np.minimum(best / np.where(lengths > 0, lengths, np.inf), 1)
    return strength


def _placed(filters: Bank, wide: int, top: int, left: int) -> Float[np.ndarray, "_ w"]:
    side = filters.shape[1]
    window = np.zeros((len(filters), wide, wide))
    centred = filters - filters.mean((1, 2), keepdims=True)
    window[:, top : top + side, left : left + side] = centred
    return window.reshape(len(filters), -1)


def partners(
    strength: Float[np.ndarray, "u v"],
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Units paired off one to one so that the sum of strengths is largest, and their strengths."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(strength, maximize=True)
    return rows, columns, strength[rows, columns]


def scrambled(filters: Bank, rng: np.random.Generator) -> Bank:
    """Filters of the same amplitude spectra with phases of white noise: as coarse or fine, as much
    of each orientation, but of no place and no form."""
    phases = np.angle(np.fft.fft2(rng.standard_normal(filters.shape)))
    found: np.ndarray = np.fft.ifft2(np.abs(np.fft.fft2(filters)) * np.exp(1j * phases)).real
    return found


def turned(filters: Bank, rng: np.random.Generator) -> Bank:
    """Each filter turned by a random multiple of 90 degrees, and mirrored or not: still a filter of
    its kind, place and frequency, but of another orientation."""
    turns = rng.integers(4, size=len(filters))
    mirrored = rng.integers(2, size=len(filters)).astype(bool)
    found = [np.rot90(f, turn) for f, turn in zip(filters, turns, strict=True)]
    return np.stack([f[:, ::-1] if m else f for f, m in zip(found, mirrored, strict=True)])


NULLS: dict[str, Callable[[Bank, np.random.Generator], Bank]] = {
    "scrambled": scrambled,
    "turned": turned,
}


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How much the banks of two objectives have in common, and under the nulls."""

    strength: float
    """Mean over the pairs of units, and over the pairs of banks."""
    units: Float[np.ndarray, " p"]
    """Of each pair of units of all pairs of banks."""
    nulls: dict[str, Float[np.ndarray, " r"]]
    """By null: the strength in each draw."""
    threshold: float
    """Which a pair of units of the scrambled null passes with probability alpha."""

    @property
    def share(self) -> float:
        """Share of units whose partner passes the threshold; alpha if nothing is shared."""
        return float((self.units > self.threshold).mean())

    def p_value(self, null: str) -> float:
        """Share of draws in which the null has as much in common, the observation among them."""
        draws = self.nulls[null]
        return float((1 + (draws >= self.strength).sum()) / (1 + len(draws)))


def sharing(
    pairs: Sequence[tuple[Bank, Bank]],
    nulls: Sequence[str] = tuple(NULLS),
    of_pixels: Float[np.ndarray, "w w"] | None = None,
    *,
    draws: int,
    alpha: float,
    seed: int = 0,
) -> Sharing:
    """What the banks of each pair have in common, averaged over pairs.

    In each draw of a null every filter of the second banks is changed, the first ones stay. So a p
    value says: two banks of which one has these spectra and no form (`scrambled`), or these very
    filters in other orientations (`turned`), have less in common.
    """
    units = np.concatenate([partners(match_strength(x, y, of_pixels))[2] for x, y in pairs])
    drawn: dict[str, np.ndarray] = {}
    under: list[np.ndarray] = []
    for number, name in enumerate(nulls):
        rng = np.random.default_rng([seed, number])
        found = []
        for _ in range(draws):
            changed = [(x, NULLS[name](y, rng)) for x, y in pairs]
            strengths = [partners(match_strength(x, y, of_pixels))[2] for x, y in changed]
            found.append(np.concatenate(strengths).mean())
            under += strengths if name == "scrambled" else []
        drawn[name] = np.array(found)
    return Sharing(
        strength=float(units.mean()),
        units=units,
        nulls=drawn,
        threshold=float(np.quantile(np.concatenate(under), 1 - alpha)),
    )


def stronger_than(threes: Sequence[tuple[Bank, Bank, Bank]]) -> tuple[float, float]:
    """Do units of x find better partners in y than in a control? Of all (x, y, control).

    Returns:
        The mean strength with the controls, and p of a one-sided Wilcoxon test that is paired by
        the units of x; 1 where nothing differs. Units of one bank are taken as independent.
    """
    from scipy.stats import wilcoxon

    to_y = np.concatenate([_of_each(match_strength(x, y)) for x, y, _ in threes])
    to_control = np.concatenate([_of_each(match_strength(x, c)) for x, _, c in threes])
    if np.array_equal(to_y, to_control):
        return float(to_control.mean()), 1.0
    p_value = wilcoxon(to_y, to_control, alternative="greater").pvalue
    return float(to_control.mean()), float(p_value)


def _of_each(strength: Float[np.ndarray, "u v"]) -> Float[np.ndarray, " u"]:
    """Of each unit of x its partner's strength, 0 of one that is left over."""
    rows, _, found = partners(strength)
    of_each = np.zeros(len(strength))
    of_each[rows] = found
    return of_each
