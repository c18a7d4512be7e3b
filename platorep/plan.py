"""What is there already, what is missing, and what it will take. Nothing is made here.

What is to do is asked of the very functions that the stages ask: the shards of a cell, the finished
measurements, the pieces of model pairs, the figures that are drawn from today's tables.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
import torch

from platorep.align import asked_metrics, expected_seconds, gallery_cost, model_pairs
from platorep.align.estimate import MOST_ROWS
from platorep.align.todo import num_unscored
from platorep.config import ModelSpec
from platorep.config.analyses import ANALYSIS_TABLES
from platorep.config.performance import PerformanceConfig
from platorep.data import EventDataset, load_dataset
from platorep.drawn import undrawn_figures
from platorep.errors import ConfigError, NotComputedError, PlatorepError
from platorep.extraction import Work, forward_flops, open_work
from platorep.failures import Errors
from platorep.models import Description, Model, compute_dtype, open_remembered
from platorep.models.cost import products_per_second, weight_bytes
from platorep.parameters.figures import figure_names
from platorep.performance import measure_of, plan_measure
from platorep.performance.job import Job
from platorep.reporting import Reporter
from platorep.run import Run
from platorep.workplace import Home

COLUMNS = (
    *("stage", "cell", "state", "rows", "layers", "width", "parameters"),
    *("weights_mb", "disk_mb", "download_mb", "seconds", "note"),
)
HERE, CACHED, MISSING, UNKNOWN = "here", "cached", "missing", "unknown"
Row = dict[str, Any]


def plan_table(run: Run) -> tuple[PlatorepError | None, pd.DataFrame]:
    """What stands in the way of a run, and one row per cell of every stage.

    `disk_mb` is what the features take (or will take) in the cache, `weights_mb` the weights in
    memory in the compute precision, `download_mb` what is still to be fetched; empty is unknown,
    and `note` says why. `seconds` is what is left to do, estimated on this machine: forward passes
    at the speed of its large matrix products, with four bytes to a token, so that small models take
    a few times as long; metrics by a small sample. Two rows close the table: the sums, and the
    largest model, since one is loaded at a time.
    """
    plan = _Plan(run)
    rows = [*plan.of_dataset(), *plan.of_models(), *plan.of_measures()]
    rows += [*plan.of_metrics(), *plan.of_gallery(), *plan.of_analyses(), *plan.of_figures()]
    rows += _closing(rows)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return plan.trouble, table.astype(dict.fromkeys(("rows", "layers", "parameters"), "Int64"))


@dataclass
class _Plan:
    """The rows of the stages, in the order of the stages: each knows what the earlier ones lack."""

    run: Run
    trouble: PlatorepError | None = None
    """What a run would end with: the dataset cannot be read, or a setting is wrong."""
    measured: bool = True
    """Whether all measures are done."""
    works: dict[str, Work] = field(default_factory=dict)
    """Label -> what is to extract, where that is known."""
    widths: dict[str, Sequence[int]] = field(default_factory=dict)
    """Label -> widths of the layers, where they are known."""

    @cached_property
    def dataset(self) -> EventDataset | None:
        try:
            return load_dataset(self.run.config.dataset, offline=self.run.options.offline)
        except PlatorepError as error:
            self.trouble = error
            return None

    @property
    def num_rows(self) -> int | None:
        return self.run.config.dataset.limit if self.dataset is None else len(self.dataset)

    def of_dataset(self) -> Iterator[Row]:
        row = {"stage": "dataset", "cell": self.run.config.dataset.source}
        if self.dataset is None:
            yield row | {"state": MISSING, "note": str(self.trouble)}
        else:
            yield row | {"state": HERE, "rows": len(self.dataset), "note": self.dataset.name}

    def of_models(self) -> Iterator[Row]:
        for spec in self.run.specs:
            row: Row = {"stage": "extract", "cell": spec.label, "state": UNKNOWN}
            try:
                model = open_remembered(spec, self.run.root, offline=self.run.options.offline)
                yield row | self._of_model(model, model.describe())
            except PlatorepError as error:
                if error.exit_code == ConfigError.exit_code:  # `run` would end with it too
                    self.trouble = self.trouble or error
                yield row | {"note": str(error)}

    def _of_model(self, model: Model, about: Description) -> Row:
        """What can be known, though the data or the weights may not be here yet."""
        run, spec = self.run, model.spec
        if about.widths:
            self.widths[spec.label] = about.widths
        sizes = _sizes(run, spec, about, self.num_rows)
        if self.dataset is None:
            return sizes | {"note": "; ".join(("the dataset cannot be read", *about.unknown))}
        work = self.works[spec.label] = open_work(run, model, self.dataset)
        missing = len(work.missing())
        if not missing:
            return sizes | {"state": CACHED, "disk_mb": _mb(work.cell.size_bytes())}
        done, total = len(work.shards) - missing, len(work.shards)
        state = f"{done}/{total} shards" if done else MISSING
        return sizes | {"state": state, "seconds": _forward_seconds(run, model, self.dataset)}

    def of_measures(self) -> Iterator[Row]:
        stored = getattr(torch, self.run.config.extract.store).itemsize
        errors = Errors()
        nothing = replace(self.run.options, overwrite="never", offline=True)
        job = Job(
            replace(self.run, options=nothing, report=Reporter(-2)), errors, Home(self.run.root)
        )
        for config in sorted(self.run.config.performance, key=lambda c: measure_of(c).of_others):
            row = {"stage": "measure", "cell": config.name}
            about_it = plan_measure(config, self.run.measured, self.widths, stored)
            state = self._state_of(config, job, errors)
            self.measured = self.measured and state["state"] == CACHED
            yield row | about_it | state

    def _state_of(self, config: PerformanceConfig, job: Job, errors: Errors) -> Row:
        """What of a measure is kept. Data is read only where it was measured on before."""
        if not self.run.results.performance.exists() or self.dataset is None:
            return {"state": MISSING}
        errors.errors.clear()
        with errors.catch(config.name):
            rows = list(measure_of(config).rows(job, config))
            job.rows += rows
        lacking = errors.errors.values()
        if not lacking:
            return {"state": CACHED if self._are_written(config.name, rows) else "changed"}
        said = (str(error) for error in lacking if not isinstance(error, NotComputedError))
        others = dict.fromkeys(said)  # a model and its copies lack the same
        state = MISSING if config.name in errors.errors else f"{len(lacking)} models to do"
        return {"state": state} | ({"note": "; ".join(others)} if others else {})

    def _are_written(self, measure: str, rows: Sequence[Row]) -> bool:
        """Whether `performance.csv` has these numbers."""
        results = self.run.results
        table = results.read_table(results.performance, "measure", Reporter(-2))
        of_measure = table[table["measure"] == measure]
        written = dict(zip(of_measure["model"], of_measure["value"], strict=True))
        now = {row["model"]: row["value"] for row in rows}
        return written.keys() == now.keys() and all(
            math.isclose(value, now[model], rel_tol=1e-9) for model, value in written.items()
        )

    @cached_property
    def _unscored(self) -> int:
        """Model pairs that have no finished piece."""
        cells = {label: work.cell for label, work in self.works.items() if not work.missing()}
        return num_unscored(self.run, cells, self.num_rows or 0)

    def of_metrics(self) -> Iterator[Row]:
        """One row per metric: how many pairs, and how long they will take here."""
        config = self.run.config
        pairs = model_pairs(config, self.run.specs)
        labels = list(self.widths)
        known = [(labels.index(x), labels.index(y)) for x, y in pairs if {x, y} <= {*labels}]
        null = config.align.null.permutations
        n = None if self.num_rows is None else config.align.scored_rows(self.num_rows)
        for asked in asked_metrics(config):
            seconds = None
            if self._unscored:
                seconds = expected_seconds(asked, n, null, list(self.widths.values()), known)
            permutations = f", {null} permutations" if null and asked.has_null else ""
            untimed = ""
            if self._unscored and n is not None and n > MOST_ROWS:
                untimed = f"; not timed, of more than {MOST_ROWS:,} rows (align.gallery takes some)"
            yield {
                "stage": "align",
                "cell": asked.label,
                "state": self._scored(len(pairs)),
                "note": f"{len(pairs)} model pairs{permutations}{untimed}",
                "seconds": _seconds(seconds),
            }

    def _scored(self, num_pairs: int) -> str:
        done = num_pairs - self._unscored
        return CACHED if done == num_pairs else f"{done}/{num_pairs} pairs" if done else MISSING

    def of_gallery(self) -> Iterator[Row]:
        gallery = self.run.config.align.gallery
        if gallery is None:
            return
        labels = {label for pair in model_pairs(self.run.config, self.run.specs) for label in pair}
        known = [widths for label, widths in self.widths.items() if label in labels]
        cost = gallery_cost(gallery, self.num_rows or 0, known, len(labels))
        lacking = ""
        if self.num_rows is not None and cost.largest > self.num_rows:
            lacking = f"; the dataset has {self.num_rows} rows"
        made = self._aligned() and self.run.results.gallery.exists()
        yield {
            "stage": "align",
            "cell": "gallery",
            "state": CACHED if made else MISSING,
            "rows": cost.largest,
            "disk_mb": _mb(cost.disk_bytes),
            "seconds": None if made else _seconds(cost.seconds),
            "note": f"{gallery.queries} queries, {_mb(cost.memory_bytes)} MB of memory{lacking}",
        }

    def of_analyses(self) -> Iterator[Row]:
        results = self.run.results
        for analysis in self.run.config.align.asked_analyses():
            whole = self._aligned() and not self._failed(analysis)
            for name in ANALYSIS_TABLES[analysis]:
                made = whole and results.further(name).exists()
                yield {"stage": "align", "cell": name, "state": CACHED if made else MISSING}

    def _failed(self, analysis: str) -> bool:
        """Whether `align` could not do some of it, which it tries again."""
        results = self.run.results
        failed = results.read_json(results.run, "align").get("align", {}).get("failed", ())
        return any(
            cell == analysis or cell.startswith(f"{analysis} of ") or cell.endswith(f", {analysis}")
            for cell in failed
        )

    def _aligned(self) -> bool:
        """Whether the tables of scores are those that `align` would write now."""
        results = self.run.results
        if self._unscored or not (results.best.exists() and results.run.exists()):
            return False
        before = results.read_json(results.run, "align").get("align", {})
        return bool(before.get("settings") == self.run.config.align.model_dump(mode="json"))

    def of_figures(self) -> Iterator[Row]:
        undrawn = undrawn_figures(self.run)
        for name in figure_names(self.run.config.figures):
            made = self._aligned() and self.measured and name not in undrawn
            yield {"stage": "plot", "cell": name, "state": CACHED if made else MISSING}


def _sizes(run: Run, spec: ModelSpec, about: Description, num_rows: int | None) -> Row:
    extract = run.config.extract
    dtype = compute_dtype(spec, extract.dtype, run.device)
    stored = getattr(torch, extract.store).itemsize
    disk = stored * num_rows * sum(about.widths) if num_rows and about.widths else None
    return {
        "rows": num_rows,
        "layers": len(about.layers) if about.layers else None,
        "width": _span(about.widths),
        "parameters": about.parameters,
        "weights_mb": _mb(weight_bytes(about, dtype)),
        "disk_mb": _mb(disk),
        "download_mb": _mb(about.download_bytes),
        "note": "; ".join(about.unknown),
    }


def _forward_seconds(run: Run, model: Model, dataset: EventDataset) -> float | None:
    """Of all rows through the model, at the speed of large matrix products."""
    flops = forward_flops(model, dataset)
    if flops is None:
        return None
    dtype = getattr(torch, compute_dtype(model.spec, run.config.extract.dtype, run.device))
    return _seconds(flops / _speed(run.device, dtype))


_speed = functools.cache(products_per_second)


def _closing(rows: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The sums over all cells, and the largest model."""

    def known(name: str) -> list[float]:
        return [row[name] for row in rows if row.get(name) is not None]

    todo = sum(row["state"] not in (CACHED, HERE) for row in rows)
    unknown = sum(row["state"] == UNKNOWN for row in rows)
    sums = {name: sum(known(name)) for name in ("disk_mb", "download_mb", "seconds") if known(name)}
    yield {
        "stage": "total",
        "cell": f"{len(rows)} cells, {todo} to do",
        "note": f"{unknown} not known: the sums are of the others" if unknown else "",
    } | sums
    largest = max(known("weights_mb"), default=None)
    yield {"stage": "largest", "cell": "model", "weights_mb": largest}


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _span(widths: tuple[int, ...] | None) -> str | None:
    if not widths:
        return None
    low, high = min(widths), max(widths)
    return str(low) if low == high else f"{low}-{high}"


def _mb(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else round(size_bytes / 1e6, 1)
