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


def closest(
    scores: Float[np.ndarray, "*shape"],
    usable: Bool[np.ndarray, "*shape"],
    *,
    larger_is_closer: bool = True,
) -> int | None:
    """Where the closest of the usable and defined scores stands (of equal ones the first), counted
    row by row; None: there is none. The one way in which a maximum over layers is taken."""
    allowed = usable & ~np.isnan(scores)
    if not allowed.any():
        return None
    sign = 1 if larger_is_closer else -1
    return int(np.where(allowed, sign * scores, -np.inf).argmax())


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
    usable_x, usable_y = (
        np.array([reason is None for reason in reasons], dtype=bool)
        for reasons in (degenerate_x, degenerate_y)
    )
    number = closest(scores, usable_x[:, None] & usable_y, larger_is_closer=larger_is_closer)
    if number is None:
        for name, reasons in (("x", degenerate_x), ("y", degenerate_y)):
            known = [reason for reason in reasons if reason is not None]
            if known and len(known) == len(reasons):
                more = f" (and {len(known) - 1} more)" if len(known) > 1 else ""
                return BestPair(
                    np.nan, None, None, f"all layers of {name} are degenerate: {known[0]}{more}"
                )
        return BestPair(np.nan, None, None, "no pair of usable layers has a score")
    layer_x, layer_y = divmod(number, scores.shape[1])
    return BestPair(float(scores[layer_x, layer_y]), layer_x, layer_y, None)
