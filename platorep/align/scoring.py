"""The scores of model pairs: layer grids, nulls, intervals.

Axes: l_x and l_y layers of the two models, K permutations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from platorep.align.asked import Asked
from platorep.align.summaries import ALL, HALF, PART, Summaries, Summarized
from platorep.config import AlignConfig
from platorep.metrics import Order, Scores
from platorep.statistics import (
    BestPair,
    best_pair,
    held_out,
    interval_of_parts,
    interval_of_subsamples,
    permutation_null,
)

SHUFFLED = "shuffled"

Layers = tuple[int, int]
"""A layer of x and a layer of y, by their numbers in the models."""


@dataclass(frozen=True)
class PairScores:
    """All that is known of one model pair."""

    grid: pd.DataFrame
    """One row per metric, control and layer pair."""
    statistics: dict[str, dict[str, Any]]
    """Metric label -> null (the statistic of each permutation), low, high, held_out."""


@dataclass(frozen=True)
class Settings:
    """How to score, the same for all pairs."""

    align: AlignConfig
    shuffled: Order | None
    """With this order of y's samples every layer pair is scored once more."""
    within: Sequence[str] | None
    """The group of each row, for permutations inside groups."""


def score_block(
    asked: Sequence[Asked],
    xs: Sequence[Summaries],
    ys: Sequence[Summaries],
    pairs: Sequence[tuple[int, int]],
    settings: Settings,
    chosen: Mapping[str, Layers] | None = None,
) -> list[PairScores]:
    """Several model pairs: each has its own scores, and all share the permutations of the null.

    Args:
        pairs: Places in `xs` and `ys`.
        chosen: Metric label -> the one pair of layers to score; all of them without it.
    """
    tables: list[list[pd.DataFrame]] = [[] for _ in pairs]
    statistics: list[dict[str, dict[str, Any]]] = [{} for _ in pairs]
    for a in asked:
        of_x, of_y = ([side[ALL][a.label] for side in sides] for sides in (xs, ys))
        layers = None
        if chosen is not None:
            x_layer, y_layer = chosen[a.label]
            layers = [
                (of_x[i].layers.index(x_layer), of_y[j].layers.index(y_layer)) for i, j in pairs
            ]
        nulls = permutation_null(
            a.metric,
            [side.summaries for side in of_x],
            [side.summaries for side in of_y],
            permutations=settings.align.null.permutations if a.has_null else 0,
            seed=settings.align.null.seed,
            pairs=pairs,
            layers=layers,
            within=settings.within,
            larger_is_closer=a.metric.claims.larger_is_closer,
        )
        for place, (i, j) in enumerate(pairs):
            # pair by pair: a product's last bits depend on its shape, and no score may depend on
            # which other models are at hand
            x, y = of_x[i], of_y[j]
            scorer = a.metric.prepare(x.summaries, y.summaries)
            fixed = None if layers is None else layers[place]
            observed = scorer(None)
            tables[place].append(_table(a.label, "", observed, x, y, fixed))
            if settings.shuffled is not None:
                shuffled = scorer(settings.shuffled)
                tables[place].append(_table(a.label, SHUFFLED, shuffled, x, y, fixed))
            best = _best(a, observed, x, y, fixed)
            statistics[place][a.label] = {"null": nulls[place].null.tolist()} | _on_parts(
                a, xs[i], ys[j], best, settings.align
            )
    return [
        PairScores(pd.concat(grids, ignore_index=True), found)
        for grids, found in zip(tables, statistics, strict=True)
    ]


def _best(a: Asked, scores: Scores, x: Summarized, y: Summarized, fixed: Layers | None) -> BestPair:
    if fixed is not None:
        return BestPair(float(scores[fixed]), *fixed, None)
    larger = a.metric.claims.larger_is_closer
    return best_pair(scores, x.reasons, y.reasons, larger_is_closer=larger)


def _on_parts(
    a: Asked, x: Summaries, y: Summaries, best: BestPair, align: AlignConfig
) -> dict[str, Any]:
    """What the score is on parts of the rows: held-out layers, and an interval."""
    found: dict[str, Any] = {}
    halves, parts = ([name for name in x if name.startswith(kind)] for kind in (HALF, PART))

    def scores_on(name: str) -> Scores:
        return a.metric.compare(x[name][a.label].summaries, y[name][a.label].summaries)

    if halves and a.best_of is None:
        result = held_out(
            [scores_on(name) for name in halves],
            [x[name][a.label].reasons for name in halves],
            [y[name][a.label].reasons for name in halves],
            larger_is_closer=a.metric.claims.larger_is_closer,
        )
        found["held_out"] = result.score
    if parts and align.interval and best.layer_x is not None and best.layer_y is not None:
        values = np.array([scores_on(name)[best.layer_x, best.layer_y] for name in parts])
        level = align.interval.level
        if align.interval.method == "disjoint":
            interval = interval_of_parts(best.score, values, level=level)
        else:
            n = x[ALL][a.label].summaries[0].n
            size = x[parts[0]][a.label].summaries[0].n
            interval = interval_of_subsamples(best.score, values, n=n, size=size, level=level)
        found |= {"low": interval.low, "high": interval.high}
    return found


def _table(
    label: str,
    control: str,
    scores: Scores,
    x: Summarized,
    y: Summarized,
    fixed: Layers | None,
) -> pd.DataFrame:
    """One row per layer pair, or the one of `fixed` (places among the layers of x and of y)."""
    reasons = [
        "; ".join(
            f"layer {layer} of {side}: {reason}"
            for side, layer, reason in (("x", i, why_x), ("y", j, why_y))
            if reason
        )
        for i, why_x in zip(x.layers, x.reasons, strict=True)
        for j, why_y in zip(y.layers, y.reasons, strict=True)
    ]
    table = pd.DataFrame(
        {
            "control": control,
            "metric": label,
            "layer_x": np.repeat(x.layers, len(y.layers)),
            "layer_y": np.tile(y.layers, len(x.layers)),
            "score": scores.ravel(),
            "degenerate": [bool(reason) for reason in reasons],
            "reason": reasons,
        }
    )
    return table if fixed is None else table.iloc[[fixed[0] * len(y.layers) + fixed[1]]]
