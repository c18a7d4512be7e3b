"""What the null is and how p was made, in sentences, from the settings of the scores.

Axes: K permutations.
"""

import math
from collections.abc import Sequence

import pandas as pd

from platorep.align.asked import ask
from platorep.config import AlignConfig, MetricConfig
from platorep.errors import PlatorepError
from platorep.plots.labels import metric_text
from platorep.report.models import BASELINE, CHANGED, RANDOM

CORRECTIONS = {
    "benjamini_hochberg": "Benjamini and Hochberg's (false discovery rate)",
    "holm": "Holm's (any false finding)",
    "westfall_young": "Westfall and Young's (any false finding; from the same permutations)",
}
FAMILIES = {
    CHANGED: "with a copy on a changed view",
    BASELINE: "with a baseline",
    RANDOM: "with a random copy",
}
"""The first that a pair has decides which family of tests it is of, as in `family_of_tests`."""


def null_of(align: AlignConfig, pairs: pd.DataFrame) -> str:
    """How p, its correction and the threshold were made.

    Args:
        pairs: `pairs_table` of the same scores.
    """
    null = align.null
    count = null.permutations
    if not count:
        return "There is none: align.null.permutations is 0."
    rank = math.ceil(round((1 - null.alpha) * (count + 1), 9))
    within = f", inside their group of {null.within.rpartition('/')[2]}" if null.within else ""
    said = [
        f"{count:,} permutations of the rows of y{within} (seed {null.seed}), each the same for "
        "all layers and all pairs of models.",
        *_layers(align.metrics),
        f"p = (1 + the number of permutations that come as close or closer) / {count + 1:,}, so no "
        f"p is below {1 / (count + 1):.3g}.",
        *_corrected(pairs, CORRECTIONS[null.correction]),
        f"The threshold is the {1 - null.alpha:g} quantile: of these {count:,} scores and the "
        f"observed one number {rank:,}, counted from the farthest.",
    ]
    return " ".join(said)


def _layers(metrics: Sequence[MetricConfig]) -> list[str]:
    """What is compared to what: by which layers each metric chooses its score."""
    free, said = [], []
    for entry in metrics:
        name = metric_text(entry.label)
        if entry.best_of is not None:
            of = metric_text(entry.best_of) if "{" in entry.best_of else entry.best_of
            said.append(f"{name}: at the layers where {of} is best, in every permutation the same.")
        elif entry.layers == "last":
            said.append(f"{name}: at the last layers.")
        elif not _has_null(entry):
            said.append(f"{name} has no null, since each layer pair costs its own time.")
        else:
            free.append(entry)
    if free:
        which = (
            "all layer pairs" if all(e.layers == "all" for e in free) else "the layer pairs asked"
        )
        who = f"{', '.join(metric_text(e.label) for e in free)}: of" if said else "Of"
        said.insert(0, f"{who} each permutation, as of the rows in their order, the score is the "
                    f"best of {which}, wherever that is.")  # fmt: skip
    return said


def _has_null(entry: MetricConfig) -> bool:
    try:
        return ask(entry).has_null
    except PlatorepError:  # of one's own, and not here: what has p is in the tables
        return True


def _corrected(pairs: pd.DataFrame, method: str) -> list[str]:
    """Over how many pairs: by metric, and by family of tests."""
    if "p_adjusted" not in pairs or not pairs["p_adjusted"].notna().any():
        return ["There is no correction over pairs."]
    tested = pairs[pairs["p_adjusted"].notna()]
    families = tested["kind"].map(_family)
    counts = families.groupby([tested["metric"], families], sort=False).size().unstack(fill_value=0)
    said = [
        f"{' to '.join(f'{n:,}' for n in sorted({min(of), max(of)}))} pairs {name}"
        for name, of in counts.items()
    ]
    each = ", each metric by itself" if len(counts) > 1 else ""
    apart = ", each of these by itself" if len(said) > 1 else ""
    return [f"Corrected over {' and '.join(said)}{apart}{each}, by {method}."]


def _family(kind: str) -> str:
    return next(
        (text for name, text in FAMILIES.items() if name in kind.split(", ")), "of trained models"
    )
