"""Rows in fewer digits, whose products are several times faster, and how far these may be off.

Axes: n rows, d features, m some of the rows.
"""

import functools
import time

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.metrics.layer import Vectors

ROUNDOFF = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
ACCUMULATED = 2.0**-23
"""Error of adding one product in float32, in units of the sum of their sizes: of accumulators that
truncate; those that round err by half."""
SHIFT_TERMS = 3
"""Numbers of few digits whose sum is the shift of a candidate."""
ALIGNED = 16
FEWEST_ROWS = {"cpu": 4096, "cuda": 16_384}
"""Of fewer the product is not what takes time (measured)."""
TRIED = 512, 1024


class Rounded:
    """Scores <i,j> + shift_j of the rows around their origin, from products of rounded rows.

    The rows are scaled so that the longest has length 1, and the shift, which is added as columns
    of the product, is taken around its middle: neither moves the order of any row's candidates.

    Args:
        shift: What is added to the score of each candidate.
        padded: Number of columns of the scores.
    """

    def __init__(
        self, vectors: Vectors, shift: Float[Tensor, " n"], dtype: torch.dtype, padded: int
    ) -> None:
        rows = vectors.around_origin
        self.n, d = rows.shape
        self._dtype = dtype
        scale = 1 / max(float(vectors.squares.max()) ** 0.5, torch.finfo(torch.float32).tiny)
        width = -(-(d + SHIFT_TERMS) // ALIGNED) * ALIGNED
        self._left = torch.zeros(self.n, width, dtype=dtype, device=rows.device)
        self._right = torch.zeros(padded, width, dtype=dtype, device=rows.device)
        scaled = rows * scale
        self._left[:, :d] = scaled
        self._right[: self.n, :d] = self._left[:, :d]
        scaled -= self._left[:, :d]
        lost = torch.linalg.vector_norm(scaled, dim=1)
        lengths = vectors.squares.sqrt() * scale + lost
        self._left[:, d : d + SHIFT_TERMS] = 1
        rest = (shift - (shift.max() + shift.min()) / 2).double() * scale**2
        largest_shift = float(rest.abs().max())
        for term in range(SHIFT_TERMS):
            self._right[: self.n, d + term] = rest
            rest -= self._right[: self.n, d + term]
        longest, most_lost = float(lengths.max()), float(lost.max())
        added = ACCUMULATED * (width + 1) * (lengths * longest + 2 * largest_shift)
        self._error = lost * longest + lengths * most_lost + added + float(rest.abs().max())

    def scores(self, rows: slice) -> Float[Tensor, "m padded"]:
        """Of some rows with all, in few digits; -inf with themselves and beyond the last."""
        found = self._left[rows] @ self._right.T
        found[:, self.n :] = -torch.inf
        every = torch.arange(len(found), device=found.device)
        found[every, every + rows.start] = -torch.inf
        return found

    def error(self, rows: slice, near: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Bound of the error of each row's scores that are about as large as `near`.

        <x, y> - <x', y'> = <x - x', y> + <x', y - y'>, which is at most |x - x'| |y| + |x'| |y -
        y'|, of the residuals as they are; then sums in float32, and the digits of the result.
        """
        inputs = self._error[rows]
        whole: Tensor = inputs + 1.1 * ROUNDOFF[self._dtype] * (near.abs() + 4 * inputs)
        return whole


def fastest(rows: Float[Tensor, "n d"]) -> torch.dtype | None:
    """The type in which products of these rows are fastest; None: the one that they have."""
    kind = rows.device.type
    if rows.dtype != torch.float32 or len(rows) < FEWEST_ROWS.get(kind, len(rows) + 1):
        return None
    if kind == "cuda":
        return torch.float16  # as fast as bfloat16, with three digits more
    return torch.bfloat16 if _multiplies_bfloat16() else None


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether this processor takes less than half as long as for float32."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(TRIED, dtype=dtype)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            x @ x.T
            times.append(time.perf_counter() - started)
        seconds[dtype] = min(times)
    return 2 * seconds[torch.bfloat16] < seconds[torch.float32]
