"""Language models through transformers' Auto classes: causal, masked and encoder models."""

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from platorep.config import ModelSpec
from platorep.errors import ConfigError, IntegrityError, PlatorepError
from platorep.models.adapters import Adapter, class_with_head, open_adapter
from platorep.models.base import (
    Description,
    Loaded,
    Model,
    Reading,
    kept_layers,
    refuse_other_settings,
)
from platorep.models.cost import TOKENS, count_flops
from platorep.models.hidden_states import PooledStates
from platorep.models.loading import (
    as_own_errors,
    lacking,
    quiet,
    read_config,
    read_tokenizer,
    reading_texts,
    refuse_more_than_texts,
    refuse_other_inputs,
)
from platorep.models.memory import PooledRows
from platorep.models.probing import BatchProbe, probe_batches, probe_texts
from platorep.models.sources import Source, open_source
from platorep.models.token_batches import TokenBatches
from platorep.models.tokens import TextReader, Tokens, longest_text, num_embeddings
from platorep.switches import default_switches

TEXT_SETTINGS = (
    *("pool", "layers", "dtype", "attention", "prompt", "max_tokens", "special_tokens"),
    *("random_init", "seed"),
)
"""What a language model takes of `ModelSettings`, wherever it comes from."""
FROM_ELSEWHERE = ("revision", "device_map", "trust_remote_code", "adapter")
"""What only one takes that was not made here."""
GPU_TOKENS = 16384
"""Tokens per batch to begin with: more do not run faster."""
CPU_TOKENS, TOKENS_PER_THREAD = 512, 128
"""On a CPU fewer tokens stay in its caches; many threads need more."""
SPECIAL_TOKENS = {"keep": "as the tokenizer adds them", "drop": "added, read and not pooled"}


class LanguageModel(Model):
    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        if spec.kind != "text":
            raise ConfigError(
                f"model {spec.label!r}: backend transformers reads texts; it is to read the view "
                f"{spec.view!r}, whose kind is {spec.kind}."
            )
        refuse_other_settings(spec, *TEXT_SETTINGS, *FROM_ELSEWHERE)
        if spec.prompt is not None and "{text}" not in spec.prompt:
            raise ConfigError(
                f"model {spec.label!r}: `prompt` must hold {{text}}; found {spec.prompt!r}."
            )
        if spec.special_tokens == "drop" and spec.pool == "cls":
            raise ConfigError(
                f"model {spec.label!r}: `pool: cls` is the first token, and `special_tokens: drop` "
                "leaves that out. Use `pool: mean` or `last`, or leave `special_tokens` out."
            )
        self.spec = spec
        self._offline = offline

    def identity(self) -> dict[str, Any]:
        layers = "all" if self.spec.layers == "all" else list(self._kept)
        found: dict[str, Any] = {
            "backend": "transformers",
            **self._source.identity(weights=not self.spec.random_init),
            "tap": "hidden states: embedding output, every layer, the last after the final norm",
            "layers": layers,
            "pool": self._pool,
            "prompt": self.spec.prompt,
            "max_tokens": self.spec.max_tokens,
            "truncate": "right",
            "special_tokens": SPECIAL_TOKENS[self.spec.special_tokens],
            "attention": self._attention,
            "trust_remote_code": self.spec.trust_remote_code,
        }
        if self.spec.random_init:
            initialised_by = f"transformers {transformers.__version__}"
            found["random_init"] = {"seed": self.spec.seed, "initialised_by": initialised_by}
        if self._adapter is not None:
            found["adapter"] = self._adapter.identity()
        return found

    def describe(self) -> Description:
        try:
            kept = self._kept
        except PlatorepError as error:
            return Description(unknown=(str(error),))
        except Exception as error:  # a repository's own code may do anything without weights
            return Description(unknown=(f"it cannot be built without its weights: {error}",))
        weight_bytes = download_bytes = None
        unknown: tuple[str, ...] = ()
        try:
            if not self.spec.random_init:
                weight_bytes = self._source.weight_bytes()
            download_bytes = self._source.missing_bytes(weights=not self.spec.random_init)
        except PlatorepError as error:
            unknown = (str(error),)
        return Description(
            layers=tuple(f"hidden_states.{i}" for i in kept),
            widths=tuple(self._widths[i] for i in kept),
            parameters=sum(p.numel() for p in self._skeleton.parameters()),
            weight_bytes=weight_bytes,
            download_bytes=download_bytes,
            unknown=unknown,
        )

    def flops(self) -> int | None:
        tokens = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
        counted = count_flops(lambda: self._skeleton(input_ids=tokens))
        return counted and counted // TOKENS

    def download(self) -> None:
        self._source.folder(weights=not self.spec.random_init)
        if self._adapter is not None:
            self._adapter.folder()

    @default_switches()
    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        self._refuse_what_reads_no_text()
        with quiet(), as_own_errors(self.spec):
            if self.spec.random_init:
                network = self._random(dtype).to(device)
            else:
                network = self._pretrained(device, dtype)
        network = network.eval()
        longest = longest_text(self._config, network, self._tokenizer)
        table_size = num_embeddings(network)
        texts = probe_texts(
            min(table_size or len(self._tokenizer), len(self._tokenizer)),
            longest=longest,
            special=self._tokenizer.all_special_ids,
        )
        pools: Any = self.spec.pools or (self._pool,)
        reader = TokenBatches(network, pools, self._padding)
        with reading_texts(network, self._config, self.spec):
            states = PooledStates(network, reader, Tokens.all_pooled(texts[-1]))
        kept = kept_layers(self.spec, states.num_layers)
        if without := sorted(set(kept) & set(states.unpoolable)):
            raise ConfigError(
                f"model {self.spec.label!r}: hidden states {without} of {type(network).__name__} "
                "do not have one state per token, so a text's tokens cannot be pooled there. "
                f"Choose others of its {states.num_layers} layers (`layers`)."
            )
        sample, equal, longer = map(Tokens.all_pooled, texts)
        probe = probe_batches(
            lambda batch: states(batch, kept), sample, equal, longer, states.dtype
        )
        tokens = TextReader(self._tokenizer, self.spec, longest=longest, num_embeddings=table_size)
        return LoadedLanguageModel(states, kept, tokens, probe)

    def _refuse_what_reads_no_text(self) -> None:
        """Before any weight is fetched, where the architecture alone tells."""
        try:
            self._widths  # noqa: B018
        except PlatorepError:
            raise
        except Exception:  # an architecture may do anything without weights: ask it with them
            return

    @property
    def _pool(self) -> Any:
        if self.spec.pool == "patches_mean":
            raise ConfigError(
                f"model {self.spec.label!r}: `pool: patches_mean` is one of images, and this model "
                "reads texts. Use `pool: mean`, `last` or `cls`."
            )
        return self.spec.pool or "mean"

    @cached_property
    def _source(self) -> Source:
        return open_source(self.spec, offline=self._offline)

    @cached_property
    def _adapter(self) -> Adapter | None:
        return open_adapter(self.spec, offline=self._offline)

    @cached_property
    def _folder(self) -> Path:
        """A folder with configuration and tokenizer, not necessarily with weights."""
        return self._source.folder(weights=False)

    @property
    def _code(self) -> dict[str, bool]:
        return {
            "trust_remote_code": self.spec.trust_remote_code,
            "local_files_only": self._offline,
        }

    @cached_property
    def _config(self) -> Any:
        return read_config(self._folder, self.spec, offline=self._offline)

    @cached_property
    def _tokenizer(self) -> Any:
        return read_tokenizer(self._folder, self.spec, offline=self._offline)

    @property
    def _padding(self) -> int:
        """Any valid id will do, since padding is masked; RoBERTa counts positions by its own."""
        text_config = self._config.get_text_config()
        found = getattr(text_config, "pad_token_id", None)
        if not isinstance(found, int):
            return 0
        return found if 0 <= found < getattr(text_config, "vocab_size", found + 1) else 0

    @cached_property
    def _skeleton(self) -> Any:
        """The network without memory for its weights, with the library's choice of attention."""
        with quiet(), as_own_errors(self.spec), torch.device("meta"):
            network = self._build()
        refuse_other_inputs(network, self._config, self.spec)
        network.config.pad_token_id = None  # GPT-2 looks for it among the tokens
        return network

    @property
    def _attention(self) -> str:
        """What is asked for, or what transformers chooses for this architecture."""
        if self.spec.attention is not None:
            return self.spec.attention
        try:
            return str(self._skeleton.config._attn_implementation)
        except PlatorepError:
            raise
        except Exception:  # a repository's own code may do anything without weights
            return "the library's choice"

    @property
    def _attention_argument(self) -> dict[str, str]:
        asked = self.spec.attention
        return {} if asked is None else {"attn_implementation": asked}

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        tokens = torch.zeros(1, 2, dtype=torch.long, device="meta")
        try:
            with torch.inference_mode():
                states = self._skeleton(input_ids=tokens, output_hidden_states=True).hidden_states
        except Exception as error:
            numbers = isinstance(error, (RuntimeError, NotImplementedError))  # it looks at them
            if not (numbers or self.spec.trust_remote_code):
                refuse_more_than_texts(self._skeleton, self._config, self.spec, error)
            text = self._config.get_text_config()
            return (int(text.hidden_size),) * (int(text.num_hidden_layers) + 1)
        return tuple(state.shape[-1] for state in states)

    @cached_property
    def _kept(self) -> tuple[int, ...]:
        return kept_layers(self.spec, len(self._widths))

    @property
    def _auto_class(self) -> Any:
        encoder_only = type(self._config) in MODEL_FOR_TEXT_ENCODING_MAPPING
        if self._config.is_encoder_decoder and encoder_only:
            return transformers.AutoModelForTextEncoding
        return transformers.AutoModel

    def _build(self, **attention: str) -> Any:
        network = self._auto_class.from_config(
            copy.deepcopy(self._config),
            dtype=torch.float32,
            trust_remote_code=self.spec.trust_remote_code,
            **attention,
        )
        return self._text_part(network)

    def _random(self, dtype: torch.dtype) -> Any:
        """Drawn on the CPU in float32, so that every machine draws the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.spec.seed)
            return self._build(**self._attention_argument).to(dtype)

    def _pretrained(self, device: torch.device | str, dtype: torch.dtype) -> nn.Module:
        adapter = self._adapter
        loader = self._auto_class if adapter is None else class_with_head(self._config, self.spec)
        network, found = loader.from_pretrained(
            self._source.folder(weights=True),
            config=copy.deepcopy(self._config),
            dtype=dtype,
            device_map=self.spec.device_map,
            use_safetensors=self._source.safetensors,
            weights_only=True,
            output_loading_info=True,
            **self._attention_argument,
            **self._code,
        )
        missing = [key for key in lacking(network, found) if "pooler" not in key.split(".")]
        if missing:
            raise IntegrityError(
                f"the weights of {self.spec.name!r} lack {len(missing)} parameters of "
                f"{type(network).__name__}, first {missing[0]!r}, which would be random. Use a "
                "checkpoint of this architecture, or `random_init: true` for a random control."
            )
        if adapter is not None:
            adapter.apply(network)
            network = network.base_model
        network = self._text_part(network)
        return network if self.spec.device_map is not None else network.to(device)

    def _text_part(self, network: Any) -> nn.Module:
        if self._config.is_encoder_decoder and self._auto_class is transformers.AutoModel:
            network = network.get_encoder()
        assert isinstance(network, nn.Module)
        return network


class LoadedLanguageModel(Loaded):
    def __init__(
        self,
        states: PooledStates[Tokens],
        kept: tuple[int, ...],
        reader: TextReader,
        probe: BatchProbe,
    ) -> None:
        self._states, self._kept, self._reader, self._probe = states, kept, reader, probe
        self.layers = tuple(f"hidden_states.{i}" for i in kept)
        self.batching = probe.batching
        if not states.hooked:
            plain = "there is no list of blocks to tap: all hidden states of a batch are held"
            self.details = (plain,)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._reader.notes + self._probe.notes("texts")

    def forget(self) -> None:
        self._reader.forget()

    @default_switches()
    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        samples, rows = reading.samples, reading.rows
        tokens = self._reader.read([samples[i] for i in rows], [samples.ids[i] for i in rows])
        lengths = [len(text.ids) for text in tokens]
        order = sorted(range(len(tokens)), key=lambda i: -lengths[i])
        found = PooledRows(len(rows))
        on_cpu = max(CPU_TOKENS, TOKENS_PER_THREAD * torch.get_num_threads())
        batches = self.remembered_batches(
            reading.batch, GPU_TOKENS if self._states.on_gpu else on_cpu
        )

        def step(start: int, stop: int) -> None:
            places = order[start:stop]
            found.fill(places, self._states([tokens[i] for i in places], self._kept))
            reading.progress(stop - start)

        batches.run([lengths[i] for i in order], step, "tokens")
        return found.layers
