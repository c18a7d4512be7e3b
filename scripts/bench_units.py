"""How long matching units takes once the maps are there: 4 networks, 1,280 units, 1,024 images.

Independent normal maps stand for networks: what a product costs does not depend on what is in it.

    python scripts/bench_units.py [--networks 4] [--units 1280] [--images 1024] [--permutations 5]
"""

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from platorep.units.buddies import match_units
from platorep.units.maps import Layers, every_position, read_maps, write_maps


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("networks", 4), ("units", 1280), ("images", 1024), ("permutations", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--grid", type=int, default=7)
    asked = parser.parse_args()
    positions = asked.grid**2

    def blocks(seed: int) -> Iterator[list[torch.Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, asked.images, 32):
            rows = min(32, asked.images - start) * positions
            yield [torch.randn(rows, asked.units, generator=generator)]

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        maps = []
        at = every_position(asked.images, positions)
        for i in range(asked.networks):
            path = Path(folder) / f"{i}.npy"
            write_maps(path, blocks(i), at, layers=Layers((0,), 1), by_position=True, of="bench")
            maps.append(read_maps(path, "bench"))
        print(f"{asked.networks} maps written in {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
        for x, y in itertools.combinations(maps, 2):
            match_units(x, y, permutations=asked.permutations, seed=0)
        pairs = asked.networks * (asked.networks - 1) // 2
        print(f"{pairs} pairs matched in {time.perf_counter() - started:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{torch.get_num_threads()} threads, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
