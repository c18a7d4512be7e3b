"""The best layer pair of a grid, with a reason where there is none.

Axes: l_x and l_y layers of the two models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class BestPair:
    """The chosen layers and their score, or NaN and why no pair could be chosen."""

    score: float
    layer_x: int | None
    layer_y: int | None
    reason: str | None


def usable(degenerate: Sequence[str | None]) -> Bool[np.ndarray, " l"]:
    """Which layers may be chosen: those without a reason against them."""
    return np.array([reason is None for reason in degenerate], dtype=bool)


def best_pair(
    scores: Float[np.ndarray, "l_x l_y"],
    degenerate_x: Sequence[str | None],
    degenerate_y: Sequence[str | None],
    *,
    larger_is_closer: bool = True,
) -> BestPair:
    """The closest pair of layers, degenerate ones and undefined scores left out.

    Of equal pairs the first in order of (layer of x, layer of y).

    Args:
        degenerate_x: For every layer of x why it is left out, or None.
    """
    assert scores.shape == (len(degenerate_x), len(degenerate_y))
    allowed = usable(degenerate_x)[:, None] & usable(degenerate_y) & ~np.isnan(scores)
    if not allowed.any():
        for name, reasons in (("x", degenerate_x), ("y", degenerate_y)):
            found = [reason for reason in reasons if reason is not None]
            if found and len(found) == len(reasons):
                more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
                return BestPair(
                    np.nan, None, None, f"all layers of {name} are degenerate: {found[0]}{more}"
                )
        return BestPair(np.nan, None, None, "no pair of usable layers has a score")
    sign = 1 if larger_is_closer else -1
    place = int(np.where(allowed, sign * scores, -np.inf).argmax())
    layer_x, layer_y = divmod(place, scores.shape[1])
    return BestPair(float(scores[layer_x, layer_y]), layer_x, layer_y, None)
