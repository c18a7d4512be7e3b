"""Correlation of the units of two networks over samples and positions, streamed.

Axes: n samples, p positions, u and v units of the networks x and y, r rows of their maps.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from platorep.units.maps import CHUNK, Maps


@dataclass(frozen=True)
class Moments:
    """Sums over rows of maps whose means are near 0; those of two sets of rows can be added."""

    num_rows: int
    x: Float[Tensor, "u"]
    y: Float[Tensor, "v"]
    xx: Float[Tensor, "u"]
    yy: Float[Tensor, "v"]
    xy: Float[Tensor, "u v"]

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.num_rows + other.num_rows,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.yy + other.yy,
            self.xy + other.xy,
        )

    def correlation(self) -> Float[np.ndarray, "u v"]:
        """Pearson's r of every two units, -1 to 1; 0 where one of them does not vary."""
        n = max(1, self.num_rows)
        covariance = self.xy - torch.outer(self.x, self.y) / n
        spread_x, spread_y = (
            (squares - total.square() / n).clamp(min=0).sqrt()
            for squares, total in ((self.xx, self.x), (self.yy, self.y))
        )
        spread = torch.outer(spread_x, spread_y)
        r = torch.where(spread > 0, covariance / spread, 0.0)
        found: np.ndarray = r.clamp(-1, 1).cpu().numpy()
        return found


def moments(
    x: Maps,
    y: Maps,
    samples: Int[np.ndarray, "s"],
    others: Int[np.ndarray, "s"],
    device: torch.device | None = None,
) -> Moments:
    """Sums over the positions that both networks have of samples that are put side by side.

    Rows are multiplied in float32, at most `CHUNK` of them at a time, and summed in float64.

    Args:
        samples: Of x.
        others: Of y; the same numbers, or in another order: the null.
    """
    at_x, at_y = x.at[samples], y.at[others]
    width = min(at_x.shape[1], at_y.shape[1])
    both = (at_x[:, :width] >= 0) & (at_y[:, :width] >= 0)
    rows_x, rows_y = at_x[:, :width][both], at_y[:, :width][both]
    u, v = x.values.shape[1], y.values.shape[1]
    shapes: tuple[tuple[int, ...], ...] = ((u,), (v,), (u,), (v,), (u, v))
    sums = [torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes]
    for start in range(0, len(rows_x), CHUNK):
        a, b = (
            torch.from_numpy(maps.values[rows[start : start + CHUNK]]).to(device)
            for maps, rows in ((x, rows_x), (y, rows_y))
        )
        parts = (a.sum(0), b.sum(0), a.square().sum(0), b.square().sum(0), a.T @ b)
        for total, part in zip(sums, parts, strict=True):
            total += part
    return Moments(len(rows_x), *sums)
