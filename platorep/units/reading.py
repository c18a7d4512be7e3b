"""From open networks to maps: every layer's units over the positions of images, or of texts.

Axes: n samples, p positions, c characters, d units of a layer.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from platorep.errors import ConfigError
from platorep.models.inside import OpenNetwork
from platorep.models.inside_texts import OpenTexts, Spelled
from platorep.units.maps import Layers, every_position, on_grid, write_maps

BATCH = 32
Progress = Callable[[int], None]
"""Called with the number of samples just finished."""


def chosen_layers(names: Sequence[str], layers: str | Sequence[int], label: str) -> Layers:
    """The numbers of layers that settings ask for.

    Raises:
        ConfigError: the network has no such layer, or one is asked for twice.
    """
    num = len(names)
    if layers == "all":
        return Layers(tuple(range(num)), num)
    asked = [-1] if layers == "last" else [int(i) for i in layers]
    found = [i % num for i in asked if -num <= i < num]
    if len(found) < len(asked) or len(set(found)) < len(found):
        raise ConfigError(
            f"units.match.layers: {list(asked)} of {label!r}, which has {num} layers. Expected "
            f"each of them once: 0 to {num - 1}, or -{num} to -1 from the end."
        )
    return Layers(tuple(found), num)


def write_image_maps(
    path: Path,
    network: OpenNetwork,
    layers: Layers,
    images: Sequence[Any],
    *,
    grid: int,
    by_position: bool,
    of: str,
    progress: Progress,
) -> None:
    """Write the maps of image units, resampled to `grid` rows and columns of positions."""
    names = [network.names[i] for i in layers.numbers]

    def blocks() -> Iterator[list[Tensor]]:
        for start in range(0, len(images), BATCH):
            batch = range(start, min(start + BATCH, len(images)))
            inputs = torch.stack([network.prepare(images[i]) for i in batch])
            outputs = network.outputs(inputs, names)
            yield [
                on_grid(network.as_map(name, output), grid).flatten(0, 1)
                for name, output in zip(names, outputs, strict=True)
            ]
            progress(len(batch))

    at = every_position(len(images), grid * grid)
    write_maps(path, blocks(), at, layers=layers, by_position=by_position, of=of)


def write_text_maps(
    path: Path,
    network: OpenTexts,
    layers: Layers,
    texts: Sequence[str],
    ids: Sequence[str],
    *,
    by_position: bool,
    of: str,
    progress: Progress,
) -> None:
    """Write the maps of language units over the characters of texts.

    A character has the state of the token that covers it; one that no token covers, or only a
    special one, has none.
    """
    spelled = network.spelled(texts, ids)
    at = np.full((len(texts), max(map(len, texts))), -1)
    start = 0
    for i, text in enumerate(spelled):
        covered = (text.token_at >= 0).numpy()
        at[i, : len(covered)][covered] = start + np.arange(covered.sum())
        start += int(covered.sum())

    def blocks() -> Iterator[list[Tensor]]:
        for start in range(0, len(spelled), BATCH):
            batch = spelled[start : start + BATCH]
            rows = _rows(batch)
            yield [states.cpu()[rows] for states in network.states(batch, layers.numbers)]
            progress(len(batch))

    write_maps(path, blocks(), at, layers=layers, by_position=by_position, of=of)


def _rows(batch: Sequence[Spelled]) -> Tensor:
    """Of every covered character, the number of its token among those of the batch."""
    rows, first = [], 0
    for text in batch:
        rows.append(first + text.token_at[text.token_at >= 0])
        first += sum(text.tokens.pooled)
    return torch.cat(rows)
