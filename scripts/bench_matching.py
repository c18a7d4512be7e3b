"""What a search for the matching takes and finds: ours beside scipy's, at one number of items.

    python scripts/bench_matching.py --items 100 --noise 0.3

CPU seconds of one subset; how far the objective is from that of the true order (above 0: better).
"""

import argparse
import time

import numpy as np
from scipy.optimize import quadratic_assignment

from platorep.bridges import matching
from platorep.bridges.items import kernel_of
from platorep.bridges.matching import match, objective


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--restarts", type=int, default=8)
    parser.add_argument("--subsets", type=int, default=5)
    told = parser.parse_args()
    ways = {"ours": matching.STAGES, "ours, nothing taken off": (0.0,), "scipy faq": None}
    for name, stages in ways.items():
        found = [one(told, seed, stages) for seed in range(told.subsets)]
        seconds, gap, right = np.mean(found, axis=0)
        print(f"{name:24} {seconds:7.3f} s  {gap:+.3f}  right {right:.3f}")


def one(told: argparse.Namespace, seed: int, stages: tuple[float, ...] | None) -> list[float]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((told.items, 16)) * np.linspace(1, 0.3, 16)
    noisy = z + told.noise * z.std() * rng.standard_normal(z.shape)
    order, shuffle = np.arange(told.items), rng.permutation(told.items)
    x, y = kernel_of(z, "linear"), kernel_of(noisy[shuffle], "linear")
    truth = np.argsort(shuffle)
    started = time.process_time()
    if stages is None:
        tries = [
            quadratic_assignment(x, y, options={"maximize": True, "P0": "randomized", "rng": rng})
            for _ in range(told.restarts)
        ]
        best = max(tries, key=lambda one: float(one.fun)).col_ind
    else:
        matching.STAGES = stages
        best = match(x, y, restarts=told.restarts, rng=rng).order
    seconds = time.process_time() - started
    assert len(order) == len(best)
    gap = objective(x, y, best) - objective(x, y, truth)
    return [seconds, gap, float((best == truth).mean())]


if __name__ == "__main__":
    main()
