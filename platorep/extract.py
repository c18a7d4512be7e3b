"""Dataset rows -> model -> one pooled vector per layer and sample, into the feature cache.

Several processes may work on one cache: a shard is computed by the process that holds its lock.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from platorep.config import ExperimentConfig, ModelSpec
from platorep.data import PairedDataset, load_dataset
from platorep.errors import AbsentError
from platorep.features import Cell, CellKey, Rows, cell_of, num_shards
from platorep.files import ByteLocks, sha256_file, storage_errors
from platorep.models import Model, compute_dtype, environment, open_model, resolve_device
from platorep.models.arrays import read_arrays
from platorep.reporting import Reporter
from platorep.results import Failures, Results, text_hashes_column, write_csv, write_parquet


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """How to extract; nothing here is meant to move a number."""

    device: str = "auto"
    offline: bool = False
    keep_going: bool = True
    overwrite: Literal["never", "missing", "always"] = "missing"
    """never: compute nothing; missing: what is not there; always: everything anew."""
    process: int = 0
    num_processes: int = 1
    """Which share of the work is this process's."""


@dataclass
class Place:
    """One model and its place in the cache."""

    spec: ModelSpec
    key: CellKey
    cell: Cell
    num_words: float | None = field(default=None, kw_only=True)
    """Mean per text, of a model that reads a variant of the captions."""


@dataclass
class Work(Place):
    """What is to do there: its shards in this process's share."""

    model: Model
    rows: Rows
    rows_per_shard: int
    shards: Sequence[int]

    def missing(self) -> list[int]:
        return [i for i in self.shards if not self.cell.shard_path(i).exists()]


def extract(
    config: ExperimentConfig,
    specs: Sequence[ModelSpec],
    results: Results,
    root: Path,
    options: ExtractOptions,
    report: Reporter,
) -> Failures:
    """Complete this process's share of the cells of `specs` and write `cells.json`.

    Raises:
        PlatorepError: the dataset cannot be used, the storage fails, or (every cell failed, or
            `keep_going` is off) the first cell's error.
    """
    started = time.monotonic()
    failures = Failures("extract", results, report, options.keep_going)
    device = resolve_device(options.device)
    if options.num_processes > 1:
        report.say(f"process {options.process} of {options.num_processes}: only its share is done")
    dataset = load_dataset(config.dataset, offline=options.offline)
    results.record("config", config.model_dump(mode="json"))
    _record_dataset(dataset, results, report)

    works: list[Work] = []
    for spec in specs:
        with failures.catch(spec.label):
            model = open_model(spec, offline=options.offline)
            model.prepare(report)
            works.append(open_work(config, model, dataset, root, device))
    _divide(works, options)
    if options.overwrite == "always":
        _remove_shards(works)
    _record_cells(results, config, works)

    waiting = works
    for wait in (False, True):  # first what nobody else is doing, then what others left undone
        undone = []
        for work in waiting:
            with failures.catch(work.spec.label):
                if not _complete(work, dataset, config, options, device, report, wait):
                    undone.append(work)
        waiting = undone
    _record_cells(results, config, works)

    results.record(
        "extract",
        {
            "environment": environment(device),
            "failed": sorted(failures.errors),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": report.warnings,
        },
    )
    failures.raise_if_all(len(specs))
    return failures


def open_work(
    config: ExperimentConfig,
    model: Model,
    dataset: PairedDataset,
    root: Path,
    device: torch.device,
) -> Work:
    """Find a model's cell, without loading its weights."""
    spec = model.spec
    rows = rows_for(spec, dataset)
    key = CellKey(
        model=model.identity(),
        rows=rows.fingerprint,
        compute_dtype=compute_dtype(spec, config.extract.dtype, device),
        store_dtype=config.extract.store,
    )
    cell = cell_of(root, dataset.name, _readable_name(spec), key)
    per_shard = config.extract.rows_per_shard
    if cell.exists():
        per_shard = int(cell.meta["rows_per_shard"])
    shards = range(num_shards(len(rows), per_shard))
    return Work(
        spec, key, cell, model, rows, per_shard, shards, num_words=_num_words(spec, dataset)
    )


def complete_cell(
    work: Work,
    dataset: PairedDataset,
    config: ExperimentConfig,
    device: torch.device,
    report: Reporter,
) -> Cell:
    """Make what is missing of a cell, and wait for what other processes are making of it."""
    _complete(work, dataset, config, ExtractOptions(), device, report, wait=True)
    return work.cell


def adopt(
    config: ExperimentConfig,
    spec: ModelSpec,
    dataset: PairedDataset,
    file: Path,
    results: Results,
    root: Path,
) -> Path:
    """Put features that were computed elsewhere into a model's cell; returns its folder.

    Its key names the file's content: nobody can tell what model and settings made it.

    Raises:
        DataError: the file's rows are not the dataset's.
        IntegrityError: the file cannot be read.
    """
    loaded = read_arrays(file)
    features = loaded.take(range(len(dataset)), dataset.ids)
    rows = rows_for(spec, dataset)
    key = CellKey(
        model={"imported": sha256_file(file), "label": spec.label},
        rows=rows.fingerprint,
        compute_dtype="float32",
        store_dtype="float32",
    )
    cell = cell_of(root, dataset.name, spec.label, key)
    layers = [(name, f.shape[1]) for name, f in zip(loaded.layers, features, strict=True)]
    facts: dict[str, Any] = {"label": spec.label, "name": spec.name, "num_parameters": None}
    cell.create(key, rows, layers, config.extract.rows_per_shard, facts)
    for shard in cell.missing_shards():
        part = cell.shard_range(shard)
        cell.write_shard(shard, [layer[part.start : part.stop] for layer in features])
    _record_dataset(dataset, results, Reporter(-1))
    _record_cells(results, config, [Place(spec, key, cell, num_words=_num_words(spec, dataset))])
    return cell.folder


def rows_for(spec: ModelSpec, dataset: PairedDataset) -> Rows:
    """The identity of what this model sees: images, texts, or only the ids for a user's arrays."""
    if spec.backend == "features":
        hashes: tuple[str, ...] = ("",) * len(dataset.ids)
    elif spec.modality == "language":
        hashes = tuple(dataset.reading(spec.variant).text_hashes)
    else:
        hashes = tuple(dataset.image_hashes)
    return Rows(ids=tuple(dataset.ids), hashes=hashes)


def models_table(cells: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row per model, in the order of the experiment's file."""
    columns = ["label", "family", "modality", "random", "random_of", "num_parameters", "num_layers"]
    rows = [{"label": label} | cell for label, cell in cells.items()]
    columns += ["order"]
    if any("variant" in cell for cell in cells.values()):
        columns += ["variant", "num_words"]
    table = pd.DataFrame(rows, columns=columns).sort_values("order")
    return table.astype({"num_parameters": "Int64"}).reset_index(drop=True)


def _complete(
    work: Work,
    dataset: PairedDataset,
    config: ExperimentConfig,
    options: ExtractOptions,
    device: torch.device,
    report: Reporter,
    wait: bool,
) -> bool:
    """Make the missing shards that no other process is making; True if none is left to make."""
    if not work.missing():
        report.detail(f"{work.spec.label}: cached")
        return True
    if options.overwrite == "never":
        raise AbsentError(
            f"{work.spec.label} is not in the cache (expected {work.cell.folder}) and "
            "--overwrite never forbids to compute it. Leave that out."
        )
    with ByteLocks(work.cell.folder / ".lock") as locks:
        locked = [i for i in work.missing() if locks.acquire(i, wait=wait)]
        mine = [i for i in locked if i in work.missing()]  # another may just have finished it
        if mine:
            _compute(work, mine, dataset, config, device, report)
    return not work.missing()


def _compute(
    work: Work,
    shards: Sequence[int],
    dataset: PairedDataset,
    config: ExperimentConfig,
    device: torch.device,
    report: Reporter,
) -> None:
    def rows_of(shard: int) -> range:
        start = shard * work.rows_per_shard
        return range(start, min(start + work.rows_per_shard, len(work.rows)))

    num_rows = sum(len(rows_of(shard)) for shard in shards)
    read = dataset.reading(work.spec.variant)
    report.detail(f"{work.spec.label}: loading on {device}")
    loaded = work.model.load(device, getattr(torch, work.key.compute_dtype))
    with (
        closing(loaded),
        report.task(f"extract {work.spec.label}", num_rows, "rows") as advance,
    ):
        for shard in shards:
            features = loaded.features(
                rows_of(shard),
                read,
                batch=config.extract.batch,
                workers=config.extract.workers,
                progress=advance,
            )
            work.cell.create(
                work.key,
                work.rows,
                [(name, f.shape[1]) for name, f in zip(loaded.layers, features, strict=True)],
                work.rows_per_shard,
                {
                    "environment": environment(device),
                    "label": work.spec.label,
                    "name": work.spec.name,
                    "num_parameters": work.model.describe().parameters,
                    "notes": list(loaded.notes),
                },
            )
            work.cell.write_shard(shard, features)
            report.detail(f"{work.spec.label}: wrote {work.cell.shard_path(shard).name}")
    for note in loaded.notes:
        report.warn(f"{work.spec.label}: {note}")


def _divide(works: Sequence[Work], options: ExtractOptions) -> None:
    """Give this process its share: neighbouring shards, balanced by rows times parameters."""
    if options.num_processes == 1:
        return
    costs = [(work.model.describe().parameters or 1) * work.rows_per_shard for work in works]
    total = sum(cost * len(work.shards) for cost, work in zip(costs, works, strict=True))
    done = 0.0
    for cost, work in zip(costs, works, strict=True):
        share = []
        for shard in work.shards:
            if int((done + cost / 2) / total * options.num_processes) == options.process:
                share.append(shard)
            done += cost
        work.shards = share


def _remove_shards(works: Sequence[Work]) -> None:
    """Only this process's share: others may have made theirs anew already."""
    for path in (work.cell.shard_path(shard) for work in works for shard in work.shards):
        with storage_errors(path):
            path.unlink(missing_ok=True)


def _record_dataset(dataset: PairedDataset, results: Results, report: Reporter) -> None:
    rows = pd.DataFrame(
        {"id": dataset.ids, "image_sha256": dataset.image_hashes}
        | {
            text_hashes_column(variant): dataset.reading(variant).text_hashes
            for variant in ("", *dataset.variants)
        }
    )
    write_parquet(results.rows, rows)
    dropped = [asdict(row) for row in dataset.dropped]
    copies = {kind: asdict(found) for kind, found in dataset.duplicates.items()}
    results.record(
        "dataset",
        dict(dataset.provenance)
        | {
            "name": dataset.name,
            "num_rows": len(dataset),
            "fingerprint": dataset.fingerprint,
            "dropped": dropped,
            "duplicates": copies,
        },
    )
    report.say(f"dataset {dataset.name}: {len(dataset)} pairs")
    for kind, found in dataset.duplicates.items():
        if found.count:
            (copy, original), more = found.first[0], found.count - 1
            report.warn(
                f"{found.count} {kind} are exact copies of others ({copy} of {original}"
                f"{f' and {more} more' if more else ''}): `deduplicate: true` drops such rows"
            )
    if dropped:
        report.warn(f"{len(dropped)} rows were dropped; run.json lists them with their reasons")


def _record_cells(results: Results, config: ExperimentConfig, places: Sequence[Place]) -> None:
    """Write where each model's features lie: later stages read this and never work out a key."""
    trained = {(s.name, s.variant): s.label for s in reversed(config.models()) if not s.random_init}
    order = [spec.label for spec in config.models()]

    def change(content: dict[str, Any]) -> None:
        cells = content.setdefault("cells", {})
        for label in set(cells) - set(order):
            del cells[label]
        for place in places:
            spec, cell, exists = place.spec, place.cell, place.cell.exists()
            meta = cell.meta if exists else {}
            cells[spec.label] = {
                "folder": cell.folder.relative_to(cell.folder.parents[3]).as_posix(),
                "key": place.key.digest(),
                "name": spec.name,
                "family": spec.family,
                "modality": spec.modality,
                "order": order.index(spec.label),
                "random": spec.random_init,
                "random_of": spec.random_of
                or (trained.get((spec.name, spec.variant), "") if spec.random_init else ""),
                "revision": place.key.model.get("revision"),
                "compute_dtype": place.key.compute_dtype,
                "num_layers": len(meta["layers"]) if exists else None,
                "num_parameters": meta["facts"]["num_parameters"] if exists else None,
            }
            if spec.variant:
                cells[spec.label] |= {"variant": spec.variant, "num_words": place.num_words}

        write_csv(results.models, models_table(cells))  # here: another's may be newer afterwards

    results.update_json(results.cells, change)


def _num_words(spec: ModelSpec, dataset: PairedDataset) -> float | None:
    return dataset.reading(spec.variant).mean_words if spec.variant else None


def _readable_name(spec: ModelSpec) -> str:
    """The name in the cache; of a local file or folder its last part, wherever it lies."""
    place = Path(spec.name.removeprefix("local-dir:"))
    return place.name if spec.backend == "features" or place.exists() else spec.name
