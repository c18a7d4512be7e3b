"""How much two models can agree at most, at the layers that were chosen for them.

Only the chosen layers of the observations are compared; each comparison is one finished piece.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from platorep.align.analyses.context import Context, Found
from platorep.align.asked import Asked
from platorep.align.summaries import budget_bytes, held_bytes
from platorep.config.analyses import CeilingConfig
from platorep.metrics import Summary
from platorep.statistics import (
    JACCARD,
    THRESHOLD,
    Agreement,
    Interval,
    Permutations,
    Scale,
    agreement,
    interval_of_subsamples,
    linear_scale,
    noise_ceiling,
    reliability,
    subsamples,
)

VERSION = "ceiling-1"  # raise when the meaning of a comparison changes
SCALES = {"mutual_knn": THRESHOLD, "ordinal_triplets": THRESHOLD, "jaccard_knn": JACCARD}
"""Of all other metrics the linear one."""
RECOVERED = {*SCALES, "cka", "rv", "rsa", "cca_mean", "procrustes", "linear_predictivity"}
"""Metrics of which tests/test_ceiling.py holds the scale against planted noise."""
PERMUTATIONS = 10
"""For the chance level of a metric that has no formula."""

COLUMNS = (
    *("model", "metric", "layer", "observations", "n"),
    *("reliability", "low", "high", "chance"),
)

Chosen = tuple[str, int]
"""A metric's label and a layer."""
Side = tuple[str, Chosen]
"""A model's label, and what is chosen there."""
OnSets = list[Agreement]
"""On all rows, then on each subsample of them."""


def analyse_ceiling(context: Context, settings: CeilingConfig) -> Found:
    """`ceiling.csv`, a row per model, metric and chosen layer; and columns for best.csv, empty for
    shuffled rows, for copies on changed views and where neither model has repeats."""
    pairs = _pairs(context)
    chosen: dict[str, dict[Chosen, None]] = {}
    for _, *sides in pairs:
        for label, at in sides:
            chosen.setdefault(label, {})[at] = None
    work = _Comparisons(context, settings, chosen)
    known: dict[Side, OnSets] = {}
    repeated = [label for label in chosen if context.repeats(label)]
    with context.run.report.task("ceiling", len(repeated), "models") as advance:
        for label in repeated:
            with context.failures.catch(f"ceiling of {label}"):
                known |= {(label, at): work.of_itself(label, at) for at in chosen[label]}
            advance(1)
    found: dict[Any, dict[str, Any]] = {}
    with context.run.report.task("ceiling", len(pairs), "pairs") as advance:
        for index, x, y in pairs:
            missing = [side[0] in repeated and side not in known for side in (x, y)]
            if not any(missing) and (x in known or y in known):
                with context.failures.catch(f"ceiling of {x[0]} x {y[0]}"):
                    scores = work.of_pair(x, y)
                    found[index] = work.columns(x[1][0], scores, known.get(x), known.get(y))
            advance(1)
    table = pd.DataFrame(
        [
            {"model": label, "metric": metric, "layer": layer}
            | {"observations": 1 + len(context.repeats(label)), "n": context.n}
            | work.reliability_columns(on_sets)
            for (label, (metric, layer)), on_sets in known.items()
        ],
        columns=[*COLUMNS],
    )
    return Found(
        tables={"ceiling": table},
        best=pd.DataFrame.from_dict(found, orient="index").reindex(context.best.index),
    )


def _pairs(context: Context) -> list[tuple[Any, Side, Side]]:
    """The rows of best.csv that have layers and are no control of the rows' or the view's, those of
    one x together: the index and both sides."""
    changed = [label for label, model in context.models.items() if model.spec.changed_of]
    best = context.best
    rows = best[(best["control"] == "") & (best["layer_x"] >= 0)]
    rows = rows[~rows["x"].isin(changed) & ~rows["y"].isin(changed)]
    return [
        (
            index,
            (str(row["x"]), (str(row["metric"]), int(row["layer_x"]))),
            (str(row["y"]), (str(row["metric"]), int(row["layer_y"]))),
        )
        for index, row in rows.sort_values("x", kind="stable").iterrows()
    ]


def scale_of(asked: Asked) -> Scale:
    """On which noise multiplies: docs/metrics.md, "Noise ceiling"."""
    return SCALES.get(asked.metric.name) or linear_scale(asked.metric.claims.perfect)


def knows_noise_free(asked: Asked) -> bool:
    """Whether the score without noise may be told: where planted noise is undone."""
    kendall = getattr(asked.config.parameters, "compare", None) == "kendall"
    return asked.metric.name in RECOVERED and not kendall


class _Comparisons:
    """Scores of chosen layers and their chance levels, on all rows and on each subsample."""

    def __init__(
        self, context: Context, settings: CeilingConfig, chosen: Mapping[str, Mapping[Chosen, Any]]
    ) -> None:
        self._context, self._settings, self._chosen = context, settings, chosen
        self._size = context.n // 2
        self._sets: list[Int64[np.ndarray, " m"] | None] = [None]
        self._sets += subsamples(context.n, self._size, settings.draws, settings.seed)
        self._permutations = Permutations(PERMUTATIONS, settings.seed)
        self._budget = budget_bytes(context.config, context.device)
        self._summaries: dict[str, dict[Chosen, list[Summary]]] = {}
        self._observed: tuple[str, list[dict[int, Tensor]]] = ("", [])

    def of_itself(self, label: str, at: Chosen) -> OnSets:
        """A model against itself on its other observations."""
        metric, layer = at
        asked = self._context.metric(metric)
        copies = [label, *self._context.repeats(label).values()]
        keys = [self._context.aligned(copy).key for copy in copies]

        def compare(rows: Int64[np.ndarray, " m"] | None) -> Agreement:
            seen = [self._summarize(asked, of[layer], rows) for of in self._observations(copies)]
            return reliability(asked.metric, seen, self._permutations)

        return self._kept(asked, [keys, layer], lambda: [compare(rows) for rows in self._sets])

    def of_pair(self, x: Side, y: Side) -> OnSets:
        """Two models against each other."""
        asked = self._context.metric(x[1][0])
        keys = [(self._context.models[label].key, layer) for label, (_, layer) in (x, y)]

        def compare() -> OnSets:
            of_x, of_y = (self._summaries_of(label)[at] for label, at in (x, y))
            pairs = zip(of_x, of_y, strict=True)
            return [agreement(asked.metric, a, b, self._permutations) for a, b in pairs]

        return self._kept(asked, keys, compare)

    def _kept(self, asked: Asked, decides: Sequence[Any], make: Callable[[], OnSets]) -> OnSets:
        metric = [asked.metric.name, asked.config.parameters.model_dump(mode="json"), asked.code]
        how = [*metric, self._settings.draws, self._settings.seed]
        made = self._context.kept(
            VERSION, [*decides, *how], lambda: [[float(a.score), float(a.chance)] for a in make()]
        )
        return [Agreement(*numbers) for numbers in made]

    def _observations(self, copies: Sequence[str]) -> list[dict[int, Float[Tensor, "n _"]]]:
        """The chosen layers of the first of `copies`, of each of them; the last asked are kept."""
        label = copies[0]
        if self._observed[0] != label:
            layers = {layer for _, layer in self._chosen[label]}
            prepared = map(self._context.prepared, copies)
            self._observed = label, [{i: of[i] for i in layers} for of in prepared]
        return self._observed[1]

    def _summaries_of(self, label: str) -> dict[Chosen, list[Summary]]:
        """A model at all of its chosen layers, on all sets of rows; kept while there is room."""
        if label in self._summaries:
            return self._summaries[label]
        prepared = self._context.prepared(label)
        made = {
            (metric, layer): [
                self._summarize(self._context.metric(metric), prepared[layer], rows)
                for rows in self._sets
            ]
            for metric, layer in self._chosen[label]
        }
        self._budget -= held_bytes(made)
        if self._budget > 0:
            self._summaries[label] = made
        return made

    def _summarize(
        self, asked: Asked, layer: Float[Tensor, "n _"], rows: Int64[np.ndarray, " m"] | None
    ) -> Summary:
        part = layer if rows is None else layer[torch.from_numpy(rows)]
        return asked.metric.summarize(part.to(self._context.device))

    def columns(
        self, metric: str, scores: OnSets, x: OnSets | None, y: OnSets | None
    ) -> dict[str, Any]:
        """What best.csv says of a pair, from its scores and the reliabilities of its models."""
        asked = self._context.metric(metric)
        known = {
            "reliability_x": np.nan if x is None else x[0].score,
            "reliability_y": np.nan if y is None else y[0].score,
            "without_repeats": "x" if x is None else "y" if y is None else "",
        }
        if not all(self._is_above_chance(of, scale_of(asked)) for of in (x, y) if of is not None):
            return known
        nothing = [None] * len(scores)
        whole, *parts = (
            noise_ceiling(pair, of_x, of_y, scale_of(asked))
            for pair, of_x, of_y in zip(scores, x or nothing, y or nothing, strict=True)
        )
        names = {"ceiling": "value", "share_of_ceiling": "share"}
        if knows_noise_free(asked):
            names["noise_free"] = "noise_free"
        for column, name in names.items():
            ends = self._interval([getattr(one, name) for one in (whole, *parts)])
            known |= {column: getattr(whole, name)}
            known |= {f"{column}_low": ends.low, f"{column}_high": ends.high}
        return known

    def reliability_columns(self, on_sets: OnSets) -> dict[str, float]:
        """What ceiling.csv says of a model at a layer."""
        ends = self._interval([one.score for one in on_sets])
        whole = on_sets[0]
        return {
            "reliability": whole.score,
            "low": ends.low,
            "high": ends.high,
            "chance": whole.chance,
        }

    def _is_above_chance(self, on_sets: OnSets, scale: Scale) -> bool:
        """Whether the interval of a model's reliability is: else no ceiling would mean anything."""
        return self._interval([scale.latent(one) for one in on_sets]).low > 0

    def _interval(self, values: Sequence[float]) -> Interval:
        """Around the first, of all rows, from the others, of subsamples."""
        whole, *parts = values
        return interval_of_subsamples(
            whole,
            np.array(parts),
            n=self._context.n,
            size=self._size,
            level=self._settings.level,
        )
