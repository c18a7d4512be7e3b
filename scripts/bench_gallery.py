"""Time the exact search of large galleries against the plain way.

    python scripts/bench_gallery.py                          # 1,024 queries, n to 200,000, d = 768
    python scripts/bench_gallery.py --n 1000000 --device cuda
    python scripts/bench_gallery.py --n 20000 --d 256        # seconds

Features are made up block by block, on the fly and again for each way, so that n is bounded by the
ways' own memory. The plain way computes full rows of similarities and calls torch.topk, anew for
each size and k; scikit-learn's NearestNeighbors (brute force) is asked for the largest k of each
size where its features fit. All three must find the same neighbors.
"""

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional as F

from platorep.align.gallery import levels
from platorep.metrics.gallery import Block, Galleries, search_galleries
from platorep.metrics.nearest import Nearest

BLOCK = 8192
QUERIES_AT_ONCE = 64  # of the plain way: n rows of similarities each
MOST_SKLEARN_BYTES = 4 << 30
Wanted = list[tuple[int, int]]


class MadeUp:
    """Unit rows with a low-dimensional part in common, the same at every reading.

    They are made where the search is: on a GPU no time goes into sending them there.
    """

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

    def __call__(self, rows: np.ndarray | None) -> Iterator[Block]:
        for start in range(0, self.n, BLOCK):
            numbers = np.arange(start, min(start + BLOCK, self.n))
            if rows is not None:
                numbers = rows[(rows >= start) & (rows < start + BLOCK)]
            if len(numbers):
                chosen = torch.from_numpy(numbers - start).to(self.device)
                yield numbers, self.block(start)[chosen]

    def all(self) -> torch.Tensor:
        return torch.cat([self.block(start) for start in range(0, self.n, BLOCK)])


def plain(
    features: torch.Tensor, level: np.ndarray, sizes: tuple[int, ...], wanted: Wanted, q: int
) -> dict[tuple[int, int], np.ndarray]:
    """The obvious way: for each size and k the similarities, and their largest."""
    found = {}
    for n, k in wanted:
        members = torch.from_numpy(np.flatnonzero(level <= sizes.index(n))).to(features.device)
        candidates = features[members]
        lists = []
        for start in range(0, q, QUERIES_AT_ONCE):
            stop = min(start + QUERIES_AT_ONCE, q)
            similarity = features[start:stop] @ candidates.T
            rows = torch.arange(stop - start, device=features.device)
            similarity[rows, rows + start] = -torch.inf  # the queries are the first members
            lists.append(members[similarity.topk(k, dim=1).indices].cpu())
        found[n, k] = torch.cat(lists).numpy()
    return found


def sklearn(
    features: np.ndarray, level: np.ndarray, sizes: tuple[int, ...], wanted: Wanted, q: int
) -> dict[tuple[int, int], np.ndarray]:
    found = {}
    for n in sizes:
        members = np.flatnonzero(level <= sizes.index(n))
        k = max(k for size, k in wanted if size == n)
        index = NearestNeighbors(algorithm="brute").fit(features[members])
        places = index.kneighbors(features[:q], n_neighbors=k + 1, return_distance=False)
        found[n, k] = np.array(
            [members[row][members[row] != i][:k] for i, row in enumerate(places)]
        )
    return found


def agreement(
    ours: dict[tuple[int, int], Nearest],
    other: dict[tuple[int, int], np.ndarray],
    features: torch.Tensor,
) -> str:
    """How many neighbors are the same; and, in float64, whose are nearer where they are not."""
    places = same = nearer = apart = 0
    for key, lists in other.items():
        for query, (one, two) in enumerate(zip(ours[key].neighbors, lists, strict=True)):
            common = len(np.intersect1d(one, two))
            same, places = same + common, places + len(two)
            if common == len(two):
                continue
            own, their = (
                F.normalize(features[torch.from_numpy(names).long().to(features.device)].double())
                @ F.normalize(features[query].double(), dim=0)
                for names in (np.setdiff1d(one, two), np.setdiff1d(two, one))
            )
            apart += 1
            nearer += int(own.min() >= their.max())
    said = f"{same} of {places} neighbors are the same"
    return said + f"; in float64 ours are nearer in {nearer} of {apart} lists" * bool(apart)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak(device: str) -> str:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gpu = f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB GPU, " if device == "cuda" else ""
    return f"{gpu}{host:.2f} GiB host"


def row(name: str, seconds: float, more: str) -> None:
    print(f"  {name:<52s} {seconds:9.2f} s   {more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=200_000, help="rows of the largest gallery")
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", action="store_true", help="do not time the plain ways")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    q, sizes = args.queries, [args.n]
    while sizes[0] // 4 >= args.queries:
        sizes.insert(0, sizes[0] // 4)
    wanted = sorted({(n, k) for n in sizes for k in (1, 10, max(1, n // 100))})
    level = levels(args.n, q, sizes, seed=0)
    galleries = Galleries(q, tuple(sizes), level)
    made_up = MadeUp(args.n, args.d, 1, args.device)
    print(f"{q} queries, n = {sizes}, k = 1, 10 and n/100, d = {args.d}, {args.device}, "
          f"{args.threads} threads")  # fmt: skip

    started = time.perf_counter()
    for start in range(0, args.n, BLOCK):
        made_up.block(start)
    wait(args.device)
    making = time.perf_counter() - started
    row("making the features once", making, "")
    before = peak(args.device)
    started = time.perf_counter()
    queries = made_up.block(0)[:q]
    ours = search_galleries(queries, made_up, galleries, wanted, similarity="cosine")
    wait(args.device)
    seconds = time.perf_counter() - started
    row(
        "search_galleries, reading and making included", seconds, f"{peak(args.device)} at the peak"
    )
    print(f"  (before it: {before})")
    if args.only:
        return
    features = made_up.all()
    wait(args.device)
    started = time.perf_counter()
    other = plain(features, level, galleries.sizes, wanted, q)
    wait(args.device)
    plainly = time.perf_counter() - started
    row(
        "full rows and torch.topk, features in memory",
        plainly,
        f"{plainly / seconds:.1f} x as long",
    )
    print(f"  {agreement(ours, other, features)}, {peak(args.device)}")
    if features.nbytes <= MOST_SKLEARN_BYTES:
        host = features.cpu().numpy()
        started = time.perf_counter()
        theirs = sklearn(host, level, galleries.sizes, wanted, q)
        plainly = time.perf_counter() - started
        row("scikit-learn, largest k of each n", plainly, f"{plainly / seconds:.1f} x as long")
        print(f"  {agreement(ours, theirs, features)}, {peak(args.device)}")


if __name__ == "__main__":
    main()
