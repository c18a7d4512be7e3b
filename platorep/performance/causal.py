"""Causal language models, with their heads."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from platorep.config import ModelSpec
from platorep.errors import IntegrityError
from platorep.models.adapters import Adapter, open_adapter
from platorep.models.loading import (
    as_own_errors,
    lacking,
    quiet,
    read_config,
    read_tokenizer,
)
from platorep.models.sources import Source, gguf_argument, open_source
from platorep.performance.bits import how_far_ahead
from platorep.switches import default_switches


@dataclass(frozen=True)
class LoadedCausalModel:
    """A model in memory, as `bits_per_byte` wants it."""

    network: nn.Module
    tokenizer: Any


class CausalModel:
    """A language model of the experiment, with its head. Nothing is loaded until asked."""

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        self.spec = spec
        self._offline = offline

    def why_none(self) -> str | None:
        """Why the model cannot have bits per byte, by its configuration alone; in a few words.

        None if it may have: `bits_per_byte` asks the loaded model whether it reads ahead.
        """
        config = self._config
        if config.is_encoder_decoder:
            return "an encoder-decoder model"
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            remote = self.spec.trust_remote_code and "AutoModelForCausalLM" in (
                getattr(config, "auto_map", None) or {}
            )
            return None if remote else "no causal model"
        return None

    @default_switches()
    def load(self, device: torch.device | str, dtype: torch.dtype) -> LoadedCausalModel:
        """The model with its head and tokenizer.

        Raises:
            AbsentError: a file or a package is not there.
            IntegrityError: the weights lack a parameter, such as those of the head.
        """
        assert self.why_none() is None
        tokenizer = read_tokenizer(self._folder, self.spec, offline=self._offline)
        with quiet(), as_own_errors(self.spec):
            if self.spec.random_init:
                network = self._random().to(dtype).to(device)
            else:
                network = self._pretrained(device, dtype, tokenizer)
        return LoadedCausalModel(network.eval(), tokenizer)

    @cached_property
    def _source(self) -> Source:
        return open_source(self.spec, offline=self._offline)

    @cached_property
    def _adapter(self) -> Adapter | None:
        return open_adapter(self.spec, offline=self._offline)

    @cached_property
    def _folder(self) -> Any:
        return self._source.folder(weights=not self.spec.random_init)

    @property
    def _code(self) -> dict[str, bool]:
        return {
            "trust_remote_code": self.spec.trust_remote_code,
            "local_files_only": self._offline,
        }

    @cached_property
    def _config(self) -> Any:
        folder = self._source.folder(weights=False)
        config = read_config(folder, self.spec, offline=self._offline)
        if self.spec.attention is not None:
            config._attn_implementation = self.spec.attention
        return config

    def _pretrained(self, device: torch.device | str, dtype: torch.dtype, tokenizer: Any) -> Any:
        network, found = transformers.AutoModelForCausalLM.from_pretrained(
            self._folder,
            config=self._config,
            dtype=dtype,
            device_map=self.spec.device_map,
            use_safetensors=self._source.safetensors,
            weights_only=True,
            output_loading_info=True,
            **gguf_argument(self.spec),
            **self._code,
        )
        missing = lacking(network, found)
        # Of a model that reads ahead, as BERT does, a head is not missed: it is refused for that.
        if missing and how_far_ahead(network.eval(), tokenizer) is None:
            raise IntegrityError(
                f"the weights of {self.spec.name!r} lack {len(missing)} parameters of "
                f"{type(network).__name__}, first {missing[0]!r}. Without its head a model "
                "predicts nothing: use a checkpoint that was saved with it."
            )
        if self._adapter is not None:
            self._adapter.apply(network)
        return network if self.spec.device_map is not None else network.to(device)

    def _random(self) -> Any:
        """Behind the head, the very weights that `random_init` gives the model's features."""
        settings = {"dtype": torch.float32, "trust_remote_code": self.spec.trust_remote_code}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.spec.seed)
            body = transformers.AutoModel.from_config(self._config, **settings)
            network = transformers.AutoModelForCausalLM.from_config(self._config, **settings)
        lacking, _ = network.base_model.load_state_dict(body.state_dict(), strict=False)
        assert not lacking  # while a pooler, say, may be left over
        return network


def open_causal(spec: ModelSpec, *, offline: bool) -> CausalModel:
    """The causal model of a language spec; that of a toy network is its checkpoint."""
    if spec.backend == "toyworld":
        from platorep.models.toyworld import ToyModel

        spec = ToyModel(spec, offline=offline).checkpoint_spec
    return CausalModel(spec, offline=offline)
