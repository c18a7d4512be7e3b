"""A model's probe on labelled images: features from the cache, then the classifier."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from platorep.config import ModelSpec, ProbeConfig
from platorep.engines import Needs, Talk, Unit
from platorep.engines import Work as Doing
from platorep.errors import ConfigError
from platorep.extraction import Work, open_work
from platorep.features import Cell
from platorep.files import digest
from platorep.models import Model, environment, globs, open_remembered
from platorep.performance.job import Job, Planned, Row
from platorep.performance.kept import Measured, Wanted, is_kept
from platorep.performance.labelled import Labelled, num_splits, read_labelled
from platorep.performance.probes import RULE_VERSION, Examples, run_probe
from platorep.run import Run
from platorep.workplace import memory_for


@dataclass(frozen=True)
class Probe:
    """The probe of one model."""

    config: ProbeConfig
    labelled: Labelled
    spec: ModelSpec
    model: Model
    """With the layers that are asked for, and no others."""
    works: Sequence[Work]
    """Of `labelled.datasets`."""

    @property
    def name(self) -> str:
        return f"{self.config.name} of {self.spec.label}"

    @property
    def key(self) -> str:
        cells = [work.target.key.digest() for work in self.works]
        if globs(self.spec) and self.config.layers != "all":
            cells.append(f"layers: {self.config.layers}")
        return probe_key(self.config, self.labelled, cells)

    def unit(self, run: Run) -> Unit:
        """The classifier's, on features that are there; what comes back is kept: a `ProbeResult` as
        JSON, and `chance`."""
        names = self.model.describe().layers
        cells = all_layers(run, self.spec, self.labelled) if names else []
        cells = cells or [work.cell for work in self.works]
        names = _among_named(self.spec, self.config, names or tuple(cells[0].layers))
        examples = _examples(self.labelled, cells, names)
        about = {
            "model": self.spec.label,
            "identity": self.model.identity(),
            "chance": self.labelled.chance,
        }
        device = "cpu" if run.works_elsewhere else str(run.device)
        size = sum(layer.nbytes for part in examples for layer in part.layers)
        return Unit(
            name=self.name,
            opens=opens_probe,
            given=(self.config, names, run.engine.put(examples), about, device),
            needs=Needs(memory_bytes=memory_for(2 * size)),
        )


def probe_rows(job: Job, config: ProbeConfig) -> Iterator[Row]:
    """A row for each vision model; one that fails is noted and left out."""
    labelled, run = job.labelled(config.dataset), job.run
    probes: list[Probe] = []
    for spec in run.measured:
        if spec.modality == "vision" and spec.kind == "image":  # what sees images of a dataset
            with job.failures.catch(f"{config.name} of {spec.label}"):
                probes.append(_probe(run, config, labelled, spec))
    lacking: list[Probe] = []
    for probe in probes:
        with job.failures.catch(probe.name):
            if run.anew or not is_kept(run.root, probe.key):
                run.must_compute(probe.name)
                if not all_layers(run, probe.spec, labelled):
                    lacking.append(probe)
    for number, data in enumerate(labelled.datasets):
        job.complete(config.name, [probe.works[number] for probe in lacking], data)
    left = [probe for probe in probes if probe.name not in job.failures.errors]
    found = job.measurements(
        [Wanted(name=one.name, key=one.key, unit=partial(one.unit, run)) for one in left]
    )
    for probe in left:
        if probe.name in found:
            yield _row(job, probe, found[probe.name])


def _row(job: Job, probe: Probe, result: Measured) -> Row:
    config, labelled = probe.config, probe.labelled
    if not result["converged"]:
        job.report.warn(
            f"{probe.name}: the solver did not converge in {config.max_iterations} iterations; "
            "raise max_iterations or leave out the larger c"
        )
    setting = "c" if config.probe == "linear" else "k"
    num_train = result["num_train"] + result["num_validation"]
    return {
        "model": probe.spec.label,
        "measure": config.name,
        "better": "higher",
        "value": result["value"],
        "stderr": result["stderr"],
        "source": f"{config.probe} probe of {result['layer']} ({setting} {result['setting']:g}) on "
        f"{labelled.test.dataset.name}, {result['num_test']} test images of "
        f"{result['num_classes']} classes, {num_train} to train "
        f"on, most frequent class {result['chance']:.3f}",
        "dtype": probe.works[0].target.key.compute_dtype,
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


def _probe(run: Run, config: ProbeConfig, labelled: Labelled, spec: ModelSpec) -> Probe:
    """What of the features is missing is extracted into the cache, shard by shard; only the layers
    that are asked for, unless all of them are there already."""
    if spec.view != "image":  # as the labelled dataset calls what there is to see
        spec = spec.model_copy(update={"view": "image"})
    model = open_remembered(tapped(spec, config), run.root, offline=run.options.offline)
    run.prepare(model)
    works = [open_work(run, model, data) for data in labelled.datasets]
    return Probe(config, labelled, spec, model, works)


@contextmanager
def opens_probe(
    talk: Talk,
    config: ProbeConfig,
    names: Sequence[str],
    examples: Sequence[Examples],
    about: dict[str, Any],
    device: str,
) -> Iterator[Doing]:
    """The unit of work; its only part is the measurement."""

    def work(part: None) -> Measured:
        settings = config.c if config.probe == "linear" else config.k
        num_fits = len(names) * len(set(settings)) + 1
        with talk.report.task(f"{config.name} of {about['model']}", num_fits, "fits") as advance:
            found = run_probe(config, names, *examples, progress=advance)
        used = environment(torch.device(device)) | {"scikit-learn": version("scikit-learn")}
        return asdict(found) | about | {"environment": used}

    yield work


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


def all_layers(run: Run, spec: ModelSpec, labelled: Labelled) -> list[Cell]:
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
