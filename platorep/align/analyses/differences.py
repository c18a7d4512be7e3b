"""Which of two models is closer to the models of another modality, and which rank each has.

docs/comparing.md says what is compared, and how sure that is.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from platorep.align.analyses.context import Context, Found
from platorep.align.analyses.halves import score_halves
from platorep.align.asked import Asked
from platorep.config import ModelSpec
from platorep.config.analyses import DifferencesConfig
from platorep.errors import ConfigError, PlatorepError
from platorep.statistics import (
    Correction,
    Difference,
    OnHalves,
    corrected,
    difference,
    mean_of,
    ranks,
)

ALL = "all"
"""Partner of a difference of means over all partners."""
COLUMNS = [
    *("metric", "side", "against", "kind", "x1", "x2", "partner", "num_partners"),
    *("difference", "low", "high", "p", "p_adjusted", "n", "splits"),
]
RANK_COLUMNS = [
    *("metric", "side", "against", "model", "partner", "num_partners"),
    *("score", "rank", "low", "high", "num_models", "n", "splits"),
]


def analyse_differences(context: Context, settings: DifferencesConfig) -> Found:
    """The tables `differences` and `ranks`."""
    asked = list(_testable(context))
    best = context.best[(context.best["control"] == "") & context.best["score"].notna()]
    best = best[best["metric"].isin([a.label for a in asked])]
    specs = {label: model.spec for label, model in context.models.items()}
    pairs = [
        (x, y)
        for x, y in dict.fromkeys(zip(best["x"], best["y"], strict=True))
        if not (specs[x].is_control and specs[y].is_control)
    ]
    on_halves = score_halves(context, asked, pairs, settings) if asked else {}
    rows: list[dict[str, Any]] = []
    places: list[dict[str, Any]] = []
    for a in asked:
        scores = {
            (x, y): OnHalves(float(whole), on_halves[(x, y), a.label])
            for x, y, whole, metric in zip(
                best["x"], best["y"], best["score"], best["metric"], strict=True
            )
            if metric == a.label and ((x, y), a.label) in on_halves
        }
        for side in _sides(scores, specs):
            about = {"metric": a.label, "side": side.modality, "against": side.against}
            rows += [about | row for row in side.differences(settings.level)]
            larger = a.metric.claims.larger_is_closer
            places += [about | row for row in side.ranks(settings.level, larger)]
    table = pd.DataFrame(rows).assign(n=context.n, splits=settings.splits)
    table["p_adjusted"] = _adjusted(table, context.config.null.correction)
    of_ranks = pd.DataFrame(places).assign(n=context.n, splits=settings.splits)
    return Found(
        tables={
            "differences": table.reindex(columns=COLUMNS),
            "ranks": of_ranks.reindex(columns=RANK_COLUMNS),
        }
    )


def _testable(context: Context) -> Iterator[Asked]:
    """The metrics that choose their own layers at a bearable cost, after checking halves of n.

    Raises:
        ConfigError: a metric cannot be had of half the rows.
    """
    for a in context.asked:
        if a.config.best_of is not None or not a.has_null:
            context.run.report.warn(
                f"align.differences leaves {a.label} out: it "
                + (
                    "is asked at the best layers of another metric"
                    if a.config.best_of is not None
                    else "costs each layer pair its own time; `layers: last` or a list would do"
                )
            )
            continue
        try:
            a.metric.check(context.n // 2, 1)
        except PlatorepError as error:
            raise ConfigError(
                f"align.differences scores both halves of the {context.n} rows, and {error}"
            ) from error
        yield a


@dataclass(frozen=True)
class _Side:
    """All models of one modality that have scores with models of another, or of the same."""

    modality: str
    against: str
    specs: Mapping[str, ModelSpec]
    scores: Mapping[str, Mapping[str, OnHalves]]
    """Model -> trained partner -> the score of both."""

    @property
    def trained(self) -> list[str]:
        return [label for label in self.scores if not self.specs[label].is_control]

    def comparisons(self) -> Iterator[tuple[str, str, str]]:
        """Kind and both models: every two trained ones; each of them and its control."""
        for one, other in itertools.combinations(self.trained, 2):
            yield "models", one, other
        for control in self.scores:
            spec = self.specs[control]
            for one in self.trained:
                if spec.is_baseline:
                    yield "baseline", one, control
                elif spec.random_of == one:
                    yield "random weights", one, control
                elif spec.changed_of == one:
                    yield "changed view", one, control

    def differences(self, level: float) -> Iterator[dict[str, Any]]:
        for kind, one, other in self.comparisons():
            for partner, found, num in self._found(one, other, level):
                yield {"kind": kind, "x1": one, "x2": other, "partner": partner} | {
                    "num_partners": num,
                    "difference": found.value,
                    "low": found.low,
                    "high": found.high,
                    "p": found.p,
                }

    def _found(self, one: str, other: str, level: float) -> Iterator[tuple[str, Difference, int]]:
        """Against all partners that both have, if there are several, and against each."""
        of_one, of_other = self.scores[one], self.scores[other]
        common = [partner for partner in of_one if partner in of_other]
        for partner, partners in _partners(common):
            first, second = (mean_of([of[p] for p in partners]) for of in (of_one, of_other))
            yield partner, difference(first, second, level=level), len(partners)

    def ranks(self, level: float, larger_is_closer: bool) -> Iterator[dict[str, Any]]:
        """Of trained models with the same partners against all of these, and of those that have it
        against each."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for label in self.trained:
            groups.setdefault(tuple(sorted(self.scores[label])), []).append(label)
            for partner in self.scores[label]:
                alone = groups.setdefault((partner,), [])
                alone += [label] if label not in alone else []
        for partners, models in groups.items():
            if len(models) < 2:
                continue
            name = ALL if len(partners) > 1 else partners[0]
            means = [mean_of([self.scores[label][p] for p in partners]) for label in models]
            p = np.array([[difference(a, b).p for b in means] for a in means])
            wholes = np.array([mean.whole for mean in means])
            found = ranks(wholes, p, level=level, larger_is_closer=larger_is_closer)
            for label, mean, place in zip(models, means, found, strict=True):
                yield {"model": label, "partner": name, "num_partners": len(partners)} | {
                    "score": mean.whole,
                    "rank": place.rank,
                    "low": place.low,
                    "high": place.high,
                    "num_models": len(models),
                }


def _partners(common: Sequence[str]) -> list[tuple[str, list[str]]]:
    """All of them together, if there are several, and each."""
    together = [(ALL, list(common))] if len(common) > 1 else []
    return [*together, *((partner, [partner]) for partner in common)]


def _sides(
    scores: Mapping[tuple[str, str], OnHalves], specs: Mapping[str, ModelSpec]
) -> list[_Side]:
    """Every modality against every other one that it has pairs with, models in the order of the
    experiment."""
    order = {label: number for number, label in enumerate(specs)}
    sides: dict[tuple[str, str], dict[str, dict[str, OnHalves]]] = {}
    turned = [(y, x, found) for (x, y), found in scores.items()]
    for model, partner, found in [*((x, y, found) for (x, y), found in scores.items()), *turned]:
        if not specs[partner].is_control:
            side = specs[model].modality, specs[partner].modality
            sides.setdefault(side, {}).setdefault(model, {})[partner] = found
    return [
        _Side(*side, specs, {label: of[label] for label in sorted(of, key=order.__getitem__)})
        for side, of in sides.items()
    ]


def _adjusted(table: pd.DataFrame, correction: Correction) -> pd.Series:
    """p-values corrected over the differences of one metric, side and kind: those against all
    partners are one family, those against single ones another."""
    adjusted = pd.Series(np.nan, index=table.index, dtype=np.float64)
    if table.empty:
        return adjusted
    single = table["partner"].ne(ALL)
    for _, family in table.groupby(["metric", "side", "against", "kind", single]):
        adjusted[family.index] = corrected(family["p"].to_numpy(np.float64), correction)
    return adjusted
