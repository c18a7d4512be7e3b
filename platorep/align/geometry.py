"""The shape of one layer's cloud of points: its spectrum, its dimension, its hubs.

All of it is taken of at most `MOST_ROWS` rows, so that it costs no more than a metric of few rows.

Axes: n samples, d features, m rows taken, e eigenvalues, r ranks.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

MOST_ROWS = 512
"""Of more, half as many or more at equal distances are taken."""
RANKS = (11, 100)
"""Of the eigenvalues between which the slope of the spectrum is fitted: from where Stringer et al.
(2019) begin to where this many rows still tell them."""
FEWEST_RANKS = 10
"""Of fewer eigenvalues no slope is taken."""
ROUNDING = 1e-12
"""An eigenvalue that is a smaller share of the variance is rounding error."""
HUB_K = 10
FEWEST_RATIOS = 10
"""Of fewer rows no dimension is taken."""
KEPT = 0.9
"""Share of the ratios of distances that TwoNN fits; the largest are left out (Facco et al.)."""

COLUMNS = (
    "effective_dimension",
    "effective_rank",
    "spectral_slope",
    "intrinsic_dimension",
    "hubness",
)


def geometry(layer: Float[Tensor, "n d"]) -> dict[str, float]:
    """`effective_dimension`, `effective_rank`, `spectral_slope`, `intrinsic_dimension`, `hubness`.

    Each is NaN where it is not defined: all of them of rows that are equal.
    """
    rows = layer[:: -(-len(layer) // MOST_ROWS)].double()
    mean = rows.mean(dim=0)
    around = rows - mean  # not in place: they may be the layer itself
    gram = around @ around.T
    size = float(mean.square().sum())
    spread = float(gram.diagonal().mean())
    if spread <= 1e-12 * (size + spread):  # rounding is no variation
        return dict.fromkeys(COLUMNS, np.nan)
    squares, along = gram.diagonal(), around @ mean
    distances = squares[:, None] + squares - 2 * gram
    lengths = (squares + 2 * along + size).clamp_min(0).sqrt()
    products = gram + along[:, None] + along + size
    cosines = products / (lengths[:, None] * lengths).clamp_min(1e-12 * size)
    shares = variance_shares(gram)
    found = (
        participation_ratio(shares),
        effective_rank(shares),
        spectral_slope(shares),
        intrinsic_dimension(distances),
        hubness(cosines),
    )
    return dict(zip(COLUMNS, found, strict=True))


def variance_shares(gram: Float64[Tensor, "m m"]) -> Float64[np.ndarray, " e"]:
    """Eigenvalues of the covariance as shares of the variance, largest first.

    Those that rounding makes are left out.
    """
    shares = torch.linalg.eigvalsh(gram / gram.trace()).flip(0).cpu().numpy()
    kept: np.ndarray = shares[shares > ROUNDING]
    return kept


def participation_ratio(shares: Float64[np.ndarray, " e"]) -> float:
    """1 / (sum of their squares): 1 ... min(m - 1, d); d where d directions vary alike."""
    return float(1 / np.square(shares).sum())


def effective_rank(shares: Float64[np.ndarray, " e"]) -> float:
    """exp of their entropy, at least the participation ratio; d where d directions vary alike.

    Of the shares of the variance, where Roy and Vetterli (2007) take those of the singular values.
    """
    return float(np.exp(-(shares * np.log(shares)).sum()))


def spectral_slope(shares: Float64[np.ndarray, " e"]) -> float:
    """a of eigenvalue i ~ i^-a, by least squares over `RANKS` in logarithms, weighted by 1/i.

    As Stringer et al. (2019, `alpha` in their code) and arXiv:2509.23024; NaN of few eigenvalues.
    """
    first, last = RANKS
    ranks = np.arange(first, min(last, len(shares)) + 1)
    if len(ranks) < FEWEST_RANKS:
        return np.nan
    slope, _ = np.polyfit(np.log(ranks), np.log(shares[ranks - 1]), 1, w=ranks**-0.5)
    return float(-slope)


def intrinsic_dimension(squared: Float64[Tensor, "m m"]) -> float:
    """TwoNN (Facco et al. 2017, arXiv:1803.06992): of the ratio of the distances to the second and
    to the first neighbor, whose distribution function is 1 - ratio^-dimension.

    The slope through 0 of -log(1 - F) over log(ratio), without the largest tenth. Rows that have a
    copy are left out; NaN if fewer than ten are left.

    Args:
        squared: Distances; the diagonal is not read.
    """
    if len(squared) < 3:
        return np.nan
    largest = float(squared.max())
    others = squared.clone().fill_diagonal_(torch.inf)
    nearest = others.topk(2, dim=1, largest=False).values.cpu().numpy()
    nearest = nearest[nearest[:, 0] > 1e-12 * largest]
    if len(nearest) < FEWEST_RATIOS:
        return np.nan
    ratios = np.sort(np.log(nearest[:, 1] / nearest[:, 0]) / 2)
    kept = int(KEPT * len(ratios))
    tail = -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    size = float(ratios[:kept] @ ratios[:kept])
    return float(ratios[:kept] @ tail / size) if size else np.nan


def hubness(cosines: Float64[Tensor, "m m"]) -> float:
    """Skewness of how often a row is among the `HUB_K` most similar of another.

    0 where all are so equally often, and above it where few rows are near to very many (hubs:
    Radovanovic et al. 2010). NaN of `HUB_K` + 1 rows or fewer.

    Args:
        cosines: Similarities; the diagonal is not read.
    """
    if len(cosines) <= HUB_K + 1:
        return np.nan
    others = cosines.clone().fill_diagonal_(-torch.inf)
    counts = torch.bincount(others.topk(HUB_K, dim=1).indices.flatten(), minlength=len(others))
    away = counts.cpu().numpy() - float(HUB_K)
    spread = float(np.sqrt(np.square(away).mean()))
    return float((away**3).mean() / spread**3) if spread else 0.0
