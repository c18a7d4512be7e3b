"""What the stages warned of, as the page says it: alike ones once."""

import re
from collections.abc import Iterable, Mapping, Sequence

from platorep.statistics import ALONE

MOST_NAMED = 3
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")


def merged(warnings: Sequence[str], layers: Mapping[str, Sequence[str]]) -> list[str]:
    """Warnings of single models that differ in labels, numbers and names of layers alone, once:
    in the place, and with the numbers, of the first.

    Args:
        layers: Names of the layers of every model, by label.
    """
    alike: dict[str, list[tuple[str, str]]] = {}
    for text in dict.fromkeys(warnings):
        label = max((m for m in layers if text.startswith(f"{m}: ")), key=len, default="")
        rest = text.removeprefix(f"{label}: ") if label else text
        key = _pattern(rest, layers[label]) if label else text
        alike.setdefault(key, []).append((label, rest))
    return [_said(*zip(*found, strict=True)) for found in alike.values()]


def _said(labels: Sequence[str], texts: Sequence[str]) -> str:
    if not labels[0]:
        return texts[0]
    if len(labels) == 1:
        return f"{labels[0]}: {texts[0]}"
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    named = ", ".join(labels[:MOST_NAMED])
    return f"{len(labels)} models ({named}{more}), of which the first: {texts[0]}"


def _pattern(text: str, names: Iterable[str]) -> str:
    """A warning without what may differ between two that are alike: names count in lists alone,
    since a layer may be called as any word is."""
    for name in sorted({*names}, key=len, reverse=True):
        text = re.sub(rf"(?<=[:,] ){re.escape(name)}(?=[,.;:]|$)", "#", text)
    return re.sub(r"#(?:, #)+", "#", _NUMBER.sub("#", text))


def without_answered(warnings: Sequence[str], significant: bool) -> list[str]:
    """Without the warning that one pair alone could not be significant, where some are: beside
    what they reach it says nothing."""
    return [text for text in warnings if not (significant and ALONE in text)]
