"""What simulate_cluster.py foretells, beside what Ray takes: four networks, one and two workers.

    python scripts/check_simulation.py [--rows 2048] [--workers 1 2] [--asleep]

Llamas of 2, 3, 4 and 6 layers with random weights read made-up texts. A process with one thread
measures what opening each and a range of 256 rows take, and how long it itself took to start; then
`platorep extract --engine ray` does all, and once more, when nothing is left to do. Seconds are
those of the stage, without the start of the cluster, and less those of the second time.

First the schedule alone, which no other work on the machine troubles: units that sleep, of four
costs, carried out by workers that are there already.
"""

import argparse
import json
import os
import random
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

DEPTHS, WIDTH, ROWS_PER_SHARD = (2, 3, 4, 6), 256, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--asleep", action="store_true", help="the schedule alone")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, time.time())
        return
    simulation = runpy.run_path(str(Path(__file__).with_name("simulate_cluster.py")))
    for workers in arguments.workers:
        check_sleeping(simulation, workers)
    if arguments.asleep:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, arguments.rows)
        began = time.time()
        command = [sys.executable, __file__, "--measure", str(folder)]
        told = json.loads(run(command, OMP_NUM_THREADS="1").splitlines()[-1])
        start_s = told["ready"] - began
        num_parts = -(-arguments.rows // ROWS_PER_SHARD)
        tasks = [simulation["Task"](num_parts=num_parts, **one) for one in told["networks"]]
        for task in tasks:
            print(f"{task.name}: opens in {task.open_s:.2f} s, {num_parts} x {task.part_s:.2f} s")
        print(f"a worker starts in {start_s:.1f} s")
        for workers in arguments.workers:
            cluster = simulation["Cluster"](gpus=workers, start_s=start_s)
            foretold = simulation["simulate"](tasks, cluster).seconds
            taken = extract(folder, workers)
            print(f"{workers} workers: foretold {foretold:.1f} s, taken {taken:.1f} s")


SLEEPING = (("a", 2.0), ("b", 1.3), ("c", 1.0), ("d", 0.7))
"""Seconds of a range; there are eight, and opening takes half a second."""


def check_sleeping(simulation: dict[str, Any], workers: int) -> None:
    from platorep.engines import Needs, Unit
    from platorep.engines.ray import RayEngine
    from platorep.reporting import Reporter

    def units() -> Iterator[Any]:
        for name, part_s in SLEEPING:
            asleep = partial(sleeps, part_s)
            yield Unit(name=name, opens=asleep, parts=range(8), num_parts=8, needs=Needs())

    os.environ["PLATOREP_CORES"] = str(workers)
    engine = RayEngine(None, Reporter(-1))
    for _ in ("workers start", "workers are there"):
        began, taken = time.monotonic(), {}
        for done in engine.carry_out(units(), Reporter(-1)):
            done.result()
            taken[done.unit.name] = time.monotonic() - began
    engine.close()
    tasks = [
        simulation["Task"](name=name, open_s=0.5, num_parts=8, part_s=part_s)
        for name, part_s in SLEEPING
    ]
    foretold = simulation["simulate"](tasks, simulation["Cluster"](gpus=workers)).ends
    ends = ", ".join(f"{name} {foretold[name]:.1f} ({taken[name]:.1f})" for name in taken)
    print(f"{workers} workers, asleep: foretold (taken) end of {ends} s")


@contextmanager
def sleeps(part_s: float, _: Any) -> Iterator[Any]:
    time.sleep(0.5)
    yield lambda part: time.sleep(part_s)


def build(folder: Path, num_rows: int) -> None:
    """Texts, the networks, and an experiment of them."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    draw = random.Random(0)
    words = [f"w{i}" for i in range(2000)]
    lengths = [max(1, round(draw.lognormvariate(2.89, 0.7))) for _ in range(num_rows)]
    texts = [" ".join(draw.choices(words, k=length)) for length in lengths]
    lines = [f"{i},{text}" for i, text in enumerate(texts)]
    (folder / "captions.csv").write_text("\n".join(["id,text", *lines]) + "\n")
    vocabulary = {word: i for i, word in enumerate(["<pad>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    transformers.utils.logging.disable_progress_bar()
    for depth in DEPTHS:
        torch.manual_seed(depth)
        config = transformers.LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=WIDTH,
            intermediate_size=WIDTH * 8 // 3,
            num_hidden_layers=depth,
            num_attention_heads=8,
            pad_token_id=0,
        )
        transformers.LlamaModel(config).save_pretrained(folder / f"llama-{depth}")
        fast.save_pretrained(folder / f"llama-{depth}")
    named = [
        {"name": str(folder / f"llama-{depth}"), "label": f"llama-{depth}"} for depth in DEPTHS
    ]
    experiment = {
        "name": "four",
        "dataset": {"source": str(folder), "views": {"text": {}}},
        "families": [{"name": "Llama", "modality": "language", "pool": "mean", "models": named}],
        "extract": {"rows_per_shard": ROWS_PER_SHARD},
        "align": {
            "pairs": [["language", "language"]],
            "metrics": [{"name": "mutual_knn", "k": 10}],
        },
    }
    (folder / "four.yaml").write_text(yaml.safe_dump(experiment))


def measure(folder: Path, now: float) -> None:
    """As a worker would do it, one network after the other."""
    import torch

    from platorep.config import ModelSpec, load_config
    from platorep.data import load_dataset
    from platorep.models import Reading, open_model

    samples = load_dataset(load_config(folder / "four.yaml").dataset, offline=True).views["text"]
    found: list[dict[str, Any]] = []
    ready = 0.0
    for depth in (DEPTHS[0], *DEPTHS):  # the first once more, with all that is loaded with it
        spec = ModelSpec(
            **{
                "name": str(folder / f"llama-{depth}"),
                "label": f"llama-{depth}",
                "family": "Llama",
            },
            **{"modality": "language", "backend": "transformers", "pool": "mean"},
        )
        began = time.perf_counter()
        loaded = open_model(spec, offline=True).load("cpu", torch.float32)
        opened = time.perf_counter()
        if not ready:
            ready = time.time()
            continue
        ranges = [range(begin, begin + ROWS_PER_SHARD) for begin in (0, ROWS_PER_SHARD)]
        for rows in ranges:
            loaded.features(Reading(rows, samples))
        part_s = (time.perf_counter() - opened) / len(ranges)
        found.append({"name": spec.label, "open_s": opened - began, "part_s": part_s})
    print(json.dumps({"ready": ready, "networks": found}))


def extract(folder: Path, workers: int) -> float:
    """Seconds that the networks take."""
    results = folder / f"results-{workers}"
    command = [sys.executable, "-m", "platorep", "extract", str(folder / "four.yaml"), "--offline"]
    command += ["--engine", "ray", "--output", str(results), "--quiet"]
    variables = {"PLATOREP_CORES": str(workers), "PLATOREP_CACHE": str(folder / f"cache-{workers}")}
    seconds = []
    for _ in ("all", "nothing"):
        run(command, **variables)
        seconds.append(json.loads((results / "run.json").read_text())["extract"]["seconds"])
    return float(seconds[0] - seconds[1])


def run(command: list[str], **variables: str) -> str:
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", **variables}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout


if __name__ == "__main__":
    main()
