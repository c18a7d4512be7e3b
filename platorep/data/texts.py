"""One column of texts, without images: corpora."""

from collections.abc import Iterator
from pathlib import Path

from platorep.data.hub import find_repository
from platorep.data.source import require_columns
from platorep.data.tables import Part, read_parquet
from platorep.errors import ConfigError

ROWS_AT_ONCE = 1000


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
        return _texts(iter([Part(read_parquet(path, split), str(path))]), column), path.name
    repository = find_repository(
        source, subset=subset, revision=revision, split=split, offline=offline
    )
    name = path.name if repository.commit is None else f"{source}@{repository.commit}"
    parts = repository.parts(split, offline=offline)
    return _texts(parts, column), "/".join(filter(None, (name, subset, split)))


def _texts(parts: Iterator[Part], column: str) -> Iterator[str | None]:
    for part in parts:
        require_columns([column], part.table.column_names, part.file, "text")
        table = part.table.select_columns([column])
        for start in range(0, len(table), ROWS_AT_ONCE):
            for text in table[start : start + ROWS_AT_ONCE][column]:
                if text is not None and not isinstance(text, str):
                    raise ConfigError(
                        f"{part.file}: text names the column {column!r}, which holds "
                        f"{type(text).__name__}. Expected strings."
                    )
                yield text
