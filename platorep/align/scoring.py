"""The scores of model pairs: layer grids, nulls, intervals.

Axes: l_x and l_y layers of the two models, K permutations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from platorep.align.asked import Asked
from platorep.align.summaries import ALL, HALF, PART, OnRows, Summarized
from platorep.config import AlignConfig, IntervalConfig
from platorep.metrics import Order, Scores
from platorep.statistics import (
    BestPair,
    Permutations,
    best_pair,
    held_out,
    interval_of_parts,
    interval_of_subsamples,
    null_maxima,
)

SHUFFLED = "shuffled"

Layers = tuple[int, int]
"""A layer of x and a layer of y, by their numbers in the models."""


@dataclass(frozen=True)
class PairScores:
    """What is known of one model pair, under one metric or several."""

    grid: pd.DataFrame
    """One row per metric, control and layer pair."""
    statistics: dict[str, dict[str, Any]]
    """Metric label -> null (the statistic of each permutation), low, high, held_out; reason, where
    there are no layers to score."""


def together(scores: Sequence[PairScores]) -> PairScores:
    """The scores of one model pair under several metrics."""
    return PairScores(
        pd.concat([part.grid for part in scores], ignore_index=True),
        {label: of for part in scores for label, of in part.statistics.items()},
    )


@dataclass(frozen=True)
class Settings:
    """How to score, the same for all pairs."""

    align: AlignConfig
    shuffled: Order | None
    """With this order of y's samples every layer pair is scored once more."""
    within: Sequence[str] | None
    """The group of each row, for permutations inside groups."""


def score_block(
    a: Asked,
    xs: Sequence[OnRows],
    ys: Sequence[OnRows],
    pairs: Sequence[tuple[int, int]],
    settings: Settings,
) -> list[PairScores]:
    """One metric on several model pairs: each has its own scores, and all share the permutations
    of the null.

    Args:
        pairs: Places in `xs` and `ys`.
    """
    null = settings.align.null
    nulls = null_maxima(
        a.metric,
        [side[ALL].summaries for side in xs],
        [side[ALL].summaries for side in ys],
        Permutations(null.permutations if a.has_null else 0, null.seed, settings.within),
        pairs=pairs,
        larger_is_closer=a.metric.claims.larger_is_closer,
    )
    # pair by pair: a product's last bits depend on its shape, and no score may depend on which
    # other models are at hand
    return [
        _score_pair(a, xs[i], ys[j], of_pair, settings)
        for (i, j), of_pair in zip(pairs, nulls, strict=True)
    ]


def not_scored(a: Asked, reason: str) -> PairScores:
    """A model pair that has no layers at which the metric is asked."""
    columns = ["control", "metric", "layer_x", "layer_y", "score", "degenerate", "reason"]
    return PairScores(pd.DataFrame(columns=columns), {a.label: {"null": [], "reason": reason}})


def _score_pair(
    a: Asked, x: OnRows, y: OnRows, null: Float64[np.ndarray, " K"], settings: Settings
) -> PairScores:
    scorer = a.metric.prepare(x[ALL].summaries, y[ALL].summaries)
    observed = scorer(None)
    tables = [_table(a.label, "", observed, x[ALL], y[ALL])]
    if settings.shuffled is not None:
        tables.append(_table(a.label, SHUFFLED, scorer(settings.shuffled), x[ALL], y[ALL]))
    larger = a.metric.claims.larger_is_closer
    best = best_pair(observed, x[ALL].reasons, y[ALL].reasons, larger_is_closer=larger)
    on_parts = _held_out(a, x, y) | _interval(a, x, y, best, settings.align.interval)
    return PairScores(
        pd.concat(tables, ignore_index=True), {a.label: {"null": null.tolist()} | on_parts}
    )


def _held_out(a: Asked, x: OnRows, y: OnRows) -> dict[str, float]:
    """The score on one half of the rows of the layers chosen on the other, if that is asked."""
    halves = [name for name in x if name.startswith(HALF)]
    if not halves or a.config.best_of is not None:
        return {}
    result = held_out(
        [a.metric.compare(x[name].summaries, y[name].summaries) for name in halves],
        [x[name].reasons for name in halves],
        [y[name].reasons for name in halves],
        larger_is_closer=a.metric.claims.larger_is_closer,
    )
    return {"held_out": result.score}


def _interval(
    a: Asked, x: OnRows, y: OnRows, best: BestPair, config: IntervalConfig | None
) -> dict[str, float]:
    """Where the score at the best layers would be for other samples, if that is asked."""
    parts = [name for name in x if name.startswith(PART)]
    if config is None or best.layer_x is None or best.layer_y is None:
        return {}
    values = np.array(
        [
            a.metric.compare([x[name].summaries[best.layer_x]], [y[name].summaries[best.layer_y]])[
                0, 0
            ]
            for name in parts
        ]
    )
    if config.method == "disjoint":
        interval = interval_of_parts(best.score, values, level=config.level)
    else:
        n, size = (x[name].summaries[0].n for name in (ALL, parts[0]))
        interval = interval_of_subsamples(best.score, values, n=n, size=size, level=config.level)
    return {"low": interval.low, "high": interval.high}


def _table(label: str, control: str, scores: Scores, x: Summarized, y: Summarized) -> pd.DataFrame:
    """One row per layer pair."""
    reasons = [
        "; ".join(
            f"layer {layer} of {side}: {reason}"
            for side, layer, reason in (("x", i, why_x), ("y", j, why_y))
            if reason
        )
        for i, why_x in zip(x.layers, x.reasons, strict=True)
        for j, why_y in zip(y.layers, y.reasons, strict=True)
    ]
    return pd.DataFrame(
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
