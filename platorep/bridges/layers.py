"""Which layers of a network a study takes, by depth."""

import math


def evenly(number: int, available: int) -> list[int]:
    """So many of the available places, evenly spaced up to the last: 4 of 5 are 1, 2, 3, 4."""
    number = min(number, available)
    return [math.ceil((i + 1) * available / number) - 1 for i in range(number)]


def counterpart(place: int, of: int, to: int) -> int:
    """The place among `to` layers that is as deep as `place` is among `of`."""
    return round(place / max(of - 1, 1) * (to - 1)) if of > 1 else to - 1
