"""Rows in fewer digits, whose products are several times faster, and how far these may be off.

Axes: n rows, d features, m some of the rows.
"""

import functools
import math
import time

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from platorep.metrics.layer import Vectors
from platorep.metrics.shortlist import Shortlist

ROUNDOFF = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
ACCUMULATED = {"cpu": 2.0**-24, "cuda": 2.0**-23}
"""Error of adding one product in float32, in units of the sum of their sizes: accumulators of
processors round, those of GPUs truncate."""
FEWEST_ROWS = {"cpu": 512, "cuda": 16_384}
"""Of fewer the product is not what takes time (measured)."""
FEWEST_VALUES = {"cpu": 1 << 17, "cuda": 0}
"""Rows times width: below, finding the largest scores is what takes time (measured)."""
TRIED = 512, 1024


class Rounded:
    """Scores <i,j> + shift_j of the rows around their middle, from products of rounded rows.

    Inside, rows are scaled by a power of two, and `level` is subtracted before the scores are
    rounded: those that matter are near 0 then, where numbers of few digits are densest.

    Args:
        padded: Number of columns of the scores.
        inner: The shift is the product with the middle (else minus half of the squared length).
        level: About where the scores are that matter.
    """

    def __init__(
        self,
        vectors: Vectors,
        dtype: torch.dtype,
        padded: int,
        *,
        inner: bool = False,
        level: float = 0.0,
    ) -> None:
        middle = vectors.middle
        device, self._dtype = middle.device, dtype
        self.n, d = vectors.n, len(middle)
        exponent = 1 - math.frexp(vectors.reach)[1]
        self.unscale, self._level = 4.0**-exponent, level
        scale = 2.0**exponent
        middle = middle * scale
        self._rows = torch.empty(padded, d, dtype=dtype, device=device)
        self._rows[self.n :] = 0
        lengths, lost, along = torch.empty(3, self.n, device=device)
        for part, rows in vectors.parts(scale):
            self._rows[part] = rows
            lengths[part] = torch.linalg.vector_norm(rows, dim=1)
            along[part] = rows @ middle
            lost[part] = torch.linalg.vector_norm(rows.sub_(self._rows[part]), dim=1)
        shift = along if inner else lengths.square() / -2
        exact = shift.double() - level / self.unscale
        self._bias = torch.full((padded,), -torch.inf, dtype=dtype, device=device)
        self._bias[: self.n] = exact
        rest = exact - self._bias[: self.n]
        self.missing = rest.float()
        """In the scores of each candidate."""
        self.along = along * self.unscale
        """Product of each row with the middle."""

        away = float(torch.linalg.vector_norm(middle))
        lost += 4 * torch.finfo(torch.float32).eps * (lengths + away)
        lengths += lost
        longest, most_lost = float(lengths.max()), float(lost.max())
        sums = lengths * longest + self._bias[: self.n].abs().max()
        added = ACCUMULATED[device.type] * (d + 1) * sums
        self._error = 1.001 * (lost * longest + lengths * most_lost + added)
        self._most_missing = float(rest.abs().max())

    @property
    def in_range(self) -> bool:
        """Whether all scores are numbers; float16 has none for those far above the row's length."""
        return math.isfinite(self._most_missing)

    def scores(self, rows: slice) -> Float[Tensor, "m padded"]:
        """Of some rows with all, in few digits; -inf with themselves and beyond the last."""
        found = F.linear(self._rows[rows], self._rows, self._bias)
        every = torch.arange(len(found), device=found.device)
        found[every, every + rows.start] = -torch.inf
        return found

    def in_units_of_rows(self, short: Shortlist) -> Shortlist:
        """The same scores without scale and level."""
        return Shortlist(
            short.columns,
            short.values * self.unscale + self._level,
            short.error * self.unscale,
        )

    def error(self, rows: slice, near: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Bound of the error of each row's scores that are about as large as `near`, in units of
        their own.

        <x, y> - <x', y'> = <x - x', y> + <x', y - y'>, which is at most |x - x'| |y| + |x'| |y -
        y'|, of the residuals as they are; then sums in float32, and the digits of the result.
        """
        inputs = self._error[rows]
        size = near.abs() + 4 * (inputs + self._most_missing)
        whole: Tensor = inputs + 1.1 * ROUNDOFF[self._dtype] * size
        return whole


def fastest(vectors: Vectors) -> torch.dtype | None:
    """The type in which products of these rows are fastest; None: the one that they have."""
    kind = vectors.device.type
    if vectors.dtype != torch.float32 or vectors.n < FEWEST_ROWS.get(kind, vectors.n + 1):
        return None
    if vectors.n * vectors.d < FEWEST_VALUES[kind]:
        return None
    if kind == "cuda":
        return torch.float16  # as fast as bfloat16, with three digits more
    return torch.bfloat16 if multiplies_bfloat16() else None


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this processor takes less than half as long as for float32, and rounds once."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.zeros(TRIED, dtype=dtype)
        x[:, 0], x[:, 1] = 1, 2**-4  # 1 + 2**-8 has more digits than bfloat16
        bias = torch.full(TRIED[:1], -1.0, dtype=dtype)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            found = F.linear(x, x, bias)
            times.append(time.perf_counter() - started)
        seconds[dtype] = min(times)
    once = bool((found == 2**-8).all())
    return once and 2 * seconds[torch.bfloat16] < seconds[torch.float32]
