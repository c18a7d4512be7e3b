"""Which fonts a text needs: ours, and for what they lack one that is installed on this machine.

Nothing here is looked up for a text that our fonts can write, so that it looks the same everywhere.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.font_manager import (
    FontEntry,
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
)
from matplotlib.ft2font import FT2Font

from platorep.plots.style import FONTS

_PLACEHOLDERS = ("lastresort", "adobeblank")  # have every character, and show none
_ODD = ("bold", "black", "italic", "oblique", "light", "thin", "condensed", "mono", "serif")
_COLOUR = 1 << 14  # FreeType's flag of fonts whose glyphs are pictures: matplotlib draws none


@functools.cache
def glyphs() -> frozenset[str]:
    """The characters that our fonts have, upright and bold."""
    of_weight = [
        set().union(
            *(
                FT2Font(findfont(FontProperties(family=name, weight=weight))).get_charmap()
                for name in FONTS
            )
        )
        for weight in ("normal", "bold")
    ]
    return frozenset(map(chr, of_weight[0] & of_weight[1]))


def can_write(character: str) -> bool:
    """Whether one of our fonts, or one that is installed, has the character."""
    return character in glyphs() or _fallback(character) is not None


def needed_fonts(texts: Iterable[str]) -> tuple[str, ...]:
    """Names of our fonts, and behind them of those that some character of `texts` needs."""
    lacking = {c for c in set().union(*texts) - glyphs() if c.isprintable()}  # no line ends
    places = sorted({p for p in map(_fallback, lacking) if p is not None})
    return (*FONTS, *(_registered(place) for place in places))


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Fonts of this machine, plain ones first; the same order wherever the same files are."""
    found = {Path(file) for file in findSystemFonts()}

    def order(path: Path) -> tuple[bool, bool, str, str]:
        name = path.name.lower()
        return any(word in name for word in _ODD), "sans" not in name, name, str(path)

    return tuple(
        sorted((p for p in found if not p.name.lower().startswith(_PLACEHOLDERS)), key=order)
    )


@functools.cache
def _characters(path: Path) -> frozenset[int]:
    """What a font can write; nothing if it cannot be read, or is one of pictures."""
    try:
        font = FT2Font(str(path))
    except (OSError, RuntimeError):
        return frozenset()
    flags: Any = font.face_flags  # of matplotlib 3.9 a number
    return (
        frozenset() if getattr(flags, "value", flags) & _COLOUR else frozenset(font.get_charmap())
    )


@functools.lru_cache(maxsize=4096)
def _fallback(character: str) -> int | None:
    """The place, among those installed, of the first font that has the character."""
    places = (i for i, path in enumerate(_installed()) if ord(character) in _characters(path))
    return next(places, None)


@functools.cache
def _registered(place: int) -> str:
    """The name under which matplotlib knows the font, for normal text and for bold.

    It is a name of ours: matplotlib's own list may be older than the font, and it complains where
    a family has no bold face.
    """
    path = _installed()[place]
    name = f"platorep fallback {path.stem}"
    for weight in (400, 700):
        entry = FontEntry(fname=str(path), name=name, weight=weight, size="scalable")
        fontManager.ttflist.append(entry)
    return name
