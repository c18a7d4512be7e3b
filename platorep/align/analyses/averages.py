"""Scores of features averaged over several observations of the same events.

The averages are of raw pooled features, which are then preprocessed as those of one observation
are: of one observation alone the score is that of best.csv.
Axes: n samples, d features.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from platorep.align.analyses.context import Context
from platorep.align.asked import Asked
from platorep.align.summaries import ALL, RowSets, Summaries, Summarized, prepared_layers, summarize
from platorep.config.analyses import ObservationsConfig
from platorep.errors import DataError
from platorep.statistics import chance_level, closest, rest_of_parts

VERSION = "observations-1"  # raise when the meaning of a score changes
PARTS = 8
"""Of the rows: intervals are from what comes out without each."""
SHUFFLES = 10
"""Of a partner's rows, for the score of nothing in common where no formula is known."""
KEPT, AGAIN = "kept", "again"
"""The layers of best.csv, or the averaged model's best with the partner's as it was."""
Layers = list[Float[Tensor, "n _"]]
Records = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """A pair of best.csv, one of whose models is averaged."""

    x: str
    y: str
    metric: Asked
    side: str
    """x or y: whose features are averaged."""
    layer_x: int
    layer_y: int

    @property
    def own(self) -> tuple[str, int]:
        """The averaged model and its layer."""
        return (self.x, self.layer_x) if self.side == "x" else (self.y, self.layer_y)

    @property
    def partner(self) -> tuple[str, int]:
        return (self.y, self.layer_y) if self.side == "x" else (self.x, self.layer_x)

    def scores(self, own: Summarized, partner: Summarized) -> Float[np.ndarray, " l"]:
        """Of every layer in `own`, averaged, with the one in `partner`."""
        x, y = (own, partner) if self.side == "x" else (partner, own)
        return self.metric.metric.compare(x.summaries, y.summaries).ravel()


def averaged(observations: Sequence[Layers]) -> Layers:
    """The mean of each layer over observations; of one alone the layers themselves.

    Raises:
        DataError: a layer has different widths.
    """
    if len(observations) == 1:
        return observations[0]
    found = []
    for number, layers in enumerate(zip(*observations, strict=True)):
        if len({layer.shape[1] for layer in layers}) > 1:
            widths = ", ".join(str(layer.shape[1]) for layer in layers)
            raise DataError(
                f"layer {number} has {widths} dimensions on the observations, so that they have no "
                "mean"
            )
        found.append(torch.stack(layers).mean(dim=0))
    return found


def subsets_of(num: int, most: int, seed: int) -> list[tuple[int, ...]]:
    """Subsets of 0 ... num - 1, by size: all of a size, or `most` random ones where there are more.

    The first is {0}, the last holds all.
    """
    found: list[tuple[int, ...]] = []
    for size in range(1, num + 1):
        if math.comb(num, size) <= most:
            found += combinations(range(num), size)
            continue
        rng = np.random.default_rng([seed, num, size])
        drawn = {(0,)} if size == 1 else set[tuple[int, ...]]()
        while len(drawn) < most:
            drawn.add(tuple(sorted(rng.choice(num, size, replace=False).tolist())))
        found += sorted(drawn)
    return found


@dataclass
class Averages:
    """Averages models one after the other, and holds each against its partners."""

    context: Context
    settings: ObservationsConfig
    looks: Mapping[str, Sequence[Look]]
    """By the model that is averaged."""
    _partners: dict[tuple[str, bool], Summaries] = field(default_factory=dict)

    @cached_property
    def sets(self) -> RowSets:
        """All rows, and the rest without each part of them."""
        rests = rest_of_parts(self.context.n, PARTS, self.settings.seed)
        return {ALL: None} | {f"without {i}": rows for i, rows in enumerate(rests)}

    def of_model(self, label: str) -> list[Records]:
        """For each look of a model `floors`, the scores of nothing in common on each set of rows,
        and `records`, one for each of its averages: `scores` on the same sets, and what it is.

        Finished ones are read.

        Raises:
            AbsentError, IntegrityError: features on another observation are not there.
        """
        partners = [look.partner[0] for look in self.looks[label]]
        keys = {
            name: [
                [copy, self.context.aligned(copy).key]
                for copy in (*self.observations(name), *self.context.joined(name).values())
            ]
            for name in (label, *partners)
        }
        asked = [
            [
                *(look.metric.label, look.metric.config.layers == "all", look.metric.code),
                *(look.side, look.partner[0], look.layer_x, look.layer_y),
            ]
            for look in self.looks[label]
        ]
        decides = [label, sorted(keys.items()), asked, self.settings.model_dump(mode="json")]
        found: list[Records] = self.context.kept(VERSION, decides, lambda: self._made(label))
        return found

    def observations(self, label: str) -> list[str]:
        """Labels of a model and of its copies on other observations that it can be averaged with:
        none of a bag of words, which has its own words, and so dimensions, in each."""
        spec = self.context.aligned(label).spec
        if spec.is_baseline and spec.modality == "language":
            return [label]
        return [label, *self.context.repeats(label).values()]

    def _made(self, label: str) -> list[Records]:
        looks = self.looks[label]
        found: list[Records] = [{"records": []} for _ in looks]
        for said, raw in self._versions(label):
            own = self._summaries(label, raw)
            again = self._every_layer(label, raw) if said["m"] > 1 and said["last"] else {}
            for look, of_look in zip(looks, found, strict=True):
                partner = self._partner(look.partner[0], whole=False)
                if not of_look["records"]:
                    of_look["floors"] = self._floors(look, own, partner)
                of_look["records"].append(said | self._record(look, own, partner))
                if look.metric.label in again:
                    of_look["records"].append(said | _best_layer(look, again, partner))
                num = len(self.observations(look.partner[0]))
                if num > 1 and not said["joined"]:
                    partner = self._partner(look.partner[0], whole=True)
                    of_look["records"].append(said | self._record(look, own, partner, num))
        return found

    def _versions(self, label: str) -> Iterator[tuple[Records, Layers]]:
        """What stands for one observation: averages, then joined ones; `last`: of all there are."""
        copies = self.observations(label)
        read = [self._raw(copy) for copy in copies]
        views = [self.context.aligned(copy).spec.view for copy in copies]
        for subset in subsets_of(len(read), self.settings.subsets, self.settings.seed):
            name = " + ".join(views[i] for i in subset)
            said = {"m": len(subset), "subset": name, "joined": False}
            yield said | {"last": len(subset) == len(read)}, averaged([read[i] for i in subset])
        for m, copy in self.context.joined(label).items():
            view = self.context.aligned(copy).spec.view
            yield {"m": m, "subset": view, "joined": True, "last": True}, self._raw(copy)

    def _raw(self, label: str) -> Layers:
        return self.context.aligned(label).cell.read(self.context.n)

    def _partner(self, label: str, *, whole: bool) -> Summaries:
        """Of a model that is not averaged now: with one observation, or with all it has."""
        if (label, whole) not in self._partners:
            copies = self.observations(label) if whole else [label]
            raw = averaged([self._raw(copy) for copy in copies])
            self._partners[label, whole] = self._summaries(label, raw)
        return self._partners[label, whole]

    def _summaries(self, label: str, raw: Layers) -> Summaries:
        """On all sets of rows, at the layers at which a model is looked at from either side."""
        needed: dict[str, tuple[Asked, set[int]]] = {}
        for look in (look for looks in self.looks.values() for look in looks):
            for model, layer in (look.own, look.partner):
                if model == label:
                    needed.setdefault(look.metric.label, (look.metric, set()))[1].add(layer)
        asked = [metric for metric, _ in needed.values()]
        chosen = {name: sorted(numbers) for name, (_, numbers) in needed.items()}
        only = sorted(set().union(*chosen.values()))
        layers = prepared_layers(self.context.config, label, raw, only)
        return summarize(asked, layers, self.sets, self.context.device, chosen)

    def _every_layer(self, label: str, raw: Layers) -> Summaries:
        """On all rows, under the metrics that choose among all layers and cost little."""
        asked = [
            a
            for a in dict.fromkeys(look.metric for look in self.looks[label])
            if a.config.layers == "all" and a.has_null
        ]
        layers = prepared_layers(self.context.config, label, raw)
        return summarize(asked, layers, {ALL: None}, self.context.device)

    def _record(self, look: Look, own: Summaries, partner: Summaries, num: int = 1) -> Records:
        """The scores at the layers of best.csv; `num`: observations behind the partner."""
        scores = [
            float(look.scores(*_at_layers(look, own, partner, name))[0]) for name in self.sets
        ]
        return {"partner_m": num, "layers": KEPT, "layer": look.own[1], "scores": scores}

    def _floors(self, look: Look, own: Summaries, partner: Summaries) -> list[float]:
        found = []
        for name in self.sets:
            one, other = (side.summaries[0] for side in _at_layers(look, own, partner, name))
            rng = np.random.default_rng([self.settings.seed, one.n])
            orders = (rng.permutation(one.n) for _ in range(SHUFFLES))
            found.append(chance_level(look.metric.metric, one, other, orders))
        return found


def _at_layers(
    look: Look, own: Summaries, partner: Summaries, rows: str
) -> tuple[Summarized, Summarized]:
    metric = look.metric.label
    return own[metric][rows].at(look.own[1]), partner[metric][rows].at(look.partner[1])


def _best_layer(look: Look, own: Summaries, partner: Summaries) -> Records:
    metric = look.metric.label
    every = own[metric][ALL]
    scores = look.scores(every, partner[metric][ALL].at(look.partner[1]))
    usable = np.array([reason is None for reason in every.reasons])
    larger = look.metric.metric.claims.larger_is_closer
    place = closest(scores, usable, larger_is_closer=larger)
    layer = -1 if place is None else int(every.layers[place])
    score = math.nan if place is None else float(scores[place])
    return {"partner_m": 1, "layers": AGAIN, "layer": layer, "scores": [score]}
