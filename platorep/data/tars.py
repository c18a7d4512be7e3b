"""WebDataset shards: tar files whose members share a key, `0001.jpg` and `0001.txt`.

The member headers are read, the images stay in the tar and are read by offset.
"""

import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.source import Row, as_captions, parse_json
from platorep.errors import DataError, listed, nearest
from platorep.stamps import Stamp, settled_stamp

DEFAULT_ENDINGS = {"image": ("jpg", "jpeg", "png", "webp"), "text": ("txt", "caption")}


@dataclass(frozen=True)
class TarImage:
    """A member of an uncompressed tar file."""

    path: Path
    offset: int
    size: int

    def own_file(self) -> None:
        return None

    def read(self) -> bytes:
        if self.path.stat().st_size < self.offset + self.size:
            raise DataError(f"{self.path} ends before the member does")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class TarSource:
    """The samples of tar shards in the order of the pattern, then of the members.

    `dataset.image` and `dataset.text` name file endings; `jpg;png` means either, `json.caption`
    the field `caption` of a JSON member. The default names `image` and `text` stand for the usual
    endings. A row's id is `<shard>/<key>`, since keys may repeat from shard to shard.
    """

    def __init__(
        self, config: DatasetConfig, shards: Iterable[Path], *, pinned: bool = False
    ) -> None:
        self.stamps: dict[str, Stamp | None] = {}
        self._pinned = pinned  # by a commit: files need no stamps
        self._shards = shards
        self._image = DEFAULT_ENDINGS.get(config.image) or tuple(config.image.split(";"))
        self._text = (config.text,) if isinstance(config.text, str) else config.text
        self._id = config.id
        self._rows: list[Row] = []
        self._unread = self._samples()

    def row(self, index: int) -> Row:
        while len(self._rows) <= index:
            row = next(self._unread, None)
            if row is None:
                raise IndexError(index)
            self._rows.append(row)
        return self._rows[index]

    def count(self) -> int:
        self._rows.extend(self._unread)
        return len(self._rows)

    def _samples(self) -> Iterator[Row]:
        for shard in self._shards:
            if not self._pinned:
                self.stamps[str(shard)] = settled_stamp(shard)
            for key, members in _keys(shard):
                yield self._row(shard, key, members)

    def _row(self, shard: Path, key: str, members: dict[str, TarImage]) -> Row:
        row = Row(
            id=f"{shard.stem}/{key}",
            captions=(),
            image=next((members[e] for e in self._image if e in members), None),
            location=f"sample {key!r} of {shard}",
            file=str(shard),
        )
        if row.image is None:
            return replace(row, problem=_no_member(self._image, "image", members))
        try:
            captions = tuple(c for name in self._text for c in _captions(members, name))
            identity = row.id if self._id is None else str(_field(members, self._id, "id"))
        except DataError as error:
            return replace(row, problem=str(error))
        return replace(row, captions=captions, id=identity)


def _keys(shard: Path) -> Iterator[tuple[str, dict[str, TarImage]]]:
    """Consecutive members with one key; hidden files and folders are passed over."""
    key, members = "", dict[str, TarImage]()
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                if not member.isfile() or member.issparse() or not stem or not dot:
                    continue
                stem = f"{folder}/{stem}".removeprefix("./").removeprefix("/")
                if stem != key and members:
                    yield key, members
                    members = {}
                key = stem
                if ending.lower() in members:
                    raise DataError(f"sample {key!r} of {shard} has two members .{ending}.")
                members[ending.lower()] = TarImage(shard, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise DataError(
            f"{shard} cannot be read as an uncompressed tar file: {error}. Unpack .tar.gz first."
        ) from error
    if members:
        yield key, members


def _captions(members: dict[str, TarImage], name: str) -> tuple[str | None, ...]:
    names = DEFAULT_ENDINGS["text"] if name == "text" else tuple(name.split(";"))
    ending = next((n for n in names if n in members or n.partition(".")[0] in members), names[0])
    value = _field(members, ending, "text")
    captions = as_captions(value)
    if captions is None:
        raise DataError(f"{ending} holds {type(value).__name__}, expected a string or strings")
    return captions


def _field(members: dict[str, TarImage], name: str, key: str) -> Any:
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
