"""Batches that fit, halved when memory runs out, and a place for what they give.

Axes: n rows of a dataset, b rows of a batch, d features.
"""

import gc
from collections.abc import Callable, Sequence
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import AbsentError, ConfigError


class Batching(Enum):
    """Which samples may stand in one batch without moving each other's features."""

    ANY = "any"
    EQUAL_LENGTH = "equal length"
    ONE_BY_ONE = "one by one"


class Batches:
    """Runs a step over batches; remembers what turned out to fit."""

    def __init__(self, budget: int, batching: Batching = Batching.ANY) -> None:
        self.budget = budget
        self._batching = batching

    def run(self, costs: Sequence[int], step: Callable[[int, int], None], unit: str) -> None:
        """Call `step(start, stop)` until all of `costs` (dearest first) are done.

        A batch is padded to its dearest item: (stop - start) * costs[start] <= budget, or one
        item. A step that runs out of memory is repeated with half the budget. Where only items
        of equal length may stand together, their costs are their lengths.

        Raises:
            AbsentError: memory runs out with a single item.
        """
        start = 0
        while start < len(costs):
            stop = min(start + max(1, self.budget // costs[start]), len(costs))
            if self._batching is Batching.EQUAL_LENGTH:
                stop = start + costs[start:stop].count(costs[start])
            elif self._batching is Batching.ONE_BY_ONE:
                stop = start + 1
            try:
                step(start, stop)
                start = stop
                continue
            except torch.OutOfMemoryError as error:
                if stop - start == 1:
                    raise AbsentError(
                        f"GPU memory ran out with a single sample ({costs[start]} {unit}): {error} "
                        "Use a larger GPU, `dtype: bfloat16`, `device_map: auto` over several "
                        "GPUs, or --device cpu."
                    ) from error
            # Outside the handler, so that the traceback no longer keeps the tensors alive.
            self.budget = (stop - start) * costs[start] // 2
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


class PooledRows:
    """One `n d` float32 CPU tensor per layer, filled batch by batch in any order.

    Small results kept from every batch, between the large tensors of the next, would keep the
    allocator from using that memory again.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self.layers: list[Float[Tensor, "n _"]] = []

    def fill(self, places: Sequence[int], pooled: Sequence[Float[Tensor, "b _"]]) -> None:
        """Put the rows of a batch, one tensor per layer, to their places."""
        if not self.layers:
            self.layers = [
                torch.empty(self._num_rows, part.shape[1], dtype=torch.float32, device="cpu")
                for part in pooled
            ]
        for layer, part in zip(self.layers, pooled, strict=True):
            refuse_other_width(part, layer)
            layer[list(places)] = part.float().cpu()


def refuse_other_width(found: Float[Tensor, "b _"], expected: Float[Tensor, "n _"]) -> None:
    """Raise a ConfigError where a layer is as wide as its sample is long."""
    if found.shape[1] != expected.shape[1]:
        raise ConfigError(
            f"a layer has {expected.shape[1]} features for one sample and {found.shape[1]} for "
            "another, so its axes are others than b t d. Tap another module (`layers`); a module "
            'of your own can say `output_fmt = "NCL"` (b d t).'
        )


def by_pool(layers: Sequence[Float[Tensor, "b _"]], num_pools: int) -> list[Float[Tensor, "b _"]]:
    """Layers whose vectors of several pools stand side by side: all with the first pool, then all
    with the next."""
    parts = [layer.chunk(num_pools, dim=1) for layer in layers]
    return [of_layer[i] for i in range(num_pools) for of_layer in parts]
