"""WebDataset shards: tar files whose members share a key, `0001.jpg` and `0001.txt`.

The member headers are read, the samples stay in the tar and are read by offset.
"""

import tarfile
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.source import Row, Stretch, as_cells, parse_json
from platorep.errors import DataError, listed, nearest, shown
from platorep.kinds import Reference, find_kind
from platorep.parameters.views import ObservedView
from platorep.stamps import Stamp, settled_stamp

_Sample = tuple[Path, str, dict[str, Stretch]]
"""The shard, the key, and the members by ending."""


class TarSource:
    """The samples of tar shards in the order of the pattern, then of the members.

    The columns of views name file endings; `jpg;png` means either, `json.caption` the field
    `caption` of a JSON member. A column called like the view's kind, or like the view, stands for
    the usual endings of the kind. A row's id is `<shard>/<key>`, since keys may repeat.

    Of a row that was passed only its place is kept, and it is read again from there.
    """

    numbered = False

    def __init__(
        self, config: DatasetConfig, shards: Iterable[Path], *, pinned: bool = False
    ) -> None:
        self.stamps: dict[str, Stamp | None] = {}
        self._pinned = pinned  # by a commit: files need no stamps
        self._shards = shards
        self._views = config.observed
        self._id = config.id
        self._passed: list[Path] = []  # shards
        self._starts = array("q")  # of each row that was passed: its shard and its first header
        self._current: _Sample | None = None  # the last that was passed
        self._unread = self._samples()

    def row(self, index: int) -> Row:
        while self._num_passed <= index:
            self._current = next(self._unread, None)
            if self._current is None:
                raise IndexError(index)
        if index == self._num_passed - 1 and self._current is not None:
            return self._row(*self._current)
        number, start = self._starts[2 * index : 2 * index + 2]
        with closing(samples_of(self._passed[number], start)) as keys:
            _, key, members = next(keys, (start, "", {}))
        return self._row(self._passed[number], key, members)

    def count(self) -> int:
        for sample in self._unread:
            self._current = sample
        return self._num_passed

    def strings(self, numbers: Sequence[int]) -> None:
        return None

    @property
    def _num_passed(self) -> int:
        return len(self._starts) // 2

    def _samples(self) -> Iterator[_Sample]:
        for shard in self._shards:
            if not self._pinned:
                self.stamps[str(shard)] = settled_stamp(shard)
            self._passed.append(shard)
            for start, key, members in samples_of(shard):
                self._starts.extend((len(self._passed) - 1, start))
                yield shard, key, members

    def _row(self, shard: Path, key: str, members: dict[str, Stretch]) -> Row:
        identity, cells, problem = f"{shard.stem}/{key}", dict[str, tuple[Any, ...]](), None
        try:
            for name, view in self._views.items():
                values = [_value(members, view, c, name) for c in view.columns]
                cells[name] = as_cells(view, values, _no_file)
            if self._id is not None:
                identity = str(_field(members, self._id, "id"))
        except DataError as error:
            problem = str(error)
        return Row(identity, cells, f"sample {key!r} of {shard}", str(shard), problem)


def samples_of(
    shard: Path, start: int = 0
) -> Generator[tuple[int, str, dict[str, Stretch]], None, None]:
    """Consecutive members with one key, and where the first has its header; hidden files and
    folders are passed over.

    Args:
        start: The header to begin with.
    """
    first, key, members = start, "", dict[str, Stretch]()
    try:
        with shard.open("rb") as file:
            file.seek(start)
            tar: Any = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  closes nothing itself
            for member in iter(tar.next, None):
                tar.members.clear()  # it would keep them all
                folder, _, name = member.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                if not member.isfile() or member.issparse() or not stem or not dot:
                    continue
                stem = f"{folder}/{stem}".removeprefix("./").removeprefix("/")
                if stem != key and members:
                    yield first, key, members
                    members = {}
                if not members:
                    first = member.offset
                key = stem
                if ending.lower() in members:
                    raise DataError(f"sample {key!r} of {shard} has two members .{ending}.")
                members[ending.lower()] = Stretch(shard, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise DataError(
            f"{shard} cannot be read as an uncompressed tar file: {error}. Unpack .tar.gz first."
        ) from error
    if members:
        yield first, key, members


def _value(members: dict[str, Stretch], view: ObservedView, column: str, name: str) -> Any:
    """What a column of a view holds: a member, or a text or a field of one."""
    assert view.kind is not None
    kind = find_kind(view.kind)
    endings = kind.endings if column in (view.kind, name) else tuple(column.split(";"))
    if view.kind == "text" or "." in column:
        there = (e for e in endings if e in members or e.partition(".")[0] in members)
        return _field(members, next(there, endings[0]), name)
    member = next((members[ending] for ending in endings if ending in members), None)
    if member is None:
        raise DataError(_no_member(endings, name, members))
    return member


def _no_file(name: str) -> Reference:
    raise DataError(f"{shown(name)} names a file; expected the sample itself in the shard")


def _field(members: dict[str, Stretch], name: str, key: str) -> Any:
    """A member's text without the line ending at its end, or a field of a JSON member."""
    ending, _, field = name.partition(".")
    member = members.get(name) or members.get(ending)
    if member is None:
        raise DataError(_no_member((name,), key, members))
    try:
        text = member.read().decode("utf-8")
        if name in members:
            return text.rstrip("\r\n")
        fields = parse_json(text)
    except ValueError as error:  # of UTF-8 or of JSON
        raise DataError(f"member .{ending}: {error}") from error
    if not isinstance(fields, dict) or field not in fields:
        known = list(fields) if isinstance(fields, dict) else []
        raise DataError(
            f"member .{ending} has no field {field!r} (dataset.{key}).{nearest(field, known)} "
            f"Fields: {listed(known)}"
        )
    return fields[field]


def _no_member(endings: Sequence[str], key: str, members: Mapping[str, object]) -> str:
    return (
        f"no member ends in .{' or .'.join(endings)} (dataset.{key})."
        f"{nearest(endings[0], members)} Endings: {listed(members)}"
    )
