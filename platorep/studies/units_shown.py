"""Which units the figures of `platorep units match` show, over which samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch.nn import functional as F

from platorep.config import ModelSpec
from platorep.studies.context import Context
from platorep.units.maps import Maps
from platorep.units.naming import name_of

PIXELS = 96  # per side of a picture that is shown
TEXTS = 2  # of a clique of language units
Clique = tuple[tuple[str, int, int], ...]
"""Model, layer and number within the layer."""


def chosen_cliques(
    cliques: pd.DataFrame, matches: pd.DataFrame, depths: Mapping[tuple[str, int], float], top: int
) -> list[tuple[Clique, float]]:
    """The strongest clique of each of `top` equal parts of depth (its units' mean), first to last.

    Where no three networks share a unit, pairs stand for cliques.

    Args:
        depths: From 0 (first layer) to 1 of each model's layers: of which models is decided by it.
    """
    labels = {label for label, _ in depths}
    trained = cliques[(cliques["control"] == "") & cliques["model"].isin(labels)]
    found: list[tuple[Clique, float]] = []
    for _, units in trained.groupby("clique", sort=False):
        rows = units[["model", "layer", "unit"]].itertuples(index=False)
        clique = tuple((str(m), int(i), int(u)) for m, i, u in rows)
        found.append((clique, float(units["strength"].iloc[0])))
    if not found:
        pairs = matches[(matches["control"] == "") & matches["matched"]]
        for _, row in pairs[pairs["x"].isin(labels)].iterrows():
            pair = tuple((row[s], int(row[f"layer_{s}"]), int(row[f"unit_{s}"])) for s in "xy")
            found.append((pair, float(row["strength"])))
    best: dict[int, tuple[Clique, float]] = {}
    for clique, strength in sorted(found, key=lambda one: -one[1]):
        depth = float(np.mean([depths[model, layer] for model, layer, _ in clique]))
        best.setdefault(min(int(depth * top), top - 1), (clique, strength))
    return [best[part] for part in sorted(best)]


def shown_units(
    context: Context,
    maps: Mapping[str, Maps],
    cliques: Sequence[tuple[Clique, float]],
) -> list[dict[str, Any]]:
    """Of each clique: its name, the samples on which it is strongest, and its maps there, as JSON.

    A sample counts by the largest value of each unit's map over its positions, in standard
    deviations, added up over the networks.
    """
    settings = context.run.config.units.match
    texts = next((v.texts for v in context.dataset.views.values() if v.texts is not None), None)
    found = []
    for clique, strength in cliques:
        units = [_whole_map(maps[label], layer, unit) for label, layer, unit in clique]
        peaks = np.sum([np.nanmax(unit, axis=1) / np.nanstd(unit) for unit in units], axis=0)
        name = None if texts is None else name_of(peaks, texts, settings.seed)
        is_text = context.specs[clique[0][0]].kind == "text"
        samples = np.argsort(-peaks, kind="stable")[: TEXTS if is_text else settings.samples]
        found.append(
            {
                "units": clique,
                "strength": strength,
                "name": None if name is None or is_text else vars(name),
                "samples": samples.tolist(),
                "maps": [np.nan_to_num(unit[samples]).tolist() for unit in units],
            }
        )
    return found


def _whole_map(maps: Maps, layer: int, unit: int) -> Float[np.ndarray, "n p"]:
    """One unit's maps over all samples; NaN where the network has nothing to say."""
    first = dict(zip(maps.layers.numbers, np.cumsum((0, *maps.widths)).tolist(), strict=False))
    values = np.array(maps.values[:, first[layer] + unit])
    found: np.ndarray = np.where(maps.at >= 0, values[maps.at], np.nan)
    return found


def pictures(context: Context, spec: ModelSpec, samples: Sequence[int]) -> dict[int, str]:
    """What an image network sees of samples, `PIXELS` square, as the hexadecimal digits of RGB."""
    network = context.model(spec).open("cpu", torch.float32)
    found = {}
    for i in samples:
        image = network.prepare(context.dataset.views[spec.view][i])[None, :3]
        low, high = image.min(), image.max()
        small = F.interpolate((image - low) / (high - low + 1e-9), (PIXELS, PIXELS), mode="area")
        pixels = (255 * small[0].expand(3, -1, -1)).round().to(torch.uint8).permute(1, 2, 0)
        found[i] = pixels.numpy().tobytes().hex()
    return found
