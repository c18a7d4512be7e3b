"""Neighbor lists of all layers of a model, as a bundle holds them: in order, for any smaller k.

Two bytes per neighbor up to 65,536 rows. What is tied stands beside it, where anything is, so that
scores from these lists are those of the features.

Axes: n rows that were scored, k neighbors, t rows with ties, e neighbors beyond the last place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Integer

from platorep.bundles.about import CURE
from platorep.errors import AbsentError, DamagedError
from platorep.files import canonical_json
from platorep.metrics.layer import Layer
from platorep.metrics.metric import BoundMetric
from platorep.metrics.nearest import EQUAL, Nearest, Search, Ties, compact, search
from platorep.metrics.neighbors import NeighborLists, neighbor_lists, reason_of
from platorep.parameters.metrics import NeighborParameters
from platorep.tensors import read_metadata, read_tensors, write_tensors

SMALL = 1 << 16
"""Rows up to which two bytes say which one is meant."""
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Ordered:
    """The k nearest others of every row, the nearest first; the lower of equally near ones."""

    neighbors: Integer[np.ndarray, "n k"]
    tied: Integer[np.ndarray, " t"]
    """Rows of which any two neighbors in a row are equally near, or one beyond the last place."""
    first: Integer[np.ndarray, "t k"]
    """Of these: the first place that is as near as this one."""
    beyond: Integer[np.ndarray, "e 2"]
    """Row, and who else is as near as the last place; sorted."""
    reason: str | None
    """Why the layer says nothing of its rows, however many neighbors are asked for."""

    @property
    def k(self) -> int:
        return int(self.neighbors.shape[1])

    def nearest(self, k: int) -> Nearest:
        """As `platorep.metrics.nearest.Search.nearest`, for a k that is not larger."""
        cut = np.sort(self.neighbors[:, :k].astype(np.int64), axis=1)
        rows: list[int] = []
        columns: list[int] = []
        weights: list[float] = []
        others: dict[int, list[int]] = {}
        for row, column in self.beyond.tolist():
            others.setdefault(row, []).append(column)
        for row, first in zip(self.tied.tolist(), self.first, strict=True):
            start = int(first[k - 1])
            alike = self.neighbors[row][first == start].tolist()
            alike += others.get(row, []) if start == first[-1] else []
            if start + len(alike) <= k:  # all of them have a place
                continue
            share = (k - start) / len(alike)
            sure = self.neighbors[row][:start].tolist()
            members = sorted([*((c, 1.0) for c in sure), *((c, share) for c in alike)])
            rows += [row] * len(members)
            columns += [column for column, _ in members]
            weights += [weight for _, weight in members]
        ties = None
        if rows:
            ties = Ties(
                np.array(rows, np.int32), np.array(columns, np.int32), np.array(weights, np.float64)
            )
        return Nearest(compact(cut), ties)

    def summary(self, parameters: NeighborParameters) -> NeighborLists:
        """What metrics on sets of neighbors know of the layer."""
        found, n = self.nearest(parameters.k), len(self.neighbors)
        device = torch.device("cpu")
        if parameters.ties == "lowest":
            return NeighborLists(n, None, Nearest(found.neighbors, None), device)
        return NeighborLists(n, reason_of(self.reason, found, parameters.k), found, device)


def ordered(layer: Layer, k: int, similarity: str, *, center: bool) -> Ordered:
    """The lists of one layer. Of a degenerate one, which wins nothing, without what is tied."""
    finder = search(layer, similarity, center=center)
    found = finder.nearest(k)
    parts = [_in_order(finder, found, start) for start in range(0, layer.n, ROWS_AT_ONCE)]
    neighbors = np.concatenate([part[0] for part in parts])
    first = np.concatenate([part[1] for part in parts])
    beyond = np.empty((0, 2), np.int64)
    if layer.reason is not None:
        tied = np.empty(0, np.int64)
    else:
        if found.ties is not None:
            members = np.stack([found.ties.rows, found.ties.columns], axis=1).astype(np.int64)
            inside = (neighbors[members[:, 0]] == members[:, 1:]).any(axis=1)
            beyond = members[~inside]
        within = np.flatnonzero((first < np.arange(k)).any(axis=1))
        tied = np.union1d(within, beyond[:, 0])
    return Ordered(neighbors, tied, first[tied], beyond, layer.reason)


def _in_order(
    finder: Search, found: Nearest, start: int
) -> tuple[Int64[np.ndarray, "m k"], Int64[np.ndarray, "m k"]]:
    """Some rows' neighbors in order, and of each place the first one that is as near."""
    given = found.neighbors[start : start + ROWS_AT_ONCE].astype(np.int64)
    m, k = given.shape
    rows = np.repeat(np.arange(start, start + m), k)
    distances = finder.exact(rows, given.ravel()).reshape(m, k)
    order = np.argsort(distances, axis=1, kind="stable")
    gaps = np.diff(np.take_along_axis(distances, order, axis=1), axis=1) > EQUAL
    begins = np.concatenate([np.ones((m, 1), bool), gaps], axis=1)
    first = np.maximum.accumulate(np.where(begins, np.arange(k), 0), axis=1)
    sorted_ = np.take_along_axis(given, order, axis=1)
    within = np.lexsort((sorted_, first), axis=1)  # the lower row of equally near ones
    return np.take_along_axis(sorted_, within, axis=1), first


@dataclass(frozen=True)
class BundledLists:
    """The file with the lists of one model."""

    path: Path

    @cached_property
    def metadata(self) -> dict[str, str]:
        try:
            return read_metadata(self.path, CURE)
        except FileNotFoundError as error:
            raise AbsentError(f"{self.path} is not there. {CURE}") from error

    @cached_property
    def layers(self) -> list[dict[str, Any]]:
        """Of each: `name`, `width`, and `reason` if it says nothing of its rows.

        Raises:
            DamagedError: the file is no such file.
        """
        try:
            layers = json.loads(self.metadata["layers"])
            for layer in layers:
                str(layer["name"]), int(layer["width"])
                if not isinstance(layer["reason"], str | None):
                    raise TypeError("reason")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(
                f"{self.path} holds no neighbor lists: its layers are not described ({error!r}). "
                f"{CURE}"
            ) from error
        return list(layers)

    def of_layer(self, number: int, similarity: str, *, center: bool) -> Ordered:
        """The lists of a layer, checked.

        Raises:
            AbsentError: neighbors were not told that way.
            DamagedError: they are not what was written, or no lists.
        """
        prefix = f"{_kind(similarity, center=center)}/{number:03d}/"

        def of_these(names: list[str]) -> list[str]:
            return [name for name in names if name.startswith(prefix)]

        found = read_tensors(self.path, {}, CURE, choose=of_these)
        arrays = {
            name.removeprefix(prefix): tensor.numpy().astype(np.int64)
            for name, tensor in found.items()
        }
        if "neighbors" not in arrays:
            raise AbsentError(
                f"{self.path.name} holds no neighbors by {_kind(similarity, center=center)}. Ask "
                "whoever made the bundle for one with features (`platorep bundle --features all`)."
            )
        n, k = arrays["neighbors"].shape[0], arrays["neighbors"].shape[-1]
        nothing = {"tied": (0,), "first": (0, k), "beyond": (0, 2)}
        arrays = {name: np.empty(shape, np.int64) for name, shape in nothing.items()} | arrays
        if why := _not_lists(arrays, n, k):
            raise DamagedError(f"{self.path}: {prefix[:-1]} holds no neighbor lists: {why}. {CURE}")
        return Ordered(**arrays, reason=self.layers[number]["reason"])

    def nearest(self, number: int, parameters: NeighborParameters) -> Int64[np.ndarray, "n k"]:
        """The k nearest others of every row of a layer, the nearest first.

        Raises: as `of_layer`; AbsentError: so many neighbors are not there.
        """
        made = self.of_layer(number, parameters.similarity, center=parameters.center)
        self._refuse_more(made, parameters.k)
        return made.neighbors[:, : parameters.k]

    def summary(self, number: int, metric: BoundMetric) -> NeighborLists:
        """A layer as a metric on sets of neighbors sees it.

        Raises: as `nearest`; AbsentError: the metric needs features.
        """
        parameters = metric.parameters
        if metric.metric.summarize is not neighbor_lists:
            raise AbsentError(
                f"{metric.label} needs features; {self.path.name} holds neighbor lists. Ask for "
                "mutual_knn, jaccard_knn or cycle_knn, or whoever made the bundle for features "
                "(`platorep bundle --features all`)."
            )
        assert isinstance(parameters, NeighborParameters)
        made = self.of_layer(number, parameters.similarity, center=parameters.center)
        self._refuse_more(made, parameters.k)
        return made.summary(parameters)

    def _refuse_more(self, made: Ordered, k: int) -> None:
        if k > made.k:
            raise AbsentError(
                f"{self.path.name} holds {made.k} neighbors of each row, asked for are {k}. Take "
                f"k <= {made.k}, or whoever made the bundle for more (`platorep bundle "
                f"--neighbors {k}`) or for features (`--features all`)."
            )


def write_lists(
    path: Path,
    lists: Mapping[tuple[str, bool], Sequence[Ordered]],
    layers: Sequence[tuple[str, int]],
) -> None:
    """Write the lists of a model.

    Args:
        lists: By similarity, and whether features are centred: those of every layer.
        layers: Name and width of each.
    """
    arrays: dict[str, np.ndarray] = {}
    reasons: list[str | None] = [None] * len(layers)
    for (similarity, center), of_layers in lists.items():
        for number, made in enumerate(of_layers):
            prefix, reasons[number] = (
                f"{_kind(similarity, center=center)}/{number:03d}/",
                made.reason,
            )
            arrays |= {f"{prefix}{name}": getattr(made, name) for name in _ARRAYS}
    n = len(next(iter(lists.values()))[0].neighbors)
    kind = np.uint16 if n <= SMALL else np.int32
    tensors = {
        name: torch.from_numpy(array.astype(kind))
        for name, array in arrays.items()
        if len(array)  # what is tied, where nothing is
    }
    described = [
        {"name": name, "width": width, "reason": reason}
        for (name, width), reason in zip(layers, reasons, strict=True)
    ]
    write_tensors(path, tensors, {"layers": canonical_json(described)})


_ARRAYS = ("neighbors", "tied", "first", "beyond")


def _kind(similarity: str, *, center: bool) -> str:
    return f"{similarity} centred" if center else similarity


def _not_lists(arrays: Mapping[str, np.ndarray], n: int, k: int) -> str:
    """Why these are no neighbor lists of n rows; empty: they are."""
    shapes = {name: array.shape for name, array in arrays.items()}
    t = len(arrays["tied"])
    expected = {"neighbors": (n, k), "tied": (t,), "first": (t, k)}
    expected |= {"beyond": (*shapes["beyond"][:1], 2)}
    if shapes != expected or 0 in (n, k):
        return f"found shapes {shapes}, expected {expected}"
    for name in ("neighbors", "tied", "beyond"):
        if arrays[name].size and not 0 <= arrays[name].min() <= arrays[name].max() < n:
            return f"{name} names what is none of {n} rows"
    if (arrays["neighbors"] == np.arange(n)[:, None]).any():
        return "a row is its own neighbor"
    if not ((arrays["first"] >= 0) & (arrays["first"] <= np.arange(k))).all():
        return "a place comes before those that are as near"
    if not np.isin(arrays["beyond"][:, 0], arrays["tied"]).all():
        return "a row is tied beyond its last place, and not tied"
    return ""
