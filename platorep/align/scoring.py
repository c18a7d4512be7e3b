"""The scores of model pairs: layer grids, nulls, intervals.

Axes: l_x and l_y layers of the two models, K permutations.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from platorep.align.asked import Asked, ask
from platorep.align.summaries import (
    ALL,
    HALF,
    PART,
    LayerSummaries,
    OnRows,
    RowSets,
    Summarized,
    on_rows,
)
from platorep.config import AlignConfig, IntervalConfig, MetricConfig
from platorep.engines import Talk, Work
from platorep.metrics import Order, Scores
from platorep.statistics import (
    BestPair,
    NullMaxima,
    Permutations,
    best_pair,
    held_out,
    interval_of_parts,
    interval_of_subsamples,
)

SHUFFLED = "shuffled"

Labels = tuple[str, str]
"""Of the models x and y."""
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
    sets: RowSets
    device: torch.device
    """Of whoever does the work."""
    shuffled: Order | None = None
    """With this order of y's samples every layer pair is scored once more."""
    within: Sequence[str] | None = None
    """The group of each row, for permutations inside groups."""

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def num_permutations(self, a: Asked) -> int:
        return self.align.null.permutations if a.has_null else 0


@dataclass(frozen=True)
class Job:
    """Model pairs that are scored together under one metric: they share the permutations."""

    metric: MetricConfig
    pairs: tuple[Labels, ...]

    @property
    def label(self) -> str:
        return self.metric.label


@dataclass(frozen=True)
class PairPart:
    """The scores of one pair of a job."""

    job: int
    pair: int


@dataclass(frozen=True)
class NullPart:
    """Some of the permutations of a job's null, for all of its pairs."""

    job: int
    first: int
    number: int


@contextmanager
def opens_scores(
    talk: Talk,
    jobs: Sequence[Job],
    layers: Mapping[str, Sequence[int]],
    settings: Settings,
    *summaries: LayerSummaries,
) -> Iterator[Work]:
    """The work of a unit: a `PairPart` -> `PairScores` without the null, a `NullPart` -> maxima.

    Args:
        layers: Of each model, which of its layers `summaries` has; model after model.
    """
    following = iter(summaries)
    models = {
        label: {number: next(following) for number in numbers} for label, numbers in layers.items()
    }

    @lru_cache(maxsize=1)  # parts come job by job
    def scoring(job: int) -> OpenJob:
        return OpenJob(jobs[job], models, settings)

    def work(part: PairPart | NullPart) -> PairScores | Float64[np.ndarray, "p K"]:
        if isinstance(part, PairPart):
            return scoring(part.job).scores(part.pair)
        return scoring(part.job).null(part.first, part.number)

    yield work


class OpenJob:
    """A job whose layers are at hand.

    Args:
        models: Label -> number of a layer -> its summaries.
    """

    def __init__(
        self, job: Job, models: Mapping[str, Mapping[int, LayerSummaries]], settings: Settings
    ) -> None:
        self._a, self._job, self._settings = ask(job.metric), job, settings
        labels = (list(dict.fromkeys(side)) for side in zip(*job.pairs, strict=True))
        self._x, self._y = (
            {label: on_rows(self._a.label, models[label], settings.sets) for label in side}
            for side in labels
        )

    def scores(self, pair: int) -> PairScores:
        # pair by pair: a product's last bits depend on its shape, and no score may depend on which
        # other models are at hand
        x, y = self._job.pairs[pair]
        return score_pair(self._a, self._x[x], self._y[y], self._settings)

    def null(self, first: int, number: int) -> Float64[np.ndarray, "p K"]:
        seed = self._settings.align.null.seed
        return self._maxima.under(Permutations(number, seed, self._settings.within, first))

    @cached_property
    def _maxima(self) -> NullMaxima:
        xs, ys = list(self._x), list(self._y)
        return NullMaxima(
            self._a.metric,
            *([of[ALL].summaries for of in side.values()] for side in (self._x, self._y)),
            pairs=[(xs.index(x), ys.index(y)) for x, y in self._job.pairs],
            larger_is_closer=self._a.metric.claims.larger_is_closer,
        )


def not_scored(a: Asked, reason: str) -> PairScores:
    """A model pair that has no layers at which the metric is asked."""
    columns = ["control", "metric", "layer_x", "layer_y", "score", "degenerate", "reason"]
    return PairScores(pd.DataFrame(columns=columns), {a.label: {"null": [], "reason": reason}})


def score_pair(a: Asked, x: OnRows, y: OnRows, settings: Settings) -> PairScores:
    """One metric on one model pair; the null is still to come."""
    scorer = a.metric.prepare(x[ALL].summaries, y[ALL].summaries)
    observed = scorer(None)
    tables = [_table(a.label, "", observed, x[ALL], y[ALL])]
    if settings.shuffled is not None:
        tables.append(_table(a.label, SHUFFLED, scorer(settings.shuffled), x[ALL], y[ALL]))
    larger = a.metric.claims.larger_is_closer
    best = best_pair(observed, x[ALL].reasons, y[ALL].reasons, larger_is_closer=larger)
    on_parts = _held_out(a, x, y) | _interval(a, x, y, best, settings.align.interval)
    return PairScores(pd.concat(tables, ignore_index=True), {a.label: {"null": []} | on_parts})


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
