"""Rows of a source -> the pairs that are kept: shuffled, checked, deduplicated, limited."""

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from platorep.config import DatasetConfig
from platorep.data.captions import choose_caption, variant_text
from platorep.data.images import decode_image
from platorep.data.near import HASH_BITS, NEAR_BITS, NearHashes, perceptual_hash
from platorep.data.paired import Copies, DroppedRow
from platorep.data.source import ImageReference, Row, Source
from platorep.errors import DataError
from platorep.files import sha256

NUM_FIRST_COPIES = 5
ROWS_AT_ONCE = 64  # checked together by the threads; no influence on the result


@dataclass(frozen=True)
class Pair:
    """A row that passed its checks."""

    id: str
    text: str
    text_hash: str
    image: ImageReference
    image_hash: str
    looks: int | None
    """Perceptual hash, if near copies are to be found."""
    variants: tuple[str, ...] = ()
    """The texts of `dataset.variants`, in order."""


@dataclass
class Selection:
    pairs: list[Pair] = field(default_factory=list)
    dropped: list[DroppedRow] = field(default_factory=list)
    copies: dict[str, Copies] = field(
        default_factory=lambda: {"images": Copies(0, ()), "texts": Copies(0, ())}
    )


def select_rows(config: DatasetConfig, source: Source) -> Selection:
    """Go through the rows until `limit` good ones are found.

    Raises:
        DataError: a row cannot be used and `on_bad_row` is `error`.
    """
    selection = Selection()
    ids: set[str] = set()
    first_with: dict[str, dict[str, str]] = {"images": {}, "texts": {}}  # hash -> id
    looks = NearHashes(NEAR_BITS)
    for number, row, outcome in _checked(config, source, lambda: len(selection.pairs)):
        problem = outcome if isinstance(outcome, str) else None
        if row.id in ids:
            problem = f"the id {row.id!r} is an earlier row's"
        if problem is not None and config.on_bad_row == "error":
            raise DataError(
                f"{row.place}: {problem}. Mend it, or leave such pairs out with "
                "dataset.on_bad_row: drop."
            )
        if isinstance(outcome, Pair) and problem is None:
            hashes = {"images": outcome.image_hash}
            hashes |= {"texts": outcome.text_hash} if config.text else {}
            for what, value in hashes.items():
                if value in first_with[what]:
                    earlier = first_with[what][value]
                    selection.copies[what] = _counted(selection.copies[what], row.id, earlier)
                    if config.deduplicate:
                        problem = f"its {what[:-1]} is the exact copy of that of id {earlier!r}"
            if problem is None and outcome.looks is not None:
                problem = _near_copy(outcome.looks, looks, selection.pairs)
        if problem is not None:
            selection.dropped.append(DroppedRow(number, row.id, row.file, problem))
            continue
        assert isinstance(outcome, Pair)
        for what, value in hashes.items():
            first_with[what].setdefault(value, row.id)
        ids.add(row.id)
        selection.pairs.append(outcome)
        if outcome.looks is not None:
            looks.add(outcome.looks)
    return selection


def shuffled(count: int, seed: int) -> list[int]:
    """0 ... count-1 in an order that depends on the seed alone, not on any library's generator."""
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())


def _near_copy(looks: int, earlier: NearHashes, kept: list[Pair]) -> str | None:
    """Why an image is nearly that of a kept row, or None."""
    place = earlier.first_near(looks)
    if place is None:
        return None
    original = kept[place]
    assert original.looks is not None
    bits = (looks ^ original.looks).bit_count()
    return (
        f"its image is nearly that of id {original.id!r}: {bits} of {HASH_BITS} bits of the "
        "perceptual hash differ"
    )


def _counted(copies: Copies, new: str, earlier: str) -> Copies:
    first = (*copies.first, (new, earlier))[:NUM_FIRST_COPIES]
    return Copies(copies.count + 1, first)


def _checked(
    config: DatasetConfig, source: Source, num_kept: Callable[[], int]
) -> Iterator[tuple[int, Row, Pair | str]]:
    """Number, row and outcome in order. Takes no row that the limit cannot need."""
    order: Iterable[int] = itertools.count()
    if config.shuffle is not None:
        order = shuffled(source.count(), config.shuffle)
    rows = _rows(source, order)
    limit = sys.maxsize if config.limit is None else config.limit
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(itertools.islice(rows, min(ROWS_AT_ONCE, limit - num_kept()))):
            outcomes = pool.map(lambda numbered: _check(config, numbered[1]), chunk)
            for (number, row), outcome in zip(chunk, outcomes, strict=True):
                yield number, row, outcome


def _rows(source: Source, order: Iterable[int]) -> Iterator[tuple[int, Row]]:
    for number in order:
        try:
            row = source.row(number)
        except IndexError:
            return
        yield number, row


def _check(config: DatasetConfig, row: Row) -> Pair | str:
    """The pair, or why the row is none."""
    if row.problem is not None:
        return row.problem
    assert row.image is not None
    try:
        text = ""
        if config.text:
            text = choose_caption(row.captions, config.caption_index, config.separator)
        encoded = row.image.read()
        image = decode_image(encoded)
        looks = perceptual_hash(image) if config.deduplicate == "near" else None
        variants = tuple(variant_text(row.captions, v, config) for v in config.variants)
        "".join(variants).encode()  # raises here what cannot be hashed later
        hashes = sha256(text.encode()), sha256(encoded)
        return Pair(row.id, text, hashes[0], row.image, hashes[1], looks, variants)
    except (DataError, OSError, UnicodeEncodeError) as error:
        return str(error)
