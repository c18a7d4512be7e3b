"""Do two numbers go together along depth? Layers are no independent points: neighbors are alike.

A correlation over the layers of one network has as many points as layers, but smooth curves have
few places to bend, so that two that know nothing of each other agree far more often than two
random lists do. The two nulls here keep every curve as it is:

- shifts: one curve of every model is turned along depth, each by a number of layers of its own, its
  end joined to its beginning. Is it the place that matters?
- exchange: a model's curve of one kind is held against another model's curve of the other kind, at
  the same relative depth. What all models have in common by depth alone is in this null too: is it
  this model's own shape that tells?

Axes: m models, l layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

DRAWS = 2000
"""Of shifts and of exchanges: p is at least 1 / (DRAWS + 1)."""
FEWEST_LAYERS, FEWEST_MODELS = 4, 3

Pair = Float64[np.ndarray, "2 _"]
"""Two numbers of each layer of one model."""


@dataclass(frozen=True)
class AlongDepth:
    """How two numbers go together along the depth of several models."""

    rho: float
    """Mean over models of Spearman's correlation over layers."""
    p_shifts: float
    p_exchange: float
    """Two-sided; the second is NaN of fewer than `FEWEST_MODELS` models."""
    num_models: int
    """That count: of four layers or more with both numbers, which vary."""


def along_depth(pairs: Sequence[Pair], *, seed: int = 0) -> AlongDepth:
    """The mean correlation over layers, and its p-values. A layer without a number is left out."""
    known = [pair[:, np.isfinite(pair).all(axis=0)] for pair in pairs]
    known = [pair for pair in known if pair.shape[1] >= FEWEST_LAYERS and np.ptp(pair, 1).all()]
    if not known:
        return AlongDepth(np.nan, np.nan, np.nan, 0)
    rho = float(np.mean([_correlation(*pair) for pair in known]))
    rng = np.random.default_rng(seed)
    shifts = _shifted(known, rng)
    exchanged = _exchanged(known, rng) if len(known) >= FEWEST_MODELS else None
    p_exchange = np.nan if exchanged is None else _p_value(exchanged, rho)
    return AlongDepth(rho, _p_value(shifts, rho), p_exchange, len(known))


def _correlation(one: Float64[np.ndarray, " l"], other: Float64[np.ndarray, " l"]) -> float:
    return float(_standard_ranks(one) @ _standard_ranks(other))


def _standard_ranks(values: Float64[np.ndarray, " l"]) -> Float64[np.ndarray, " l"]:
    """Their inner products are Spearman's correlations; 0 where nothing varies."""
    from scipy.stats import rankdata  # takes long to import, and finished scores need none of it

    ranks: np.ndarray = rankdata(values) - (len(values) + 1) / 2
    length = float(np.linalg.norm(ranks))
    return ranks / length if length else ranks


def _shifted(pairs: Sequence[Pair], rng: np.random.Generator) -> Float64[np.ndarray, " draws"]:
    """Mean correlations with one curve of every model turned."""
    total = np.zeros(DRAWS)
    for one, other in pairs:
        left, right = _standard_ranks(one), _standard_ranks(other)
        turned = np.array([left @ np.roll(right, shift) for shift in range(len(one))])
        total += turned[rng.integers(len(one), size=DRAWS)]
    return total / len(pairs)


def _exchanged(pairs: Sequence[Pair], rng: np.random.Generator) -> Float64[np.ndarray, " draws"]:
    """Mean correlations of each model's first curve with the second of whom it is dealt."""
    depths = [np.linspace(0, 1, pair.shape[1]) for pair in pairs]
    across = np.array(
        [
            [
                _correlation(one[0], np.interp(depth, own, other[1]))
                for own, other in zip(depths, pairs, strict=True)
            ]
            for depth, one in zip(depths, pairs, strict=True)
        ]
    )
    dealt = rng.permuted(np.tile(np.arange(len(pairs)), (DRAWS, 1)), axis=1)
    means: np.ndarray = across[np.arange(len(pairs)), dealt].mean(axis=1)
    return means


def _p_value(null: Float64[np.ndarray, " draws"], rho: float) -> float:
    """Share as far from 0 as what was found, which counts as one of them."""
    return (1 + int((np.abs(null) >= abs(rho) - 1e-12).sum())) / (1 + len(null))
