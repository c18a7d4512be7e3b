"""What is true of a scene, as features: what every other representation can be compared with.

Layers, each one vector per scene:

| layer | dimensions | what |
|---|---|---|
| `texture` | 6 | one-hot |
| `shapes`, `colors`, `sizes`, `cells` | 8, 8, 3, 9 | how many objects have it |
| `kinds` | 64 | how many objects have this shape and colour |
| `place` | one per place | one-hot, the hidden cause |
| `all` | 34 | texture, shapes, colours, sizes, cells together |
| `posterior` | one per place | what the visible attributes say of the hidden place |

Rows of the counting layers often repeat; those of `posterior` only where two scenes look alike.
"""

import numpy as np
from jaxtyping import Float
from scipy.fft import dct
from scipy.special import logsumexp

from platorep.parameters.toyworld import (
    CELLS,
    COLORS,
    COLUMNS,
    SHAPES,
    SIZES,
    TEXTURES,
    WorldParameters,
)
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.scenes import COUNTS, Scene, place_weights, places

BLUR_SHARE = 0.01


def attributes(world: WorldParameters, scenes: list[Scene]) -> dict[str, Float[np.ndarray, "n _"]]:
    """The true attributes of the scenes, layer by layer, in the order of the table above."""
    layers = {
        "texture": _count([[s.texture] for s in scenes], len(TEXTURES)),
        "shapes": _count([[t.shape for t in s.things] for s in scenes], len(SHAPES)),
        "colors": _count([[t.color for t in s.things] for s in scenes], len(COLORS)),
        "sizes": _count([[t.size for t in s.things] for s in scenes], len(SIZES)),
        "cells": _count(
            [[t.row * len(COLUMNS) + t.column for t in s.things] for s in scenes], len(CELLS)
        ),
        "kinds": _count(
            [[t.shape * len(COLORS) + t.color for t in s.things] for s in scenes],
            len(SHAPES) * len(COLORS),
        ),
        "place": _count([[s.place] for s in scenes], world.num_places),
    }
    visible = ("texture", "shapes", "colors", "sizes", "cells")
    layers["all"] = np.concatenate([layers[name] for name in visible], axis=1)
    layers["posterior"] = place_posterior(world, scenes)
    return layers


def truth_features(
    world: WorldParameters, scenes: list[Scene]
) -> dict[str, Float[np.ndarray, "n _"]]:
    """`attributes`, each layer rotated so that every column carries a part of every attribute.

    The rotation (an orthonormal cosine transform) changes no inner product, distance or neighbor.
    Without it, clipping at a quantile of |value|, made for networks, would turn a layer of which
    95 % is zero into zeros.
    """
    return {
        name: dct(layer, norm="ortho", axis=1) for name, layer in attributes(world, scenes).items()
    }


def blur(
    world: WorldParameters, scenes: list[Scene], layer: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n d"]:
    """`layer` with each row moved in a random direction, by one percent of its length.

    Many scenes have the same texture, and so the same row; who of them is nearest then has no
    answer. The blur gives a random one, the same on every machine, so that no layer of the truth is
    left out of a maximum over layers for its ties. It is too small to change what had an answer.
    """
    num = layer.shape[1]
    octets = [Draws(world.seed, s.index, Purpose.BLUR).octets(num) for s in scenes]
    directions = np.stack(octets).astype(np.float64) - 127.5
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    blurred: np.ndarray = (
        layer + BLUR_SHARE * np.linalg.norm(layer, axis=1, keepdims=True) * directions
    )
    return blurred


def _count(numbers: list[list[int]], num: int) -> Float[np.ndarray, "n d"]:
    return np.array([np.bincount(row, minlength=num) for row in numbers], dtype=np.float64)


def place_posterior(world: WorldParameters, scenes: list[Scene]) -> Float[np.ndarray, "n d"]:
    """P(place | visible attributes) / sqrt(P(place)) for every place, 0 <= value.

    The inner product of two scenes is then P(x, y) / (P(x) P(y)) for x and y seen in one place:
    the exponential of their pointwise mutual information. In a flat world it is 1 for all pairs.
    Texture, number, shapes, colours and sizes are used; cells are not, they change with the frame.
    """
    habits = places(world)

    def log_shares(name: str) -> np.ndarray:
        weights = np.array([getattr(place, name) for place in habits], dtype=np.float64)
        with np.errstate(divide="ignore"):  # without a uniform share a habit may be never
            shares: np.ndarray = np.log(weights / weights.sum(-1, keepdims=True))
        return shares

    textures, shapes, colors = log_shares("textures"), log_shares("shapes"), log_shares("colors")
    sizes, counts = log_shares("sizes"), log_shares("counts")
    prior = np.array(place_weights(world.num_places), dtype=np.float64)
    log_prior = np.log(prior / prior.sum())

    def posterior(scene: Scene) -> np.ndarray:
        total: np.ndarray = (
            log_prior + textures[:, scene.texture] + counts[:, COUNTS.index(len(scene.things))]
        )
        for thing in scene.things:
            total = total + shapes[:, thing.shape] + sizes[:, thing.size]
            total = total + colors[:, thing.shape, thing.color]
        normalised: np.ndarray = total - logsumexp(total)
        return normalised

    features: np.ndarray = np.exp(np.stack([posterior(s) for s in scenes]) - log_prior / 2)
    return features
