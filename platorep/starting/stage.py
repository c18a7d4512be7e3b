"""`platorep init`: look at the data, choose models, write the experiment."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from platorep.config import load_config
from platorep.errors import ConfigError
from platorep.files import atomic_path, storage_errors
from platorep.starting.models import fitting, named
from platorep.starting.seeing import Seen, look, table_rows
from platorep.starting.written import experiment_text


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for."""

    data: str
    models: Sequence[str] = ()
    """Empty: known ones that fit the machine."""
    output: Path | None = None
    """Absent: called like the data, in the working folder."""
    force: bool = False
    """Whether a file may be replaced."""
    device: str = "auto"
    offline: bool = False


def start(wanted: Wanted) -> tuple[Path, pd.DataFrame]:
    """Write a first experiment; its file, and a row per column of the data.

    Raises:
        ConfigError: the file is there already, or a model is none.
        AbsentError, DataError: of the data.
    """
    output = wanted.output or Path(f"{_name_of(wanted.data)}.yaml")
    if output.exists() and not wanted.force:
        raise ConfigError(
            f"{output} is there already. Name another file (--output), or replace it (--force)."
        )
    folder = output.absolute().parent
    seen = look(wanted.data, offline=wanted.offline)
    if wanted.models:
        drafts = named(wanted.models, seen.kinds, folder, offline=wanted.offline)
    else:
        drafts = fitting(seen.kinds, seen.num_rows, _text_bytes(seen), wanted.device)
    if not drafts:
        raise ConfigError(
            f"no network is known here that reads {' or '.join(seen.kinds)}. Name models of your "
            f"own: `platorep init {wanted.data} MODEL...` (features as .npz are models, too)."
        )
    name = _name_of(str(output.with_suffix("")))  # so that two files write into two folders
    text = experiment_text(name, _command(wanted), seen.beside(folder), drafts)
    with storage_errors(output), atomic_path(output) as partial:
        partial.write_text(text, encoding="utf-8")
        load_config(partial)  # as `plan` will read it
    return output, pd.DataFrame(table_rows(seen))


def _name_of(data: str) -> str:
    """What the experiment is called: letters, digits, dots, dashes."""
    path = Path(data).absolute() if Path(data).exists() else Path(data)
    stem = path.stem if path.suffix in (".csv", ".jsonl", ".parquet", ".tar") else path.name
    if stem in ("captions", "metadata"):
        stem = path.parent.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return name or "mine"


def _text_bytes(seen: Seen) -> int:
    """Of a caption: six bytes to a word of English, its space included."""
    words = [column.num_words for column in seen.columns if column.view and column.kind == "text"]
    return int(6 * max(words, default=0))


def _command(wanted: Wanted) -> str:
    return shlex.join(["platorep", "init", wanted.data, *wanted.models])
