"""Tables of an experiment with layers.csv, by hand: alignment is what one column says."""

from typing import get_args

import numpy as np
import pandas as pd

from platorep.parameters.figures import LayerColumn
from platorep.plots import Tables

NONE = pd.DataFrame(columns=["model", "measure", "value", "source"])
LAYERS = {"words0": 7, "words1": 9, "words2": 6, "eyes0": 5, "eyes1": 4}


def geometry_tables(*, degenerate: bool = False) -> Tables:
    """Of a layer pair the mean of both layers' hubness, less .05 per unit of the other model."""
    models, layers = [], []
    for order, (label, num) in enumerate(LAYERS.items()):
        modality = "language" if label.startswith("words") else "vision"
        models.append({"label": label, "family": f"{label[:5]} nets", "modality": modality,
                       "random": False, "random_of": "", "num_parameters": 1e6 * (order + 1),
                       "order": order, "num_layers": num})  # fmt: skip
        models.append(models[-1] | {"label": f"{label} (random)", "random": True,
                                    "random_of": label})  # fmt: skip
        for layer in range(num):
            hubness = float(np.sin(3.0 * layer + order))
            row = dict.fromkeys(get_args(LayerColumn), 1.0 + order + layer / 10)
            layers.append(row | {"model": label, "layer": layer, "hubness": hubness})
    table = pd.DataFrame(layers)
    of = table.set_index(["model", "layer"])["hubness"]
    scores, best = [], []
    for x in models:
        for y in models:
            if (x["modality"], y["modality"]) != ("language", "vision"):
                continue
            random = x["random"] or y["random"]
            names = [m["label"].replace(" (random)", "") for m in (x, y)]
            pair = {"x": x["label"], "y": y["label"], "metric": "mutual_knn{k: 10}", "control": ""}
            for i in range(x["num_layers"]):
                for j in range(y["num_layers"]):
                    score = 9.0 if random else (of[names[0], i] + of[names[1], j]) / 2
                    scores.append(pair | {"layer_x": i, "layer_y": j, "score": score,
                                          "degenerate": degenerate and i == 1})  # fmt: skip
            best.append(pair | {"dataset": "d", "score": scores[-1]["score"], "layer_x": 0,
                                "layer_y": 0, "chance": 0.01, "x_modality": x["modality"],
                                "y_modality": y["modality"]})  # fmt: skip
    return Tables(best=pd.DataFrame(best), performance=NONE, models=pd.DataFrame(models),
                  scores=pd.DataFrame(scores), layers=table)  # fmt: skip
