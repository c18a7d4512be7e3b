"""A network of transformers by name: its files, its configuration, its skeleton and its weights."""

import copy
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

from platorep.config import ModelSpec
from platorep.errors import ConfigError, IntegrityError, PlatorepError
from platorep.files import storage_errors
from platorep.models.adapters import Adapter, class_with_head, open_adapter
from platorep.models.base import Description, Model, globs, kept_layers
from platorep.models.hidden_states import named_widths
from platorep.models.loading import as_own_errors, lacking, quiet, read_config
from platorep.models.sources import Source, gguf_argument, open_source
from platorep.models.taps import BY_NAME, named_taps

UNREAD = ("pooler", "head", "masked_spec_embed", "mask_token")
"""Parameters that move no hidden state: what is read off the last one, and what only training has.
Many checkpoints lack them."""


class Pretrained:
    """What `spec.name` means to transformers; nothing is loaded or downloaded until asked."""

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        self._spec, self._offline = spec, offline

    @cached_property
    def source(self) -> Source:
        return open_source(self._spec, offline=self._offline)

    @cached_property
    def adapter(self) -> Adapter | None:
        return open_adapter(self._spec, offline=self._offline)

    @cached_property
    def folder(self) -> Path:
        """A folder with configuration, tokenizer and processor, not necessarily with weights."""
        return self.source.folder(weights=False)

    @cached_property
    def config(self) -> Any:
        return read_config(self.folder, self._spec, offline=self._offline)

    @cached_property
    def skeleton(self) -> Any:
        """The network without memory for its weights, with the library's choice of attention.

        Raises:
            ConfigError: transformers cannot build it.
        """
        with quiet(), as_own_errors(self._spec), torch.device("meta"):
            return self._build().eval()

    def identity(self) -> dict[str, Any]:
        """What names the files, the random weights and the adapter, as JSON."""
        found = self.source.identity(weights=not self._spec.random_init)
        if self._spec.random_init:
            initialised_by = f"transformers {transformers.__version__}"
            found["random_init"] = {"seed": self._spec.seed, "initialised_by": initialised_by}
        if self.adapter is not None:
            found["adapter"] = self.adapter.identity()
        return found | {"trust_remote_code": self._spec.trust_remote_code}

    def download(self) -> None:
        self.source.folder(weights=not self._spec.random_init)
        if self.adapter is not None:
            self.adapter.folder()

    def bytes(self) -> tuple[int | None, int | None]:
        """Size of the weight files and what is still to be downloaded, None where unknown."""
        weights = None if self._spec.random_init else self.source.weight_bytes()
        return weights, self.source.missing_bytes(weights=not self._spec.random_init)

    def attention(self, part: Any) -> str:
        """What is asked for, or what transformers chooses for a part of the skeleton."""
        return self._spec.attention or str(part.config._attn_implementation)

    def load(self, dtype: torch.dtype, side: str = "") -> Any:
        """The network with its weights, on the CPU or where `device_map` puts it.

        Args:
            side: Path of the part that is used, whose weights must be there; "": all of them.

        Raises:
            AbsentError: weights or a needed package are not there.
            IntegrityError: the weights do not fit the network.
        """
        with quiet(), as_own_errors(self._spec):
            return self._random(dtype) if self._spec.random_init else self._stored(dtype, side)

    def save_copy(self, folder: Path, side: str, processor: Any) -> ModelSpec:
        """Save the network, and a tokenizer or processor beside it; what opens the copy.

        Raises:
            AbsentError, IntegrityError: as `load`.
            StorageError: the folder cannot be written.
        """
        network = self.load(torch.float32, side)
        with quiet(), as_own_errors(self._spec), storage_errors(folder):
            network.save_pretrained(folder)
            processor.save_pretrained(folder)
        own: dict[str, Any] = {"name": str(folder), "revision": None, "adapter": None}
        own |= {"backend": "transformers", "random_init": False, "seed": 0}
        return self._spec.model_copy(update=own)

    @property
    def _auto_class(self) -> Any:
        """T5 and its like have a class for their encoder, whose weights may be all there are."""
        config, decodes = self.config, self._spec.side == "language"
        if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
            encoder = MODEL_FOR_TEXT_ENCODING_MAPPING[type(config)].__name__
            alone = encoder in (config.architectures or ())  # saved so, it says it is no pair
            if alone or (config.is_encoder_decoder and not decodes):
                return transformers.AutoModelForTextEncoding
        remote = self._spec.trust_remote_code and "AutoModel" in (
            getattr(config, "auto_map", None) or {}
        )
        if type(config) not in MODEL_MAPPING and not remote:
            raise ConfigError(
                f"model {self._spec.label!r}: transformers {transformers.__version__} has no base "
                f"network (`AutoModel`) for {type(config).__name__}. Compute its features yourself "
                "(`backend: features`)."
            )
        return transformers.AutoModel

    def _build(self, **attention: str) -> Any:
        return self._auto_class.from_config(
            copy.deepcopy(self.config),
            dtype=torch.float32,
            trust_remote_code=self._spec.trust_remote_code,
            **attention,
        )

    @property
    def _attention_argument(self) -> dict[str, str]:
        asked = self._spec.attention
        return {} if asked is None else {"attn_implementation": asked}

    def _random(self, dtype: torch.dtype) -> Any:
        """Drawn on the CPU in float32, so that every machine draws the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._spec.seed)
            return self._build(**self._attention_argument).to(dtype)

    def _stored(self, dtype: torch.dtype, side: str) -> Any:
        adapter = self.adapter
        loader = self._auto_class if adapter is None else class_with_head(self.config, self._spec)
        network, found = loader.from_pretrained(
            self.source.folder(weights=True),
            config=copy.deepcopy(self.config),
            dtype=dtype,
            device_map=self._spec.device_map,
            use_safetensors=self.source.safetensors,
            weights_only=True,
            output_loading_info=True,
            trust_remote_code=self._spec.trust_remote_code,
            local_files_only=self._offline,
            **gguf_argument(self._spec),
            **self._attention_argument,
        )
        inside = f"{side}." if side else ""
        missing = [
            key
            for key in lacking(network, found)
            if key.startswith(inside) and not set(UNREAD) & set(key.split("."))
        ]
        if missing:
            raise IntegrityError(
                f"the weights of {self._spec.name!r} lack {len(missing)} parameters of "
                f"{type(network).__name__}, first {missing[0]!r}, which would be random. Use a "
                "checkpoint of this architecture, or `random_init: true` for a random control."
            )
        if adapter is not None:
            adapter.apply(network)
            network = network.base_model
        return network


def weight_facts(network: Pretrained) -> tuple[int | None, int | None, tuple[str, ...]]:
    """As `Pretrained.bytes`, and why nothing is known of them."""
    try:
        return *network.bytes(), ()
    except PlatorepError as error:
        return None, None, (str(error),)


class PretrainedModel(Model):
    """A network of transformers, or a part of it, whose layers are hidden states or modules."""

    described_tap: str
    """What its hidden states are, in words."""
    _network: Pretrained

    @property
    @abstractmethod
    def _part(self) -> Any:
        """What is run, without memory for its weights."""

    @property
    @abstractmethod
    def _widths(self) -> tuple[int, ...]:
        """Of all hidden states."""

    @property
    @abstractmethod
    def _possible_pools(self) -> tuple[str, ...]:
        """The first is the one that is chosen where none is asked for."""

    @property
    @abstractmethod
    def _forward(self) -> Callable[[], object]:
        """One forward pass of the part, without numbers."""

    def describe(self) -> Description:
        try:
            layers, widths = self._names_and_widths
            pools = self._possible_pools
        except PlatorepError as error:
            return Description(unknown=(str(error),))
        except Exception as error:  # a repository's own code may do anything without weights
            return Description(unknown=(f"it cannot be built without its weights: {error}",))
        weight_bytes, download_bytes, unknown = weight_facts(self._network)
        return Description(
            layers=layers,
            widths=widths,
            tap=BY_NAME if globs(self.spec) else self.described_tap,
            pools=pools,
            parameters=sum(p.numel() for p in self._part.parameters()),
            weight_bytes=weight_bytes,
            download_bytes=download_bytes,
            unknown=unknown,
        )

    @cached_property
    def _kept(self) -> tuple[int, ...]:
        return kept_layers(self.spec, len(self._widths))

    @property
    def _names_and_widths(self) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
        if not (named := globs(self.spec)):
            names = tuple(f"hidden_states.{i}" for i in self._kept)
            return names, tuple(self._widths[i] for i in self._kept)
        widths = named_widths(self._part, named, self._forward, self.spec.label)
        return named_taps(self._part, named, self.spec.label), widths
