"""Curves that rise and level off: what would many more observations come to?

Two laws of a score over m averaged observations, each fitted by least squares without weights:
that of arXiv:2511.02767, and the one that averaging noise follows in theory. Both are read far
outside their points, so that a law is refused where these do not say where it ends.

Axes: n points.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FEWEST = 4
"""Points: three parameters, and one left over to see an error by."""
_RATES = np.geomspace(0.02, 8.0, 200)  # below, m^-c is a logarithm; above, only m = 1 differs
_HALVES = np.geomspace(1e4, 1e-3, 400)  # times the largest m: above, a straight line


@dataclass(frozen=True)
class Power:
    """y = asymptote - drop * m^-rate, all of them positive."""

    asymptote: float
    drop: float
    rate: float

    def __call__(self, m: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self.asymptote - self.drop * m**-self.rate


@dataclass(frozen=True)
class Attenuation:
    """y = asymptote * m / (m + half)."""

    asymptote: float
    half: float
    """The m at which half of the way is done: one observation's noise over its signal."""

    def __call__(self, m: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self.asymptote * m / (m + self.half)


@dataclass(frozen=True)
class Levelling:
    """The law of least squares, and how sure it is that these points level off by it."""

    curve: Power | Attenuation | None
    """None: too few points, or none that rise."""
    r2: float
    reason: str | None
    """Why the asymptote is not claimed; None: it is."""


def fit_power(
    m: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], *, level: float = 0.95
) -> Levelling:
    """y = a - b m^-c, the law of arXiv:2511.02767 in one variable.

    Of few m it overshoots: five points (m = 1 ... 5) of `Attenuation` with as much noise as signal
    in one observation end at 1.25 times the truth, with half as much at 1.06 times.
    """
    constants = np.ones_like(m)
    law = _Law(
        design=lambda rates: np.stack(
            np.broadcast_arrays(constants, -(m ** -rates[:, None])), axis=-1
        ),
        curve=lambda rate, weights: Power(float(weights[0]), float(weights[1]), rate),
        shapes=_RATES,
        like="a logarithm",
    )
    return _fit(m, y, law, level)


def fit_attenuation(
    m: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], *, level: float = 0.95
) -> Levelling:
    """y = a m / (m + h): a mean of m observations has the reliability m / (m + h).

    Of y on a scale on which noise multiplies, 0 where there is nothing in common
    (`platorep.statistics.ceiling`): for linear CKA and independent noise of one variance in all
    directions that matter it is exact, for neighbors on their scale it holds within some percent.
    Source: Spearman 1910 and Brown 1910, British Journal of Psychology 3.
    """
    law = _Law(
        design=lambda halves: (m / (m + halves[:, None]))[..., None],
        curve=lambda half, weights: Attenuation(float(weights[0]), half),
        shapes=_HALVES * m.max(initial=1.0),
        like="a straight line",
    )
    return _fit(m, y, law, level)


@dataclass(frozen=True)
class _Law:
    """Linear in its weights, of which the first is the asymptote, once its shape is given."""

    design: Callable[[Float[np.ndarray, " g"]], Float[np.ndarray, "g n w"]]
    curve: Callable[[float, Float[np.ndarray, " w"]], Power | Attenuation]
    shapes: Float[np.ndarray, " g"]
    """The first does not level off within any m that could be had."""
    like: str
    """What the first looks like."""


def _fit(
    m: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], law: _Law, level: float
) -> Levelling:
    """The law at its best.

    It is claimed if an F test prefers it to a constant, and if the profile likelihood (of normal
    errors of one variance) tells it from the shape that has no end.
    """
    from scipy.special import fdtrc, fdtri  # takes long to import, and finished runs need none

    if len(m) < FEWEST:
        return Levelling(None, np.nan, f"{len(m)} points, and {FEWEST} are the fewest for a curve")
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        return Levelling(None, np.nan, "the scores do not rise")
    shapes = np.append(law.shapes, _best_shape(law, y))
    weights, errors = _least_squares(law.design(shapes), y)
    best = int(errors.argmin())
    if not np.isfinite(errors[best]):
        return Levelling(None, np.nan, "the scores do not rise")
    curve = law.curve(float(shapes[best]), weights[best])
    more = weights.shape[1]  # parameters than a constant has
    freedom = len(m) - 1 - more
    least = max(float(errors[best]), len(m) * (1e-12 * float(np.abs(y).max())) ** 2)
    total = float(np.sum((y - y.mean()) ** 2))
    reason = None
    if fdtrc(more, freedom, max(total - least, 0.0) / more / (least / freedom)) > 1 - level:
        reason = "no rise beyond the scatter of the scores"
    elif errors[0] <= least * (1 + float(fdtri(1, freedom, level)) / freedom):
        reason = f"no end in sight: {law.like} fits as well"
    return Levelling(curve, 1 - float(errors[best]) / total, reason)


def _best_shape(law: _Law, y: Float[np.ndarray, " n"]) -> float:
    """Between the shapes of the law, which are close enough to tell where."""
    from scipy.optimize import minimize_scalar

    near = int(_least_squares(law.design(law.shapes), y)[1].argmin())
    around = law.shapes[[max(near - 1, 0), min(near + 1, len(law.shapes) - 1)]]
    ends = float(around.min()), float(around.max())
    found = minimize_scalar(
        lambda shape: float(_least_squares(law.design(np.array([shape])), y)[1][0]),
        bounds=ends,
        method="bounded",
        options={"xatol": 1e-10 * ends[1]},
    )
    return float(found.x)


def _least_squares(
    designs: Float[np.ndarray, "g n w"], y: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "g w"], Float[np.ndarray, " g"]]:
    """The weights of each design and the sum of their squared errors; infinity where a weight is
    not positive."""
    weights = (np.linalg.inv(designs.mT @ designs) @ (designs.mT @ y[:, None]))[..., 0]
    errors = np.sum(((designs @ weights[..., None])[..., 0] - y) ** 2, axis=1)
    return weights, np.where((weights > 0).all(axis=1), errors, np.inf)
