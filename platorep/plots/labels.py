"""Texts of figures: how wide they are, how to shorten them, where to put them."""

import functools
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from scipy.optimize import isotonic_regression

from platorep.plots.fonts import can_write, needed_fonts
from platorep.plots.style import SMALL
from platorep.reporting import printable

WIDEST = 2.3  # of a model's or family's name, inches
_WHOLE = ("metric", "facet", "chosen")  # columns of texts that are wrapped, not shortened

_STEP = re.compile(r"@(?:.*step[-_]?)?(\d+)(?:-tokens\w*)?(?:-seed\d+)?$")
_SIZE = re.compile(r"(?<![a-z0-9])(\d+x)?\d+([._]\d+)?[kmbt]\d*(?![a-z0-9])", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float = SMALL) -> float:
    """Width in print of the longest line of `text`, in inches."""
    font = FontProperties(family=list(needed_fonts([text])), size=size)
    lines = [line or " " for line in text.split("\n")]
    measure = TextToPath().get_text_width_height_descent
    return max(float(measure(line, font, ismath=False)[0]) for line in lines) / 72


def legible(text: str) -> str:
    """`text` with escapes in place of control characters and of what no font here has."""

    def shown(character: str) -> str:
        if can_write(character):
            return character
        if unicodedata.category(character) == "So" and (name := unicodedata.name(character, "")):
            return f":{name.lower()}:"
        return character.encode("unicode_escape").decode()

    return "".join(map(shown, printable(text)))


def shorten(text: str, width: float, size: float = SMALL) -> str:
    """`text`, without its middle if it is wider than `width` inches."""
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text) - 1  # characters kept
    while low < high:
        kept = (low + high + 1) // 2
        if text_width(_without_middle(text, kept), size) <= width:
            low = kept
        else:
            high = kept - 1
    return _without_middle(text, low)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: (kept + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - kept // 2 :]}"


def legible_frame(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The points of a figure with texts that can be drawn, and which texts were changed into which.

    Texts that differ stay apart. What is wider than `WIDEST` loses its middle.
    """
    columns = [name for name in frame if frame[name].map(lambda v: isinstance(v, str)).any()]
    whole = {text for name in columns if name in _WHOLE for text in _texts(frame[name])}
    changed: dict[str, str] = {}
    taken = {text for name in columns for text in _texts(frame[name])}
    for text in sorted(taken):
        full = legible(text)
        short = full if text in whole else shorten(full, WIDEST)
        number = 1
        while short != text and short in taken:
            number += 1
            short = f"{shorten(full, WIDEST - 0.2)} ({number})"
        if short != text:
            taken.add(short)
            changed[text] = short
    shown = frame.assign(**{str(name): frame[name].replace(changed) for name in columns})
    return (shown if changed else frame), changed


def _texts(column: pd.Series) -> set[str]:
    return {value for value in column if isinstance(value, str)}


def spread(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """Centres nearest to `wanted` (least squares) at which things of `sizes` do not overlap.

    Order is kept, and everything lies within `low` and `high` if it fits there at all.
    """
    if not wanted:
        return []
    order = np.argsort(wanted, kind="stable")
    size = np.asarray(sizes, dtype=float)[order]
    # With the sizes stacked up and taken off, "no overlap" means "not decreasing".
    stacked = np.cumsum(size) - size / 2
    slack = isotonic_regression(np.asarray(wanted, dtype=float)[order] - stacked).x
    slack = np.clip(slack, low, max(low, high - float(size.sum())))
    centres = np.empty(len(size))
    centres[order] = slack + stacked
    return [float(centre) for centre in centres]


def thin(count: int, size: float, room: float) -> list[int]:
    """Which of `count` labels of one `size` to show in `room`: all, or every second, third ..."""
    step = max(1, math.ceil(count * size / room)) if count else 1
    return list(range(0, count, step))


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """Each label of a family without what all of them share, as long as they stay apart.

    `vit_small_patch14_dinov2.lvd142m` and its siblings become `small`, `base`, ...
    """
    if len(set(labels)) < 2:
        return {label: label for label in labels}
    parts = {label: re.split(r"(?<=[-_./])", label) for label in labels}
    for column in zip(*parts.values(), strict=False):  # one part that tells all of them apart
        words = [word.rstrip("-_./") for word in column]
        if all(words) and len({word.lower() for word in words}) == len(parts):
            return dict(zip(parts, words, strict=True))
    common = set.intersection(*(set(words) for words in parts.values()))
    kept = {
        label: "".join(word for word in words if word not in common).strip("-_./")
        for label, words in parts.items()
    }
    apart = all(kept.values()) and len(set(kept.values())) == len(kept)
    return kept if apart else {label: label for label in labels}


def wrap(text: str, width: float, size: float = SMALL) -> str:
    """`text` in lines of at most `width` inches, broken at spaces, else after other separators,
    else anywhere."""
    lines = [""]
    for word in text.split(" "):
        parts = [word] if text_width(word, size) <= width else re.split(r"(?<=[-_./,])", word)
        parts = [piece for part in parts for piece in _pieces(part, width, size)]
        for index, part in enumerate(parts):
            joined = f"{lines[-1]} {part}" if index == 0 and lines[-1] else lines[-1] + part
            if lines[-1] and text_width(joined, size) > width:
                lines.append(part)
            else:
                lines[-1] = joined
    return "\n".join(lines)


def _pieces(word: str, width: float, size: float) -> list[str]:
    """`word` cut into pieces of at most `width` inches, of one character at least."""
    pieces = [""]
    for character in word if text_width(word, size) > width else (word,):
        if pieces[-1] and text_width(pieces[-1] + character, size) > width:
            pieces.append(character)
        else:
            pieces[-1] += character
    return pieces


def format_count(count: float) -> str:
    """1234567 as `1.2M`."""
    for unit, symbol in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * unit:
            number = count / unit
            digits = f"{number:.1f}".removesuffix(".0") if number < 9.95 else f"{number:.0f}"
            return digits + symbol
    return f"{count:.0f}"


def name_and_size(label: str, num_parameters: float) -> str:
    """The label, and the number of parameters if there are any and the label does not say it."""
    if not (math.isfinite(num_parameters) and num_parameters > 0) or _SIZE.search(label):
        return label
    return f"{label} {format_count(num_parameters)}"


def numbers_text(labels: Iterable[str], sizes: Iterable[float]) -> str:
    """What a figure says of `name_and_size`, if it adds a number to any of these labels."""
    added = any(name_and_size(a, b) != a for a, b in zip(labels, sizes, strict=True))
    return "Numbers after names: parameters." if added else ""


def training_step(label: str) -> float:
    """Training steps in a checkpoint's label, `llama16@88` or `pythia-70m@step1000`, else NaN."""
    found = _STEP.search(label.removesuffix(" (random)"))
    return float(found[1]) if found else math.nan


def decimals(value: float, digits: int = 2) -> str:
    """-0.25 as `-.25` with a real minus sign; what rounds to nothing as `.00`."""
    text = f"{value:.{digits}f}"
    sign = "\N{MINUS SIGN}" if text.startswith("-") and text.strip("-0.") else ""
    number = text.lstrip("-")
    return sign + (number[1:] if number.startswith("0.") else number)


def interval_text(value: float, low: float, high: float) -> str:
    """`.93 [.76, .98]`; without the interval if it is not known."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return decimals(value)
    return f"{decimals(value)} [{decimals(low)}, {decimals(high)}]"


def metric_text(metric: str) -> str:
    """`mutual_knn{k: 10}` as `mutual_knn, k = 10`."""
    return (
        metric.replace("{", ", ")
        .replace("}", "")
        .replace(": ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    )
