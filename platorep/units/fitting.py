"""Least squares for many small pictures at once: what is linear is solved, the rest is searched.

Variable projection (Golub and Pereyra 1973, with Kaufman's shorter Jacobian) in a damped
Gauss-Newton search, all pictures of a batch side by side: a picture of 12 x 12 takes about a
millisecond, where `scipy.optimize.least_squares`, against which the tests hold it, takes tens.
Axes: n pictures, p pixels, k linear coefficients beside an offset, q parameters of a shape.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

ITERATIONS = 30
CONVERGED = 1e-5  # of the squares to explain
AT_ONCE = 64  # pictures whose work fits in a processor's own memory
DAMPING = (1e-2, 1e-9, 1e6)  # the first, the least, and the one at which a search gives up


@runtime_checkable
class Shape(Protocol):
    """A family of pictures: linear in `k` coefficients and an offset, not in `q` parameters."""

    @property
    def low(self) -> Float[np.ndarray, " q"]: ...

    @property
    def high(self) -> Float[np.ndarray, " q"]: ...

    def waves(self, parameters: Float[np.ndarray, "n q"]) -> Float[np.ndarray, "n k p"]:
        """What the coefficients stand before."""
        ...

    def slopes(
        self,
        parameters: Float[np.ndarray, "n q"],
        waves: Float[np.ndarray, "n k p"],
        coefficients: Float[np.ndarray, "n k"],
    ) -> Float[np.ndarray, "n q p"]:
        """Derivatives of the weighted sum of `waves` by the parameters."""
        ...

    def starts(self) -> Float[np.ndarray, "c s q"]:
        """A grid of parameters: c cells that differ in kind, s places within each."""
        ...


def explained(
    shape: Shape, pictures: Float[np.ndarray, "n p"], restarts: int
) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, " n"]]:
    """The best parameters of each picture, and the share of its variance that they explain.

    The grid is tried whole; the search starts from the best place of each of the `restarts` best
    cells. A picture of one value has no variance: its share is NaN.
    """
    grid = shape.starts()
    atoms = _unit(shape.waves(grid.reshape(-1, grid.shape[-1]))).astype(np.float32)
    parts = [
        _explained(shape, pictures[i : i + AT_ONCE], grid, atoms, restarts)
        for i in range(0, len(pictures), AT_ONCE)
    ]
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])


def coefficients(
    waves: Float[np.ndarray, "n k p"], pictures: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, "n k"]:
    """Weights of the waves, beside an offset, with which they come nearest to the pictures."""
    waves = waves - waves.mean(-1, keepdims=True)
    gram = waves @ waves.mT
    gram += 1e-10 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(waves.shape[1])
    solved: np.ndarray = np.linalg.solve(gram, waves @ pictures[..., None])[..., 0]
    return solved


def _explained(
    shape: Shape, pictures: np.ndarray, grid: np.ndarray, atoms: np.ndarray, restarts: int
) -> tuple[np.ndarray, np.ndarray]:
    cells, places, _ = grid.shape
    centred = pictures - pictures.mean(1, keepdims=True)
    squares = np.square(centred).sum(1)
    flat = squares <= 1e-12 * np.square(pictures).sum(1)
    centred = centred / np.sqrt(np.where(flat, 1, squares))[:, None]
    found = centred.astype(np.float32) @ atoms.reshape(-1, atoms.shape[-1]).T
    scores = np.square(found).reshape(-1, cells, places, atoms.shape[1]).sum(-1)
    best = np.argsort(-scores.max(2), axis=1, kind="stable")[:, :restarts]  # n r
    starts = grid[best, np.take_along_axis(scores.argmax(2), best, 1)]
    repeats = best.shape[1]
    parameters, left = _search(shape, np.repeat(centred, repeats, 0), np.concatenate(starts))
    left = left.reshape(-1, repeats)
    row, least = np.arange(len(left)), left.argmin(1)
    share = np.where(flat, np.nan, 1 - left[row, least])
    return parameters.reshape(len(left), repeats, -1)[row, least], share


def _search(
    shape: Shape, pictures: np.ndarray, parameters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters from a start of each picture (of mean 0), and the squares that they leave."""
    parameters = parameters.copy()
    step, left = _step(shape, pictures, parameters)
    damping = np.full(len(pictures), DAMPING[0])
    going = np.arange(len(pictures))
    for _ in range(ITERATIONS):
        gradient, curvature = (part[going] for part in step)
        diagonal = np.einsum("nii->ni", curvature)
        damped = curvature.copy()
        extra = damping[going, None] * (diagonal + 1e-6 * diagonal.max(1, keepdims=True) + 1e-12)
        np.einsum("nii->ni", damped)[:] += extra
        moved = parameters[going] + np.linalg.solve(damped, gradient[..., None])[..., 0]
        moved = np.clip(moved, shape.low, shape.high)
        new_step, new_left = _step(shape, pictures[going], moved)
        better = new_left < left[going]
        gained = left[going] - new_left
        kept = going[better]
        parameters[kept], left[kept] = moved[better], new_left[better]
        for part, new in zip(step, new_step, strict=True):
            part[kept] = new[better]
        damping[going] *= np.where(better, 0.2, 4)
        damping = np.maximum(damping, DAMPING[1])
        done = (better & (gained < CONVERGED)) | (damping[going] > DAMPING[2])
        going = going[~done]
        if not len(going):
            break
    return parameters, left


def _step(
    shape: Shape, pictures: np.ndarray, parameters: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Half the downward gradient and Gauss and Newton's curvature; the squares that are left."""
    waves = shape.waves(parameters)
    unit = _unit(waves)
    residual = pictures - (unit.mT @ (unit @ pictures[..., None]))[..., 0]
    slopes = shape.slopes(parameters, waves, coefficients(waves, pictures))
    slopes -= slopes.mean(-1, keepdims=True)
    slopes -= (slopes @ unit.mT) @ unit
    gradient = (slopes @ residual[..., None])[..., 0]
    return (gradient, slopes @ slopes.mT), np.square(residual).sum(1)


def _unit(waves: Float[np.ndarray, "n k p"]) -> Float[np.ndarray, "n k p"]:
    """Orthonormal waves of mean 0 that span the same; what adds nothing becomes 0."""
    waves = waves - waves.mean(-1, keepdims=True)
    lengths = np.sqrt(np.square(waves).sum(-1).max(1)) + 1e-30  # of the longest wave
    found: list[np.ndarray] = []
    for i in range(waves.shape[1]):
        rest = waves[:, i]
        for _ in range(2):  # twice is enough
            for other in found:
                rest = rest - (rest * other).sum(-1, keepdims=True) * other
        norm = np.sqrt(np.square(rest).sum(-1))
        new = norm > 1e-8 * lengths
        found.append(rest * np.where(new, 1 / np.maximum(norm, 1e-30), 0)[:, None])
    return np.stack(found, axis=1)
