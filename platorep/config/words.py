"""Words of captions, as groups of rows and as labels of probes name them."""

from typing import Annotated

from pydantic import AfterValidator


def _are_words(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not all(form.strip() == form and form for form in word.split("/")):
            raise ValueError(f"{word!r} is no word; several forms of one are `dog/dogs`")
    if len({word.casefold().split("/")[0] for word in words}) < len(words):  # which names it
        raise ValueError("the same word stands there twice")
    return words


Words = Annotated[tuple[str, ...], AfterValidator(_are_words)]
"""Whole words, in capitals or not; `dog/dogs` is one word in two forms."""
