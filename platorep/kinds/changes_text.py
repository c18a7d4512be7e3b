"""Changes of a text. A word is what white space divides, with its commas and stops."""

import re

from platorep.kinds.draws import first_other

_STOP_WORDS = """
a an the this that these those some any each every either neither both all another other such no
i me my mine we us our ours you your yours he him his she her hers it its they them their theirs
who whom whose which what one ones someone something there here
am is are was were be been being do does did doing done have has had having
can could may might must shall should will would
and or nor but so yet if then than as because while although though unless until whether
of in on at to from by for with without within into onto upon over under above below between
among through across along around about against behind beside before after beyond near off out
up down during toward towards via per next
not only also too very just quite rather still again ever never when where why how
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""What tells little without its neighbors: articles, pronouns, forms of be, do and have, modal
verbs, conjunctions, prepositions, and adverbs of degree, time and place. English only."""


def word_order(text: str, seed: int) -> str:
    """The same words in another order, drawn among those that differ; white space stays in place.

    A text all of whose words are the same is left as it is.
    """
    pieces = re.split(r"(\s+)", text.strip())
    words, gaps = pieces[::2], [*pieces[1::2], ""]
    if len(set(words)) < 2:
        return text
    order = first_other(seed, len(words), lambda order: [words[i] for i in order], words)
    return "".join(word + gap for word, gap in zip(order, gaps, strict=True))


def content_words(text: str) -> str:
    """The words that are none of `STOP_WORDS`, with one space between them.

    Case and punctuation do not matter for the comparison, and "it's" counts as "it". A text of
    nothing but stop words is left as it is: no text at all would be no sample.
    """
    kept = [word for word in text.split() if not _is_stop_word(word)]
    return " ".join(kept) or text


def _is_stop_word(word: str) -> bool:
    bare = re.sub(r"^\W+|\W+$", "", word).lower().replace("\u2019", "'")
    return re.sub(r"(n't|'(s|re|ve|ll|d|m))$", "", bare) in STOP_WORDS or not bare
