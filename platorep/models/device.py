"""Where a model runs, in what precision, and what of that is recorded beside its numbers."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError

PACKAGES = ("platorep", "torch", "transformers", "timm", "datasets", "numpy")


def compute_dtype(spec: ModelSpec, default: str, device: torch.device) -> str:
    """`auto` is the paper's choice: bfloat16 for language on a GPU, float32 otherwise."""
    asked = spec.dtype or default
    if spec.backend == "features":
        return "float32"
    if asked == "auto":
        return "bfloat16" if device.type == "cuda" and spec.modality == "language" else "float32"
    return asked


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
