"""Hidden states of a transformer, pooled one layer at a time.

Layer 0 is the embedding output and the last one the network's output after its final norm, as
`output_hidden_states=True` has it. Axes: b texts of a batch, t tokens, d features.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from platorep.errors import ConfigError
from platorep.models.tokens import Tokens

Pool = Literal["mean", "last", "cls"]


def pool_tokens(
    states: Float[Tensor, "b t d"], pooled: Bool[Tensor, "b t"], pool: Pool
) -> Float[Tensor, "b d"]:
    """One float32 vector per text, over its `pooled` tokens: their mean, or the last of them.

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
    total = states.masked_fill(~pooled[..., None], 0).sum(dim=1, dtype=torch.float32)
    return total / pooled.sum(dim=1, keepdim=True)


class PooledStates:
    """Runs a base model and pools each hidden state as it is produced.

    Hooks on the layer list see one state at a time. Where an architecture has no such list, or
    its hidden states are something else, all states are asked for and pooled afterwards.
    """

    def __init__(
        self, network: Any, config: Any, pool: Pool, padding: int, text: Sequence[int]
    ) -> None:
        """Find out on `text` what the hidden states are, and whether hooks see them."""
        network.config.use_cache = False  # nothing is generated
        self._network = network
        self._pool: Pool = pool
        self._padding = padding
        self._device = next(network.parameters()).device
        self._pooled: Tensor = torch.zeros(0, 0, dtype=torch.bool)
        self._kept: dict[int, Tensor] = {}
        self._blocks = _block_list(network, config)
        self._text_axis = 0
        """Of what goes into a block: most pass on b t d, XLNet t b d."""
        output = self._read([Tokens.all_pooled(text)], all_states=True)
        states = output.hidden_states
        if states is None:
            raise ConfigError(f"{type(network).__name__} gives no hidden states of a text.")
        self.num_layers = len(states)
        shape = (1, len(text))
        self.not_of_tokens = tuple(i for i, s in enumerate(states) if tuple(s.shape[:2]) != shape)
        """Layers that do not have one state for each token, which no pooling fits."""
        self.hooked = not self.not_of_tokens and self._find_hooks(text, states)

    @property
    def on_gpu(self) -> bool:
        return str(self._device.type) == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        dtype: torch.dtype = self._network.dtype
        return dtype

    def __call__(
        self, texts: Sequence[Tokens], layers: Sequence[int]
    ) -> list[Float[Tensor, "b _"]]:
        """Pooled states of `layers`; the texts are padded on the right."""
        if not self.hooked:
            states = self._read(texts, all_states=True).hidden_states
            return [pool_tokens(states[i], self._pooled, self._pool) for i in layers]
        kept = self._read_hooked(texts, layers)
        return [kept[i] for i in layers]

    def _read(self, texts: Sequence[Tokens], *, all_states: bool) -> Any:
        lengths = torch.tensor([len(text.ids) for text in texts])
        tokens = torch.full((len(texts), int(lengths.max())), self._padding)
        pooled = torch.zeros(tokens.shape, dtype=torch.bool)
        for i, text in enumerate(texts):
            tokens[i, : len(text.ids)] = torch.tensor(text.ids)
            pooled[i, : len(text.ids)] = torch.tensor(text.pooled)
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
        self._pooled = pooled.to(self._device)
        with torch.inference_mode():
            return self._network(
                input_ids=tokens.to(self._device),
                attention_mask=mask.to(self._device),
                output_hidden_states=all_states,
                return_dict=True,
            )

    def _read_hooked(self, texts: Sequence[Tokens], layers: Sequence[int]) -> dict[int, Tensor]:
        """What goes into block i is hidden state i; the last state is the network's output."""

        def before(layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(layer, args[0] if args else kwargs.get("hidden_states"))

        self._kept = {}
        hooks = [
            block.register_forward_pre_hook(partial(before, i), with_kwargs=True)
            for i, block in enumerate(self._blocks)
            if i in layers
        ]
        try:
            output = self._read(texts, all_states=False)
        finally:
            for hook in hooks:
                hook.remove()
        last = getattr(output, "last_hidden_state", None)
        if last is not None and self.num_layers - 1 in layers:
            self._kept[self.num_layers - 1] = pool_tokens(last, self._pooled, self._pool)
        kept, self._kept = self._kept, {}
        return kept

    def _keep(self, layer: int, states: Any) -> None:
        if isinstance(states, Tensor) and states.ndim == 3:
            states = states.transpose(0, self._text_axis)
            if states.shape[:2] == self._pooled.shape:
                self._kept[layer] = pool_tokens(states, self._pooled, self._pool)

    def _find_hooks(self, text: Sequence[int], states: Sequence[Tensor]) -> bool:
        """Whether what goes into the blocks are the hidden states, along one axis or the other."""
        if len(states) != len(self._blocks) + 1:
            return False
        tokens = Tokens.all_pooled(text)
        expected = [pool_tokens(state, self._pooled, self._pool) for state in states]
        for self._text_axis in (0, 1):
            seen = self._read_hooked([tokens], range(len(states)))
            if all(i in seen and torch.equal(seen[i], one) for i, one in enumerate(expected)):
                return True
        return False


def _block_list(network: nn.Module, config: Any) -> Sequence[nn.Module]:
    """The first list of modules that has one entry per hidden layer, or nothing."""
    num_layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return list(module)
    return ()
