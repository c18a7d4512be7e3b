"""Events of the world with their identities, each observed in several views."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import pyarrow.compute as pc

from platorep.config import hashes_column
from platorep.data.source import Encoded, NumberedSource, RowSource, reference_at
from platorep.errors import DataError, IntegrityError
from platorep.files import canonical_json, sha256
from platorep.identities import Identity, RowIdentities
from platorep.kinds import Kind, Reference
from platorep.kinds.text import num_words
from platorep.parameters.views import Change, Drawn, ObservedView
from platorep.rows import MappedTable, Strings

CHANGE_VERSION = 1  # raise when a change of the same parameters gives other samples


@dataclass(frozen=True)
class DroppedRow:
    row: int
    """Number in the source's own order, from 0."""
    id: str
    file: str
    reason: str


@dataclass(frozen=True)
class Copies:
    """Rows that are, in one view, the exact copy of an earlier row."""

    count: int
    first: tuple[tuple[str, str], ...]
    """Ids of the first few copies, each with the id of the row that it repeats."""


def read_copies(content: Mapping[str, Any]) -> dict[str, Copies]:
    """By view, from JSON."""
    return {
        view: Copies(of["count"], tuple((copy, first) for copy, first in of["first"]))
        for view, of in content.items()
    }


def changed_sample(kind: Kind, sample: Any, change: Change, sha256_before: str) -> Any:
    """What a change makes of a sample, whose draw is named by the sample's hash and the seed."""
    own = change.seed if isinstance(change, Drawn) else 0
    seed = int(sha256(f"{own}:{sha256_before}".encode())[:16], 16)
    return kind.changes[type(change)](sample, change, seed)


def changed_hash(kind: Kind, sample: Any, change: Change, sha256_before: str) -> str:
    """Names a changed sample: a text by itself, all else by what was changed, and how."""
    if kind.name == "text":
        return sha256(sample.encode())
    how = change.model_dump(mode="json", exclude={"of"})
    return sha256(canonical_json([CHANGE_VERSION, sha256_before, how]).encode())


@runtime_checkable
class Cells(Protocol):
    """What the source has of a view, row by row, as its kind's `encode` takes it."""

    def __getitem__(self, index: int, /) -> tuple[Any, ...]: ...


@dataclass(frozen=True)
class PlacedCells:
    """Samples of a view, row by row, by the places that a table has noted of them."""

    table: MappedTable
    view: str

    def __getitem__(self, index: int) -> tuple[Reference]:
        return (reference_at(self.table.arrow.column(f"place:{self.view}")[index].as_py()),)


class NumberedCells:
    """Of one view, row by row, by the rows' numbers in a source, which is opened when one is
    wanted. Pickles with the source."""

    def __init__(self, table: MappedTable, view: str, source: "OpenedOnce") -> None:
        self._table, self._view, self._source = table, view, source

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        number = self._table.arrow.column("row")[index].as_py()
        try:
            return self._source.opened.cells(number, self._view)
        except IndexError as error:
            raise DataError("it is not there any more") from error

    def __reduce__(self) -> tuple[Any, ...]:
        last = pc.max(self._table.arrow.column("row")).as_py()
        self._source.opened.cells(last, self._view)  # so that the parts up to there are open
        return NumberedCells, (self._table, self._view, self._source)


class OpenedOnce:
    """A source for several views, opened when one of them needs it."""

    def __init__(self, open_source: Callable[[], RowSource]) -> None:
        self._open = open_source

    @cached_property
    def opened(self) -> NumberedSource:
        source = self._open()
        assert isinstance(source, NumberedSource)
        return source

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.opened,)


def _opened(source: NumberedSource) -> OpenedOnce:
    return OpenedOnce(lambda: source)


@dataclass(frozen=True, kw_only=True)
class View(Sequence[Any]):
    """One observation of every row: samples, decoded when asked for. Cheap to send to a process."""

    name: str
    kind: Kind
    ids: Strings
    hashes: Strings
    """SHA-256 of the encoded bytes, or of the text; of a change, see `changed_hash`."""
    texts: Strings | None
    """Of a view of texts: all of them."""
    cells: Cells
    settings: ObservedView
    """How cells are read; texts and changed samples have none."""
    change: Change | None = None
    original: "View | None" = None
    """The view that is changed."""
    num_words: int | None = None
    """Of all texts together, as white space divides them; None for other kinds."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Any) -> Any:
        """The sample of a row, as it was when the dataset was loaded.

        Raises:
            IntegrityError: it is another now.
            DataError: it does not decode any more.
        """
        if self.texts is not None:
            return self.texts[index]
        if self.change is not None and self.original is not None:
            before = self.original[index]
            return changed_sample(self.kind, before, self.change, self.original.hashes[index])
        encoded = self.encoded(index)
        try:
            return self.kind.decode(encoded)
        except DataError as error:
            raise DataError(f"row {index} (id {self.ids[index]!r}): {error}") from error

    def encoded(self, index: int) -> bytes:
        """What the source has of a row, of a view that is no change and no text.

        Raises:
            IntegrityError: it is another now.
        """
        try:
            encoded, why = self.kind.encode(self.cells[index], self.settings), ""
        except DataError as error:
            encoded, why = None, f": {error}"
        if encoded is None or sha256(encoded) != self.hashes[index]:
            raise IntegrityError(
                f"the {self.name} of row {index} (id {self.ids[index]!r}) changed while it was in "
                f"use{why}. Run the command again."
            )
        return encoded

    def taken(self, rows: range) -> "View":
        """These rows alone, numbered from 0, with all that it takes to read them.

        Sent to a machine that sees neither the source nor the cache, they are the same samples.

        Raises:
            IntegrityError: a sample is another one now than when the dataset was loaded.
        """

        def part(strings: Strings) -> Strings:
            return strings[rows.start : rows.stop].in_memory()

        original, cells = self.original, list[tuple[Encoded]]()
        if self.texts is None and original is None:
            cells = [(Encoded(self.encoded(row)),) for row in rows]
        return replace(
            self,
            ids=part(self.ids),
            hashes=part(self.hashes),
            texts=None if self.texts is None else part(self.texts),
            cells=cells,
            original=None if original is None or self.texts is not None else original.taken(rows),
            num_words=None if self.texts is None else sum(map(num_words, part(self.texts))),
        )

    @property
    def mean_words(self) -> float | None:
        """Mean number of words of a text; None for other kinds."""
        return None if self.num_words is None else self.num_words / len(self)


@dataclass(frozen=True, kw_only=True)
class EventDataset:
    """Rows, each one event of the world, and their views. Holds no pixels."""

    name: str
    """Short; fit for a folder's name."""
    provenance: Mapping[str, Any]
    """JSON: source, resolved revision, split, views, counts."""
    views: Mapping[str, View]
    fingerprint: str
    """Names these rows in this order, on every machine: the SHA-256 of the JSON list of rows, each
    a list of its id and of the hashes of all that is observed of it, by name of the view."""
    identities: Mapping[str, Identity]
    """By column of `hashes`, and "" for ids alone."""
    dropped: Sequence[DroppedRow]
    """The first of them."""
    num_dropped: int
    duplicates: Mapping[str, Copies]
    """By view; counted before duplicates are dropped."""
    unchanged: Mapping[str, int] = field(default_factory=dict)
    """By changed view: the rows in which the change does nothing."""

    @property
    def ids(self) -> Strings:
        return next(iter(self.views.values())).ids

    @cached_property
    def hashes(self) -> Mapping[str, Strings]:
        """Hashes of what there is to see of the rows: the columns of rows.parquet, without ids."""
        return {hashes_column(name): view.hashes for name, view in self.views.items()}

    def rows_of(self, column: str) -> RowIdentities:
        """What names the rows of one view, by its column of `hashes`; "": their ids alone."""
        hashes = self.hashes[column] if column else Strings.repeated("", len(self))
        return RowIdentities(ids=self.ids, hashes=hashes, known=self.identities[column])

    def __len__(self) -> int:
        return len(self.ids)

    def report(self) -> dict[str, Any]:
        """What run.json says about the dataset."""
        return {
            **self.provenance,
            "name": self.name,
            "num_rows": len(self),
            "fingerprint": self.fingerprint,
            "dropped": [asdict(row) for row in self.dropped],
            "duplicates": {view: asdict(copies) for view, copies in self.duplicates.items()},
            "unchanged": dict(self.unchanged),
        }
