"""Made-up tables of differences and ranks."""

import pandas as pd

from platorep.plots import Tables


def difference_tables() -> Tables:
    """Three models, of which one is first and the others share what is left."""
    about = {"metric": "cka", "side": "language", "against": "vision", "partner": "all"}
    places = [
        about | {"model": model, "score": score, "rank": rank, "low": low, "high": 3}
        for model, score, rank, low in (("b", 0.2, 2, 2), ("a", 0.3, 1, 1), ("c", 0.1, 3, 2))
    ]
    rows = [
        about | {"kind": kind, "x1": x1, "x2": x2, "difference": value, "p_adjusted": p}
        for kind, x1, x2, value, p in (
            ("models", "a", "b", 0.1, 0.01),
            ("models", "c", "a", -0.2, 0.01),
            ("models", "b", "c", 0.1, 0.2),
            ("random weights", "a", "a (random)", 0.1, 0.01),
            ("baseline", "a", "bag of words", -0.1, 0.01),
        )
    ]
    further = {
        "ranks": pd.DataFrame(places).assign(num_models=3),
        "differences": pd.DataFrame(rows),
    }
    models = pd.DataFrame({"label": ["a", "b", "c"]})
    nothing = pd.DataFrame()
    return Tables(best=nothing, performance=nothing, models=models, further=further)
