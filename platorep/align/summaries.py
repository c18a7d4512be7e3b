"""What the metrics need to know of each model, worked out once, within a memory budget.

Axes: n samples, d features.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from platorep import metrics
from platorep.align.asked import Asked
from platorep.align.models import Aligned
from platorep.align.prepared import ModelLayers
from platorep.config import AlignConfig
from platorep.errors import DataError, PlatorepError
from platorep.machine import memory_bytes
from platorep.metrics import Summary
from platorep.preprocess import prepare
from platorep.statistics import disjoint_rows, subsamples

RowSets = Mapping[str, Int64[np.ndarray, " m"] | None]
"""Name -> rows of a subset, None for all of them."""
ALL, HALF, PART = "all", "half", "part"


@dataclass(frozen=True)
class Summarized:
    """Some layers of one model on some rows, as one metric sees them."""

    layers: Sequence[int]
    summaries: Sequence[Summary]

    def at(self, layer: int) -> "Summarized":
        """One of the layers, alone."""
        return Summarized([layer], [self.summaries[self.layers.index(layer)]])

    @property
    def reasons(self) -> list[str | None]:
        """Why a layer cannot win the maximum; None: it can."""
        return [summary.reason for summary in self.summaries]


OnRows = Mapping[str, Summarized]
"""Row set -> the layers of one model, as one metric sees them."""
Summaries = Mapping[str, OnRows]
"""Metric label -> the same; without the metrics that cannot take the model."""
LayerSummaries = Mapping[str, Mapping[str, Summary]]
"""Metric label -> row set -> one layer, as the metric sees it."""


def row_sets(align: AlignConfig, n: int) -> RowSets:
    """All rows, and the subsets that held-out layers and intervals need."""
    sets: dict[str, Int64[np.ndarray, " m"] | None] = {ALL: None}
    if align.held_out:
        halves = disjoint_rows(n, 2, align.null.seed)
        sets |= {f"{HALF} {i}": rows for i, rows in enumerate(halves)}
    if align.interval is not None:
        if align.interval.method == "disjoint":
            parts = disjoint_rows(n, align.interval.parts, align.interval.seed)
        else:
            size = align.interval.size or n // 2
            parts = subsamples(n, size, align.interval.parts, align.interval.seed)
        sets |= {f"{PART} {i}": rows for i, rows in enumerate(parts)}
    return sets


def prepared_layers(
    align: AlignConfig,
    label: str,
    features: Sequence[Float[Tensor, "n _"]],
    only: Sequence[int] | None = None,
) -> list[Float[Tensor, "n _"]]:
    """A model's layers as they are scored; all of them side by side after the last, if asked.

    Args:
        only: Numbers of the layers that are looked at; the others stay as they are.

    Raises:
        DataError: a value is not finite; names the model, the layer and the row.
    """
    layers = list(features)
    chosen = range(len(layers)) if only is None or align.concatenated else only
    try:
        for number, prepared in zip(
            chosen, prepare(features, align.preprocess, chosen), strict=True
        ):
            layers[number] = prepared.rows
    except DataError as error:
        raise DataError(f"{label}: {error}") from error
    return [*layers, torch.cat(layers, dim=1)] if align.concatenated else layers


def summarize(
    asked: Sequence[Asked],
    layers: Sequence[Float[Tensor, "n _"]] | ModelLayers,
    sets: RowSets,
    device: torch.device,
    chosen: Mapping[str, Sequence[int]] | None = None,
) -> Summaries:
    """Work out once what the metrics need of each layer.

    Args:
        chosen: Metric label -> layers, in place of those that the metric is asked at.
    """
    numbers = chosen or {a.label: a.layers(len(layers)) for a in asked}
    made = {
        number: summarize_layer(
            [a for a in asked if number in numbers[a.label]], layers[number], sets, device
        )
        for number in sorted(set().union(*numbers.values()))
    }
    return {a.label: on_rows(a.label, made, sets) for a in asked}


def summarize_layer(
    asked: Sequence[Asked], layer: Float[Tensor, "n d"], sets: RowSets, device: torch.device
) -> dict[str, dict[str, Summary]]:
    """One layer, as the metrics see it on each set of rows; see `LayerSummaries`."""
    made: dict[str, dict[str, Summary]] = {a.label: {} for a in asked}
    on_device = layer.to(device)
    for name, rows in sets.items():
        part = on_device if rows is None else on_device[torch.from_numpy(rows).to(device)]
        summaries = metrics.summarize_layer([a.metric for a in asked], part)
        for a, summary in zip(asked, summaries, strict=True):
            made[a.label][name] = summary
    return made


def on_rows(metric: str, layers: Mapping[int, LayerSummaries], sets: RowSets) -> OnRows:
    """The layers that a metric has seen, together.

    Args:
        metric: Its label.
        layers: By their numbers.
    """
    numbers = [number for number in sorted(layers) if metric in layers[number]]
    return {
        name: Summarized(numbers, [layers[number][metric][name] for number in numbers])
        for name in sets
    }


def budget_bytes(align: AlignConfig, device: torch.device) -> int:
    """Most that summaries may take: `align.memory`, or a quarter of the device's memory."""
    if align.memory is not None:
        unit = {"MiB": 2**20, "GiB": 2**30}[align.memory[-3:]]
        return int(float(align.memory[:-3]) * unit)
    if device.type == "cuda":
        total: int = torch.cuda.get_device_properties(device).total_memory
        return total // 4
    return memory_bytes() // 4


def blocks(
    models: Sequence[Aligned], asked: Sequence[Asked], sets: RowSets, n: int, budget: int
) -> list[list[Aligned]]:
    """The models in groups whose summaries fit into the budget together; one model at least.

    Measured on one made-up layer per width. How models are grouped moves no score.
    """
    rng = torch.Generator().manual_seed(0)
    sizes: dict[int, int] = {}

    def bytes_of(model: Aligned) -> int:
        total = 0
        for layer in model.cell.meta["layers"]:
            width = int(layer["width"])
            if width not in sizes:
                made_up = [torch.randn(n, width, generator=rng)]
                chosen = {a.label: [0] for a in asked}
                try:
                    of_width = summarize(asked, made_up, sets, torch.device("cpu"), chosen)
                    sizes[width] = held_bytes(of_width)
                except PlatorepError:  # no model of this width will have summaries
                    sizes[width] = 0
            total += sizes[width]
        return total

    groups: list[list[Aligned]] = []
    room = 0
    for model in models:
        needed = bytes_of(model)
        if groups and needed <= room:
            groups[-1].append(model)
        else:
            groups.append([model])
            room = budget
        room -= needed
    return groups


def held_bytes(value: Any) -> int:
    """Bytes of all arrays inside a summary, or a structure of summaries."""
    if isinstance(value, (np.ndarray, Tensor)):
        return int(value.nbytes)
    if dataclasses.is_dataclass(value):
        return sum(held_bytes(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(held_bytes(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(held_bytes(part) for part in value)
    return 0
