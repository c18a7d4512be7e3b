"""Hidden states of a transformer, pooled one layer at a time.

Layer 0 is what enters the first block (the embedding output), the others are what
`output_hidden_states=True` has. Axes: b samples of a batch, t tokens, d features.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from platorep.config import ModelSpec
from platorep.errors import ConfigError
from platorep.models.base import globs, kept_layers
from platorep.models.memory import by_pool
from platorep.models.taps import CHANNELS_FIRST, layout_of, named_taps, tapped

Read = TypeVar("Read")


class Reader(ABC, Generic[Read]):
    """How a network is given a batch, and how its states of that batch are pooled."""

    num_pools = 1

    @abstractmethod
    def read(self, batch: Sequence[Read], *, all_states: bool) -> Any:
        """The network's output, with `hidden_states` if `all_states`."""

    @abstractmethod
    def pool(self, states: Tensor) -> Float[Tensor, "b d"] | None:
        """A float32 vector per sample of the last batch, of several pools side by side.

        None: these are no states of it.
        """


class PooledStates(Generic[Read]):
    """Runs a network and pools each hidden state as it is produced.

    Hooks on the list of blocks see one state at a time. Where an architecture has no such list, or
    its hidden states are something else, all states are asked for and pooled afterwards.
    """

    def __init__(self, network: Any, reader: Reader[Read], sample: Read) -> None:
        """Find out on `sample` what the hidden states are, and whether hooks see them.

        Raises:
            ConfigError: the network gives no hidden states.
        """
        self._network, self._reader = network, reader
        self.device: torch.device = next(network.parameters()).device
        self._kept: dict[int, Tensor] = {}
        self._blocks: Sequence[nn.Module] = ()
        self._sample_axis = 0
        """Of what goes into a block: most pass on b t d, XLNet t b d."""
        self._normed = True
        """Whether the last state is the network's output (after a final norm, if there is one)."""
        states = getattr(reader.read([sample], all_states=True), "hidden_states", None)
        if not states:
            raise ConfigError(
                f"{type(network).__name__} gives no hidden states: compute its features yourself "
                "(`backend: features`)."
            )
        self.num_layers = len(states)
        self.names = tuple(f"hidden_states.{i}" for i in range(len(states)))
        pooled = [reader.pool(state) for state in states]
        self.unpoolable = tuple(i for i, state in enumerate(pooled) if state is None)
        """Layers that do not have one state for each token, which no pooling fits."""
        expected = [state for state in pooled if state is not None]
        self.hooked = not self.unpoolable and self._find_hooks(sample, expected)

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        dtype: torch.dtype = self._network.dtype
        return dtype

    def __call__(self, batch: Sequence[Read], layers: Sequence[int]) -> list[Float[Tensor, "b _"]]:
        """Pooled states of `layers`: all with the first pool, then all with the next."""
        if self.hooked:
            kept = self._read_hooked(batch, layers)
            return by_pool([kept[i] for i in layers], self._reader.num_pools)
        states = self._reader.read(batch, all_states=True).hidden_states
        pooled = [self._reader.pool(states[i]) for i in layers]
        return by_pool([one for one in pooled if one is not None], self._reader.num_pools)

    def _read_hooked(self, batch: Sequence[Read], layers: Sequence[int]) -> dict[int, Tensor]:
        """What goes into block i is hidden state i; the last is the network's, or a block's output.

        Nothing is kept of a state but its pooled vectors.
        """

        def before(layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(layer, args[0] if args else kwargs.get("hidden_states"))

        def after(layer: int, _: nn.Module, __: Any, output: Any) -> None:
            self._keep(layer, output[0] if isinstance(output, tuple) else output)

        last = self.num_layers - 1
        self._kept = {}
        hooks = [
            block.register_forward_pre_hook(partial(before, i), with_kwargs=True)
            for i, block in enumerate(self._blocks)
            if i in layers
        ]
        if last in layers and not self._normed:
            hooks.append(self._blocks[-1].register_forward_hook(partial(after, last)))
        try:
            output = self._reader.read(batch, all_states=False)
        finally:
            for hook in hooks:
                hook.remove()
        state = getattr(output, "last_hidden_state", None)
        if last in layers and self._normed and state is not None:
            pooled = self._reader.pool(state)
            self._kept |= {} if pooled is None else {last: pooled}
        kept, self._kept = self._kept, {}
        return kept

    def _keep(self, layer: int, states: Any) -> None:
        if isinstance(states, Tensor) and states.ndim > 1:
            pooled = self._reader.pool(states.transpose(0, self._sample_axis))
            if pooled is not None:
                self._kept[layer] = pooled

    def _find_hooks(self, sample: Read, expected: Sequence[Tensor]) -> bool:
        """Whether what goes into the blocks are the hidden states, along one axis or the other."""
        for blocks in _block_lists(self._network, len(expected) - 1):
            self._blocks = blocks
            for self._normed, self._sample_axis in product((True, False), (0, 1)):
                seen = self._read_hooked([sample], range(len(expected)))
                if all(i in seen and torch.equal(seen[i], one) for i, one in enumerate(expected)):
                    return True
        return False


class NamedStates(PooledStates[Read]):
    """Outputs of modules by name, pooled as hidden states are; those of two axes as they are."""

    def __init__(
        self, network: Any, reader: Reader[Read], sample: Read, globs: Sequence[str], label: str
    ) -> None:
        """Find out on `sample` along which axis the outputs have their samples.

        Raises:
            ConfigError: a glob matches nothing, or an output is none of samples.
        """
        self._network, self._reader, self._label = network, reader, label
        self.device = next(network.parameters()).device
        self.names = named_taps(network, globs, label)
        self.num_layers = len(self.names)
        self.unpoolable = ()
        self.hooked = True
        self._second: set[str] = set()
        """What puts the batch second: t b d."""
        self([sample], range(self.num_layers))

    def __call__(self, batch: Sequence[Read], layers: Sequence[int]) -> list[Float[Tensor, "b _"]]:
        """Pooled outputs of the modules: all with the first pool, then all with the next."""
        found: dict[str, Tensor] = {}
        names = [self.names[i] for i in layers]

        def keep(name: str, output: Tensor) -> None:
            found[name] = self._pooled(name, output, len(batch))

        read = partial(self._reader.read, batch, all_states=False)
        tapped(self._network, names, read, keep, self._label)
        return by_pool([found[name] for name in names], self._reader.num_pools)

    def _pooled(self, name: str, output: Tensor, num_samples: int) -> Float[Tensor, "b _"]:
        pooled = None
        if output.ndim == 3 and layout_of(self._network, name) in CHANNELS_FIRST:
            output = output.mT
        if name not in self._second:
            pooled = self._reader.pool(output)
        if pooled is None and output.ndim == 3:
            pooled = self._reader.pool(output.transpose(0, 1))
            self._second |= {name} if pooled is not None else set()
        if pooled is None and output.ndim == 2 and len(output) == num_samples:
            pooled = output.float().repeat(1, self._reader.num_pools)
        if pooled is None:
            raise ConfigError(
                f"model {self._label!r}: what the module {name!r} gives ("
                f"{' x '.join(map(str, output.shape))} of {num_samples} samples) has neither one "
                "state for each token nor one vector for each sample. Name other modules "
                "(`layers`)."
            )
        return pooled


def states_of(
    network: Any, reader: Reader[Read], sample: Read, spec: ModelSpec
) -> PooledStates[Read]:
    """The hidden states, or the modules that `layers` names."""
    if named := globs(spec):
        return NamedStates(network, reader, sample, named, spec.label)
    return PooledStates(network, reader, sample)


def kept_states(spec: ModelSpec, states: PooledStates[Any]) -> tuple[int, ...]:
    """Indices of the states that `layers` asks for: those that it counts, or all that it names."""
    if globs(spec):
        return tuple(range(states.num_layers))
    return kept_layers(spec, states.num_layers)


def named_widths(
    network: nn.Module, globs: Sequence[str], forward: Callable[[], object], label: str
) -> tuple[int, ...] | None:
    """How wide the outputs of modules by name are; None where that takes numbers."""
    names, found = named_taps(network, globs, label), dict[str, int]()

    def keep(name: str, output: Tensor) -> None:
        second = output.ndim == 4 or layout_of(network, name) in CHANNELS_FIRST
        found[name] = output.shape[1] if second else output.shape[-1]

    try:
        tapped(network, names, forward, keep, label)
    except (RuntimeError, NotImplementedError):
        return None
    return tuple(found[name] for name in names)


def _block_lists(network: nn.Module, length: int) -> Iterator[Sequence[nn.Module]]:
    """The lists of modules that have one entry per hidden layer."""
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == length:
            yield list(module)
