"""Places for things of which only distances are known.

Axes: n things, k dimensions.
"""

import importlib.util
import warnings
from typing import Literal

import numpy as np
from jaxtyping import Float

from platorep.errors import AbsentError

Layout = Literal["umap", "mds"]
ENOUGH = 15  # things that UMAP is worth asking of: its own default of neighbors
TOLERANCE = 1e-8
"""Of SMACOF's steps. At scikit-learn's 1e-6 it stops before the minimum, so that every start ends
elsewhere; at 1e-8 most starts end in the same few places."""


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def lay_out(
    distances: Float[np.ndarray, "n n"], layout: Layout, *, seed: int = 0
) -> Float[np.ndarray, "n 2"]:
    """Places in the plane, turned so that the same distances give the same picture.

    mds: `metric_mds`, the best of 32 starts. umap: neighborhoods are
    kept, distances are not. The middle is at 0, the longest axis across, and on either axis the
    outermost thing is on the positive side.

    Args:
        distances: Symmetric, 0 on the diagonal, of at least 3 things.

    Raises:
        AbsentError: umap-learn is not installed.
    """
    if not distances.any():
        return np.zeros((len(distances), 2))
    if layout == "umap":
        return _upright(_umap(distances, seed))
    return _upright(metric_mds(distances, 2, starts=32, seed=seed))


def metric_mds(
    distances: Float[np.ndarray, "n n"],
    num_dimensions: int,
    *,
    starts: int,
    seed: int,
    max_iterations: int = 1000,
) -> Float[np.ndarray, "n k"]:
    """Places whose distances are as near to those asked for as so many dimensions allow.

    Metric multidimensional scaling (scikit-learn's SMACOF) from seeded random starts, of which the
    one with the least raw stress is kept.

    Args:
        distances: Symmetric, 0 on the diagonal, not all 0.
    """
    from sklearn.manifold import smacof  # slow to import

    spread = float(distances.max())
    places, _ = smacof(
        distances / spread,
        metric=True,
        n_components=num_dimensions,
        n_init=starts,
        max_iter=max_iterations,
        eps=TOLERANCE,
        n_jobs=1,
        random_state=seed,
        normalized_stress=False,
    )
    return np.asarray(places, dtype=float) * spread


def stress(distances: Float[np.ndarray, "n n"], places: Float[np.ndarray, "n k"]) -> float:
    """Kruskal's stress-1 of places: 0 if every distance is right; above .2 is called poor.

    Source: Kruskal 1964, Psychometrika 29, there for the distances' order; here for themselves.
    """
    above = np.triu_indices(len(places), k=1)
    drawn = np.linalg.norm(places[:, None] - places[None, :], axis=-1)[above]
    error = np.sum((drawn - distances[above]) ** 2)
    return float(np.sqrt(error / np.sum(drawn**2))) if error else 0.0


def _umap(distances: Float[np.ndarray, "n n"], seed: int) -> Float[np.ndarray, "n 2"]:
    if not has_umap():
        raise AbsentError(
            "`layout: umap` needs umap-learn, which is not installed: "
            "`pip install platorep[umap]`, or say `layout: mds`."
        )
    with warnings.catch_warnings():  # that TensorFlow is not there, that a map has no inverse
        warnings.simplefilter("ignore")
        return _reduced(distances, seed)


def _reduced(distances: Float[np.ndarray, "n n"], seed: int) -> Float[np.ndarray, "n 2"]:
    import umap

    reducer = umap.UMAP(
        n_components=2,
        metric="precomputed",
        n_neighbors=min(ENOUGH, len(distances) - 1),
        init="random",  # the spectral start needs more things than a small map has
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(reducer.fit_transform(distances), dtype=float)


def _upright(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    centred = places - places.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    turned = centred @ axes.T
    outermost = np.abs(turned).argmax(axis=0)
    signs = np.sign(turned[outermost, np.arange(turned.shape[1])])
    return np.asarray(turned * np.where(signs == 0, 1.0, signs))
