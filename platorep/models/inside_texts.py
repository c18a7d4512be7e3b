"""A language network open for work inside it: its states at every token, by character.

Axes: c characters of a text, t tokens, d features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from platorep.errors import ConfigError
from platorep.models.tokens import TextReader, Tokens
from platorep.switches import default_switches


@dataclass(frozen=True)
class Spelled:
    """A text as a network reads it, and which of its tokens covers each character."""

    tokens: Tokens
    """`pooled`: the tokens that stand for a part of the text."""
    token_at: Int[Tensor, "c"]
    """Among the tokens that stand for a part of the text; -1 where none does."""


@dataclass(frozen=True)
class OpenTexts:
    """A language network in memory, in evaluation mode."""

    states_of: Callable[[Sequence[Tokens], Sequence[int]], list[Tensor]]
    """States of the pooled tokens of a batch at layers, counted among `names`."""
    names: tuple[str, ...]
    """Of the layers."""
    reader: TextReader
    label: str

    def spelled(self, texts: Sequence[str], ids: Sequence[str]) -> list[Spelled]:
        """The tokens of texts; of several that cover a character the last counts, which has read
        all of it.

        Raises:
            DataError: as `TextReader.read`, or a text has no token that stands for a part of it.
            ConfigError: the tokenizer does not say what a token covers.
        """
        found = []
        tokens, places = self.reader.read(texts, ids), self.reader.places(texts)
        for text, read, spans in zip(texts, tokens, places, strict=True):
            token_at = torch.full((len(text),), -1)
            covering = [span for span in spans if span[1]]
            for number, (start, end) in enumerate(covering):
                token_at[start:end] = number
            pooled = tuple(end > 0 for _, end in spans)
            found.append(Spelled(replace(read, pooled=pooled), token_at))
        return found

    @default_switches()
    def states(self, texts: Sequence[Spelled], layers: Sequence[int]) -> list[Tensor]:
        """States of the tokens of a batch that stand for a part of their text, text after text.

        Args:
            layers: Of `names`, by number.

        Raises:
            ConfigError: a module gives something else than a state for each token.
        """
        found = self.states_of([text.tokens for text in texts], layers)
        wanted = sum(sum(text.tokens.pooled) for text in texts)
        for layer, states in zip(layers, found, strict=True):
            if len(states) != wanted:
                raise ConfigError(
                    f"model {self.label!r}: what {self.names[layer]!r} gives is one vector for "
                    "each text, not for each token. Name other modules (`layers`)."
                )
        return found
