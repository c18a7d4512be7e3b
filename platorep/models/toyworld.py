"""Networks of the toy world: trained on first use, then ordinary local checkpoints."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from platorep.config import ModelSpec
from platorep.errors import ConfigError
from platorep.files import cache_root
from platorep.models.base import Description, Loaded, Model
from platorep.models.language import LanguageModel
from platorep.models.vision import VisionModel
from platorep.parameters.toyworld import parse_network
from platorep.toyworld.training import train


class ToyModel(Model):
    """Hands everything on to the ordinary model of its checkpoint."""

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        self._network = parse_network(spec.name)
        if self._network.modality != spec.modality:
            raise ConfigError(
                f"model {spec.label!r} is a {self._network.modality} network; found modality "
                f"{spec.modality!r}."
            )
        self.spec = spec
        self._offline = offline

    @cached_property
    def _checkpoint(self) -> Path:
        folders = train(
            cache_root() / "toyworld", self._network, self.spec.world, self.spec.training
        )
        assert self.spec.step is not None, "a toy network is one checkpoint"
        return folders[self.spec.step]

    @property
    def checkpoint_spec(self) -> ModelSpec:
        """The spec of the ordinary checkpoint that this network becomes; trains it if need be."""
        prefix = "" if self._network.modality == "language" else "local-dir:"
        return self.spec.model_copy(update={"name": f"{prefix}{self._checkpoint}"})

    @cached_property
    def _model(self) -> Model:
        if self._network.modality == "language":
            return LanguageModel(self.checkpoint_spec, offline=self._offline)
        return VisionModel(self.checkpoint_spec, offline=self._offline)

    def identity(self) -> dict[str, Any]:
        return self._model.identity()

    def describe(self) -> Description:
        return self._model.describe()

    def download(self) -> None:
        self._model.download()

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        return self._model.load(device, dtype)
