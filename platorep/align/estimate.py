"""How long a metric will take on this machine: a small sample, multiplied."""

import time
from collections.abc import Sequence

import torch

from platorep.align.asked import Asked
from platorep.errors import PlatorepError
from platorep.metrics import summarize_layer

SAMPLE_LAYERS = 3
MOST_ROWS = 4096


def expected_seconds(
    asked: Asked,
    n: int,
    num_permutations: int,
    widths: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int]],
) -> float | None:
    """Seconds for all model pairs, null included; None where a sample would itself take long.

    Args:
        widths: Of the layers of each model.
        pairs: Places in `widths` of the models that are scored against each other.
    """
    if n > MOST_ROWS or not pairs:
        return None
    used = sorted({place for pair in pairs for place in pair})
    all_widths = sorted(width for place in used for width in widths[place])
    rng = torch.Generator().manual_seed(0)
    sample = [torch.randn(n, all_widths[len(all_widths) // 2], generator=rng)] * SAMPLE_LAYERS
    try:
        started = time.perf_counter()
        layers = [summarize_layer([asked.metric], layer)[0] for layer in sample]
        summarized = time.perf_counter()
        asked.metric.compare(layers, layers)
        compared = time.perf_counter()
    except PlatorepError:  # the metric refuses such features: align will say so
        return None
    per_layer = (summarized - started) / SAMPLE_LAYERS
    per_pair = (compared - summarized) / SAMPLE_LAYERS**2
    num_layers, num_pairs = len(all_widths), sum(len(widths[i]) * len(widths[j]) for i, j in pairs)
    if asked.best_of is not None or asked.config.layers == "last":
        num_layers, num_pairs = len(used), len(pairs)
    times = 1 + (num_permutations if asked.has_null else 0)
    return per_layer * num_layers + per_pair * num_pairs * times
