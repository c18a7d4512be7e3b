"""The folder of an experiment's results: every path in it, and its tidy tables."""

import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from platorep.errors import (
    AbsentError,
    FailedCellsError,
    IntegrityError,
    PlatorepError,
    StorageError,
)
from platorep.files import ByteLocks, atomic_path, storage_errors, write_json, write_text
from platorep.reporting import Reporter


@dataclass(frozen=True)
class Results:
    """Knows all paths of a run. The stages meet here and in the feature cache, nowhere else."""

    folder: Path

    @property
    def cells(self) -> Path:
        return self.folder / "cells.json"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.parquet"

    @property
    def run(self) -> Path:
        return self.folder / "run.json"

    @property
    def failures(self) -> Path:
        return self.folder / "failures.jsonl"

    @property
    def performance(self) -> Path:
        return self.folder / "performance.csv"

    @property
    def models(self) -> Path:
        return self.folder / "models.csv"

    @property
    def scores(self) -> Path:
        return self.folder / "scores.parquet"

    @property
    def best(self) -> Path:
        return self.folder / "best.csv"

    @property
    def layers(self) -> Path:
        return self.folder / "layers.csv"

    @property
    def gallery(self) -> Path:
        return self.folder / "gallery.csv"

    @property
    def parts(self) -> Path:
        """Finished pieces of tables, so that a killed run goes on where it was."""
        return self.folder / "parts"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    def read_json(self, path: Path, before: str) -> dict[str, Any]:
        """A JSON file that the stage called `before` writes."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"a {type(content).__name__}, expected an object")
        except FileNotFoundError as error:
            raise _absent(path, before) from error
        except ValueError as error:
            raise IntegrityError(
                f"{path} is not JSON as expected: {error}. Delete it. {_run(before)}"
            ) from error
        return content

    def read_table(self, path: Path, before: str) -> pd.DataFrame:
        """A CSV or parquet file that the stage called `before` writes."""
        try:
            if path.suffix == ".parquet":
                return pd.read_parquet(path)
            columns = pd.read_csv(path, nrows=0).columns
            holes = {name: [""] for name in columns if name not in _TEXT_COLUMNS}
            names = _TEXT_COLUMNS | _NAMES_OR_HOLES
            return pd.read_csv(path, dtype=names, keep_default_na=False, na_values=holes)
        except FileNotFoundError as error:
            raise _absent(path, before) from error
        except (OSError, ValueError) as error:
            raise IntegrityError(
                f"{path} is not a table: {error}. Delete it. {_run(before)}"
            ) from error

    def update_json(self, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a JSON file that several processes may change at once."""
        with ByteLocks(self.folder / ".lock") as locks:
            locks.acquire(0, wait=True)
            content = self.read_json(path, "extract") if path.exists() else {}
            change(content)
            write_json(path, content)

    def failure(self, stage: str, cell: str) -> tuple[str, str] | None:
        """The error of a cell that `stage` could not do when it last tried: its class, its message.

        None: it did not fail.
        """
        lines = self.failures.read_text(encoding="utf-8") if self.failures.exists() else ""
        for line in lines.splitlines():
            if _stage_of(line) == stage and (failed := json.loads(line))["cell"] == cell:
                return failed["error"], failed["message"]
        return None

    def record(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Put a stage's facts into run.json."""
        self.update_json(self.run, lambda run: run.update({stage: dict(facts)}))


class Failures:
    """What one stage could not do: written to `failures.jsonl`, so that the rest can go on."""

    def __init__(self, stage: str, results: Results, report: Reporter, keep_going: bool) -> None:
        self._stage = stage
        self._path = results.failures
        self._report = report
        self._keep_going = keep_going
        self.errors: dict[str, Exception] = {}
        if self._path.exists():  # what failed in an earlier run is tried again now
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _stage_of(line) not in (stage, None)]
            write_text(self._path, "".join(f"{line}\n" for line in kept))

    @contextmanager
    def catch(self, cell: str) -> Iterator[None]:
        """Note the block's error as a failure of `cell` and go on; a full disk stops everything."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            if not self._keep_going:
                raise
            self.errors[cell] = error
            expected = isinstance(error, PlatorepError)
            line = {
                "stage": self._stage,
                "cell": cell,
                "error": type(error).__name__,
                "message": str(error),
                "traceback": None if expected else traceback.format_exc(),
            }
            with storage_errors(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._report.warn(f"{self._stage} {cell} failed: {type(error).__name__}: {error}")

    @property
    def all(self) -> list[Exception]:
        return list(self.errors.values())

    def raise_if_all(self, total: int) -> None:
        """If nothing at all was done, the first error is the run's error."""
        if self.errors and len(self.errors) >= total:
            raise next(iter(self.errors.values()))


def _stage_of(line: str) -> str | None:
    """The stage that wrote a line of `failures.jsonl`; None: it was cut off in the middle."""
    try:
        return str(json.loads(line)["stage"])
    except (ValueError, KeyError, TypeError):
        return None


def failed_cells(errors: Sequence[Exception], path: Path) -> PlatorepError:
    """What a command ends with that did the rest. Damage (5) is told before absence (3).

    Args:
        path: Where the failures are written down.
    """
    ending = f"the rest is done; {path} says why. The same command tries them again."
    damaged = [error for error in errors if isinstance(error, IntegrityError)]
    if damaged:
        return IntegrityError(f"{damaged[0]}\n{len(errors)} cells failed, {ending}")
    return FailedCellsError(f"{len(errors)} cells failed, {ending}")


# a model may be called 7 or NA; a table must not turn that into a number or a hole
_TEXT_COLUMNS: dict[str, Any] = dict.fromkeys(
    (
        *("dataset", "metric", "measure", "better", "control", "reason", "source"),
        *("x", "y", "x_family", "y_family", "x_modality", "y_modality"),
        *("model", "label", "family", "modality", "variant", "k_rule", "layer_name"),
    ),
    str,
)
_NAMES_OR_HOLES: dict[str, Any] = {"random_of": str}


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    with atomic_path(path) as partial:
        frame.to_parquet(partial, index=False)


def _absent(path: Path, before: str) -> AbsentError:
    return AbsentError(f"no {path.name} in {path.parent}. {_run(before)}")


def _run(stage: str) -> str:
    return f"Run `platorep {stage}` with this experiment first."
