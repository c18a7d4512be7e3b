"""A model's probe on labelled images: features from the cache, then the classifier."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from platorep.config import ModelSpec, ProbeConfig
from platorep.errors import ConfigError
from platorep.extract import complete_cell, open_work
from platorep.features import Cell
from platorep.files import digest
from platorep.models import environment, globs, open_remembered
from platorep.performance.job import Job, Planned, Row
from platorep.performance.kept import kept
from platorep.performance.labelled import Labelled, num_splits, read_labelled
from platorep.performance.probes import RULE_VERSION, Examples, run_probe
from platorep.run import Run


def probe_rows(job: Job, config: ProbeConfig) -> Iterator[Row]:
    """A row for each vision model; one that fails is noted and left out."""
    labelled = job.labelled(config.dataset)
    for spec in job.run.measured:
        with job.failures.catch(f"{config.name} of {spec.label}"):
            yield from _probe_row(job, config, labelled, spec)


def _probe_row(job: Job, config: ProbeConfig, labelled: Labelled, spec: ModelSpec) -> Iterator[Row]:
    """One row, or none for what sees no images of a dataset."""
    if spec.modality != "vision" or spec.kind != "image":
        return
    if spec.view != "image":  # as the labelled dataset calls what there is to see
        spec = spec.model_copy(update={"view": "image"})
    dtype, result = probed(job.run, config, labelled, spec)
    if not result["converged"]:
        job.report.warn(
            f"{config.name} of {spec.label}: the solver did not converge in "
            f"{config.max_iterations} iterations; raise max_iterations or leave out the larger c"
        )
    setting = "c" if config.probe == "linear" else "k"
    num_train = result["num_train"] + result["num_validation"]
    yield {
        "model": spec.label,
        "measure": config.name,
        "better": "higher",
        "value": result["value"],
        "stderr": result["stderr"],
        "source": f"{config.probe} probe of {result['layer']} ({setting} {result['setting']:g}) on "
        f"{labelled.test.dataset.name}, {result['num_test']} test images of "
        f"{result['num_classes']} classes, {num_train} to train "
        f"on, most frequent class {result['chance']:.3f}",
        "dtype": dtype,
        "chance": result["chance"],  # for the share of tasks solved
    }


def fetch_images(config: ProbeConfig, offline: bool) -> str:
    read_labelled(config.dataset, offline=offline)
    return f"the images of {config.dataset.source} are here"


def plan_probe(config: ProbeConfig, planned: Planned) -> dict[str, Any]:
    """With `disk_mb` of the features (most; the images are not counted here)."""
    seen = [spec.label for spec in planned.specs if spec.modality == "vision"]
    limit, widths = config.dataset.limit, planned.widths
    if limit is None:
        return {"note": f"{len(seen)} models, all images of {config.dataset.source}"}
    num_images = limit * num_splits(config.dataset)
    numbers = sum(sum(_probed_widths(config, widths[label])) for label in seen if label in widths)
    unknown = [label for label in seen if label not in widths]
    note = f"{len(seen)} models, at most {num_images} images of {config.dataset.source}"
    return {
        "note": note + (f"; without {', '.join(unknown)}" if unknown else ""),
        "rows": num_images,
        "disk_mb": round(num_images * numbers * planned.itemsize / 1e6, 1),
    }


def _probed_widths(config: ProbeConfig, widths: Sequence[int]) -> list[int]:
    if config.layers == "all":
        return list(widths)
    layers = (-1,) if config.layers == "last" else config.layers
    return [widths[i] for i in layers if -len(widths) <= i < len(widths)]


def probed(
    run: Run, wanted: ProbeConfig, labelled: Labelled, spec: ModelSpec
) -> tuple[str, dict[str, Any]]:
    """The compute precision, and the finished measurement: a `ProbeResult` as JSON, and `chance`.

    What is missing of the features is extracted first, into the cache, shard by shard; only the
    layers that are asked for, unless all of them are there already.

    Raises:
        PlatorepError: the model or an image cannot be used, or as `run_probe`.
    """
    model = open_remembered(tapped(spec, wanted), run.root, offline=run.options.offline)
    run.prepare(model)
    works = [open_work(run, model, data) for data in labelled.datasets]

    def make() -> dict[str, Any]:
        run.must_compute(f"{wanted.name} of {spec.label}")
        names = model.describe().layers
        cells = _all_layers(run, spec, labelled) if names else []
        cells = cells or [
            complete_cell(run, work, data)
            for work, data in zip(works, labelled.datasets, strict=True)
        ]
        names = _among_named(spec, wanted, names or tuple(cells[0].layers))
        parts = _examples(labelled, cells, names)
        settings = wanted.c if wanted.probe == "linear" else wanted.k
        num_fits = len(names) * len(set(settings)) + 1
        with run.report.task(f"{wanted.name} of {spec.label}", num_fits, "fits") as advance:
            found = run_probe(wanted, names, *parts, progress=advance)
        return asdict(found) | {
            "model": spec.label,
            "identity": model.identity(),
            "chance": labelled.chance,
            "environment": environment(run.device) | {"scikit-learn": version("scikit-learn")},
        }

    cells = [work.target.key.digest() for work in works]
    by_name = [f"layers: {wanted.layers}"] if globs(spec) and wanted.layers != "all" else []
    key = probe_key(wanted, labelled, cells + by_name)
    compute_dtype = works[0].target.key.compute_dtype
    return compute_dtype, kept(run.root, key, make, run.report, overwrite=run.anew)


def probe_key(wanted: ProbeConfig, labelled: Labelled, cells: Sequence[str]) -> str:
    """Names a measurement by all that is meant to move it.

    Args:
        cells: Keys of the features: the model, its layers, the images and the precision.
    """
    own = {"linear": ("c", "max_iterations"), "knn": ("k",)}[wanted.probe]
    return digest(
        {
            "rule": RULE_VERSION,
            "cells": list(cells),
            "labelled": labelled.sha256,
            "probe": wanted.probe,
            "settings": {name: getattr(wanted, name) for name in own},
        }
    )


def tapped(spec: ModelSpec, wanted: ProbeConfig) -> ModelSpec:
    """The model with only the layers that the probe asks for: no other need be extracted.

    Raises:
        ConfigError: a layer is not among those that the model keeps.
    """
    if wanted.layers == "all" or globs(spec):
        return spec
    layers = (-1,) if wanted.layers == "last" else wanted.layers
    if spec.layers != "all":
        try:
            layers = tuple(int(spec.layers[i]) for i in layers)
        except IndexError as error:
            raise _keeps_fewer(spec, wanted, spec.layers) from error
    return spec.model_copy(update={"layers": layers})


def _among_named(spec: ModelSpec, wanted: ProbeConfig, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of layers that the model names by globs, those that the probe asks for."""
    if wanted.layers == "all" or not globs(spec):
        return names
    try:
        return tuple(names[i] for i in ((-1,) if wanted.layers == "last" else wanted.layers))
    except IndexError as error:
        raise _keeps_fewer(spec, wanted, names) from error


def _keeps_fewer(spec: ModelSpec, wanted: ProbeConfig, kept: Sequence[str | int]) -> ConfigError:
    return ConfigError(
        f"{wanted.name}: layers {list(wanted.layers)} of {spec.label!r}, which keeps only "
        f"{len(kept)}: {list(kept)}."
    )


def _all_layers(run: Run, spec: ModelSpec, labelled: Labelled) -> list[Cell]:
    """The cells with all layers of the model, if another probe has had them made."""
    model = open_remembered(spec, run.root, offline=run.options.offline)
    works = [open_work(run, model, data) for data in labelled.datasets]
    return [work.cell for work in works] if all(work.cell.is_complete() for work in works) else []


def _examples(labelled: Labelled, cells: Sequence[Cell], names: Sequence[str]) -> list[Examples]:
    """The layers called `names` in each part.

    Args:
        cells: Those of `labelled.datasets`.
    """
    features = {}
    for data, cell in zip(labelled.datasets, cells, strict=True):
        layers = dict(zip(cell.layers, cell.read(), strict=True))
        features[id(data)] = [layers[name].numpy() for name in names]
    return [
        Examples([layer[part.rows] for layer in features[id(part.dataset)]], part.labels)
        for part in (labelled.train, labelled.validation, labelled.test)
    ]
