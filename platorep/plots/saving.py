"""A figure on disk: PDF, PNG, and a CSV of exactly the points that it shows."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from platorep.files import atomic_path, write_text

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
        with atomic_path(path) as partial:
            figure.savefig(partial, format=ending, dpi=300, metadata=metadata)
        written.append(path)
    table = stem.with_name(f"{stem.name}.csv")
    write_text(table, points.to_csv(index=False, lineterminator="\n"))
    return (*written, table)
