"""Tables of an experiment whose models have copies on changed views, by hand."""

from typing import Any

import pandas as pd

from platorep.plots import Tables

KNN = "mutual_knn{k: 10}"
SCORES = {
    ("m1", "v"): 0.2,
    ("m2", "v"): 0.4,
    ("m1 (scrambled)", "v"): 0.1,
    ("m2 (scrambled)", "v"): 0.2,
    ("m1", "v (grey)"): 0.15,
    ("m2", "v (grey)"): 0.35,
    ("m1 (random)", "v"): 0.05,
}


def changed_tables() -> Tables:
    """Two language models and one of vision, each with a copy on a changed view; one random."""
    models = [
        _model("m1", "language", "text", 1e3),
        _model("m2", "language", "text", 4e3),
        _model("v", "vision", "image", 1e3),
        _model("m1 (random)", "language", "text", 1e3, random_of="m1"),
        _model("m1 (scrambled)", "language", "scrambled", 1e3, changed_of="m1"),
        _model("m2 (scrambled)", "language", "scrambled", 4e3, changed_of="m2"),
        _model("v (grey)", "vision", "grey", 1e3, changed_of="v"),
    ]
    by_label = {model["label"]: model for model in models}
    pairs = [(*pair, "", score) for pair, score in SCORES.items()]
    pairs += [("m1", "v", "shuffled", 0.02), ("m1 (scrambled)", "v", "shuffled", 0.02)]
    best = []
    for x, y, control, score in pairs:
        row = {"dataset": "d", "control": control, "metric": KNN, "score": score,
               "reason": "", "chance": 0.01, "null_mean": 0.02, "threshold": 0.03,
               "n": 1001, "k": 10}  # fmt: skip
        for side, label in (("x", x), ("y", y)):
            row |= {side: label, f"layer_{side}": 1, f"num_layers_{side}": 2}
            row |= {f"{side}_{name}": by_label[label][name]
                    for name in ("family", "modality", "random")}  # fmt: skip
        best.append(row)
    performance = pd.DataFrame(
        {"model": ["m1", "m2"], "measure": "bits_per_byte", "value": [0.9, 0.7], "source": ""}
    )
    frame = pd.DataFrame(models).assign(order=range(len(models)))
    return Tables(best=pd.DataFrame(best), performance=performance, models=frame)


def _model(label: str, modality: str, view: str, size: float, **said: Any) -> dict[str, Any]:
    plain = {"label": label, "family": f"{modality} nets", "modality": modality, "view": view,
             "random": "random_of" in said, "random_of": "", "changed_of": "",
             "num_parameters": size, "num_layers": 2}  # fmt: skip
    return plain | said
