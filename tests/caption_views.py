"""Tables of an experiment whose language models read captions of several lengths, by hand."""

import itertools

import pandas as pd

from platorep.plots import Tables

WORDS = {"short": 4.0, "middling": 8.5, "long": 20.0}
LANGUAGE = {"m1": "M", "m2": "M", "o1": "O"}
VISION = ("v1", "v2")
SCORES = {  # of the trained pairs m1 v1, m1 v2, m2 v1, m2 v2, o1 v1, o1 v2
    "short": (0.02, 0.03, 0.04, 0.05, 0.01, 0.03),
    "middling": (0.03, 0.05, 0.06, 0.06, 0.02, 0.02),
    "long": (0.08, 0.10, 0.09, 0.13, 0.04, 0.04),
}


def density_tables() -> Tables:
    """Three language models that read three views each, two vision models, and all controls."""
    models = []
    for vision, random in itertools.product(VISION, (False, True)):
        models.append(_model(vision, "V", "vision", random, "image", float("nan"), len(models)))
    for (name, family), view in itertools.product(LANGUAGE.items(), WORDS):
        for random in (False, True):
            label = f"{name} ({view})"
            row = _model(label, family, "language", random, view, WORDS[view], len(models))
            models.append(row)
    best = []
    language = [model for model in models if model["modality"] == "language"]
    vision_models = [model for model in models if model["modality"] == "vision"]
    for x, y, control in itertools.product(language, vision_models, ("", "shuffled")):
        pairs = list(itertools.product(LANGUAGE, VISION))
        name, other = str(x["label"]).split(" (")[0], str(y["label"]).split(" (")[0]
        score = SCORES[str(x["view"])][pairs.index((name, other))]
        if control:
            score = 0.0103 if not (x["random"] or y["random"]) else 0.5
        elif x["random"] or y["random"]:
            score = score / 2 if not y["random"] else score / 4 if not x["random"] else 0.01
        best.append(
            {
                "dataset": "made-up",
                **{f"x{key}": x[name] for key, name in _COLUMNS.items()},
                **{f"y{key}": y[name] for key, name in _COLUMNS.items()},
                **{"layer_x": 1, "layer_y": 1, "num_layers_x": 2, "num_layers_y": 2},
                **{"control": control, "metric": "mutual_knn{k: 10}", "reason": ""},
                **{"score": score, "chance": 0.0098, "n": 1024, "k": 10},
            }
        )
    performance = pd.DataFrame(columns=["model", "measure", "value", "source"])
    return Tables(best=pd.DataFrame(best), performance=performance, models=pd.DataFrame(models))


_COLUMNS = {"": "label", "_family": "family", "_modality": "modality", "_random": "random"}


def _model(
    label: str,
    family: str,
    modality: str,
    random: bool,
    view: str,
    num_words: float,
    order: int,
) -> dict[str, object]:
    return {
        "label": f"{label} (random)" if random else label,
        "family": family,
        "modality": modality,
        "random": random,
        "random_of": label if random else "",
        "num_parameters": 1000,
        "num_layers": 2,
        "order": order,
        "view": view,
        "num_words": num_words,
    }
