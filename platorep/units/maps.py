"""What units do over samples and positions: one row per position, on disk, centred.

Axes: n samples, p positions, r rows (positions of all samples), u units, b samples of a batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from platorep.files import read_sealed, write_sealed

CHUNK = 8192  # rows in memory at a time
_CURE = "It is made again."


@dataclass(frozen=True)
class Layers:
    """Which layers of a network the units are of."""

    numbers: tuple[int, ...]
    out_of: int
    """How many layers the network has."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The maps of one network's units over the samples of an experiment."""

    values: Float[np.ndarray, "r u"]
    """On disk; a unit's mean is taken off (over all rows, or at each position), and a unit that
    does not vary is 0."""
    at: Int[np.ndarray, "n p"]
    """The row of each position of each sample; -1 where the network has nothing to say of it."""
    layers: Layers
    widths: tuple[int, ...]
    """Units of each layer, in their order."""

    def of(self, sample: int, unit: int) -> Float[np.ndarray, "p"]:
        """One unit's map over one sample; NaN where the network has nothing to say."""
        rows = self.at[sample]
        found: np.ndarray = np.where(rows >= 0, self.values[rows, unit], np.nan)
        return found


def on_grid(maps: Float[Tensor, "b d h w"], grid: int) -> Float[Tensor, "b p d"]:
    """Maps at `grid * grid` positions, row by row of the picture.

    Bilinear between the centres of pixels; where a map shrinks, the triangle is as wide as its
    pixels become (antialiased), so that no pixel is passed over.
    """
    size = (grid, grid)
    resampled = F.interpolate(
        maps.float(), size, mode="bilinear", align_corners=False, antialias=True
    )
    return resampled.flatten(2).mT


def every_position(num_samples: int, num_positions: int) -> Int[np.ndarray, "n p"]:
    """`Maps.at` of samples that all have the same positions."""
    return np.arange(num_samples * num_positions).reshape(num_samples, num_positions)


def write_maps(
    path: Path,
    blocks: Iterable[Sequence[Float[Tensor, "_ d"]]],
    at: Int[np.ndarray, "n p"],
    *,
    layers: Layers,
    by_position: bool,
    of: str,
) -> None:
    """Write the rows as they come, then take the means off.

    The means are summed in float64 over what has already been centred on the first block's mean,
    so that a large offset costs no digits. Needs two passes over the file and never more of it in
    memory than `CHUNK` rows, or a block.

    Args:
        path: Of the array; a sealed JSON file lies beside it when it is whole.
        blocks: Rows in order, of each layer.
        by_position: Take off each unit's mean at each position, not its mean over all.
        of: What the maps belong to.
    """
    position = np.full(at.max() + 1, -1)
    position[at[at >= 0]] = np.nonzero(at >= 0)[1] if by_position else 0
    assert (position >= 0).all(), "rows without a position"
    path.parent.mkdir(parents=True, exist_ok=True)
    start, values, means, widths = 0, None, _Means(position), list[int]()
    for block in blocks:
        rows = torch.cat([layer.float() for layer in block], dim=1).cpu().numpy()
        if values is None:
            widths = [layer.shape[1] for layer in block]
            shape = (len(position), rows.shape[1])
            values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        values[start : start + len(rows)] = rows
        means.add(start, rows)
        start += len(rows)
    assert values is not None, "no samples"
    assert start == len(position), (start, len(position))
    means.take_off(values)
    values.flush()
    about = {"at": at.tolist(), "widths": widths, "layers": vars(layers)}
    write_sealed(described(path), about, of=of, files=[path.name])


def read_maps(path: Path, of: str) -> Maps:
    """Maps that `write_maps` wrote.

    Raises:
        FileNotFoundError: they are not there, or not whole.
        DamagedError: they are not what was written, or belong to something else.
    """
    about = read_sealed(described(path), of=of, cure=_CURE)
    values = np.load(path, mmap_mode="r")
    layers = Layers(tuple(about["layers"]["numbers"]), about["layers"]["out_of"])
    at = np.array(about["at"])
    return Maps(values=values, at=at, layers=layers, widths=tuple(about["widths"]))


def described(path: Path) -> Path:
    """What lies beside the array `path` once it is whole."""
    return path.with_suffix(".json")


class _Means:
    """Means of units, at each position or over all, and which units vary at all."""

    def __init__(self, position: Int[np.ndarray, "r"]) -> None:
        self._position = position
        self._counts = np.maximum(np.bincount(position), 1).astype(np.float64)[:, None]
        self._first: np.ndarray | None = None
        self._sums: np.ndarray = np.zeros(0)

    def add(self, start: int, rows: Float[np.ndarray, "_ u"]) -> None:
        if self._first is None:
            self._first = rows.mean(0, dtype=np.float64)
            self._sums = np.zeros((len(self._counts), rows.shape[1]))
        to = torch.from_numpy(self._position[start : start + len(rows)])
        torch.from_numpy(self._sums).index_add_(0, to, torch.from_numpy(rows - self._first))

    def take_off(self, values: Float[np.ndarray, "r u"]) -> None:
        assert self._first is not None
        means = self._sums / self._counts + self._first
        squares = np.zeros(values.shape[1])
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            chunk -= means[self._position[start : start + CHUNK]]
            squares += np.square(chunk, dtype=np.float64).sum(0)
        # what is left of a constant is the rounding of float32
        rounding = np.finfo(np.float32).eps * np.abs(means).max(0)
        still = np.sqrt(squares / len(values)) <= rounding
        for start in range(0, len(values), CHUNK) if still.any() else ():
            values[start : start + CHUNK, still] = 0
