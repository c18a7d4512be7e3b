"""The first rows of a source, whatever their columns are: what is there to name as views?

The files are found and read by those that find and read them for an experiment.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.class_folders import require_class_folders, sample_view
from platorep.data.folder import lines_of, listed_cell, require_captions_file
from platorep.data.patterns import expand_pattern
from platorep.data.source import FileReference, Stretch, parse_json
from platorep.data.tars import samples_of
from platorep.errors import DataError
from platorep.kinds import KINDS
from platorep.parameters.views import KindName

FIRST = 32
"""Rows that are looked at."""


@dataclass(frozen=True)
class FirstRows:
    """What the columns of the first rows hold."""

    columns: Mapping[str, list[Any]]
    """Of each column (in tar shards: ending, or field of a JSON member) the values that are not
    missing; encoded samples as references to their files, or as bytes."""
    kinds: Mapping[str, KindName]
    """Of columns whose kind the format itself says."""
    folder: Path | None
    """In which strings may name files."""


def first_rows(config: DatasetConfig, kind: str, *, offline: bool) -> FirstRows:
    """Look at the first rows of `config.source`, which is read as `kind`.

    Raises:
        AbsentError, ConfigError: the source is not there, or has no such split.
        DataError: it cannot be read, or has no row.
    """
    if kind == "folder":
        file = require_captions_file(config)
        cells = [cells for _, cells in islice(lines_of(file), FIRST)]
        read = ({name: listed_cell(value) for name, value in row.items()} for row in cells)
        first = FirstRows(_columns(read), {}, file.parent)
    elif kind == "class_folders":
        files = [path for paths in require_class_folders(config).values() for path in paths]
        sample = sample_view(config)
        columns: dict[str, list[Any]] = {
            sample: [FileReference(path) for path in files[:FIRST]],
            "text": [path.parent.name for path in files[:FIRST]],
        }
        first = FirstRows(columns, {sample: config.kinds[sample]}, None)
    elif kind == "webdataset":
        first = _of_shards(expand_pattern(config.source))
    else:
        first = _of_tables(config, kind, offline=offline)
    if not any(first.columns.values()):
        raise DataError(f"{config.source} has no row. Expected at least one, with its columns.")
    return first


def _columns(rows: Iterator[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Column by column what is not missing."""
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, [])
            if value is not None and value != "":
                columns[name].append(value)
    return columns


def _of_shards(shards: list[Path]) -> FirstRows:
    """Members by kind, where a sample has one of it, else by ending; the fields of JSON."""
    kinds: dict[str, KindName] = {}

    def values(members: Mapping[str, Stretch]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for ending in sorted(members, key=lambda ending: len(_kinds_of_ending(ending))):
            member, fitting = members[ending], _kinds_of_ending(ending)
            free = [kind for kind in fitting if kind not in found]
            column = next(iter(free), ending)
            if ending == "json":
                fields = parse_json(member.read())
                fields = fields if isinstance(fields, dict) else {}
                found |= {f"json.{name}": value for name, value in fields.items()}
            elif fitting == ["text"]:
                found[column] = member.read().decode("utf-8").rstrip("\r\n")
            else:
                found[column] = member
                if fitting:
                    kinds[column] = (free or fitting)[0]
        return found

    try:
        rows = [values(members) for _, _, members in islice(samples_of(shards[0]), FIRST)]
    except ValueError as error:  # of UTF-8 or of JSON
        raise DataError(f"{shards[0]}: a text cannot be read: {error}.") from error
    return FirstRows(_columns(iter(rows)), kinds, None)


def _of_tables(config: DatasetConfig, kind: str, *, offline: bool) -> FirstRows:
    """The first table of parquet files, or of a hub dataset, which says what its columns are."""
    from platorep.data.datafiles import parquet_files, tables_of
    from platorep.data.tables import ENCODED, plain_rows

    if kind == "parquet":
        found = parquet_files(expand_pattern(config.source))
    else:
        from platorep.data.hub import find_repository

        repository = find_repository(
            config.source,
            subset=config.subset,
            revision=config.revision,
            split=config.split,
            offline=offline,
        )
        if repository.builder == "webdataset":
            return _of_shards([next(repository.paths(config.split, offline=offline))])
        found = tables_of(repository, config.split, offline=offline)
    data = next(found)
    features = data.table.features
    kinds = {n: ENCODED[type(of)] for n, of in features.items() if type(of) in ENCODED}
    return FirstRows(_columns(plain_rows(data.table, FIRST)), kinds, Path(data.file).parent)


def kind_of_endings(*endings: str) -> KindName | None:
    """The kind that all of these are endings of files of; of several the first: a GIF alone is an
    image, beside an MP4 a film."""
    fitting = set.intersection(*({*_kinds_of_ending(ending)} for ending in endings))
    return next((kind for kind in KINDS if kind in fitting), None)


def _kinds_of_ending(ending: str) -> list[KindName]:
    return [kind.name for kind in KINDS.values() if ending.lower() in kind.endings]
