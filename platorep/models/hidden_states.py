"""Hidden states of a transformer, pooled one layer at a time.

Layer 0 is the embedding output and the last one the network's output after its final norm, as
`output_hidden_states=True` has it. Axes: b texts of a batch, t tokens, d features.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from platorep.models.precision import full_precision

Pool = Literal["mean", "last", "cls"]


def pool_tokens(
    states: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"], pool: Pool
) -> Float[Tensor, "b d"]:
    """One float32 vector per text, over its first `lengths` tokens: mean, last one, or first."""
    lengths = lengths.to(states.device)
    if pool == "cls":
        return states[:, 0].to(torch.float32, copy=True)  # a view would keep every token
    if pool == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1].float()
    places = torch.arange(states.shape[1], device=states.device)
    padding = places >= lengths[:, None]  # b t
    total = states.masked_fill(padding[..., None], 0).sum(dim=1, dtype=torch.float32)
    return total / lengths[:, None]


class PooledStates:
    """Runs a base model and pools each hidden state as it is produced.

    Hooks on the layer list see one state at a time. Where an architecture has no such list, or
    its hidden states are something else, all states are asked for and pooled afterwards.
    """

    def __init__(self, network: Any, config: Any, pool: Pool, padding: int) -> None:
        network.config.use_cache = False  # nothing is generated
        self._network = network
        self._pool: Pool = pool
        self._padding = padding
        self._vocabulary: int = config.get_text_config().vocab_size
        self._device = next(network.parameters()).device
        self._lengths: Tensor = torch.zeros(0, dtype=torch.long)
        self._kept: dict[int, Tensor] = {}
        self._blocks = _block_list(network, config)
        self.num_layers, self.hooked = self._check()

    def __call__(
        self, texts: Sequence[Sequence[int]], layers: Sequence[int]
    ) -> list[Float[Tensor, "b _"]]:
        """Pooled states of `layers` for texts of token ids, padded on the right."""
        lengths = torch.tensor([len(text) for text in texts])
        tokens = torch.full((len(texts), int(lengths.max())), self._padding)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = torch.tensor(text)
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
        self._lengths = lengths.to(self._device)
        if not self.hooked:
            states = self._forward(tokens, mask, all_states=True).hidden_states
            return [pool_tokens(states[i], self._lengths, self._pool) for i in layers]
        self._kept = {}
        hooks = self._install(set(layers))
        try:
            output = self._forward(tokens, mask, all_states=False)
        finally:
            for hook in hooks:
                hook.remove()
        last = self.num_layers - 1
        if last in layers:
            self._keep(last, output.last_hidden_state)
        return [self._kept.pop(i) for i in layers]

    def _forward(self, tokens: Tensor, mask: Tensor, *, all_states: bool) -> Any:
        with torch.inference_mode(), full_precision():
            return self._network(
                input_ids=tokens.to(self._device),
                attention_mask=mask.to(self._device),
                output_hidden_states=all_states,
                return_dict=True,
            )

    def _keep(self, layer: int, states: Tensor) -> None:
        self._kept[layer] = pool_tokens(states, self._lengths, self._pool)

    def _install(self, layers: set[int]) -> list[Any]:
        """A hook before each block in `layers`: what goes into block i is hidden state i."""

        def before(layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(layer, args[0] if args else kwargs["hidden_states"])

        return [
            block.register_forward_pre_hook(partial(before, i), with_kwargs=True)
            for i, block in enumerate(self._blocks)
            if i in layers
        ]

    def _check(self) -> tuple[int, bool]:
        """Number of hidden states, and whether the hooks see exactly these."""
        tokens = torch.arange(min(8, self._vocabulary))[None]
        self._lengths = torch.tensor([tokens.shape[1]], device=self._device)
        hooks = self._install(set(range(len(self._blocks))))
        try:
            output = self._forward(tokens, torch.ones_like(tokens), all_states=True)
        finally:
            for hook in hooks:
                hook.remove()
        states = output.hidden_states
        seen, self._kept = self._kept, {}
        if len(states) != len(self._blocks) + 1 or len(seen) != len(self._blocks):
            return len(states), False
        seen[len(states) - 1] = pool_tokens(output.last_hidden_state, self._lengths, self._pool)
        same = (
            torch.equal(pool_tokens(state, self._lengths, self._pool), seen[i])
            for i, state in enumerate(states)
        )
        return len(states), all(same)


def _block_list(network: nn.Module, config: Any) -> Sequence[nn.Module]:
    """The first list of modules that has one entry per hidden layer, or nothing."""
    text_config = config.get_text_config()
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == text_config.num_hidden_layers:
            return list(module)
    return ()
