"""The scores of model pairs on both halves of random halvings of the rows.

Axes: s halvings.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from platorep.align.analyses.context import Context
from platorep.align.asked import Asked
from platorep.align.summaries import OnRows, RowSets, Summaries, budget_bytes, held_bytes, summarize
from platorep.config.analyses import DifferencesConfig
from platorep.statistics import best_pair, halving

HALVES_VERSION = 1  # raise when the meaning of a number changes
TOGETHER = 5
"""Halvings that are worked out, and kept, together: a killed run goes on after them."""
Pair = tuple[str, str]
OnHalf = Mapping[tuple[Pair, str], Float[np.ndarray, "s 2"]]
"""Pair and metric -> the score of the best layers on both halves of every halving."""


def score_halves(
    context: Context, asked: Sequence[Asked], pairs: Sequence[Pair], settings: DifferencesConfig
) -> OnHalf:
    """Score every pair again on all halves, its layers chosen anew on each.

    The halves are the same for all models. What fails for a pair is noted, and the pair left out.
    """
    decides = [[a.label, a.config.layers, *a.code] for a in asked]
    found: dict[tuple[Pair, str], list[Any]] = {}
    failures = context.failures
    starts = range(0, settings.splits, TOGETHER)
    with context.run.report.task("differences", len(pairs) * len(starts), "pairs") as advance:
        for first in starts:
            numbers = range(first, min(first + TOGETHER, settings.splits))
            sets = {
                f"{number} {side}": rows
                for number in numbers
                for side, rows in enumerate(halving(context.n, settings.seed, number))
            }
            models = _Summarized(context, asked, sets)
            for x, y in pairs:
                name = f"{x} x {y}, differences"
                if name not in failures.errors:
                    with failures.catch(name):
                        keys = [context.aligned(label).key for label in (x, y)]
                        made = context.kept(
                            f"differences-{HALVES_VERSION}",
                            [*keys, decides, settings.seed, numbers[0], len(numbers)],
                            partial(_scores, asked, models, x, y),
                        )
                        for metric, scores in made.items():
                            found.setdefault(((x, y), metric), []).extend(scores)
                advance(1)
    whole = {key: scores for key, scores in found.items() if len(scores) == settings.splits}
    return {key: np.array(scores, dtype=np.float64) for key, scores in whole.items()}


def _scores(
    asked: Sequence[Asked], models: "_Summarized", x: str, y: str
) -> dict[str, list[list[float | None]]]:
    """Metric -> the score on both halves of every halving; None where there is none."""
    return {a.label: _of_metric(a, models.of(x)[a.label], models.of(y)[a.label]) for a in asked}


def _of_metric(a: Asked, x: OnRows, y: OnRows) -> list[list[float | None]]:
    scores: list[float | None] = []
    for name in x:
        best = best_pair(
            a.metric.compare(x[name].summaries, y[name].summaries),
            x[name].reasons,
            y[name].reasons,
            larger_is_closer=a.metric.claims.larger_is_closer,
        )
        scores.append(None if best.layer_x is None else best.score)
    return [scores[i : i + 2] for i in range(0, len(scores), 2)]


class _Summarized:
    """The summaries of models on some halves; as many at once as memory is there for."""

    def __init__(self, context: Context, asked: Sequence[Asked], sets: RowSets) -> None:
        self._context, self._asked, self._sets = context, asked, sets
        self._room = budget_bytes(context.config, context.device)
        self._made: dict[str, Summaries] = {}

    def of(self, label: str) -> Summaries:
        if label not in self._made:
            layers = self._context.prepared(label)
            made = summarize(self._asked, layers, self._sets, self._context.device)
            while self._made and held_bytes(self._made) + held_bytes(made) > self._room:
                del self._made[next(iter(self._made))]
            self._made[label] = made
        self._made[label] = self._made.pop(label)  # the last used goes last
        return self._made[label]
