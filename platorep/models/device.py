"""Where a model runs, in what precision, and what of that is recorded beside its numbers."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError

PACKAGES = ("platorep", "torch", "transformers", "timm", "datasets", "numpy")


def compute_dtypes(spec: ModelSpec, default: str, device: torch.device) -> tuple[str, ...]:
    """The precisions that the settings leave open: what this machine chooses, then what others do.

    `auto` is the paper's choice: bfloat16 for language on a GPU, float32 otherwise. What another
    machine has made by its choice is as good as what this one would make, so no number need be made
    twice; an explicit precision binds.
    """
    if spec.backend in ("features", "baseline"):
        return ("float32",)
    dtype = spec.dtype or default
    if dtype != "auto":
        return (dtype,)
    if spec.modality != "language" or spec.is_own_code:
        return ("float32",)
    return ("bfloat16", "float32") if device.type == "cuda" else ("float32", "bfloat16")


def compute_dtype(spec: ModelSpec, default: str, device: torch.device) -> str:
    """The precision that this machine computes in, where nothing is made yet."""
    return compute_dtypes(spec, default, device)[0]


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU.

    Raises:
        ConfigError: torch does not know the device.
        AbsentError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: torch knows no such device.") from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AbsentError(f"--device {name} is not there: {error} Use --device cpu.") from error
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What may move a low-precision feature in its last digits, recorded beside the numbers."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "device": f"{device} ({name})",
        "threads": torch.get_num_threads(),
    }
