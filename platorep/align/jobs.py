"""Scoring jobs by units of work, with failures no larger than what failed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from platorep.align.asked import ask
from platorep.align.scoring import (
    Job,
    Labels,
    NullPart,
    PairPart,
    PairScores,
    Settings,
    opens_scores,
)
from platorep.align.summarizing import Held
from platorep.engines import Done, Kept, Needs, Unit
from platorep.failures import Failures
from platorep.run import Run

PERMUTATIONS_TOGETHER = 25
"""Of a null; no influence on the result."""
Found = dict[Labels, dict[str, PairScores]]
"""Pair -> label of a metric -> the scores, where they can be had."""
Part = PairPart | NullPart


@dataclass(frozen=True)
class Task:
    """Jobs that are done in one place, on the same summaries."""

    name: str
    jobs: tuple[Job, ...]
    layers: Mapping[str, Sequence[int]]
    """Of each model the layers that are needed."""

    def pair_by_pair(self, job: Job) -> "list[Task]":
        """Each pair of a job by itself."""
        return [
            Task(
                f"{self.name}: {x} x {y}, {job.label}",
                (Job(job.metric, ((x, y),)),),
                {label: self.layers[label] for label in (x, y)},
            )
            for x, y in job.pairs
        ]


@dataclass
class _Coming:
    """What has come back of a task."""

    task: Task
    missing: int
    nulls: list[Float64[np.ndarray, "_ _"]]
    scores: dict[PairPart, PairScores] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)
    """By number of the job: why something of it could not be done."""

    def take(self, done: Done) -> None:
        part = done.part
        self.missing = 0 if part is None else self.missing - 1
        if done.error is not None:
            for job in range(len(self.task.jobs)) if part is None else [part.job]:
                self.errors.setdefault(job, done.error)
        elif isinstance(part, PairPart):
            self.scores[part] = done.value
        else:
            self.nulls[part.job][:, part.first : part.first + part.number] = done.value

    def of(self, job: int) -> Iterator[tuple[Labels, PairScores]]:
        """The scores of all pairs of a job, with their nulls."""
        for pair, labels in enumerate(self.task.jobs[job].pairs):
            scores = self.scores[PairPart(job, pair)]
            null = {"null": self.nulls[job][pair].tolist()}
            statistics = {metric: of | null for metric, of in scores.statistics.items()}
            yield labels, PairScores(scores.grid, statistics)


class Scoring:
    """Has the engine do tasks, and notes which pairs cannot be scored under which metric."""

    def __init__(self, run: Run, settings: Settings, failures: Failures) -> None:
        self._run, self._settings, self._failures = run, settings, failures

    @cached_property
    def _given(self) -> Kept:
        return self._run.engine.put(self._settings)

    def score(
        self, tasks: Sequence[Task], held: Mapping[str, Held]
    ) -> Iterator[tuple[Task, Found]]:
        """What can be had of each task, when it is finished: of a job that fails, pair by pair."""
        again: list[tuple[Task, Found, list[Task]]] = []
        for coming in self._carried_out(tasks, held):
            found: Found = {}
            alone: list[Task] = []
            for number, job in enumerate(coming.task.jobs):
                if number not in coming.errors:
                    for pair, scores in coming.of(number):
                        found.setdefault(pair, {})[job.label] = scores
                elif len(job.pairs) > 1:
                    alone += coming.task.pair_by_pair(job)
                else:
                    ((x, y),) = job.pairs
                    with self._failures.catch(f"{x} x {y}, {job.label}"):
                        raise coming.errors[number]
            if not alone:
                yield coming.task, found
                continue
            again.append((coming.task, found, alone))
            if not self._run.options.keep_going:
                break
        for task, found, alone in again:
            for _, more in self.score(alone, held):
                for pair, of in more.items():
                    found.setdefault(pair, {}).update(of)
            yield task, found

    def _carried_out(self, tasks: Sequence[Task], held: Mapping[str, Held]) -> Iterator[_Coming]:
        coming: dict[Unit, _Coming] = {}

        def drawn() -> Iterator[Unit]:
            for task in tasks:
                parts = list(self._parts(task))
                unit = self._unit(task, parts, held)
                coming[unit] = _Coming(task, len(parts), self._room(task))
                yield unit

        for done in self._run.engine.carry_out(drawn(), self._run.report):
            coming[done.unit].take(done)
            if not coming[done.unit].missing:
                yield coming.pop(done.unit)

    def _unit(self, task: Task, parts: Sequence[Part], held: Mapping[str, Held]) -> Unit:
        kept = [held[label].layers[i] for label, layers in task.layers.items() for i in layers]
        return Unit(
            name=task.name,
            opens=opens_scores,
            given=(task.jobs, task.layers, self._given, *kept),
            parts=parts,
            num_parts=len(parts),
            cost=float(len(kept) * len(parts)),
            needs=Needs(gpu_bytes=int(self._settings.on_gpu)),
        )

    def _parts(self, task: Task) -> Iterator[Part]:
        """Job by job: what prepares the layers of one does it once."""
        for number, job in enumerate(task.jobs):
            yield from (PairPart(number, pair) for pair in range(len(job.pairs)))
            total = self._settings.num_permutations(ask(job.metric))
            for first in range(0, total, PERMUTATIONS_TOGETHER):
                yield NullPart(number, first, min(PERMUTATIONS_TOGETHER, total - first))

    def _room(self, task: Task) -> list[Float64[np.ndarray, "_ _"]]:
        return [
            np.empty((len(job.pairs), self._settings.num_permutations(ask(job.metric))))
            for job in task.jobs
        ]
