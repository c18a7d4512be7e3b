"""How long a metric will take on this machine: small samples, multiplied."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from platorep.align.asked import Asked
from platorep.config import GalleryConfig
from platorep.errors import PlatorepError
from platorep.metrics import summarize_layer
from platorep.metrics.candidates import room_bytes
from platorep.metrics.gallery import Galleries, search_galleries

FEW, MORE = 2, 8
"""Layers of the two samples; what they differ in tells cost per layer from cost per pair."""
MOST_ROWS = 4096
SAMPLE_GALLERY = 2048


def expected_seconds(
    asked: Asked,
    n: int | None,
    num_permutations: int,
    widths: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int]],
) -> float | None:
    """Seconds for all model pairs, null included; None where a sample would itself take long.

    Args:
        n: Rows, if known.
        widths: Of the layers of each model.
        pairs: Places in `widths` of the models that are scored against each other.
    """
    if n is None or n > MOST_ROWS or not pairs:
        return None
    used = sorted({place for pair in pairs for place in pair})
    all_widths = sorted(width for place in used for width in widths[place])
    rng = torch.Generator().manual_seed(0)
    layer = torch.randn(n, all_widths[len(all_widths) // 2], generator=rng)
    order = np.random.default_rng(0).permutation(n)
    try:
        per_layer = _seconds(lambda: summarize_layer([asked.metric], layer))
        (summary,) = summarize_layer([asked.metric], layer)
        few, more = (
            _seconds(partial(scorer, order))
            for scorer in (asked.metric.prepare([summary] * m, [summary] * m) for m in (FEW, MORE))
        )
    except PlatorepError:  # the metric refuses such features: align will say so
        return None
    # m layers a side: m a + m^2 b = seconds of one comparison
    per_pair = max(0.0, more / MORE - few / FEW) / (MORE - FEW)
    per_order = max(0.0, few / FEW - FEW * per_pair)
    num_layers, num_pairs = len(all_widths), sum(len(widths[i]) * len(widths[j]) for i, j in pairs)
    if asked.config.best_of is not None or asked.config.layers == "last":
        num_layers, num_pairs = len(used), len(pairs)
    times = 1 + (num_permutations if asked.has_null else 0)
    return per_layer * num_layers + (per_order * num_layers + per_pair * num_pairs) * times


@dataclass(frozen=True)
class GalleryCost:
    """What the galleries of an experiment take, beside the features."""

    largest: int
    """Rows of the largest gallery."""
    memory_bytes: int
    """Candidates of one layer, in the memory of the device; nothing else grows with n."""
    disk_bytes: int
    """Neighbor lists of one layer for every model."""
    seconds: float | None
    """To search one layer of every model here; None: the widths are not known."""


def gallery_cost(
    gallery: GalleryConfig, num_rows: int, widths: Sequence[Sequence[int]], num_models: int
) -> GalleryCost:
    """Measured on a small gallery and multiplied; reading from the disk comes on top."""
    sizes = [num_rows if size == "all" else int(size) for size in gallery.sizes]
    ks = [gallery.neighbors(rule, n) for n in sizes for rule in gallery.k]
    q = gallery.queries
    seconds = None
    if widths:
        d = sorted(max(of_model) for of_model in widths)[len(widths) // 2]
        features = torch.randn(q + SAMPLE_GALLERY, d, generator=torch.Generator().manual_seed(0))
        level = np.zeros(len(features), dtype=np.int8)
        started = time.perf_counter()
        search_galleries(
            features[:q],
            lambda rows: iter(
                [(np.arange(len(features)), features)]
                if rows is None
                else [(rows, features[torch.from_numpy(rows)])]
            ),
            Galleries(q, (len(features),), level),
            [(len(features), 10)],
            similarity="cosine",
        )
        seconds = (time.perf_counter() - started) * max(sizes) / len(features) * num_models
    return GalleryCost(
        max(sizes), room_bytes(q, max(ks), max(sizes)), 4 * q * sum(ks) * num_models, seconds
    )


def _seconds(call: Callable[[], object]) -> float:
    """The faster of two calls: what else runs on the machine can only slow them down."""
    found = []
    for _ in range(2):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)
