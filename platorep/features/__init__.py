"""The feature cache: cells and their upkeep."""

from platorep.features.cells import (
    FORMAT_VERSION,
    Cell,
    CellKey,
    Rows,
    all_cells,
    cell_of,
    num_shards,
)
from platorep.features.upkeep import cell_table, clean, damaged_files
from platorep.files import cache_root

__all__ = [
    "FORMAT_VERSION",
    "Cell",
    "CellKey",
    "Rows",
    "all_cells",
    "cache_root",
    "cell_of",
    "cell_table",
    "clean",
    "damaged_files",
    "num_shards",
]
