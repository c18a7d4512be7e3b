"""Samples of images, sounds and films as the processor in a model's folder prepares them.

What is prepared is one sample, alone: a batch is put together of prepared samples. Axes: n samples
of a waveform, t frames, h w pixels.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers.video_processing_utils import BaseVideoProcessor

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, DataError
from platorep.kinds.audio import Sound, resampled
from platorep.kinds.video import Film, evenly_spaced, film_of
from platorep.models.loading import as_own_errors, quiet
from platorep.models.sources import PROCESSOR
from platorep.parameters.views import KindName

Inputs = Mapping[str, Tensor]
"""One sample as a network is given it: tensors by name, with a first axis of length 1."""
NOISE_SIZE = (96, 96)
NOISE_SECONDS = (0.4, 0.6)


class Preparation(ABC):
    """Makes the inputs of a network of a sample. Small and picklable: workers run it."""

    @abstractmethod
    def __call__(self, sample: Any) -> Inputs:
        """Raises a DataError where the sample cannot be read by this model."""

    @abstractmethod
    def noise(self, seed: int, *, longer: bool = False) -> Any:
        """A sample to ask a network with."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What moves a feature besides the processor's files, as JSON."""
        return {}


@dataclass(frozen=True)
class PreparedImages(Preparation):
    processor: Any

    def __call__(self, sample: Image.Image) -> Inputs:
        return dict(self.processor(images=sample, return_tensors="pt"))

    def noise(self, seed: int, *, longer: bool = False) -> Image.Image:
        return Image.fromarray(_pixels(seed, *NOISE_SIZE))


@dataclass(frozen=True)
class PreparedSounds(Preparation):
    """Mono, at the extractor's rate; a fixed window is filled as the extractor fills it."""

    extractor: Any

    def __call__(self, sample: Sound) -> Inputs:
        rate = self.extractor.sampling_rate
        sound = resampled(sample, rate)
        longest = _longest(self.extractor)
        if longest is not None and len(sound.waveform) > longest:
            raise DataError(
                f"the sound lasts {sound.seconds:.2f} s, and {type(self.extractor).__name__} reads "
                f"{longest / rate:.2f} s and cuts off or draws the rest. Cut the sounds to that "
                "length"
            )
        how: dict[str, Any] = {"sampling_rate": rate, "return_tensors": "pt"}
        taken = inspect.signature(self.extractor.__call__).parameters
        if "kwargs" in taken or "return_attention_mask" in taken:
            how["return_attention_mask"] = True
        prepared = dict(self.extractor(sound.waveform, **how))
        if "is_longer" in prepared and longest is not None:
            # CLAP's extractor marks one sound of each batch as too long, drawn if none is
            prepared["is_longer"] = torch.zeros_like(prepared["is_longer"])
        return prepared

    def noise(self, seed: int, *, longer: bool = False) -> Sound:
        rate = int(self.extractor.sampling_rate)
        values = np.random.default_rng(seed).standard_normal(int(NOISE_SECONDS[longer] * rate))
        return Sound(0.1 * values.astype(np.float32), rate)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"resampled": "polyphase, windowed sinc", "too_long": "refused"}


@dataclass(frozen=True)
class PreparedFilms(Preparation):
    """Frames at equal distances, as many as the processor says, else the network, else all."""

    processor: Any
    num_frames: int | None
    """Of the network's configuration."""

    def __call__(self, sample: Film) -> Inputs:
        frames = sample.frames(self._chosen(sample))
        if not isinstance(self.processor, BaseVideoProcessor):
            return dict(self.processor(list(frames), return_tensors="pt"))
        film = torch.from_numpy(frames).movedim(-1, 1)
        return dict(self.processor(videos=[film], do_sample_frames=False, return_tensors="pt"))

    def _chosen(self, film: Film) -> list[int]:
        number = getattr(self.processor, "num_frames", None) or self.num_frames
        rate = getattr(self.processor, "fps", None)
        if number is None and rate is not None:
            number = max(1, round(film.num_frames / film.rate * rate))
        most = getattr(self.processor, "max_frames", None) or film.num_frames
        return evenly_spaced(film, int(number or min(film.num_frames, most)))

    def noise(self, seed: int, *, longer: bool = False) -> Film:
        number = getattr(self.processor, "num_frames", None) or self.num_frames or 4
        return film_of(np.stack([_pixels(seed + i, *NOISE_SIZE) for i in range(number)]), 10.0)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"frames": "evenly spaced from the first", "num_frames": self.num_frames}


def read_processor(
    folder: Path, kind: KindName, config: Any, spec: ModelSpec, *, offline: bool
) -> Preparation:
    """What the folder says of how a sample is prepared.

    Raises:
        AbsentError: it says nothing.
        ConfigError: transformers cannot read it, or the kind is one that no processor prepares.
    """
    how = {"trust_remote_code": spec.trust_remote_code, "local_files_only": offline}
    found = [name for name in PROCESSOR if (folder / name).is_file()]
    if not found:
        raise AbsentError(
            f"{spec.name} says nothing of how a sample of kind {kind} is prepared: expected "
            f"{' or '.join(PROCESSOR)}, as `processor.save_pretrained(FOLDER)` writes them."
        )
    with quiet(), as_own_errors(spec):
        if kind == "image":
            return PreparedImages(transformers.AutoImageProcessor.from_pretrained(folder, **how))
        if kind == "audio":
            return PreparedSounds(transformers.AutoFeatureExtractor.from_pretrained(folder, **how))
        if kind == "video":
            names = ("num_frames", "frames_per_clip")
            numbers = [getattr(config, name, None) for name in names]
            number = next((number for number in numbers if number is not None), None)
            return PreparedFilms(_video_processor(folder, how), number)
    raise ConfigError(
        f"model {spec.label!r}: transformers has no processor for a view of kind {kind}. Compute "
        "its features yourself (`backend: features`)."
    )


def _video_processor(folder: Path, how: Mapping[str, Any]) -> Any:
    """Older folders have an image processor that takes films."""
    images, _, films = (folder / name for name in PROCESSOR)
    said = images.read_text(encoding="utf-8") if images.is_file() else ""
    if "image_processor_type" in said and not films.is_file():
        return transformers.AutoImageProcessor.from_pretrained(folder, **how)
    return transformers.AutoVideoProcessor.from_pretrained(folder, **how)


def _longest(extractor: Any) -> int | None:
    """Samples of the longest sound that an extractor does not cut; None: any."""
    for name in ("n_samples", "nb_max_samples"):  # Whisper's 30 s, CLAP's 10 s
        if (number := getattr(extractor, name, None)) is not None:
            return int(number)
    frames = getattr(extractor, "max_length", None)
    if isinstance(frames, int):  # AST's: one frame of 25 ms every 10 ms
        return int((0.01 * (frames - 1) + 0.025) * extractor.sampling_rate)
    return None


def _pixels(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
