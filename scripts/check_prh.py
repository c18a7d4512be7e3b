"""A finished run of the paper's experiments beside the numbers that are known of them.

    python scripts/check_prh.py results/prh-val [results/prh-metrics ...]

Each row is a number or an order that the paper (arXiv:2405.07987), later work or users of its code
report, what these results say, and whether it holds. What a run did not score is left out.
Exit code 1 if something does not hold, 2 if the folders have nothing to compare.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from platorep.results import Results

PAPER, GALLERY, USERS = "arXiv:2405.07987", "arXiv:2604.18572", "users of the released code"

DATASET = "wit_1024"
K_10, K_1 = "mutual_knn{k: 10}", "mutual_knn{k: 1}"
DINOV2, TINY = "vit_base_patch14_dinov2.lvd142m", "vit_tiny_patch16_224.augreg_in21k"
PAIRS = [
    # x, y, metric, score, allowed difference, source
    ("open_llama_3b", DINOV2, K_10, 0.135, 0.005, GALLERY),
    ("open_llama_3b", DINOV2, K_1, 0.058, 0.005, GALLERY),
    ("llama-30b", TINY, K_10, 1302 / 10240, 0.003, USERS),
]
MEANS = [
    # over 170 model pairs, it is not said which ten language models: so with room
    (K_10, 0.12, 0.02),
    ("mutual_knn{k: 100}", 0.26, 0.04),
    ("mutual_knn{k: 200}", 0.35, 0.05),
    ("mutual_knn{k: 500}", 0.57, 0.05),
    ("cka{kernel: linear, estimator: biased}", 0.39, 0.06),
    ("cka{kernel: linear, estimator: debiased}", 0.31, 0.06),
]
LARGEST = (K_10, 0.16, 0.015)
ORDER = ("CLIP", "DINOv2", "ImageNet-21k", "MAE")
FINE_TUNED = ("CLIP", "CLIP fine-tuned (ImageNet-12k)")
Row = tuple[str, str, str, str, bool]


def read_pairs(folders: Sequence[Path]) -> pd.DataFrame:
    """The best scores on WIT of all trained language-vision pairs; the first of two folders counts.

    Added: `x_size` and `y_size`, parameters.
    """
    found = []
    for folder in folders:
        results = Results(folder)
        best = results.read_table(results.best, "align")
        models = results.read_table(results.models, "extract").set_index("label")
        for side in "xy":
            best[f"{side}_size"] = best[side].map(models["num_parameters"])
        found.append(best)
    best = pd.concat(found, ignore_index=True)
    random = best["x_random"].astype(bool) | best["y_random"].astype(bool)
    sides = (best["x_modality"] == "language") & (best["y_modality"] == "vision")
    kept = best[sides & ~random & (best["control"] == "") & best["score"].notna()]
    kept = kept[kept["dataset"].str.contains(DATASET)]
    return kept.drop_duplicates(["x", "y", "metric"])


def compare(best: pd.DataFrame) -> Iterator[Row]:
    """What, found, expected, source, whether it holds."""

    def near(what: str, value: float, expected: float, room: float, source: str) -> Row:
        wanted = f"{expected:.4g} +- {room:g}"
        return what, f"{value:.4f}", wanted, source, abs(value - expected) <= room

    of_metric = {str(metric): rows for metric, rows in best.groupby("metric")}
    metric, expected, room = LARGEST
    if metric in of_metric:
        top = of_metric[metric].sort_values("score").iloc[-1]
        what = f"largest {metric} ({top['x']} x {top['y']})"
        yield near(what, float(top["score"]), expected, room, f"{PAPER}, figure 3")
    for x, y, metric, expected, room, source in PAIRS:
        rows = best[(best["x"] == x) & (best["y"] == y) & (best["metric"] == metric)]
        for score in rows["score"]:
            yield near(f"{metric} of {x} x {y}", float(score), expected, room, source)
    for metric, expected, room in MEANS:
        if metric in of_metric:
            rows = of_metric[metric]
            what = f"mean {metric} of {len(rows)} pairs"
            yield near(what, float(rows["score"].mean()), expected, room, USERS)
    if LARGEST[0] in of_metric:
        yield from orders(of_metric[LARGEST[0]])


def orders(rows: pd.DataFrame) -> Iterator[Row]:
    """Vision families from most to least aligned, and language families that rise with size."""
    means = rows.groupby("y_family")["score"].mean()
    for families in (ORDER, FINE_TUNED):
        for more, less in itertools.pairwise(families):
            if {more, less} <= set(means.index):
                found = f"{means[more]:.4f}, {means[less]:.4f}"
                yield f"{more} above {less}", found, "falling", PAPER, means[more] > means[less]
    for family, own in rows.groupby("x_family", sort=False):
        by_size = own.groupby("x").agg({"score": "mean", "x_size": "first"}).sort_values("x_size")
        if len(by_size) > 1:
            found = ", ".join(f"{score:.4f}" for score in by_size["score"])
            yield (
                f"{family}: rises with size",
                found,
                "rising",
                PAPER,
                by_size["score"].is_monotonic_increasing,
            )


def main(folders: Sequence[str]) -> int:
    if not folders:
        print(__doc__)
        return 2
    rows = list(compare(read_pairs([Path(folder) for folder in folders])))
    if not rows:
        print(
            "nothing to compare: no language-vision pair was scored on wit_1024.", file=sys.stderr
        )
        return 2
    table = pd.DataFrame(rows, columns=["what", "found", "expected", "source", "holds"])
    table["holds"] = table["holds"].map({True: "yes", False: "NO"})
    for name in ("what", "found", "expected", "source"):
        table[name] = table[name].str.ljust(max(len(name), int(table[name].str.len().max())))
    print(table.to_string(index=False, justify="left"))
    return int((table["holds"] == "NO").any())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
