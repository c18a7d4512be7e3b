"""Which worker does what, when workers are processes that start, are busy, and die."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from platorep.engines.crew import (
    Call,
    Crew,
    Died,
    Hand,
    Job,
    KeptThere,
    Lost,
    Part,
    Size,
    described,
)
from platorep.engines.telling import Telling, unclosed
from platorep.engines.unit import Done, Unit
from platorep.engines.worker import Ended, Said
from platorep.errors import PlatorepError, WorkerDiedError
from platorep.reporting import Reporter

WINDOW = 2
"""Parts that a worker has: the next one travels while it does the first."""
MOST_TRIES = 3
"""Of a part that its worker dies of, or of opening a unit, or of starting workers at all."""
STUCK_S, QUIET_S = 0.5, 10.0
"""After which workers that idle make room for others; after which a wait is told."""
START_S = 4.0
"""What a new worker takes until it has its libraries."""


class Carrying:
    """Carries out units with the workers of a crew.

    Args:
        hands: Workers that are there; what is left of them stays in the list.
    """

    def __init__(
        self, crew: Crew, units: Iterable[Unit], report: Reporter, hands: list[Hand]
    ) -> None:
        self._crew, self._units, self._report, self._hands = crew, iter(units), report, hands
        self._more_units = True
        self._jobs: list[Job] = []
        self._waiting: deque[Job] = deque()
        """Who asks for a worker; one that has some may ask for another."""
        self._finished: deque[Done] = deque()
        self._printed: set[str] = set()
        self._failed_starts = 0
        self._heard = time.monotonic()

    def done(self) -> Generator[Done, None, None]:
        try:
            while True:
                self._give_work()
                while self._finished:
                    yield self._finished.popleft()
                if not self._jobs and not self._more_units:
                    return
                self._hear()
                while self._finished:
                    yield self._finished.popleft()
        finally:
            self._stop()

    # Giving work

    def _give_work(self) -> None:
        for hand in self._hands:
            if hand.job is not None and hand.is_open:
                self._feed(hand, hand.job)
        while self._draw_unit():
            self._place()
        self._place()
        if (job := self._worth_another()) is not None:
            self._waiting.append(job)
            self._place()
        self._make_room()

    def _draw_unit(self) -> bool:
        """Whether there was room, and a unit, for one more to be drawn."""
        starting = [hand.size for hand in self._hands if hand.is_starting]
        if not self._more_units or (self._waiting and not self._has_room(*starting)):
            return False
        unit = next(self._units, None)
        if unit is None:
            self._more_units = False
            return False
        self._begin(unit, iter(unit.parts))
        self._waiting.append(self._jobs[-1])
        return True

    def _begin(self, unit: Unit, parts: Iterator[Any], restores: KeptThere | None = None) -> Job:
        job = Job(unit, parts, Telling(unit, self._report, self._printed), restores=restores)
        self._jobs.append(job)
        return job

    def _has_room(self, *starting: Size) -> bool:
        """Whether the cluster has a core for one more than work, idle not, and wait."""
        sizes = [hand.size for hand in self._hands if not hand.is_idle and not hand.is_starting]
        wanted = [self._size_of(job) for job in self._waiting]
        waiting = [size for size in wanted if size is not None]
        return self._crew.has_room([*sizes, *max(waiting, [*starting], key=len)])

    def _size_of(self, job: Job) -> Size | None:
        try:
            return self._crew.size_of(job.unit.needs, alone=job.alone)
        except PlatorepError:
            return None

    def _next(self) -> list[Job]:
        """Who of those that wait may begin: to empty a node, nobody but who needs one alone."""
        waiting = list(self._waiting)
        if any(job.alone for job in waiting):
            return [job for job in waiting if job.alone or job.restores is not None]
        return waiting

    def _place(self) -> None:
        """Give whoever waits a worker of its size, or have one started."""
        wanted = list[Size]()
        for job in self._next():
            if not job.has_parts:
                self._waiting.remove(job)
                self._settle(job)
                continue
            if self._lacks_what_it_is_given(job):
                continue
            try:
                size = self._crew.size_of(job.unit.needs, alone=job.alone)
            except PlatorepError as error:
                self._waiting.remove(job)
                self._fail(job, error)
                continue
            idle = [hand for hand in self._hands if hand.is_idle and hand.size == size]
            if idle:
                self._waiting.remove(job)
                self._open(idle[0], job)
                continue
            wanted.append(size)
            starting = sum(hand.is_starting and hand.size == size for hand in self._hands)
            if starting < wanted.count(size):
                hand = Hand(self._crew.start(size), size)
                self._call(hand, "hello")
                self._hands.append(hand)

    def _lacks_what_it_is_given(self, job: Job) -> bool:
        """Have made again what was lost of it."""
        lost = [kept for kept in job.unit.given if isinstance(kept, KeptThere) and kept.ref is None]
        for kept in lost:
            if kept.error is not None or kept.unit is None:
                error = kept.error or WorkerDiedError(
                    f"{job.unit.name}: what it was given is lost. Start the command again: what is "
                    "finished is kept."
                )
                self._waiting.remove(job)
                self._fail(job, error)
                return True
            if not any(other.restores is kept for other in self._jobs):
                self._report.warn(f"{kept.unit.name}: made again, since a node with it is gone")
                self._waiting.appendleft(self._begin(kept.unit, iter([kept.part]), kept))
        return bool(lost)

    def _worth_another(self) -> Job | None:
        """The unit of several parts that would gain most from one more worker, if any does."""
        if self._more_units or self._waiting or not self._has_room():
            return None
        idle = {hand.size for hand in self._hands if hand.is_idle}

        def saved(job: Job) -> float:
            """Seconds, once the new worker has opened it."""
            if not job.hands or not job.part_s or not job.has_parts or job.alone or job.one_hand:
                return 0.0
            seconds = job.left * job.part_s
            fewer = seconds / len(job.hands) - seconds / (len(job.hands) + 1)
            return fewer - job.open_s - (0.0 if job.hands[0].size in idle else START_S)

        best = max(self._jobs, key=saved, default=None)
        return best if best is not None and saved(best) > 0 else None

    def _make_room(self) -> None:
        """End a worker that nobody waits for, where one of another size waits for room."""
        now, wanted = time.monotonic(), {self._size_of(job) for job in self._next()}
        starting = [hand for hand in self._hands if hand.is_starting]
        stuck = (now - hand.calls[0].started > STUCK_S for hand in starting if hand.size in wanted)
        if any(stuck):  # those that have not begun yet stand in the way, too
            for hand in [*starting, *(hand for hand in self._hands if hand.is_idle)]:
                if hand.size not in wanted:
                    self._end(hand)
                    return

    def _feed(self, hand: Hand, job: Job) -> None:
        """Keep a worker's window full; have it close the unit when there is nothing more."""
        window = WINDOW if job.left > len(job.hands) else 1
        while len(hand.calls) < window and (part := self._next_part(job)) is not None:
            self._call(hand, "do", part.value, job.unit.keeps)
            hand.calls[-1].part, hand.calls[-1].keeps = part, job.unit.keeps
        if not hand.calls:
            hand.is_open = False
            self._call(hand, "close")

    def _next_part(self, job: Job) -> Part | None:
        if job.error is not None:
            return None
        if job.again:
            return job.again.popleft()
        if job.drawn_all:
            return None
        try:
            value = next(job.parts)
        except StopIteration:
            job.drawn_all = True
            return None
        except Exception as error:
            self._fail(job, error)
            return None
        job.drawn += 1
        return Part(value)

    def _open(self, hand: Hand, job: Job) -> None:
        hand.job = job
        job.hands.append(hand)
        given = [one.ref if isinstance(one, KeptThere) else one for one in job.unit.given]
        self._call(hand, "open", job.unit.name, job.unit.opens, self._report.verbosity, *given)
        hand.calls[-1].begun = not hand.is_used
        hand.calls[-1].given = [one.ref for one in job.unit.given if isinstance(one, KeptThere)]

    def _call(self, hand: Hand, method: str, *args: Any) -> None:
        hand.calls.append(Call(method, self._crew.call(hand.actor, method, *args)))

    # Hearing

    def _hear(self) -> None:
        """Wait for the next message; tell what is waited for if that takes long."""
        calls = {hand.calls[0]: hand for hand in self._hands if hand.calls}
        heard = self._crew.hear(list(calls), timeout_s=STUCK_S)
        if heard is None:
            self._tell_what_is_waited_for()
            return
        self._heard = time.monotonic()
        call, message, kept = heard
        hand = calls[call]
        if isinstance(message, Died):
            self._bury(hand, message)
        elif isinstance(message, Lost):
            self._take_back(hand, message)
        elif isinstance(message, Said):
            self._tell(hand, call, message)
        else:
            self._tell(hand, call, message)
            hand.calls.popleft()
            self._end_of(hand, call, message, kept)

    def _tell(self, hand: Hand, call: Call, message: Said | Ended) -> None:
        call.begun = True
        if hand.job is not None:
            call.advanced += hand.job.telling.tell(hand, message.words)

    def _end_of(self, hand: Hand, call: Call, ended: Ended, ref: Any) -> None:
        if (job := hand.job) is None:  # it said hello
            self._failed_starts = 0
        elif call.what == "open":
            if ended.error is not None:
                self._release(hand)
                self._note_unopened(job, ended.error)
                return
            hand.is_open, job.open_s = True, ended.seconds
            job.telling.begin()
        elif call.what == "do":
            assert call.part is not None
            job.part_s = max(job.part_s, ended.seconds)
            self._note(job, call.part, ended, ref)
        else:
            self._release(hand)
            if ended.error is not None:
                self._report.warn(unclosed(job.unit, ended.error))
            self._settle(job)

    def _note_unopened(self, job: Job, error: Exception) -> None:
        """A failure of the unit, unless others have opened it."""
        if any(hand.is_open for hand in job.hands):
            job.one_hand = True
            self._report.warn(f"{job.unit.name}: one more worker could not open it: {error}")
        else:
            self._fail(job, error)

    def _note(self, job: Job, part: Part, ended: Ended, ref: Any) -> None:
        """A part is done, or failed; what was lost and is made again is nobody's result."""
        if job.restores is not None:
            job.restores.ref, job.restores.error = ref, ended.error
            return
        kept = KeptThere(ref, job.unit, part.value) if ref is not None else None
        self._finished.append(
            Done(unit=job.unit, part=part.value, value=ended.value, kept=kept, error=ended.error)
        )

    def _release(self, hand: Hand) -> None:
        if hand.job is not None:
            hand.job.hands.remove(hand)
        hand.job, hand.is_open, hand.is_used = None, False, True

    def _settle(self, job: Job) -> None:
        """Where nobody is at work on a unit: somebody goes on with it, or it is over."""
        if job not in self._jobs or job.hands:
            return
        if job.has_parts:
            if job not in self._waiting:
                self._waiting.appendleft(job)
            return
        job.telling.end(whole=job.error is None)
        self._jobs.remove(job)
        if job.error is None:
            return
        if job.restores is not None:
            job.restores.error = job.error
        else:
            self._finished.append(Done(unit=job.unit, part=None, error=job.error))

    def _fail(self, job: Job, error: Exception) -> None:
        """No further part of it will be done; said when those at work on it are through."""
        job.error = job.error or error
        self._settle(job)

    def _take_back(self, hand: Hand, lost: Lost) -> None:
        """It could not be opened, since what it is given has to be made again first."""
        hand.calls.popleft()
        job = hand.job
        for kept in job.unit.given if job is not None else ():
            if isinstance(kept, KeptThere) and kept.ref in lost.refs:
                kept.ref = None
        self._release(hand)
        if job is not None:
            self._settle(job)

    def _bury(self, hand: Hand, died: Died) -> None:
        """Have done elsewhere what a dead worker had; what killed it, only so many times."""
        job, calls = hand.job, hand.calls
        self._release(hand)
        self._end(hand)
        if job is None:
            self._failed_starts += 1
            if self._failed_starts >= MOST_TRIES:
                raise WorkerDiedError(f"no worker could be started: {died.how}")
            return
        job.telling.forget(hand)
        job.telling.advance(-sum(call.advanced for call in calls))
        parts = [call.part for call in calls if call.part is not None]
        job.again.extendleft(reversed(parts))
        blamed = calls[0]
        if blamed.what == "close" or not blamed.begun:
            self._settle(job)
            return
        deaths = self._blame(job, blamed)
        last = deaths >= MOST_TRIES or (job.alone and died.out_of_memory)
        error = _death(job.unit, blamed, died, deaths)
        job.alone = job.alone or died.out_of_memory
        if not last:
            self._report.warn(f"{error} It is tried again.")
        elif blamed.part is None:
            self._note_unopened(job, error)
        else:
            job.again.remove(blamed.part)
            self._note(job, blamed.part, Ended([], 0.0, error=error), None)
        self._settle(job)

    @staticmethod
    def _blame(job: Job, call: Call) -> int:
        """How often a worker has died of this."""
        if call.part is None:
            job.deaths += 1
            return job.deaths
        call.part.deaths += 1
        return call.part.deaths

    def _tell_what_is_waited_for(self) -> None:
        at_work = any(hand.job is not None for hand in self._hands)
        if self._waiting and not at_work and time.monotonic() - self._heard > QUIET_S:
            job, self._heard = self._waiting[0], time.monotonic()
            size = self._size_of(job)
            self._report.say(
                f"{job.unit.name}: waits for {size and described(size)}; {self._crew.describe()}"
            )

    # Ending

    def _end(self, hand: Hand) -> None:
        self._hands.remove(hand)
        self._crew.end(hand.actor)

    def _stop(self) -> None:
        """Whoever is still at work, since nobody listens any more, is ended."""
        for hand in [hand for hand in self._hands if not hand.is_idle]:
            self._end(hand)
        for job in self._jobs:
            job.telling.end(whole=False)


def _death(unit: Unit, call: Call, died: Died, deaths: int) -> WorkerDiedError:
    doing = "opened it" if call.part is None else "was at work on it"
    cure = (
        "Memory ran out: give it a node with more, or let it need less (smaller batches, "
        "`dtype: bfloat16`)."
        if died.out_of_memory
        else "If it dies each time, look for memory that runs out (`dmesg`, Ray's logs)."
    )
    return WorkerDiedError(
        f"{unit.name}: its worker died while it {doing} (try {deaths} of {MOST_TRIES}): "
        f"{died.how} {cure}"
    )
