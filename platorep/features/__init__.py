"""The feature cache: cells. Their upkeep is `platorep.features.upkeep`."""

from platorep.features.cells import (
    FORMAT_VERSION,
    Cell,
    CellKey,
    RowIdentities,
    all_cells,
    cell_of,
    num_shards,
)

__all__ = [
    "FORMAT_VERSION",
    "Cell",
    "CellKey",
    "RowIdentities",
    "all_cells",
    "cell_of",
    "num_shards",
]
