"""What a model is to the other stages: an identity, a description, and features of rows.

Axes: n samples, d features; a model has one `n d` tensor per layer, widths may differ.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import ModelSettings, ModelSpec
from platorep.errors import ConfigError
from platorep.identities import RowIdentities
from platorep.models.inside import OpenNetwork
from platorep.models.inside_texts import OpenTexts
from platorep.models.memory import Batches, Batching
from platorep.parameters.section import idle_settings
from platorep.reporting import Reporter

Auto = Literal["auto"]


@runtime_checkable
class Samples(Protocol):
    """What a model reads of a dataset: one view of its rows."""

    @property
    def ids(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Any:
        """A sample, decoded: an upright RGB image, a string, ..., as the view's kind says."""
        ...


@runtime_checkable
class Sent(Samples, Protocol):
    """Samples of which some can be sent to another process without the others."""

    def taken(self, rows: range) -> Samples:
        """These rows alone, numbered from 0, with all that it takes to read them."""
        ...


@dataclass(frozen=True)
class Ids:
    """For what reads no view: a user's own arrays."""

    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int, /) -> Any:
        raise AssertionError("rows known by their ids have no samples")


@dataclass(frozen=True)
class Reading:
    """Rows of a dataset that a model is to read. Nothing of how it does so moves a number."""

    rows: Sequence[int]
    samples: Samples
    batch: int | Auto = "auto"
    """Tokens (language, padding included) or samples per forward pass; `auto` halves its choice
    whenever GPU memory runs out, and so does a number."""
    workers: int | Auto = "auto"
    """Processes that decode images, sounds and films."""
    sent: bool = False
    """Whether the samples were sent here with these rows alone: the next reading has others."""
    progress: Callable[[int], None] = lambda finished: None
    """Called with the number of rows just finished."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a model before its weights are loaded; None where it cannot be known."""

    layers: tuple[str, ...] | None = None
    """Names of the tap points that are kept, in order."""
    widths: tuple[int, ...] | None = None
    tap: str = ""
    """What a layer is."""
    pools: tuple[str, ...] = ()
    """How samples can be pooled; the first is what is chosen where nothing is said."""
    parameters: int | None = None
    weight_bytes: int | None = None
    """Size of the weight files, if there are any."""
    download_bytes: int | None = None
    """What is still to be downloaded."""
    unknown: tuple[str, ...] = ()
    """Why something is None."""


class Loaded(ABC):
    """A model in memory."""

    layers: tuple[str, ...]
    """Names of the tap points, in the order of the features."""
    batching: Batching = Batching.ANY
    """Which rows may share a batch, as the network was asked when it was loaded; in meta.json."""
    details: tuple[str, ...] = ()
    """What nobody needs to act on; the log has it under `-v`."""
    _batches: tuple[int, Batching, Batches] | None = None

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the features made so far; run.json and the log have it."""

    @abstractmethod
    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        """Pooled features: one float32 CPU tensor per layer, in the order of `reading.rows`.

        With several `pools` in its spec: all layers with the first, then all with the next.

        Raises:
            DataError: a row cannot be used by this model; names it.
            AbsentError: not even one sample fits into memory.
        """

    def forget(self) -> None:  # noqa: B027 - most have nothing to tell of rows
        """Let `notes` say nothing of the rows read so far: another view is read now."""

    def remembered_batches(self, batch: int | Auto, auto: int) -> Batches:
        """The batches of the last call, which know what fits, unless another size is asked."""
        size = auto if batch == "auto" else batch
        if self._batches is None or self._batches[:2] != (size, self.batching):
            self._batches = (size, self.batching, Batches(size, self.batching))
        return self._batches[2]

    def close(self) -> None:  # noqa: B027 - most models hold nothing but memory
        """End the worker processes, if there are any."""


class Model(ABC):
    """A model by name: cheap to make, nothing is loaded or downloaded until asked."""

    spec: ModelSpec

    @property
    def precision(self) -> str | None:
        """In which its features were computed, where that is settled; None: it is chosen."""
        return None

    def refuse_other_rows(self, rows: RowIdentities) -> None:  # noqa: B027 - most read any
        """Refuse rows that it cannot have features of.

        Raises:
            IntegrityError: says which.
        """

    def prepare(self, report: Reporter) -> None:  # noqa: B027 - most models are made elsewhere
        """Make the weights, if they are to be made here (toy networks)."""

    def made(self) -> Path | None:
        """The folder in the cache that `prepare` has filled, if there is one."""
        return None

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """All that is meant to move a feature, as JSON; weights are hashed or named, not loaded.

        Raises:
            AbsentError: a file or hub repository is not there.
            UnknownNameError: no network has that name.
            ConfigError: a setting does not fit this model.
        """

    @abstractmethod
    def describe(self) -> Description:
        """Layers, widths and sizes, from the configuration alone. Raises nothing."""

    def flops(self) -> int | None:
        """Floating-point operations of a forward pass, per image or per token of a short text.

        From the configuration alone; None where nothing is computed or it cannot be known.
        """
        return None

    @abstractmethod
    def download(self) -> None:
        """Bring every file that `load` needs into the local caches."""

    @abstractmethod
    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        """The model with its weights, ready for `features`.

        Raises:
            AbsentError: weights or a needed package are not there.
            IntegrityError: the weights do not fit the network.
        """

    def open(self, device: torch.device | str, dtype: torch.dtype) -> OpenNetwork:
        """The network itself, for work inside it: its maps over an image, and what follows them.

        Raises:
            ConfigError: it reads no images, or its layers are no modules of it.
            AbsentError, IntegrityError: as `load`.
        """
        raise ConfigError(
            f"model {self.spec.label!r}: no image network of timm's (backend {self.spec.backend}, "
            f"{self.spec.modality}), so it has no maps over images to work with."
        )

    def open_texts(self, device: torch.device | str, dtype: torch.dtype) -> OpenTexts:
        """The network itself, for work inside it: its states at every token of a text.

        Raises:
            ConfigError: it reads no texts.
            AbsentError, IntegrityError: as `load`.
        """
        raise ConfigError(
            f"model {self.spec.label!r}: no language network of transformers (backend "
            f"{self.spec.backend}, {self.spec.modality}), so it has no states of tokens to work "
            "with."
        )

    def save_copy(self, folder: Path) -> ModelSpec:
        """Save the model with its weights into an empty folder, as its library does.

        Returns:
            What opens the copy.

        Raises:
            ConfigError: there is nothing to save, or nobody knows how.
            AbsentError, IntegrityError: as `load`.
        """
        raise ConfigError(f"backend {self.spec.backend} has no weights that a library saves.")


def refuse_other_settings(spec: ModelSpec, *taken: str) -> None:
    """Refuse what a backend does not take, so that no setting is silently without effect.

    Args:
        taken: Of `ModelSettings`; what is not among them must be left at its default.

    Raises:
        ConfigError: another one is set, or one that needs another.
    """
    others = idle_settings(spec, ModelSettings.model_fields, ("backend", *taken))
    if others:
        raise ConfigError(
            f"model {spec.label!r}: {', '.join(f'`{name}`' for name in others)} mean nothing to "
            f"backend {spec.backend} ({spec.modality}). Leave them out; it takes "
            f"{', '.join(sorted(taken))}."
        )
    idle = "adapter" if spec.random_init else "seed"
    if idle_settings(spec, [idle], ()):
        raise ConfigError(
            f"model {spec.label!r}: `{idle}` means nothing "
            f"{'to' if spec.random_init else 'without'} random weights (`random_init`). Leave it "
            "out."
        )


def globs(spec: ModelSpec) -> tuple[str, ...]:
    """What `spec.layers` calls modules by; nothing where it counts layers, or asks for all."""
    return tuple(one for one in spec.layers if isinstance(one, str) and spec.layers != "all")


def kept_layers(spec: ModelSpec, num_layers: int) -> tuple[int, ...]:
    """Indices of the layers that `spec.layers` asks for, counted from 0.

    Raises:
        ConfigError: an index is out of range, or a layer is named twice.
    """
    if spec.layers == "all":
        return tuple(range(num_layers))
    asked = [i for i in spec.layers if isinstance(i, int)]
    if len(asked) < len(spec.layers):
        raise ConfigError(
            f"model {spec.label!r} has no modules to name: `layers` must be numbers from 0 to "
            f"{num_layers - 1}; found {list(spec.layers)}."
        )
    outside = [i for i in asked if not -num_layers <= i < num_layers]
    if outside:
        raise ConfigError(
            f"model {spec.label!r}: layers {outside} do not exist. It has {num_layers} layers: "
            f"0 to {num_layers - 1}, or -{num_layers} to -1 from the end."
        )
    kept = tuple(i % num_layers for i in asked)
    if len(set(kept)) < len(kept) or not kept:
        raise ConfigError(
            f"model {spec.label!r}: `layers` must name at least one layer and none twice; "
            f"found {list(spec.layers)} of {num_layers}."
        )
    return kept
