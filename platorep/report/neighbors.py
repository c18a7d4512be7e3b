"""Who is near whom: lists of neighbors, layer by layer, as the page carries them.

Axes: n rows that were scored, m rows on the page, k neighbors.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Int64, Integer

from platorep.errors import PlatorepError
from platorep.opened import Opened, neighbor_parameters
from platorep.parameters.metrics import MutualKnn
from platorep.report.content import Neighbors
from platorep.report.models import TRAINED

BUDGET = 4_000_000
"""Characters of all lists together."""
MOST_ALL = 2048
"""Rows up to which all layers are searched, where there is room; above, which takes long, only
those that a pair of models is best at."""
MOST_NAMED = 3
"""Layers without neighbors that are named one by one."""
GOLDEN = (5**0.5 - 1) / 2


@dataclass
class Lists:
    """Neighbor lists of some layers, and why others have none."""

    k: int
    found: list[Neighbors] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def neighbor_rule(opened: Opened, pairs: pd.DataFrame) -> MutualKnn:
    """How the page tells neighbors: as the experiment's first metric on neighbors does."""
    metrics = [str(name) for name in pairs["metric"].unique()]
    of_lists = [name for name in metrics if "_knn{" in name or "rank_similarity{" in name]
    rule = neighbor_parameters(opened, (of_lists or metrics or [""])[0])
    k = min(rule.k, len(opened.ids) - 1)
    return rule.model_copy(update={"k": k})


def wanted_layers(pairs: pd.DataFrame, layers: dict[str, int]) -> list[tuple[str, int]]:
    """Model and layer, those that trained pairs are best at first, then those of other pairs, then
    all others.

    Args:
        layers: How many each model has, of models all of whose layers are wanted.
    """
    known = pairs[pairs["layer_x"].ge(0) & pairs["layer_y"].ge(0)]
    known = known.sort_values("kind", key=lambda kinds: kinds != TRAINED, kind="stable")
    sides = [
        [(str(m), int(i)) for m, i in zip(known[side], known[f"layer_{side}"], strict=True)]
        for side in "xy"
    ]
    best = [place for both in zip(*sides, strict=True) for place in both]
    others = [(label, index) for label, count in layers.items() for index in range(count)]
    return list(dict.fromkeys([*best, *others]))


def chosen_rows(
    opened: Opened, best: pd.Series | None, rule: MutualKnn, most: int
) -> Int64[np.ndarray, " m"]:
    """All rows; or, where they are too many, as many as may be shown.

    Rows spread evenly over the data, each with all its neighbors in the best pair of trained
    models, so that there are pictures to see beside it. Where there is none, or the features are
    not here, the rows alone.
    """
    n = len(opened.ids)
    if n <= most:
        return np.arange(n)
    spread = evenly(n)
    taken = dict.fromkeys(spread[: max(1, most // (2 * rule.k + 1))].tolist())
    if best is not None:
        asked = np.array([*taken])
        with suppress(PlatorepError):
            for side in "xy":
                lists = opened.nearest(best[side], int(best[f"layer_{side}"]), rule, asked)
                taken |= dict.fromkeys(lists.ravel().tolist())
    taken |= dict.fromkeys(spread[:most].tolist())
    return np.sort(np.array([*taken][:most]))


def evenly(n: int) -> Int64[np.ndarray, " n"]:
    """All numbers below n in an order whose every beginning is spread evenly: by golden steps."""
    order: Int64[np.ndarray, " n"] = np.argsort(np.argsort(np.arange(n) * GOLDEN % 1))
    return order


def encoded(lists: Integer[np.ndarray, "m k"], n: int) -> str:
    """As `Neighbors.data`."""
    return base64.b64encode(lists.astype("<u2" if n <= 1 << 16 else "<u4").tobytes()).decode()


def lists_of(
    opened: Opened,
    wanted: Sequence[tuple[str, int]],
    rows: Integer[np.ndarray, " m"],
    rule: MutualKnn,
) -> Lists:
    """The lists of as many layers as there is room for, in this order of preference."""
    n = len(opened.ids)
    size = 4 * -(-len(rows) * rule.k * (2 if n <= 1 << 16 else 4) // 3)
    room = wanted[: max(1, BUDGET // max(size, 1))]
    made = Lists(rule.k)
    if len(room) < len(wanted):
        left_out = [f"layer {layer} of {model}" for model, layer in wanted[len(room) :]]
        which = f" Without: {', '.join(left_out)}." if len(left_out) <= MOST_NAMED else ""
        made.notes.append(
            f"Neighbors are on the page for {len(room)} of {len(wanted)} layers, the best of "
            f"trained pairs first: more would make it too large.{which}"
        )
    absent: dict[str, str] = {}
    for model, layer in sorted(room, key=lambda place: place[0]):  # a model's layers in a row
        if model in absent:
            continue
        try:
            lists = opened.nearest(model, layer, rule, None if len(rows) == n else rows)
        except PlatorepError as error:
            absent[model] = str(error)
            continue
        data = encoded(lists, n)
        made.found.append(Neighbors(model=model, layer=layer, k=rule.k, data=data))
    if absent:
        first = next(iter(absent))
        made.notes.append(
            f"No neighbors of {len(absent)} models, whose features cannot be read here, such as "
            f"{first}: {absent[first]}"
        )
    return made
