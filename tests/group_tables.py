"""Tables with groups of rows, for tests of figures."""

import numpy as np
import pandas as pd

from platorep.plots import Tables

KNN = "mutual_knn{k: 10}"


def group_tables(**changed: object) -> Tables:
    """Two pairs with three groups by words and two clusters; a random copy scores best."""
    models = pd.DataFrame(
        {
            "label": ["words", "words (random)", "eye"],
            "family": ["w", "w", "e"],
            "modality": ["language", "language", "vision"],
            "random": [False, True, False],
        }
    )
    groups = [("words", g) for g in ("", "dog", "a very long name of a group of rows", "NA")]
    groups += [("clusters of x", g) for g in ("", "cluster 1", "cluster 2")]
    rows = pd.DataFrame(groups, columns=["by", "group"])
    rows = rows.assign(
        metric=KNN, num_rows=[90, 30, 20, 10, 90, 50, 40], score=[0.2, 0.1, 0.3, 0.15] + [0.2] * 3,
        p_adjusted=[np.nan, 0.5, 0.01, 0.5] + [np.nan] * 3, chance=0.1, null_low=0.12,
        null_high=0.28, coarse=0.12, alone=0.4, alone_chance=0.2, alone_random=0.6,
    )  # fmt: skip
    both = [rows.assign(x="words", y="eye"), rows.assign(x="words (random)", y="eye")]
    both[1]["score"] += 0.1
    table = pd.concat(both, ignore_index=True).assign(**changed)
    empty = pd.DataFrame()
    return Tables(best=empty, performance=empty, models=models, further={"groups": table})
