"""One text out of several captions."""

import pytest

from platorep.errors import DataError
from platorep.kinds.text import choose_caption

ROW = ("a dog", None, " ", "ein Hündchen", "")


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        (0, "a dog"),
        (3, "ein Hündchen"),
        ((3, 0), "ein Hündchen|a dog"),
        ("first", "a dog"),
        ("all", "a dog|ein Hündchen"),
    ],
)
def test_choice(choice: int | tuple[int, ...] | str, text: str) -> None:
    assert choose_caption(ROW, choice, "|") == text


def test_spaces_stay() -> None:
    assert choose_caption(("", " a dog\n"), "first", "|") == " a dog\n"


@pytest.mark.parametrize(
    ("captions", "choice", "problem"),
    [
        (ROW, 1, "caption 1 is empty"),
        (ROW, 2, "caption 2 is empty"),
        (ROW, (0, 4), "caption 4 is empty"),
        (ROW, 5, "caption_index 5 asked for, but the row has 5 captions"),
        ((None, "", "\t"), "first", "no caption that is not empty among 3"),
        ((), "all", "no caption that is not empty among 0"),
    ],
)
def test_no_text(
    captions: tuple[str | None, ...], choice: int | tuple[int, ...] | str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        choose_caption(captions, choice, " ")
