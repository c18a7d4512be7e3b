"""The rows of an experiment: `rows.parquet`, read no further than needed, and what it is known by.

`rows.json` has the hashes of all blocks of every column, so that comparing rows with a cell's, or
reading some of them, never reads the rest. Results of older versions have none, and are read whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from platorep.errors import AbsentError, DamagedError
from platorep.identities import (
    BLOCK_ROWS,
    Blocks,
    Identity,
    RowIdentities,
    RowsFile,
    identify,
    write_rows,
)
from platorep.results import Results
from platorep.rows import Strings

AGAIN = "Run `platorep extract` with this experiment again: it writes the file anew."


@dataclass(frozen=True, kw_only=True)
class ExperimentRows:
    """Ids and hashes of all rows, as they were extracted."""

    path: Path
    num_rows: int
    identities: Mapping[str, Identity]
    """By column of hashes; "": the ids alone."""

    @property
    def columns(self) -> list[str]:
        """Of hashes."""
        return [name for name in self.identities if name]

    def read(self, columns: Iterable[str] = (), stop: int | None = None) -> pd.DataFrame:
        """The column `id` and some columns of hashes, verified.

        Args:
            stop: The first so many rows alone; None: all.

        Raises:
            DamagedError: the file is not what was written.
        """
        rows = range(self.num_rows if stop is None else min(stop, self.num_rows))
        return self.at(columns, rows)

    def ids(self) -> Strings:
        """Of all rows. Raises: as `read`."""
        return self._columns((), range(self.num_rows))["id"]

    def at(self, columns: Iterable[str], rows: range) -> pd.DataFrame:
        """Such rows. Raises: as `read`."""
        found = self._columns(columns, rows)
        table = pa.table({name: column.arrow for name, column in found.items()})
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def _columns(self, columns: Iterable[str], rows: range) -> dict[str, Strings]:
        blocks: dict[str, Blocks] = {"id": self.identities[""].ids}
        blocks |= {name: self.identities[name].hashes for name in columns}
        try:
            return RowsFile(self.path).read(blocks, rows)
        except (OSError, ValueError) as error:
            raise DamagedError(f"{self.path} is damaged: {error}. Delete it. {AGAIN}") from error


def open_rows(results: Results) -> ExperimentRows:
    """The rows that `extract` has written.

    Raises:
        AbsentError: there are none.
        DamagedError: they, or what they are known by, are not what was written.
    """
    try:
        about = results.read_json(results.rows_known, "extract")
    except AbsentError:
        return _of_older_version(results)
    if about["block_rows"] != BLOCK_ROWS:
        return _of_older_version(results)
    if not results.rows.is_file():
        raise AbsentError(
            f"no {results.rows.name} in {results.folder}. Run `platorep extract` with this "
            "experiment first."
        )
    try:
        found = RowsFile(results.rows).about()
    except (OSError, ValueError) as error:
        raise DamagedError(f"{results.rows} is damaged: {error}. {AGAIN}") from error
    if found != (about["fingerprint"], about["num_rows"]):
        raise DamagedError(f"{results.rows} holds other rows than {results.rows_known}. {AGAIN}")
    columns: dict[str, dict[str, Any]] = about["columns"]
    identities = {
        name: Identity(
            fingerprint=of["fingerprint"], ids=tuple(about["id"]), hashes=tuple(of["blocks"])
        )
        for name, of in columns.items()
    }
    return ExperimentRows(path=results.rows, num_rows=about["num_rows"], identities=identities)


def _of_older_version(results: Results) -> ExperimentRows:
    table = results.read_table(results.rows, "extract")
    columns: dict[str, Sequence[str]] = {"": Strings.repeated("", len(table))}
    columns |= {str(name): list(table[name]) for name in table if name != "id"}
    identities = identify(list(table["id"]), columns)
    return ExperimentRows(path=results.rows, num_rows=len(table), identities=identities)


def record_rows(results: Results, rows: Mapping[str, RowIdentities], fingerprint: str) -> None:
    """Write the rows of a dataset, unless they are there.

    Args:
        rows: By column of hashes; "": the ids alone.
        fingerprint: The dataset's.
    """
    identities = {name: of.identity for name, of in rows.items()}
    try:
        there = open_rows(results)
        if there.identities == identities and results.rows_known.exists():
            return
    except (AbsentError, DamagedError):
        pass
    ids = rows[""].ids
    columns = {"id": ids} | {name: of.hashes for name, of in rows.items() if name}
    results.replace_table(
        results.rows,
        lambda partial: write_rows(partial, columns, fingerprint),
        {"rows": fingerprint},
    )
    about = {
        "block_rows": BLOCK_ROWS,
        "fingerprint": fingerprint,
        "num_rows": len(ids),
        "id": identities[""].ids,
        "columns": {
            name: {"fingerprint": of.fingerprint, "blocks": of.hashes}
            for name, of in identities.items()
        },
    }
    results.write_json(results.rows_known, about)
