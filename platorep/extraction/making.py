"""Cells are made: what is missing is locked, cut into units of work, and written down.

An engine carries the units out, one for each network, wherever that is. This process holds the
locks, describes the cells, and writes what comes back; workers that see the cache write the shards
of cells that are described.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import cached_property

import torch

from platorep.data import EventDataset
from platorep.engines import Done, Engine, LocalEngine, Unit
from platorep.extraction.forward import Forward, Made, Rows, opens_network
from platorep.extraction.work import Work, by_network, by_rows
from platorep.failures import Errors
from platorep.files import ByteLocks
from platorep.models import Ids, Model, open_remembered
from platorep.models.base import Samples
from platorep.models.cost import BYTES_PER_TOKEN
from platorep.reporting import Reporter
from platorep.run import Run
from platorep.workplace import Home, home_of, model_there, needs_of


def complete(run: Run, works: Iterable[Work], dataset: EventDataset, errors: Errors) -> None:
    """Make what is missing of these cells, and wait for what other processes are making of them.

    Args:
        dataset: What all of them read.
        errors: A part of a cell that fails is a failure of that cell, under its label.
    """
    waiting, told = list(works), set[str]()
    with home_of(run) as home:
        while waiting:  # first what nobody else is doing, then what others have left undone
            waiting, begun = _Making(run, dataset, errors, home).make(waiting)
            if waiting and not begun:
                run.engine.rest()  # the other may wait for room where our workers are idle
                _wait_for(waiting[0], run.report, told)


def _wait_for(work: Work, report: Reporter, told: set[str]) -> None:
    """Until another process lets go of a shard of this cell; nothing is held meanwhile."""
    with ByteLocks(work.cell.folder / ".lock") as locks:
        for shard in work.missing():
            if not locks.acquire(shard, wait=False):
                if work.label not in told:
                    report.say(f"{work.label}: waiting for another process that is making it")
                    told.add(work.label)
                locks.acquire(shard, wait=True)
                return


def forward_flops(model: Model, dataset: EventDataset) -> int | None:
    """Floating-point operations of all rows through a model; None where they are not known."""
    flops = model.flops()
    if flops is None:
        return None
    times = len(dataset)
    if model.spec.kind == "text":
        texts = dataset.views[model.spec.view].texts
        assert texts is not None, "a view of texts"
        times = texts.size_bytes // BYTES_PER_TOKEN
    return flops * times


@dataclass(eq=False)
class _Network:
    """Shards of cells that share a network, whose locks are held until they are there."""

    mine: Sequence[tuple[Work, list[int]]]
    errors: Errors
    """Nobody's where another way is left: one pool after the other."""
    locks: ExitStack
    undone: int = 0
    """Parts that were drawn and have not come back."""
    drawn: bool = False
    """Whether no more parts will be drawn."""
    over: bool = False

    @property
    def works(self) -> list[Work]:
        return [work for work, _ in self.mine]

    @property
    def labels(self) -> list[str]:
        return [work.label for work in self.works]

    @property
    def pools(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(work.pool for work in self.works if work.pool is not None))

    def place(self, work: Work) -> int:
        """Of its pool among those of the network."""
        return self.pools.index(work.pool) if work.pool is not None else 0

    @cached_property
    def ranges(self) -> dict[tuple[str, int], list[Work]]:
        """Labels of works that read the same rows, a shard -> those of them that lack it."""
        return {
            (", ".join(work.label for work, _ in alike), shard): [
                work for work, shards in alike if shard in shards
            ]
            for alike in by_rows(self.mine)
            for shard in sorted({shard for _, shards in alike for shard in shards})
        }

    def left(self, works: Iterable[Work]) -> list[Work]:
        """Those that have not failed; several pools fail together."""
        if len(self.pools) > 1 and self.errors.errors:
            return []
        return [work for work in works if work.label not in self.errors.errors]


@dataclass(frozen=True)
class _Making:
    """One way through cells. What other processes are at is left to them."""

    run: Run
    dataset: EventDataset
    errors: Errors
    home: Home

    def make(self, works: Sequence[Work]) -> tuple[list[Work], bool]:
        """Those of which something is still missing and which did not fail; whether anything was
        there to make."""
        first = {work.cell.folder: work for work in reversed(works)}  # the others find it made
        groups = by_network(work for work in works if first[work.cell.folder] is work)
        if self.run.engine.num_workers > 1:
            groups.sort(key=self.cost, reverse=True)
        read_here = [self.home.is_here or _is_read_here(group[0]) for group in groups]
        begun = False
        for engine, home, here in (
            (LocalEngine(), Home(self.run.root), True),
            (self.run.engine, self.home, False),
        ):
            queue = deque(group for group, of in zip(groups, read_here, strict=True) if of == here)
            with ExitStack() as held:
                carried = _Carried(self, engine, home, queue, held)
                while queue:  # it grows where several pools fail together
                    carried.carry_out()
            begun = begun or carried.begun
        left = [one for one in works if one.label not in self.errors.errors and one.missing()]
        return left, begun

    def cost(self, works: Sequence[Work]) -> float:
        """Floating-point operations of what is missing; several pools take them once."""
        by_view = {work.target.spec.view: work for work in works}.values()
        shares = ((work, 1 - work.share_done()) for work in by_view)
        return sum(share * (forward_flops(w.model, self.dataset) or 0.0) for w, share in shares)


@dataclass
class _Carried:
    """Networks on their way through one engine."""

    making: _Making
    engine: Engine
    home: Home
    queue: deque[list[Work]]
    held: ExitStack
    """Locks of all of them."""
    begun: bool = False
    _networks: dict[Unit, _Network] = field(default_factory=dict)

    def carry_out(self) -> None:
        run = self.making.run
        with closing(self.engine.carry_out(self._units(), run.report)) as parts:
            for done in parts:
                network = self._networks[done.unit]
                self._receive(network, done)
                self._let_go(network)

    def _units(self) -> Iterator[Unit]:
        while self.queue:
            network = self._begin(self.queue.popleft())
            if network is None:
                continue
            units: list[Unit] = []
            with network.errors.catch(*network.labels):
                units.append(self._unit(network))
            for unit in units:
                self._networks[unit] = network
                yield unit
            if not units:
                network.drawn = True
                self._let_go(network)

    def _begin(self, works: Sequence[Work]) -> _Network | None:
        """Lock what is missing and free; None: there is nothing."""
        locks = self.held.enter_context(ExitStack())
        mine: list[tuple[Work, list[int]]] = []
        for work in works:
            with self.making.errors.catch(work.label):
                if self._is_done(work):
                    continue
                lock = locks.enter_context(ByteLocks(work.cell.folder / ".lock"))
                locked = [i for i in work.missing() if lock.acquire(i, wait=False)]
                there = set(work.missing())  # another may just have finished it
                if shards := [i for i in locked if i in there]:
                    mine.append((work, shards))
        if not mine:
            locks.close()
            return None
        self.begun = True
        network = _Network(mine, self.making.errors, locks)
        if len(network.pools) > 1:
            network.errors = Errors()
        return network

    def _is_done(self, work: Work) -> bool:
        run = self.making.run
        if work.cell.exists() and work.cell.mend_rows(work.rows):
            run.report.warn(f"{work.label}: {work.cell.rows_path} was damaged, and is written anew")
        if not work.missing():
            run.report.detail(f"{work.label}: cached")
            return True
        run.must_compute(f"{work.label}: its features", work.cell.folder)
        return False

    def _unit(self, network: _Network) -> Unit:
        run, first = self.making.run, network.works[0]
        model, extract = first.model, run.config.extract
        if len(network.pools) > 1:
            spec = model.spec.model_copy(update={"pools": network.pools})
            model = open_remembered(spec, run.root, offline=run.options.offline)
        there, files = model_there(run, model, self.home)
        forward = Forward(
            labels=", ".join(network.labels),
            model=there,
            device=str(run.device if self.home.is_here else run.worker_device),
            dtype=first.target.key.compute_dtype,
            batch=extract.batch,
            workers=extract.workers,
        )
        return Unit(
            name=f"extract {forward.labels}",
            opens=opens_network,
            given=(forward, files),
            parts=self._parts(network),
            num_parts=len(network.ranges),
            cost=0.0 if self.home.is_here else self.making.cost(network.works),
            needs=needs_of(run, first.model, first.target.key.compute_dtype),
            total=sum(len(works[0].rows_of(i)) for (_, i), works in network.ranges.items()),
            counted="rows",
        )

    def _parts(self, network: _Network) -> Iterator[Rows]:
        for (labels, shard), works in network.ranges.items():
            if not network.left(works):
                continue
            rows, view = works[0].rows_of(shard), works[0].target.spec.view
            samples: Samples = Ids(self.making.dataset.ids)
            if view:
                seen = self.making.dataset.views[view]
                samples = seen if self.home.is_here else seen.taken(rows)
            network.undone += 1
            yield Rows(
                labels=labels,
                shard=shard,
                rows=rows if self.home.is_here else range(len(rows)),
                samples=samples,
                cells=self._written_there(network, works),
            )
        network.drawn = True
        self._let_go(network)

    def _written_there(self, network: _Network, works: Sequence[Work]) -> dict[str, int]:
        """The cells of a range that a worker may write, if it sees them."""
        if self.home.is_here or not all(work.cell.exists() for work in works):
            return {}
        folders = (str(work.cell.folder.relative_to(self.home.root)) for work in works)
        return dict(zip(folders, map(network.place, works), strict=True))

    def _receive(self, network: _Network, done: Done) -> None:
        """Write what came back down, or note whose failure it is."""
        if done.part is None:
            network.drawn, network.undone, works = True, 0, network.works
        else:
            network.undone -= 1
            works = network.ranges[done.part.labels, done.part.shard]
        left = network.left(works)
        with network.errors.catch(*(work.label for work in left)):
            if left:
                made: Made = done.result()
                for work in left:
                    if made.features:
                        self._write(network, work, done.part.shard, made)
                    path = work.cell.shard_path(done.part.shard)
                    self.making.run.report.detail(f"{work.label}: wrote {path.name}")

    def _write(self, network: _Network, work: Work, shard: int, made: Made) -> None:
        place, num_layers = network.place(work), len(made.layers)
        own = made.features[place * num_layers : (place + 1) * num_layers]
        work.cell.create(
            work.target.key,
            work.rows,
            [(name, f.shape[1]) for name, f in zip(made.layers, own, strict=True)],
            work.rows_per_shard,
            {
                **made.facts,
                "label": work.label,
                "name": work.target.spec.name,
                "num_parameters": work.model.describe().parameters,
            },
        )
        # a copy, since what comes from workers may be read-only, which tensors know nothing of
        work.cell.write_shard(shard, [torch.tensor(layer) for layer in own])

    def _let_go(self, network: _Network) -> None:
        """Of the locks, when nothing is left to come; several pools that failed are tried alone."""
        if network.over or network.undone or not network.drawn:
            return
        network.over = True
        network.locks.close()
        if len(network.pools) > 1 and network.errors.errors:
            alone = [[w for w in network.works if w.pool == pool] for pool in network.pools]
            self.queue.extendleft(reversed(alone))


def _is_read_here(work: Work) -> bool:
    """Whether no network is at work, so that it is done where the rows and files are: some of these
    need all rows at once."""
    spec = work.target.spec
    counts_words = spec.is_baseline and spec.kind == "text"
    return spec.backend in ("features", "bundle") or spec.modality == "truth" or counts_words
