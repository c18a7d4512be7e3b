"""Which rows may be near a query, from products in few digits: so only they need more.

In each block of rows the product of rounded rows, several times faster than that of float32, rules
out what is too far away even if it erred as much as it can. What is left, and the float32 scores of
these pairs, is what a float32 product of all would have left.

Axes: q queries, b rows of a block, d features, e pairs.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from platorep.metrics.layer import Vectors
from platorep.metrics.pairs import pair_products
from platorep.metrics.rounded import ACCUMULATED, multiplies_bfloat16
from platorep.metrics.selection import Pairs, entries_at

LEAST_UNITS = 64
"""Of narrower rows the product is not what takes time."""
MOST_SHARE = 1 / 16
"""If more of the pairs are left, the float32 product of all is faster (measured: from 1/10)."""
LENGTHS = 1e-9, 1e9
"""Of the longest query: with others products might leave the range of float32."""


class RoughProducts:
    """What is too far away from each query, block by block."""

    def __init__(self, queries: Vectors) -> None:
        rows = queries.around_origin
        self._queries = rows
        self._rounded = rows.bfloat16()
        self._lost = torch.linalg.vector_norm(rows - self._rounded, dim=1).double()
        self._lengths = torch.linalg.vector_norm(rows, dim=1).double() + self._lost
        self._next, self._seen = 0, 0

    @classmethod
    def where_faster(cls, queries: Vectors) -> "RoughProducts | None":
        """None where products in few digits are not faster, or not safe."""
        rows = queries.around_origin
        usual = rows.device.type == "cpu" and rows.dtype == torch.float32
        if not usual or rows.shape[1] < LEAST_UNITS or queries.zero.any():
            return None
        low, high = LENGTHS
        if not low < float(queries.squares.max()) ** 0.5 < high or not multiplies_bfloat16():
            return None
        return cls(queries)

    def near(
        self,
        around: Float[Tensor, "b d"],
        shift: Float[Tensor, " b"],
        floor: Float[Tensor, "levels q"],
        choose: Callable[[Float[Tensor, "q b"], Float[Tensor, "levels q"]], Pairs],
    ) -> tuple[Pairs, Float[Tensor, " e"]] | None:
        """The pairs that may reach the floor, and their scores in float32.

        None: too many may, or not long ago too many did.

        Args:
            around: The rows, around the origin of the queries.
            shift: What is added to the products with each.
            choose: Those of given scores that reach a given floor.
        """
        self._seen += len(around)
        if self._seen < self._next:
            return None
        scores, error, middle = self._scores(around, shift)
        least = floor.double() - middle - error
        pairs = choose(scores, _rounded_down(least))
        if len(pairs.columns) > MOST_SHARE * scores.numel():
            self._next = 2 * self._seen
            return None
        products = pair_products(self._queries, around, pairs.queries, pairs.columns)
        return pairs, products + entries_at(shift, pairs.columns)

    def _scores(
        self, around: Float[Tensor, "b d"], shift: Float[Tensor, " b"]
    ) -> tuple[Float[Tensor, "q b"], Float[Tensor, " q"], float]:
        """Scores less a middle one, the bound of each query's errors, and that middle.

        <x, y> - <x', y'> = <x - x', y> + <x', y - y'>, which is at most |x - x'| |y| + |x'| |y -
        y'|, of the residuals as they are; then sums in float32. That the sum is rounded once more
        does not matter: it keeps the order, and the floor is rounded down.
        """
        rounded = around.bfloat16()
        lost = float(torch.linalg.vector_norm(around - rounded, dim=1).max())
        longest = float(torch.linalg.vector_norm(around, dim=1).max()) + lost
        middle = float(shift.max() + shift.min()) / 2
        level = shift.double() - middle
        bias = level.bfloat16()
        sums = self._lengths * longest + float(level.abs().max())
        added = ACCUMULATED["cpu"] * (around.shape[1] + 1) * sums
        error = 1.001 * (self._lost * longest + self._lengths * lost + added)
        error += float((level - bias).abs().max())
        return F.linear(self._rounded, rounded, bias), error, middle


def _rounded_down(values: Float[Tensor, "levels q"]) -> Float[Tensor, "levels q"]:
    """In bfloat16, none above what it was."""
    rounded = values.bfloat16()
    lower: Tensor = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    return torch.where(rounded.double() > values, lower, rounded)
