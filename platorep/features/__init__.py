"""The feature cache: cells, their upkeep, and features that came from elsewhere."""

from platorep.features.cells import (
    FORMAT_VERSION,
    Cell,
    CellKey,
    Rows,
    all_cells,
    cell_of,
    num_shards,
)
from platorep.features.released import read_released
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
    "read_released",
]
