"""Which item of one model is which of another, from their two kernels alone.

Of all orders of y's items, the one in which the kernels agree most: the quadratic assignment
problem max_P tr(K_x P K_y P'). It is NP-hard; what is found here comes from several random starts
of Frank and Wolfe's ascent on doubly stochastic matrices (FAQ), refined by swaps of two items.
The steps are those of scipy's `quadratic_assignment`, of all starts at once, with one difference:
a term that is the same for every order, -c |P|^2, is taken off and brought back by degrees. The
objective of two kernels is convex, so that without it FAQ stops at the first corner that it meets
(`scripts/bench_matching.py` has what that costs); with it the ascent begins on a concave one.

Axes: n items, r restarts.

Source: Vogelstein et al. 2015, PLOS ONE 10 (FAQ); Zaslavskiy, Bach, Vert 2009, IEEE TPAMI 31 (from
concave to convex); arXiv:2401.05224 and arXiv:2503.24129 ask it of vision and language networks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import linear_sum_assignment

Kernel = Float64[np.ndarray, "n n"]
Orders = Int64[np.ndarray, "r n"]

STAGES = (0.5, 0.2, 0.0)
"""What is taken off, c, as shares of the largest eigenvalues' product: at 1 all is concave."""
STEPS = 20
"""In each stage, at most."""
STILL = 0.01
"""A stage has ended when the matrix moves less, by the root mean square of a row (scipy: .03)."""
EQUAL = 1e-9
"""Objectives, of matrices of unit length, that differ by less are one."""


@dataclass(frozen=True)
class Match:
    """What was found: item i of x is item `order[i]` of y."""

    order: Int64[np.ndarray, " n"]
    objective: float
    """The cosine of the two matrices in this order, -1 ... 1: of centred kernels their CKA."""


def match(x: Kernel, y: Kernel, *, restarts: int, rng: np.random.Generator) -> Match:
    """The best order that was found.

    Whatever the order of the items, it is forgotten first: ties (a constant kernel is nothing else)
    end at a random order and never at the one in which the items came.

    Args:
        x, y: Symmetric; of any scale.
    """
    n = len(x)
    shuffle = rng.permutation(n)
    x, y = _unit(x), _unit(y[np.ix_(shuffle, shuffle)])
    found = _swapped(x, y, _relaxed(x, y, restarts, rng))
    values = _objectives(x, y, found)
    best = int(values.argmax())
    return Match(order=shuffle[found[best]], objective=float(values[best]))


def objective(x: Kernel, y: Kernel, order: Int64[np.ndarray, " n"]) -> float:
    """The cosine of the two matrices if item i of x is item `order[i]` of y; 0 if one is zero."""
    return float(_objectives(_unit(x), _unit(y), order[None])[0])


def _unit(kernel: Kernel) -> Kernel:
    length = float(np.linalg.norm(kernel))
    return kernel / length if length else kernel


def _objectives(x: Kernel, y: Kernel, orders: Orders) -> Float64[np.ndarray, " r"]:
    ordered = y[orders[:, :, None], orders[:, None, :]]
    values: np.ndarray = np.einsum("ij,rij->r", x, ordered)
    return values


def _relaxed(x: Kernel, y: Kernel, restarts: int, rng: np.random.Generator) -> Orders:
    """Where FAQ ends from the barycenter, moved halfway to a random order at each start.

    From the barycenter itself there is no way: the gradient of centred kernels is zero there.
    """
    n = len(x)
    p = np.full((restarts, n, n), 0.5 / n)
    for start in p:
        start[np.arange(n), rng.permutation(n)] += 0.5
    steepest = _largest(x) * _largest(y)
    for stage in STAGES:
        _climb(x, y, stage * steepest, p)
    return _assigned(p)


def _largest(kernel: Kernel) -> float:
    return float(np.abs(np.linalg.eigvalsh(kernel)).max())


def _climb(x: Kernel, y: Kernel, taken: float, p: Float64[np.ndarray, "r n n"]) -> None:
    """Move every start in place until it stands still, with `taken` |P|^2 taken off."""
    moving, n = np.arange(len(p)), len(x)
    for _ in range(STEPS):
        here = p[moving]
        gradient = x @ here @ y - taken * here
        to = _assigned(gradient)
        corner = _matrices(to)
        at_corner = x @ y[to] - taken * corner
        step = _step(here, corner, gradient, at_corner)[:, None, None] * (corner - here)
        p[moving] += step
        moving = moving[np.linalg.norm(step, axis=(1, 2)) > STILL * np.sqrt(n)]
        if not len(moving):
            break


def _step(
    here: Float64[np.ndarray, "r n n"],
    corner: Float64[np.ndarray, "r n n"],
    gradient: Float64[np.ndarray, "r n n"],
    at_corner: Float64[np.ndarray, "r n n"],
) -> Float64[np.ndarray, " r"]:
    """How far to go from here to the corner: where the objective, a parabola, is highest."""
    start, cross, end = (
        np.einsum("rij,rij->r", a, b)
        for a, b in ((here, gradient), (corner, gradient), (corner, at_corner))
    )
    bend, slope = start - 2 * cross + end, 2 * (cross - start)
    inside = -2 * bend > slope  # the top of a parabola that opens downwards
    top = slope / np.where(inside, -2 * bend, 1.0)
    step: np.ndarray = np.where(inside, np.clip(top, 0, 1), (end > start).astype(float))
    return step


def _assigned(gains: Float64[np.ndarray, "r n n"]) -> Orders:
    return np.stack([linear_sum_assignment(gain, maximize=True)[1] for gain in gains])


def _matrices(orders: Orders) -> Float64[np.ndarray, "r n n"]:
    restarts, n = orders.shape
    matrices = np.zeros((restarts, n, n))
    np.put_along_axis(matrices, orders[:, :, None], 1.0, axis=2)
    return matrices


def _swapped(x: Kernel, y: Kernel, orders: Orders) -> Orders:
    """Each order after the best swap of two items, again and again until none is better."""
    orders, n = orders.copy(), len(x)
    moving = np.arange(len(orders))
    while len(moving):
        of = orders[moving]
        gains = _gains(x, y[of[:, :, None], of[:, None, :]]).reshape(len(moving), -1)
        best = gains.argmax(axis=1)
        better = np.take_along_axis(gains, best[:, None], axis=1)[:, 0] > EQUAL
        moving, one, other = moving[better], best[better] // n, best[better] % n
        orders[moving, one], orders[moving, other] = orders[moving, other], orders[moving, one]
    return orders


def _gains(x: Kernel, y: Float64[np.ndarray, "r n n"]) -> Float64[np.ndarray, "r n n"]:
    """What the sum of products gains when items i and j of y change places, for all i and j.

    2 sum_k (x_ik - x_jk) (y_jk - y_ik) over all other k, and the two on the diagonal.
    """
    product = x @ y
    own = np.diagonal(product, axis1=1, axis2=2)
    total = product + product.transpose(0, 2, 1) - own[:, :, None] - own[:, None, :]
    x_own, y_own = np.diagonal(x), np.diagonal(y, axis1=1, axis2=2)
    k_is_i = (x_own[:, None] - x) * (y - y_own[:, :, None])
    diagonal = (x_own[:, None] - x_own) * (y_own[:, None, :] - y_own[:, :, None])
    gains: np.ndarray = 2 * (total - k_is_i - k_is_i.transpose(0, 2, 1)) + diagonal
    return gains
