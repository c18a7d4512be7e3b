"""The neighbors of layers in galleries: a unit of work for each layer, shards after shards.

Axes: n samples, m some of them, d features.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from platorep.align.lists import write_lists
from platorep.align.prepared import ModelLayers, RawLayer
from platorep.engines import Done, Kept, Needs, Talk, Unit, Work
from platorep.errors import DataError
from platorep.failures import Failures
from platorep.metrics.gallery import Block, Blocks, Found, Galleries, GallerySearch
from platorep.metrics.nearest import Nearest
from platorep.preprocess import refuse_not_finite
from platorep.reporting import Advance
from platorep.run import Run
from platorep.tensors import Verified
from platorep.workplace import Home

T = TypeVar("T")
Lists = dict[tuple[int, int], Nearest]
"""n and k -> the neighbors of the queries."""
ROWS_TOGETHER = 8192  # read before they are searched; no influence on the result
SENT_BYTES = 2**28
"""Of features that are sent together to a worker that does not see the cache."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What is searched for, the same for all layers."""

    galleries: Galleries
    wanted: Sequence[tuple[int, int]]
    similarity: str
    center: bool

    def search(self, queries: Float[Tensor, "q d"]) -> GallerySearch:
        return GallerySearch(
            queries,
            self.galleries,
            self.wanted,
            similarity=self.similarity,
            center=self.center,
        )


@dataclass(frozen=True)
class Shards:
    """Some shards of a cell, in order."""

    numbers: tuple[int, ...]
    features: Mapping[int, list[Float[Tensor, "_ _"]]] = field(default_factory=dict)
    """Of each the layers that are needed, where the cache cannot be seen."""


class LayerRows:
    """One layer of a model, prepared, block by block.

    Thresholds, means and components are those of the queries, whatever other rows there are: so
    rows that join a gallery change no query, and the queries are the very ones that `align` scored.

    Args:
        queries: The layer, of the queries alone.
    """

    def __init__(self, layers: ModelLayers, queries: RawLayer) -> None:
        self._label, self._cell = layers.label, layers.cell
        self.layers = layers.behind(queries.number)
        self._verified: Verified = set()
        self._prepared = list(queries.steps(layers.label, layers.align))
        self.queries = _side_by_side([part.rows for part in self._prepared])

    def __call__(self, rows: Int64[np.ndarray, " m"] | None) -> Iterator[Block]:
        """Blocks of these rows, or of all, in order; the next is read while one is looked at."""
        return _ahead(self._blocks(rows, Shards(tuple(range(self._cell.num_shards)))))

    def among(self, shards: Shards, advance: Advance) -> Blocks:
        """The same of some shards; counted as all of them are gone through."""

        def blocks(rows: Int64[np.ndarray, " m"] | None) -> Iterator[Block]:
            for block in _ahead(self._blocks(rows, shards)):
                if rows is None:
                    advance(len(block[0]))
                yield block

        return blocks

    def _blocks(self, rows: Int64[np.ndarray, " m"] | None, shards: Shards) -> Iterator[Block]:
        parts: list[Block] = []
        for shard in shards.numbers:
            here = self._cell.shard_range(shard)
            numbers = np.arange(here.start, here.stop)
            if rows is not None:
                numbers = rows[slice(*np.searchsorted(rows, [here.start, here.stop]))]
            if len(numbers):
                features = shards.features.get(shard)
                parts.append((numbers, self._read(shard, numbers - here.start, features)))
            if sum(len(part[0]) for part in parts) >= ROWS_TOGETHER:
                yield _joined(parts)
                parts = []
        if parts:
            yield _joined(parts)

    def _read(
        self,
        shard: int,
        places: Int64[np.ndarray, " m"],
        features: Sequence[Float[Tensor, "_ _"]] | None,
    ) -> Float[Tensor, "m d"]:
        here = self._cell.shard_range(shard)
        some = None if len(places) == len(here) else torch.from_numpy(places)
        if features is None:
            features = self._cell.read_shard(
                shard, self.layers, places=some, verified=self._verified
            )
        elif some is not None:
            features = [part[some] for part in features]
        for index, part in zip(self.layers, features, strict=True):
            self._refuse_not_finite(part, index, here.start)
        return _side_by_side(
            [prepared(part) for prepared, part in zip(self._prepared, features, strict=True)]
        )

    def _refuse_not_finite(self, part: Float[Tensor, "n _"], index: int, first_row: int) -> None:
        try:
            refuse_not_finite(part, index, first_row)
        except DataError as error:
            raise DataError(f"{self._label}: {error}") from error


@contextmanager
def opens_search(
    talk: Talk,
    layers: ModelLayers,
    layer: int | RawLayer,
    home: Home,
    settings: SearchSettings,
    device: torch.device,
) -> Iterator[Work]:
    """The work of a unit: `Shards` -> what was found among them, None where the cache is not seen.

    Args:
        layer: Its number, or its queries where the cache is not seen.
    """
    here = layers.in_cache(home)
    if here is None and isinstance(layer, int):
        yield lambda part: None
        return
    here = here or layers
    rows = LayerRows(here, here.raw(layer) if isinstance(layer, int) else layer)

    def work(shards: Shards) -> Found | Lists:
        search = settings.search(rows.queries.to(device))
        blocks = rows.among(shards, talk.advance)
        search.collect(blocks)
        whole = len(shards.numbers) == here.cell.num_shards
        return search.lists(blocks) if whole else search.found()

    yield work


@dataclass(eq=False)
class LayerSearch:
    """A layer that is to be searched, and what has come back."""

    name: str
    layers: ModelLayers
    number: int
    path: Path
    """Of the finished lists."""

    def __post_init__(self) -> None:
        self.left = set(range(self.layers.cell.num_shards))
        """Shards that have not been gone through."""
        self.search: GallerySearch | None = None

    @cached_property
    def rows(self) -> LayerRows:
        return LayerRows(self.layers, self.layers.raw(self.number))


class Searching:
    """Has layers searched, and writes the lists of each."""

    def __init__(self, run: Run, home: Home, settings: SearchSettings, failures: Failures) -> None:
        self._run, self._home, self._settings, self._failures = run, home, settings, failures
        self._sent = False
        """Whether features are read here, since some worker does not see the cache."""

    @cached_property
    def _given(self) -> Kept:
        return self._run.engine.put(self._settings)

    def search(self, layers: Sequence[LayerSearch]) -> None:
        """Each that fails is a failure under its name."""
        while todo := [one for one in layers if one.left and not self._failed(one)]:
            units: dict[Unit, LayerSearch] = {}
            for done in self._run.engine.carry_out(self._units(todo, units), self._run.report):
                self._take(units[done.unit], done)

    def _units(self, todo: Sequence[LayerSearch], units: dict[Unit, LayerSearch]) -> Iterator[Unit]:
        workers, device = self._run.engine.num_workers, self._run.worker_device
        busy = 1 if workers == 1 else math.ceil(2 * workers / len(todo))
        for one in todo:
            with self._failures.catch(one.name):
                layer = self._layer(one)
            if self._failed(one):
                continue
            cell, size = one.layers.cell, one.layers.size_bytes(one.number)
            num_parts = min(len(one.left), max(busy, size // SENT_BYTES if self._sent else 1))
            cuts = np.array_split(sorted(one.left), num_parts)
            unit = Unit(
                name=one.name,
                opens=opens_search,
                given=(one.layers, layer, self._home, self._given, device),
                parts=self._parts(one, [tuple(cut.tolist()) for cut in cuts]),
                num_parts=num_parts,
                cost=float(size),
                needs=Needs(gpu_bytes=int(device.type == "cuda")),
                total=sum(len(cell.shard_range(shard)) for shard in one.left),
                counted="rows",
            )
            units[unit] = one
            yield unit

    def _layer(self, one: LayerSearch) -> int | RawLayer:
        return one.layers.raw(one.number).loaded() if self._sent else one.number

    def _parts(self, one: LayerSearch, cuts: Sequence[tuple[int, ...]]) -> Iterator[Shards]:
        for numbers in cuts:
            if self._failed(one):
                return
            features = {}
            if self._sent:
                needed = one.layers.behind(one.number)
                features = {i: one.layers.cell.read_shard(i, needed) for i in numbers}
            yield Shards(numbers, features)

    def _take(self, one: LayerSearch, done: Done) -> None:
        if self._failed(one):
            return
        with self._failures.catch(one.name):
            found: Found | Lists | None = done.result()
            if found is None:
                self._sent = True
                return
            one.left.difference_update(done.part.numbers)
            if isinstance(found, Found):
                if one.search is None:
                    one.search = self._settings.search(one.rows.queries.to(self._run.device))
                one.search.take(found)
                if one.left:
                    return
                found, one.search = one.search.lists(one.rows), None
            write_lists(one.path, found)

    def _failed(self, one: LayerSearch) -> bool:
        return one.name in self._failures.errors


def _side_by_side(layers: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "n d"]:
    return layers[0] if len(layers) == 1 else torch.cat(list(layers), dim=1)


def _joined(parts: Sequence[tuple[Int64[np.ndarray, " _"], Float[Tensor, "_ d"]]]) -> Block:
    if len(parts) == 1:
        return parts[0]
    numbers, features = zip(*parts, strict=True)
    return np.concatenate(numbers), torch.cat(features)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same, each made in another thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
