"""What is there already, what is missing, and what it will take. Nothing is made here."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from platorep.align import asked_metrics, expected_seconds, gallery_cost, model_pairs
from platorep.config import ModelSpec
from platorep.data import PairedDataset, load_dataset
from platorep.errors import PlatorepError
from platorep.extract import Work, open_work
from platorep.models import Description, Model, compute_dtype, open_remembered
from platorep.models.cost import BYTES_PER_TOKEN, products_per_second
from platorep.performance import plan_measure
from platorep.run import Run

COLUMNS = (
    "stage",
    "cell",
    "state",
    "rows",
    "layers",
    "width",
    "parameters",
    "weights_mb",
    "disk_mb",
    "download_mb",
    "seconds",
    "note",
)


def plan_table(run: Run) -> pd.DataFrame:
    """One row per cell of every stage, and a last one of totals.

    `disk_mb` is what the features take (or will take) in the cache, `weights_mb` the weights in
    memory in the compute precision (in total: of the largest model), `download_mb` what is still to
    be fetched; empty is unknown, and `note` says why. `seconds` is what is left to do, estimated on
    this machine: forward passes at the speed of its large matrix products, with four bytes to a
    token, so that small models take a few times as long; metrics by a small sample.
    """
    device = run.device
    dataset, trouble = _dataset(run)
    rows = [
        {"stage": "dataset", "cell": run.config.dataset.source}
        | ({"state": "missing", "note": trouble} if dataset is None else _of_dataset(dataset))
    ]
    widths: dict[str, Sequence[int]] = {}
    rows += [_of_model(run, spec, dataset, device, widths) for spec in run.specs]
    results = run.results
    stored = getattr(torch, run.config.extract.store).itemsize
    for measure in run.config.performance:
        state = "made before" if results.performance.exists() else "missing"
        about_it = plan_measure(measure, run.specs, widths, stored)
        rows.append({"stage": "measure", "cell": measure.name, "state": state} | about_it)
    rows += _of_align(run, _num_rows(run, dataset), widths)
    for figure in run.config.figures:
        state = "made before" if results.figures.exists() else "missing"
        rows.append({"stage": "plot", "cell": figure.name or figure.kind, "state": state})
    rows.append(_total(rows))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(("rows", "layers", "parameters"), "Int64"))


def _dataset(run: Run) -> tuple[PairedDataset | None, str]:
    try:
        return load_dataset(run.config.dataset, offline=run.options.offline), ""
    except PlatorepError as error:
        return None, str(error)


def _num_rows(run: Run, dataset: PairedDataset | None) -> int | None:
    return run.config.dataset.limit if dataset is None else len(dataset)


def _of_dataset(dataset: PairedDataset) -> dict[str, Any]:
    return {"state": "here", "rows": len(dataset), "note": dataset.name}


def _of_align(
    run: Run, num_rows: int | None, widths: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """One row per metric: how many pairs, and how long they will take here."""
    pairs = model_pairs(run.config, run.specs)
    labels = list(widths)
    known = [(labels.index(x), labels.index(y)) for x, y in pairs if x in widths and y in widths]
    null = run.config.align.null.permutations
    scored = None if num_rows is None else run.config.align.scored_rows(num_rows)
    made = _is_aligned(run)
    rows = []
    for asked in asked_metrics(run.config):
        seconds = None
        if not made:
            seconds = expected_seconds(asked, scored, null, list(widths.values()), known)
        permutations = f", {null} permutations" if null and asked.has_null else ""
        rows.append(
            {
                "stage": "align",
                "cell": asked.label,
                "state": "made before" if made else "missing",
                "note": f"{len(pairs)} model pairs{permutations}",
                "seconds": _seconds(seconds),
            }
        )
    return [*rows, *_of_gallery(run, num_rows, widths, pairs)]


def _is_aligned(run: Run) -> bool:
    """Whether the tables of scores are there, of these settings."""
    results = run.results
    if not (results.best.exists() and results.run.exists()):
        return False
    done = results.read_json(results.run, "align").get("align", {})
    return bool(done.get("settings") == run.config.align.model_dump(mode="json"))


def _of_gallery(
    run: Run,
    num_rows: int | None,
    widths: Mapping[str, Sequence[int]],
    pairs: Sequence[tuple[str, str]],
) -> list[dict[str, Any]]:
    gallery = run.config.align.gallery
    if gallery is None:
        return []
    labels = {label for pair in pairs for label in pair}
    known = [of_model for label, of_model in widths.items() if label in labels]
    cost = gallery_cost(gallery, num_rows or 0, known, len(labels))
    lacking = ""
    if num_rows is not None and cost.largest > num_rows:
        lacking = f"; the dataset has {num_rows} rows"
    made = _is_aligned(run) and run.results.gallery.exists()
    return [
        {
            "stage": "align",
            "cell": "gallery",
            "state": "made before" if made else "missing",
            "rows": cost.largest,
            "disk_mb": _mb(cost.disk_bytes),
            "seconds": None if made else _seconds(cost.seconds),
            "note": f"{gallery.queries} queries, {_mb(cost.memory_bytes)} MB of memory{lacking}",
        }
    ]


def _of_model(
    run: Run,
    spec: ModelSpec,
    dataset: PairedDataset | None,
    device: torch.device,
    widths: dict[str, Sequence[int]],
) -> dict[str, Any]:
    """What can be known, though the data or the weights may not be here yet."""
    row: dict[str, Any] = {"stage": "extract", "cell": spec.label, "state": "unknown"}
    try:
        model = open_remembered(spec, run.root, offline=run.options.offline)
        about = model.describe()
        if about.widths:
            widths[spec.label] = about.widths
        row |= _sizes(run, spec, about, _num_rows(run, dataset), device)
        if dataset is None:
            return row | {"note": "; ".join(("the dataset cannot be read", *about.unknown))}
        row["seconds"] = _forward_seconds(run, model, dataset, device)
        return row | _state(open_work(run, model, dataset))
    except PlatorepError as error:
        return row | {"note": str(error)}


def _sizes(
    run: Run,
    spec: ModelSpec,
    about: Description,
    num_rows: int | None,
    device: torch.device,
) -> dict[str, Any]:
    extract = run.config.extract
    itemsize = getattr(torch, compute_dtype(spec, extract.dtype, device)).itemsize
    stored = getattr(torch, extract.store).itemsize
    disk = stored * num_rows * sum(about.widths) if num_rows and about.widths else None
    return {
        "rows": num_rows,
        "layers": len(about.layers) if about.layers else None,
        "width": _span(about.widths),
        "parameters": about.parameters,
        "weights_mb": _mb(about.parameters and about.parameters * itemsize),
        "disk_mb": _mb(disk),
        "download_mb": _mb(about.download_bytes),
        "note": "; ".join(about.unknown),
    }


def _forward_seconds(
    run: Run, model: Model, dataset: PairedDataset, device: torch.device
) -> float | None:
    """Of all rows through the model, at the speed of large matrix products."""
    flops = model.flops()
    if flops is None:
        return None
    times = len(dataset)
    if model.spec.modality == "language":
        times = sum(len(text.encode()) for text in dataset.texts) // BYTES_PER_TOKEN
    dtype = getattr(torch, compute_dtype(model.spec, run.config.extract.dtype, device))
    return _seconds(flops * times / _speed(device, dtype))


_speed = functools.cache(products_per_second)


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all cells take together; of weights the largest, since one model is loaded at a time."""

    def known(name: str) -> list[float]:
        return [row[name] for row in rows if row.get(name) is not None]

    missing = sum(row.get("state") not in ("cached", "here", "made before") for row in rows)
    unknown = sum(row.get("state") == "unknown" for row in rows)
    least = f", {unknown} not known: the sums are of the others" if unknown else ""
    return {
        "stage": "total",
        "cell": f"{len(rows)} cells, {missing} to do{least}",
        "weights_mb": max(known("weights_mb"), default=None),
        "disk_mb": sum(known("disk_mb")),
        "download_mb": sum(known("download_mb")) if known("download_mb") else None,
        "seconds": sum(known("seconds")),
    }


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _state(work: Work) -> dict[str, Any]:
    """How much of a cell is there, and then what it really takes."""
    missing = work.missing()
    if not missing:
        return {"state": "cached", "disk_mb": _mb(work.cell.size_bytes()), "seconds": None}
    done = len(work.shards) - len(missing)
    return {"state": f"{done}/{len(work.shards)} shards" if done else "missing"}


def _span(widths: tuple[int, ...] | None) -> str | None:
    if not widths:
        return None
    low, high = min(widths), max(widths)
    return str(low) if low == high else f"{low}-{high}"


def _mb(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else round(size_bytes / 1e6, 1)
