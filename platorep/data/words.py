"""Which texts have which words: groups of rows, and labels for probes.

Axes: n texts, w words.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from platorep.errors import DataError

WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}-]\w+)*")


def texts_with_words(
    texts: Sequence[str], words: Sequence[str], key: str
) -> Bool[np.ndarray, "n w"]:
    """Whether each text has each word, whatever its case; `dog/dogs` is either of the two.

    Args:
        key: Where the experiment names the words, for messages.

    Raises:
        DataError: no text has some word, or every one has it.
    """
    forms = [set(word.casefold().split("/")) for word in words]
    found = np.array([[bool(f & set(WORD.findall(t.casefold()))) for f in forms] for t in texts])
    for word, having in zip(words, found.sum(axis=0), strict=True):
        if having in (0, len(texts)):
            raise DataError(
                f"{key}: {'every' if having else 'no'} text has the word {word!r} "
                f"({len(texts)} texts). Leave it out."
            )
    return found
