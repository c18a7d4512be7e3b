"""Networks and metrics compute under fixed switches, whatever the process has switched.

Autocast, the precision of float32 products and convolutions, the default dtype and device, grad
and inference mode, and NumPy's floating-point errors could each move a digit, or stop it. All are
at PyTorch's own defaults but two: PyTorch lets a GPU round the inputs of float32 convolutions to
10 bits (TF32), and add parts of half-precision products in half precision. Here float32 means
float32, and sums are in float32.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")
PRODUCTS: list[Any] = [
    product
    for backend, name in (
        (torch.backends.cuda, "matmul"),
        (torch.backends.cudnn, "conv"),
        (torch.backends.mkldnn, "matmul"),
        (torch.backends.mkldnn, "conv"),
    )
    if hasattr(product := getattr(backend, name, None), "fp32_precision")
]
"""Where PyTorch from 2.9 on keeps the precision of products; the older switches set these too."""

HALF_SUMS = [f"allow_{kind}_reduced_precision_reduction" for kind in ("fp16", "bf16")]
"""Of `torch.backends.cuda.matmul`."""


@contextmanager
def default_switches() -> Iterator[None]:
    """Everything at its default inside, and afterwards as it was.

    The default dtype and the precision belong to the process: for this long they are at their
    default in its other threads too.
    """
    with ExitStack() as stack:
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():  # a user's own metric may fit something
            stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        for product in PRODUCTS:
            if product.fp32_precision != "ieee":
                stack.callback(setattr, product, "fp32_precision", product.fp32_precision)
                product.fp32_precision = "ieee"
        if not PRODUCTS:
            cudnn = torch.backends.cudnn
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            stack.callback(setattr, cudnn, "allow_tf32", cudnn.allow_tf32)
            torch.set_float32_matmul_precision("highest")
            cudnn.allow_tf32 = False
        matmul = torch.backends.cuda.matmul
        for name in HALF_SUMS:
            if (allowed := getattr(matmul, name)) is not False:
                stack.callback(setattr, matmul, name, allowed)
                setattr(matmul, name, False)
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of PyTorch (CPU), NumPy and Python begin at `seed` inside, and go on
    afterwards as if nothing had been drawn."""
    python, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)
