"""A device "cuda" without a GPU: numbers on the CPU behind tensors that say they are elsewhere.

An operation on tensors of two devices fails as it does on a GPU, and so does NumPy on a tensor
that was not brought home. The numbers are real (torch's own fake tensors have none), so that code
which looks at them runs to its end.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
MOVES = ("aten::_to_copy", "aten::copy_")
LOOKS_UP = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""A tensor on a GPU takes places from the CPU too."""


class OnGpu(Tensor):
    """A tensor that says it is on the GPU."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "OnGpu":
        made: OnGpu = Tensor._make_wrapper_subclass(
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=GPU
        )
        made.here = here
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.here})"

    def tolist(self) -> Any:  # torch refuses it to subclasses
        return self.here.tolist()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in ("__matmul__", "matmul"):  # it squeezes in place, which none can wrap
            return run(torch.ops.aten.matmul.default, args, {})
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the CPU; its results are where a GPU would have them."""
    leaves, name = tree_leaves((args, kwargs)), func._schema.name
    on_gpu = [leaf for leaf in leaves if isinstance(leaf, OnGpu)]
    places = name in LOOKS_UP and isinstance(args[0], OnGpu)
    others = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.device != GPU]
    if on_gpu and name not in MOVES and not places and any(one.ndim for one in others):
        raise RuntimeError(f"{name}: expected all tensors on one device, found {GPU} and the CPU")
    away, moved = bool(on_gpu), kwargs.get("device")
    if name == "aten::copy_":
        away = isinstance(args[0], OnGpu)
    elif moved is not None:
        away = torch.device(moved).type == "cuda"
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda one: one.here if isinstance(one, OnGpu) else one, (args, kwargs))
    found = func(*args, **kwargs)
    known = {id(one.here): one for one in on_gpu}  # what is changed in place

    def elsewhere(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        return known[id(one)] if id(one) in known else OnGpu(one)

    return tree_map(elsewhere, found) if away else found


@contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """Inside, torch takes the device for one that is there; on a machine without a GPU."""
    torch._C._ensureCUDADeviceGuardSet()  # the guard of a GPU that is not there does nothing
    with ExitStack() as stack:
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes them here, then moves them
        swaps = torch.__future__.get_swap_module_params_on_conversion()
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        for where, name, other in (
            (torch.cuda, "_lazy_init", lambda: None),
            # tensors of inference mode cannot be wrapped
            (torch._C, "_InferenceMode", lambda on: torch.no_grad() if on else nullcontext()),
        ):
            stack.enter_context(mock.patch.object(where, name, other))
        stack.enter_context(Dispatch())
        yield GPU
