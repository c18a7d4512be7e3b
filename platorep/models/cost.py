"""What a forward pass costs, before any weight is loaded, and how fast this device multiplies."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from platorep.models.base import Description

TOKENS = 32
"""Of the text that a language model's cost per token is counted on."""
BYTES_PER_TOKEN = 4
"""Of English text, about; no tokenizer is asked."""


def count_flops(forward: Callable[[], object]) -> int | None:
    """Floating-point operations of all matrix products and convolutions in `forward`.

    A multiplication and an addition are two. None where the network cannot run without numbers:
    `forward` is meant to work on the meta device.
    """
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            forward()
    except Exception:  # a repository's own code may do anything without weights
        return None
    total = int(counter.get_total_flops())
    return total or None


def weight_bytes(about: Description, dtype: str) -> int | None:
    """Of all parameters in memory, in a compute precision."""
    return about.parameters and about.parameters * getattr(torch, dtype).itemsize


def products_per_second(device: torch.device, dtype: torch.dtype, size: int = 1024) -> float:
    """Floating-point operations per second of large matrix products on `device`.

    The best of a few: what else runs on the machine can only slow them down.
    """

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    size = size * 8 if device.type == "cuda" else size
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        wait()
        started = time.perf_counter()
        matrix @ matrix
        wait()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
