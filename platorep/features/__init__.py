"""The feature cache: cells. Their upkeep is `platorep.features.upkeep`."""

from platorep.features.cells import (
    FORMAT_VERSION,
    Cell,
    CellKey,
    all_cells,
    cell_of,
    num_shards,
)
from platorep.identities import RowIdentities

__all__ = [
    "FORMAT_VERSION",
    "Cell",
    "CellKey",
    "RowIdentities",
    "all_cells",
    "cell_of",
    "num_shards",
]
