"""The experiment's own image networks: their first filters and effective receptive fields."""

from typing import Any

import numpy as np
import torch

from platorep.config import ModelSpec
from platorep.config.units import FiltersConfig
from platorep.studies.context import Context
from platorep.units.banks import FilterBank
from platorep.units.receptive import Fields, filter_fields, layer_fields

VERSION = 1  # raise when the fields of the same network become others
BACKENDS = ("timm", "toyworld")
"""Of networks that can be opened."""
FILTERS = "filters"
"""Where a table names a layer: the weights of the first convolution."""


def own_banks(context: Context, settings: FiltersConfig) -> list[FilterBank]:
    """Of every image network of the experiment, what can be fitted; a failure is noted."""
    specs = [
        spec
        for spec in context.specs.values()
        if spec.kind == "image" and spec.backend in BACKENDS and not spec.changed_of
    ]
    found: list[FilterBank] = []
    with context.run.report.task("receptive fields", len(specs), "networks") as advance:
        for spec in specs:
            with context.failures.catch(spec.label):
                found += _of_network(context, spec, settings)
            advance(1)
    return found


def _of_network(context: Context, spec: ModelSpec, settings: FiltersConfig) -> list[FilterBank]:
    view = context.dataset.views[spec.view]
    rows = min(settings.images, len(view))
    model = context.model(spec)
    how = [settings.units, list(settings.layers)]
    decides = [VERSION, model.identity(), list(view.hashes[:rows]), *how]

    def make() -> dict[str, Any]:
        opened = model.open(context.run.device, torch.float32)
        images = [opened.prepare(view[row]) for row in range(rows)]
        fields = {FILTERS: filter_fields(opened, settings.units)}
        for layer in settings.layers:
            if layer < len(opened.names):
                name = opened.names[layer]
                fields[name] = layer_fields(opened, name, images, settings.units)
        return {name: None if one is None else _listed(one) for name, one in fields.items()}

    found: dict[str, Any] = context.run.kept("receptive-fields", decides, make)
    left_out = [name for name, fields in found.items() if fields is None]
    if left_out:
        context.run.report.say(
            f"{spec.label}: {', '.join(left_out)}: no map, or fewer than 5 or more than 32 pixels "
            "wide, so no Gabor function is fitted"
        )
    return [
        FilterBank(
            network=spec.label,
            objective="",
            images="-" if spec.random_init else spec.view,
            seed=spec.seed,
            layer_name=name,
            filters=np.array(fields["fields"]),
            color_share=np.array(fields["color_share"]),
            reliability=np.array(fields["reliability"]),
        )
        for name, fields in found.items()
        if fields is not None
    ]


def _listed(fields: Fields) -> dict[str, Any]:
    return {
        "fields": fields.fields.astype(np.float32).astype(float).tolist(),
        "color_share": fields.color_share.tolist(),
        "reliability": fields.reliability.tolist(),
    }
