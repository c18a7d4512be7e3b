"""What of the rows a bundle may show: texts, and small pictures, of those that were scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from platorep.bundles.about import CURE, SHOWN
from platorep.errors import DamagedError

What = Literal["texts", "images"]
TYPES: Mapping[What, pa.DataType] = {"texts": pa.string(), "images": pa.binary()}
LARGEST_PICTURE = 1 << 18
"""Bytes; one of 112 pixels has a few thousand."""


def write_shown(
    folder: Path, what: What, views: Mapping[str, Sequence[str] | Sequence[bytes | None]]
) -> None:
    """Write what is shown of all rows, by name of the view; pictures are WebP files."""
    path = shown_path(folder, what)
    path.parent.mkdir(exist_ok=True)
    columns = {view: pa.array(values, TYPES[what]) for view, values in views.items()}
    pq.write_table(pa.table(columns), path, compression="zstd")


def read_shown(folder: Path, what: What, num_rows: int) -> dict[str, list[str] | list[bytes]]:
    """The same; empty where the bundle shows nothing.

    Raises:
        DamagedError: it is of other rows, or of another type.
    """
    path = shown_path(folder, what)
    if not path.exists():
        return {}
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} is no table: {error}. {CURE}") from error
    kinds = {column.type for column in table.columns}
    if table.num_rows != num_rows or kinds != {TYPES[what]}:
        raise DamagedError(
            f"{path} holds {table.num_rows} rows of {', '.join(map(str, kinds))}, expected "
            f"{num_rows} of {TYPES[what]}. {CURE}"
        )
    return {name: table[name].to_pylist() for name in table.column_names}


def is_picture(content: bytes) -> bool:
    """Whether bytes are those of a small WebP file."""
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP" and len(content) <= LARGEST_PICTURE


def shown_path(folder: Path, what: What) -> Path:
    return folder / SHOWN / f"{what}.parquet"
