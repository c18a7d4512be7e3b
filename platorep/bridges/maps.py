"""Linear maps between two layers, fitted on rows of which the pairs are known.

All three work on the principal axes of the fitted rows, all of them: what else the rows to be
searched hold no map knows of. There a layer is no wider than it has fitted rows, so that layers of
any two widths are mapped, and one decomposition of a layer serves all its partners.

Axes: n fitted rows, m searched rows, d features, r principal axes (r_x and r_y of the two models).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from platorep.bridges.retrieval import cosines, over
from platorep.errors import DataError
from platorep.switches import default_switches

PENALTIES = 10.0 ** np.arange(-3, 3.1, 0.5)
"""Among which ridge chooses, in units of the mean squared length along a principal axis."""
ROUNDING = 4
"""Along an axis, in units of the precision and of the length of all fitted rows."""


@dataclass(frozen=True)
class Axes:
    """A layer on the principal axes of its fitted rows, around their mean."""

    left: Float64[np.ndarray, "n r"]
    """Orthonormal; times `scales` these are the fitted rows."""
    scales: Float64[np.ndarray, " r"]
    searched: Float64[np.ndarray, "m r"]

    def in_order(self, order: Int64[np.ndarray, " n"]) -> "Axes":
        """The same layer with its fitted rows in another order: a null breaks the pairs so."""
        return Axes(self.left[order], self.scales, self.searched)

    @cached_property
    def unit(self) -> float:
        """Mean squared length of the fitted rows, all together, along an axis."""
        return float(np.square(self.scales).mean())


@default_switches()
def principal_axes(fitted: Float[Tensor, "n d"], searched: Float[Tensor, "m d"]) -> Axes:
    """Decompose the fitted rows; axes along which they vary by rounding alone are left out.

    Raises:
        DataError: the fitted rows are all the same.
    """
    rows = fitted.double().numpy()
    mean = rows.mean(axis=0)
    left, scales, right = np.linalg.svd(rows - mean, full_matrices=False)
    kept = scales > ROUNDING * torch.finfo(fitted.dtype).eps * np.linalg.norm(rows)
    if not kept.any():
        raise DataError(f"all {len(rows)} rows that maps are fitted on are the same in this layer.")
    along = (searched.double().numpy() - mean) @ right[kept].T
    return Axes(left[:, kept], scales[kept], along)


@dataclass(frozen=True)
class Similarities:
    """Of the searched rows of one model, mapped, and those of the other."""

    x_to_y: Float64[np.ndarray, "m m"]
    """A row for each row of x, which is the query, and a column for each of y, to be found."""
    y_to_x: Float64[np.ndarray, "m m"]


@dataclass(frozen=True)
class Fit:
    """Two layers on the same rows, pair by pair, and what their maps have in common."""

    x: Axes
    y: Axes

    @cached_property
    def common(self) -> Float64[np.ndarray, "r_x r_y"]:
        common: np.ndarray = self.x.left.T @ self.y.left
        return common

    @cached_property
    def penalty_x(self) -> float:
        """Of a ridge regression from x to y; in `unit`s of x."""
        return _penalty(self.x, self.y, self.common)

    @cached_property
    def penalty_y(self) -> float:
        return _penalty(self.y, self.x, self.common.T)


def _penalty(source: Axes, target: Axes, common: Float64[np.ndarray, "r_s r_t"]) -> float:
    """The one of `PENALTIES` whose predictions of each fitted row from all others are best.

    In closed form: the row left out misses by e / (1 - h), with e its residual in the fit of all
    rows and h its leverage, that of the intercept included (Allen 1974, Technometrics 16).
    """
    wanted = target.left * target.scales
    fitted = common * target.scales
    squared_left = np.square(source.left)
    errors = []
    for penalty in PENALTIES * source.unit:
        shrunk = source.scales**2 / (source.scales**2 + penalty)
        leverage = squared_left @ shrunk + 1 / len(wanted)
        residuals = wanted - (source.left * shrunk) @ fitted
        errors.append(float(np.square(residuals).sum(axis=1) @ (1 - leverage) ** -2.0))
    return float(PENALTIES[np.argmin(errors)])


def procrustes(fit: Fit) -> Similarities:
    """The rotation (reflections among them) that brings the fitted rows of x nearest to those of y;
    the way back is its inverse. Axes that the narrower side lacks are zeros there.

    Source: Schönemann 1966, Psychometrika 31.
    """
    x, y = fit.x, fit.y
    left, _, right = np.linalg.svd(x.scales[:, None] * fit.common * y.scales, full_matrices=False)
    products = (x.searched @ left) @ (right @ y.searched.T)
    lengths = np.outer(*(np.linalg.norm(side.searched, axis=1) for side in (x, y)))
    similarity = over(products, lengths)
    return Similarities(similarity, similarity.T)


def ridge(fit: Fit) -> Similarities:
    """Each side predicted from the other by ridge regression, its penalty chosen by leaving one
    fitted row out.

    Predictions lie nearer to the mean than what they predict, so that some items are the nearest of
    many queries (Shigeto et al. 2015, arXiv:1507.00825): CSLS is for that.
    """
    x, y = fit.x, fit.y

    def predicted(
        source: Axes, target: Axes, common: Float64[np.ndarray, "r_s r_t"], penalty: float
    ) -> Float64[np.ndarray, "m r_t"]:
        shrunk = source.scales / (source.scales**2 + penalty * source.unit)
        mapped: np.ndarray = (source.searched * shrunk) @ common * target.scales
        return mapped

    return Similarities(
        cosines(predicted(x, y, fit.common, fit.penalty_x), y.searched),
        cosines(predicted(y, x, fit.common.T, fit.penalty_y), x.searched),
    )


def cca(fit: Fit) -> Similarities:
    """Canonical variables of both sides, each at the root of its correlation.

    A side is whitened as far as its ridge regression towards the other shrinks it: with the
    covariances C and that penalty p, the singular vectors of (C_x + p_x)^-1/2 C_xy (C_y + p_y)^-1/2
    (Vinod 1976, Journal of Econometrics 4; without penalties all correlations are 1 where features
    are as many as rows). At the root of its correlation a variable is the posterior mean of what
    both sides have in common (Bach and Jordan 2005, technical report 688, Berkeley), and a product
    of two rows weighs it by the correlation, as in arXiv:2410.07610.
    """
    x, y = fit.x, fit.y
    of_x = 1 / np.sqrt(x.scales**2 + fit.penalty_x * x.unit)
    of_y = 1 / np.sqrt(y.scales**2 + fit.penalty_y * y.unit)
    left, correlations, right = np.linalg.svd(
        (x.scales * of_x)[:, None] * fit.common * (y.scales * of_y), full_matrices=False
    )
    weights = np.sqrt(correlations)
    similarity = cosines(
        (x.searched * of_x) @ left * weights, (y.searched * of_y) @ right.T * weights
    )
    return Similarities(similarity, similarity.T)


MAPS: Mapping[str, Callable[[Fit], Similarities]] = {
    "procrustes": procrustes,
    "ridge": ridge,
    "cca": cca,
}


@default_switches()
def fit_maps(fit: Fit, names: Sequence[str]) -> dict[str, Similarities]:
    """What each of these maps makes of the searched rows."""
    return {name: MAPS[name](fit) for name in names}
