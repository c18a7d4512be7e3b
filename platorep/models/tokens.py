"""Texts to token ids: what a tokenizer reads, what is too long, what it does not give back.

Axes: n texts, t tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from platorep.config import ModelSpec
from platorep.errors import ConfigError, DataError

SANE_LENGTH = 10_000_000
"""Tokenizers without a limit say so by a huge number."""


@dataclass(frozen=True)
class Tokens:
    """One text as a network reads it."""

    ids: Sequence[int]
    pooled: Sequence[bool]
    """Which of them count for the pooled vector; the network reads them all."""

    @classmethod
    def all_pooled(cls, ids: Sequence[int]) -> "Tokens":
        return cls(ids, (True,) * len(ids))


class TextReader:
    """The tokenizer of one model with the settings of its spec."""

    def __init__(
        self, tokenizer: Any, spec: ModelSpec, *, longest: int | None, num_embeddings: int | None
    ) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.truncation_side = "right"
        self._spec = spec
        self._longest, self._num_embeddings = longest, num_embeddings
        self._special = special_ids(tokenizer)
        self.forget()

    def forget(self) -> None:
        """Let `notes` begin anew."""
        self._not_given_back = 0
        self._first_not_given_back = ""

    def read(self, texts: Sequence[str], ids: Sequence[str]) -> list[Tokens]:
        """Tokens of each text, special ones included, nothing padded.

        Raises:
            DataError: a text has no token, none to pool, more than the model has positions, or one
                that the model has no embedding for; names its id.
        """
        if not texts:
            return []
        if self._spec.prompt is not None:
            texts = [self._spec.prompt.replace("{text}", text) for text in texts]
        limit = self._spec.max_tokens
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=True,
            truncation=limit is not None,
            max_length=limit,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_special_tokens_mask=self._spec.special_tokens == "drop",
            verbose=False,
        )
        tokens: list[list[int]] = encoded["input_ids"]
        self._check_lengths(tokens, ids)
        for text, text_tokens, row_id in zip(texts, tokens, ids, strict=True):
            whose = f"the tokenizer of {self._spec.label!r}"
            check_embeddings(text_tokens, self._num_embeddings, whose, f"row {row_id!r}")
            truncated = limit is not None and len(text_tokens) >= limit
            if not truncated and not gives_back(self._tokenizer, text_tokens, text):
                self._not_given_back += 1
                self._first_not_given_back = self._first_not_given_back or row_id
        if self._spec.special_tokens == "keep":
            return [Tokens.all_pooled(text_tokens) for text_tokens in tokens]
        added = encoded["special_tokens_mask"]
        return [self._without_special(*text) for text in zip(tokens, added, ids, strict=True)]

    def places(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Of every token of each text, in the order of `read`, the characters that it covers.

        Start and end in the text (without the prompt); both 0 for what stands for no part of it.

        Raises:
            ConfigError: the tokenizer does not know.
        """
        if not self._tokenizer.is_fast:
            raise ConfigError(
                f"model {self._spec.label!r}: its tokenizer ({type(self._tokenizer).__name__}) "
                "does not say which characters a token covers; only those of the tokenizers "
                "library do (a tokenizer.json in its folder)."
            )
        prompt, limit = self._spec.prompt or "{text}", self._spec.max_tokens
        encoded = self._tokenizer(
            [prompt.replace("{text}", text) for text in texts],
            add_special_tokens=True,
            truncation=limit is not None,
            max_length=limit,
            padding=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            verbose=False,
        )
        shift = prompt.index("{text}")
        found = []
        for i, text in enumerate(texts):
            of_text = []
            for token, special, span in zip(
                *(encoded[key][i] for key in ("input_ids", "special_tokens_mask")),
                encoded["offset_mapping"][i],
                strict=True,
            ):
                start, end = (min(max(0, place - shift), len(text)) for place in span)
                none = special or token in self._special or start >= end
                of_text.append((0, 0) if none else (start, end))
            found.append(of_text)
        return found

    def _without_special(self, tokens: list[int], added: list[int], row_id: str) -> Tokens:
        pooled = [
            not (mark or token in self._special) for token, mark in zip(tokens, added, strict=True)
        ]
        if not any(pooled):
            raise DataError(
                f"the text of row {row_id!r} is nothing but special tokens to {self._spec.label!r} "
                f"({', '.join(self._tokenizer.convert_ids_to_tokens(tokens))}), and "
                "`special_tokens: drop` leaves nothing to pool. Drop the row, or give the model a "
                "`prompt`."
            )
        return Tokens(tokens, pooled)

    @property
    def notes(self) -> tuple[str, ...]:
        if not self._not_given_back:
            return ()
        return (
            f"the tokenizer does not give the text back for {self._not_given_back} texts, the "
            f"first of them row {self._first_not_given_back!r}: characters or spaces are lost "
            "before the model sees them",
        )

    def _check_lengths(self, tokens: list[list[int]], ids: Sequence[str]) -> None:
        label, longest = self._spec.label, self._longest
        empty = [row_id for row_id, found in zip(ids, tokens, strict=True) if not found]
        if empty:
            raise DataError(
                f"the tokenizer of {label!r} makes no token of the text of row {empty[0]!r} "
                f"({len(empty)} such rows). Drop the row, or give the model a `prompt`."
            )
        if longest is None:
            return
        long = [(row_id, len(found)) for row_id, found in zip(ids, tokens, strict=True)]
        long = [(row_id, length) for row_id, length in long if length > longest]
        if long:
            row_id, length = long[0]
            raise DataError(
                f"the text of row {row_id!r} has {length} tokens, but {label!r} has positions for "
                f"{longest} ({len(long)} such rows, the longest has {max(n for _, n in long)}). "
                f"Set `max_tokens: {longest}` for this model to truncate, or drop the rows."
            )


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that stand for no part of a text: beginning, end, separation, padding and the like.

    The token of what is not in the vocabulary does stand for a part of it.
    """
    unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
    return frozenset(tokenizer.all_special_ids) - unknown


def check_embeddings(
    tokens: Sequence[int], num_embeddings: int | None, tokenizer: str, where: str
) -> None:
    """Raise a DataError where a text has tokens that the network has no embedding for.

    Args:
        tokenizer: What the message calls it.
        where: The text, such as `row '7'`.
    """
    outside = [token for token in tokens if not 0 <= token < (num_embeddings or token + 1)]
    if outside:
        raise DataError(
            f"{tokenizer} gives {where} the token ids "
            f"{', '.join(map(str, dict.fromkeys(outside)))}, but the network has embeddings for 0 "
            f"to {(num_embeddings or 0) - 1} only. Tokenizer and weights do not belong together: "
            "use the tokenizer that the network was trained with."
        )


def num_embeddings(network: Any) -> int | None:
    """How many token ids a network has embeddings for; None where they are no table."""
    try:
        table = network.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    found = getattr(table, "num_embeddings", None)
    return found if isinstance(found, int) else None


def longest_text(config: Any, network: nn.Module, tokenizer: Any) -> int | None:
    """Most tokens a text may have: the least of what network and tokenizer allow; None: any number.

    RoBERTa and its like start counting positions after the padding index, so that a table of 514
    holds 512.
    """
    limits = [getattr(config.get_text_config(), "max_position_embeddings", None)]
    for name, table in network.named_modules():
        positional = "position" in name.rpartition(".")[2] and isinstance(table, nn.Embedding)
        if positional and table.padding_idx is not None:
            limits.append(table.num_embeddings - table.padding_idx - 1)
    if tokenizer.model_max_length < SANE_LENGTH:
        limits.append(tokenizer.model_max_length)
    known = [limit for limit in limits if limit is not None and limit > 0]
    return min(known, default=None)


def gives_back(tokenizer: Any, tokens: list[int], text: str) -> bool:
    """Whether decoding the tokens gives the text, but for what the tokenizer means to change.

    Outer spaces do not count. A declared normalizer (lower case, Unicode forms) may change the
    text, and a WordPiece decoder, which has no record of them, may change inner spaces.
    """
    back: str = tokenizer.decode(
        tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    if back.strip() == text.strip():
        return True
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    if backend.normalizer is not None:
        back, text = (backend.normalizer.normalize_str(side.strip()) for side in (back, text))
    if type(backend.decoder).__name__ == "WordPiece":
        return "".join(back.split()) == "".join(text.split())
    return back.strip() == text.strip()
