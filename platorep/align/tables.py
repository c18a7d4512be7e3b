"""The tidy tables of scores: one row per layer pair, and one row per model pair.

Axes: m model pairs, K permutations.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from platorep.align.asked import Asked
from platorep.align.models import Aligned
from platorep.align.scoring import SHUFFLED, PairScores
from platorep.config import AlignConfig, ModelSpec
from platorep.statistics import calibrate, closest, corrected, westfall_young

Scored = Mapping[tuple[str, str], PairScores]
"""Labels of x and y -> what is known of the pair."""


def scores_table(dataset: str, scored: Scored) -> pd.DataFrame:
    """One row per model pair, metric, control and layer pair."""
    labelled = []
    for (x, y), scores in scored.items():
        labels = pd.DataFrame({"dataset": dataset, "x": x, "y": y}, index=scores.grid.index)
        labelled.append(pd.concat([labels, scores.grid], axis=1))
    return pd.concat(labelled, ignore_index=True)


def best_table(
    dataset: str,
    num_rows: int,
    align: AlignConfig,
    asked: Sequence[Asked],
    models: Mapping[str, Aligned],
    scored: Scored,
) -> pd.DataFrame:
    """One row per model pair, metric and control: the best of the layer pairs that count.

    Adjusted p-values are over the pairs of one `family_of_tests` under one metric.
    """
    rows: list[dict[str, Any]] = []
    for (x, y), scores in scored.items():
        for a in asked:
            if a.label not in scores.statistics:  # it failed
                continue
            statistics = scores.statistics[a.label]
            of_metric = scores.grid[scores.grid["metric"] == a.label]
            for control in ("", SHUFFLED):
                grid = of_metric[of_metric["control"] == control]
                if grid.empty and control:
                    continue
                best = best_layers(grid, a.metric.claims.larger_is_closer)
                rows.append(
                    {"dataset": dataset, "x": x, "y": y}
                    | _side("x", models[x])
                    | _side("y", models[y])
                    | {"control": control, "metric": a.label}
                    | best
                    | {
                        "chance": a.metric.chance(num_rows),
                        "n": num_rows,
                        "k": getattr(a.config.parameters, "k", None),
                    }
                    | _against_null(a, align, best["score"], statistics["null"])
                    | ({} if control else {k: v for k, v in statistics.items() if k != "null"})
                )
    table = pd.DataFrame(rows).astype({"k": "Int64", "chance": "float64"})
    if "p" in table:
        after = list(table.columns).index("p") + 1
        table.insert(after, "p_adjusted", _adjusted(table, align, asked, models, scored))
    return table


def family_of_tests(x: ModelSpec, y: ModelSpec) -> str:
    """The tests that a pair's p-value is corrected over: those of the pairs of trained models, or
    apart from them those with a random copy, a baseline, or a copy on a changed view. A control is
    no finding, and must not make findings harder.
    """
    if x.changed_of or y.changed_of:
        return "pairs with a copy on a changed view"
    if x.is_baseline or y.is_baseline:
        return "pairs with a baseline"
    return "pairs with a random copy" if x.random_init or y.random_init else "pairs"


def best_layers(grid: pd.DataFrame, larger_is_closer: bool) -> dict[str, Any]:
    """The best layer pair (of several the first in order of layers), or why there is none."""
    scores, degenerate = grid["score"].to_numpy(np.float64), grid["degenerate"].to_numpy(bool)
    number = closest(scores, ~degenerate, larger_is_closer=larger_is_closer)
    if number is None:
        reasons = grid.loc[degenerate, "reason"]
        reason = reasons.iloc[0] if len(reasons) else "the metric is not defined on these features"
        return {"layer_x": -1, "layer_y": -1, "score": np.nan, "reason": reason}
    best = grid.iloc[number]
    return {name: best[name] for name in ("layer_x", "layer_y", "score")} | {"reason": ""}


def _side(side: str, model: Aligned) -> dict[str, Any]:
    return {
        f"{side}_family": model.spec.family,
        f"{side}_modality": model.spec.modality,
        f"{side}_random": model.spec.random_init,
        f"{side}_baseline": model.spec.is_baseline,
        f"num_layers_{side}": len(model.cell.layers),
    }


def _against_null(
    a: Asked, align: AlignConfig, score: float, null: Sequence[float]
) -> dict[str, Any]:
    if not align.null.permutations:
        return {}
    found = calibrate(
        score,
        np.array(null, dtype=np.float64),
        alpha=align.null.alpha,
        perfect=a.metric.claims.perfect,
        larger_is_closer=a.metric.claims.larger_is_closer,
    )
    return {
        "null_mean": found.null_mean,
        "null_sd": found.null_std,
        "threshold": found.threshold,
        "p": found.p,
        "calibrated": found.calibrated,
    }


def _adjusted(
    table: pd.DataFrame,
    align: AlignConfig,
    asked: Sequence[Asked],
    models: Mapping[str, Aligned],
    scored: Scored,
) -> pd.Series:
    """p-values after the correction for many model pairs; none for shuffled pairs."""
    adjusted = pd.Series(np.nan, index=table.index)
    signs = {a.label: 1 if a.metric.claims.larger_is_closer else -1 for a in asked}
    tested = table[(table["control"] == "") & table["p"].notna()]
    families = [
        family_of_tests(models[x].spec, models[y].spec)
        for x, y in zip(tested["x"], tested["y"], strict=True)
    ]
    for (metric, _), family in tested.groupby(["metric", np.array(families, dtype=str)]):
        p = family["p"].to_numpy()
        if align.null.correction == "westfall_young":
            sign = signs[str(metric)]
            pairs = zip(family["x"], family["y"], strict=True)
            null = np.array([scored[pair].statistics[str(metric)]["null"] for pair in pairs])
            found = westfall_young(sign * family["score"].to_numpy(), sign * null)
        else:
            found = corrected(p, align.null.correction)
        adjusted[family.index] = found
    return adjusted
