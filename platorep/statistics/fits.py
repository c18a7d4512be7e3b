"""A straight line against an S: does one thing follow another, or set in at some point?

Both are least-squares fits without weights, compared by AICc, which asks whether the S explains
enough more for its further parameter.

Axes: n points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float
from scipy.optimize import curve_fit
from scipy.special import expit

_SMALLEST = 1e-9  # a residual below this share of y's range is rounding


@dataclass(frozen=True)
class Line:
    """y = intercept + slope * x."""

    intercept: float
    slope: float
    num_parameters = 2

    def __call__(self, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self.intercept + self.slope * x


@dataclass(frozen=True)
class Sigmoid:
    """y = floor + (ceiling - floor) / (1 + exp(-(x - midpoint) / scale)); the floor is given."""

    floor: float
    ceiling: float
    midpoint: float
    scale: float
    """Of x; positive: rising."""
    num_parameters = 3

    def __call__(self, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self.floor + (self.ceiling - self.floor) * expit((x - self.midpoint) / self.scale)


Curve = Line | Sigmoid


def fit_line(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Line | None:
    """The line of least squares; None where fewer than two x differ."""
    if len(x) < 2 or np.ptp(x) <= 1e-12 * np.abs(x).max():
        return None
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    return Line(float(y.mean() - slope * x.mean()), slope)


def fit_sigmoid(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], *, floor: float = 0.0
) -> Sigmoid | None:
    """The sigmoid of least squares that rises from `floor`; None where no search converged.

    The search goes from several starts within wide bounds, which keep what data cannot tell apart
    from running away: the ceiling at most 5 times as far from the floor as the highest y, the
    midpoint within one range of x around the data, the scale from 1/100 to 2 ranges of x. All y at
    or below the floor, or fewer than 4 points, have none.
    """
    if len(x) < 4 or np.ptp(x) <= 1e-12 * np.abs(x).max() or y.max() <= floor:
        return None
    start, span, height = float(x.min()), float(np.ptp(x)), float(y.max()) - floor
    places, shares = (x - start) / span, (y - floor) / height  # 0 to 1; at most 1

    def shape(
        place: Float[np.ndarray, " n"], ceiling: float, midpoint: float, scale: float
    ) -> Float[np.ndarray, " n"]:
        return np.asarray(ceiling * expit((place - midpoint) / scale))

    least, best = math.inf, None
    for guess in product((1.0, 2.5), (0.25, 0.5, 0.75, 1.25), (0.05, 0.2, 0.7)):
        try:
            found, _ = curve_fit(
                shape, places, shares, guess, bounds=([0.01, -1.0, 0.01], [5.0, 2.0, 2.0]),
                ftol=1e-10, xtol=1e-10, gtol=1e-10, max_nfev=2000,
            )  # fmt: skip
        except RuntimeError:  # did not converge from here
            continue
        error = float(np.sum((shape(places, *found) - shares) ** 2))
        if error < least - 1e-12:
            least, best = error, found
    if best is None:
        return None
    ceiling, midpoint, scale = (float(value) for value in best)
    return Sigmoid(floor, floor + ceiling * height, start + midpoint * span, scale * span)


def aicc(curve: Curve, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Akaike's criterion for small samples; lower is better, only differences mean anything.

    n log(rss / n) + 2 p + 2 p (p + 1) / (n - p - 1), where p counts the curve's parameters and the
    variance of the errors; NaN where n - p - 1 is not positive (line: n < 5, sigmoid: n < 6).
    Source: Hurvich and Tsai 1989, Biometrika 76. Errors count as normal with one variance.
    """
    num, p = len(x), curve.num_parameters + 1
    if num - p - 1 <= 0:
        return math.nan
    rounding = (_SMALLEST * max(float(np.ptp(y)), 1e-6 * float(np.abs(y).max()), 1e-100)) ** 2
    mean_square = max(float(np.mean((y - curve(x)) ** 2)), rounding)
    return num * math.log(mean_square) + 2 * p + 2 * p * (p + 1) / (num - p - 1)


def r_squared(
    curve: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]],
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
) -> float:
    """1 - squared errors / squared deviations from the mean of these y; at most 1.

    On points that the curve was not fitted to it is below 0 where their own mean would have been a
    better guess. NaN where y does not vary (one point, say).
    """
    if len(y) < 2 or np.ptp(y) <= 1e-12 * np.abs(y).max():
        return math.nan
    return float(1 - np.sum((y - curve(x)) ** 2) / np.sum((y - y.mean()) ** 2))
