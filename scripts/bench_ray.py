"""What Ray itself costs, and what two workers gain on two cores.

    python scripts/bench_ray.py [--rows 3072] [--width 48] [--repeats 2] [--skip costs]

costs: a cluster of this machine's cores starts; its first worker starts; then empty units, empty
parts, and arrays that come back from a worker, or are put and given to one.

gains: four residual networks with random weights read the pictures of the toy world, one thread to
a process, by one process; by `--engine ray` with two workers; and by the same command started twice
on one cache. The ways take turns, each with an empty feature cache; the fastest of `--repeats` runs
counts. `stage` is what `run.json` says of the extraction (Ray's workers start in it, and import
torch; its cluster starts before), `wall` the whole command.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from platorep.engines import Talk, Unit, Work
from platorep.reporting import Reporter

MEGABYTES = 64
WAYS = ("one process", "ray, two workers", "two processes")


@contextmanager
def opens_nothing(talk: Talk, *given: Any) -> Iterator[Work]:
    yield lambda part: None


@contextmanager
def opens_array(talk: Talk) -> Iterator[Work]:
    array = np.ones(MEGABYTES * 2**17)
    yield lambda part: array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=3072)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--skip", choices=("costs", "gains"))
    asked = parser.parse_args()
    if asked.skip != "costs":
        costs()
    if asked.skip != "gains":
        gains(asked.rows, asked.width, asked.repeats)


def costs() -> None:
    def seconds(act: Callable[[], Any]) -> float:
        started = time.perf_counter()
        act()
        return time.perf_counter() - started

    def carry_out(*units: Unit) -> None:
        for done in engine.carry_out(units, Reporter(-1)):
            done.result()

    def empty(name: str, count: int = 1, *given: Any) -> Unit:
        return Unit(
            name=name, opens=opens_nothing, given=given, parts=range(count), num_parts=count
        )

    started = time.perf_counter()
    from platorep.engines.ray import RayEngine

    engine = RayEngine("local", Reporter(-1))
    line("start of the cluster", time.perf_counter() - started, "s")
    line("start of the first worker", seconds(lambda: carry_out(empty("first"))), "s")
    units = [empty(f"unit {i}") for i in range(200)]
    line("a unit", seconds(lambda: carry_out(*units)) / 200 * 1e3, "ms")
    line("a part", seconds(lambda: carry_out(empty("parts", 1000))) / 1000 * 1e3, "ms")
    back = Unit(name="back", opens=opens_array, parts=range(8), num_parts=8)
    line("a MB from a worker", seconds(lambda: carry_out(back)) / 8 / MEGABYTES * 1e3, "ms")
    array = np.ones(MEGABYTES * 2**17)
    there = [empty("there", 1, engine.put(array)) for _ in range(4)]
    took = seconds(lambda: carry_out(*there))
    took += seconds(lambda: [engine.put(array) for _ in range(4)])
    line("a MB to a worker", took / 4 / MEGABYTES * 1e3, "ms")
    line("end", seconds(engine.close), "s")


def line(what: str, number: float, unit: str) -> None:
    print(f"{what:30} {number:10.2f} {unit}", flush=True)


def gains(rows: int, width: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        models = [f"conv{width + 4 * i}" for i in range(4)]
        family = {"name": "nets", "modality": "vision", "backend": "toyworld", "models": models}
        family["training"] = {"steps": 0}
        raw = {
            "name": "bench",
            "dataset": {"source": "toyworld", "limit": rows},
            "families": [family],
            "extract": {"workers": 0, "rows_per_shard": 64},
            "align": {"pairs": [["vision", "vision"]]},
        }
        (place / "bench.yaml").write_text(json.dumps(raw))
        extract(place, WAYS[0])  # rows and networks are made, and read once
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(repeats):
            for way in WAYS:
                found[way].append(extract(place, way))
    best = {way: [min(times) for times in zip(*taken, strict=True)] for way, taken in found.items()}
    print(f"\n{'extraction of four networks':30} {'stage':>8} {'wall':>8} {'gain':>8}")
    for way, (stage, wall) in best.items():
        gain = best[WAYS[0]][0] / stage
        print(f"{way:30} {stage:6.1f} s {wall:6.1f} s {gain:7.2f}x")
    loss = best[WAYS[1]][0] / best[WAYS[2]][0] - 1
    print(f"ray against two processes: {loss:+.1%} of the stage's seconds")


def extract(place: Path, way: str) -> tuple[float, float]:
    """Seconds of the stage and of the command."""
    shutil.rmtree(place / "cache" / "features", ignore_errors=True)
    shutil.rmtree(place / "results", ignore_errors=True)
    variables = dict(os.environ) | {"PLATOREP_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    variables["PLATOREP_CORES"] = "2" if way == WAYS[1] else "1"
    command = [sys.executable, "-m", "platorep", "extract", str(place / "bench.yaml"), "-q"]
    command += ["--engine", "ray", "--address", "local"] if way == WAYS[1] else []
    started = time.perf_counter()
    running = [
        subprocess.Popen(command, cwd=place, env=variables, stdout=subprocess.DEVNULL)
        for _ in range(2 if way == WAYS[2] else 1)
    ]
    if any(process.wait() for process in running):
        raise SystemExit(f"{way}: it failed")
    wall = time.perf_counter() - started
    run = json.loads((place / "results" / "bench" / "run.json").read_text())
    return float(run["extract"]["seconds"]), wall


if __name__ == "__main__":
    main()
