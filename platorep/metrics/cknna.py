"""CKNNA: kernel alignment over the pairs that are neighbors in both models.

Axes: n samples, k neighbors, e entries of neighbor lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from platorep.metrics.kernels import (
    ORTHOGONAL,
    SIMILARITIES,
    check_rows,
    median_distance,
    squared_distances,
    u_centred,
)
from platorep.metrics.layer import Layer
from platorep.metrics.lists import Lists, overlaps_with, sum_over_rows
from platorep.metrics.metric import Claims, Invariance, Metric, Order, Scorer, Scores, Summary
from platorep.metrics.neighbors import check_k, neighbor_lists, stack
from platorep.parameters.metrics import Cknna, MutualKnn

EPSILON = 1e-6
"""The released code adds this to its denominator."""


@dataclass(frozen=True)
class KernelLists(Summary):
    """Neighbor lists (as weights) with the kernel's value at each entry."""

    lists: Lists
    values: Float64[np.ndarray, " e"]
    of_itself: float
    """The alignment with itself before normalisation; 0 or less: undefined."""
    device: torch.device


def summarize_cknna(layer: Layer, parameters: Cknna) -> KernelLists:
    """The neighbors under the kernel, and the kernel's value there, centred as `variant` says."""
    linear = parameters.kernel == "linear"
    near = MutualKnn(
        k=parameters.k,
        similarity="inner_product" if linear else "euclidean",
        ties=parameters.ties,
    )
    found = neighbor_lists(layer, near)
    lists = stack([found])
    table = _kernel(layer, parameters)
    rows, columns = (torch.from_numpy(part).long() for part in (lists.rows, lists.columns))
    values = table[rows.to(table.device), columns.to(table.device)].double().cpu().numpy()
    weights = np.ones(len(values)) if lists.weights is None else lists.weights
    size = (
        _hsic_of_itself(lists.weighted(weights), values)
        if parameters.variant == "code"
        else float(weights @ values**2)
    )
    reason = found.reason or (None if size > 0 else "the kernel is flat over the neighbors")
    return KernelLists(layer.n, reason, lists.weighted(weights), values, size, found.device)


def _kernel(layer: Layer, parameters: Cknna) -> Float[Tensor, "n n"]:
    """The kernel, centred as the variant says; its diagonal is never used."""
    if parameters.kernel == "linear":
        vectors = layer.vectors()
        gram, along = vectors.gram_rows(slice(None)), vectors.along_origin
        if parameters.variant == "centred":
            return u_centred(gram)
        if parameters.variant == "paper":  # what the origin adds to a whole row is its mean's too
            kernel = gram + along
            return kernel - kernel.mean(dim=1, keepdim=True, dtype=torch.float64).to(kernel)
        return gram + along[:, None] + along + vectors.origin.square().sum()
    squared = squared_distances(layer.vectors())
    sigma = parameters.sigma
    width = median_distance(squared) if isinstance(sigma, str) else sigma
    kernel = (squared / (-2 * width**2)).exp() if width else torch.ones_like(squared)
    if parameters.variant == "centred":
        return u_centred(kernel)
    if parameters.variant == "paper":
        return kernel - kernel.mean(dim=1, keepdim=True, dtype=torch.float64).to(kernel)
    return kernel


def _both_ways(lists: Lists) -> Float64[np.ndarray, " e"]:
    """For each entry i -> j, the weight of j -> i (one layer)."""
    assert lists.weights is not None
    keys = lists.keys()
    back = lists.transposed().keys()
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys[order], back), len(keys) - 1)
    found = order[place]
    return np.where(keys[found] == back, lists.weights[found], 0.0)


def _hsic_of_itself(lists: Lists, values: Float64[np.ndarray, " e"]) -> float:
    """Unbiased HSIC of the masked kernel with itself."""
    assert lists.weights is not None
    masked = lists.weights * values
    trace = float(masked @ (_both_ways(lists) * values))
    into = np.bincount(lists.columns, masked, minlength=lists.n)
    out = np.bincount(lists.rows, masked, minlength=lists.n)
    return float(_unbiased(lists.n, trace, masked.sum(), masked.sum(), float(into @ out)))


def _unbiased(
    n: int,
    trace: Scores | float,
    sum_x: Scores | float,
    sum_y: Scores | float,
    through: Scores | float,
) -> Scores | float:
    """Song et al. (2012), from tr(KL), 1'K1, 1'L1 and 1'KL1 of kernels without diagonals."""
    inner = trace + sum_x * sum_y / ((n - 1) * (n - 2)) - 2 * through / (n - 2)
    return inner / (n * (n - 3))


def _join(summaries: Sequence[KernelLists], weights: list[np.ndarray]) -> Lists:
    """The entries of several layers, one after another, with these weights."""
    parts = [summary.lists for summary in summaries]
    return Lists(
        summaries[0].n,
        np.cumsum([0, *(len(part.rows) for part in parts)]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.columns for part in parts]),
        np.concatenate(weights),
    )


def _masked(summaries: Sequence[KernelLists]) -> list[np.ndarray]:
    return [np.asarray(s.lists.weights) * s.values for s in summaries]


def prepare_cknna(x: Sequence[KernelLists], y: Sequence[KernelLists], parameters: Cknna) -> Scorer:
    """Products of kernel values over common neighbors, for every layer pair."""
    sizes_x, sizes_y = (
        np.array([s.of_itself if s.of_itself > 0 else np.nan for s in side]) for side in (x, y)
    )
    sizes, device = sizes_x[:, None] * sizes_y, x[0].device
    if parameters.variant == "code":
        return _prepare_code(x, y, sizes, device)
    one, overlaps = _join(x, _masked(x)), overlaps_with(_join(y, _masked(y)), device)

    def scores(order: Order | None) -> Scores:
        moved = one if order is None else one.reordered(np.argsort(order))
        found: Scores = overlaps(moved) / np.sqrt(sizes)
        return found

    return scores


def _prepare_code(
    x: Sequence[KernelLists], y: Sequence[KernelLists], sizes: Scores, device: torch.device
) -> Scorer:
    """The released code: unbiased HSIC of the two kernels, each masked to the common neighbors."""

    def sides(summaries: Sequence[KernelLists]) -> tuple[Lists, Lists, Lists]:
        masks = _join(summaries, [np.asarray(s.lists.weights) for s in summaries])
        values = _join(summaries, _masked(summaries))
        ways = [m * _both_ways(s.lists) for m, s in zip(_masked(summaries), summaries, strict=True)]
        return masks, values, _join(summaries, ways)

    mask_x, value_x, ways_x = sides(x)
    mask_y, value_y, ways_y = sides(y)
    with_values, with_mask, with_ways = (
        overlaps_with(lists, device) for lists in (value_y, mask_y, ways_y)
    )
    n = mask_x.n

    def scores(order: Order | None) -> Scores:
        back = None if order is None else np.argsort(order)
        mask, value, ways = (
            lists if back is None else lists.reordered(back) for lists in (mask_x, value_x, ways_x)
        )
        into_and_out = [
            (value.transposed(), mask_y.transposed()),  # column sums of the masked kernel of x
            (mask, value_y),  # row sums of the masked kernel of y
        ]
        through = sum_over_rows(into_and_out, lambda into, out: into * out, device)
        found = _unbiased(n, with_ways(ways), with_mask(value), with_values(mask), through)
        ratio: Scores = found / (np.sqrt(sizes) + EPSILON)
        return ratio

    return scores


def compare_cknna(x: Sequence[KernelLists], y: Sequence[KernelLists], parameters: Cknna) -> Scores:
    return prepare_cknna(x, y, parameters)(None)


def reorder_cknna(summary: KernelLists, order: Order) -> KernelLists:
    return KernelLists(
        summary.n,
        summary.reason,
        summary.lists.reordered(order),
        summary.values,
        summary.of_itself,
        summary.device,
    )


def check_cknna(n: int, d: int, parameters: Cknna) -> None:
    check_k(n, parameters.k, parameters.label())
    check_rows(n, parameters.label())


def claims_of_cknna(parameters: Cknna) -> Claims:
    code = parameters.variant == "code"
    invariances = SIMILARITIES if parameters.kernel == "rbf" else ORTHOGONAL
    if code if parameters.kernel == "linear" else parameters.sigma != "median":
        invariances = invariances - {Invariance.SCALING}  # the code's EPSILON is no share
    return Claims(
        low=-np.inf if code else -1.0,
        high=np.inf if code else 1.0,
        of_itself=None if code else 1.0,
        symmetric=not code,  # masked kernels are not symmetric, and it multiplies them in order
        cost="grid",
        invariances=invariances,
    )


CKNNA = Metric(
    name="cknna",
    summarize=summarize_cknna,
    compare=compare_cknna,
    prepare=prepare_cknna,
    reorder=reorder_cknna,
    claims=claims_of_cknna,
    check=check_cknna,
)
