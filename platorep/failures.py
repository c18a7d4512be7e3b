"""What a run could not do: kept and told, so that the rest can go on."""

import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platorep.errors import FailedCellsError, IntegrityError, PlatorepError, StorageError
from platorep.files import refusal, storage_errors, write_text
from platorep.reporting import Reporter


class Errors:
    """What could not be done, so that the rest can go on."""

    def __init__(self, *, keep_going: bool = True) -> None:
        self._keep_going = keep_going
        self.errors: dict[str, Exception] = {}

    @contextmanager
    def catch(self, *cells: str) -> Iterator[None]:
        """Note the block's error as a failure of `cells` and go on; a full disk stops all."""
        try:
            yield
        except StorageError:
            raise
        except Exception as unknown:
            error = refusal(unknown) or unknown
            if not self._keep_going:
                raise error from (None if error is unknown else unknown)
            for cell in cells:
                self.errors[cell] = error
                self._tell(cell, error)

    def _tell(self, cell: str, error: Exception) -> None:
        """Beyond keeping it."""

    @property
    def all(self) -> list[Exception]:
        return list(self.errors.values())

    def raise_if_all(self, total: int) -> None:
        """If nothing at all was done, the first error is the run's error."""
        if self.errors and len(self.errors) >= total:
            raise next(iter(self.errors.values()))


class Failures(Errors):
    """What one stage could not do, told at once and written to `failures.jsonl`."""

    def __init__(self, stage: str, file: Path, report: Reporter, keep_going: bool) -> None:
        super().__init__(keep_going=keep_going)
        self._stage = stage
        self._path = file
        self._report = report
        if self._path.exists():  # what failed in an earlier run is tried again now
            with storage_errors(self._path):
                lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
            kept = [line for line in lines if _stage_of(line) not in (stage, None)]
            write_text(self._path, "".join(f"{line}\n" for line in kept))

    def _tell(self, cell: str, error: Exception) -> None:
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
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._report.warn(f"{self._stage} {cell} failed: {type(error).__name__}: {error}")


def earlier_failure(file: Path, stage: str, cell: str) -> tuple[str, str] | None:
    """The error of a cell that `stage` could not do when it last tried: its class, its message.

    None: it did not fail.
    """
    lines = file.read_text(encoding="utf-8") if file.exists() else ""
    for line in lines.split("\n"):  # no other line end: JSON leaves some as they are
        if _stage_of(line) == stage and (failed := json.loads(line))["cell"] == cell:
            return failed["error"], failed["message"]
    return None


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
    failed = "1 cell" if len(errors) == 1 else f"{len(errors)} cells"
    ending = f"the rest is done; {path} says why. The same command tries them again."
    damaged = [error for error in errors if isinstance(error, IntegrityError)]
    if damaged:
        return IntegrityError(f"{damaged[0]}\n{failed} failed, {ending}")
    return FailedCellsError(f"{failed} failed, {ending}")
