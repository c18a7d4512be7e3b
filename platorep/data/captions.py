"""One text per row out of the several captions that a row may have."""

from collections.abc import Sequence
from typing import Literal

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
