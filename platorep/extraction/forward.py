"""The unit of work of extraction: a network that is opened once and reads ranges of rows.

It knows of no cell: whoever cut the work writes down what comes back.
Axes: n samples, d features; one tensor `n d` per layer, since widths may differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from platorep.engines import Talk
from platorep.engines import Work as Doing
from platorep.models import Loaded, Reading, environment
from platorep.models.base import Auto, Samples
from platorep.workplace import ModelThere


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


@dataclass(frozen=True, kw_only=True)
class Made:
    """What comes back of a part."""

    features: Sequence[Float[np.ndarray, "n _"]]
    """One float32 array per layer: all layers with the first pool, then all with the next."""
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
            features = [layer.numpy() for layer in loaded.features(reading)]
            return Made(features=features, layers=loaded.layers, facts=_facts(loaded, about))

        yield work
        tell_notes()
        for detail in loaded.details:
            report.detail(f"{forward.labels}: {detail}")


def _facts(loaded: Loaded, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "environment": about,
        "notes": list(loaded.notes),
        "batches": loaded.batching.value,
    }
