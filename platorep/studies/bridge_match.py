"""`platorep bridge match`: which picture is which text, with no pairs at all."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from platorep.align.summaries import OnRows
from platorep.align.tables import family_of_tests
from platorep.bridges.items import Items, draw_items, kernel_of, means, whitened
from platorep.bridges.matching import EQUAL, match, objective
from platorep.config.bridges import MatchConfig
from platorep.files import digest
from platorep.plots.about import framed
from platorep.plots.bridge_match import SAID, draw_match, match_points
from platorep.studies.choosing import (
    best_layers,
    decides_layers,
    refuse_chosen_elsewhere,
    summarized,
)
from platorep.studies.context import Context, Found
from platorep.studies.match_items import divided, items_of

NAME = "match-1"  # of its pieces; another number when the meaning of a number changes
CHOOSE, REST = "choose", "rest"
Pair = tuple[str, str]
Side = Float64[np.ndarray, "n d"]
COLUMNS = (
    *("x", "y", "kind", "metric", "layer_x", "layer_y", "alignment", "kernel"),
    *("n", "available", "rows_per_item", "subsets", "subsets_done"),
    *("accuracy", "low", "high", "chance", "null", "null_low", "null_high"),
    *("objective", "objective_true", "objective_null", "found_true", "found_better", "missed"),
)
SHOWN = ("x", "y", "kind", "alignment", "n", "accuracy", "low", "high", "null", "found_better")


def bridge_match(context: Context) -> Found:
    """The table and the figure `bridge_match`.

    Raises:
        ConfigError: layers cannot be chosen by the first metric, or the items are not there.
        DataError: there are too few items.
    """
    settings = context.run.config.bridge.match
    refuse_chosen_elsewhere(context, "bridge match")
    rows = context.run.config.align.scored_rows(len(context.rows))
    table = _Pairs(context, settings, rows).table()
    if table.empty:
        return Found(tables={"bridge_match": table}, figures={}, shown=table)
    points = match_points(table)
    shown = table[[*SHOWN]].round(3)
    figures = {"bridge_match": (framed(draw_match, points, context.about(SAID)), points)}
    return Found(tables={"bridge_match": table}, figures=figures, shown=shown)


class _Pairs:
    """All pairs at work; each model is read once to choose layers, and once more for these."""

    def __init__(self, context: Context, settings: MatchConfig, num_rows: int) -> None:
        self._context, self._settings = context, settings
        self._choose, self._rest = divided(num_rows, settings)
        self._items: Items = items_of(context, settings, self._rest, num_rows)
        metric = context.metric.metric
        for part in (self._choose, self._rest)[settings.layers == "last" :]:
            metric.check(len(part), 1)
        self._summaries: dict[str, OnRows] = {}
        self._sides: dict[tuple[str, int], Side] = {}

    def table(self) -> pd.DataFrame:
        run, failures, pairs = self._context.run, self._context.failures, self._context.pairs
        work = [(pair, n) for pair in pairs for n in self._settings.items]
        rows: list[dict[str, Any]] = []
        decides = {}
        for pair in pairs:
            with failures.catch(" x ".join(pair)):
                decides[pair] = self._decides(pair)
        with run.report.task("match", len(work), "searches") as advance:
            for pair, n in work:
                with failures.catch(f"{' x '.join(pair)}, {n} items"):
                    if pair in decides:
                        make = partial(self._made, pair, n)
                        made = run.kept(NAME, [*decides[pair], n], make)
                        rows.append(self._row(pair, n, made))
                advance(1)
        return pd.DataFrame(rows, columns=[*COLUMNS])

    def _decides(self, pair: Pair) -> list[Any]:
        rows = [of.tolist() for of in (*self._items.x, *self._items.y)]
        settings = self._settings.model_dump(mode="json", exclude={"items"})
        return [
            *decides_layers(self._context, *pair),
            [settings, digest(rows), self._choose.tolist()],
        ]

    def _made(self, pair: Pair, n: int) -> dict[str, Any]:
        """What every subset gave, until time is over."""
        chosen = self._chosen(pair)
        sides = [self._side(*one) for one in zip(pair, chosen["layers"], strict=True)]
        started = time.monotonic()
        found: list[dict[str, float]] = []
        for subset in range(self._settings.subsets):
            if found and time.monotonic() - started > self._settings.seconds:
                break
            found.append(self._matched(sides, n, subset))
        return chosen | {"subsets": found}

    def _matched(self, sides: Sequence[Side], n: int, subset: int) -> dict[str, float]:
        """One subset of items, and beside it the same search for items that are not these."""
        settings, items = self._settings, self._items
        rng = np.random.default_rng([settings.seed, n, subset])
        drawn, right = draw_items(len(items), n, rng), np.arange(n)
        asked = (
            (0, items.x, drawn.items),
            (1, items.y, drawn.items),
            (1, items.y, drawn.unrelated),
        )
        x, y, unrelated = (
            kernel_of(means(sides[s], [rows[i] for i in which], items.size, rng), settings.kernel)
            for s, rows, which in asked
        )
        found, null = (match(x, of, restarts=settings.restarts, rng=rng) for of in (y, unrelated))
        return {
            "accuracy": float((found.order == right).mean()),
            "null": float((null.order == right).mean()),
            "objective": found.objective,
            "objective_true": objective(x, y, right),
            "objective_null": null.objective,
        }

    def _row(self, pair: Pair, n: int, made: dict[str, Any]) -> dict[str, Any]:
        context, settings = self._context, self._settings
        subsets = pd.DataFrame(made["subsets"])
        if len(subsets) < settings.subsets:
            context.run.report.warn(
                f"{' x '.join(pair)}, {n} items: {len(subsets)} of {settings.subsets} subsets in "
                f"{settings.seconds:g} s (bridge.match.seconds); the others are left out"
            )
        low, mean, high = _interval(subsets["accuracy"])
        null_low, null, null_high = _interval(subsets["null"])
        ahead = subsets["objective"] - subsets["objective_true"]
        layers = dict(zip(("layer_x", "layer_y"), made["layers"], strict=True))
        kernel = settings.kernel + ", whitened" * settings.whiten
        return {
            **dict(zip("xy", pair, strict=True)),
            "kind": family_of_tests(*(context.specs[label] for label in pair)),
            **{"metric": context.metric.label, **layers, "alignment": made["alignment"]},
            **{"kernel": kernel, "n": n, "available": len(self._items)},
            **{"rows_per_item": self._items.size, "subsets": settings.subsets},
            **{"subsets_done": len(subsets), "accuracy": mean, "low": low, "high": high},
            **{"chance": 1 / n, "null": null, "null_low": null_low, "null_high": null_high},
            **{f"objective{of}": subsets[f"objective{of}"].mean() for of in ("", "_true", "_null")},
            "found_true": float((ahead.abs() <= EQUAL).mean()),
            "found_better": float((ahead > EQUAL).mean()),
            "missed": float((ahead < -EQUAL).mean()),
        }

    def _chosen(self, pair: Pair) -> dict[str, Any]:
        """The layers of a pair, and its score there on the rows that are matched."""
        metric = self._context.metric.metric
        x, y = (self._summarized(label) for label in pair)
        if self._settings.layers == "last":
            at = len(x[REST].layers) - 1, len(y[REST].layers) - 1
        else:
            at = best_layers(metric, x[CHOOSE], y[CHOOSE])[:2]
        score = metric.compare([x[REST].summaries[at[0]]], [y[REST].summaries[at[1]]])[0, 0]
        layers = [of[REST].layers[i] for of, i in zip((x, y), at, strict=True)]
        return {"layers": layers, "alignment": None if np.isnan(score) else float(score)}

    def _summarized(self, label: str) -> OnRows:
        if label not in self._summaries:
            sets = {REST: np.sort(self._rest)}
            sets |= {CHOOSE: np.sort(self._choose)} if len(self._choose) else {}
            self._summaries[label] = summarized(self._context, label, sets)
        return self._summaries[label]

    def _side(self, label: str, layer: int) -> Side:
        """One layer of a model; whitened by all rows, of no pairs."""
        if (label, layer) not in self._sides:
            features = self._context.prepared(label)[layer].double().numpy()
            if self._settings.whiten:
                features = whitened(features)
            self._sides[label, layer] = features
        return self._sides[label, layer]


def _interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean and 95 % of what other random subsets of the same items would give."""
    mean = float(values.mean())
    reach = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return max(0.0, mean - reach), mean, min(1.0, mean + reach)
