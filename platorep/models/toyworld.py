"""Networks of the toy world: trained on first use, then ordinary local checkpoints."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, DamagedError, PlatorepError
from platorep.files import cache_root
from platorep.kinds.audio import Sound, resampled
from platorep.kinds.video import Film, evenly_spaced
from platorep.models.base import Description, Model, refuse_other_settings
from platorep.models.language import TEXT_SETTINGS, LanguageModel
from platorep.models.vision import IMAGE_SETTINGS, VisionModel
from platorep.models.wrapped import WrappedModel
from platorep.parameters.section import idle_settings
from platorep.parameters.toyworld import (
    ToyModality,
    ToyNetwork,
    ToyTraining,
    WorldParameters,
    parse_network,
)
from platorep.reporting import Reporter
from platorep.toyworld.checkpoints import is_whole
from platorep.toyworld.films import NUM_FRAMES
from platorep.toyworld.inputs import as_channels, pixel_input, sound_input
from platorep.toyworld.sounds import RATE
from platorep.toyworld.training import checkpoint_folder, train

NOT_OF_TEXTS = ("temperature", "tasks")
"""What of `training` all but language networks have."""
SOUND_AND_FILM_SETTINGS = tuple(name for name in IMAGE_SETTINGS if name != "transform")
INPUT_VERSION = 1  # raise when sounds or films become other numbers


class SoundModel(VisionModel):
    """A network of timm's whose picture is the loudness of a sound by pitch and time."""

    kind = "audio"

    def _transform(self) -> Callable[[Any], Tensor]:
        return _of_sound

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"transform": {"sound_input": INPUT_VERSION}}


class FilmModel(VisionModel):
    """A network of timm's whose picture has the frames of a film as channels."""

    kind = "video"

    def _transform(self) -> Callable[[Any], Tensor]:
        return _of_film

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"transform": {"film_input": INPUT_VERSION}}


def _of_sound(sound: Sound) -> Float[Tensor, "1 b t"]:
    return sound_input(torch.from_numpy(resampled(sound, RATE).waveform))


def _of_film(film: Film) -> Float[Tensor, "tc h w"]:
    frames = film.frames(evenly_spaced(film, NUM_FRAMES))
    return pixel_input(as_channels(torch.from_numpy(frames)))


_MODELS: Mapping[ToyModality, Callable[..., Model]] = {
    "language": LanguageModel,
    "vision": VisionModel,
    "audio": SoundModel,
    "video": FilmModel,
}
_SETTINGS: Mapping[ToyModality, tuple[str, ...]] = {
    "language": TEXT_SETTINGS,
    "vision": IMAGE_SETTINGS,
    "audio": SOUND_AND_FILM_SETTINGS,
    "video": SOUND_AND_FILM_SETTINGS,
}


class ToyModel(WrappedModel):
    """Hands everything on to the ordinary model of its checkpoint."""

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        self._network = parse_network(spec.name)
        if self._network.modality != spec.modality:
            raise ConfigError(
                f"model {spec.label!r} is a {self._network.modality} network; found modality "
                f"{spec.modality!r}."
            )
        modality = self._network.modality
        refuse_other_settings(spec, "training", *_SETTINGS[modality])
        idle = idle_settings(spec.training, NOT_OF_TEXTS if modality == "language" else (), ())
        if idle:
            raise ConfigError(
                f"model {spec.label!r}: `training.{idle[0]}` means nothing to a language network. "
                "Leave it out."
            )
        self.spec = spec
        self._offline = offline

    def prepare(self, report: Reporter) -> None:
        """Train the network, unless that is done."""
        try:
            if is_whole(self._checkpoint):
                return
        except DamagedError as error:
            report.warn(f"{self.spec.label} is trained again: {error}")
        place, training = self._place, self.spec.training
        with report.task(f"train {self.spec.name}", training.steps, "steps") as advance:
            train(*place, training, progress=lambda done, steps: advance(1))

    def made(self) -> Path:
        return self._checkpoint

    @property
    def _place(self) -> tuple[Path, ToyNetwork, WorldParameters]:
        return cache_root() / "toyworld", self._network, self.spec.world

    @property
    def _checkpoint(self) -> Path:
        assert self.spec.step is not None, "a toy network is one checkpoint"
        return checkpoint_folder(*self._place, self.spec.training, self.spec.step)

    @property
    def checkpoint_spec(self) -> ModelSpec:
        """The spec of the ordinary checkpoint that this network has become.

        Raises:
            AbsentError: it is not trained yet.
        """
        if not self._checkpoint.exists():
            raise AbsentError(
                f"{self.spec.label} is not trained yet; `platorep extract` trains it first."
            )
        prefix = "" if self._network.modality == "language" else "local-dir:"
        made = {"name": f"{prefix}{self._checkpoint}", "training": ToyTraining()}
        return self.spec.model_copy(update=made)

    @cached_property
    def _model(self) -> Model:
        return _MODELS[self._network.modality](self.checkpoint_spec, offline=self._offline)

    def describe(self) -> Description:
        try:
            return self._model.describe()
        except PlatorepError as error:
            return Description(unknown=(str(error),))
