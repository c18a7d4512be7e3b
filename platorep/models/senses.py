"""Networks of transformers that see or hear: images, sounds and films, one side of a network."""

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from platorep.config import ModelSpec
from platorep.errors import ConfigError
from platorep.models.base import (
    Loaded,
    globs,
    refuse_other_settings,
)
from platorep.models.blocks import choose_pool, possible_pools
from platorep.models.cost import count_flops
from platorep.models.hidden_states import PooledStates, kept_states, states_of
from platorep.models.input_batches import InputBatches, Pool, can_be_padded
from platorep.models.loading import LOOKS_AT_NUMBERS, failing
from platorep.models.memory import Batching
from platorep.models.pretrained import Pretrained, PretrainedModel
from platorep.models.probing import BatchProbe, probe_batches
from platorep.models.processors import Inputs, Preparation, read_processor
from platorep.models.sides import Side, choose_side
from platorep.models.streamed import Streamed
from platorep.models.taps import BY_NAME
from platorep.switches import default_switches

SETTINGS = (
    *("pool", "layers", "dtype", "attention", "side", "random_init", "seed"),
    *("revision", "device_map", "trust_remote_code"),
)
"""What such a network takes of `ModelSettings`."""
CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
"""What a parameter is called that is the embedding of a class token."""


class SensedModel(PretrainedModel):
    described_tap = "hidden states (norms: docs/models.md)"

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        refuse_other_settings(spec, *SETTINGS)
        self.spec = spec
        self._offline = offline
        self._network = Pretrained(spec, offline=offline)

    def identity(self) -> dict[str, Any]:
        return {
            "backend": "transformers",
            **self._network.identity(),
            "side": self._side.path,
            "kind": self.spec.kind,
            "prepared": dict(self._preparation.facts),
            "tap": self._tap,
            "layers": self.spec.layers
            if self.spec.layers == "all"
            else list(globs(self.spec) or self._kept),
            "pool": self._pool,
            "attention": self._network.attention(self._part),
        }

    @property
    def _tap(self) -> str:
        return BY_NAME if globs(self.spec) else "hidden states, the last after the final norm"

    def flops(self) -> int | None:
        return count_flops(self._forward)

    def download(self) -> None:
        self._network.download()

    @default_switches()
    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        side, prepare = self._side, self._preparation
        part = side.of(self._network.load(dtype, side.path)).eval()
        if self.spec.device_map is None:
            part = part.to(device)
        pools = [self._chosen(pool) for pool in self.spec.pools] or [self._pool]
        with failing(part, self.spec):
            one, equal = (prepare(prepare.noise(seed)) for seed in (0, 1))
            longer = prepare(prepare.noise(2, longer=True))
            reader = InputBatches(part, pools, masked=self._masked, sample=one)
            states = states_of(part, reader, one, self.spec)
        kept = kept_states(self.spec, states)
        self._refuse_what_is_not_pooled(part, states, kept)
        if reader.packed:
            return LoadedSensedModel(states, kept, prepare, None)
        fits = can_be_padded(longer) or _shapes(longer) == _shapes(one)
        probe = probe_batches(
            lambda batch: states(batch, kept), one, equal, longer if fits else None, states.dtype
        )
        return LoadedSensedModel(states, kept, prepare, probe)

    @default_switches()
    def save_copy(self, folder: Path) -> ModelSpec:
        prepare = self._preparation
        processor = getattr(prepare, "extractor", None) or getattr(prepare, "processor", None)
        return self._network.save_copy(folder, self._side.path, processor)

    def _refuse_what_is_not_pooled(
        self, part: nn.Module, states: PooledStates[Inputs], kept: Sequence[int]
    ) -> None:
        if without := sorted(set(kept) & set(states.unpoolable)):
            raise ConfigError(
                f"model {self.spec.label!r}: hidden states {without} of {type(part).__name__} are "
                "neither a row of tokens nor a map for each sample, so they cannot be pooled. "
                f"Choose others of its {states.num_layers} layers (`layers`)."
            )

    @cached_property
    def _side(self) -> Side:
        return choose_side(self._network.skeleton, self.spec)

    @property
    def _part(self) -> Any:
        """The side without memory for its weights."""
        return self._side.of(self._network.skeleton)

    @cached_property
    def _preparation(self) -> Preparation:
        kind = self.spec.kind
        assert kind is not None
        return read_processor(
            self._network.folder, kind, self._part.config, self.spec, offline=self._offline
        )

    @property
    def _masked(self) -> bool:
        """Networks of extractors that say so were trained with padding that is masked."""
        extractor = getattr(self._preparation, "extractor", None)
        return bool(getattr(extractor, "return_attention_mask", True))

    @property
    def _possible_pools(self) -> tuple[str, ...]:
        return possible_pools(self._chosen(None))

    @property
    def _pool(self) -> Pool:
        return self._chosen(self.spec.pool)

    def _chosen(self, pool: str | None) -> Pool:
        return choose_pool(pool, self.spec.label, class_token=self._has_class_token)

    @cached_property
    def _has_class_token(self) -> bool:
        """Whether there is an embedding of one, and a token that is no patch."""
        names = (name.rpartition(".")[2] for name, _ in self._part.named_parameters())
        if not any(name in CLASS_TOKENS for name in names):
            return False
        with failing(self._part, self.spec):
            try:
                return self._asked[0].num_prefix > 0
            except LOOKS_AT_NUMBERS:
                return True

    @cached_property
    def _asked(self) -> tuple[InputBatches, Inputs]:
        """The skeleton, and a sample of zeros without memory."""
        prepare = self._preparation
        sample = {name: value.to("meta") for name, value in prepare(prepare.noise(0)).items()}
        return InputBatches(self._part, ["mean"], masked=self._masked, sample=sample), sample

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        try:
            reader, sample = self._asked
            states = reader.read([sample], all_states=True).hidden_states
            pooled = [reader.pool(state) for state in states]
            return tuple(0 if one is None else one.shape[1] for one in pooled)
        except LOOKS_AT_NUMBERS:  # patches in a row, or a mask
            config = self._part.config
            width = getattr(config, "embed_dim", config.hidden_size)
            number = getattr(config, "depth", None) or config.num_hidden_layers
            return (int(width),) * (int(number) + 1)

    @property
    def _forward(self) -> Callable[[], object]:
        reader, sample = self._asked
        return partial(reader.read, [sample], all_states=False)


class LoadedSensedModel(Streamed):
    def __init__(
        self,
        states: PooledStates[Inputs],
        kept: tuple[int, ...],
        prepare: Preparation,
        probe: BatchProbe | None,
    ) -> None:
        """Without a probe samples are run alone: their patches are packed one behind the other."""
        super().__init__(prepare, states.device)
        self._states, self._kept, self._probe = states, kept, probe
        self.layers = tuple(states.names[i] for i in kept)
        self.batching = Batching.ONE_BY_ONE if probe is None else probe.batching

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self._probe is None else self._probe.notes("samples")

    def pooled(self, batch: Sequence[Inputs]) -> list[Float[Tensor, "b _"]]:
        return self._states(batch, self._kept)

    def alike(self, prepared: Inputs) -> Hashable:
        """Samples share a batch if they have one shape, or if padding was seen to move nothing."""
        padded = can_be_padded(prepared) and self.batching is Batching.ANY
        return None if padded else _shapes(prepared)


def _shapes(inputs: Inputs) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(inputs[name].shape) for name in sorted(inputs))
