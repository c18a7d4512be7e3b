"""Scores of some pairs of rows, each from its two rows alone, for what products in few digits
leave open.

Axes: m and n rows, d features, p pairs, c places of a short list.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from platorep.metrics.selection import kth_largest, pairs_of
from platorep.metrics.shortlist import Narrowed, Shortlist, narrow
from platorep.metrics.sparse import sparse_rows

PAIR_ENTRIES = 1 << 22
"""Feature values held at once, when pairs are compared."""
FEW = 8
"""One pair of as many rows is not worth another round in float32: float64 decides."""


@dataclass(frozen=True)
class PairScores:
    """Scores in float32: products times the factors of both rows, and what is added to them."""

    rows: Float[Tensor, "n d"]
    factors: Float[Tensor, " n"] | None
    shift: Float[Tensor, " n"]
    """Of the candidates."""
    constant: Float[Tensor, " n"] | None
    """Of the rows whose candidates they are."""
    error: float
    """Bound of the error of a score."""

    def scores(
        self, block: slice, row: Int64[Tensor, " p"], column: Int64[Tensor, " p"]
    ) -> Float[Tensor, " p"]:
        """Of row `row[i]` of this block with candidate `column[i]`; `row` must not fall."""
        found = pair_products(self.rows[block], self.rows, row, column)
        if self.factors is not None:
            found *= self.factors[block][row] * self.factors[column]
        found += self.shift[column]
        if self.constant is not None:
            found += self.constant[block][row]
        return found

    def compare_again(
        self, short: Shortlist, block: slice, k: int, limit: float
    ) -> Narrowed | None:
        """What float32 knows of the short lists of these rows; None where too much is to compare.

        First those that may be on either side of the last place's score as it seems; when it is
        known where that is, few of the others are left.

        Args:
            limit: Share of all pairs that may be compared.
        """
        values, error = short.values, short.error[:, None]
        cut = kth_largest(values, k)[:, None]
        lower, upper = values - error, values + error
        found = Narrowed.between(lower, upper, cut - error, cut + error, k)
        at_cut = (values - cut).abs() <= error
        for part in (at_cut, ~at_cut):
            again = pairs_of(found.near & found.is_open[:, None] & part)
            if len(again.columns) > limit * len(values) * len(self.rows):
                return None
            if len(again.columns) > len(values) // FEW:
                row, place = again.queries, again.columns
                scores = self.scores(block, row, short.columns[row, place])
                where = row * values.shape[1] + place
                lower.view(-1).index_copy_(0, where, scores - self.error)
                upper.view(-1).index_copy_(0, where, scores + self.error)
                found = narrow(lower, upper, k)
        return found


def pair_products(
    x: Float[Tensor, "m d"],
    y: Float[Tensor, "n d"],
    row: Int64[Tensor, " p"],
    column: Int64[Tensor, " p"],
) -> Float[Tensor, " p"]:
    """Products of row `row[i]` of x with row `column[i]` of y; `row` must not fall."""
    if x.device.type == "cpu":
        return _sampled(x, y, row, column)
    found = torch.empty(len(row), device=x.device, dtype=x.dtype)
    block = max(1, PAIR_ENTRIES // x.shape[1])
    for start in range(0, len(row), block):
        part = slice(start, start + block)
        found[part] = (x[row[part]] * y[column[part]]).sum(dim=1)
    return found


def _sampled(
    x: Float[Tensor, "m d"],
    y: Float[Tensor, "n d"],
    row: Int64[Tensor, " p"],
    column: Int64[Tensor, " p"],
) -> Float[Tensor, " p"]:
    """Without copies of the rows: some entries of a product."""
    ends = torch.zeros(len(x) + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(row, minlength=len(x)), dim=0, out=ends[1:])
    entries = sparse_rows(ends, column, x.new_zeros(len(row)), len(y))
    found: Tensor = torch.sparse.sampled_addmm(entries, x, y.T, beta=0.0).values()
    return found
