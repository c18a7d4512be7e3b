"""Dataset rows -> model -> one pooled vector per layer and sample, into the feature cache.

Several processes may work on one cache: a shard is computed by the process that holds its lock.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from platorep.config import ModelSpec
from platorep.data import EventDataset, load_dataset
from platorep.errors import DamagedError
from platorep.experiment_rows import record_rows
from platorep.extraction.making import complete
from platorep.extraction.work import ModelCell, Work
from platorep.failures import Errors, Failures
from platorep.features import Cell, CellKey, RowIdentities, cell_of, num_shards
from platorep.files import sha256_file
from platorep.models import Model, compute_dtypes, environment, open_remembered
from platorep.reporting import Reporter
from platorep.results import Results, cell_settings, networks
from platorep.run import Run


def extract(run: Run) -> Failures:
    """Complete the cells of the run's models and write `cells.json`.

    Raises:
        PlatorepError: the dataset cannot be used, the storage fails, or (every cell failed, or
            `keep_going` is off) the first cell's error.
    """
    started = time.monotonic()
    options, report, results = run.options, run.report, run.results
    failures = run.failures("extract")
    dataset = load_dataset(run.config.dataset, offline=options.offline, report=report)
    studies = {"bridge", "units"}  # which write down their own settings
    results.begin(run.config.model_dump(mode="json", exclude=studies), report)
    _record_dataset(dataset, results, report)

    works: list[Work] = []
    for spec in run.specs:
        with failures.catch(spec.label):
            model = open_remembered(spec, run.root, offline=options.offline)
            run.prepare(model)
            works.append(open_work(run, model, dataset))
    for work in works if run.anew else ():
        work.outdate()
    _record_cells(run, [work.target for work in works])

    complete(run, works, dataset, failures)
    _record_cells(run, [work.target for work in works])

    results.record(
        "extract",
        {
            "environment": environment(run.device),
            "failed": sorted(failures.errors),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": report.warnings,
        },
    )
    failures.raise_if_all(len(run.specs))
    return failures


def open_work(run: Run, model: Model, dataset: EventDataset) -> Work:
    """Find a model's cell, without loading its weights.

    Where the precision is an automatic choice, that of the cell of which most is there; this
    machine's choice where that decides nothing.
    """
    spec, extract = model.spec, run.config.extract
    rows, identity = rows_for(spec, dataset), model.identity()
    works: list[Work] = []
    model.refuse_other_rows(rows)
    settled = () if model.precision is None else (model.precision,)
    for dtype in settled or compute_dtypes(spec, extract.dtype, run.worker_device):
        key = CellKey(
            model=identity,
            rows=rows.fingerprint,
            compute_dtype=dtype,
            store_dtype=extract.store,
        )
        try:
            works.append(_work(run, model, dataset, rows, key))
        except DamagedError:
            if not works:  # what another machine chose and is damaged is no choice
                raise
    own = works[0]
    best = max(works, key=Work.share_done)
    if run.anew or best is own:
        return own
    run.report.say(
        f"{spec.label}: its features are there in {best.target.key.compute_dtype}, as another "
        f"machine chose them, and are taken; `dtype: {own.target.key.compute_dtype}` would make "
        "them anew"
    )
    return best


def _work(run: Run, model: Model, dataset: EventDataset, rows: RowIdentities, key: CellKey) -> Work:
    cell = cell_of(run.root, dataset.name, _readable_name(model.spec), key)
    per_shard = run.config.extract.rows_per_shard
    if cell.exists():
        per_shard = int(cell.meta["rows_per_shard"])
    target = ModelCell(model.spec, key, cell, num_words=_num_words(model.spec, dataset))
    return Work(target, model, rows, per_shard, range(num_shards(len(rows), per_shard)))


def complete_cell(run: Run, work: Work, dataset: EventDataset) -> Cell:
    """Make what is missing of a cell, and wait for what other processes are making of it."""
    complete(run, [work], dataset, Errors(keep_going=False))
    return work.cell


def adopt(run: Run, spec: ModelSpec, dataset: EventDataset, file: Path) -> Path:
    """Put features that were computed elsewhere into a model's cell; returns its folder.

    Its key names the file's content: nobody can tell what model and settings made it.

    Raises:
        DataError: the file's rows are not the dataset's.
        IntegrityError: the file cannot be read.
    """
    from platorep.models.arrays import read_arrays

    loaded = read_arrays(file)
    features = loaded.take(range(len(dataset)), dataset.ids)
    rows = rows_for(spec, dataset)
    key = CellKey(
        model={"imported": sha256_file(file), "label": spec.label},
        rows=rows.fingerprint,
        compute_dtype="float32",
        store_dtype="float32",
    )
    cell = cell_of(run.root, dataset.name, spec.label, key)
    layers = [(name, f.shape[1]) for name, f in zip(loaded.layers, features, strict=True)]
    facts: dict[str, Any] = {"label": spec.label, "name": spec.name, "num_parameters": None}
    cell.create(key, rows, layers, run.config.extract.rows_per_shard, facts)
    for shard in cell.missing_shards():
        part = cell.shard_range(shard)
        cell.write_shard(shard, [layer[part.start : part.stop] for layer in features])
    _record_dataset(dataset, run.results, Reporter(-1))
    _record_cells(run, [ModelCell(spec, key, cell, num_words=_num_words(spec, dataset))])
    return cell.folder


def rows_for(spec: ModelSpec, dataset: EventDataset) -> RowIdentities:
    """The identity of what this model sees: a view, or only the ids for a user's arrays."""
    return dataset.rows_of(spec.hashes_column or "")


def models_table(cells: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row per model, in the order of the experiment's file."""
    columns = ["label", "family", "modality", "random", "random_of", "num_parameters", "num_layers"]
    rows = [{"label": label} | cell for label, cell in cells.items()]
    columns += ["order", "view", "changed_of", "repeat_of", "baseline", "num_words"]
    table = pd.DataFrame(rows, columns=columns).sort_values("order")
    return table.astype({"num_parameters": "Int64"}).reset_index(drop=True)


def _record_dataset(dataset: EventDataset, results: Results, report: Reporter) -> None:
    columns = ("", *dataset.hashes)
    record_rows(results, {name: dataset.rows_of(name) for name in columns}, dataset.fingerprint)
    results.record("dataset", dataset.report())
    report.say(f"dataset {dataset.name}: {len(dataset)} rows")
    for view, copies_there in dataset.duplicates.items():
        if copies_there.count:
            (copy, original), more = copies_there.first[0], copies_there.count - 1
            report.warn(
                f"{view}: {copies_there.count} rows are exact copies of others ({copy} of "
                f"{original}{f' and {more} more' if more else ''}): `deduplicate: true` drops them"
            )
    for view, num in dataset.unchanged.items():
        report.warn(f"{view}: the change does nothing in {num} of {len(dataset)} rows")
    if num := dataset.num_dropped:
        listed = len(dataset.dropped)
        which = "them" if listed == num else f"the first {listed}"
        report.warn(f"{num} rows were dropped; run.json lists {which} with their reasons")


def _record_cells(run: Run, targets: Sequence[ModelCell]) -> None:
    """Write where each model's features lie: later stages read this and never work out a key."""
    models = run.config.models()
    trained = {(s.name, s.view): s.label for s in reversed(models) if not s.random_init}
    order = [spec.label for spec in models]

    def change(content: dict[str, Any]) -> None:
        cells = content.setdefault("cells", {})
        for label in set(cells) - set(order):
            del cells[label]
        for target in targets:
            spec, cell, exists = target.spec, target.cell, target.cell.exists()
            meta = cell.meta if exists else {}
            cells[spec.label] = {
                "folder": cell.folder.relative_to(cell.folder.parents[3]).as_posix(),
                "key": target.key.digest(),
                "name": spec.name,
                "family": spec.family,
                "modality": spec.modality,
                "order": order.index(spec.label),
                "random": spec.random_init,
                "random_of": spec.random_of
                or (trained.get((spec.name, spec.view), "") if spec.random_init else ""),
                "view": spec.view,
                "changed_of": spec.changed_of,
                "repeat_of": spec.repeat_of,
                "baseline": spec.is_baseline,
                "num_words": target.num_words,
                "revision": target.key.model.get("revision"),
                "compute_dtype": target.key.compute_dtype,
                "num_layers": len(meta["layers"]) if exists else None,
                "num_parameters": meta["facts"]["num_parameters"] if exists else None,
            }
            if "imported" not in target.key.model:  # else nobody knows what made it
                cells[spec.label]["settings"] = cell_settings(run.config, spec)

        made_from = {f"cell {label}": str(cell["key"]) for label, cell in cells.items()}
        made_from |= networks(spec for spec in models if spec.label in cells)
        # here: another's may be newer afterwards
        run.results.write_table(run.results.models, models_table(cells), made_from)

    run.results.update_json(run.results.cells, change)


def _num_words(spec: ModelSpec, dataset: EventDataset) -> float | None:
    return dataset.views[spec.view].mean_words if spec.view else None


def _readable_name(spec: ModelSpec) -> str:
    """The name in the cache; of a local file or folder its last part, wherever it lies."""
    place = Path(spec.name.removeprefix("local-dir:"))
    return place.name if spec.backend == "features" or place.exists() else spec.name
