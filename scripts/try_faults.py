"""Signals, damaged files and races against a tiny run: what is mended, refused, wrong or stuck.

    python scripts/try_faults.py [--signals 150] [--damages all] [--races 2 4 8] [--seed 0]

Signals (SIGTERM, SIGINT, SIGKILL) come at random moments over all stages; every kind of file that a
run writes is flipped, cut, emptied, deleted, swapped with another of its kind and replaced by a
folder; several processes run one command at once. After each fault the same command runs again and
its tables are compared with those of an undisturbed run. Exit code 1 if any is wrong or stuck.
`--damages 20` takes a sample. Everything takes about half an hour of two cores.
"""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e")]
variables = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
os.environ |= variables | {"PYTHONPATH": str(ROOT)}

from faults import BAD, VERDICTS, Faults, Outcome  # noqa: E402
from processes import Forks  # noqa: E402


def outcomes(faults: Faults, options: argparse.Namespace) -> Iterator[Outcome]:
    damages = faults.damages()
    if options.damages != "all":
        chosen = random.Random(options.seed).sample(range(len(damages)), int(options.damages))
        damages = [damages[i] for i in sorted(chosen)]
    for kind, damage in damages:
        yield faults.damage(kind, damage, options.seed)
    yield from faults.races(options.races)
    yield from faults.signals(options.signals, options.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--signals", type=int, default=150)
    parser.add_argument("--damages", default="all", help="how many, or all")
    parser.add_argument("--races", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    forks = Forks()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for outcome in outcomes(Faults(forks, Path(folder)), options):
                counts[outcome.kind, outcome.verdict] += 1
                print(f"{outcome.verdict:8} {outcome.what}  {outcome.said}", flush=True)
    finally:
        forks.close()
    print(f"\n{'':8}" + "".join(f"{verdict:>9}" for verdict in VERDICTS))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:8}" + "".join(f"{counts[kind, verdict]:9}" for verdict in VERDICTS))
    sys.exit(any(counts[kind, verdict] for kind, verdict in counts if verdict in BAD))


if __name__ == "__main__":
    main()
