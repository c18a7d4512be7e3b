"""Language models through transformers' Auto classes: causal, masked and encoder models."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import ConfigError, PlatorepError
from platorep.models.base import (
    Loaded,
    Reading,
    globs,
    refuse_other_settings,
)
from platorep.models.cost import TOKENS, count_flops
from platorep.models.hidden_states import PooledStates, kept_states, states_of
from platorep.models.inside_texts import OpenTexts
from platorep.models.loading import LOOKS_AT_NUMBERS, failing, read_tokenizer
from platorep.models.memory import PooledRows
from platorep.models.pretrained import Pretrained, PretrainedModel
from platorep.models.probing import BatchProbe, probe_batches, probe_texts
from platorep.models.sentences import Embedding, read_embedding
from platorep.models.sides import FEATURES, Side, choose_side, reads, sides
from platorep.models.taps import BY_NAME
from platorep.models.token_batches import TokenBatches, TokenStates, tokens_per_batch
from platorep.models.tokens import TextReader, Tokens, longest_text, num_embeddings
from platorep.switches import default_switches

TEXT_SETTINGS = (
    *("pool", "layers", "dtype", "attention", "prompt", "max_tokens", "special_tokens"),
    *("random_init", "seed"),
)
"""What a language model takes of `ModelSettings`, wherever it comes from."""
FROM_ELSEWHERE = ("revision", "device_map", "trust_remote_code", "adapter", "side")
"""What only one takes that was not made here."""
HIDDEN_STATES = "hidden states: embedding output, every layer, the last after the final norm"
"""Part of the key, and not true of CLIP and SigLIP, whose last text state is before it."""
SPECIAL_TOKENS = {"keep": "as the tokenizer adds them", "drop": "added, read and not pooled"}


class LanguageModel(PretrainedModel):
    described_tap = "hidden states: embedding output, every layer (norms: docs/models.md)"

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
        self._network = Pretrained(spec, offline=offline)

    def identity(self) -> dict[str, Any]:
        named = globs(self.spec)
        layers = "all" if self.spec.layers == "all" else list(named or self._kept)
        found: dict[str, Any] = {
            "backend": "transformers",
            **self._network.identity(),
            "tap": BY_NAME if named else HIDDEN_STATES,
            "layers": layers,
            "pool": self._pool,
            "prompt": self._prompted.prompt,
            "max_tokens": self.spec.max_tokens,
            "truncate": "right",
            "special_tokens": SPECIAL_TOKENS[self.spec.special_tokens],
            "attention": self._attention,
        }
        if self._side is not None:
            found["side"] = self._side.path
        return found | self._embedding.facts()

    def flops(self) -> int | None:
        tokens = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
        counted = count_flops(lambda: self._part(**self._fed(tokens)))
        return counted and counted // TOKENS

    def download(self) -> None:
        self._network.download()
        self._embedding  # noqa: B018 - fetches what says so

    @default_switches()
    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        network = self._in_memory(device, dtype)
        pools: Any = self.spec.pools or (self._pool,)
        normalize = self._embedding.normalize
        reader = TokenBatches(
            network, pools, self._padding, self._decoder_start, normalize=normalize
        )
        texts = self._probe_texts(network)
        states, kept = self._states(network, reader, texts[-1])
        sample, equal, longer = map(Tokens.all_pooled, texts)
        probe = probe_batches(
            lambda batch: states(batch, kept), sample, equal, longer, states.dtype
        )
        per_batch = tokens_per_batch(network, states.device)
        return LoadedLanguageModel(states, kept, self._text_reader(network), probe, per_batch)

    @default_switches()
    def open_texts(self, device: torch.device | str, dtype: torch.dtype) -> OpenTexts:
        network = self._in_memory(device, dtype)
        reader = TokenStates(network, ("mean",), self._padding, self._decoder_start)
        states, kept = self._states(network, reader, self._probe_texts(network)[-1])
        return OpenTexts(
            lambda batch, layers: states(batch, [kept[i] for i in layers]),
            tuple(states.names[i] for i in kept),
            self._text_reader(network),
            self.spec.label,
        )

    def _in_memory(self, device: torch.device | str, dtype: torch.dtype) -> Any:
        """What is run, with its weights."""
        self._refuse_what_reads_no_text()
        network = self._taken_from(self._network.load(dtype, self._needed)).eval()
        return network if self.spec.device_map is not None else network.to(device)

    def _probe_texts(self, network: Any) -> Any:
        return probe_texts(
            min(num_embeddings(network) or len(self._tokenizer), len(self._tokenizer)),
            longest=self._longest(network),
            special=self._tokenizer.all_special_ids,
        )

    def _longest(self, network: Any) -> int | None:
        return longest_text(self._network.config, network, self._tokenizer)

    def _states(
        self, network: Any, reader: TokenBatches, sample: Sequence[int]
    ) -> tuple[PooledStates[Tokens], tuple[int, ...]]:
        """The hidden states of a network, and which of them are kept."""
        with failing(network, self.spec):
            states = states_of(network, reader, Tokens.all_pooled(sample), self.spec)
        kept = kept_states(self.spec, states)
        if without := sorted(set(kept) & set(states.unpoolable)):
            raise ConfigError(
                f"model {self.spec.label!r}: hidden states {without} of {type(network).__name__} "
                "do not have one state per token, so a text's tokens cannot be pooled there. "
                f"Choose others of its {states.num_layers} layers (`layers`)."
            )
        return states, kept

    def _text_reader(self, network: Any) -> TextReader:
        longest = min(filter(None, (self._longest(network), self._embedding.longest)), default=None)
        return TextReader(
            self._tokenizer,
            self._prompted,
            longest=longest,
            num_embeddings=num_embeddings(network),
        )

    @default_switches()
    def save_copy(self, folder: Path) -> ModelSpec:
        copy = self._network.save_copy(folder, self._needed, self._tokenizer)
        self._embedding.write(folder)
        return copy

    @property
    def _needed(self) -> str:
        """Path of the part whose weights must be there; "": all of them."""
        return "" if self._side is None or self._decodes else self._side.path

    def _refuse_what_reads_no_text(self) -> None:
        """Before any weight is fetched, where the architecture alone tells."""
        try:
            self._widths  # noqa: B018
        except PlatorepError:
            raise
        except Exception:  # an architecture may do anything without weights: ask it with them
            return

    @property
    def _possible_pools(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._pool, "mean", "last", "cls")))

    @property
    def _pool(self) -> Any:
        if self.spec.pool == "patches_mean":
            raise ConfigError(
                f"model {self.spec.label!r}: `pool: patches_mean` is one of images, and this model "
                "reads texts. Use `pool: mean`, `last` or `cls`."
            )
        return self.spec.pool or self._embedding.pool

    @cached_property
    def _embedding(self) -> Embedding:
        """What a sentence-transformers folder says, unless `pool` says something else."""
        if self.spec.pool is not None:
            return Embedding()
        return read_embedding(self._network.source, self.spec) or Embedding()

    @property
    def _prompted(self) -> ModelSpec:
        """The spec with the prompt that goes before every text, if it has none of its own."""
        prompt = self._embedding.prompt
        if self.spec.prompt is not None or not prompt:
            return self.spec
        return self.spec.model_copy(update={"prompt": f"{prompt}{{text}}"})

    @cached_property
    def _tokenizer(self) -> Any:
        return read_tokenizer(self._network.folder, self.spec, offline=self._offline)

    @property
    def _padding(self) -> int:
        """Any valid id will do, since padding is masked; RoBERTa counts positions by its own."""
        text_config = self._network.config.get_text_config()
        found = getattr(text_config, "pad_token_id", None)
        if not isinstance(found, int):
            return 0
        return found if 0 <= found < getattr(text_config, "vocab_size", found + 1) else 0

    @cached_property
    def _side(self) -> Side | None:
        """The part that reads the texts; None: the whole network, or the encoder of two halves.

        A network that sees as well may read a text alone, as Gemma 3 and LLaVA do, and is asked.
        """
        network, side = self._network.skeleton, self.spec.side
        halves = self._network.config.is_encoder_decoder
        if "text" in reads(network) and (side is None or (halves and side == "text")):
            if halves or not sides(network):
                return None
            try:
                self._states_of(network)
            except Exception as error:
                if not isinstance(error, LOOKS_AT_NUMBERS):
                    return choose_side(network, self.spec)
            return None
        return choose_side(network, self.spec)

    @property
    def _decodes(self) -> bool:
        """Whether the decoder of two halves is asked for: both read the text."""
        return self._side is not None and self._side.path == "decoder"

    @property
    def _decoder_start(self) -> int | None:
        return self._network.config.decoder_start_token_id if self._decodes else None

    @cached_property
    def _part(self) -> Any:
        """What is run, without memory for its weights."""
        part = self._taken_from(self._network.skeleton)
        part.config.pad_token_id = None  # GPT-2 looks for it among the tokens
        return part

    def _taken_from(self, network: Any) -> Any:
        if self._decodes or (self._side is None and not self._network.config.is_encoder_decoder):
            return network
        return network.get_encoder() if self._side is None else self._side.of(network)

    @property
    def _attention(self) -> str:
        try:
            return self._network.attention(self._part)
        except PlatorepError:
            raise
        except Exception:  # a repository's own code may do anything without weights
            return "the library's choice"

    def _fed(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"input_ids": tokens} | ({"decoder_input_ids": tokens} if self._decodes else {})

    @torch.inference_mode()
    def _states_of(self, network: Any) -> Any:
        """Hidden states of two tokens without numbers."""
        tokens = torch.zeros(1, 2, dtype=torch.long, device="meta")
        output = network(**self._fed(tokens), output_hidden_states=True)
        return output.decoder_hidden_states if self._decodes else output.hidden_states

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        part = self._part
        try:
            return tuple(state.shape[-1] for state in self._states_of(part))
        except Exception as error:
            read = reads(part)
            asked = isinstance(error, LOOKS_AT_NUMBERS) or self.spec.trust_remote_code
            if read != ("text",) and not asked:
                raise ConfigError(
                    f"model {self.spec.label!r}: {type(part).__name__} reads {' and '.join(read)} "
                    f"at once, and fails at a text and nothing else ({error}). {FEATURES}."
                ) from error
            text = self._network.config.get_text_config()
            return (int(text.hidden_size),) * (int(text.num_hidden_layers) + 1)

    @property
    def _forward(self) -> Callable[[], object]:
        tokens = torch.zeros(1, 2, dtype=torch.long, device="meta")
        return partial(self._part, **self._fed(tokens))


class LoadedLanguageModel(Loaded):
    def __init__(
        self,
        states: PooledStates[Tokens],
        kept: tuple[int, ...],
        reader: TextReader,
        probe: BatchProbe,
        tokens_per_batch: int,
    ) -> None:
        self._states, self._kept, self._reader, self._probe = states, kept, reader, probe
        self._tokens_per_batch = tokens_per_batch
        self.layers = tuple(states.names[i] for i in kept)
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
        batches = self.remembered_batches(reading.batch, self._tokens_per_batch)

        def step(start: int, stop: int) -> None:
            places = order[start:stop]
            found.fill(places, self._states([tokens[i] for i in places], self._kept))
            reading.progress(stop - start)

        batches.run([lengths[i] for i in order], step, "tokens")
        return found.layers
