"""The unit of work of extraction: a network that is opened once and reads ranges of rows.

Whoever cut the work writes down what comes back, but for ranges that a worker may write itself.
Axes: n samples, d features; one tensor `n d` per layer, since widths may differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from platorep.engines import Talk
from platorep.engines import Work as Doing
from platorep.features import Cell
from platorep.models import Loaded, Reading, environment
from platorep.models.base import Auto, Samples
from platorep.workplace import Home, ModelThere


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Which network, where it computes, and how it is given its rows."""

    labels: str
    """Of all models that it stands for."""
    model: ModelThere
    device: str
    dtype: str
    batch: int | Auto
    workers: int | Auto


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A part: rows of a view."""

    labels: str
    """Of all models for which this view is read."""
    shard: int
    """Whose rows they are."""
    rows: Sequence[int]
    """Numbers of `samples`."""
    samples: Samples = field(repr=False)
    cells: Mapping[str, int] = field(default_factory=dict)
    """Folders in the cache, of cells that are described: whoever sees the cache writes the shard
    there. And which of the network's pools each of them is of."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What comes back of a part."""

    features: Sequence[Float[np.ndarray, "n _"]]
    """One float32 array per layer: all layers with the first pool, then all with the next. Nothing
    where they are written already."""
    layers: tuple[str, ...]
    facts: Mapping[str, Any]
    """What made them, and what a user should know of that."""


@contextmanager
def opens_network(talk: Talk, forward: Forward, files: Mapping[str, bytes]) -> Iterator[Doing]:
    """Load the network; its work is `Rows` -> `Made`."""
    report, device = talk.report, torch.device(forward.device)
    report.detail(f"{forward.labels}: loading on {device}")
    model = forward.model.open(files)
    with closing(model.load(device, getattr(torch, forward.dtype))) as loaded:
        about, last = environment(device), ""

        def tell_notes() -> None:
            for note in loaded.notes if last else ():
                report.warn(f"{last}: {note}")

        def work(part: Rows) -> Made:
            nonlocal last
            if part.labels != last:
                tell_notes()
                loaded.forget()
                last = part.labels
            reading = Reading(
                part.rows,
                part.samples,
                batch=forward.batch,
                workers=forward.workers,
                sent=not forward.model.home.is_here,
                progress=talk.advance,
            )
            features = loaded.features(reading)
            if _write(forward.model.home, part, features, len(loaded.layers)):
                features = []
            return Made(
                features=[layer.numpy() for layer in features],
                layers=loaded.layers,
                facts=_facts(loaded, about),
            )

        yield work
        tell_notes()
        for detail in loaded.details:
            report.detail(f"{forward.labels}: {detail}")


def _write(
    home: Home, part: Rows, features: Sequence[Float[Tensor, "n _"]], num_layers: int
) -> bool:
    """Write the shard of every cell; False: the cache is not seen, or that is not asked."""
    root = home.seen() if part.cells else None
    if root is None:
        return False
    for folder, pool in part.cells.items():
        own = features[pool * num_layers : (pool + 1) * num_layers]
        Cell(root / folder).write_shard(part.shard, own)
    return True


def _facts(loaded: Loaded, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "environment": about,
        "notes": list(loaded.notes),
        "batches": loaded.batching.value,
    }
