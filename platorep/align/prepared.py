"""The layers of a model as they are scored, one at a time: a model need not fit into memory.

Axes: n samples, d features.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import AlignConfig
from platorep.errors import DataError, PlatorepError
from platorep.features import Cell
from platorep.preprocess import PreparedLayer, model_threshold, prepare_layer
from platorep.workplace import Home

BYTES_PER_VALUE = 32
"""Of a layer that is worked on: read, prepared (in float64) and summarized."""


def working_bytes(cell: Cell, align: AlignConfig) -> int:
    """Memory for the largest layer of a model while it is worked on, beside its summaries."""
    widths = [int(layer["width"]) for layer in cell.meta["layers"]]
    width = sum(widths) if align.concatenated else max(widths)
    return BYTES_PER_VALUE * align.scored_rows(cell.num_rows) * width


@dataclass(frozen=True)
class RawLayer:
    """A layer as it was extracted, and all that is needed to prepare it."""

    number: int
    features: Iterable[Float[Tensor, "n _"]]
    """Of all layers in their order where it is all of them side by side."""
    threshold: float | None
    """As `platorep.preprocess.prepare_layer` takes it."""
    side_by_side: bool = False

    def loaded(self) -> "RawLayer":
        """With the features at hand."""
        return replace(self, features=list(self.features))

    def prepared(self, label: str, align: AlignConfig) -> Float[Tensor, "n d"]:
        """The layer as it is scored.

        Raises:
            DataError: as `prepare_layer`; names the model too.
        """
        rows = [layer.rows for layer in self.steps(label, align)]
        return torch.cat(rows, dim=1) if self.side_by_side else rows[0]

    def steps(self, label: str, align: AlignConfig) -> Iterator[PreparedLayer]:
        """The layer, or each of those side by side, with what other rows must go through.

        Raises: as `prepared`.
        """
        first = 0 if self.side_by_side else self.number
        try:
            for index, layer in enumerate(self.features, first):
                yield prepare_layer(layer, index, align.preprocess, self.threshold)
        except DataError as error:
            raise DataError(f"{label}: {error}") from error


@dataclass(frozen=True)
class SentLayer:
    """A layer for a worker that does not see the cache: it arrives there as a `RawLayer`, and is
    read here whenever it is sent, so that nobody holds it meanwhile."""

    layers: "ModelLayers"
    number: int

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            raw = self.layers.raw(self.number).loaded()
        except PlatorepError as error:
            return Unreadable, (error,)
        return RawLayer, (raw.number, raw.features, raw.threshold, raw.side_by_side)


@dataclass(frozen=True)
class Unreadable:
    """What arrives in its place if it could not be read."""

    error: PlatorepError


class ModelLayers:
    """The layers of a model that may be scored, with all of them side by side after the last, if
    that is asked. Each is read and prepared when it is asked for; the last one is kept."""

    def __init__(self, label: str, cell: Cell, align: AlignConfig) -> None:
        self.label, self.cell, self.align = label, cell, align
        self._last: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.cell.layers) + self.align.concatenated

    def __iter__(self) -> Iterator[Float[Tensor, "n _"]]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Float[Tensor, "n d"]:
        """Raises DamagedError, AbsentError and DataError as `raw` and `RawLayer.prepared`."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        if self._last is None or self._last[0] != number:
            self._last = None  # before the next one is read
            self._last = number, self.raw(number).prepared(self.label, self.align)
        return self._last[1]

    def raw(self, number: int) -> RawLayer:
        """The layer as it is in the cache; of all side by side each is read in its turn.

        Raises:
            AbsentError, DamagedError: a shard is not there, or damaged.
        """
        if number < len(self.cell.layers):
            return RawLayer(number, self._read(number), self._threshold)
        one_by_one = (layer for index in self.behind(number) for layer in self._read(index))
        return RawLayer(number, one_by_one, self._threshold, side_by_side=True)

    def behind(self, number: int) -> list[int]:
        """The layers of the cell that a layer consists of."""
        num_layers = len(self.cell.layers)
        return [number] if number < num_layers else list(range(num_layers))

    def size_bytes(self, number: int) -> int:
        """Of a layer's features of all rows, in memory."""
        widths = [int(self.cell.meta["layers"][index]["width"]) for index in self.behind(number)]
        return 4 * self.cell.num_rows * sum(widths)

    def in_cache(self, home: Home) -> "ModelLayers | None":
        """The same layers as they are found where this is called; None where they cannot be."""
        root = home.seen()
        if root is None or home.is_here:
            return None if root is None else self
        cell = Cell(root / self.cell.folder.relative_to(home.root))
        return ModelLayers(self.label, cell, self.align)

    def _read(self, number: int) -> list[Float[Tensor, "n _"]]:
        return self.cell.read(self._num_rows, [number])

    @property
    def _num_rows(self) -> int:
        return self.align.scored_rows(self.cell.num_rows)

    @cached_property
    def _threshold(self) -> float | None:
        return model_threshold(lambda: self.cell.blocks(self._num_rows), self.align.preprocess)
