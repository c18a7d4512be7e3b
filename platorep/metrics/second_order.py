"""Second-order cosine similarity: is a sample as similar to its neighbors in both layers?

Axes: n samples, k neighbors, c candidates of one row, r rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from platorep.metrics.kernels import ORTHOGONAL, check_rows
from platorep.metrics.layer import Layer
from platorep.metrics.metric import Claims, Invariance, Metric, Order, Scorer, Scores, Summary
from platorep.metrics.neighbors import NeighborLists, check_k, neighbor_lists
from platorep.metrics.neighbors import reorder as reorder_lists
from platorep.metrics.rsa import dissimilarities
from platorep.parameters.metrics import MutualKnn, SecondOrderCosine


@dataclass(frozen=True)
class Neighborhoods(Summary):
    """The neighbors of every sample, and how similar it is to all others."""

    lists: NeighborLists
    table: Float[Tensor, "n n"]
    """Cosines (`variant: paper`), or 1 - cosines (`code`)."""


def summarize(layer: Layer, parameters: SecondOrderCosine) -> Neighborhoods:
    lists = neighbor_lists(layer, MutualKnn(k=parameters.k))
    pairs = dissimilarities(layer, "cosine")
    table = 1 - pairs.values if parameters.variant == "paper" else pairs.values
    table = table.masked_fill(table.abs() <= pairs.error, 0.0)  # rounding has no direction
    return Neighborhoods(layer.n, lists.reason, lists, table)


def reorder(summary: Neighborhoods, order: Order) -> Neighborhoods:
    """The neighborhoods of the same layer with its samples in another order."""
    index = _index(order, summary.table)
    lists = reorder_lists(summary.lists, order)
    return Neighborhoods(summary.n, summary.reason, lists, summary.table[index][:, index])


def _index(numbers: Int[np.ndarray, " *shape"], like: Tensor) -> Int[Tensor, " *shape"]:
    return torch.from_numpy(numbers.astype(np.int64)).to(like.device)


def prepare(
    x: Sequence[Neighborhoods], y: Sequence[Neighborhoods], parameters: SecondOrderCosine
) -> Scorer:
    """Every layer pair by itself; of y only the lists are moved, its table is read in its order."""

    def scores(order: Order | None) -> Scores:
        places = np.arange(x[0].n) if order is None else order
        moved = [s.lists if order is None else reorder_lists(s.lists, order) for s in y]
        return np.array(
            [
                [
                    float(_cosines(one, lists, other.table, places).nanmean())
                    for lists, other in zip(moved, y, strict=True)
                ]
                for one in x
            ],
            dtype=np.float64,
        )

    return scores


def compare(
    x: Sequence[Neighborhoods], y: Sequence[Neighborhoods], parameters: SecondOrderCosine
) -> Scores:
    return prepare(x, y, parameters)(None)


def by_row(
    x: Neighborhoods, y: Neighborhoods, parameters: SecondOrderCosine
) -> Float64[np.ndarray, " n"]:
    found: np.ndarray = _cosines(x, y.lists, y.table, np.arange(x.n)).cpu().numpy()
    return found


def _cosines(
    x: Neighborhoods, y_lists: NeighborLists, y_table: Float[Tensor, "n n"], order: Order
) -> Float64[Tensor, " n"]:
    """Of every sample the cosine of its similarities to the neighbors in either layer.

    NaN where these are all 0 in one of the layers.
    """
    one, other = (_index(lists.nearest.neighbors, x.table) for lists in (x.lists, y_lists))
    again = (other[:, :, None] == one[:, None, :]).any(dim=2)  # which are in both lists
    weights = torch.cat([torch.ones_like(again), ~again], dim=1)
    every, places = torch.arange(x.n, device=x.table.device), _index(order, x.table)
    columns = torch.cat([one, other], dim=1)
    cosines = _cosine(
        weights,
        x.table[every[:, None], columns],
        y_table[places[:, None], places[columns]],
    )
    tied = np.union1d(*(_tied_rows(lists) for lists in (x.lists, y_lists)))
    if len(tied):
        in_x, in_y = (_shares(lists, tied, x.table) for lists in (x.lists, y_lists))
        rows = _index(tied, x.table)
        weights = in_x + in_y - in_x * in_y  # that it is in either list
        cosines[rows] = _cosine(weights, x.table[rows], y_table[places[rows]][:, places])
    return cosines


def _cosine(
    weights: Tensor, x: Float[Tensor, "r c"], y: Float[Tensor, "r c"]
) -> Float64[Tensor, " r"]:
    """Of the weighted rows; NaN where one of them is zero."""
    weights, x, y = weights.double(), x.double(), y.double()
    sizes = (weights * x * x).sum(dim=1) * (weights * y * y).sum(dim=1)
    cosines: Tensor = (weights * x * y).sum(dim=1) / sizes.sqrt()
    return cosines


def _tied_rows(lists: NeighborLists) -> Int[np.ndarray, " r"]:
    ties = lists.nearest.ties
    return np.arange(0) if ties is None else np.unique(ties.rows)


def _shares(
    lists: NeighborLists, rows: Int[np.ndarray, " r"], like: Tensor
) -> Float[Tensor, "r n"]:
    """How likely everybody is in the lists of these rows, ties broken at random."""
    found = np.zeros((len(rows), lists.n))
    np.put_along_axis(found, lists.nearest.neighbors[rows].astype(np.int64), 1.0, axis=1)
    ties = lists.nearest.ties
    if ties is not None:
        found[np.isin(rows, ties.rows)] = 0.0
        wanted = np.isin(ties.rows, rows)
        place = np.searchsorted(rows, ties.rows[wanted])
        found[place, ties.columns[wanted]] = ties.weights[wanted]
    return torch.from_numpy(found).to(like.device)


def check(n: int, d: int, parameters: SecondOrderCosine) -> None:
    check_k(n, parameters.k, parameters.label())
    check_rows(n, parameters.label())


SECOND_ORDER_COSINE = Metric(
    name="second_order_cosine",
    summarize=summarize,
    compare=compare,
    prepare=prepare,
    reorder=reorder,
    claims=lambda parameters: Claims(
        low=-1.0 if parameters.variant == "paper" else 0.0,
        high=1.0,
        of_itself=1.0,
        invariances=ORTHOGONAL | {Invariance.ROW_SCALING},
    ),
    check=check,
    by_row=by_row,
)
