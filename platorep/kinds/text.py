"""Texts: one per row, out of the several captions that it may have."""

import re
from collections.abc import Sequence
from typing import Any

from platorep.errors import DataError, shown
from platorep.kinds.changes_text import content_words, word_order
from platorep.kinds.kind import Kind
from platorep.parameters.views import (
    CaptionChoice,
    Case,
    ContentWords,
    FirstWords,
    ObservedView,
    WordOrder,
)


def choose_caption(captions: Sequence[str | None], choice: CaptionChoice, separator: str) -> str:
    """The text of a row, spaces and all; what is only white space counts as empty.

    Args:
        choice: One caption by index, several joined by `separator` in the order named, the `first`
            that is not empty, or `all` that are not empty, joined.

    Raises:
        DataError: a caption that was asked for by index is not there or is empty, or all are.
    """
    if choice in ("first", "all"):
        filled = [caption for caption in captions if caption and caption.strip()]
        if not filled:
            raise DataError(f"no caption that is not empty among {len(captions)}")
        return filled[0] if choice == "first" else separator.join(filled)
    return separator.join(
        _caption(captions, index) for index in ((choice,) if isinstance(choice, int) else choice)
    )


def encode_text(captions: Sequence[Any], view: ObservedView) -> bytes:
    """The text of a row: its captions ordered, chosen and joined, in UTF-8.

    Raises:
        DataError: as `choose_caption`; or it is no text in Unicode.
    """
    if view.order != "given":
        filled = [caption for caption in captions if caption and caption.strip()]
        captions = sorted(filled, key=num_words, reverse=view.order == "longest_first")
    text = choose_caption(captions, view.captions, view.separator)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{shown(text)} is no text in Unicode: {error.reason}") from error


def cut_after(text: str, max_words: int) -> str:
    """The text up to the end of its word number `max_words`; all of it if it has no more."""
    words = list(re.finditer(r"\S+", text))
    return text if len(words) <= max_words else text[: words[max_words - 1].end()]


def num_words(text: str) -> int:
    """Words as white space divides them."""
    return len(text.split())


def _caption(captions: Sequence[str | None], index: int | str) -> str:
    assert isinstance(index, int)
    if index >= len(captions):
        raise DataError(
            f"caption_index {index} asked for, but the row has {len(captions)} captions"
            " (counted from 0)"
        )
    caption = captions[index]
    if not caption or not caption.strip():
        raise DataError(f"caption {index} is empty")
    return caption


TEXT = Kind(
    name="text",
    endings=("txt", "caption"),
    in_files=False,
    decode=bytes.decode,
    same=str.__eq__,
    encode=encode_text,
    changes={
        WordOrder: lambda text, change, seed: word_order(text, seed),
        FirstWords: lambda text, change, seed: cut_after(text, change.n),
        Case: lambda text, change, seed: text.lower() if change.to == "lower" else text.upper(),
        ContentWords: lambda text, change, seed: content_words(text),
    },
)
