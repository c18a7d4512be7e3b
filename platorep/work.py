"""Cells of the cache that a run completes: which of them share a network, and what is missing.

A network is loaded once for all its cells, be they of other views or of other pools; several pools
of a view come from one forward pass. Each cell keeps the key that it would have alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import ModelSpec
from platorep.data import EventDataset
from platorep.errors import StorageError
from platorep.failures import Errors
from platorep.features import Cell, CellKey, RowIdentities
from platorep.files import ByteLocks, digest
from platorep.models import Ids, Loaded, Model, Reading, environment, open_remembered
from platorep.run import Run
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
    """What is to do for one model: the shards of its cell in this process's share."""

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
        identities = {i: stamp(self.cell.shard_path(i)) for i in self.shards}
        return [i for i, now in identities.items() if now in (None, self.outdated.get(i))]

    def outdate(self) -> None:
        """Have all shards of this share made anew."""
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


def complete(
    run: Run, works: Sequence[Work], dataset: EventDataset, errors: Errors, *, wait: bool
) -> list[Work]:
    """Make the missing shards that no other process is making, of works that share a network.

    Returns:
        Those of which others are still making something.
    """
    begun: list[tuple[Work, list[int]]] = []
    with ExitStack() as held:
        # in one order everywhere, so that no two processes wait for each other
        for work in sorted(works, key=lambda work: str(work.cell.folder)):
            with errors.catch(work.label):
                if _is_done(run, work):
                    continue
                locks = held.enter_context(ByteLocks(work.cell.folder / ".lock"))
                locked = [i for i in work.missing() if locks.acquire(i, wait=wait)]
                there = set(work.missing())  # another may just have finished it
                begun.append((work, [i for i in locked if i in there]))
        mine = [(work, shards) for work, shards in begun if shards]
        if mine:
            _make(run, mine, dataset, errors)
    return [work for work, _ in begun if work.label not in errors.errors and work.missing()]


def _is_done(run: Run, work: Work) -> bool:
    if work.cell.exists() and work.cell.mend_rows(work.rows):
        run.report.warn(f"{work.label}: {work.cell.rows_path} was damaged, and is written anew")
    if not work.missing():
        run.report.detail(f"{work.label}: cached")
        return True
    run.must_compute(f"{work.label}: its features", work.cell.folder)
    return False


def _make(
    run: Run, mine: Sequence[tuple[Work, list[int]]], dataset: EventDataset, errors: Errors
) -> None:
    """Make these shards, of all pools at once; one by one if that fails: one may be refused."""
    pools = tuple(dict.fromkeys(work.pool for work, _ in mine if work.pool is not None))
    if len(pools) < 2:
        return _make_at_once(run, mine, dataset, errors)
    try:
        _make_at_once(run, mine, dataset, Errors(keep_going=False))
    except StorageError:
        raise
    except Exception:  # whose it is shows alone
        for pool in pools:
            _make_at_once(run, [one for one in mine if one[0].pool == pool], dataset, errors)


def _make_at_once(
    run: Run, mine: Sequence[tuple[Work, list[int]]], dataset: EventDataset, errors: Errors
) -> None:
    works = [work for work, _ in mine]
    first, labels = works[0], [work.label for work in works]
    pools = tuple(dict.fromkeys(work.pool for work in works if work.pool is not None))
    together = Together(run, dataset, pools)
    with errors.catch(*labels):
        run.report.detail(f"{', '.join(labels)}: loading on {run.device}")
        model = first.model
        if len(pools) > 1:
            spec = first.model.spec.model_copy(update={"pools": pools})
            model = open_remembered(spec, run.root, offline=run.options.offline)
        dtype = getattr(torch, first.target.key.compute_dtype)
        with closing(model.load(run.device, dtype)) as loaded:
            for alike in _by_rows(mine):
                with errors.catch(*(work.label for work, _ in alike)):
                    together.make(loaded, alike)
            for detail in loaded.details:
                run.report.detail(f"{', '.join(labels)}: {detail}")


def _by_rows(mine: Sequence[tuple[Work, list[int]]]) -> list[list[tuple[Work, list[int]]]]:
    """Works that read the same rows of the same view, cut into the same shards."""
    found: dict[tuple[str, int], list[tuple[Work, list[int]]]] = {}
    for work, shards in mine:
        found.setdefault((work.target.spec.view, work.rows_per_shard), []).append((work, shards))
    return list(found.values())


@dataclass(frozen=True)
class Together:
    """Several cells of one view, made from the same forward passes."""

    run: Run
    dataset: EventDataset
    pools: Sequence[str]

    def make(self, loaded: Loaded, alike: Sequence[tuple[Work, list[int]]]) -> None:
        """Make these shards of each work."""
        first, report = alike[0][0], self.run.report
        labels = ", ".join(work.label for work, _ in alike)
        view, extract = first.target.spec.view, self.run.config.extract
        samples = self.dataset.views[view] if view else Ids(self.dataset.ids)
        wanted = sorted({shard for _, shards in alike for shard in shards})
        num_rows = sum(len(first.rows_of(shard)) for shard in wanted)
        loaded.forget()
        with report.task(f"extract {labels}", num_rows, "rows") as advance:
            for shard in wanted:
                rows = first.rows_of(shard)
                features = loaded.features(
                    Reading(rows, samples, extract.batch, extract.workers, advance)
                )
                for work, shards in alike:
                    if shard in shards:
                        self._write(work, shard, loaded, features)
        for note in loaded.notes:
            report.warn(f"{labels}: {note}")

    def _write(
        self, work: Work, shard: int, loaded: Loaded, features: Sequence[Float[Tensor, "n _"]]
    ) -> None:
        place = self.pools.index(work.pool) if work.pool is not None else 0
        num_layers = len(loaded.layers)
        own = features[place * num_layers : (place + 1) * num_layers]
        work.cell.create(
            work.target.key,
            work.rows,
            [(name, f.shape[1]) for name, f in zip(loaded.layers, own, strict=True)],
            work.rows_per_shard,
            {
                "environment": environment(self.run.device),
                "label": work.label,
                "name": work.target.spec.name,
                "num_parameters": work.model.describe().parameters,
                "notes": list(loaded.notes),
                "batches": loaded.batching.value,
            },
        )
        work.cell.write_shard(shard, own)
        self.run.report.detail(f"{work.label}: wrote {work.cell.shard_path(shard).name}")
