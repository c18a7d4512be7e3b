"""What can be said of a measure before it is made."""

from collections.abc import Mapping, Sequence
from typing import Any

from platorep.config import (
    HarnessConfig,
    ModelSpec,
    PerformanceConfig,
    ProbeConfig,
    TableConfig,
    TasksSolvedConfig,
)
from platorep.errors import PlatorepError
from platorep.performance.harness import evaluations_of, read_evaluations
from platorep.performance.labelled import num_splits
from platorep.performance.table import entry_of, read_table


def plan_measure(
    wanted: PerformanceConfig,
    specs: Sequence[ModelSpec],
    widths: Mapping[str, Sequence[int]],
    itemsize: int,
) -> dict[str, Any]:
    """`note`, and `disk_mb` of a probe's features (most; the images are not counted here).

    Reads tables and result files, and no data set.

    Args:
        widths: Label -> widths of the layers, where they are known.
        itemsize: Bytes of a stored number.
    """
    trained = [spec for spec in specs if not spec.random_init]
    try:
        if isinstance(wanted, TableConfig):
            table = read_table(wanted)
            known = sum(entry_of(table, spec) is not None for spec in trained)
            return {"note": f"{known} of {len(trained)} models have a number"}
        if isinstance(wanted, HarnessConfig):
            files = read_evaluations(wanted)
            known = sum(bool(own) for own in evaluations_of(wanted, files, trained).values())
            return {"note": f"{known} of {len(trained)} models, in {len(files)} result files"}
    except PlatorepError as error:
        return {"note": str(error)}
    if isinstance(wanted, TasksSolvedConfig):
        return {"note": f"from {len(wanted.tasks)} other measures"}
    return _of_probe(wanted, specs, widths, itemsize) if isinstance(wanted, ProbeConfig) else {}


def _of_probe(
    wanted: ProbeConfig,
    specs: Sequence[ModelSpec],
    widths: Mapping[str, Sequence[int]],
    itemsize: int,
) -> dict[str, Any]:
    seen = [spec.label for spec in specs if spec.modality == "vision"]
    limit = wanted.dataset.limit
    if limit is None:
        return {"note": f"{len(seen)} models, all images of {wanted.dataset.source}"}
    num_images = limit * num_splits(wanted.dataset)
    numbers = sum(sum(_asked(wanted, widths[label])) for label in seen if label in widths)
    unknown = [label for label in seen if label not in widths]
    note = f"{len(seen)} models, at most {num_images} images of {wanted.dataset.source}"
    return {
        "note": note + (f"; without {', '.join(unknown)}" if unknown else ""),
        "rows": num_images,
        "disk_mb": round(num_images * numbers * itemsize / 1e6, 1),
    }


def _asked(wanted: ProbeConfig, widths: Sequence[int]) -> list[int]:
    if wanted.layers == "all":
        return list(widths)
    layers = (-1,) if wanted.layers == "last" else wanted.layers
    return [widths[i] for i in layers if -len(widths) <= i < len(widths)]
