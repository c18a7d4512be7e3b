"""One text per row, or one per variant, out of the several captions that a row may have."""

import re
from collections.abc import Sequence
from typing import Literal

from platorep.config import DatasetConfig, VariantConfig
from platorep.errors import DataError

Choice = int | tuple[int, ...] | Literal["first", "all"]


def choose_caption(captions: Sequence[str | None], choice: Choice, separator: str) -> str:
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


def variant_text(
    captions: Sequence[str | None], variant: VariantConfig, dataset: DatasetConfig
) -> str:
    """The text of a row in one variant: captions ordered, chosen, joined, cut.

    Raises:
        DataError: as `choose_caption`; names the variant.
    """
    if variant.order != "given":
        filled = [caption for caption in captions if caption and caption.strip()]
        longest_first = variant.order == "longest_first"
        by_length: list[str] = sorted(filled, key=num_words, reverse=longest_first)
        captions = by_length
    choice = dataset.caption_index if variant.caption_index is None else variant.caption_index
    try:
        text = choose_caption(captions, choice, dataset.separator)
    except DataError as error:
        raise DataError(f"variant {variant.name!r}: {error}") from error
    return text if variant.max_words is None else cut_after(text, variant.max_words)


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
