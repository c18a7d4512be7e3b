"""One column of texts, without images: corpora."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from platorep.data.datafiles import parquet_rows, tables_of
from platorep.data.hub import Repository, find_repository
from platorep.data.source import require_columns
from platorep.errors import ConfigError


def text_column(
    source: str,
    *,
    column: str,
    subset: str | None,
    revision: str | None,
    split: str,
    offline: bool,
) -> tuple[Iterator[str | None], str]:
    """The texts of a parquet file or a dataset repository, and the name of where they are from.

    Read file by file, so that whoever stops early downloads little.

    Raises:
        AbsentError: there is no such dataset, or it is not in the cache while offline.
        ConfigError: there is no such subset, split or column.
    """
    path = Path(source)
    if path.is_file():
        return _strings(parquet_rows(path, [column]), column, str(path)), path.name
    repository = find_repository(
        source, subset=subset, revision=revision, split=split, offline=offline
    )
    name = path.name if repository.commit is None else f"{source}@{repository.commit}"
    texts = _texts(repository, column, split, offline)
    return texts, "/".join(filter(None, (name, subset, split)))


def _texts(repository: Repository, column: str, split: str, offline: bool) -> Iterator[str | None]:
    if repository.builder == "parquet":
        for path in repository.paths(split, offline=offline):
            yield from _strings(parquet_rows(path, [column]), column, str(path))
        return
    for data in tables_of(repository, split, offline=offline):
        require_columns([column], data.table.column_names, data.file, "text")
        yield from _strings(data.table.select_columns([column]), column, data.file)


def _strings(rows: Iterable[Mapping[str, Any]], column: str, file: str) -> Iterator[str | None]:
    for row in rows:
        text = row[column]
        if text is not None and not isinstance(text, str):
            raise ConfigError(
                f"{file}: text names the column {column!r}, which holds "
                f"{type(text).__name__}. Expected strings."
            )
        yield text
