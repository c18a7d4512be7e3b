"""Distances between colours as points in three dimensions, and how alike two such geometries are.

Axes: n colours, K permutations.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import procrustes
from scipy.stats import rankdata

from platorep.errors import DataError
from platorep.parameters.color import GeometryParameters
from platorep.statistics import draw_order, metric_mds, stress

Distances = Float[np.ndarray, "n n"]
Points = Float[np.ndarray, "n 3"]
MINIMUM = 5
"""Fewer points fit each other in three dimensions whatever they are."""
EQUAL = 1e-12
"""Scores that differ by less are ties."""
AT_ONCE = 4_000_000  # numbers in memory at a time


def embed(distances: Distances, parameters: GeometryParameters) -> tuple[Points, float]:
    """Points in three dimensions with these distances as nearly as can be, and their stress.

    Returns:
        The points of metric MDS, and Kruskal's stress-1: 0 is perfect.

    Raises:
        DataError: all distances are 0.
    """
    if not distances.any():
        raise DataError("all colours are at distance 0 of each other: there is no geometry.")
    points = metric_mds(
        distances,
        3,
        starts=parameters.starts,
        seed=parameters.seed,
        max_iterations=parameters.iterations,
    )
    return points, stress(distances, points)


def turn_onto(points: Points, reference: Points) -> Points:
    """`points` moved, turned, mirrored if need be and scaled to lie on `reference` (Umeyama)."""
    center = reference.mean(0)
    spread = np.linalg.norm(reference - center)
    turned: np.ndarray = procrustes(reference, points)[1] * spread + center
    return turned


@dataclass(frozen=True)
class Agreement:
    """How alike two geometries of the same n colours are, and two chance levels."""

    residual: float
    """Procrustes disparity, 0 (alike) to 1: the share of the spread that the best move, turn,
    reflection and scale leave over."""
    residual_null: float
    """Its mean over relabelled colours."""
    residual_low: float
    """The 5 % quantile over relabelled colours."""
    residual_p: float
    """Share of relabellings (this labelling among them) with a residual at most as large."""
    correlation: float
    """Spearman's between the distances of the pairs of colours, -1 to 1."""
    correlation_p: float
    """Mantel's test, one-sided: share of relabellings with one at least as large. NaN where all
    distances of a geometry are equal, as the correlation is then."""


def agreement(
    x: Points,
    y: Points,
    x_distances: Distances,
    y_distances: Distances,
    parameters: GeometryParameters,
) -> Agreement:
    """Compare two geometries of the same colours, in the same order.

    Raises:
        DataError: fewer colours than can disagree in three dimensions.
    """
    if len(x) < MINIMUM:
        raise DataError(
            f"two geometries share {len(x)} colours; at least {MINIMUM} are needed to compare "
            "them in three dimensions."
        )
    orders = _orders(len(x), parameters.seed, parameters.permutations)
    observed = float(procrustes(x, y)[2])
    residuals = _residuals(_standard(x), _standard(y), orders)
    correlation, correlations = _correlations(x_distances, y_distances, orders)
    beyond = np.sum(residuals <= observed + EQUAL), np.sum(correlations >= correlation - EQUAL)
    return Agreement(
        residual=observed,
        residual_null=float(residuals.mean()),
        residual_low=float(np.quantile(residuals, 0.05)),
        residual_p=float(1 + beyond[0]) / (len(orders) + 1),
        correlation=correlation,
        correlation_p=(1 + beyond[1]) / (len(orders) + 1) if not isnan(correlation) else nan,
    )


@lru_cache(maxsize=8)
def _orders(n: int, seed: int, num: int) -> Int[np.ndarray, "K n"]:
    return np.stack([draw_order(n, seed, index) for index in range(num)])


def _standard(points: Points) -> Points:
    centered = points - points.mean(0)
    found: np.ndarray = centered / np.linalg.norm(centered)
    return found


def _residuals(x: Points, y: Points, orders: Int[np.ndarray, "K n"]) -> Float[np.ndarray, " K"]:
    """The disparity for every order of y: 1 less the square of the nuclear norm of x' y."""
    step = max(1, AT_ONCE // x.size)
    parts = [
        np.linalg.svd(x.T @ y[orders[start : start + step]], compute_uv=False).sum(1)
        for start in range(0, len(orders), step)
    ]
    found: np.ndarray = 1 - np.concatenate(parts) ** 2
    return found


def _correlations(
    x: Distances, y: Distances, orders: Int[np.ndarray, "K n"]
) -> tuple[float, Float[np.ndarray, " K"]]:
    """Spearman's r of the distances, and for every relabelling of y; NaN if one is constant."""
    ranks_x, ranks_y = _standard_ranks(x), _standard_ranks(y)
    step = max(1, AT_ONCE // x.size)
    parts = []
    for start in range(0, len(orders), step):
        some = orders[start : start + step]
        relabelled = ranks_y[some[:, :, None], some[:, None, :]]
        parts.append(relabelled.reshape(len(some), -1) @ ranks_x.ravel())
    return float(ranks_x.ravel() @ ranks_y.ravel()), np.concatenate(parts)


def _standard_ranks(distances: Distances) -> Distances:
    """The ranks of the distances of pairs, of mean 0 and length 1 in all, 0 on the diagonal."""
    rows, columns = np.triu_indices(len(distances), k=1)
    ranks = rankdata(distances[rows, columns])
    ranks = ranks - ranks.mean()
    length = np.linalg.norm(ranks) * np.sqrt(2)
    found = np.zeros_like(distances)
    found[rows, columns] = found[columns, rows] = ranks / length if length else np.nan
    return found
