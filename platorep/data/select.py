"""Rows of a source -> those that are kept: shuffled, checked, deduplicated, limited."""

import hashlib
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.events import Copies, DroppedRow, changed_hash, changed_sample
from platorep.data.near import HASH_BITS, NEAR_BITS, NearHashes
from platorep.data.source import Row, RowSource
from platorep.errors import ConfigError, DataError, shown
from platorep.files import sha256
from platorep.kinds import KINDS, Reference
from platorep.machine import MOST_DECODERS, num_cores
from platorep.stamps import Stamp, settled_stamp

NUM_FIRST_COPIES = 5
ROWS_AT_ONCE = 64  # checked together by the threads; no influence on the result


@dataclass(frozen=True)
class CheckedRow:
    """A row that passed its checks."""

    row: int
    """Number in the source's own order, from 0."""
    id: str
    hashes: dict[str, str]
    """View -> identity of its sample."""
    texts: dict[str, str]
    """View of texts -> its text."""
    looks: dict[str, int]
    """View -> perceptual hash, if near copies are to be found."""
    unchanged: tuple[str, ...] = ()
    """The changed views in which the change does nothing."""


@dataclass
class Selection:
    """What checking the rows of a source gave."""

    rows: list[CheckedRow] = field(default_factory=list)
    dropped: list[DroppedRow] = field(default_factory=list)
    copies: dict[str, Copies] = field(default_factory=dict)
    """By observed view."""
    stamps: dict[str, Stamp | None] = field(default_factory=dict)
    """The files that were read, as they were before; None for one that is not there."""

    @property
    def unchanged(self) -> dict[str, int]:
        """By changed view: in how many rows the change does nothing."""
        return dict(Counter(view for row in self.rows for view in row.unchanged))


@dataclass(frozen=True)
class _Outcome:
    """A row of the source with what it is when checked, or with why it cannot be used."""

    number: int
    row: Row
    checked: CheckedRow | None
    problem: str | None
    stamps: dict[str, Stamp | None]


def select_rows(config: DatasetConfig, source: RowSource) -> Selection:
    """Go through the rows until `limit` good ones are found.

    Raises:
        DataError: a row cannot be used and `on_bad_row` is `error`.
    """
    observed = tuple(config.observed)
    selection = Selection(copies={view: Copies(0, ()) for view in observed})
    ids: set[str] = set()
    first_with: dict[str, dict[str, str]] = {view: {} for view in observed}  # hash -> id
    looks = {view: NearHashes(NEAR_BITS) for view in observed}
    for outcome in _outcomes(config, source, lambda: len(selection.rows)):
        row, checked, problem = outcome.row, outcome.checked, outcome.problem
        for file, its_stamp in outcome.stamps.items():
            selection.stamps.setdefault(file, its_stamp)
        if row.id in ids:
            problem = f"the id {shown(row.id)} is an earlier row's"
        if problem is not None and config.on_bad_row == "error":
            raise DataError(
                f"{row.location}: {problem}. Mend it, or leave such rows out with "
                "dataset.on_bad_row: drop."
            )
        if checked is not None and problem is None:
            problem = _exact_copy(config, checked, first_with, selection)
            if problem is None:
                problem = _near_copy(checked, looks, selection.rows)
        if checked is None or problem is not None:
            name, file = (
                text.encode(errors="backslashreplace").decode() for text in (row.id, row.file)
            )
            selection.dropped.append(DroppedRow(outcome.number, name, file, str(problem)))
            continue
        for view in observed:
            first_with[view].setdefault(checked.hashes[view], row.id)
        for view, value in checked.looks.items():
            looks[view].add(value)
        ids.add(row.id)
        selection.rows.append(checked)
    selection.stamps |= source.stamps
    return selection


def shuffled(count: int, seed: int) -> list[int]:
    """0 ... count-1 in an order that depends on the seed alone, not on any library's generator."""
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())


def _exact_copy(
    config: DatasetConfig,
    checked: CheckedRow,
    first_with: Mapping[str, Mapping[str, str]],
    selection: Selection,
) -> str | None:
    """Count a row of which an earlier one has a sample; why it is dropped, if it is."""
    problem = None
    for view, earlier in first_with.items():
        if (original := earlier.get(checked.hashes[view])) is not None:
            selection.copies[view] = _counted(selection.copies[view], checked.id, original)
            if config.deduplicate:
                problem = f"its {view} is the exact copy of that of id {original!r}"
    return problem


def _near_copy(
    checked: CheckedRow, earlier: Mapping[str, NearHashes], kept: Sequence[CheckedRow]
) -> str | None:
    """Why a sample is nearly that of a kept row, or None."""
    for view, looks in checked.looks.items():
        number = earlier[view].first_near(looks)
        if number is not None:
            bits = (looks ^ kept[number].looks[view]).bit_count()
            return (
                f"its {view} is nearly that of id {kept[number].id!r}: {bits} of {HASH_BITS} bits "
                "of the perceptual hash differ"
            )
    return None


def _counted(copies: Copies, new: str, earlier: str) -> Copies:
    first = (*copies.first, (new, earlier))[:NUM_FIRST_COPIES]
    return Copies(copies.count + 1, first)


def _outcomes(
    config: DatasetConfig, source: RowSource, num_kept: Callable[[], int]
) -> Iterator[_Outcome]:
    """The rows in order. Takes none that the limit cannot need."""
    order: Iterable[int] = itertools.count()
    if config.shuffle is not None:
        order = shuffled(source.count(), config.shuffle)
    rows = _rows(source, order)
    limit = sys.maxsize if config.limit is None else config.limit
    check = _Checks(config)
    with ThreadPoolExecutor(min(num_cores(), MOST_DECODERS)) as pool:
        while chunk := list(itertools.islice(rows, min(ROWS_AT_ONCE, limit - num_kept()))):
            yield from pool.map(lambda numbered: check(*numbered), chunk)


def _rows(source: RowSource, order: Iterable[int]) -> Iterator[tuple[int, Row]]:
    for number in order:
        try:
            row = source.row(number)
        except IndexError:
            return
        yield number, row


class _Checks:
    """Reads, decodes and changes the samples of a row, in every view."""

    def __init__(self, config: DatasetConfig) -> None:
        self._observed, self._changed = config.observed, config.changed
        self._kinds = {name: KINDS[kind] for name, kind in config.kinds.items()}
        self._near = config.deduplicate == "near"
        if self._near and not any(self._kinds[view].looks for view in self._observed):
            raise ConfigError(
                "dataset.deduplicate: near is for images, and the dataset has none. Use true."
            )

    def __call__(self, number: int, row: Row) -> _Outcome:
        stamps: dict[str, Stamp | None] = {}
        checked, problem = None, row.problem
        try:
            if problem is None:
                checked = self._checked(number, row, stamps)
        except UnicodeEncodeError as error:
            problem = f"{shown(error.object)} is no text in Unicode: {error.reason}"
        except (DataError, OSError) as error:
            problem = str(error)
        return _Outcome(number, row, checked, problem, stamps)

    def _checked(self, number: int, row: Row, stamps: dict[str, Stamp | None]) -> CheckedRow:
        """The row, checked; samples' own files are noted in `stamps` before they are read."""
        row.id.encode()  # raises here what cannot be written later
        samples: dict[str, Any] = {}
        hashes: dict[str, str] = {}
        looks: dict[str, int] = {}
        for view, settings in self._observed.items():
            kind, cells = self._kinds[view], row.cells[view]
            for reference in cells:
                if isinstance(reference, Reference):
                    stamps |= {str(f): settled_stamp(f) for f in reference.own_files()}
            with _named(view, kind.name):
                encoded = kind.encode(cells, settings)
                samples[view] = kind.decode(encoded)
            hashes[view] = sha256(encoded)
            if self._near and kind.looks is not None:
                looks[view] = kind.looks(samples[view])
        unchanged = []
        for view, change in self._changed.items():
            kind, before, of = self._kinds[view], samples[change.of], hashes[change.of]
            with _named(view, kind.name):
                samples[view] = changed_sample(kind, before, change, of)
            hashes[view] = changed_hash(kind, samples[view], change, of)
            if kind.same(before, samples[view]):
                unchanged.append(view)
        texts = {view: samples[view] for view, kind in self._kinds.items() if kind.name == "text"}
        return CheckedRow(number, row.id, hashes, texts, looks, tuple(unchanged))


@contextmanager
def _named(view: str, kind: str) -> Iterator[None]:
    """Say which view cannot be used, where its name is not that of its kind."""
    try:
        yield
    except (DataError, OSError) as error:
        if view == kind:
            raise
        raise DataError(f"view {view!r}: {error}") from error
