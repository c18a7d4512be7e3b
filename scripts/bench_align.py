"""Time the alignment of whole grids of layers against the plain pair-by-pair way.

    python scripts/bench_align.py pair                 # 12 x 24 layers, n=1024: small
    python scripts/bench_align.py grid                 # the paper's shape: 454 x 352 layers
    python scripts/bench_align.py grid --layers 0.1    # a tenth of the layers of every model
    python scripts/bench_align.py grid --metric mutual_knn --spectra measured isotropic
    python scripts/bench_align.py layer --n 100000     # neighbors of one large layer, all pairs
    python scripts/bench_align.py pair --device cuda

Features are made up on the fly, with the spectrum of real ones, or nearly isotropic, which is the
worst case for neighbors from products in few digits: many independent numbers make all cosines
nearly equal. The plain way computes neighbors or kernels of both layers anew
for every layer pair, in torch on the same device, which is what the released code of the paper
does; it is timed on a sample of pairs and multiplied.
"""

import argparse
import itertools
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from platorep.metrics import BoundMetric, Summary, bind, summarize_layer
from platorep.metrics.nearest import Search
from platorep.metrics.pairs import PairScores
from platorep.statistics import Permutations, null_maxima

# (layers, width): hidden states of the language models, blocks of the vision models of the paper
LANGUAGE = [
    *[(25, 1024), (25, 1536), (25, 2048), (31, 2560), (31, 4096)],  # BLOOMZ
    *[(27, 3200), (33, 4096), (41, 5120)],  # OpenLLaMA
    *[(33, 4096), (41, 5120), (61, 6656), (81, 8192)],  # LLaMA
]
VISION = [
    *[(12, 192), (12, 384), (12, 768), (24, 1024)],  # augreg
    *[(12, 768), (24, 1024), (32, 1280)],  # MAE
    *[(12, 384), (12, 768), (24, 1024), (40, 1536)],  # DINOv2
    *[(12, 768), (24, 1024), (32, 1280)] * 2,  # CLIP, CLIP fine-tuned
]
ROWS_OF_COMPONENTS = 1024
STRIP_ROWS = 1024
EXPONENTS = {"language": 1.2, "vision": 0.95}
"""Variances of principal components fall as i^-exponent. Fitted to components 4 to 300 of 1,024
photographs and their captions as metrics see them by default (clipped, unit rows, centred), layers
of SmolLM2-135M 1.0 to 1.3, Gemma 3 270M 1.1 to 1.3 (one 1.9), MiniLM 1.0 to 1.3; last ones of
EfficientNet-Lite2 and MobileNetV2 0.95 and 0.78 (their first, with few units, up to 3.5)."""
SPECTRA = ["measured", "uncentred", "isotropic"]
MEANS = {"language": 0.75, "vision": 0.3}
"""Share of the mean in the squared length of unit rows where nothing is centred (`preprocess:
paper`): 0.45 to 0.94 in the language models, 0.08 to 0.83 in the vision models."""
METRICS = [
    ("mutual_knn", {"k": 10}),
    ("cka", {"estimator": "biased"}),
    ("cka", {"estimator": "debiased"}),
]
Shape = list[tuple[int, int]]


def make_layers(
    shape: Shape, args: argparse.Namespace, side: str, spectrum: str = "isotropic"
) -> Iterator[torch.Tensor]:
    """Features, layer by layer."""
    rng = torch.Generator(args.device).manual_seed(1 if side == "language" else 2)
    make = near_isotropic if spectrum == "isotropic" else as_measured
    for layers, width in shape:
        for _ in range(layers):
            yield make(args.n, width, rng, side, spectrum)


def near_isotropic(
    n: int, width: int, rng: torch.Generator, side: str, spectrum: str
) -> torch.Tensor:
    """Noise around a mean, with a little in common between all."""
    device = rng.device
    common = torch.randn(n, 32, generator=torch.Generator(device).manual_seed(0), device=device)
    features = torch.randn(n, width, generator=rng, device=device)
    mixing = torch.randn(32, width, generator=rng, device=device)
    return features.add_(1.0).addmm_(common, mixing, alpha=0.05)


def as_measured(n: int, width: int, rng: torch.Generator, side: str, spectrum: str) -> torch.Tensor:
    """Unit rows with components that fall as those of networks; their mean taken away or not."""
    device, rank = rng.device, min(ROWS_OF_COMPONENTS, width)
    sizes = torch.arange(1, rank + 1, device=device) ** (-EXPONENTS[side] / 2)
    parts = torch.randn(n, rank, generator=rng, device=device) * sizes
    rows = parts @ (torch.randn(rank, width, generator=rng, device=device) / width**0.5)
    if spectrum == "uncentred":
        mean = torch.randn(width, generator=rng, device=device) / width**0.5
        share = MEANS[side]
        rows += mean * float(sizes.square().sum() * share / (1 - share)) ** 0.5
        return torch.nn.functional.normalize(rows)
    rows = torch.nn.functional.normalize(rows)
    return rows - rows.mean(dim=0)


@contextmanager
def pairs_compared() -> Iterator[list[int]]:
    """How many pairs are compared again, in float32 and in float64."""
    scores, exact, counts = PairScores.scores, Search.exact, [0, 0]

    def counted_scores(self: PairScores, block: slice, row: Tensor, column: Tensor) -> Tensor:
        counts[0] += len(row)
        return scores(self, block, row, column)

    def counted_exact(self: Search, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        counts[1] += len(rows)
        return exact(self, rows, columns)

    PairScores.scores, Search.exact = counted_scores, counted_exact  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        PairScores.scores, Search.exact = scores, exact  # type: ignore[method-assign]


clock = time.perf_counter


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def plain_mutual_knn(x: torch.Tensor, y: torch.Tensor, k: int = 10) -> float:
    """Neighbors of both layers anew by sorting whole rows, their overlap through n n tables."""
    marked = []
    for features in (x, y):
        unit = torch.nn.functional.normalize(features)
        similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
        table = torch.zeros_like(similarity)
        marked.append(table.scatter_(1, similarity.argsort(dim=1, descending=True)[:, :k], 1.0))
    return float((marked[0] * marked[1]).sum(dim=1).mean() / k)


def plain_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    n = len(x)
    centring = torch.eye(n, device=x.device) - 1 / n
    kernels = [centring @ (features @ features.T) @ centring for features in (x, y)]
    sizes = [float((kernel * kernel).sum()) for kernel in kernels]
    return float((kernels[0] * kernels[1]).sum()) / (sizes[0] * sizes[1]) ** 0.5


def plain_debiased_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    def hsic(a: torch.Tensor, b: torch.Tensor) -> float:
        n = len(a)
        a, b = a.clone().fill_diagonal_(0), b.clone().fill_diagonal_(0)
        trace = float((a * b.T).sum()) + float(a.sum() * b.sum()) / ((n - 1) * (n - 2))
        return (trace - 2 * float((a @ b).sum()) / (n - 2)) / (n * (n - 3))

    one, other = (features @ features.T for features in (x, y))
    return hsic(one, other) / (hsic(one, one) * hsic(other, other)) ** 0.5


PLAIN: list[Callable[..., float]] = [plain_mutual_knn, plain_cka, plain_debiased_cka]


def row(name: str, seconds: float, more: str = "") -> None:
    print(f"  {name:<44s} {seconds:9.2f} s   {more}", flush=True)


def peak_gib(device: str) -> str:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB GPU, {host:.2f} GiB host"
    return f"{host:.2f} GiB"


def summarize(
    metric: BoundMetric, shape: Shape, args: argparse.Namespace, side: str, spectrum: str
) -> tuple[list[Summary], float, float]:
    """Summaries of all layers, the seconds that took, and those of the bare products x @ x.T.

    Both are timed layer by layer, one after the other, so that a busy machine slows both alike.
    Making the features is not counted.
    """
    found, bare, seconds = [], 0.0, 0.0
    for features in make_layers(shape, args, side, spectrum):
        wait(args.device)
        start = clock()
        features @ features.T
        wait(args.device)
        between = clock()
        found += summarize_layer([metric], features)
        wait(args.device)
        bare += between - start
        seconds += clock() - between
    return found, seconds, bare


def time_plain(
    function: Callable[..., float], x: Shape, y: Shape, args: argparse.Namespace
) -> float:
    """Seconds per layer pair, over pairs spread evenly over the grid."""

    def spread(shape: Shape) -> Shape:
        layers = [(1, width) for count, width in shape for _ in range(count)]
        places = np.linspace(0, len(layers) - 1, args.sample).round().astype(int)
        return [layers[place] for place in places]

    rng = np.random.default_rng(0)
    widths = spread(y)
    rng.shuffle(widths)
    pairs = zip(
        make_layers(spread(x), args, "language"),
        make_layers([tuple(w) for w in widths], args, "vision"),
        strict=True,
    )
    seconds = []
    for one, other in pairs:
        wait(args.device)
        start = clock()
        function(one, other)
        wait(args.device)
        seconds.append(clock() - start)
    return float(np.mean(seconds[1:]))  # the first warms up


def split(summaries: list[Summary], shape: Shape) -> list[list[Summary]]:
    """Summaries model by model."""
    ends = np.cumsum([0, *(layers for layers, _ in shape)])
    return [summaries[a:b] for a, b in itertools.pairwise(ends)]


def compare_ways(x: Shape, y: Shape, args: argparse.Namespace) -> None:
    num_x, num_y = (sum(layers for layers, _ in shape) for shape in (x, y))
    print(f"{num_x} x {num_y} layers, n = {args.n}, {args.device}, {args.threads} threads")
    for (name, parameters), plain in zip(METRICS, PLAIN, strict=True):
        if args.metric not in ("all", name):
            continue
        metric = bind(name, parameters)
        for spectrum in args.spectra if name == "mutual_knn" else args.spectra[-1:]:
            compare_way(metric, plain, (x, y), args, spectrum)


def compare_way(
    metric: BoundMetric,
    plain: Callable[..., float],
    shapes: tuple[Shape, Shape],
    args: argparse.Namespace,
    spectrum: str,
) -> None:
    (x, y), name = shapes, metric.name
    num_x, num_y = (sum(layers for layers, _ in shape) for shape in shapes)
    print(f"{metric.label}, spectrum: {spectrum}")
    with pairs_compared() as again:
        first, seconds_x, bare_x = summarize(metric, x, args, "language", spectrum)
        second, seconds_y, bare_y = summarize(metric, y, args, "vision", spectrum)
    bare = bare_x + bare_y
    wait(args.device)
    start = clock()
    scores = metric.compare(first, second)
    wait(args.device)
    compared = clock() - start
    summarized = seconds_x + seconds_y
    total = summarized + compared
    row(f"bare products x @ x.T of all {num_x + num_y} layers", bare)
    row("summarize all layers", summarized, f"{summarized / bare:.2f} x the bare products")
    if any(again):
        rows = (num_x + num_y) * args.n
        in32, in64 = (count / rows for count in again)
        share = f"{in32 / (args.n - 1):.2%} of all pairs"
        print(f"  compared again: {in32:.1f} per row in float32 ({share}), {in64:.2f} in float64")
    row(f"compare all {num_x * num_y:,} layer pairs", compared, f"max {scores.max():.4f}")
    row("together", total, f"{total / bare:.2f} x the bare products")
    each = time_plain(plain, x, y, args) if args.sample else 0.0
    if args.sample:
        ratio = each * num_x * num_y / total
        row("plain, pair by pair (from a sample)", each * num_x * num_y, f"{ratio:.0f} x as long")
    count = args.permutations if name == "mutual_knn" else args.kernel_permutations
    if count:
        pairs = list(itertools.product(range(len(x)), range(len(y))))
        groups = split(first, x), split(second, y)
        start = clock()
        null_maxima(metric, *groups, Permutations(count), pairs=pairs)
        nulled = clock() - start
        row(f"null of the maximum, {count} permutations", nulled)
        if args.sample:
            ratio = each * num_x * num_y * (count + 1) / (total + nulled)
            row("plain, with the null", each * num_x * num_y * (count + 1), f"{ratio:.0f} x")
    row("peak memory so far", 0.0, peak_gib(args.device))


def all_pairs(args: argparse.Namespace) -> None:
    """The nearest neighbors of all rows of one layer, beside the bare products of all pairs.

    Of the bare products every eighth strip of rows is timed, and the sum multiplied.
    """
    metric = bind("mutual_knn", {"k": 10})
    for spectrum in args.spectra:
        (features,) = make_layers([(1, args.width)], args, "vision", spectrum)
        print(f"n = {args.n}, d = {args.width}, {args.threads} threads, spectrum: {spectrum}")
        bare = {}
        for dtype in (torch.float32, torch.bfloat16):
            rows, seconds = features.to(dtype), 0.0
            strips = range(0, args.n, 8 * STRIP_ROWS)
            for first in strips:
                start = clock()
                rows[first : first + STRIP_ROWS] @ rows.T
                wait(args.device)
                seconds += clock() - start
            bare[dtype] = seconds * args.n / sum(min(STRIP_ROWS, args.n - s) for s in strips)
            row(f"bare products of all pairs, {dtype}", bare[dtype])
        start = clock()
        summarize_layer([metric], features)
        wait(args.device)
        seconds = clock() - start
        speeds = (f"{bare[dtype] / seconds:.2f} x the speed in {dtype}" for dtype in bare)
        row("neighbors of all rows, k = 10", seconds, ", ".join(speeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=["pair", "grid", "layer"])
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--width", type=int, default=768, help="of the one layer")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=float, default=1.0, help="share of each model's layers")
    parser.add_argument("--metric", default="all", help="mutual_knn, cka or all")
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--kernel-permutations", type=int, default=0)
    parser.add_argument("--sample", type=int, default=25, help="plain pairs to time; 0: none")
    parser.add_argument(
        "--spectra",
        nargs="+",
        choices=SPECTRA,
        default=["measured", "isotropic"],
        help="of the features of mutual_knn; of others the last",
    )
    parser.add_argument(
        "--processor-time", action="store_true", help="of all threads, for a busy machine"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.processor_time:
        global clock
        clock = time.process_time
    if args.mode == "layer":
        all_pairs(args)
        return
    if args.mode == "pair":
        compare_ways([(12, 768)], [(24, 1024)], args)
        return
    x, y = (
        [(max(1, round(layers * args.layers)), width) for layers, width in shape]
        for shape in (LANGUAGE, VISION)
    )
    compare_ways(x, y, args)


if __name__ == "__main__":
    main()
