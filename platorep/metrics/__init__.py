"""The metrics. To add one: write its three functions, list it below; the tests do the rest.

A metric is `summarize` (one layer's features -> summary), `compare` (summaries of two models ->
scores of all layer pairs) and `reorder` (summary -> summary of the same layer with its samples in
another order, for permutation nulls). The rest of the program calls it bound to its parameters:

    metric = bind("mutual_knn", {"k": 10})   # or "my_package.my_module:my_metric"
    metric.label                             # mutual_knn{k: 10}
    metric.check(n, d)                       # raises when n samples of d features cannot be scored
    x = [metric.summarize(layer) for layer in features_x]        # each Float[Tensor, "n d"]
    metric.compare(x, y)                     # float64 array, l_x l_y
    metric.prepare(x, y)(order)              # the same with y's samples in another order, faster
    metric.degenerate(x[0])                  # why this layer is left out of the maximum, or None

`summarize_layer` gives the summaries of one layer for several metrics and does common work once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor

from platorep.errors import ConfigError
from platorep.metrics.cknna import CKNNA
from platorep.metrics.cycles import CYCLE_KNN
from platorep.metrics.distances import DISTANCE_CORRELATION
from platorep.metrics.gulp import GULP
from platorep.metrics.kernels import CKA, RV
from platorep.metrics.layer import Layer
from platorep.metrics.metric import (
    BoundMetric,
    Claims,
    Invariance,
    Metric,
    Order,
    Scorer,
    Scores,
    Summary,
    each_pair,
)
from platorep.metrics.neighbors import JACCARD_KNN, MUTUAL_KNN
from platorep.metrics.own import own_metric
from platorep.metrics.predictivity import LINEAR_PREDICTIVITY
from platorep.metrics.rsa import ORDINAL_TRIPLETS, RSA
from platorep.metrics.second_order import SECOND_ORDER_COSINE
from platorep.metrics.sequences import EDIT_DISTANCE_KNN, LCS_KNN, RANK_SIMILARITY
from platorep.metrics.subspaces import CCA_MEAN, EIGENSPACE_OVERLAP, PROCRUSTES, PWCCA, SVCCA
from platorep.metrics.units import PERMUTATION_PROCRUSTES, UNIT_MATCHING
from platorep.own_code import import_own
from platorep.parameters.metrics import MetricParameters, parse
from platorep.plugins import require_plugin
from platorep.registry import index_by_name
from platorep.switches import default_switches

__all__ = [
    "METRICS",
    "BoundMetric",
    "Claims",
    "Invariance",
    "Layer",
    "Metric",
    "Order",
    "Scorer",
    "Scores",
    "Summary",
    "bind",
    "default_switches",
    "each_pair",
    "own_metric",
    "summarize_layer",
]

METRICS = index_by_name(
    (
        MUTUAL_KNN,
        JACCARD_KNN,
        CYCLE_KNN,
        LCS_KNN,
        EDIT_DISTANCE_KNN,
        RANK_SIMILARITY,
        SECOND_ORDER_COSINE,
        CKA,
        RV,
        CKNNA,
        RSA,
        DISTANCE_CORRELATION,
        ORDINAL_TRIPLETS,
        CCA_MEAN,
        SVCCA,
        PWCCA,
        PROCRUSTES,
        PERMUTATION_PROCRUSTES,
        EIGENSPACE_OVERLAP,
        GULP,
        LINEAR_PREDICTIVITY,
        UNIT_MATCHING,
    )
)
"""Every metric by its name."""


def bind(name: str, parameters: Mapping[str, Any] | MetricParameters | None = None) -> BoundMetric:
    """The metric called `name` with these parameters: built in, an installed package's, or a user's
    own, `package.module:object`.

    Raises:
        UnknownNameError: no metric has that name.
        ConfigError: an unknown or wrong parameter; a module that cannot be imported; an object
            that is neither a Metric nor a function of two feature arrays.
    """
    if not isinstance(parameters, MetricParameters):
        try:
            parameters = parse(name, parameters or {})
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'][:1]))}: {e['msg']}; got {e['input']!r}".lstrip(": ")
                for e in error.errors()
            )
            raise ConfigError(f"metric {name!r}: {problems}") from error
    return BoundMetric(METRICS[name] if name in METRICS else _own(name), parameters)


def _own(name: str) -> Metric:
    whose = f"metric {name!r}"
    if ":" in name:
        found = import_own(name, whose)
    else:
        plugin = require_plugin("metrics", name, METRICS)
        whose, found = plugin.whose, plugin.load()
    if isinstance(found, Metric):
        return found
    if callable(found) and not isinstance(found, type):
        return own_metric(name=name, compare=found)
    raise ConfigError(
        f"{whose}: expected a platorep.metrics.Metric or a function of two n d feature "
        f"tensors that returns a number; it is of type {type(found).__name__}."
    )


@default_switches()
def summarize_layer(
    metrics: Sequence[BoundMetric], features: Float[Tensor, "n d"]
) -> list[Summary]:
    """The summaries of one layer for each metric, in their order, common work done once.

    One Gram matrix serves all kernel metrics, and one neighbor list with the largest k all
    neighbor metrics of the same similarity.

    Raises:
        DataError, ConfigError: as `BoundMetric.summarize`.
    """
    layer = Layer(features)
    found: dict[int, Summary] = {}
    largest_k_first = sorted(
        range(len(metrics)), key=lambda i: -getattr(metrics[i].parameters, "k", 0)
    )
    for i in largest_k_first:
        found[i] = metrics[i].summarize(layer)
    return [found[i] for i in range(len(metrics))]
