"""Looking after the cache: what is there, what is damaged, what can go."""

import fnmatch
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from platorep.data.table import ABOUT, refuse_damaged_table
from platorep.errors import AbsentError, ConfigError, DamagedError, PlatorepError
from platorep.features.cells import CURE, Cell, all_cells
from platorep.files import ByteLocks, read_sealed, remove, storage_errors
from platorep.toyworld.checkpoints import is_whole
from platorep.toyworld.folder import refuse_other_pairs

Trouble = tuple[Path, PlatorepError]
"""A file or folder, and why it cannot be used."""


def cell_table(root: Path) -> pd.DataFrame:
    """One row per cell: what it holds and how much room it takes."""
    return pd.DataFrame(
        [_describe(cell) for cell in all_cells(root)],
        columns=["dataset", "model", "key", "rows", "layers", "dtype", "mb", "state"],
    )


def damaged_files(root: Path) -> pd.DataFrame:
    """One row per file of the cache that cannot be used, and why. Reads everything."""
    troubles = [trouble for cell in all_cells(root) for trouble in _of_cell(cell)]
    troubles += [trouble for path in _beside_cells(root) for trouble in _of_path(path)]
    rows = [{"file": str(path), "problem": str(error)} for path, error in troubles]
    return pd.DataFrame(rows, columns=["file", "problem"])


def clean(root: Path, *, broken: bool, partial: bool, model: str | None) -> pd.DataFrame:
    """Remove damaged files, what killed runs left behind, or every cell of some models.

    What another process is at work on is left alone, and so is what is whole but cannot be used
    here: a file without permission to read, a format of the future.

    Raises:
        ConfigError: nothing was asked for.
        StorageError: a file cannot be removed.
    """
    if not (broken or partial or model):
        raise ConfigError("nothing to clean was named: give --broken, --partial or --model GLOB.")
    gone: list[Path] = []
    for folder in sorted((root / "features").glob("*/*/*/")):
        cell = Cell(folder)
        with ByteLocks(folder / ".lock") as locks:
            if not locks.acquire_all():
                continue
            if partial:
                gone += removed(folder.glob(".*.partial"))
            if broken:
                gone += removed(_damaged(_of_cell(cell)))
            if model is not None and fnmatch.fnmatch(folder.parent.name, model):
                cell.remove()
                gone += removed([folder])
    for path in _beside_cells(root):
        with ByteLocks(_lock_of(path)) as locks:
            if broken and locks.acquire_all():
                gone += removed(_damaged(_of_path(path)))
    for left in _left_beside_cells(root) if partial else ():
        with ByteLocks(_lock_of(left)) as locks:
            if locks.acquire_all():
                gone += removed([left])
    return pd.DataFrame({"removed": [str(path) for path in gone]})


def _describe(cell: Cell) -> dict[str, object]:
    dataset, model, key = cell.folder.parts[-3:]
    row: dict[str, object] = {"dataset": dataset, "model": model, "key": key}
    if not cell.exists():
        return row | {"mb": round(cell.size_bytes() / 1e6, 1), "state": "orphan"}
    try:
        return row | {
            "rows": cell.num_rows,
            "layers": len(cell.layers),
            "dtype": cell.meta["key"]["compute_dtype"],
            "mb": round(cell.size_bytes() / 1e6, 1),
            "state": f"{cell.num_shards - len(cell.missing_shards())}/{cell.num_shards} shards",
        }
    except PlatorepError:
        return row | {"state": "damaged"}


def _of_cell(cell: Cell) -> list[Trouble]:
    """Files of the cell that are not what they should be. A missing shard is no trouble."""
    try:
        known = {cell.shard_path(index): index for index in range(cell.num_shards)}
    except AbsentError:
        why = "is an orphan: there is no meta.json to say what it holds"
        return [(path, DamagedError(f"{path} {why}. {CURE}")) for path in cell.files()]
    except DamagedError as error:  # without its description nothing in the cell can be read
        return [(path, error) for path in cell.files()]
    except PlatorepError as error:
        return [(cell.folder, error)]
    troubles: list[Trouble] = []
    for path in sorted({*cell.files(), cell.rows_path}):
        try:
            if path == cell.rows_path:
                cell.rows()
            elif path in known:
                cell.read_shard(known[path])
            elif path.name != "meta.json":
                raise DamagedError(f"{path} is no part of the cell. {CURE}")
        except PlatorepError as error:
            troubles.append((path, error))
    return troubles


def _beside_cells(root: Path) -> list[Path]:
    """Measurements; what is known of models; tables of rows; checkpoints, and seals of pairs, of
    the toy world."""
    toyworld = root / "toyworld"
    return [
        *sorted(path.parent for path in (root / "rows").glob(f"*/{ABOUT}")),
        *sorted((root / "measurements").glob("[!.]*.json")),
        *sorted((root / "models").glob("[!.]*.json")),
        *sorted(toyworld.glob("[!.]*/step*")),
        *sorted(toyworld.glob("pairs-*.json")),
    ]


def _of_path(path: Path) -> list[Trouble]:
    try:
        if path.parent.name in ("measurements", "models"):
            read_sealed(path, of=path.stem, cure="The same command makes it again.")
        elif path.parent.name == "rows":
            refuse_damaged_table(path)
        elif path.name.startswith("step"):
            is_whole(path)
        else:
            refuse_other_pairs(path.with_suffix(""))
    except PlatorepError as error:
        if path.name.startswith("pairs-"):  # the seal goes last: without it nothing is checked
            return [(path.with_suffix(""), error), (path, error)]
        return [(path, error)]
    return []


def _left_beside_cells(root: Path) -> list[Path]:
    """What killed processes left under other names."""
    folders = (
        *("bundles", "measurements", "models", "manifests", "rows/*", "tables"),
        *("toyworld", "toyworld/*"),
    )
    patterns = [*(f"{folder}/.*.partial" for folder in folders), "rows/*/parts"]
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def _lock_of(path: Path) -> Path:
    """The lock that whoever writes a file or folder beside the cells holds."""
    if path.parent.name in ("bundles", "measurements", "models", "rows", "toyworld"):
        return path.parent / f"{path.name.lstrip('.').partition('.')[0]}.lock"
    return path.parent.with_suffix(".lock")


def _damaged(troubles: Sequence[Trouble]) -> list[Path]:
    return [path for path, error in troubles if isinstance(error, DamagedError)]


def removed(paths: Iterable[Path]) -> list[Path]:
    """Those that were there, gone now."""
    gone: list[Path] = []
    for path in paths:
        with storage_errors(path):
            if os.path.lexists(path):
                remove(path)
                gone.append(path)
    return gone
