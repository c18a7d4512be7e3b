"""A dataset's section of the YAML -> checked rows in a fixed order.

The library `datasets` is imported by what needs it: folders, tar shards, and what was checked
before and is not read again, do without.
"""

from collections.abc import Callable
from pathlib import Path

from platorep.config import DatasetConfig
from platorep.data.class_folders import (
    ClassFolderSource,
    find_class_folders,
    require_class_folders,
)
from platorep.data.deadleaves import VERSION, DeadLeavesSource
from platorep.data.events import Cells, EventDataset, NumberedCells, OpenedOnce, PlacedCells, View
from platorep.data.folder import (
    FolderSource,
    find_captions_file,
    is_captions_file,
    require_captions_file,
)
from platorep.data.patterns import expand_pattern
from platorep.data.source import RowSource
from platorep.data.table import Located, RowTable, checked_rows
from platorep.data.tars import TarSource
from platorep.data.toyworld import made_toyworld
from platorep.errors import AbsentError, ConfigError, DataError
from platorep.files import slug
from platorep.kinds import find_kind
from platorep.parameters.section import idle_settings
from platorep.reporting import Reporter


def load_dataset(
    config: DatasetConfig,
    *,
    offline: bool = False,
    labels: bool = False,
    report: Reporter | None = None,
) -> EventDataset:
    """The rows of `config`: shuffled, bad rows and duplicates dropped, then limited.

    Every sample is read and decoded to check it, once: the outcome is kept in the cache for as long
    as no file changes (see `table`). With `limit` and without `shuffle` nothing is read beyond
    the last row needed.

    Args:
        labels: The texts are names of classes, and may be numbers or names of folders.
        report: Who is told of a first pass; nobody when absent.

    Raises:
        AbsentError: the source is not there, or not in the cache while offline.
        ConfigError: a column, subset or split is not there, or a setting means nothing here.
        DataError: a row cannot be used and `on_bad_row` is `error`; or no row is left.
    """
    kind = config.format or source_format(config, labels)
    _refuse_idle_settings(config, kind)
    if not offline:
        from platorep.hub import is_offline  # with it comes a library that takes long

        offline = is_offline()
    located = LOCATORS[kind](config, offline, labels)
    table = checked_rows(config, kind, labels, located, report or Reporter(-1))
    num_rows, num_dropped = table.about["num_rows"], table.about["num_dropped"]
    if not num_rows:
        dropped = table.dropped()
        first = f" The first: {dropped[0].file}: {dropped[0].reason}." if dropped else ""
        raise DataError(f"{config.source} has no usable row; {num_dropped} were dropped.{first}")
    return EventDataset(
        name=_name(config, kind),
        provenance={
            **config.model_dump(
                mode="json", exclude={"format"} | ({"world"} if kind != "toyworld" else set())
            ),
            "format": kind,
            "commit": located.commit,
            "num_rows": num_rows,
            "num_dropped": num_dropped,
        },
        views=_views(config, table, located),
        fingerprint=table.about["fingerprint"],
        identities=table.identities,
        dropped=tuple(table.dropped()) if num_dropped else (),
        num_dropped=num_dropped,
        duplicates=table.copies,
        unchanged={view: num for view, num in table.about["unchanged"].items() if num},
    )


def _views(config: DatasetConfig, table: RowTable, located: Located) -> dict[str, View]:
    rows, source = table.rows, OpenedOnce(located.open)
    views: dict[str, View] = {}
    for name, kind in config.kinds.items():
        observed, change = config.observed_of(name), config.changed.get(name)
        cells: Cells = ()
        if f"place:{name}" in rows.arrow.column_names:
            cells = PlacedCells(rows, name)
        elif kind != "text" and change is None:
            cells = NumberedCells(rows, name, source)
        views[name] = View(
            name=name,
            kind=find_kind(kind),
            ids=rows.strings("id"),
            hashes=rows.strings(f"sha256:{name}"),
            texts=rows.strings(f"text:{name}") if kind == "text" else None,
            cells=cells,
            settings=config.observed[observed],
            change=change,
            original=None if change is None else views[change.of],
            num_words=table.about["words"].get(name),
        )
    return views


def load_view(config: DatasetConfig, view: str, *, offline: bool = False) -> View:
    """One view of `config`, whether its rows have others or not.

    Raises: as `load_dataset`; ConfigError also where it observes no view of that name.
    """
    if view not in config.observed:
        raise ConfigError(
            f"{config.source} has no view {view!r}. There are: {', '.join(config.observed)}"
        )
    alone = config.alone(view)
    return load_dataset(alone, offline=offline).views[view]


def _locate_folder(config: DatasetConfig, offline: bool, labels: bool) -> Located:
    file = require_captions_file(config)
    return Located([str(file)], lambda: FolderSource(config, file, labels=labels))


def _locate_class_folders(config: DatasetConfig, offline: bool, labels: bool) -> Located:
    classes = require_class_folders(config)
    files = [str(path) for paths in classes.values() for path in paths]
    return Located(files, lambda: ClassFolderSource(config, classes))


def _locate_parquet(config: DatasetConfig, offline: bool, labels: bool) -> Located:
    paths = expand_pattern(config.source)

    def open_source() -> RowSource:
        from platorep.data.datafiles import parquet_files
        from platorep.data.tables import TableSource

        return TableSource(config, parquet_files(paths), labels=labels)

    return Located([str(path) for path in paths], open_source)


def _locate_tars(config: DatasetConfig, offline: bool, labels: bool) -> Located:
    shards = expand_pattern(config.source)
    return Located([str(path) for path in shards], lambda: TarSource(config, shards))


def _locate_hub(config: DatasetConfig, offline: bool, labels: bool) -> Located:
    from platorep.data.hub import find_repository

    split = config.split
    repository = find_repository(
        config.source,
        subset=config.subset,
        revision=config.revision,
        split=split,
        offline=offline,
    )

    def open_source() -> RowSource:
        if repository.builder == "webdataset":
            shards = repository.paths(split, offline=offline)
            return TarSource(config, shards, pinned=repository.commit is not None)
        from platorep.data.datafiles import tables_of
        from platorep.data.tables import TableSource

        files = tables_of(repository, split, offline=offline)
        return TableSource(config, files, labels=labels)

    return Located(repository.splits[split], open_source, repository.commit)


def _locate_toyworld(config: DatasetConfig, offline: bool, labels: bool) -> Located:
    return _locate_folder(made_toyworld(config), offline, labels)


def _locate_deadleaves(config: DatasetConfig, offline: bool, labels: bool) -> Located:
    return Located([f"deadleaves {VERSION}"], lambda: DeadLeavesSource(config))


LOCATORS: dict[str, Callable[[DatasetConfig, bool, bool], Located]] = {
    "hub": _locate_hub,
    "folder": _locate_folder,
    "parquet": _locate_parquet,
    "webdataset": _locate_tars,
    "class_folders": _locate_class_folders,
    "toyworld": _locate_toyworld,
    "deadleaves": _locate_deadleaves,
}
"""What finds each `dataset.format`. A new kind of source is one entry here."""


WHERE = ("subset", "revision", "split", "image", "id")
"""The settings that say where in a source something is; not every kind of source has each."""
TAKEN: dict[str, tuple[str, ...]] = {
    "hub": WHERE,
    "folder": ("split", "image", "id"),
    "parquet": ("image", "id"),
    "webdataset": ("image", "id"),
    "class_folders": ("split",),
    "toyworld": (),
    "deadleaves": (),
}


def _refuse_idle_settings(config: DatasetConfig, kind: str) -> None:
    taken = TAKEN[kind]
    if kind == "hub" and Path(config.source).is_dir():
        taken = ("subset", "split", "image", "id")
    if is_captions_file(config.source):
        taken = ("image", "id")
    if idle := idle_settings(config, WHERE, taken):
        raise ConfigError(
            f"dataset.{idle[0]} means nothing to {config.source}, which is read as {kind}. Leave "
            f"it out; of such settings it takes {', '.join(taken) or 'none'}."
        )


def source_format(config: DatasetConfig, labels: bool = False) -> str:
    """How `config.source` is read where `format` does not say it.

    Raises:
        AbsentError: it is the path of something that is not there.
    """
    source = config.source
    if source in ("toyworld", "deadleaves"):
        return source
    if Path(source).is_dir():
        if find_captions_file(Path(source), config.split):
            return "folder"
        is_classes = labels and find_class_folders(config)
        return "class_folders" if is_classes else "hub"
    if is_captions_file(source):
        return "folder"
    if source.endswith(".parquet"):
        return "parquet"
    if source.endswith(".tar"):
        return "webdataset"
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise AbsentError(f"dataset.source: there is no file or folder {source}.")
    return "hub"


def _name(config: DatasetConfig, kind: str) -> str:
    if kind in ("toyworld", "deadleaves"):
        return kind
    if kind == "hub" and not Path(config.source).is_dir():
        source = config.source if config.revision is None else f"{config.source}@{config.revision}"
        return slug("-".join(filter(None, (source, config.subset, config.split))))
    path = Path(config.source)
    return slug(path.name if path.is_dir() else f"{path.parent.name}-{path.stem}")
