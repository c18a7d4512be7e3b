"""Are the orientations of two samples spread alike? Axes: n and m orientations, r draws."""

import numpy as np
from jaxtyping import Float


def watson_u2(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"], draws: int, seed: int
) -> tuple[float, float]:
    """Watson's two-sample statistic of orientations (degrees, 0 and 180 are the same), and its p.

    0 is alike; it does not depend on which orientation is called 0. The p-value is the rank of the
    observed one among `draws` random divisions of all orientations into two samples as large, the
    observation among them. Source: Watson 1962 (Biometrika 49:57), without his asymptotic p.
    """
    pooled = np.concatenate([x, y]) % 180
    order = np.argsort(pooled, kind="stable")
    of_x = np.zeros(len(pooled))
    of_x[: len(x)] = 1
    random = np.random.default_rng(seed)
    divisions = np.stack([of_x[order], *(random.permutation(of_x) for _ in range(draws))])
    last = np.append(np.diff(pooled[order]) > 0, True)  # of equal ones, after all of them
    counts = np.diff(np.append(-1, np.flatnonzero(last)))
    n, m, total = len(x), len(y), len(pooled)
    apart = (divisions.cumsum(1) / n - (1 - divisions).cumsum(1) / m)[:, last]
    mean = (apart * counts).sum(1) / total
    u2 = n * m / total**2 * (np.square(apart - mean[:, None]) * counts).sum(1)
    return float(u2[0]), float((u2 >= u2[0] - 1e-12).sum() / (draws + 1))
