"""Time the exact search of large galleries beside faiss, scikit-learn, full rows and bare products.

    python scripts/bench_gallery.py                          # 1,024 queries, n = 200,000, d = 768
    python scripts/bench_gallery.py --n 1000000 --device cuda
    python scripts/bench_gallery.py --n 20000 --d 256        # seconds
    python scripts/bench_gallery.py --shards /tmp/shards --n 4000000 --d 256   # from the disk

In memory: every way is asked for one size and one k, the search also for all sizes and k at once.
`faiss` needs `pip install faiss-cpu`. All must find the same neighbors: where they differ, float64
says whose are nearer. From shards (float32, in a folder that is removed afterwards): a cell of the
cache is written by another process, dropped from the memory of the system where it lets us, and
searched as `align` does; beside it a plain read of the same files, and the bare products of blocks
in memory. Seconds are of the clock, and of all cores together: the latter say more on a machine
that others use.
"""

import argparse
import hashlib
import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from platorep.align.gallery import levels
from platorep.align.prepared import ModelLayers
from platorep.align.searching import LayerRows
from platorep.config import AlignConfig, GalleryConfig, PreprocessConfig
from platorep.features import Cell, CellKey, RowIdentities, cell_of
from platorep.metrics.gallery import Block, Galleries, search_galleries
from platorep.metrics.nearest import Nearest

BLOCK = 8192
QUERIES_AT_ONCE = 64  # of full rows: n similarities each
ROWS_PER_SHARD = 16_384
Wanted = list[tuple[int, int]]


class MadeUp:
    """Unit rows with a low-dimensional part in common, the same at every reading."""

    def __init__(self, n: int, d: int, seed: int, device: str) -> None:
        self.n, self.d, self.seed, self.device = n, d, seed, device
        self._mixing = self._noise(24, d, self._rng(seed))

    def _rng(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    def _noise(self, size: int, width: int, rng: torch.Generator) -> torch.Tensor:
        return torch.randn(size, width, generator=rng, device=self.device)

    def block(self, start: int) -> torch.Tensor:
        rng = self._rng(self.seed * 1_000_003 + start)
        size = min(BLOCK, self.n - start)
        low = self._noise(size, 24, rng)
        rows = self._noise(size, self.d, rng).mul_(0.7).addmm_(low, self._mixing)
        return F.normalize(rows, dim=1)

    def all(self) -> torch.Tensor:
        found = torch.empty(self.n, self.d, device=self.device)
        for start in range(0, self.n, BLOCK):
            found[start : start + BLOCK] = self.block(start)
        return found


def in_blocks(features: torch.Tensor) -> Callable[[np.ndarray | None], Iterator[Block]]:
    def blocks(rows: np.ndarray | None) -> Iterator[Block]:
        every = np.arange(len(features)) if rows is None else rows
        for start in range(0, len(every), BLOCK):
            numbers = every[start : start + BLOCK]
            if rows is None:
                yield numbers, features[start : start + BLOCK]
            else:
                yield numbers, features[torch.from_numpy(numbers).to(features.device)]

    return blocks


def full_rows(features: torch.Tensor, q: int, k: int) -> np.ndarray:
    """The obvious way: the similarities, and their largest."""
    lists = []
    for start in range(0, q, QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, q)
        similarity = features[start:stop] @ features.T
        rows = torch.arange(stop - start, device=features.device)
        similarity[rows, rows + start] = -torch.inf
        lists.append(similarity.topk(k, dim=1).indices.cpu())
    return torch.cat(lists).numpy()


def faiss_flat(features: torch.Tensor, q: int, k: int) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    host = features.cpu().numpy()
    _, found = faiss.knn(host[:q], host, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    return without_itself(found, k)


def sklearn(features: torch.Tensor, q: int, k: int) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    host = features.cpu().numpy()
    index = NearestNeighbors(algorithm="brute").fit(host)
    return without_itself(index.kneighbors(host[:q], k + 1, return_distance=False), k)


def without_itself(found: np.ndarray, k: int) -> np.ndarray:
    return np.array([row[row != i][:k] for i, row in enumerate(found)])


def bare_products(block: torch.Tensor, n: int, q: int, dtype: torch.dtype) -> None:
    """As many products as the search needs, of one block, and nothing else."""
    rows = block.to(dtype)
    found = torch.empty(q, len(rows), dtype=dtype, device=rows.device)
    for _ in range(0, n, len(rows)):
        torch.mm(rows[:q], rows.T, out=found)
    if rows.device.type == "cuda":
        torch.cuda.synchronize()


def agreement(ours: Nearest, other: np.ndarray, features: torch.Tensor) -> str:
    """How many neighbors are the same; and, in float64, whose are nearer where they are not."""
    same = nearer = apart = 0
    for query, (one, two) in enumerate(zip(ours.neighbors, other, strict=True)):
        common = len(np.intersect1d(one, two))
        same += common
        if common == len(two):
            continue
        own, their = (
            F.normalize(features[torch.from_numpy(names).long().to(features.device)].double())
            @ F.normalize(features[query].double(), dim=0)
            for names in (np.setdiff1d(one, two), np.setdiff1d(two, one))
        )
        apart += 1
        nearer += int(own.min() >= their.max())
    tied = ours.ties.num_rows if ours.ties else 0
    said = f"{same} of {other.size} are ours"
    said += f", in float64 ours are nearer in {nearer} of {apart} lists" * bool(apart)
    return said + f", {tied} lists with ties" * bool(tied)


class Timer:
    """The best of some runs, by the clock."""

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats

    def __call__(self, name: str, call: Callable[[], Any], more: str = "") -> tuple[float, Any]:
        found, best, cores = None, np.inf, np.inf
        for _ in range(self._repeats):
            found = None
            started = time.perf_counter(), time.process_time()
            found = call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started[0])
            cores = min(cores, time.process_time() - started[1])
        print(f"  {name:<46s} {best:8.2f} s  {cores:8.2f} s of cores  {more}", flush=True)
        return best, found


def in_memory(args: argparse.Namespace, timer: Timer) -> None:
    q, n, sizes = args.queries, args.n, [args.n]
    while sizes[0] // 4 >= q:
        sizes.insert(0, sizes[0] // 4)
    features = MadeUp(n, args.d, 1, args.device).all()
    for dtype in (torch.float32, torch.bfloat16):
        timer(
            f"bare products, {dtype}",
            lambda dtype=dtype: bare_products(features[:BLOCK], n, q, dtype),
        )

    def search(wanted: Wanted) -> dict[tuple[int, int], Nearest]:
        among = sorted({n for n, _ in wanted})
        galleries = Galleries(q, tuple(among), levels(n, q, among, seed=0))
        return search_galleries(
            features[:q], in_blocks(features), galleries, wanted, similarity="cosine"
        )

    ks = (1, 10, max(1, n // 100))
    every = sorted({(size, k) for size in sizes for k in (1, 10, max(1, size // 100))})
    timer(f"search, {len(sizes)} sizes and 3 k of each at once", lambda: search(every))
    others = (
        ("faiss, flat", faiss_flat),
        ("scikit-learn, brute", sklearn),
        ("full rows, topk", full_rows),
    )
    for k in ks:
        _, ours = timer(f"search, k = {k}", lambda k=k: search([(n, k)])[n, k])
        for name, way in others:
            try:
                _, theirs = timer(f"{name}, k = {k}", lambda way=way, k=k: way(features, q, k))
            except ImportError as error:
                print(f"  {name}: {error}")
            else:
                print(f"    {agreement(ours, theirs, features)}")


def write_shards(folder: Path, n: int, d: int) -> None:
    made_up = MadeUp(n, d, 1, "cpu")
    rows = RowIdentities(ids=tuple(map(str, range(n))), hashes=tuple(map(str, range(n))))
    key = CellKey(
        model={"name": "made up"},
        rows=rows.fingerprint,
        compute_dtype="float32",
        store_dtype="float32",
    )
    cell = cell_of(folder, "made up", "made up", key)
    cell.create(key, rows, [("only", d)], ROWS_PER_SHARD, {})
    (folder / "cell").write_text(str(cell.folder))
    for shard in range(cell.num_shards):
        here = cell.shard_range(shard)
        blocks = [made_up.block(start) for start in range(here.start, here.stop, BLOCK)]
        cell.write_shard(shard, [torch.cat(blocks)])


def drop(paths: list[Path]) -> None:
    """Out of the memory of the system, so that they are read from the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(paths: list[Path]) -> None:
    buffer = bytearray(1 << 24)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def from_shards(args: argparse.Namespace, timer: Timer) -> None:
    q, n = args.queries, args.n
    writer = multiprocessing.get_context("spawn").Process(
        target=write_shards, args=(args.shards, n, args.d)
    )
    writer.start()
    writer.join()
    cell = Cell(Path((args.shards / "cell").read_text()))
    paths = [cell.shard_path(shard) for shard in range(cell.num_shards)]
    gigabytes = sum(path.stat().st_size for path in paths) / 1e9
    print(f"  {len(paths)} shards, {gigabytes:.2f} GB; {peak()} before")
    read, _ = timer("plain read", lambda: (drop(paths), read_plainly(paths)))
    some = os.urandom(1 << 26)
    started = time.perf_counter()
    hashlib.sha256(some)
    hashing = (time.perf_counter() - started) / len(some) * gigabytes * 1e9
    print(f"  (the checksums of the files are {hashing:.2f} s of one core)")
    block = cell.read_shard(0)[0][:BLOCK].clone()
    bare = [
        timer(f"bare products, {dtype}", lambda dtype=dtype: bare_products(block, n, q, dtype))[0]
        for dtype in (torch.float32, torch.bfloat16)
    ]
    for k in (1, 10, max(1, n // 100)):

        def search(k: int = k) -> dict[tuple[int, int], Nearest]:
            drop(paths)
            align = AlignConfig(
                gallery=GalleryConfig(queries=q, sizes=("all",), k=(1,)),
                preprocess=PreprocessConfig(clip_quantile=1, normalize="none"),
            )
            layers = ModelLayers("made up", cell, align)
            rows = LayerRows(layers, layers.raw(0))
            among = Galleries(q, (n,), levels(n, q, [n], seed=0))
            return search_galleries(rows.queries, rows, among, [(n, k)], similarity="cosine")

        seconds, _ = timer(f"search from shards, k = {k}", search)
        print(
            f"    {peak()}; {seconds / (read + bare[0]):.2f} x reading and float32 products, "
            f"{seconds / (read + bare[1]):.2f} x reading and bfloat16 products"
        )


def peak() -> str:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gpu = ""
    if torch.cuda.is_available():
        gpu = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU"
    return f"{host:.2f} GiB at the peak{gpu}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=200_000, help="rows of the largest gallery")
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many runs counts")
    parser.add_argument("--shards", type=Path, help="search shards in this new folder, on the CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    timer = Timer(args.repeats)
    print(f"{args.queries} queries, n = {args.n}, d = {args.d}, {args.threads} threads")
    if args.shards is None:
        in_memory(args, timer)
        print(f"  {peak()}")
        return
    args.shards.mkdir(parents=True)
    try:
        from_shards(args, timer)
    finally:
        shutil.rmtree(args.shards)


if __name__ == "__main__":
    main()
