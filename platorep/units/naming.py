"""What a unit is about, by the words of the samples on which it is strong.

Axes: n samples, w words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEAST = 10  # samples that a word must be said of
ORDERS = 199


@dataclass(frozen=True)
class Name:
    """The word that goes best with a unit."""

    word: str
    correlation: float
    """Pearson's r of the unit with whether the word is said."""
    p: float
    """Against the best word of samples in a random order, so that it holds for all words tried."""


def name_of(strength: Float[np.ndarray, "n"], texts: Sequence[str], seed: int) -> Name | None:
    """The word whose presence goes best with `strength`; None where no word is said often enough.

    Words are runs of letters in lower case, said of at least `LEAST` samples and not of all but as
    many.
    """
    said = [set(re.findall(r"[^\W\d_]+", text.lower())) for text in texts]
    counts = Counter(word for words in said for word in words)
    tried = sorted(w for w, c in counts.items() if LEAST <= c <= len(texts) - LEAST)
    if not tried or strength.std() == 0:
        return None
    present = np.array([[word in words for word in tried] for words in said], dtype=float)
    present = (present - present.mean(0)) / present.std(0)
    centred = (strength - strength.mean()) / strength.std()
    r = centred @ present / len(texts)
    generator = np.random.default_rng(seed)
    null = [(generator.permutation(centred) @ present).max() / len(texts) for _ in range(ORDERS)]
    best = int(r.argmax())
    above = sum(value >= r[best] for value in null)
    return Name(tried[best], float(r[best]), (1 + above) / (ORDERS + 1))
