"""How far features moved, layer by layer, and whether that is too far.

Axes: n samples, d features; a model has one `n d` tensor per layer, widths may differ.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from platorep.config import PreprocessConfig
from platorep.metrics import bind
from platorep.models.probing import relative_changes
from platorep.preprocess import preprocess

KEPT_NEIGHBORS = 0.98
"""Least mutual k-NN of a layer with itself that is trusted.

No score of the layer can move by more than what is missing to 1: of k neighbors, no more than
these are others now. Where they are others at random, a score of .2, which is high for two
modalities, moves by .2 * .02 = .004, and that is its sampling error with 1,024 rows.
"""


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """What became of one layer."""

    layer: str
    change: float
    """Largest distance of a sample's features from what they were, in lengths of these; NaN where
    a value is not finite."""
    mutual_knn: float | None
    """Of the layer with itself before the change; None where neighbors say nothing: a value is
    not finite, or most samples are tied."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What became of the layers of a model, held against what may become of them."""

    layers: tuple[LayerChange, ...]
    limit: float
    """Largest `change` that is trusted."""

    @property
    def worst(self) -> LayerChange:
        """The layer that changed most."""
        return max(self.layers, key=lambda one: math.inf if math.isnan(one.change) else one.change)

    @property
    def mutual_knn(self) -> float | None:
        """The least over the layers."""
        known = [one.mutual_knn for one in self.layers if one.mutual_knn is not None]
        return min(known, default=None)

    @property
    def trusted(self) -> bool:
        return not self._troubles()

    def words(self) -> str:
        """What happened, for a sentence."""
        if troubles := self._troubles():
            return "; ".join(troubles)
        if self.worst.change == 0:
            return "nothing moves"
        stay = ""
        if self.mutual_knn is not None:
            stay = f"neighbors stay (mutual_knn with itself {share(self.mutual_knn)}), "
        return f"{stay}features move by {self.worst.change:.1g} of their length at most"

    def _troubles(self) -> list[str]:
        """What is not trusted, and at which layers."""
        troubles = []
        if broken := self._where(lambda one: not math.isfinite(one.change)):
            troubles.append(f"gives values that are not finite at {self._names(broken)}")
        if restless := self._where(
            lambda one: one.mutual_knn is not None and one.mutual_knn < KEPT_NEIGHBORS
        ):
            assert self.mutual_knn is not None
            least = share(self.mutual_knn)
            troubles.append(
                f"moves neighbors at {self._names(restless)}: mutual_knn with itself {least}"
            )
        if far := self._where(lambda one: math.isfinite(one.change) and one.change > self.limit):
            most = max(self.layers[i].change for i in far)
            troubles.append(
                f"moves features at {self._names(far)} by up to {most:.2g} of their length, where "
                f"rounding explains {self.limit:.2g}"
            )
        return troubles

    def _where(self, holds: Callable[[LayerChange], bool]) -> list[int]:
        return [i for i, one in enumerate(self.layers) if holds(one)]

    def _names(self, indices: Sequence[int]) -> str:
        """Names of layers, those in a row drawn together: `blocks.1 to blocks.3, norm`."""
        spans: list[list[int]] = []
        for i in indices:
            if spans and spans[-1][-1] == i - 1:
                spans[-1].append(i)
            else:
                spans.append([i])
        names = [one.layer for one in self.layers]
        return ", ".join(
            names[span[0]] if len(span) == 1 else f"{names[span[0]]} to {names[span[-1]]}"
            for span in spans
        )


def compare_layers(
    found: Sequence[Float[Tensor, "n _"]],
    expected: Sequence[Float[Tensor, "n _"]],
    names: Sequence[str],
    *,
    limit: float,
    preprocessing: PreprocessConfig,
) -> Changes:
    """What became of each layer; neighbors are those of the experiment, after its preprocessing.

    Args:
        expected: The features before the change, all of them finite.
        names: Of the layers.
        limit: Largest change that is trusted, in lengths of a sample's features.

    Raises:
        ConfigError: there are too few samples for k neighbors.
        DataError: most values of a layer are zero, which clipping makes nothing of.
    """
    finite = [i for i, layer in enumerate(found) if bool(layer.isfinite().all())]
    neighbors = _neighbors_kept(found, expected, finite, preprocessing)
    layers = tuple(
        LayerChange(
            layer=name,
            change=float(relative_changes(layer, before).max()),
            mutual_knn=neighbors.get(i),
        )
        for i, (name, layer, before) in enumerate(zip(names, found, expected, strict=True))
    )
    return Changes(layers=layers, limit=limit)


def _neighbors_kept(
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
    indices: Sequence[int],
    preprocessing: PreprocessConfig,
) -> dict[int, float]:
    """Mutual k-NN of these layers with themselves, by index; without those that are degenerate."""
    metric = bind("mutual_knn")
    if not indices:
        return {}
    after, before = (
        [metric.summarize(layer) for layer in preprocess(layers, preprocessing)]
        for layers in ([found[i] for i in indices], [expected[i] for i in indices])
    )
    return {
        i: float(metric.compare([new], [old])[0, 0])
        for i, new, old in zip(indices, after, before, strict=True)
        if not metric.degenerate(old)
    }


def share(value: float) -> str:
    """`.998`, rounded so that only 1 is `1`: whoever reads it may hold it against a limit."""
    if value == 1:
        return "1"
    return f"{math.floor(value * 1000) / 1000:.3f}".removeprefix("0")
