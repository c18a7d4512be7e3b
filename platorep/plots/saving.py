"""A figure on disk: PDF, PNG, and a CSV of exactly the points that it shows."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from platorep.errors import PlatorepError
from platorep.files import storage_errors, write_bytes, write_text

# Dates and versions would make two runs of one experiment differ.
_METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def write_figure(stem: Path, figure: Figure, points: pd.DataFrame) -> tuple[Path, ...]:
    """Write `stem`.pdf, .png (300 dpi) and .csv; the same figure gives the same bytes.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    written = []
    for ending, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{ending}")
        drawn = io.BytesIO()  # Pillow does not say why a file cannot be written
        figure.savefig(drawn, format=ending, dpi=300, metadata=metadata)
        write_bytes(path, drawn.getvalue())
        written.append(path)
    table = stem.with_name(f"{stem.name}.csv")
    write_text(table, points.to_csv(index=False, lineterminator="\n"))
    return (*written, table)


@contextmanager
def no_old_figure(stem: Path) -> Iterator[None]:
    """If the block cannot draw it, an earlier run's figure goes: it would pass for this one's."""
    try:
        yield
    except PlatorepError:
        for ending in (*_METADATA, "csv"):
            path = stem.with_name(f"{stem.name}.{ending}")
            with storage_errors(path):
                path.unlink(missing_ok=True)
        raise
