"""The layers of a model as they are scored, one at a time: a model need not fit into memory.

Axes: n samples, d features.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.config import AlignConfig
from platorep.errors import DataError
from platorep.features import Cell
from platorep.preprocess import model_threshold, prepare_layer
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
        first = 0 if self.side_by_side else self.number
        try:
            rows = [
                prepare_layer(layer, index, align.preprocess, self.threshold).rows
                for index, layer in enumerate(self.features, first)
            ]
        except DataError as error:
            raise DataError(f"{label}: {error}") from error
        return torch.cat(rows, dim=1) if self.side_by_side else rows[0]


class ModelLayers:
    """The layers of a model that may be scored, with all of them side by side after the last, if
    that is asked. Each is read and prepared when it is asked for; the last one is kept."""

    def __init__(self, label: str, cell: Cell, align: AlignConfig) -> None:
        self.label, self.cell, self._align = label, cell, align
        self._last: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.cell.layers) + self._align.concatenated

    def __iter__(self) -> Iterator[Float[Tensor, "n _"]]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Float[Tensor, "n d"]:
        """Raises DamagedError, AbsentError and DataError as `raw` and `RawLayer.prepared`."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        if self._last is None or self._last[0] != number:
            self._last = None  # before the next one is read
            self._last = number, self.raw(number).prepared(self.label, self._align)
        return self._last[1]

    def raw(self, number: int) -> RawLayer:
        """The layer as it is in the cache; of all side by side each is read in its turn.

        Raises:
            AbsentError, DamagedError: a shard is not there, or damaged.
        """
        every = range(len(self.cell.layers))
        if number in every:
            return RawLayer(number, self._read(number), self._threshold)
        one_by_one = (layer for index in every for layer in self._read(index))
        return RawLayer(number, one_by_one, self._threshold, side_by_side=True)

    def in_cache(self, home: Home) -> "ModelLayers | None":
        """The same layers as they are found where this is called; None where they cannot be."""
        root = home.seen()
        if root is None or home.is_here:
            return None if root is None else self
        cell = Cell(root / self.cell.folder.relative_to(home.root))
        return ModelLayers(self.label, cell, self._align)

    def _read(self, number: int) -> list[Float[Tensor, "n _"]]:
        return self.cell.read(self._num_rows, [number])

    @property
    def _num_rows(self) -> int:
        return self._align.scored_rows(self.cell.num_rows)

    @cached_property
    def _threshold(self) -> float | None:
        return model_threshold(lambda: self.cell.blocks(self._num_rows), self._align.preprocess)
