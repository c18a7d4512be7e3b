"""The Python interface. `platorep` hands these on, and imports nothing until they are used."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from jaxtyping import Float
from torch import Tensor

from platorep.align.groups import groups_of_rows
from platorep.align.summaries import prepared_layers
from platorep.arrays import EXACT_IN_FLOAT32, EXACT_IN_FLOAT64, as_features, as_float32
from platorep.errors import AbsentError, DataError, UnknownNameError
from platorep.features import Cell
from platorep.files import cache_root
from platorep.metrics import METRICS, BoundMetric, Summary, bind, default_switches
from platorep.opened import Features, scored_settings
from platorep.plugins import plugin_names
from platorep.results import Results
from platorep.statistics import best_pair
from platorep.with_null import ScoreWithNull, score_with_null

Layers: TypeAlias = Any
"""An array `n d` (a NumPy array, a tensor, a data frame), or a sequence of such arrays."""


@overload
def score(
    x: Layers,
    y: Layers,
    metric: str = "mutual_knn",
    *,
    permutations: int,
    null_seed: int = 0,
    **parameters: Any,
) -> ScoreWithNull: ...


@overload
def score(
    x: Layers, y: Layers, metric: str = "mutual_knn", **parameters: Any
) -> float | np.ndarray: ...


@default_switches()
def score(
    x: Layers,
    y: Layers,
    metric: str = "mutual_knn",
    *,
    permutations: int = 0,
    null_seed: int = 0,
    **parameters: Any,
) -> float | np.ndarray | ScoreWithNull:
    """How alike two models represent the same n samples.

    Nothing is clipped or normalised beyond what the metric's own definition says.

    Args:
        x: Features `n d` of one layer, or a list of layers; row i is sample i in x and y.
        y: The same for the other model; its widths may differ.
        metric: A name of `list_metrics()`, or a metric of your own as `package.module:object`.
        permutations: So many orders of the samples of y, for the null; 0: none. What it takes is
            that many comparisons.
        null_seed: Which orders are drawn (`align.null.seed` of an experiment).
        **parameters: Of the metric, such as `k=10`; docs/metrics.md has them all.

    Returns:
        A number for two arrays; a float64 array of scores, `l_x l_y`, if x or y is a list. With
        permutations the best of these scores with its null and p.

    Raises:
        DataError: rows differ in number, are not finite, or are too few.
        ConfigError: a parameter does not exist or does not fit the data.
        UnknownNameError: no metric has that name.
    """
    bound = bind(metric, parameters)
    of_x, of_y = _summaries(bound, x, "x"), _summaries(bound, y, "y")
    if permutations:
        return score_with_null(bound, of_x, of_y, permutations, null_seed)
    scores = bound.compare(of_x, of_y)
    both_single = not _is_list(x) and not _is_list(y)
    return float(scores[0, 0]) if both_single else scores


class Reference:
    """A cached model to score new features against again and again, such as during training.

        reference = platorep.Reference("results/mine", "dinov2-small", metric="mutual_knn", k=10)
        reference(features)   # n d, rows in the order of `reference.ids` -> the best layer's score
        reference(features, permutations=1000).p   # with its null

    The score is what `align` would give the features in this experiment under that metric: rows,
    preprocessing and candidates (`align.concatenated`) are those it was last aligned with, or
    extracted for; metric and parameters are those of the call, not the experiment's. The
    reference's features are summarized once, and never read again: a call costs one summary and one
    comparison, and one more for each permutation.

    Raises:
        AbsentError: the experiment or the features are not there.
        UnknownNameError: the experiment has no such model, or no metric has that name.
        IntegrityError: a file of the cache is damaged.
    """

    @default_switches()
    def __init__(
        self, results: str | Path, model: str, metric: str = "mutual_knn", **parameters: Any
    ) -> None:
        features = load_features(results, model)
        self._results = Results(Path(results))
        self._align = scored_settings(self._results)
        num_rows = self._align.scored_rows(len(features.ids))
        self.ids = features.ids[:num_rows]
        self._metric = bind(metric, parameters)
        layers = [layer[:num_rows] for layer in features.layers]
        self._summaries = self._summarize(model, layers)

    def _summarize(self, label: str, layers: Sequence[Float[Tensor, "n _"]]) -> list[Summary]:
        prepared = prepared_layers(self._align, label, layers)
        return [self._metric.summarize(layer) for layer in prepared]

    @overload
    def __call__(
        self, features: Layers, *, permutations: int, null_seed: int | None = None
    ) -> ScoreWithNull: ...

    @overload
    def __call__(self, features: Layers) -> float: ...

    @default_switches()
    def __call__(
        self, features: Layers, *, permutations: int = 0, null_seed: int | None = None
    ) -> float | ScoreWithNull:
        """The best score of any given layer with any layer of the reference that is not degenerate.

        NaN, with a warning that says why, where no pair of layers has one.

        Args:
            permutations: So many orders of the reference's samples, for the null, inside the
                groups of `align.null.within` if the experiment has some; 0: no null.
            null_seed: Which orders are drawn; absent: `align.null.seed` of the experiment.

        Returns:
            The score; with permutations also its null and p, which are those of best.csv where the
            reference is y.

        Raises:
            DataError: not as many rows as `ids`, or a value is not finite.
            AbsentError: the file of groups is not there.
        """
        tensors = _tensors(features, "features", largest=EXACT_IN_FLOAT32)
        for name, layer in tensors.items():
            if len(layer) != len(self.ids):
                raise DataError(
                    f"{name} has shape {tuple(layer.shape)}, expected {len(self.ids)} rows in the "
                    "order of `ids`."
                )
        own = self._summarize(
            "features", [as_float32(layer, name).cpu() for name, layer in tensors.items()]
        )
        if permutations:
            null = self._align.null
            seed = null.seed if null_seed is None else null_seed
            return score_with_null(
                self._metric, own, self._summaries, permutations, seed, self._groups
            )
        best = best_pair(
            self._metric.compare(own, self._summaries),
            [self._metric.degenerate(summary) for summary in own],
            [self._metric.degenerate(summary) for summary in self._summaries],
            larger_is_closer=self._metric.claims.larger_is_closer,
        )
        if best.reason is not None:
            warnings.warn(f"no score: {best.reason}", stacklevel=3)
        return best.score

    @cached_property
    def _groups(self) -> list[str] | None:
        """Of the rows, where they change places inside groups only."""
        within = self._align.null.within
        if within is None:
            return None
        groups = groups_of_rows(within, "align.null.within", self._results)
        return groups[: len(self.ids)]


def load_features(results: str | Path, model: str) -> Features:
    """The cached features of a model of an experiment, verified.

    Args:
        results: The experiment's folder of results, such as `results/smoke`.
        model: The model's label.

    Raises:
        AbsentError: the experiment or the features are not there.
        UnknownNameError: the experiment has no such model.
        IntegrityError: a file of the cache is damaged.
    """
    folder = Results(Path(results))
    cells = folder.read_json(folder.cells, "extract")["cells"]
    if model not in cells:
        raise UnknownNameError(f"model of {results}", model, cells)
    cell = Cell(cache_root() / cells[model]["folder"])
    if not cell.is_complete():
        raise AbsentError(
            f"the features of {model} are not complete in {cell.folder}. Run `platorep extract`."
        )
    return Features(cell.read(), cell.layers, tuple(cell.rows().ids))


def list_metrics() -> list[str]:
    """The names that `score` knows: what is built in, then what installed packages have."""
    return list(dict.fromkeys([*METRICS, *plugin_names("metrics")]))


def _is_list(layers: Layers) -> bool:
    return not hasattr(layers, "shape")


def _tensors(
    layers: Layers, side: str, *, largest: int = EXACT_IN_FLOAT64
) -> dict[str, Float[Tensor, "n _"]]:
    """The layers by what to call them in an error, all on the device of the first."""
    if not _is_list(layers):
        named: dict[str, object] = {side: layers}
    elif isinstance(layers, (str, bytes, Mapping)) or not isinstance(layers, Iterable):
        raise DataError(
            f"{side} is of type {type(layers).__name__}; expected an array `n d`, or a list of "
            "such arrays, one per layer."
        )
    else:
        named = {f"layer {i} of {side}": layer for i, layer in enumerate(layers)}
    if not named:
        raise DataError(f"{side} has no layers.")
    tensors = {name: as_features(given, name, largest=largest) for name, given in named.items()}
    device = next(iter(tensors.values())).device
    for name, tensor in tensors.items():
        if tensor.ndim != 2:
            raise DataError(
                f"{name} has shape {tuple(tensor.shape)}, expected two axes: samples and features."
            )
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _summaries(metric: BoundMetric, layers: Layers, side: str) -> list[Summary]:
    summaries = []
    for name, tensor in _tensors(layers, side).items():
        try:
            summaries.append(metric.summarize(tensor))
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    return summaries
