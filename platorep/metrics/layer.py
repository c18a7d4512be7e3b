"""The features of one layer, and the work that its metrics share: norms, centring, one Gram matrix.

Axes: n samples, d features.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from platorep.errors import DataError

GRAM_ROWS = 8192
"""Up to this n the n n Gram matrix is computed once and kept; above, in blocks of rows."""


GRAM_BLOCK = 256
"""Rows of the Gram matrix computed at once: a constant, so that no score depends on the memory."""
PART_ENTRIES = 1 << 17
"""Features worked on at once where many small steps follow one another: they stay in a cache."""
SPREAD = 1 / 32
"""Rows that are closer than this to their mean, in squared lengths, are better held around it."""
SMALLEST, LARGEST = 1e-70, 1e70
"""Root mean square length of the rows that metrics can take."""


class Vectors:
    """The rows of a layer as a metric sees them: perhaps centred, perhaps at unit length.

    They are held around an origin near their mean, so that products in float32 keep the
    differences between rows when these are small beside the rows themselves. `exact` gives the
    definition in float64, for the few comparisons that float32 cannot decide.
    """

    def __init__(
        self,
        features: Float[Tensor, "n d"],
        *,
        offset: Float[Tensor, " d"] | None = None,
        center_rows: bool = False,
        unit: bool = False,
        norms: Float[Tensor, " n"] | None = None,
        largest: float | None = None,
    ) -> None:
        self._features, self._offset = features, offset
        self._center_rows, self._unit = center_rows, unit
        self._known_norms, self._known_largest = norms, largest

    def exact(self, rows: Tensor | slice) -> Float[Tensor, "m d"]:
        """Some rows in float64, computed from each row alone: equal rows stay equal to the bit."""
        return self._transform(self._features[rows].double())

    def _transform(self, rows: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        if self._offset is not None:
            rows = rows - self._offset.to(rows.dtype)
        if self._center_rows:
            rows = rows - rows.mean(dim=1, keepdim=True)
        if self._unit:
            norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
            rows = rows / norms.clamp_min(self._floor)
            if (norms <= self._floor).any():
                rows = rows.masked_fill(norms <= self._floor, 0.0)
        return rows

    @cached_property
    def _floor(self) -> float:
        """A centred row shorter than this is rounding error, and counts as zero."""
        if self._offset is None and not self._center_rows:
            return torch.finfo(self._features.dtype).tiny
        return 16 * torch.finfo(torch.float64).eps * self.largest

    @cached_property
    def largest(self) -> float:
        """Size of the largest value: of these rows, or of those that they are compared with."""
        if self._known_largest is not None:
            return self._known_largest
        return float(self._features.abs().max())

    def some(self, rows: slice) -> "Vectors":
        """Some of the rows, changed as all of them."""
        return Vectors(
            self._features[rows],
            offset=self._offset,
            center_rows=self._center_rows,
            unit=self._unit,
            norms=None if self._known_norms is None else self._known_norms[rows],
            largest=self._known_largest,
        )

    @property
    def as_given(self) -> bool:
        """Whether a row is the given one, at most scaled."""
        return self._offset is None and not self._center_rows

    @property
    def device(self) -> torch.device:
        return self._features.device

    @property
    def dtype(self) -> torch.dtype:
        return self._features.dtype

    @cached_property
    def _norms(self) -> Float[Tensor, " n"]:
        """Lengths of the given rows."""
        if self._known_norms is not None:
            return self._known_norms
        norms: Tensor = torch.linalg.vector_norm(self._features, dim=1)
        return norms

    @property
    def given(self) -> Float[Tensor, "n d"]:
        """What was given; needs `as_given`."""
        assert self.as_given
        return self._features

    @cached_property
    def factors(self) -> Float[Tensor, " n"]:
        """What a given row is multiplied with; needs `as_given`."""
        if not self._unit:
            return torch.ones_like(self._norms)
        return 1 / self._norms.clamp_min(self._floor)

    @cached_property
    def lengths(self) -> Float[Tensor, " n"]:
        """Of the rows in their place; needs `as_given`."""
        return self._norms * self.factors

    @cached_property
    def longest_given(self) -> float:
        """Length of the longest row in its place; needs `as_given`."""
        return 1.0 if self._unit else float(self._norms.max())

    @property
    def n(self) -> int:
        return len(self._features)

    @property
    def d(self) -> int:
        return int(self._features.shape[1])

    @property
    def reach(self) -> float:
        """About the length of the longest row around the middle, which is at most twice as long."""
        if self.is_light:
            return self.longest_given
        return float(self.squares.max().sqrt())

    @property
    def has_zeros(self) -> bool:
        """Whether some rows are zero."""
        return bool(((self._norms <= self._floor) if self.as_given else self.zero).any())

    @cached_property
    def is_light(self) -> bool:
        """Whether `parts` can do without a copy of the features: of rows that are as given, on a
        CPU, and not far from the origin."""
        if not self.as_given or self._features.device.type != "cpu":
            return False
        mean_square = float(self.lengths.square().mean())
        spread = mean_square - float(self._middle_given.square().sum())
        return spread > SPREAD * self.longest_given**2

    @cached_property
    def _middle_given(self) -> Float[Tensor, " d"]:
        middle: Tensor = (self.factors @ self._features) / len(self._features)
        return middle

    @property
    def middle(self) -> Float[Tensor, " d"]:
        """Around what `parts` are."""
        return self._middle_given if self.is_light else self.origin

    def parts(self, scale: float) -> Iterator[tuple[slice, Float[Tensor, "m d"]]]:
        """The rows around `middle`, times `scale`, on a CPU few at a time.

        They may be overwritten, and are when the next ones come.
        """
        n, d = self._features.shape
        size = max(1, PART_ENTRIES // d) if self.device.type == "cpu" else n
        buffer = self._features.new_empty(size, d)
        away = self.middle * -scale
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            rows = buffer[: part.stop - start]
            if self.is_light:
                factors = self.factors[part, None] * scale
                torch.addcmul(away, self._features[part], factors, out=rows)
            else:
                torch.mul(self.around_origin[part], scale, out=rows)
            yield part, rows

    @cached_property
    def _shifted(self) -> tuple[Tensor, Tensor, Tensor]:
        """The rows around the origin, the origin, and which rows were zero."""
        rows = self._in_their_place()
        zero = torch.linalg.vector_norm(rows, dim=1) == 0
        origin = rows.mean(dim=0)
        rows = rows - origin if rows is self._features else rows.sub_(origin)
        return rows, origin, zero

    def _in_their_place(self) -> Float[Tensor, "n d"]:
        if self._offset is None and not self._center_rows:
            return self._transform(self._features)
        # centring needs float64 on the way
        return self.exact(slice(None)).to(self._features.dtype)

    def around(
        self, origin: Float[Tensor, " d"]
    ) -> tuple[Float[Tensor, "n d"], Bool[Tensor, " n"]]:
        """The rows around the origin of other rows, and which of them were zero."""
        rows = self._in_their_place()
        return rows - origin, torch.linalg.vector_norm(rows, dim=1) == 0

    @property
    def around_origin(self) -> Float[Tensor, "n d"]:
        return self._shifted[0]

    @property
    def origin(self) -> Float[Tensor, " d"]:
        return self._shifted[1]

    @property
    def zero(self) -> Bool[Tensor, " n"]:
        """Which rows are zero: cosine similarity is not defined there and is taken as 0."""
        return self._shifted[2]

    @cached_property
    def along_origin(self) -> Float[Tensor, " n"]:
        """Inner product of every row (around the origin) with the origin."""
        return self.around_origin @ self.origin

    @cached_property
    def squares(self) -> Float[Tensor, " n"]:
        """Squared length of every row around the origin."""
        norms: Tensor = torch.linalg.vector_norm(self.around_origin, dim=1)
        return norms.square()

    @cached_property
    def gram(self) -> Float[Tensor, "n n"]:
        """Inner products of the rows around the origin; needs n <= GRAM_ROWS."""
        return symmetric_product(self.around_origin)

    def gram_rows(self, rows: slice | Int[Tensor, " m"]) -> Float[Tensor, "m n"]:
        """Some rows of the Gram matrix, whatever n."""
        if len(self._features) <= GRAM_ROWS:
            return self.gram[rows]
        return product(self.around_origin[rows], self.around_origin)


def symmetric_product(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """`x @ x.T`, of which only the blocks on and above the diagonal are computed."""
    n = len(x)
    found = x.new_empty(n, n)
    for start in range(0, n, GRAM_BLOCK):
        stop = min(start + GRAM_BLOCK, n)
        found[start:stop, start:] = product(x[start:stop], x[start:])
        found[stop:, start:stop] = found[start:stop, stop:].T
    return found


def product(x: Float[Tensor, "n_x d"], y: Float[Tensor, "n_y d"]) -> Float[Tensor, "n_x n_y"]:
    """`x @ y.T`, in float64 where one of them is."""
    if x.dtype != y.dtype:
        x, y = x.double(), y.double()
    return x @ y.T


def comparable_dtype(norms: Float[Tensor, " n"]) -> torch.dtype:
    """In what rows of these lengths are compared: float32, if squares stay in its range."""
    if norms.dtype == torch.float32 and 1e-12 < float(norms.max()) < 1e15:
        return torch.float32
    return torch.float64


def first_equal(rows: Float[Tensor, "m d"]) -> Int64[np.ndarray, " m"]:
    """For every row, the first row that is equal to it."""
    first: dict[bytes, int] = {}
    values = rows.cpu().numpy() + 0.0  # makes -0 equal to 0
    return np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(values)])


class Layer:
    """One layer's features, checked, with cached views of them. Made once per layer.

    Raises:
        DataError: a row is not finite.
    """

    def __init__(self, features: Float[Tensor, "n d"]) -> None:
        features = features.detach()
        self.precision = torch.finfo(features.dtype).eps
        """Of the numbers that were given, whatever they are computed in."""
        if features.dtype not in (torch.float32, torch.float64):
            features = features.float()
        norms = torch.linalg.vector_norm(features, dim=1)
        if not norms.isfinite().all():
            bad = (~features.isfinite()).any(dim=1).nonzero().flatten().tolist()
            if bad:
                raise DataError(
                    f"features are not finite in {len(bad)} of {len(features)} rows, first in row "
                    f"{bad[0]}. Drop that sample, or extract again in float32 if this is an "
                    "overflow of half precision."
                )
        if features.dtype != comparable_dtype(norms):
            features = features.double()
            norms = torch.linalg.vector_norm(features, dim=1)
        self.features = features
        self._norms = norms
        self._views: dict[tuple[bool, bool, bool], Vectors] = {}
        self.shared: dict[object, object] = {}
        """Whatever else metrics want to compute once."""

    @property
    def n(self) -> int:
        return int(self.features.shape[0])

    @property
    def d(self) -> int:
        return int(self.features.shape[1])

    def vectors(
        self, *, center: bool = False, center_rows: bool = False, unit: bool = False
    ) -> Vectors:
        """The rows with these changes (mean subtracted, row means subtracted, length 1)."""
        key = center, center_rows, unit
        if key not in self._views:
            offset = self.features.double().mean(dim=0) if center else None
            self._views[key] = Vectors(
                self.features,
                offset=offset,
                center_rows=center_rows,
                unit=unit,
                norms=self._norms,
            )
        return self._views[key]

    @cached_property
    def first_equal(self) -> Int[Tensor, " n"]:
        """For every row, the first row that is equal to it."""
        # most layers have no equal rows, and a few of their columns show it
        some = self.features[:, :: max(1, self.d // 16)]
        if len(np.unique(some.cpu().numpy(), axis=0)) == self.n:
            return torch.arange(self.n, device=some.device)
        return torch.from_numpy(first_equal(self.features)).to(some.device)

    @cached_property
    def reason(self) -> str | None:
        """Why the layer says nothing about its samples, or None."""
        size = float(self._norms.square().mean().sqrt())
        if not SMALLEST < size < LARGEST and bool((self.features != 0).any()):
            raise DataError(
                f"features are of size {size:.1e}, whose fourth powers are no numbers any more. "
                "Rescale them: no score depends on it."
            )
        if self.vectors(unit=True).is_light:  # what a search needs to know anyway
            return None
        away = float(torch.linalg.vector_norm(self.features.mean(dim=0)))
        if away < 0.999 * size:  # plainly not constant, without another pass over the features
            return None
        spread = float(self.vectors().squares.mean().sqrt())
        if spread <= 32 * torch.finfo(self.features.dtype).eps * size:
            if (self.features == self.features[0]).all():
                return "constant: all rows are equal"
            return (
                f"nearly constant: the spread of the rows is {spread / size:.1e} of their size, "
                f"which is rounding error of {str(self.features.dtype).removeprefix('torch.')}"
            )
        return None
