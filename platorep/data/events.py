"""Events of the world with their identities, each observed in several views."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from platorep.config import hashes_column
from platorep.data.source import Encoded, RowSource
from platorep.errors import DataError, IntegrityError
from platorep.files import canonical_json, sha256
from platorep.identities import RowIdentities, identify
from platorep.kinds import Kind
from platorep.kinds.text import num_words
from platorep.parameters.views import Change, Drawn, ObservedView
from platorep.rows import Strings, rows_sha256

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


class SourceCells:
    """What some rows of a source hold; the source is opened when the first one is wanted."""

    def __init__(self, open_source: Callable[[], RowSource], rows: Sequence[int]) -> None:
        self._open, self._rows = open_source, rows

    @cached_property
    def _cells(self) -> tuple[Mapping[str, tuple[Any, ...]], ...]:
        source = self._open()
        try:
            rows = [source.row(row) for row in self._rows]
        except IndexError:
            rows = []
        if not rows or any(row.problem is not None for row in rows):
            raise IntegrityError(
                "the dataset changed while it was in use: it has fewer samples now. Run the "
                "command again."
            )
        return tuple(row.cells for row in rows)

    def of_view(self, view: str) -> "ViewCells":
        return ViewCells(self, view)

    def __len__(self) -> int:
        return len(self._rows)


class ViewCells(Sequence[tuple[Any, ...]]):
    """Of one view, row by row. Pickles as the cells themselves."""

    def __init__(self, cells: SourceCells, view: str) -> None:
        self._of_rows, self._view = cells, view

    def __getitem__(self, index: Any) -> Any:
        return self._of_rows._cells[index][self._view]

    def __len__(self) -> int:
        return len(self._of_rows)

    def __reduce__(self) -> tuple[type, tuple[tuple[tuple[Any, ...], ...]]]:
        return tuple, (tuple(cells[self._view] for cells in self._of_rows._cells),)


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
    cells: Sequence[tuple[Any, ...]]
    settings: ObservedView
    """How cells are read."""
    change: Change | None = None
    original: "View | None" = None
    """The view that is changed."""

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
        encoded = self.kind.encode(self.cells[index], self.settings)
        if sha256(encoded) != self.hashes[index]:
            raise IntegrityError(
                f"the {self.name} of row {index} (id {self.ids[index]!r}) changed while it was in "
                "use. Run the command again."
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
        )

    @property
    def mean_words(self) -> float | None:
        """Mean number of words of a text, as white space divides them; None for other kinds."""
        return None if self.texts is None else sum(map(num_words, self.texts)) / len(self)


@dataclass(frozen=True, kw_only=True)
class EventDataset:
    """Rows, each one event of the world, and their views. Holds no pixels."""

    name: str
    """Short; fit for a folder's name."""
    provenance: Mapping[str, Any]
    """JSON: source, resolved revision, split, views, counts."""
    views: Mapping[str, View]
    dropped: tuple[DroppedRow, ...]
    duplicates: Mapping[str, Copies]
    """By view; counted before duplicates are dropped."""
    unchanged: Mapping[str, int] = field(default_factory=dict)
    """By changed view: the rows in which the change does nothing."""

    @property
    def ids(self) -> Strings:
        return next(iter(self.views.values())).ids

    @cached_property
    def fingerprint(self) -> str:
        """Names these rows in this order, on every machine."""
        observed = sorted(name for name, view in self.views.items() if view.change is None)
        return rows_sha256(self.ids, *(self.views[name].hashes for name in observed))

    @cached_property
    def hashes(self) -> Mapping[str, Strings]:
        """Hashes of what there is to see of the rows: the columns of rows.parquet, without ids."""
        return {hashes_column(name): view.hashes for name, view in self.views.items()}

    def rows_of(self, column: str) -> RowIdentities:
        """What names the rows of one view, by its column of `hashes`; "": their ids alone."""
        return self._rows[column]

    @cached_property
    def _rows(self) -> Mapping[str, RowIdentities]:
        columns: dict[str, Sequence[str]] = {"": Strings.repeated("", len(self)), **self.hashes}
        known = identify(self.ids, columns)
        return {
            name: RowIdentities(ids=self.ids, hashes=hashes, known=known[name])
            for name, hashes in columns.items()
        }

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
