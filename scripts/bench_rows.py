"""Time what a dataset of ten million rows takes before any network sees it.

    python scripts/bench_rows.py                  # 10,000,000 rows: minutes, and 8 GB of disk
    python scripts/bench_rows.py --n 100000       # seconds

Made-up rows (an id and a caption each) are written as one parquet file into a temporary folder,
which is removed at the end. Each step is a process of its own, so that its peak of memory is its
own; it counts the pages of mapped files that were touched. `bytes` are those that a plain read of
the source has, so that megabytes per second can be compared. Perceptual hashes are made up too:
half are an earlier one with up to two bits turned.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BLOCK = 1 << 16
WORDS = 4096
Times = dict[str, tuple[float, float]]
"""Of the clock, and of the processor."""


@contextmanager
def timed(times: Times, what: str) -> Iterator[None]:
    started = time.perf_counter(), time.process_time()
    yield
    times[what] = time.perf_counter() - started[0], time.process_time() - started[1]


def captions(n: int, seed: int = 0) -> Iterator[tuple[list[str], list[str]]]:
    """Ids and captions of ten words, block by block; all captions differ."""
    rng = np.random.default_rng(seed)
    words = [hashlib.sha256(str(i).encode()).hexdigest()[: 2 + i % 9] for i in range(WORDS)]
    for start in range(0, n, BLOCK):
        rows = range(start, min(start + BLOCK, n))
        drawn = rng.integers(WORDS, size=(len(rows), 9)).tolist()
        texts = [
            " ".join([*(words[w] for w in row), str(i)]) for i, row in zip(rows, drawn, strict=True)
        ]
        yield [f"row-{i:09d}" for i in rows], texts


def write_source(path: Path, n: int) -> Times:
    schema = pa.schema({"id": pa.string(), "caption": pa.string()})
    with pq.ParquetWriter(path, schema) as file:
        for ids, texts in captions(n):
            file.write_table(pa.table([ids, texts], schema))
    return {}


def read_plainly(path: Path, n: int) -> Times:
    times: Times = {}
    with timed(times, "plain read of the file"), path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    with timed(times, "  decode its parquet"), pq.ParquetFile(path) as table:
        assert sum(len(batch) for batch in table.iter_batches(BLOCK)) == n
    with timed(times, "  and SHA-256 of every caption"), pq.ParquetFile(path) as table:
        for batch in table.iter_batches(BLOCK):
            for text in batch.column("caption").to_pylist():
                hashlib.sha256(text.encode()).hexdigest()
    return times


def load(path: Path) -> Any:
    from platorep.config import DatasetConfig
    from platorep.data import load_dataset

    config = {"source": str(path), "id": "id", "views": {"text": {"column": "caption"}}}
    return load_dataset(DatasetConfig.model_validate(config), offline=True)


def first_pass(path: Path, n: int) -> Times:
    times: Times = {}
    with timed(times, "first pass: load_dataset"):
        assert len(load(path)) == n
    return times


def open_again(path: Path, n: int) -> Times:
    times: Times = {}
    with timed(times, "open again, with all imports"):
        dataset = load(path)
    with timed(times, "  fingerprint, and one row"):
        assert len(dataset.fingerprint) == 64
        assert dataset.views["text"][n - 1].endswith(str(n - 1))
    return times


def rows_of_results(path: Path, n: int) -> Times:
    """Written by the first `extract`; left by the second."""
    from platorep.experiment_rows import record_rows
    from platorep.results import Results

    times: Times = {}
    dataset, results = load(path), Results(path.parent / "results", "x")
    rows = {name: dataset.rows_of(name) for name in ("", *dataset.hashes)}
    for what in ("write rows.parquet of results", "  find it written"):
        with timed(times, what):
            record_rows(results, rows, dataset.fingerprint)
    return times


def compare(path: Path, n: int) -> Times:
    """A cell with the experiment's rows, and one in which the last row is another."""
    from platorep.align.models import refuse_other_rows
    from platorep.errors import IntegrityError
    from platorep.experiment_rows import open_rows
    from platorep.features import Cell, CellKey, RowIdentities, cell_of
    from platorep.results import Results

    times: Times = {}
    dataset, results = load(path), Results(path.parent / "results", "x")
    own = dataset.rows_of("text_sha256")
    changed = [*own.hashes[: n - 1].arrow.chunks, pa.array(["f" * 64])]
    other = RowIdentities(ids=own.ids, hashes=type(own.ids)(pa.chunked_array(changed)))

    def cell(rows: RowIdentities) -> Cell:
        precision = {"compute_dtype": "float32", "store_dtype": "float32"}
        key = CellKey(model={}, rows=rows.fingerprint, **precision)
        found = cell_of(path.parent, "data", "model", key)
        found.create(key, rows, [("only", 8)], BLOCK, {})
        return Cell(found.folder)

    with timed(times, "describe a cell, with its rows"):
        same = cell(own)
    different = cell(other)
    with timed(times, "compare a cell and the experiment"):
        refuse_other_rows("x", "text_sha256", same, open_rows(results))
        same.check_rows()
    with timed(times, "  and name the one row that differs"), suppress(IntegrityError):
        refuse_other_rows("x", "text_sha256", Cell(different.folder), open_rows(results))
        raise AssertionError("the last row is another")
    return times


def near_copies(path: Path, n: int) -> Times:
    from platorep.data.near import NearHashes, Newcomers

    rng, times = np.random.default_rng(0), Times()
    hashes = rng.integers(0, 1 << 64, n, dtype=np.uint64)
    copies = rng.choice(n, n // 2, replace=False)
    hashes[copies] = hashes[(copies * rng.random(len(copies))).astype(np.int64)]
    for _ in range(2):
        hashes[copies] ^= np.uint64(1) << rng.integers(64, size=len(copies), dtype=np.uint64)
    index = NearHashes(2)
    with timed(times, "near copies among so many hashes"):
        for start in range(0, n, BLOCK):
            block = Newcomers(index, hashes[start : start + BLOCK])
            for place in range(min(BLOCK, n - start)):
                if block.first_near(place) is None:
                    block.keep(place)
            block.finish()
    print(f"{len(index):,} of {n:,} hashes are near no earlier one", file=sys.stderr)
    return times


STEPS: dict[str, Callable[[Path, int], Times]] = {
    step.__name__: step
    for step in (
        *(write_source, read_plainly, first_pass, open_again),
        *(rows_of_results, compare, near_copies),
    )
}


def run_step(step: str, path: Path, n: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--n", str(n), "--step", step, "--source", str(path)]
    environment = os.environ | {"PLATOREP_CACHE": str(path.parent / "cache")}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=10_000_000)
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--folder", type=Path, help="for the temporary folder")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step is not None:
        times = STEPS[arguments.step](arguments.source, arguments.n)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"times": times, "peak_mib": peak}))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "source.parquet"
        print(
            f"{arguments.n:,} rows\n\n"
            "| step | s | CPU s | MB/s of the source | peak MiB |\n|---|---|---|---|---|",
        )
        for step in dict.fromkeys(["write_source", *arguments.steps]):
            found = run_step(step, path, arguments.n)
            size = path.stat().st_size / 1e6
            for what, (seconds, cpu) in found["times"].items():
                rate = "" if step in ("compare", "near_copies") else f"{size / seconds:,.0f}"
                print(
                    f"| {what} | {seconds:.2f} | {cpu:.2f} | {rate} | {found['peak_mib']:.0f} |",
                    flush=True,
                )
        kept = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
        print(f"\nsource {size:,.0f} MB; with cache and results {kept:,.0f} MB")


if __name__ == "__main__":
    main()
