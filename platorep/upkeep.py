"""Looking after folders of results: what is there and is not what was written."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from platorep.errors import AbsentError, DamagedError, PlatorepError
from platorep.features.upkeep import Trouble, removed
from platorep.files import ByteLocks, read_sealed
from platorep.results import Results
from platorep.tensors import read_metadata, read_tensors

AGAIN = "The same command makes it again."


def default_folders() -> list[Path]:
    """The folders of results below the current folder, where the commands put them."""
    return sorted(path.parent for path in Path("results").glob("*/run.json"))


def damaged_results(folders: Iterable[Path]) -> pd.DataFrame:
    """One row per file of these folders that is not what was written, and why.

    A CSV that was edited is among them.
    """
    rows = [
        {"file": str(path), "problem": str(error)}
        for folder in folders
        for path, error in _troubles(Results(folder))
    ]
    return pd.DataFrame(rows, columns=["file", "problem"])


def clean_results(folders: Iterable[Path], *, broken: bool, partial: bool) -> pd.DataFrame:
    """Remove what is damaged, or what killed runs left; an edited CSV stays.

    A folder in which a run is at work is left alone.
    """
    gone: list[Path] = []
    for folder in folders:
        with ByteLocks(folder / ".run.lock") as locks:
            if not locks.acquire_all():
                continue
            if broken:
                troubles = _troubles(Results(folder))
                gone += removed(path for path, e in troubles if isinstance(e, DamagedError))
            if partial:
                gone += removed(sorted(folder.rglob(".*.partial")))
    return pd.DataFrame({"removed": [str(path) for path in gone]})


def _troubles(results: Results) -> Iterator[Trouble]:
    for path in (results.run, results.cells, results.rows_known, results.checksums):
        try:
            results.read_json(path, "run")
        except AbsentError:
            continue
        except PlatorepError as error:
            yield path, error
    for path in sorted(results.folder.glob("[!.]*")):
        if path.suffix not in (".csv", ".parquet"):
            continue
        try:
            results.read_table(path, "run")
        except PlatorepError as error:
            yield path, error
    for path in sorted(results.parts.glob("[!.]*")):
        yield from _of_piece(path)


def _of_piece(path: Path) -> Sequence[Trouble]:
    name = path.stem.rpartition("-")[2]
    try:
        if path.suffix == ".json":
            read_sealed(path, of=name, cure=AGAIN)
        elif path.suffix == ".safetensors" and read_metadata(path, AGAIN):  # 0.1.0 wrote none
            read_tensors(path, {"of": name}, AGAIN)
    except PlatorepError as error:
        return [(path, error)]
    return []
