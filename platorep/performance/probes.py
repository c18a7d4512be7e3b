"""Accuracy of a classifier on frozen features; docs/performance.md has the protocol.

Axes: n images, d features. The classifiers are scikit-learn's.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from platorep.config import ProbeConfig
from platorep.errors import ConfigError, DataError

RULE_VERSION = 1  # raise when the meaning of a measurement changes


@dataclass(frozen=True)
class Examples:
    """The images of one part: their labels, and their features at each layer asked for."""

    layers: Sequence[Float[np.ndarray, "n _"]]
    labels: Sequence[str]

    def at(self, layer: int) -> Float[np.ndarray, "n d"]:
        """In float64, where the solver comes to rest at the same place on every machine."""
        return np.asarray(self.layers[layer], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """An accuracy on the test part, and how its classifier was chosen."""

    value: float
    stderr: float
    layer: str
    setting: float
    """The chosen c (linear) or k (knn)."""
    validation: float
    """Accuracy by which it was chosen; larger than it would be on other images."""
    tried: tuple[tuple[str, float, float], ...]
    """Layer, setting and validation accuracy of every candidate."""
    converged: bool
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int


def run_probe(
    config: ProbeConfig,
    layers: Sequence[str],
    train: Examples,
    validation: Examples,
    test: Examples,
    *,
    progress: Callable[[int], None] = lambda finished: None,
) -> ProbeResult:
    """Choose layer and setting on `validation`, train on both, report on `test`.

    Among equals the layer named first wins, then the smaller c or k.

    Args:
        layers: Names of the layers of the examples.
        progress: Called with 1 after each fit.

    Raises:
        ConfigError: more neighbors are asked for than there are images to train on.
        DataError: a feature is not finite.
    """
    settings = sorted({float(one) for one in (config.c if config.probe == "linear" else config.k)})
    if config.probe == "knn" and settings[-1] > len(train.labels):
        raise ConfigError(
            f"{config.name}: k: {settings[-1]:g} neighbors are asked for, but there are "
            f"{len(train.labels)} images to train on. Leave out the larger k."
        )
    tried: list[tuple[str, float, float]] = []
    for layer, name in enumerate(layers):
        _check_finite(name, train.layers[layer], validation.layers[layer], test.layers[layer])
        known, new = train.at(layer), validation.at(layer)
        for setting in settings:
            accuracy = _fit(config, setting, known, train.labels).score(new, validation.labels)
            tried.append((name, setting, float(accuracy)))
            progress(1)
    chosen = max(range(len(tried)), key=lambda i: tried[i][2])
    layer, setting = chosen // len(settings), settings[chosen % len(settings)]
    both = np.concatenate([train.at(layer), validation.at(layer)])
    classifier = _fit(config, setting, both, [*train.labels, *validation.labels])
    value = float(classifier.score(test.at(layer), test.labels))
    progress(1)
    return ProbeResult(
        value=value,
        stderr=standard_error(value, len(test.labels)),
        layer=layers[layer],
        setting=setting,
        validation=tried[chosen][2],
        tried=tuple(tried),
        converged=config.probe == "knn" or int(max(classifier[-1].n_iter_)) < config.max_iterations,
        num_train=len(train.labels),
        num_validation=len(validation.labels),
        num_test=len(test.labels),
        num_classes=len({*train.labels, *validation.labels, *test.labels}),
    )


def standard_error(accuracy: float, n: int) -> float:
    """Of the mean of n zeros and ones: their sample standard deviation over sqrt(n)."""
    return math.sqrt(accuracy * (1 - accuracy) / (n - 1)) if n > 1 else math.nan


def _fit(config: ProbeConfig, setting: float, features: NDArray[Any], labels: Sequence[str]) -> Any:
    # imported here: it takes long, and finished probes need none of it
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if config.probe == "knn":
        return KNeighborsClassifier(int(setting), metric="cosine").fit(features, labels)
    solver = LogisticRegression(C=setting, max_iter=config.max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says so
        return make_pipeline(StandardScaler(), solver).fit(features, labels)


def _check_finite(layer: str, *parts: NDArray[Any]) -> None:
    if not all(np.isfinite(part).all() for part in parts):
        raise DataError(f"layer {layer} has features that are not finite: no probe can use them.")
