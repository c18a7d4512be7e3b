"""The scores of model pairs: layer grids, nulls, intervals.

Axes: l_x and l_y layers of the two models, K permutations.
"""

import itertools
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
    Null,
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
    """Several model pairs at once: the layers of all of them are one operation per metric.

    Args:
        pairs: Places in `xs` and `ys`.
        chosen: Metric label -> the one pair of layers to score; all of them without it.
    """
    tables: list[list[pd.DataFrame]] = [[] for _ in pairs]
    statistics: list[dict[str, dict[str, Any]]] = [{} for _ in pairs]
    for a in asked:
        of_x, of_y = ([side[ALL][a.label] for side in sides] for sides in (xs, ys))
        parts_x, parts_y = _parts(of_x), _parts(of_y)
        scorer = a.metric.prepare(
            *([s for m in side for s in m.summaries] for side in (of_x, of_y))
        )
        for control, order in (("", None), (SHUFFLED, settings.shuffled)):
            if control == SHUFFLED and order is None:
                continue
            grid = scorer(order)
            for table, (i, j) in zip(tables, pairs, strict=True):
                part = grid[parts_x[i], parts_y[j]]
                table.append(_table(a.label, control, part, of_x[i], of_y[j]))
        fixed = None if chosen is None else chosen[a.label]
        if fixed is not None:
            tables = [[_at(table, fixed, a.label) for table in found] for found in tables]
        nulls = permutation_null(
            a.metric,
            [side.summaries for side in of_x],
            [side.summaries for side in of_y],
            permutations=settings.align.null.permutations if a.has_null else 0,
            seed=settings.align.null.seed,
            pairs=pairs,
            layers=None
            if fixed is None
            else [
                (of_x[i].layers.index(fixed[0]), of_y[j].layers.index(fixed[1])) for i, j in pairs
            ],
            within=settings.within,
            larger_is_closer=a.metric.claims.larger_is_closer,
        )
        for found, (i, j), null in zip(statistics, pairs, nulls, strict=True):
            found[a.label] = _statistics(a, xs[i], ys[j], null, settings.align)
    return [
        PairScores(pd.concat(grids, ignore_index=True), found)
        for grids, found in zip(tables, statistics, strict=True)
    ]


def _parts(models: Sequence[Summarized]) -> list[slice]:
    """Where the layers of each model stand among those of all."""
    ends = np.cumsum([0, *(len(model.summaries) for model in models)])
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def _at(table: pd.DataFrame, layers: Layers, label: str) -> pd.DataFrame:
    """One pair of layers of one metric; the rows of other metrics as they are."""
    there = (table["layer_x"] == layers[0]) & (table["layer_y"] == layers[1])
    return table[there | (table["metric"] != label)]


def _statistics(
    a: Asked, x: Summaries, y: Summaries, null: Null, align: AlignConfig
) -> dict[str, Any]:
    """The null, and what the score is on parts of the rows."""
    found: dict[str, Any] = {"null": null.null.tolist()}
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
    best = null.best
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


def _table(label: str, control: str, scores: Scores, x: Summarized, y: Summarized) -> pd.DataFrame:
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
