"""A user's own arrays as a model: features of any network, neural recordings."""

from typing import Any

import torch

from platorep.config import ModelSpec
from platorep.errors import ConfigError
from platorep.models.base import Description, Loaded, Model


class ArrayModel(Model):
    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def identity(self) -> dict[str, Any]:
        raise ConfigError(f"model {self.spec.label!r}: backend features is not there yet.")

    def describe(self) -> Description:
        return Description()

    def download(self) -> None: ...

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        raise ConfigError(f"model {self.spec.label!r}: backend features is not there yet.")
