"""Texts as a language network reads them, in batches, and the pooling of their tokens.

Axes: b texts of a batch, t tokens, d features.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from platorep.models.hidden_states import Reader
from platorep.models.tokens import Tokens

Pool = Literal["mean", "last", "cls", "max"]
CPU_TOKENS, TOKENS_PER_THREAD = 512, 128
"""On a CPU fewer tokens stay in its caches; many threads need more."""
GPU_TOKENS, FEWEST_GPU_TOKENS = 16384, 2048
BATCH_FLOPS = 10**13
"""What keeps a GPU busy for some 30 ms, several times as long as it takes to start its kernels."""


def tokens_per_batch(network: nn.Module, device: torch.device) -> int:
    """Padding included, to begin with: more do not run faster, and hold more padding.

    A large network needs fewer to keep a GPU busy. Of 256 texts as long as captions of the web 24 %
    are padding in batches of 2048 tokens, and 63 % in batches of 16384 (docs/scale.md).
    """
    if device.type != "cuda":
        return max(CPU_TOKENS, TOKENS_PER_THREAD * torch.get_num_threads())
    size = sum(parameter.numel() for parameter in network.parameters())
    return min(GPU_TOKENS, max(FEWEST_GPU_TOKENS, BATCH_FLOPS // (2 * size)))


def pool_tokens(
    states: Float[Tensor, "b t d"], pooled: Bool[Tensor, "b t"], pool: Pool
) -> Float[Tensor, "b d"]:
    """One float32 vector per text, over its `pooled` tokens: their mean, maxima, or the last.

    `cls` is the first token whatever `pooled` says.
    """
    pooled = pooled.to(states.device)
    if pool == "cls":
        return states[:, 0].to(torch.float32, copy=True)  # a view would keep every token
    if pool == "last":
        places = torch.arange(states.shape[1], device=states.device)
        last = torch.where(pooled, places, -1).amax(dim=1)
        rows = torch.arange(len(states), device=states.device)
        return states[rows, last].float()
    if pool == "max":
        return states.masked_fill(~pooled[..., None], -torch.inf).amax(dim=1).float()
    total = states.masked_fill(~pooled[..., None], 0).sum(dim=1, dtype=torch.float32)
    return total / pooled.sum(dim=1, keepdim=True)


class TokenBatches(Reader[Tokens]):
    """Pads texts on the right, and pools over the tokens that count."""

    def __init__(
        self,
        network: Any,
        pools: Sequence[Pool],
        padding: int,
        decoder_start: int | None = None,
        *,
        normalize: bool = False,
    ) -> None:
        """With `decoder_start` the decoder's states are read: an encoder is given the text, and the
        decoder the same text behind this token (arXiv:1910.13461, section 3.1).

        Args:
            normalize: Whether vectors are given unit length.
        """
        network.config.use_cache = False  # nothing is generated
        self._network, self._padding = network, padding
        self._pools = pools
        self.num_pools = len(pools)
        self._start = decoder_start
        self._normalize = normalize
        self._device = next(network.parameters()).device
        self._pooled: Tensor = torch.zeros(0, 0, dtype=torch.bool)

    def read(self, batch: Sequence[Tokens], *, all_states: bool) -> Any:
        lengths = torch.tensor([len(text.ids) for text in batch])
        tokens = torch.full((len(batch), int(lengths.max())), self._padding)
        pooled = torch.zeros(tokens.shape, dtype=torch.bool)
        for i, text in enumerate(batch):
            tokens[i, : len(text.ids)] = torch.tensor(text.ids)
            pooled[i, : len(text.ids)] = torch.tensor(text.pooled)
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
        self._pooled = pooled.to(self._device)
        given = {"input_ids": tokens, "attention_mask": mask}
        if self._start is not None:
            shifted = torch.cat([torch.full((len(batch), 1), self._start), tokens[:, :-1]], dim=1)
            given |= {"decoder_input_ids": shifted, "decoder_attention_mask": mask}
        with torch.inference_mode():
            output = self._network(
                **{name: value.to(self._device) for name, value in given.items()},
                output_hidden_states=all_states,
                return_dict=True,
            )
        if self._start is None:
            return output
        return SimpleNamespace(
            hidden_states=output.decoder_hidden_states, last_hidden_state=output.last_hidden_state
        )

    def pool(self, states: Tensor) -> Float[Tensor, "b d"] | None:
        if states.ndim != 3 or states.shape[:2] != self._pooled.shape:
            return None
        pooled = [pool_tokens(states, self._pooled, pool) for pool in self._pools]
        if self._normalize:
            pooled = [F.normalize(vectors, dim=1) for vectors in pooled]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)


class TokenStates(TokenBatches):
    """Keeps the state of every token that counts, text after text, in place of a mean."""

    def pool(self, states: Tensor) -> Float[Tensor, "t d"] | None:
        if states.ndim != 3 or states.shape[:2] != self._pooled.shape:
            return None
        return states[self._pooled.to(states.device)].float()
