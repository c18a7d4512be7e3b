"""Who is found: where the right item stands among all, by its similarity to the query.

Axes: m queries, and as many items; o orders of the items; q features.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

TIED = 1e-9
"""Similarities no further apart than this are equal, and so are those between them."""
NEIGHBORS = 10
"""Of CSLS, as in its paper."""


def cosines(
    queries: Float64[np.ndarray, "m q"], items: Float64[np.ndarray, "m q"]
) -> Float64[np.ndarray, "m m"]:
    """Cosine of each query and item; that with a row of zeros is 0."""
    lengths = np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(items, axis=1))
    return over(queries @ items.T, lengths)


def over(
    products: Float64[np.ndarray, "m m"], lengths: Float64[np.ndarray, "m m"]
) -> Float64[np.ndarray, "m m"]:
    """Products over lengths; 0 where a length is."""
    cosine = np.zeros_like(products)
    np.divide(products, lengths, out=cosine, where=lengths > 0)
    return cosine


def csls(similarity: Float64[np.ndarray, "m m"], k: int = NEIGHBORS) -> Float64[np.ndarray, "m m"]:
    """Twice the similarity, less the mean of the query to its k nearest items, and of the item to
    its k nearest queries: an item that is near to all queries (a hub) is put back.

    It looks at the other queries, of no pair of which it knows.

    Source: arXiv:1710.04087, equation 4, with the searched rows alone in the place of both
    vocabularies.
    """
    k = min(k, len(similarity))

    def nearest(rows: Float64[np.ndarray, "m m"]) -> Float64[np.ndarray, " m"]:
        means: np.ndarray = np.partition(rows, -k, axis=1)[:, -k:].mean(axis=1)
        return means

    scaled: np.ndarray = 2 * similarity - nearest(similarity)[:, None] - nearest(similarity.T)
    return scaled


@dataclass(frozen=True)
class Ranks:
    """Where the right item of each query stands, in one or more orders of the items."""

    above: Int64[np.ndarray, "o m"]
    """Items that are more similar to the query than the right one."""
    tied: Int64[np.ndarray, "o m"]
    """Other items that are just as similar."""

    def expected(self) -> Float64[np.ndarray, "o m"]:
        """The rank of the right item, 1 for the first; among tied ones the mean of their ranks."""
        return self.above + 1 + self.tied / 2

    def found(self, k: int) -> Float64[np.ndarray, "o m"]:
        """Whether the right item is one of the first k; the share of tied places that are."""
        share: np.ndarray = np.clip((k - self.above) / (self.tied + 1), 0.0, 1.0)
        return share

    def recall(self, k: int) -> Float64[np.ndarray, " o"]:
        recall: np.ndarray = self.found(k).mean(axis=1)
        return recall


def rank(similarity: Float64[np.ndarray, "m m"], right: Int64[np.ndarray, "o m"]) -> Ranks:
    """Rank the right items.

    Args:
        right: The right item of each query, in each order.
    """
    order = np.argsort(-similarity, axis=1)
    falls = np.diff(np.take_along_axis(similarity, order, axis=1)) < -TIED
    place = np.arange(similarity.shape[1])
    begins, ends = (
        np.pad(falls, ((0, 0), side), constant_values=True) for side in ((1, 0), (0, 1))
    )
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, len(place))[:, ::-1], axis=1)[:, ::-1]
    above, tied = np.empty_like(first), np.empty_like(first)
    np.put_along_axis(above, order, first, axis=1)
    np.put_along_axis(tied, order, last - first, axis=1)
    queries = np.arange(len(similarity))
    return Ranks(above[queries, right], tied[queries, right])


def chance_recall(num_items: int, k: int) -> float:
    """Recall among k of a search that knows nothing."""
    return min(1.0, k / num_items)


def chance_rank(num_items: int) -> float:
    """Its median rank: all ranks are as likely."""
    return (num_items + 1) / 2


def share_interval(share: float, num: int, level: float = 0.95) -> tuple[float, float]:
    """Where the share of all queries of this kind lies, of which `num` were tried.

    Source: Wilson 1927, Journal of the American Statistical Association 22. The items are those
    that were searched, and queries count as independent.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z**2 / (2 * num)) / (1 + z**2 / num)
    reach = z * math.sqrt(share * (1 - share) / num + z**2 / (4 * num**2)) / (1 + z**2 / num)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def median_interval(values: Float64[np.ndarray, " m"], level: float = 0.95) -> tuple[float, float]:
    """Two of the values that hold the median of all as often as `level` says, whatever their
    distribution. NaN on a side where there are too few of them."""
    from scipy import stats  # takes long to import, and finished tables need none of it

    ends: Any = stats.quantile_test(values, q=0, p=0.5).confidence_interval(level)
    return float(ends.low), float(ends.high)
