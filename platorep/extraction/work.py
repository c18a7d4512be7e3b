"""Cells of the cache that a run completes: which of them share a network, and what is missing.

A network is loaded once for all its cells, be they of other views or of other pools; several pools
of a view come from one forward pass. Each cell keeps the key that it would have alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platorep.config import ModelSpec
from platorep.features import Cell, CellKey, RowIdentities
from platorep.files import digest
from platorep.models import Model
from platorep.stamps import Stamp, stamp


@dataclass(frozen=True)
class ModelCell:
    """One model and its cell of the cache."""

    spec: ModelSpec
    key: CellKey
    cell: Cell
    num_words: float | None = field(default=None, kw_only=True)
    """Mean per text, of a model that reads texts."""


@dataclass
class Work:
    """What is to do for one model: the shards of its cell."""

    target: ModelCell
    model: Model
    rows: RowIdentities
    rows_per_shard: int
    shards: Sequence[int]
    outdated: Mapping[int, Stamp] = field(default_factory=dict)
    """Shards to make anew (`--overwrite always`), as they were: they stay until then."""

    @property
    def label(self) -> str:
        return self.target.spec.label

    @property
    def cell(self) -> Cell:
        return self.target.cell

    @property
    def pool(self) -> str | None:
        """How its features are pooled; None where nothing is."""
        pool: str | None = self.target.key.model.get("pool")
        return pool

    @property
    def network(self) -> str:
        """Names what is loaded: equal for works that differ in nothing but pool and rows."""
        key, spec = self.target.key, self.target.spec
        whole = {name: value for name, value in key.model.items() if name != "pool"}
        return digest([whole, key.compute_dtype, spec.backend, spec.kind])

    def missing(self) -> list[int]:
        """Shards to make: all where the cell has no description."""
        if not self.cell.exists():
            return list(self.shards)
        there, cell, old = self.cell.names(), self.cell, self.outdated
        return [
            i
            for i in self.shards
            if (path := cell.shard_path(i)).name not in there
            or (i in old and stamp(path) in (None, old[i]))
        ]

    def outdate(self) -> None:
        """Have all shards made anew."""
        identities = {i: stamp(self.cell.shard_path(i)) for i in self.shards}
        self.outdated = {i: now for i, now in identities.items() if now is not None}

    def share_done(self) -> float:
        return 1 - len(self.missing()) / max(1, len(self.shards))

    def rows_of(self, shard: int) -> range:
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, len(self.rows)))


def by_network(works: Iterable[Work]) -> list[list[Work]]:
    """Works that share a network together, but for those of one and the same cell."""
    found: dict[tuple[str, int], list[Work]] = {}
    times: Counter[Path] = Counter()
    for work in works:
        found.setdefault((work.network, times[work.cell.folder]), []).append(work)
        times[work.cell.folder] += 1
    return list(found.values())


def by_rows(mine: Sequence[tuple[Work, list[int]]]) -> list[list[tuple[Work, list[int]]]]:
    """Works that read the same rows of the same view, cut into the same shards."""
    found: dict[tuple[str, int], list[tuple[Work, list[int]]]] = {}
    for work, shards in mine:
        found.setdefault((work.target.spec.view, work.rows_per_shard), []).append((work, shards))
    return list(found.values())
