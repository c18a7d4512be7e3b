"""Texts longer than a model's context, cut into windows that score every token once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How documents are read."""

    context: int | None = None
    """Most tokens that the model reads at once; None: its own context."""
    score_end: bool = False
    """Also predict an end-of-text token after each document."""


PLAIN = Rule()
"""The model's own context, and no closing tokens."""


@dataclass(frozen=True)
class Window:
    """Tokens of one forward pass: all but the last are read, the last `num_scored` predicted."""

    tokens: tuple[int, ...]
    num_scored: int


def rolling_windows(tokens: Sequence[int], first: int, context: int) -> Iterator[Window]:
    """Windows of at most `context` read tokens over `first` followed by `tokens`.

    Neighbors overlap by one token, so that every token of `tokens` is predicted once and from at
    least one earlier token; `first` is read and never predicted. The last window reaches back as
    far as the context allows.

    Source: as `get_rolling_token_windows` of lm-evaluation-harness with a context length of 1.
    """
    assert context > 0
    sequence = (first, *tokens)
    done = 0
    while done < len(tokens):
        end = min(done + context, len(tokens))
        yield Window(sequence[max(0, end - context) : end + 1], end - done)
        done = end
