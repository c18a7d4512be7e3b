"""Float32 means float32: no shortened products, whatever a global switch says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute products and convolutions of float32 tensors in float32.

    PyTorch lets a GPU round the inputs of convolutions to 10 bits (TF32) unless told otherwise,
    and any library may have told it the same for matrix products.
    """
    backends: Any = torch.backends
    places = (
        *(backends.cuda.matmul, backends.cudnn.conv),
        *(backends.mkldnn.matmul, backends.mkldnn.conv),
    )
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision
