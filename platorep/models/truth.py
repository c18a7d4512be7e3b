"""What is true of the toy world's scenes, as a model like any other: `modality: truth`.

Axes: n samples, d features.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import ConfigError
from platorep.models.base import (
    Description,
    Loaded,
    Model,
    Reading,
    kept_layers,
    refuse_other_settings,
)
from platorep.parameters.toyworld import TRUTH, WorldParameters
from platorep.toyworld.attributes import blur, truth_features
from platorep.toyworld.folder import scene_index
from platorep.toyworld.scenes import sample_pairs, sample_scene

TRUTH_VERSION = 1  # raise when the same scenes give other features


class TruthModel(Model):
    """The true attributes of the pictured scenes, rotated and a little blurred, against ties.

    Where picture and caption show two scenes of one place, these are the picture's.
    """

    def __init__(self, spec: ModelSpec) -> None:
        refuse_other_settings(spec, "layers")
        if spec.name != TRUTH:
            raise ConfigError(
                f"model {spec.label!r}: modality truth has one model, called {TRUTH!r}; found "
                f"{spec.name!r}."
            )
        self.spec = spec
        one = truth_features(spec.world, sample_pairs(spec.world, 1))
        names, widths = list(one), [layer.shape[1] for layer in one.values()]
        self._kept = {names[i]: widths[i] for i in kept_layers(spec, len(names))}

    def identity(self) -> dict[str, Any]:
        return {
            "backend": "toyworld",
            "truth": TRUTH_VERSION,
            "world": self.spec.world.model_dump(
                mode="json", exclude={"pairs", "shared", "caption_level"}
            ),
            "layers": list(self._kept),
        }

    def describe(self) -> Description:
        return Description(
            layers=tuple(self._kept),
            widths=tuple(self._kept.values()),
            download_bytes=0,
            unknown=("parameters: the truth has none",),
        )

    def download(self) -> None:
        """There is nothing to fetch."""

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        return LoadedTruth(self.spec.world, tuple(self._kept))


class LoadedTruth(Loaded):
    def __init__(self, world: WorldParameters, layers: tuple[str, ...]) -> None:
        self._world = world
        self.layers = layers

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        ids = [reading.samples.ids[row] for row in reading.rows]
        scenes = [sample_scene(self._world, scene_index(one)) for one in ids]
        found = truth_features(self._world, scenes)
        reading.progress(len(ids))
        layers = [blur(self._world, scenes, found[name]) for name in self.layers]
        return [torch.from_numpy(layer).float() for layer in layers]
