"""A model's probe on labelled images: features from the cache, then the classifier."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sklearn
import torch

from platorep.config import ExperimentConfig, ModelSpec, ProbeConfig
from platorep.errors import ConfigError
from platorep.extract import Work, complete_cell, open_work
from platorep.files import digest
from platorep.models import environment, open_model
from platorep.performance.kept import kept
from platorep.performance.labelled import Labelled, Part
from platorep.performance.probes import RULE_VERSION, Examples, run_probe
from platorep.reporting import Reporter


def probed(
    config: ExperimentConfig,
    wanted: ProbeConfig,
    labelled: Labelled,
    spec: ModelSpec,
    root: Path,
    device: torch.device,
    report: Reporter,
    *,
    offline: bool,
    overwrite: bool,
) -> tuple[str, dict[str, Any]]:
    """The compute precision, and the finished measurement: a `ProbeResult` as JSON, and `chance`.

    What is missing of the features is extracted first, into the cache, shard by shard.

    Raises:
        PlatorepError: the model or an image cannot be used, or as `run_probe`.
    """
    model = open_model(tapped(spec, wanted), offline=offline)
    model.prepare(report)
    works = {
        id(dataset): open_work(config, model, dataset, root, device)
        for dataset in labelled.datasets
    }
    cells = [work.key.digest() for work in works.values()]

    def make() -> dict[str, Any]:
        for dataset in labelled.datasets:
            complete_cell(works[id(dataset)], dataset, config, device, report)
        layers = next(iter(works.values())).cell.layers
        parts = _examples(works, (labelled.train, labelled.validation, labelled.test))
        settings = wanted.c if wanted.probe == "linear" else wanted.k
        num_fits = len(layers) * len(set(settings)) + 1
        with report.task(f"{wanted.name} of {spec.label}", num_fits, "fits") as advance:
            found = run_probe(wanted, layers, *parts, progress=advance)
        return asdict(found) | {
            "model": spec.label,
            "identity": model.identity(),
            "chance": labelled.chance,
            "environment": environment(device) | {"scikit-learn": sklearn.__version__},
        }

    key = probe_key(wanted, labelled, cells)
    dtype = next(iter(works.values())).key.compute_dtype
    return dtype, kept(root, key, make, overwrite=overwrite)


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
    if wanted.layers == "all":
        return spec
    layers = (-1,) if wanted.layers == "last" else wanted.layers
    if spec.layers != "all":
        try:
            layers = tuple(spec.layers[i] for i in layers)
        except IndexError as error:
            raise ConfigError(
                f"{wanted.name}: layers {list(layers)} of {spec.label!r}, which keeps only "
                f"{len(spec.layers)}: {list(spec.layers)}."
            ) from error
    return spec.model_copy(update={"layers": layers})


def _examples(works: Mapping[int, Work], parts: Sequence[Part]) -> list[Examples]:
    features = {name: work.cell.read() for name, work in works.items()}
    return [
        Examples(
            layers=[
                layer[part.rows.start : part.rows.stop].numpy()
                for layer in features[id(part.dataset)]
            ],
            labels=part.labels,
        )
        for part in parts
    ]
