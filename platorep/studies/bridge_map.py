"""`platorep bridge map`: does a map that is fitted on some pairs find the others?"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from platorep.align.summaries import OnRows
from platorep.align.tables import family_of_tests
from platorep.bridges.maps import Axes, Fit, principal_axes
from platorep.bridges.parts import Parts, divide, groups_of_copies
from platorep.config.bridges import MapConfig
from platorep.errors import DataError
from platorep.plots.about import framed
from platorep.plots.bridge_map import bridge_map_points, draw_bridge_map, say_bridge_map
from platorep.statistics import Permutations, draw_order
from platorep.studies.choosing import (
    best_layers,
    decides_layers,
    refuse_chosen_elsewhere,
    summarized,
)
from platorep.studies.context import Context, Found
from platorep.studies.map_tables import (
    both_ways,
    in_short,
    map_table,
    numbers,
    predictions,
    rank_all,
)

MAP_VERSION = 1  # raise when the meaning of a number changes
FEWEST = 20
"""Rows to search, and to fit on."""
CHOOSE, SEARCH = "choose", "search"
Pair = tuple[str, str]


@dataclass(frozen=True)
class Chosen:
    """The layers of a pair: the best on the first part, with their score there and on the third."""

    layer_x: int
    layer_y: int
    score_chosen: float
    score: float


def bridge_map(context: Context) -> Found:
    """The tables `bridge_map` and `bridge_map_prediction`, and the figure `bridge_map`.

    Raises:
        ConfigError: the first metric of `align` is asked at layers that another one chooses.
        DataError: too few rows for three parts.
    """
    refuse_chosen_elsewhere(context, "bridge map")
    pairs, settings = context.pairs, context.run.config.bridge.map
    parts = divide_rows(context, pairs, settings)
    table = map_table(_Pairs(context, settings, parts, pairs).rows())
    if table.empty:
        return Found(tables={"bridge_map": table}, figures={}, shown=table)
    both = both_ways(table)
    found = {"bridge_map": table, "bridge_map_prediction": predictions(both)}
    points = bridge_map_points(both, found["bridge_map_prediction"])
    about = context.about(say_bridge_map(both))
    figures = {"bridge_map": (framed(draw_bridge_map, points, about), points)}
    return Found(tables=found, figures=figures, shown=in_short(both))


def divide_rows(context: Context, pairs: Sequence[Pair], settings: MapConfig) -> Parts:
    """The three parts; copies in any view that a model reads stay together.

    Raises:
        DataError: a part has too few rows.
    """
    rows = context.rows
    rows = rows.iloc[: context.run.config.align.scored_rows(len(rows))]
    labels = dict.fromkeys(itertools.chain.from_iterable(pairs))
    read = dict.fromkeys(context.specs[label].hashes_column for label in labels)
    groups = groups_of_copies([list(rows[column]) for column in read if column], len(rows))
    parts = divide(groups, settings.choose, settings.fit, settings.seed)
    sizes = [len(parts.choose), len(parts.fit), len(parts.search)]
    if min(sizes[1:]) < FEWEST:
        together = int(np.bincount(groups).max())
        raise DataError(
            f"bridge map: of the {len(rows)} rows {', '.join(map(str, sizes))} are to choose "
            f"layers, to fit and to search, and it takes {FEWEST} each to fit and to search"
            + (f" ({together} rows are copies of each other and stay together)" * (together > 1))
            + ". Take more rows (dataset.limit), or change bridge.map.choose and fit."
        )
    context.metric.metric.check(len(parts.choose), 1)
    context.metric.metric.check(len(parts.search), 1)
    return parts


class _Pairs:
    """All pairs at work: each layer is summarized and decomposed once, for those not yet done."""

    def __init__(
        self, context: Context, settings: MapConfig, parts: Parts, pairs: Sequence[Pair]
    ) -> None:
        self._context, self._settings, self._parts = context, settings, parts
        self._pairs = pairs
        self._chosen: dict[Pair, Chosen] = {}
        self._axes: dict[tuple[str, int], Axes] = {}

    def rows(self) -> list[dict[str, Any]]:
        """One row per pair, map, direction and similarity."""
        failures, run = self._context.failures, self._context.run
        decides = {}
        for pair in self._pairs:
            with failures.catch(" x ".join(pair)):
                decides[pair] = self._decides(pair)
        missing = [pair for pair in decides if run.will_make(f"map-{MAP_VERSION}", decides[pair])]
        self._prepare(missing)
        rows: list[dict[str, Any]] = []
        with run.report.task("maps", len(decides), "pairs") as advance:
            for pair in decides:
                name = " x ".join(pair)
                if not set(pair) & set(failures.errors) and name not in failures.errors:
                    with failures.catch(name):
                        make = partial(self._search, pair)
                        made = run.kept(f"map-{MAP_VERSION}", decides[pair], make)
                        rows += [self._about(pair) | row for row in made]
                advance(1)
        return rows

    def _decides(self, pair: Pair) -> list[Any]:
        """All that moves a pair's numbers."""
        parts = self._parts
        return [
            *decides_layers(self._context, *pair),
            [part.tolist() for part in (parts.choose, parts.fit, parts.search)],
            self._settings.model_dump(mode="json"),
        ]

    def _about(self, pair: Pair) -> dict[str, Any]:
        x, y = (self._context.specs[label] for label in pair)
        return {
            "x": x.label,
            "y": y.label,
            "x_family": x.family,
            "y_family": y.family,
            "kind": family_of_tests(x, y),
        }

    def _prepare(self, pairs: Sequence[Pair]) -> None:
        """Choose the layers of these pairs, and put them on their axes."""
        context = self._context
        labels = dict.fromkeys(itertools.chain.from_iterable(pairs))
        summaries: dict[str, OnRows] = {}
        with context.run.report.task("layers", 2 * len(labels), "models") as advance:
            for label in labels:
                with context.failures.catch(label):
                    summaries[label] = self._summarize(label)
                advance(1)
            for pair in pairs:
                if set(pair) <= set(summaries):
                    with context.failures.catch(" x ".join(pair)):
                        self._chosen[pair] = self._choose(*(summaries[label] for label in pair))
            for label in labels:
                with context.failures.catch(label):
                    self._decompose(label)
                advance(1)

    def _summarize(self, label: str) -> OnRows:
        sets = {CHOOSE: self._parts.choose, SEARCH: self._parts.search}
        return summarized(self._context, label, sets)

    def _choose(self, x: OnRows, y: OnRows) -> Chosen:
        metric = self._context.metric.metric
        i, j, score = best_layers(metric, x[CHOOSE], y[CHOOSE])
        held_out = metric.compare([x[SEARCH].summaries[i]], [y[SEARCH].summaries[j]])
        return Chosen(x[CHOOSE].layers[i], y[CHOOSE].layers[j], score, float(held_out[0, 0]))

    def _decompose(self, label: str) -> None:
        wanted = {
            layer
            for (x, y), chosen in self._chosen.items()
            for of, layer in ((x, chosen.layer_x), (y, chosen.layer_y))
            if of == label
        }
        fit, search = (torch.from_numpy(rows) for rows in (self._parts.fit, self._parts.search))
        for layer in sorted(wanted):
            rows = self._context.prepared(label)[layer]
            try:
                self._axes[label, layer] = principal_axes(rows[fit], rows[search])
            except DataError as error:
                raise DataError(f"layer {layer}: {error}") from error

    def _search(self, pair: Pair) -> list[dict[str, Any]]:
        """What the maps of one pair find, and what maps find that were fitted to broken pairs."""
        settings, metric = self._settings, self._context.metric
        chosen = self._chosen[pair]
        x, y = self._axes[pair[0], chosen.layer_x], self._axes[pair[1], chosen.layer_y]
        num_fit, num_items = len(x.left), len(x.searched)
        about = {
            "metric": metric.label,
            "layer_x": chosen.layer_x,
            "layer_y": chosen.layer_y,
            "score_chosen": chosen.score_chosen,
            "score": None if math.isnan(chosen.score) else chosen.score,
            "score_chance": metric.metric.chance(num_items),
            "n_fit": num_fit,
            "n_items": num_items,
        }
        orders = Permutations(settings.permutations, settings.seed).orders(num_items)
        right = np.stack([np.arange(num_items), *orders])
        fit = Fit(x, y)
        broken = [
            rank_all(Fit(x, y.in_order(draw_order(num_fit, settings.seed, i))), settings.maps)
            for i in range(settings.refits)
        ]
        return [
            about | key.about(fit) | numbers(ranks, [of[key] for of in broken])
            for key, ranks in rank_all(fit, settings.maps, right).items()
        ]
