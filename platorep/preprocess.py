"""What is done to features before any metric sees them: clip large values, then normalise.

Source: arXiv:2405.07987 and its released code. Axes: n samples, d features.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from platorep.errors import DataError

_ROWS_PER_BLOCK = 16  # follows from nothing but the size of a cache; a row's quantile is its own


def preprocess(
    layers: Sequence[Float[Tensor, "n _"]],
    *,
    clip_quantile: float,
    clip_scope: Literal["model", "layer"],
    clip_estimate: Literal["sample_mean", "exact"],
    normalize: Literal["l2", "none"],
) -> list[Float[Tensor, "n _"]]:
    """The layers of one model, clipped to +-threshold and scaled to unit rows.

    Rows of zeros stay zeros.

    Raises:
        DataError: a value is NaN or infinite (says in which layer and row), or most values are zero
            and clipping would leave nothing else.
    """
    for index, layer in enumerate(layers):
        refuse_not_finite(layer, index)
    thresholds = clip_thresholds(
        layers, clip_quantile=clip_quantile, clip_scope=clip_scope, clip_estimate=clip_estimate
    )
    return [
        clip_and_normalize(layer, threshold, normalize=normalize)
        for layer, threshold in zip(layers, thresholds, strict=True)
    ]


def refuse_not_finite(layer: Float[Tensor, "n d"], index: int, first_row: int = 0) -> None:
    """Raises DataError where a value is NaN or infinite; says in which layer and row."""
    if not bool(layer.isfinite().all()):
        row = first_row + int((~layer.isfinite().all(dim=1)).nonzero()[0])
        raise DataError(
            f"layer {index}, row {row} holds a value that is not finite: half precision, in which "
            "it was computed (`dtype`) or stored (`extract.store`), has overflowed, or weights are "
            "broken. Make these features anew (`platorep extract --overwrite always` names the "
            "cause), or leave the layer out (`layers: [...]`)."
        )


def clip_thresholds(
    layers: Sequence[Float[Tensor, "n _"]],
    *,
    clip_quantile: float,
    clip_scope: Literal["model", "layer"],
    clip_estimate: Literal["sample_mean", "exact"],
) -> list[float]:
    """Where each layer of one model is clipped; infinity where it is not.

    Raises:
        DataError: most values of a layer are zero, and clipping would leave nothing else.
    """
    if clip_quantile == 1:
        return [float("inf")] * len(layers)
    groups = [layers] if clip_scope == "model" else [[layer] for layer in layers]
    found = [clip_threshold(group, clip_quantile, clip_estimate) for group in groups]
    thresholds = found * len(layers) if clip_scope == "model" else found
    for index, (layer, threshold) in enumerate(zip(layers, thresholds, strict=True)):
        if threshold == 0 and bool(layer.any()):
            raise DataError(
                f"layer {index}: clipping would turn every value into zero, since at least "
                f"{clip_quantile:.0%} of them are zero already. Set "
                "align.preprocess.clip_quantile: 1 for features as sparse as these."
            )
    return thresholds


def clip_and_normalize(
    layer: Float[Tensor, "n d"], threshold: float, *, normalize: Literal["l2", "none"]
) -> Float[Tensor, "n d"]:
    """Each row by itself: clipped to +-threshold, then scaled to length 1. Zeros stay zeros."""
    clipped = layer.clamp(-threshold, threshold)
    return F.normalize(clipped, dim=1) if normalize == "l2" else clipped


def clip_threshold(
    layers: Sequence[Float[Tensor, "n _"]],
    quantile: float,
    estimate: Literal["sample_mean", "exact"],
) -> float:
    """The `quantile` of |value| over all `layers`, with linear interpolation.

    `sample_mean` is the mean over samples of each sample's own quantile (the released code's
    default), `exact` the quantile over all values (its `--precise`).
    """
    if estimate == "exact":
        values = np.concatenate([layer.abs().flatten().cpu().numpy() for layer in layers])
        return float(_quantiles(values[None], quantile)[0])

    def of_block(start: int) -> np.ndarray:
        rows = slice(start, start + _ROWS_PER_BLOCK)
        return _quantiles(
            np.concatenate([layer[rows].abs().cpu().numpy() for layer in layers], axis=1), quantile
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = pool.map(of_block, range(0, len(layers[0]), _ROWS_PER_BLOCK))
        return float(np.concatenate(list(blocks)).mean())


def _quantiles(values: np.ndarray, quantile: float) -> np.ndarray:
    """The `quantile` of each row in float64; reorders `values`."""
    place = quantile * (values.shape[1] - 1)
    low, high = int(np.floor(place)), int(np.ceil(place))
    values.partition((low, high), axis=1)
    ends = values[:, [low, high]].astype(np.float64)
    found: np.ndarray = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * (place - low)
    return found
