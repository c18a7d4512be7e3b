"""Made-up tables of averages over observations: two readers, their copies, two viewers."""

import itertools
from typing import Any

import pandas as pd

from platorep.plots import Tables

MODELS = (
    ("reader", "language", False, False),
    ("writer", "language", False, False),
    ("viewer", "vision", False, False),
    ("looker", "vision", False, False),
    ("reader (random)", "language", True, False),
    ("viewer (random)", "vision", True, False),
    ("bag of words", "language", False, True),
)


def score(x: str, m: int) -> float:
    asymptote = {"reader": 0.18, "writer": 0.15}.get(x, 0.1)
    return asymptote * m / (m + (2 if "random" in x else 0.5))


def observation_tables() -> Tables:
    metric = "mutual_knn{k: 10}"
    labels = [name for name, *_ in MODELS]
    rows: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    x_side = [name for name, modality, *_ in MODELS if modality == "language"]
    for x, y in itertools.product(x_side, [n for n in labels if n not in x_side]):
        said = {"x": x, "y": y, "metric": metric, "side": "x", "partner_m": 1}
        shift = 0.01 if y == "looker" else 0.0
        for m in (1,) if x == "bag of words" else range(1, 6):
            for subset in ("a", "b") if m < 5 else ("a",):
                more = 0.001 if subset == "b" else 0.0
                rows.append(
                    said | {"m": m, "subset": subset, "joined": False, "layers": "kept"}
                    | {"layer_x": 1, "layer_y": 2, "score": score(x, m) + shift + more}
                )  # fmt: skip
        rows.append({**rows[-1], "m": 5, "subset": "all", "joined": True, "score": 0.12 + shift})
        rows.append({**rows[-1], "layers": "again", "score": 0.9})
        for law in ("power", "attenuation"):
            end = score(x, 10**6) + shift
            lacks = x == "bag of words" or (law == "power" and x == "writer" and y == "looker")
            found = {} if lacks else {"asymptote": end, "low": end - 0.02, "high": end + 0.02}
            found |= {"reason": "no end in sight" if lacks else ""}
            ends.append(said | {"law": law, "r2": 0.99, "floor": 0.01} | found)
    models = pd.DataFrame(MODELS, columns=["label", "modality", "random", "baseline"])
    models = models.assign(family=models["modality"], order=range(len(models)), num_layers=3)
    return Tables(
        best=pd.DataFrame({"x": [], "y": []}),
        performance=pd.DataFrame(),
        models=models.assign(num_parameters=1, random_of=""),
        further={"observations": pd.DataFrame(rows), "asymptotes": pd.DataFrame(ends)},
    )
