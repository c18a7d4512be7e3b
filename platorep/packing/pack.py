"""A finished experiment, packed into one folder or archive."""

import base64
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

import numpy as np

from platorep.align.models import find_cell
from platorep.bundles.about import (
    CARD,
    EXPERIMENT,
    FEATURES,
    FORMAT_VERSION,
    NEIGHBORS,
    RESULTS,
    About,
    Listed,
    Lists,
    is_cell,
)
from platorep.bundles.archives import write_archive
from platorep.bundles.lists import ordered, write_lists
from platorep.bundles.shown import What, write_shown
from platorep.config import AlignConfig, ExperimentConfig
from platorep.config.paths import ABOUT
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.experiment_rows import open_rows
from platorep.features import Cell
from platorep.files import (
    remove,
    sha256_file,
    slug,
    storage_errors,
    write_sealed,
    write_text,
    yaml_text,
)
from platorep.metrics.layer import Layer
from platorep.opened import AS_SCORED, Opened
from platorep.packing.card import card
from platorep.packing.shortening import shortened, without_folders
from platorep.parameters.metrics import MutualKnn, NeighborParameters
from platorep.report.shared import URL, rows_of
from platorep.results import Results, without_paths
from platorep.run import Run
from platorep.switches import default_switches

OTHER = "other"
ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of an experiment is packed."""

    features: Literal["all", "none"] = "all"
    """All layers as they were extracted; or only who is near whom, of every layer."""
    neighbors: int | None = None
    """How many of each row, where there are no features; None: as many as its metrics ask for."""
    texts: bool = False
    """Whether the texts of the rows go along."""
    images: bool = False
    """Whether small pictures of them do."""
    licence: str | None = None
    """As the hub calls it, such as `cc-by-4.0`; None: `other`."""


def pack(run: Run, target: Path, choice: Choice) -> tuple[Path, About]:
    """Write the bundle: a folder, or an archive if `target` ends in .zip.

    Raises:
        AbsentError: the experiment is not finished.
        IntegrityError: a table or features are damaged, or do not go together.
        ConfigError: there is something at `target`, or what is chosen cannot be.
        StorageError: the disk is full or cannot be written.
    """
    _refuse_target(target, choice)
    if choice.licence is None:
        run.report.warn(
            f"no --licence was named: the card says `{OTHER}`. Name one (such as cc-by-4.0, as the "
            "hub calls them) before you pass the bundle on"
        )
    opened = Opened(run)
    with _partial(target) as folder:
        about = _write(opened, folder, choice)
        with storage_errors(target):
            if target.suffix == ".zip":
                write_archive(folder, target)
            else:
                folder.rename(target)
    return target, about


def _refuse_target(target: Path, choice: Choice) -> None:
    if target.suffix in ARCHIVES:
        raise ConfigError(f"{target}: a bundle is a folder, or an archive whose name ends in .zip.")
    if target.exists():
        raise ConfigError(f"{target} is there already. Remove it, or choose another name.")
    if choice.licence is not None and _LICENCE.fullmatch(choice.licence) is None:
        raise ConfigError(
            f"--licence {choice.licence!r}: expected a licence as the hub calls them, such as "
            "cc-by-4.0, cc0-1.0, apache-2.0, or other."
        )
    if choice.neighbors is not None and choice.features == "all":
        raise ConfigError("--neighbors has no effect with --features all: any k follows from them.")


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A folder beside the target, which goes again unless it has become the target."""
    folder = target.with_name(f".{target.name}.{uuid4().hex}.partial")
    with storage_errors(target):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def _write(opened: Opened, folder: Path, choice: Choice) -> About:
    run, there = opened.run, Results(folder / RESULTS, opened.run.config.name)
    text = yaml_text(said(run.config, opened.align))
    write_text(folder / EXPERIMENT, text)
    _write_tables(opened, there)
    lists: list[Lists] = []
    cells = run.results.read_json(run.results.cells, "extract")["cells"]
    cells = {spec.label: cells[spec.label] for spec in run.specs if spec.label in cells}
    with run.report.task("pack", len(cells), "models") as advance:
        for number, (label, entry) in enumerate(cells.items()):
            if choice.features == "all":
                cell = find_cell(run, opened.spec(label)).cell
                entry |= {"folder": _write_cell(cell, folder, label)}
            else:
                lists.append(_write_lists(opened, label, number, folder, choice))
            advance(1)
    there.write_json(there.cells, {"cells": {name: shortened(e) for name, e in cells.items()}})
    shown = _write_shown(opened, folder, choice)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = About(
        format_version=FORMAT_VERSION,
        platorep=version("platorep"),
        experiment=run.config.name,
        license=choice.licence or OTHER,
        features=choice.features,
        neighbors=lists,
        files=[
            Listed(
                path=path.relative_to(folder).as_posix(),
                size=path.stat().st_size,
                sha256=sha256_file(path),
            )
            for path in files
        ],
    )
    dataset = shortened(run.results.dataset())
    write_text(folder / CARD, card(opened, about, dataset, shown=shown))
    write_sealed(folder / ABOUT, about.model_dump(mode="json"), of=about.experiment)
    return about


def said(config: ExperimentConfig, scored: AlignConfig) -> dict[str, Any]:
    """What the experiment's file says, so that it can be read again; of paths the last part.

    What others must do to their own features stands there in full, whatever defaults become.

    Args:
        scored: Preprocessing and candidates, as the tables were made with them.
    """
    content = config.model_dump(mode="json", exclude_unset=True)
    align = content.setdefault("align", {})
    align["metrics"] = [
        {"name": entry.name, "layers": entry.layers}
        | entry.parameters.model_dump(mode="json", exclude={"name"})
        for entry in config.align.metrics
    ]
    align |= scored.model_dump(mode="json", include={*AS_SCORED})
    found: dict[str, Any] = without_paths(content)
    return found


def _write_tables(opened: Opened, there: Results) -> None:
    """Every table that goes together with the others, and what the JSON files say of them."""
    run, own = opened.run, opened.results
    assert opened.tables is not None  # they are whole, and of the same data, models and settings
    known = own.read_json(own.checksums, "run").get("tables", {}) if own.checksums.exists() else {}
    paths = [
        path for path in sorted(own.folder.glob("[!.]*")) if path.suffix in (".csv", ".parquet")
    ]
    needed = (own.models, own.best)
    kept: list[Path] = []
    for path in paths:
        try:
            if path != own.rows:
                own.read_table(path, "run")
                own.refuse_mixed(dict.fromkeys([*needed, path], "run"))
        except IntegrityError as error:
            if path in needed:
                raise
            run.report.warn(f"{path.name} is left out: {error}")
            continue
        kept.append(path)
    there.folder.mkdir()
    for path in kept:
        shutil.copyfile(path, there.folder / path.name)
        if path.suffix == ".csv" and _tells_folders(path):
            run.report.warn(
                f"{path.name} names folders of this machine, and is packed as it is: look whether "
                "others may read that"
            )
    names = {path.name for path in kept}
    if known:
        tables = {name: entry for name, entry in known.items() if name in names}
        there.write_json(there.checksums, {"tables": tables})
    if own.rows_known.exists():
        there.write_json(there.rows_known, own.read_json(own.rows_known, "extract"))
    open_rows(there)
    about = own.read_json(own.run, "extract")
    config = {"config": without_paths(about.pop("config", {}))}
    there.write_json(there.run, shortened(about) | config)


def _write_shown(opened: Opened, folder: Path, choice: Choice) -> list[str]:
    """What of the rows may be shown; returns which.

    Raises:
        AbsentError: the data are not here, or their rows are others now.
    """
    if not (choice.texts or choice.images):
        return []
    n = len(opened.ids)
    found = rows_of(opened, np.arange(n), images=choice.images, texts=choice.texts)
    texts = {view: [row.texts[view] for row in found.rows] for view in found.rows[0].texts}
    views = dict.fromkeys(view for row in found.rows for view in row.pictures)
    pictures = {
        view: [
            base64.b64decode(row.pictures[view].removeprefix(URL)) if view in row.pictures else None
            for row in found.rows
        ]
        for view in views
    }
    shown: list[str] = []
    for name, asked, held in (("texts", choice.texts, texts), ("images", choice.images, pictures)):
        if asked and not held:
            raise AbsentError(f"there are no {name} of the rows to pack. {' '.join(found.notes)}")
        if asked:
            write_shown(folder, cast(What, name), held)
            shown.append(name)
    return shown


def _tells_folders(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    return without_folders(text) != text


def _write_cell(cell: Cell, folder: Path, label: str) -> str:
    """Copy a cell, each shard of it verified; returns its place in the bundle."""
    dataset, model, key = cell.folder.parts[-3:]
    place = f"{FEATURES}/{dataset}/{model}/{key}"
    if not is_cell(place):  # a data set called nul, say
        place = f"{FEATURES}/_{slug(dataset)}/_{slug(label)}/{key}"
    if (folder / place).exists():  # two labels of one cell
        return place
    (folder / place).mkdir(parents=True)
    shutil.copyfile(cell.rows_path, folder / place / cell.rows_path.name)
    for index in range(cell.num_shards):
        cell.read_shard(index)
        shutil.copyfile(cell.shard_path(index), folder / place / cell.shard_path(index).name)
    meta = cell.meta | {"facts": shortened(cell.meta["facts"])}
    write_sealed(folder / place / "meta.json", meta, of=key)
    return place


@default_switches()
def _write_lists(opened: Opened, label: str, number: int, folder: Path, choice: Choice) -> Lists:
    layers = opened.layers(label)
    asked = neighbors_asked(opened.run.config, choice.neighbors)
    for k in asked.values():
        if k >= len(opened.ids):
            raise ConfigError(f"--neighbors {k}: each of {len(opened.ids)} rows has fewer others.")
    made: dict[tuple[str, bool], list[Any]] = {kind: [] for kind in asked}
    for prepared in layers:
        layer = Layer(prepared)
        for (similarity, center), k in asked.items():
            made[similarity, center].append(ordered(layer, k, similarity, center=center))
    widths = [int(layer["width"]) for layer in layers.cell.meta["layers"]]
    names = layers.cell.layers
    if len(layers) > len(names):
        names, widths = [*names, "all side by side"], [*widths, sum(widths)]
    file = f"{NEIGHBORS}/{number:03d}-{slug(label)[:60]}.safetensors"
    write_lists(folder / file, made, list(zip(names, widths, strict=True)))
    return Lists(label=label, file=file)


def neighbors_asked(config: ExperimentConfig, k: int | None) -> Mapping[tuple[str, bool], int]:
    """Similarity, and whether features are centred -> how many neighbors the metrics ask for."""
    found: dict[tuple[str, bool], int] = {}
    for entry in config.align.metrics:
        parameters = entry.parameters
        if isinstance(parameters, NeighborParameters):
            kind = parameters.similarity, parameters.center
            found[kind] = max(found.get(kind, 0), k or parameters.k)
    return found or {("cosine", False): k or MutualKnn().k}
