"""Stitches between causal language models that read the same tokens: linear on every token.

Layer i is what enters block i, as in the hidden states of features. Axes: b texts of a batch, t
tokens, m tokens of all texts of a batch, d features, v vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from platorep.bridges.stitching import Rows, Stitch, batches
from platorep.errors import ConfigError
from platorep.switches import default_switches


class OpenCausal:
    """A causal language model in memory whose blocks can be read and passed by."""

    def __init__(self, network: Any, label: str) -> None:
        """
        Raises:
            ConfigError: it has no list of blocks, or what follows a block takes more than what the
                block gives.
        """
        self.network = network.eval().requires_grad_(False)
        self.label = label
        number = int(network.config.get_text_config().num_hidden_layers)
        lists = [m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) == number]
        self.blocks: Sequence[nn.Module] = list(lists[0]) if lists else ()
        tokens = torch.arange(6).reshape(2, 3)
        self._gives_tuples = bool(self.blocks) and self._tuples()
        if not self.blocks or not self._can_resume(tokens):
            raise ConfigError(
                f"model {label!r}: {type(network).__name__} cannot be cut between its blocks, so "
                "it can neither be front nor back of a stitch. Leave it out."
            )

    @property
    def device(self) -> torch.device:
        device: torch.device = self.network.get_input_embeddings().weight.device
        return device

    @default_switches()
    def states(
        self, tokens: Int[Tensor, "b t"], layers: Sequence[int]
    ) -> list[Float[Tensor, "b t d"]]:
        """What enters the blocks of these numbers; no gradient is kept."""
        found: dict[int, Tensor] = {}

        def keep(layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[layer] = args[0] if args else kwargs["hidden_states"]

        with ExitStack() as hooks, torch.no_grad():
            for layer in layers:
                block = self.blocks[layer]
                hook = block.register_forward_pre_hook(partial(keep, layer), with_kwargs=True)
                hooks.callback(hook.remove)
            self._run(tokens)
        return [found[layer] for layer in layers]

    @default_switches()
    def resumed(
        self, layer: int, states: Float[Tensor, "b t d"], tokens: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b t v"]:
        """The logits of a batch if `states` enter the block; gradients flow to them.

        The blocks before it are not run: nothing of the tokens but their number passes by.
        """

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            own = states.to(self.network.dtype)
            return ((own, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": own})

        hook = self.blocks[layer].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with self._passed_by(layer):
                return self._run(tokens)
        finally:
            hook.remove()

    def logits(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
        """What the whole network makes of a batch."""
        with torch.no_grad():
            return self._run(tokens)

    def _run(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
        # padded on the right: under a causal mask the real tokens never see the padding
        tokens = tokens.to(self.device)
        logits: Tensor = self.network(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
        ).logits
        return logits

    @contextmanager
    def _passed_by(self, layer: int) -> Iterator[None]:
        """The blocks before `layer` hand on what they are given."""

        def hand_on(*args: Any, **kwargs: Any) -> Any:
            states = args[0] if args else kwargs["hidden_states"]
            return (states,) if self._gives_tuples else states

        passed = self.blocks[:layer]
        forwards = [{k: v for k, v in vars(b).items() if k == "forward"} for b in passed]
        for block in passed:
            block.forward = hand_on
        try:
            yield
        finally:
            for block, forward in zip(passed, forwards, strict=True):
                del block.forward
                block.__dict__.update(forward)

    def _tuples(self) -> bool:
        """Whether blocks give tuples, the states first."""
        seen: list[bool] = []
        block = self.blocks[0]
        hook = block.register_forward_hook(lambda *of: seen.append(isinstance(of[-1], tuple)))
        try:
            self.logits(torch.zeros(1, 2, dtype=torch.long))
        finally:
            hook.remove()
        return seen[0]

    def _can_resume(self, tokens: Int[Tensor, "b t"]) -> bool:
        """Whether the last block takes nothing but what entered it."""
        last = len(self.blocks) - 1
        try:
            (states,) = self.states(tokens, [last])
            # of other tokens: what of them reaches the end must have come by the states
            found, expected = self.resumed(last, states, tokens.flip(0)), self.logits(tokens)
        except (KeyError, TypeError, RuntimeError):
            return False
        return torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@dataclass(frozen=True)
class TappedTexts:
    """What a model gives inside for the tokens of all texts, and how well it predicts them."""

    model: OpenCausal
    states: dict[int, list[Float[Tensor, "_ _"]]]
    """By layer, then by text."""
    nats: Float[Tensor, " n"]
    """Of all predicted tokens of each text."""


@default_switches()
def tap_texts(
    model: OpenCausal,
    layers: Sequence[int],
    texts: Sequence[Sequence[int]],
    batch_size: int,
    advance: Callable[[int], None],
) -> TappedTexts:
    """Run a model once over all texts and keep what enters the blocks, in float32.

    Args:
        texts: Tokens; the first is read and never predicted.
    """
    states: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    nats = []
    for part in batches(np.arange(len(texts)), batch_size):
        tokens, lengths = padded(texts, part)
        for layer, found in zip(layers, model.states(tokens[:, :-1], layers), strict=True):
            rows = zip(found.float().cpu(), lengths, strict=True)
            states[layer] += [row[: length - 1].clone() for row, length in rows]
        nats.append(_nats(model.logits(tokens[:, :-1]), tokens, lengths))
        advance(len(part))
    return TappedTexts(model, states, torch.cat(nats))


def padded(texts: Sequence[Sequence[int]], rows: Rows) -> tuple[Int[Tensor, "b t"], list[int]]:
    """Tokens of some texts side by side, and how many each has."""
    lengths = [len(texts[row]) for row in rows]
    tokens = torch.zeros(len(rows), max(lengths), dtype=torch.long)
    for place, row in enumerate(rows):
        tokens[place, : lengths[place]] = torch.tensor(texts[row])
    return tokens, lengths


def _nats(
    logits: Float[Tensor, "b t v"], tokens: Int[Tensor, "b _"], lengths: Sequence[int]
) -> Float[Tensor, " b"]:
    """Negative log-likelihood of each text's tokens but the first."""
    targets = tokens[:, 1:].to(logits.device)
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    real = torch.arange(targets.shape[1])[None] < torch.tensor(lengths)[:, None] - 1
    return (losses.view_as(targets) * real.to(losses.device)).sum(dim=1)


class TextJoint:
    """The front of one model up to a block, the back of another from a block on, with its head."""

    def __init__(
        self,
        front: tuple[TappedTexts, int],
        back: tuple[TappedTexts, int],
        texts: Sequence[Sequence[int]],
        seen: Rows | None = None,
    ) -> None:
        """
        Args:
            seen: The text that the front reads in the place of each one, from its beginning as
                often as it takes; None: that one.
        """
        self._x = front[0].states[front[1]]
        self._y, self._layer = back[0].states[back[1]], back[1]
        self._model, self._texts, self._seen = back[0].model, texts, seen

    def observed(self, rows: Rows) -> tuple[Float[Tensor, "m d_x"], Float[Tensor, "m d_y"]]:
        return torch.cat(self._source(rows)), torch.cat([self._y[row] for row in rows])

    def loss(self, stitch: Stitch, rows: Rows) -> Float[Tensor, ""]:
        """Cross-entropy of the next token, the mean over tokens."""
        return self.tell(stitch, rows).sum() / sum(len(self._texts[row]) - 1 for row in rows)

    def tell(self, stitch: Stitch, rows: Rows) -> Float[Tensor, " b"]:
        """Nats of each text."""
        tokens, lengths = padded(self._texts, rows)
        source = nn.utils.rnn.pad_sequence(self._source(rows), batch_first=True)
        states = stitch(source).to(self._model.device)
        return _nats(self._model.resumed(self._layer, states, tokens[:, :-1]), tokens, lengths)

    def _source(self, rows: Rows) -> list[Float[Tensor, "_ _"]]:
        if self._seen is None:
            return [self._x[row] for row in rows]
        found = []
        for row in rows:
            other = self._x[self._seen[row]]
            found.append(other[torch.arange(len(self._texts[row]) - 1) % len(other)])
        return found
