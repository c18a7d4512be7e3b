"""Tables of an experiment whose models have several senses, by hand."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from platorep.plots import Tables

NONE = pd.DataFrame(columns=["model", "measure", "value", "source"])
TELLS = {"vision": 0.5, "language": 0.8, "other": 0.3, "truth": 1.0}


def sense_tables(num_sizes: int = 2, senses: tuple[str, ...] = tuple(TELLS)) -> Tables:
    """Score of a pair: what its senses tell times their sizes over the largest; random ones .02."""
    models: list[dict[str, Any]] = []
    for modality in senses:
        for size in range(num_sizes if modality != "truth" else 1):
            row = {"label": f"{modality}{size}", "family": f"{modality} nets", "random": False,
                   "modality": modality, "random_of": "", "num_layers": 2, "order": len(models),
                   "num_parameters": 100.0 * 4**size}  # fmt: skip
            if modality == "truth":
                row["num_parameters"] = np.nan
            models.append(row)
            if modality != "truth":
                copy = {"label": f"{row['label']} (random)", "random": True}
                models.append(row | copy | {"random_of": row["label"], "order": len(models)})
    rows = [
        _scored(x, y, control, num_sizes)
        for x, y in itertools.combinations(models, 2)
        for control in ("", "shuffled")
        if x["modality"] != y["modality"] or x["modality"] == "vision"
    ]
    return Tables(best=pd.DataFrame(rows), performance=NONE, models=pd.DataFrame(models))


def _scored(x: dict[str, Any], y: dict[str, Any], control: str, num_sizes: int) -> dict[str, Any]:
    score = 1.0
    for model in (x, y):
        size = (
            num_sizes if model["modality"] == "truth" else int(model["label"].split(" ")[0][-1]) + 1
        )
        score *= TELLS[model["modality"]] * size / num_sizes
    score = 0.011 if control else 0.02 if x["random"] or y["random"] else score
    row = {"dataset": "d", "control": control, "metric": "mutual_knn{k: 10}", "score": score,
           "reason": "", "chance": 0.01, "n": 1001, "k": 10, "null_mean": 0.011, "threshold": 0.015,
           "calibrated": max(0.0, score - 0.015)}  # fmt: skip
    for side, model in (("x", x), ("y", y)):
        row |= {side: model["label"], f"layer_{side}": 1, f"num_layers_{side}": 2}
        row |= {f"{side}_{name}": model[name] for name in ("family", "modality", "random")}
    return row
