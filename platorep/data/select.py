"""Rows of a source -> the pairs that are kept: shuffled, checked, deduplicated, limited."""

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from platorep.config import DatasetConfig
from platorep.data.captions import choose_caption, variant_text
from platorep.data.images import decode_image
from platorep.data.near import HASH_BITS, NEAR_BITS, NearHashes, perceptual_hash
from platorep.data.paired import Copies, DroppedRow
from platorep.data.source import Row, RowSource
from platorep.errors import DataError, shown
from platorep.files import sha256
from platorep.stamps import Stamp, settled_stamp

NUM_FIRST_COPIES = 5
ROWS_AT_ONCE = 64  # checked together by the threads; no influence on the result


@dataclass(frozen=True)
class Pair:
    """A row that passed its checks."""

    row: int
    """Number in the source's own order, from 0."""
    id: str
    text: str
    text_hash: str
    image_hash: str
    looks: int | None
    """Perceptual hash, if near copies are to be found."""
    variants: tuple[str, ...] = ()
    """The texts of `dataset.variants`, in order."""


@dataclass
class Selection:
    """What checking the rows of a source gave."""

    pairs: list[Pair] = field(default_factory=list)
    dropped: list[DroppedRow] = field(default_factory=list)
    copies: dict[str, Copies] = field(
        default_factory=lambda: {"images": Copies(0, ()), "texts": Copies(0, ())}
    )
    stamps: dict[str, Stamp | None] = field(default_factory=dict)
    """The files that were read, as they were before; None for one that is not there."""


@dataclass(frozen=True)
class _Checked:
    """A row with the pair that it is, or with why it is none."""

    number: int
    row: Row
    pair: Pair | None
    problem: str | None
    stamps: dict[str, Stamp | None]


def select_rows(config: DatasetConfig, source: RowSource) -> Selection:
    """Go through the rows until `limit` good ones are found.

    Raises:
        DataError: a row cannot be used and `on_bad_row` is `error`.
    """
    selection = Selection()
    ids: set[str] = set()
    first_with: dict[str, dict[str, str]] = {"images": {}, "texts": {}}  # hash -> id
    looks = NearHashes(NEAR_BITS)
    for checked in _checked(config, source, lambda: len(selection.pairs)):
        row, pair, problem = checked.row, checked.pair, checked.problem
        for file, its_stamp in checked.stamps.items():
            selection.stamps.setdefault(file, its_stamp)
        if row.id in ids:
            problem = f"the id {shown(row.id)} is an earlier row's"
        if problem is not None and config.on_bad_row == "error":
            raise DataError(
                f"{row.location}: {problem}. Mend it, or leave such pairs out with "
                "dataset.on_bad_row: drop."
            )
        if pair is not None and problem is None:
            problem = _exact_copy(config, pair, first_with, selection)
            if problem is None and pair.looks is not None:
                problem = _near_copy(pair.looks, looks, selection.pairs)
        if pair is None or problem is not None:
            name, file = (
                text.encode(errors="backslashreplace").decode() for text in (row.id, row.file)
            )
            selection.dropped.append(DroppedRow(checked.number, name, file, str(problem)))
            continue
        for what, value in _hashes(config, pair).items():
            first_with[what].setdefault(value, row.id)
        ids.add(row.id)
        selection.pairs.append(pair)
        if pair.looks is not None:
            looks.add(pair.looks)
    selection.stamps |= source.stamps
    return selection


def shuffled(count: int, seed: int) -> list[int]:
    """0 ... count-1 in an order that depends on the seed alone, not on any library's generator."""
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())


def _hashes(config: DatasetConfig, pair: Pair) -> dict[str, str]:
    return {"images": pair.image_hash} | ({"texts": pair.text_hash} if config.text else {})


def _exact_copy(
    config: DatasetConfig,
    pair: Pair,
    first_with: Mapping[str, Mapping[str, str]],
    selection: Selection,
) -> str | None:
    """Count a pair whose image or text an earlier one has; why it is dropped, if it is."""
    problem = None
    for what, value in _hashes(config, pair).items():
        if value in first_with[what]:
            earlier = first_with[what][value]
            selection.copies[what] = _counted(selection.copies[what], pair.id, earlier)
            if config.deduplicate:
                problem = f"its {what[:-1]} is the exact copy of that of id {earlier!r}"
    return problem


def _near_copy(looks: int, earlier: NearHashes, kept: list[Pair]) -> str | None:
    """Why an image is nearly that of a kept row, or None."""
    number = earlier.first_near(looks)
    if number is None:
        return None
    original = kept[number]
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
    config: DatasetConfig, source: RowSource, num_kept: Callable[[], int]
) -> Iterator[_Checked]:
    """The rows in order. Takes none that the limit cannot need."""
    order: Iterable[int] = itertools.count()
    if config.shuffle is not None:
        order = shuffled(source.count(), config.shuffle)
    rows = _rows(source, order)
    limit = sys.maxsize if config.limit is None else config.limit
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(itertools.islice(rows, min(ROWS_AT_ONCE, limit - num_kept()))):
            yield from pool.map(lambda numbered: _check(config, *numbered), chunk)


def _rows(source: RowSource, order: Iterable[int]) -> Iterator[tuple[int, Row]]:
    for number in order:
        try:
            row = source.row(number)
        except IndexError:
            return
        yield number, row


def _check(config: DatasetConfig, number: int, row: Row) -> _Checked:
    stamps: dict[str, Stamp | None] = {}
    pair, problem = None, row.problem
    try:
        if problem is None:
            pair = _pair(config, number, row, stamps)
    except UnicodeEncodeError as error:
        problem = f"{shown(error.object)} is no text in Unicode: {error.reason}"
    except (DataError, OSError) as error:
        problem = str(error)
    return _Checked(number, row, pair, problem, stamps)


def _pair(config: DatasetConfig, number: int, row: Row, stamps: dict[str, Stamp | None]) -> Pair:
    """The pair that a row is; its image's own file is noted in `stamps` before it is read."""
    assert row.image is not None
    row.id.encode()  # raises here what cannot be written later
    text = ""
    if (file := row.image.own_file()) is not None:
        stamps[str(file)] = settled_stamp(file)
    if config.text:
        text = choose_caption(row.captions, config.caption_index, config.separator)
    encoded = row.image.read()
    image = decode_image(encoded)
    variants = tuple(variant_text(row.captions, v, config) for v in config.variants)
    "".join(variants).encode()
    return Pair(
        row=number,
        id=row.id,
        text=text,
        text_hash=sha256(text.encode()),
        image_hash=sha256(encoded),
        looks=perceptual_hash(image) if config.deduplicate == "near" else None,
        variants=variants,
    )
