"""How long extraction takes on a cluster: a simulation of the schedule of `--engine ray`.

    python scripts/simulate_cluster.py [--rows 15000000] [--gpus 8 32 128] [--rows-per-part 8192]
    python scripts/simulate_cluster.py --tasks FILE.csv --gpus 1 2      # what is there instead

Networks come heaviest first. Each is opened by one worker, which then reads ranges of rows; when no
network waits any more, one that would gain most is opened by another worker as well. The driver
writes down what comes back, one range after the other, and only then hands out the next: a worker
holds two at most. Without a file the networks are those of prh-val, by their parameters.

A file has the columns name, open_s, parts, part_s, part_mb and gpus. What a price or a speed is
assumed to be stands under `--help`; docs/scale.md says which of them were measured.
"""

import argparse
import csv
import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

WINDOW = 2
"""Ranges that a worker has: the next one travels while it does the first."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A network that is to read all rows."""

    name: str
    open_s: float
    num_parts: int
    part_s: float
    part_bytes: float = 0.0
    gpus: int = 1

    @property
    def cost(self) -> float:
        return self.gpus * self.part_s * self.num_parts


@dataclass(frozen=True, kw_only=True)
class Cluster:
    gpus: int
    start_s: float = 0.0
    """What a new worker takes until it has its libraries."""
    bytes_per_s: float = math.inf
    """What the driver receives and writes."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    seconds: float
    busy: float
    """Share of the time in which GPUs read rows, of all GPUs."""
    driver_busy: float
    """Share of the time in which the driver writes."""
    ends: dict[str, float]
    """When the last range of a network was written."""


@dataclass(eq=False)
class _Hand:
    """A worker."""

    gpus: int
    job: "_Job | None" = None
    waiting: int = 0
    """Ranges that it has and has not begun."""
    holds: int = 0
    """Ranges that it has, or that the driver has not written yet."""
    at_work: bool = False


@dataclass(eq=False)
class _Job:
    task: Task
    left: int
    unwritten: int
    hands: list[_Hand] = field(default_factory=list)
    seen: bool = False
    """Whether a range is done, so that it is known how long one takes."""


class Simulation:
    """Events in the order of time; what happens at one time happens in the order it was caused."""

    def __init__(self, tasks: Iterable[Task], cluster: Cluster) -> None:
        self._cluster, self._free = cluster, cluster.gpus
        self._queue = deque(sorted(tasks, key=lambda task: -task.cost))
        self._jobs: list[_Job] = []
        self._idle: list[_Hand] = []
        self._events: list[tuple[float, int, str, _Hand]] = []
        self._count = 0
        self._now = self._driver_free = self._busy_s = self._driver_s = 0.0
        self._ends: dict[str, float] = {}

    def run(self) -> Outcome:
        self._place()
        while self._events:
            self._now, _, what, hand = heapq.heappop(self._events)
            getattr(self, f"_{what}")(hand)
            self._place()
        assert not self._queue, f"{self._queue[0].name} needs more GPUs than there are"
        seconds = max(self._ends.values(), default=0.0)
        return Outcome(
            seconds=seconds,
            busy=self._busy_s / (seconds * self._cluster.gpus) if seconds else 0.0,
            driver_busy=self._driver_s / seconds if seconds else 0.0,
            ends=self._ends,
        )

    # What happens

    def _opened(self, hand: _Hand) -> None:
        self._feed(hand)

    def _read(self, hand: _Hand) -> None:
        """A range is done: it waits for the driver, and the worker begins its next."""
        assert hand.job is not None
        hand.at_work, hand.job.seen = False, True
        takes = hand.job.task.part_bytes / self._cluster.bytes_per_s
        self._driver_free = max(self._driver_free, self._now) + takes
        self._driver_s += takes
        self._after(self._driver_free - self._now, "written", hand)
        self._begin(hand)

    def _written(self, hand: _Hand) -> None:
        job = hand.job
        assert job is not None
        hand.holds -= 1
        job.unwritten -= 1
        if job.unwritten == 0:
            self._ends[job.task.name] = self._now
            self._jobs.remove(job)
        self._feed(hand)

    # What follows

    def _feed(self, hand: _Hand) -> None:
        job = hand.job
        assert job is not None
        window = WINDOW if job.left > len(job.hands) else 1
        while job.left and hand.holds < window:
            job.left -= 1
            hand.holds += 1
            hand.waiting += 1
        self._begin(hand)
        if not hand.holds:
            job.hands.remove(hand)
            hand.job = None
            self._idle.append(hand)

    def _begin(self, hand: _Hand) -> None:
        if hand.waiting and not hand.at_work:
            assert hand.job is not None
            task = hand.job.task
            hand.waiting, hand.at_work = hand.waiting - 1, True
            self._busy_s += task.part_s * hand.gpus
            self._after(task.part_s, "read", hand)

    def _place(self) -> None:
        """Open the next networks where there is room, and the others more than once."""
        while self._queue and self._has_room(self._queue[0].gpus):
            task = self._queue.popleft()
            self._jobs.append(_Job(task, task.num_parts, task.num_parts))
            self._open(self._jobs[-1])
        while not self._queue and (job := self._worth_another()) is not None:
            self._open(job)

    def _has_room(self, gpus: int) -> bool:
        return self._free + sum(hand.gpus for hand in self._idle) >= gpus

    def _worth_another(self) -> _Job | None:
        def saved(job: _Job) -> float:
            if not job.seen or not job.left or not self._has_room(job.task.gpus):
                return 0.0
            seconds, hands = job.left * job.task.part_s, len(job.hands)
            ready = any(hand.gpus == job.task.gpus for hand in self._idle)
            start_s = 0.0 if ready else self._cluster.start_s
            return seconds / hands - seconds / (hands + 1) - job.task.open_s - start_s

        best = max(self._jobs, key=saved, default=None)
        return best if best is not None and saved(best) > 0 else None

    def _open(self, job: _Job) -> None:
        hand = next((one for one in self._idle if one.gpus == job.task.gpus), None)
        start_s = 0.0
        if hand is not None:
            self._idle.remove(hand)
        else:
            while self._free < job.task.gpus:  # workers of another size make room
                self._free += self._idle.pop(0).gpus
            self._free -= job.task.gpus
            hand, start_s = _Hand(job.task.gpus), self._cluster.start_s
        hand.job = job
        job.hands.append(hand)
        self._after(start_s + job.task.open_s, "opened", hand)

    def _after(self, seconds: float, what: str, hand: _Hand) -> None:
        self._count += 1
        heapq.heappush(self._events, (self._now + seconds, self._count, what, hand))


def simulate(tasks: Iterable[Task], cluster: Cluster) -> Outcome:
    return Simulation(tasks, cluster).run()


@dataclass(frozen=True)
class Network:
    """A transformer, by what decides its cost. Of prh-val."""

    name: str
    depth: int
    width: int
    tokens: int
    """Of an image; 0: it reads texts."""

    @property
    def blocks(self) -> float:
        """Parameters of all blocks."""
        return 12 * self.depth * self.width**2

    def parameters(self) -> float:
        vocabulary = 250_880 if self.name.startswith("bloomz") else 32_000
        return self.blocks + (0 if self.tokens else vocabulary * self.width)

    def flops_per_row(self, tokens_per_text: float) -> float:
        """Of all products: those with weights, and those of tokens with tokens."""
        tokens = self.tokens or tokens_per_text
        return 2 * self.blocks * tokens + 4 * self.depth * tokens**2 * self.width

    def values_per_row(self) -> int:
        """Of a language model the embedding is a layer too."""
        return (self.depth + (not self.tokens)) * self.width


NETWORKS = (
    *(Network("bloomz-560m", 24, 1024, 0), Network("bloomz-1b1", 24, 1536, 0)),
    *(Network("bloomz-1b7", 24, 2048, 0), Network("bloomz-3b", 30, 2560, 0)),
    *(Network("bloomz-7b1", 30, 4096, 0), Network("open_llama_3b", 26, 3200, 0)),
    *(Network("open_llama_7b", 32, 4096, 0), Network("open_llama_13b", 40, 5120, 0)),
    *(Network("llama-7b", 32, 4096, 0), Network("llama-13b", 40, 5120, 0)),
    *(Network("llama-30b", 60, 6656, 0), Network("llama-65b", 80, 8192, 0)),
    *(Network("vit_tiny", 12, 192, 197), Network("vit_small", 12, 384, 197)),
    *(Network("vit_base", 12, 768, 197), Network("vit_large", 24, 1024, 197)),
    *(Network("mae_base", 12, 768, 197), Network("mae_large", 24, 1024, 197)),
    *(Network("mae_huge", 32, 1280, 257), Network("dinov2_small", 12, 384, 1370)),
    *(Network("dinov2_base", 12, 768, 1370), Network("dinov2_large", 24, 1024, 1370)),
    *(Network("dinov2_giant", 40, 1536, 1370), Network("clip_base", 12, 768, 197)),
    *(Network("clip_large", 24, 1024, 257), Network("clip_huge", 32, 1280, 257)),
    *(Network("clip_base_in12k", 12, 768, 197), Network("clip_large_in12k", 24, 1024, 257)),
    Network("clip_huge_in12k", 32, 1280, 257),
)
GB = 1e9


def task_of(network: Network, of: argparse.Namespace) -> Task:
    """What a network takes, by the speeds that are assumed."""
    reads_texts = not network.tokens
    item_bytes, tflops = (2, of.tflops_text) if reads_texts else (4, of.tflops_image)
    weights = network.parameters() * item_bytes
    padded = 1 / (1 - of.padding) if reads_texts else 1.0
    row_s = network.flops_per_row(of.tokens) * padded / (tflops * 1e12)
    decoding_s = 0.0 if reads_texts else of.decoding_ms / 1e3 / of.decoders
    return Task(
        name=network.name,
        open_s=weights / (of.load_gb_per_s * GB),
        num_parts=math.ceil(of.rows / of.rows_per_part),
        part_s=of.rows_per_part * max(row_s, decoding_s),
        part_bytes=of.rows_per_part * network.values_per_row() * 4.0,
        gpus=math.ceil(weights / (0.8 * of.gpu_gb * GB)),
    )


def read_tasks(path: Path) -> list[Task]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Task(
                name=row["name"],
                open_s=float(row["open_s"]),
                num_parts=int(row["parts"]),
                part_s=float(row["part_s"]),
                part_bytes=float(row["part_mb"]) * 1e6,
                gpus=int(row["gpus"]),
            )
            for row in csv.DictReader(file)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--gpus", type=int, nargs="+", default=[8, 32, 128], help="workers, one to a GPU")
    add(
        "--tasks",
        type=Path,
        help="a CSV file of networks, in place of those of prh-val, with the columns name, open_s "
        "(loading weights), parts (ranges of rows), part_s and part_mb (seconds and float32 "
        "megabytes of one range) and gpus (that hold the weights)",
    )
    add("--rows", type=int, default=15_000_000)
    add("--rows-per-part", type=int, default=8192, help="larger than a shard, to be simulated fast")
    add("--tokens", type=float, default=31.0, help="of a text, on average")
    add("--padding", type=float, default=0.1, help="share of tokens that are padding")
    add("--tflops-text", type=float, default=280.0, help="of a GPU at work on a language model")
    add("--tflops-image", type=float, default=30.0, help="of a GPU at work on an image network")
    add("--decoding-ms", type=float, default=10.0, help="of an image, on one core")
    add("--decoders", type=int, default=3, help="processes that decode for one GPU")
    add("--gpu-gb", type=float, default=141.0)
    add("--load-gb-per-s", type=float, default=1.0, help="of weights, from their files")
    add("--start-s", type=float, default=4.0, help="until a worker has its libraries")
    add("--driver-gb-per-s", type=float, default=0.6, help="that the driver receives and writes")
    add("--gpu-price", type=float, default=3.0, help="of an hour of a GPU")
    add("--tb-price", type=float, default=20.0, help="of a month of 1 TB")
    arguments = parser.parse_args()
    if arguments.tasks is not None:
        try:
            tasks = read_tasks(arguments.tasks)
        except (OSError, KeyError, TypeError, ValueError) as error:
            said = f"no column {error}" if isinstance(error, KeyError) else error
            parser.error(f"--tasks {arguments.tasks}: {said}")
    else:
        tasks = [task_of(network, arguments) for network in NETWORKS]
        print_networks(tasks, arguments)
    largest, fewest = max(tasks, key=lambda task: task.gpus), min(arguments.gpus)
    if largest.gpus > fewest:
        parser.error(
            f"{largest.name} needs {largest.gpus} GPUs for its weights, and --gpus asks for "
            f"{fewest}: more GPUs, larger ones (--gpu-gb), or networks of your own (--tasks)"
        )
    print_clusters(tasks, arguments)


def print_networks(tasks: Sequence[Task], of: argparse.Namespace) -> None:
    print(
        f"{'network':18} {'rows/s':>8} {'GPUs':>4} {'GPU hours':>9} {'TB':>6}   of {of.rows:,} rows"
    )
    for task, network in zip(tasks, NETWORKS, strict=True):
        speed, hours = of.rows_per_part / task.part_s, task.cost / 3600
        disk = of.rows * network.values_per_row() * 2 / 1e12
        print(f"{task.name:18} {speed:8.0f} {task.gpus:4} {hours:9.1f} {disk:6.2f}")
    disk = of.rows * sum(network.values_per_row() for network in NETWORKS) * 2 / 1e12
    hours = sum(task.cost for task in tasks) / 3600
    print(
        f"{'all':18} {'':8} {'':4} {hours:9.1f} {disk:6.1f}   {disk * of.tb_price:,.0f} a month\n"
    )


def print_clusters(tasks: Sequence[Task], of: argparse.Namespace) -> None:
    whole = sum(task.cost for task in tasks)
    print(f"{'GPUs':>5} {'hours':>8} {'busy':>5} {'driver':>6} {'price':>8}   last to end")
    for gpus in of.gpus:
        for rate, said in ((of.driver_gb_per_s, ""), (math.inf, "  (workers write themselves)")):
            cluster = Cluster(gpus=gpus, start_s=of.start_s, bytes_per_s=rate * GB)
            found = simulate(tasks, cluster)
            assert found.seconds >= whole / gpus * (1 - 1e-9)
            hours = found.seconds / 3600
            line = f"{gpus:5} {hours:8.{1 if hours > 10 else 4}f} {found.busy:5.0%}"
            line += f" {found.driver_busy:6.0%} {hours * gpus * of.gpu_price:8,.0f}"
            print(f"{line}   {max(found.ends, key=found.ends.__getitem__)}{said}")


if __name__ == "__main__":
    main()
