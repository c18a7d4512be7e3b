"""Texts of figures: how wide they are, how to shorten them, where to put them."""

import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from scipy.optimize import isotonic_regression

from platorep.plots.style import SMALL

_STEP = re.compile(r"@(?:.*step[-_]?)?(\d+)(?:-tokens\w*)?(?:-seed\d+)?$")
_SIZE = re.compile(r"(?<![a-z0-9])(\d+x)?\d+([._]\d+)?[kmbt]\d*(?![a-z0-9])", re.IGNORECASE)


def text_width(text: str, size: float = SMALL) -> float:
    """Width in print of the longest line of `text`, in inches."""
    font = FontProperties(family="DejaVu Sans", size=size)
    lines = [line or " " for line in text.split("\n")]
    measure = TextToPath().get_text_width_height_descent
    return max(float(measure(line, font, ismath=False)[0]) for line in lines) / 72


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
    """`text` in lines of at most `width` inches, broken at spaces, else after other separators."""
    lines = [""]
    for word in text.split(" "):
        parts = [word] if text_width(word, size) <= width else re.split(r"(?<=[-_./,])", word)
        for index, part in enumerate(parts):
            joined = f"{lines[-1]} {part}" if index == 0 and lines[-1] else lines[-1] + part
            if lines[-1] and text_width(joined, size) > width:
                lines.append(part)
            else:
                lines[-1] = joined
    return "\n".join(lines)


def format_count(count: float) -> str:
    """1234567 as `1.2M`."""
    for unit, symbol in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * unit:
            number = count / unit
            digits = f"{number:.1f}".removesuffix(".0") if number < 9.95 else f"{number:.0f}"
            return digits + symbol
    return f"{count:.0f}"


def name_and_size(label: str, num_parameters: float) -> str:
    """The label, and the number of parameters if it is known and the label does not say it."""
    if not math.isfinite(num_parameters) or _SIZE.search(label):
        return label
    return f"{label} {format_count(num_parameters)}"


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
