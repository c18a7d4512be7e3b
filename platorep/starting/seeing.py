"""What data hold, before any experiment says it: columns, kinds, and views to make of them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platorep.config import DatasetConfig
from platorep.data.class_folders import find_class_folders
from platorep.data.folder import CAPTION_FILES
from platorep.data.load import LOCATORS, source_format
from platorep.data.peek import FirstRows, first_rows, kind_of_endings
from platorep.data.source import parse_json
from platorep.errors import AbsentError, ConfigError, DataError, listed, short, shown
from platorep.files import expanded
from platorep.kinds import KINDS, Reference
from platorep.parameters.views import KindName
from platorep.reporting import printable

LEAST_WORDS = 1.5
"""Of a caption, on average; what has fewer is a label."""
SAMPLES: tuple[KindName, ...] = ("image", "audio", "video")
CAPTIONS = re.compile(r"(caption|text|description|sentence)", re.I)
"""What columns of captions are usually called."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column, and the view that it becomes."""

    name: str
    kind: KindName | None
    """None: nothing that a view can be."""
    what: str
    """The kind, or why it is none."""
    example: str
    num_words: float = 0.0
    """Of texts, on average."""
    several: bool = False
    """Whether a cell holds a list of captions."""
    view: str = ""
    """What the view is called; empty: none is made of it."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What `init` knows of the data."""

    source: str
    dataset: Mapping[str, Any]
    """Keys and values of the experiment's `dataset`, without `source`."""
    columns: Sequence[Column]
    num_rows: int | None
    """None: not counted, since that would fetch the whole of it."""

    @property
    def kinds(self) -> tuple[KindName, ...]:
        """Of the views, each once."""
        return tuple(dict.fromkeys(c.kind for c in self.columns if c.view and c.kind))

    def beside(self, folder: Path) -> "Seen":
        """The same, with a local source as a file in this folder must say it."""
        path = expanded(self.source)
        pattern_at = path.parent if not path.exists() else path
        if path.is_absolute() or not pattern_at.exists() or self.num_rows is None:
            return self
        found = os.path.relpath(path, folder)
        return replace(self, source=found if found.startswith(".") else f"./{found}")

    @property
    def further_texts(self) -> list[Column]:
        """Captions of which no view is made yet."""
        texts = [c for c in self.columns if c.kind == "text" and not c.view]
        return [column for column in texts if column.num_words >= LEAST_WORDS]


def look(name: str, *, offline: bool) -> Seen:
    """Look at a folder, a file, a pattern of files, or a dataset of the hub.

    Raises:
        AbsentError: it is not there, or holds nothing that a view can be.
        ConfigError: it is a file of another kind, or it is not clear which file is meant.
        DataError: it cannot be read, or names files that are not there.
    """
    source, settings = _found(name)
    config = DatasetConfig.model_validate({"source": source} | settings)
    kind = config.format or source_format(config)
    rows = first_rows(config, kind, offline=offline)
    columns = _with_views([_column(rows, column) for column in rows.columns], kind)
    _refuse_no_files(source, kind, rows, columns)
    if not any(column.view for column in columns):
        raise DataError(
            f"{source} has nothing that a view can be: no images, texts, sounds, films or arrays. "
            f"Its columns: {listed(f'{c.name} ({c.what})' for c in columns)}."
        )
    views = {c.view: _view(c) for c in columns if c.view}
    dataset = {key: value for key, value in settings.items() if key != "views"} | {"views": views}
    config = DatasetConfig.model_validate({"source": source} | dataset)
    located = LOCATORS[kind](config, offline, False)
    opened = located.open()
    _try_row(config, opened.row(0))
    num_rows = opened.count() if located.commit is None else None
    return Seen(source=source, dataset=dataset, columns=columns, num_rows=num_rows)


def _found(name: str) -> tuple[str, dict[str, Any]]:
    """The source that is meant, and what more must be said for it to be found."""
    path = Path(name)
    if path.is_file() and path.suffix not in (".csv", ".jsonl", ".parquet", ".tar"):
        raise ConfigError(
            f"{name} is no file of rows: expected a folder, *.csv, *.jsonl, *.parquet, *.tar, or "
            "the name of a hub dataset. Features or weights are models: `platorep init DATA "
            f"{name}`."
        )
    if path.suffix in (".csv", ".jsonl") and path.name in CAPTION_FILES:
        return str(path.parent), {}
    if not path.is_dir():
        if "/" not in name and not path.suffix:
            raise AbsentError(
                f"there is no folder or file {name}, and datasets of the hub are called OWNER/NAME."
            )
        return name, {}
    return _in_folder(path)


def _in_folder(folder: Path) -> tuple[str, dict[str, Any]]:
    if source_format(DatasetConfig(source=str(folder))) == "folder":
        return str(folder), {}
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if not inside:
        raise AbsentError(
            f"{folder} is empty. Expected images (sounds, films) with captions.csv, a folder of "
            "them per class, *.parquet or *.tar."
        )
    tables = [path for path in inside if path.suffix in (".csv", ".jsonl")]
    if len(tables) > 1:
        raise ConfigError(
            f"{folder} has several tables: {listed(path.name for path in tables)}. Say which one: "
            f"`platorep init {tables[0]}`."
        )
    if tables:
        return str(tables[0]), {}
    for kind in SAMPLES:
        settings = {"format": "class_folders", "views": {kind: {}, "text": {}}}
        config = DatasetConfig.model_validate({"source": str(folder)} | settings)
        if find_class_folders(config):
            return str(folder), settings
    if not any(_is_data(path) for path in folder.rglob("*")):
        raise AbsentError(
            f"{folder} has no image, sound, film or table. It holds: "
            f"{listed(path.name for path in inside)}."
        )
    return str(folder), {}


def _is_data(path: Path) -> bool:
    ending = path.suffix.lower().removeprefix(".")
    return ending in ("parquet", "tar", "arrow") or kind_of_endings(ending) in SAMPLES


def _column(rows: FirstRows, name: str) -> Column:
    values = rows.columns[name]
    if not values or not name:  # a view cannot say that it is of a column without a name
        what = "without a name" if values else "empty"
        return Column(name=name, kind=None, what=what, example="")
    kind, what = _kind(rows, name, values)
    first = values[0]
    column = Column(name=name, kind=kind, what=what, example=_shown(first))
    if kind != "text":
        return column
    texts = [text for v in values for text in (v if isinstance(v, list) else [v])]
    words = sum(len(str(text).split()) for text in texts) / max(1, len(texts))
    return replace(column, num_words=words, several=isinstance(first, list))


def _kind(rows: FirstRows, name: str, values: Sequence[Any]) -> tuple[KindName | None, str]:
    """The kind of a column and what to call it."""
    first = values[0]
    if name in rows.kinds:
        return rows.kinds[name], rows.kinds[name]
    if isinstance(first, bytes) or (isinstance(first, dict) and {"bytes", "path"} & first.keys()):
        kind = _kind_of_bytes(first if isinstance(first, bytes) else first.get("bytes") or b"")
        return kind, kind or "bytes of no kind"
    if isinstance(first, str):
        kind = _kind_of_files(rows, values)
        if kind is not None:
            return kind, kind
        if _spells_numbers(first):
            return "array", "array"
        is_number = all(_is_number(value) for value in values)
        return (None, "number") if is_number else ("text", "text")
    if isinstance(first, list) and first and all(isinstance(one, str) for one in first):
        return "text", "text"
    if isinstance(first, list) and first and not isinstance(first[0], dict):
        return "array", "array"
    return None, "number" if isinstance(first, int | float) else type(first).__name__


def _kind_of_files(rows: FirstRows, values: Sequence[Any]) -> KindName | None:
    """Of strings that end as files do."""
    if rows.folder is None:
        return None
    kind = kind_of_endings(*(str(value).rpartition(".")[2] for value in values))
    if kind is None and all((rows.folder / str(value)).is_dir() for value in values):
        return "video"  # folders of frames
    return None if kind == "text" or any(" " in str(v).strip() for v in values[:1]) else kind


def _kind_of_bytes(content: bytes) -> KindName | None:
    for kind in SAMPLES:
        try:
            KINDS[kind].decode(content)
        except Exception:  # whatever a decoder makes of bytes of another kind
            continue
        return kind
    return None


def _spells_numbers(text: str) -> bool:
    """Whether a cell of a CSV is a JSON list of numbers."""
    try:
        return text.startswith("[") and isinstance(parse_json(text), list)
    except ValueError:
        return False


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _shown(value: Any) -> str:
    if isinstance(value, Reference):
        return Path(str(getattr(value, "path", ""))).name
    if isinstance(value, bytes | dict):
        return "(encoded)"
    if isinstance(value, list) and value and isinstance(value[0], str):
        return f"{printable(short(value[0]))} (and {len(value) - 1} more)"
    text = printable(str(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _with_views(columns: Sequence[Column], kind: str) -> list[Column]:
    """Name the views: every image, sound, film and array, and the best column of captions."""
    names: set[str] = set()
    text = _captions(columns) if kind != "class_folders" else None
    found = []
    for column in columns:
        view = ""
        if column.kind is not None and (column.kind != "text" or column is text):
            view = column.kind if column.kind not in names else _free(column.name, names)
            names.add(view)
        found.append(replace(column, view=view))
    return found


def _captions(columns: Sequence[Column]) -> Column | None:
    """The first that is called as captions are, else the one of most words; labels are none."""
    texts = [c for c in columns if c.kind == "text" and c.num_words >= LEAST_WORDS]
    called = [column for column in texts if CAPTIONS.search(column.name)]
    return next(iter(called or sorted(texts, key=lambda c: -c.num_words)), None)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _view(column: Column) -> dict[str, Any]:
    """What the experiment says of a view; nothing that goes without saying."""
    said: dict[str, Any] = {}
    if column.view != column.kind:
        said["kind"] = column.kind
    if column.name != column.view:
        said["column"] = column.name
    return said


def _refuse_no_files(source: str, kind: str, rows: FirstRows, columns: Sequence[Column]) -> None:
    """Refuse a table that names files which are not there, or none of the images around it."""
    if kind != "folder" or rows.folder is None:
        return
    folder = rows.folder
    for column in columns:
        values = [str(value) for value in rows.columns[column.name]]
        if column.kind in SAMPLES and not any(_is_there(folder, value) for value in values):
            raise DataError(
                f"{source}: the column {column.name!r} names files that are not in {folder}, "
                f"first {shown(values[0])}.{_elsewhere(folder, values[0])} Names are relative to "
                "the folder of the table."
            )
    if any(column.kind in SAMPLES for column in columns):
        return
    images = sorted(path for path in folder.rglob("*") if _is_data(path))
    if images:
        only = columns[0].name if len(columns) == 1 else ""
        hint = " Cells are divided by commas." if re.search(r"[;\t]", only) else ""
        raise DataError(
            f"{source} names no file, though {folder} holds {len(images)}, such as "
            f"{images[0].relative_to(folder)}. Expected a column of file names, called file_name "
            f"say; its columns: {listed(column.name for column in columns)}.{hint}"
        )


def _is_there(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _elsewhere(folder: Path, name: str) -> str:
    found = next((p for p in folder.rglob("*") if p.name == Path(name).name), None)
    return f" There is {found.relative_to(folder)}." if found is not None else ""


def _try_row(config: DatasetConfig, row: Any) -> None:
    """Read and decode the first row.

    Raises:
        DataError: it cannot be used; says which file.
    """
    if row.problem is not None:
        raise DataError(f"{row.location}: {row.problem}.")
    for name, view in config.observed.items():
        assert view.kind is not None
        kind = KINDS[view.kind]
        try:
            kind.decode(kind.encode(row.cells[name], view))
        except DataError as error:
            raise DataError(f"{row.location}, view {name!r}: {error}.") from error


def table_rows(seen: Seen) -> Iterator[dict[str, Any]]:
    """What is printed: a row per column."""
    for column in seen.columns:
        yield {
            "view": column.view or None,
            "kind": column.what,
            "column": column.name,
            "rows": seen.num_rows,
            "example": column.example,
        }
