"""A figure on disk: PDF, PNG, and a CSV of exactly the points that it shows."""

import io
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from platorep.files import write_bytes

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
    contents = []  # all of it, before the first of an earlier run's files is replaced
    for ending, metadata in _METADATA.items():
        drawn = io.BytesIO()  # Pillow does not say why a file cannot be written
        figure.savefig(drawn, format=ending, dpi=300, metadata=metadata)
        contents.append(drawn.getvalue())
    contents.append(points.to_csv(index=False, lineterminator="\n").encode())
    paths = files_of(stem)
    for path, content in zip(paths, contents, strict=True):
        write_bytes(path, content)
    return paths


def files_of(stem: Path) -> tuple[Path, ...]:
    """Where a figure lies."""
    return tuple(stem.with_name(f"{stem.name}.{ending}") for ending in (*_METADATA, "csv"))
