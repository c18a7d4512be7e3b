"""Looking after the feature cache: what is there, what is damaged, what can go."""

import fnmatch
import shutil
from pathlib import Path

import pandas as pd

from platorep.errors import ConfigError, PlatorepError
from platorep.features.cells import Cell, all_cells
from platorep.files import ByteLocks, storage_errors


def cell_table(root: Path) -> pd.DataFrame:
    """One row per cell: what it holds and how much room it takes."""
    return pd.DataFrame(
        [_describe(cell) for cell in all_cells(root)],
        columns=["dataset", "model", "key", "rows", "layers", "dtype", "mb", "state"],
    )


def damaged_files(root: Path) -> pd.DataFrame:
    """One row per file that cannot be trusted, and why. Reads everything."""
    found = [
        {"file": str(path), "problem": problem}
        for cell in all_cells(root)
        for path, problem in _damage(cell)
    ]
    return pd.DataFrame(found, columns=["file", "problem"])


def clean(root: Path, *, broken: bool, partial: bool, model: str | None) -> pd.DataFrame:
    """Remove damaged files, what killed runs left behind, or every cell of some models.

    Cells in which another process is at work are left alone.

    Raises:
        ConfigError: nothing was asked for.
    """
    if not (broken or partial or model):
        raise ConfigError("nothing to clean was named: give --broken, --partial or --model GLOB.")
    removed: list[Path] = []
    for cell in all_cells(root):
        with ByteLocks(cell.folder / ".lock") as locks:
            if not all(locks.acquire(index, wait=False) for index in range(_num_locks(cell))):
                continue
            paths = sorted(cell.folder.glob(".*.partial")) if partial else []
            paths += [path for path, _ in _damage(cell)] if broken else []
            if model is not None and fnmatch.fnmatch(cell.folder.parent.name, model):
                paths = [cell.folder]
            for path in paths:
                with storage_errors(path):
                    _remove(path)
            removed += paths
    return pd.DataFrame({"removed": [str(path) for path in removed]})


def _describe(cell: Cell) -> dict[str, object]:
    dataset, model, key = cell.folder.parts[-3:]
    row: dict[str, object] = {"dataset": dataset, "model": model, "key": key}
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


def _damage(cell: Cell) -> list[tuple[Path, str]]:
    """Files of the cell that are not what they should be. A missing shard is no damage."""
    try:
        cell.rows()
    except PlatorepError as error:  # without its description nothing in the cell can be read
        return [(path, str(error)) for path in sorted(cell.folder.glob("[!.]*"))]
    found = []
    for index in set(range(cell.num_shards)) - set(cell.missing_shards()):
        try:
            cell.read_shard(index)
        except PlatorepError as error:
            found.append((cell.shard_path(index), str(error)))
    return sorted(found)


def _num_locks(cell: Cell) -> int:
    try:
        return cell.num_shards
    except PlatorepError:
        return 1


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
