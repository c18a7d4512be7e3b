"""What is done to features before any metric sees them: clipped, scaled, centred, layer by layer.

Every step is fitted on some rows and can then be done to others (the rows of a gallery): what it
makes of a row depends on that row and the fitted rows alone. Sources: clipping and unit rows
arXiv:2405.07987 and its released code; standardising arXiv:2109.04404; mean and first components
arXiv:1702.01417 (there of the raw features, here of unit rows).

Axes: n samples, d features, c components.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from platorep.errors import DataError
from platorep.machine import num_cores
from platorep.parameters.preprocess import PreprocessConfig

_ROWS_PER_BLOCK = 16  # follows from nothing but the size of a cache; a row's quantile is its own
_DUST = 1e-6
"""Of its own length: what is left of a row, or of a unit, below it is the rounding of float32."""

Step: TypeAlias = Callable[[Float[Tensor, "m _"]], Float[Tensor, "m _"]]


@dataclass(frozen=True)
class PreparedLayer:
    """One layer, and how it became what it is."""

    rows: Float[Tensor, "n d"]
    steps: tuple[Step, ...]
    """Each row by itself: no result depends on which other rows are given."""

    def __call__(self, rows: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """Other rows, prepared as these were: same threshold, mean and components."""
        for step in self.steps:
            rows = step(rows)
        return rows


def preprocess(
    layers: Sequence[Float[Tensor, "n _"]], config: PreprocessConfig
) -> list[Float[Tensor, "n _"]]:
    """The layers of one model as metrics see them.

    Rows of zeros stay zeros unless something is centred.

    Raises:
        DataError: as `prepare`.
    """
    return [layer.rows for layer in prepare(layers, config)]


def prepare(
    layers: Sequence[Float[Tensor, "n _"]],
    config: PreprocessConfig,
    only: Sequence[int] | None = None,
) -> list[PreparedLayer]:
    """The layers of one model, each with the steps that other rows must go through.

    Args:
        only: Indices of the layers to return; which others there are may move a threshold.

    Raises:
        DataError: a value is NaN or infinite (says in which layer and row), most values are zero
            and clipping would leave nothing else, or a layer has too few components.
    """
    for index, layer in enumerate(layers):
        refuse_not_finite(layer, index)
    threshold = model_threshold(lambda: [layers], config)
    chosen = range(len(layers)) if only is None else only
    return [prepare_layer(layers[index], index, config, threshold) for index in chosen]


def prepare_layer(
    layer: Float[Tensor, "n d"],
    index: int,
    config: PreprocessConfig,
    threshold: float | None = None,
) -> PreparedLayer:
    """One layer of a model, as `prepare` makes it.

    Args:
        index: Of the layer, for messages.
        threshold: `model_threshold` of all layers; None: the layer has its own.

    Raises:
        DataError: as `prepare`.
    """
    refuse_not_finite(layer, index)
    if threshold is None:
        threshold = clip_threshold(lambda: [[layer]], config.clip_quantile, config.clip_estimate)
    if threshold == 0 and bool(layer.any()):
        raise DataError(
            f"layer {index}: clipping would turn every value into zero, since at least "
            f"{config.clip_quantile:.0%} of them are zero already. Set "
            "align.preprocess.clip_quantile: 1 for features as sparse as these."
        )
    most = max(min(len(layer) - 1, layer.shape[1]) - 1, 0)
    if config.remove_components > most:
        raise DataError(
            f"layer {index}: align.preprocess.remove_components: {config.remove_components} "
            f"leaves nothing of {len(layer)} rows of width {layer.shape[1]}. Remove at most "
            f"{most}, or leave the layer out (`layers: [...]`)."
        )
    return _prepare_layer(layer, threshold, config)


def _prepare_layer(
    layer: Float[Tensor, "n d"], threshold: float, config: PreprocessConfig
) -> PreparedLayer:
    steps: list[Step] = [partial(torch.clamp, min=-threshold, max=threshold)]
    rows = steps[0](layer)

    def then(step: Step) -> None:
        nonlocal rows
        steps.append(step)
        rows = step(rows)

    if config.center == "before":
        then(partial(_subtract, mean=rows.double().mean(dim=0)))
    if config.standardize:
        then(partial(_scale_units, mean=rows.double().mean(dim=0), factor=_unit_factors(rows)))
    if config.normalize == "l2":
        then(partial(F.normalize, dim=1))
    if config.center == "after":
        then(partial(_subtract, mean=rows.double().mean(dim=0)))
    if config.remove_components:
        then(partial(_project_out, components=_components(rows, config.remove_components)))
    return PreparedLayer(rows, tuple(steps))


def _subtract(rows: Float[Tensor, "m d"], mean: Float64[Tensor, " d"]) -> Float[Tensor, "m d"]:
    return _without_dust(rows, rows.double() - mean)


def _unit_factors(rows: Float[Tensor, "n d"]) -> Float64[Tensor, " d"]:
    """One over the standard deviation of each unit; 0 where it does not vary."""
    exact = rows.double()
    deviation = exact.std(dim=0, correction=0)
    varies = deviation > _DUST * exact.square().mean(dim=0).sqrt()
    return torch.where(varies, 1 / deviation, 0.0)


def _scale_units(
    rows: Float[Tensor, "m d"], mean: Float64[Tensor, " d"], factor: Float64[Tensor, " d"]
) -> Float[Tensor, "m d"]:
    return ((rows.double() - mean) * factor).float()


def _components(rows: Float[Tensor, "n d"], count: int) -> Float64[Tensor, "d c"]:
    """The first principal components, orthonormal, of rows whose mean is zero."""
    exact = rows.double()
    wide = len(rows) < rows.shape[1]  # the eigenvectors of the smaller of two products
    _, vectors = torch.linalg.eigh(exact @ exact.T if wide else exact.T @ exact)
    components: Tensor = vectors[:, -count:]
    if wide:
        components, _ = torch.linalg.qr(exact.T @ components)
    return components


def _project_out(
    rows: Float[Tensor, "m d"], components: Float64[Tensor, "d c"]
) -> Float[Tensor, "m d"]:
    exact = rows.double()
    return _without_dust(rows, exact - (exact @ components) @ components.T)


def _without_dust(
    before: Float[Tensor, "m d"], after: Float64[Tensor, "m d"]
) -> Float[Tensor, "m d"]:
    """`after` in float32; rows of which only rounding is left are zero: else metrics would find
    neighbors in it."""
    rounded = after.float()
    left, whole = (torch.linalg.vector_norm(rows, dim=1) for rows in (rounded, before))
    return rounded.masked_fill_((left <= _DUST * whole)[:, None], 0)


def refuse_not_finite(layer: Float[Tensor, "n d"], index: int, first_row: int = 0) -> None:
    """Raises DataError where a value is NaN or infinite; says in which layer and row."""
    if layer.sum().isfinite():  # no value that is not finite is lost in a sum
        return
    if not bool(layer.isfinite().all()):
        row = first_row + int((~layer.isfinite().all(dim=1)).nonzero()[0])
        raise DataError(
            f"layer {index}, row {row} holds a value that is not finite: half precision, in which "
            "it was computed (`dtype`) or stored (`extract.store`), has overflowed, or weights are "
            "broken. Make these features anew (`platorep extract --overwrite always` names the "
            "cause), or leave the layer out (`layers: [...]`)."
        )


Blocks: TypeAlias = Callable[[], Iterable[Sequence[Float[Tensor, "m _"]]]]
"""All layers of one model, some rows after the other; called once for each pass over them."""


def model_threshold(blocks: Blocks, config: PreprocessConfig) -> float | None:
    """Where all layers of a model are clipped; None where each layer has a threshold of its own."""
    if config.clip_scope == "layer":
        return None
    return clip_threshold(blocks, config.clip_quantile, config.clip_estimate)


def clip_threshold(
    blocks: Blocks, quantile: float, estimate: Literal["sample_mean", "exact"]
) -> float:
    """The `quantile` of |value| over all layers, with linear interpolation; infinity for 1.

    `sample_mean` is the mean over samples of each sample's own quantile (the released code's
    default), `exact` the quantile over all values (its `--precise`).
    """
    if quantile == 1:
        return float("inf")
    if estimate == "exact":
        return _exact_quantile(blocks, quantile)

    def of_rows(layers: Sequence[Float[Tensor, "m _"]]) -> np.ndarray:
        return _quantiles(
            np.concatenate([layer.abs().cpu().numpy() for layer in layers], axis=1), quantile
        )

    with ThreadPoolExecutor(num_cores()) as pool:
        found = [
            part
            for layers in blocks()
            for part in pool.map(
                of_rows,
                (
                    [layer[start : start + _ROWS_PER_BLOCK] for layer in layers]
                    for start in range(0, len(layers[0]), _ROWS_PER_BLOCK)
                ),
            )
        ]
    return float(np.concatenate(found).mean())


def _exact_quantile(blocks: Blocks, quantile: float) -> float:
    """Holds no more than a block: the two values beside the quantile are found 16 bits at a time,
    since numbers that are not negative are in the order of their bits."""

    def values() -> Iterator[np.ndarray]:
        return (layer.abs().flatten().cpu().numpy() for part in blocks() for layer in part)

    kind = next(values()).dtype
    top = 8 * kind.itemsize - 16
    place, ranks, ends = 0.0, [0, 0], [0, 0]
    for shift in range(top, -1, -16):
        counts = {end: np.zeros(1 << 16, dtype=np.int64) for end in ends}
        for part in values():
            digits = part.view(f"u{kind.itemsize}") >> shift
            for end, count in counts.items():
                count += np.bincount(digits[digits >> 16 == end] & 0xFFFF, minlength=1 << 16)
        if shift == top:
            place = quantile * (counts[0].sum() - 1)
            ranks = [int(np.floor(place)), int(np.ceil(place))]
        for which, (rank, end) in enumerate(zip(ranks, ends, strict=True)):
            up_to = counts[end].cumsum()
            digit = int(np.searchsorted(up_to, rank, side="right"))
            ranks[which] = rank - int(up_to[digit] - counts[end][digit])
            ends[which] = end << 16 | digit
    low, high = np.array(ends, dtype=f"u{kind.itemsize}").view(kind).astype(np.float64)
    return float(low + (high - low) * (place % 1))


def _quantiles(values: np.ndarray, quantile: float) -> np.ndarray:
    """The `quantile` of each row in float64; reorders `values`."""
    place = quantile * (values.shape[1] - 1)
    low, high = int(np.floor(place)), int(np.ceil(place))
    values.partition((low, high), axis=1)
    ends = values[:, [low, high]].astype(np.float64)
    found: np.ndarray = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * (place - low)
    return found
