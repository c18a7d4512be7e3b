"""What `platorep bridge map` writes down of one search, and of all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from platorep.bridges.maps import Fit, fit_maps
from platorep.bridges.retrieval import (
    Ranks,
    chance_rank,
    chance_recall,
    csls,
    median_interval,
    rank,
    share_interval,
)
from platorep.statistics import calibrate, spearman

FIRST = (1, 5, 10)
"""Among so many the right item is to be."""
OF_PAIR = [
    *("x", "y", "x_family", "y_family", "kind", "metric", "layer_x", "layer_y"),
    *("score_chosen", "score", "score_chance", "n_fit", "n_items"),
]
COLUMNS = [
    *(*OF_PAIR, "map", "direction", "similarity", "penalty"),
    *(
        f"{name}_{k}{end}"
        for k in FIRST
        for name, end in (
            *(("recall", ""), ("recall", "_low"), ("recall", "_high")),
            *(("chance", ""), ("threshold", ""), ("p", ""), ("unpaired", "")),
        )
    ),
    *("median_rank", "median_rank_low", "median_rank_high", "chance_rank", "unpaired_rank"),
]
TRAINED = "pairs"
"""The kind of a pair of two trained models."""


@dataclass(frozen=True)
class Search:
    """One way to search."""

    map: str
    direction: str
    similarity: str

    def about(self, fit: Fit) -> dict[str, Any]:
        """Its columns; the penalty is that of the side that is mapped."""
        forth = self.direction == "x_to_y"
        penalty = None
        if self.map != "procrustes":
            penalty = fit.penalty_x if forth else fit.penalty_y
        return {
            "map": self.map,
            "direction": self.direction,
            "similarity": self.similarity,
            "penalty": penalty,
        }


def rank_all(
    fit: Fit, maps: Sequence[str], right: Int64[np.ndarray, "o m"] | None = None
) -> dict[Search, Ranks]:
    """Where the right items stand, however they are searched.

    Args:
        right: The right item of each query, in one or more orders; itself where absent.
    """
    found: dict[Search, Ranks] = {}
    for name, of_map in fit_maps(fit, maps).items():
        for direction in ("x_to_y", "y_to_x"):
            cosine = getattr(of_map, direction)
            itself = np.arange(len(cosine))[None] if right is None else right
            for similarity, values in (("cosine", cosine), ("csls", csls(cosine))):
                found[Search(name, direction, similarity)] = rank(values, itself)
    return found


def numbers(ranks: Ranks, unpaired: Sequence[Ranks]) -> dict[str, float]:
    """What was found, beside what would be found by chance.

    Args:
        ranks: In the order of the pairs, then in random orders.
        unpaired: Of maps that were fitted to random pairs.
    """
    num = ranks.above.shape[1]
    found: dict[str, float] = {}
    for k in FIRST:
        recall = ranks.recall(k)
        low, high = share_interval(float(recall[0]), num)
        null = calibrate(float(recall[0]), recall[1:])
        found |= {
            f"recall_{k}": float(recall[0]),
            f"recall_{k}_low": low,
            f"recall_{k}_high": high,
            f"chance_{k}": chance_recall(num, k),
            f"threshold_{k}": null.threshold,
            f"p_{k}": null.p,
            f"unpaired_{k}": float(np.mean([of.recall(k)[0] for of in unpaired])),
        }
    expected = ranks.expected()[0]
    low, high = median_interval(expected)
    return found | {
        "median_rank": float(np.median(expected)),
        "median_rank_low": low,
        "median_rank_high": high,
        "chance_rank": chance_rank(num),
        "unpaired_rank": float(np.mean([np.median(of.expected()[0]) for of in unpaired])),
    }


def map_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per pair, map, direction and similarity."""
    numbers = dict.fromkeys(("score_chosen", "score", "score_chance", "penalty"), "float64")
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers)


def both_ways(table: pd.DataFrame) -> pd.DataFrame:
    """One row per pair, map and similarity: the mean over both directions."""
    keys = [*OF_PAIR, "map", "similarity"]
    values = [name for k in FIRST for name in (f"recall_{k}", f"chance_{k}", f"unpaired_{k}")]
    means = table.groupby(keys, sort=False, dropna=False)[[*values, "median_rank"]].mean()
    return means.reset_index()


def predictions(both: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation over model pairs of alignment and recall in both directions.

    Once with alignment on the searched rows (`score`), and once on rows that are neither fitted nor
    searched (`score_chosen`).

    Args:
        both: As `both_ways` makes it.
    """
    rows = []
    for (name, similarity), of_map in both.groupby(["map", "similarity"], sort=False):
        for kinds, pairs in ((TRAINED, of_map[of_map["kind"] == TRAINED]), ("all", of_map)):
            for k in FIRST:
                for score in ("score", "score_chosen"):
                    of = spearman(pairs[score].to_numpy(), pairs[f"recall_{k}"].to_numpy())
                    rows.append(
                        {"map": name, "similarity": similarity, "k": k, "kind": kinds}
                        | {"alignment": score, "rho": of.value, "low": of.low, "high": of.high}
                        | {"num_pairs": of.num_points}
                    )
    columns = ["map", "similarity", "k", "kind", "alignment", "rho", "low", "high", "num_pairs"]
    return pd.DataFrame(rows, columns=columns)


def in_short(both: pd.DataFrame) -> pd.DataFrame:
    """What is printed: recall among the first ten of each map by CSLS, mean of both directions."""
    shown = both[both["similarity"] == "csls"]
    keys = ["x", "y", "layer_x", "layer_y", "score", "chance_10"]
    of_pair = shown.drop_duplicates(["x", "y"])[keys].set_index(["x", "y"])
    for name, of_map in shown.groupby("map", sort=False):
        of_pair[name] = of_map.set_index(["x", "y"])["recall_10"]
    return of_pair.reset_index().round(4)
