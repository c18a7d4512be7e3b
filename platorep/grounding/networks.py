"""ReSi's designs on the trained networks of an experiment, from their cached features.

Axes: n samples, l layers, p networks.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from platorep.align import find_cell
from platorep.align.summaries import prepared_layers
from platorep.config import ModelSpec
from platorep.files import digest
from platorep.grounding.designs import (
    layer_correlation,
    layer_violations,
    output_correlation,
    output_similarity,
    probe_outputs,
    separation,
)
from platorep.grounding.scoring import Metrics
from platorep.parameters.toyworld import ATTRIBUTES
from platorep.run import Run
from platorep.toyworld.attributes import attributes
from platorep.toyworld.folder import scene_index
from platorep.toyworld.scenes import sample_scene

MOST_ROWS = 512
"""On which networks are compared."""
MOST_LAYERS, MOST_DEEP = 8, 6
"""Layers of a network, and networks, whose layers are compared with each other."""
MOST_NETWORKS = 16
"""Of one view, that are compared with each other."""

Found = dict[str, dict[str, list[float]]]
"""Label of a metric -> column -> what was found, to be averaged."""


@dataclass(frozen=True)
class Network:
    """A trained network and its layers, prepared as the experiment says."""

    spec: ModelSpec
    layers: Sequence[Float[Tensor, "n _"]]

    @property
    def kind(self) -> str:
        """All but the seeds: networks of one kind differ by chance alone."""
        said = self.spec.model_dump(mode="json", exclude={"label", "seed", "training", "family"})
        training = self.spec.training.model_dump(mode="json", exclude={"seed", "checkpoints"})
        return digest([said, training])


def trained_specs(run: Run) -> list[ModelSpec]:
    """The networks themselves: no controls, and nothing that is true by definition."""
    return [s for s in run.specs if not s.is_control and s.modality not in ("truth", "other")]


def evenly(things: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, at equal distances, the first and the last among them."""
    places = np.linspace(0, len(things) - 1, min(most, len(things))).round().astype(int)
    return [things[place] for place in places]


def try_networks(run: Run, metrics: Metrics) -> Mapping[str, Mapping[str, float]]:
    """Label -> column -> mean over networks (layers) or views (kinds, outputs)."""
    found: Found = {metric.label: {} for metric in metrics.metrics}
    specs = trained_specs(run)
    views = {spec.view: [s for s in specs if s.view == spec.view] for spec in specs}
    deep = evenly(specs, MOST_DEEP)
    num = len(deep) + sum(min(len(of), MOST_NETWORKS) for of in views.values())
    with run.report.task("networks", num, "networks") as advance:
        for spec in deep:
            with metrics.errors.catch(spec.label):
                _try_layers(_read(run, spec), metrics, found)
            advance(1)
        for of_view in views.values():
            networks = []
            for spec in evenly(of_view, MOST_NETWORKS):
                with metrics.errors.catch(spec.label):
                    networks.append(_read(run, spec))
                advance(1)
            _try_view(run, networks, metrics, found)
    return {
        label: {column: float(np.nanmean(values)) for column, values in columns.items()}
        for label, columns in found.items()
    }


def _read(run: Run, spec: ModelSpec) -> Network:
    align = run.config.align
    cell = find_cell(run, spec).cell
    rows = align.scored_rows(cell.num_rows)
    return Network(spec, prepared_layers(align, spec.label, cell.read(rows)))


def _keep(found: Found, label: str, **values: float) -> None:
    for column, value in values.items():
        if np.isfinite(value):
            found[label].setdefault(column, []).append(value)


def _try_layers(network: Network, metrics: Metrics, found: Found) -> None:
    layers = [layer[:MOST_ROWS] for layer in evenly(network.layers, MOST_LAYERS)]
    if len(layers) < 3:
        return
    made = metrics.summarize(layers)
    for label, scores in metrics.compare(made, made).items():
        _keep(
            found,
            label,
            layers_wrong=layer_violations(scores),
            layers_order=layer_correlation(scores),
        )


def _try_view(run: Run, networks: Sequence[Network], metrics: Metrics, found: Found) -> None:
    """The last layers of all networks that read one view."""
    if len(networks) < 3:
        return
    rows = slice(1, 2 * MOST_ROWS, 2)  # of which no probe was fitted
    made = metrics.summarize([network.layers[-1][rows] for network in networks])
    kinds: list[Hashable] = [network.kind for network in networks]
    outputs = _outputs(run, networks)
    for label, scores in metrics.compare(made, made).items():
        auc, auprc = separation(scores, kinds)
        _keep(found, label, kinds_auc=auc, kinds_auprc=auprc)
        if outputs is not None:
            _keep(found, label, outputs=output_correlation(scores, outputs))


def _outputs(run: Run, networks: Sequence[Network]) -> Float[np.ndarray, "p p"] | None:
    """How alike the networks say what is true of a scene; None outside the toy world.

    The networks have no outputs in common (SimCLR has none at all), so that a linear probe on the
    last layer answers for each: which of the attributes a scene has.
    """
    if run.config.dataset.source != "toyworld":
        return None
    world = run.config.dataset.world
    cell = find_cell(run, networks[0].spec).cell
    ids = cell.some_rows(range(len(networks[0].layers[-1]))).ids
    truth = attributes(world, [sample_scene(world, scene_index(one)) for one in ids])["all"]
    assert truth.shape[1] == len(ATTRIBUTES)
    said = [
        probe_outputs(network.layers[-1].double().numpy(), np.minimum(truth, 1.0))
        for network in networks
    ]
    return output_similarity([one[:MOST_ROWS] for one in said])
