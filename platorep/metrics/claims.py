"""Try every claim of a metric on made-up features.

The tests run this over the whole table, and `platorep list metrics --check NAME` over a user's own
metric. Each claim has a control: an invariance that is not claimed must fail to hold.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from platorep.errors import PlatorepError
from platorep.metrics.metric import BoundMetric, Invariance

SAMPLES = 48
EXACT = 1e-8
"""Scores that a claim says are equal differ by less, in float64."""
DIFFERENT = 2e-8
"""Scores that a change moves differ by more, on some of the tries."""
TRIES = 3
CHANCE_TRIES = 24

Change = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class ClaimCheck:
    """One claim and whether it held."""

    claim: str
    holds: bool
    found: str


def random_rotation(d: int, rng: torch.Generator) -> Float64[Tensor, "d d"]:
    q, r = torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.float64))
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


def _factors(size: tuple[int, ...], most: float, rng: torch.Generator) -> Tensor:
    """Between 1 / most and most."""
    factors: Tensor = most ** (2 * torch.rand(size, generator=rng, dtype=torch.float64) - 1)
    return factors


CHANGES: Mapping[Invariance, Change] = {
    Invariance.ROTATION: lambda y, rng: y @ random_rotation(y.shape[1], rng),
    Invariance.SCALING: lambda y, rng: 3.7 * y,
    Invariance.TRANSLATION: lambda y, rng: (
        y + 5 * torch.randn(y.shape[1], generator=rng, dtype=y.dtype)
    ),
    # not far from a rotation, so that nothing becomes ill-conditioned
    Invariance.LINEAR: lambda y, rng: (
        y
        @ random_rotation(y.shape[1], rng)
        @ _factors((y.shape[1],), 2.0, rng).diag()
        @ random_rotation(y.shape[1], rng)
    ),
    Invariance.UNIT_PERMUTATION: lambda y, rng: y[:, torch.randperm(y.shape[1], generator=rng)],
    Invariance.UNIT_SCALING: lambda y, rng: y * _factors((y.shape[1],), 2.0, rng),
    Invariance.ROW_SCALING: lambda y, rng: y * _factors((len(y), 1), 8.0, rng),
}
"""A change of features for each invariance."""


def related_features(
    rng: torch.Generator, n: int = SAMPLES
) -> tuple[Float64[Tensor, "n d_x"], Float64[Tensor, "n d_y"]]:
    """Two sets of features that have something in common, of different width, off the origin."""
    x = torch.randn(n, 8, generator=rng, dtype=torch.float64)
    mixing = torch.eye(8, 6) + torch.randn(8, 6, generator=rng, dtype=torch.float64) / 2
    noise = torch.randn(n, 6, generator=rng, dtype=torch.float64)
    return x + 0.3, x @ mixing + noise - 0.2


def score(metric: BoundMetric, x: Tensor, y: Tensor) -> float:
    return float(metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0])


def check_claims(metric: BoundMetric, seed: int = 0) -> list[ClaimCheck]:
    """Every claim of the metric with what was found; all of them should hold."""
    rng = torch.Generator().manual_seed(seed)
    checks = (
        _check_range,
        _check_itself,
        _check_symmetry,
        _check_direction,
        _check_invariances,
        _check_reorder,
        _check_grid,
        _check_by_row,
        _check_chance,
    )
    found: list[ClaimCheck] = []
    for check in checks:
        try:
            found += check(metric, rng)
        except PlatorepError as error:  # the metric refuses features of this size
            found.append(ClaimCheck(check.__name__.removeprefix("_check_"), False, str(error)))
    return found


def _check_range(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    claims = metric.claims
    found = [score(metric, *related_features(rng)) for _ in range(TRIES)]
    found += [score(metric, *_independent(rng)) for _ in range(TRIES)]
    inside = all(claims.low - EXACT <= value <= claims.high + EXACT for value in found)
    return [
        ClaimCheck(
            f"scores lie in [{claims.low:g}, {claims.high:g}]",
            inside,
            f"{min(found):.4f} ... {max(found):.4f}",
        )
    ]


def _check_itself(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    expected = metric.claims.of_itself
    if expected is None:
        return []
    x, y = related_features(rng)
    found = [score(metric, z, z) for z in (x, y)]
    return [
        ClaimCheck(
            f"a layer scores {expected:g} with itself, and no other layer does",
            all(math.isclose(value, expected, abs_tol=EXACT) for value in found)
            and not math.isclose(score(metric, x, y), expected, abs_tol=DIFFERENT),
            f"{found[0]:.10g}, {found[1]:.10g}; with another {score(metric, x, y):.4f}",
        )
    ]


def _check_symmetry(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    gap = 0.0
    for _ in range(TRIES):
        x, y = related_features(rng)
        gap = max(gap, abs(score(metric, x, y) - score(metric, y, x)))
    if metric.claims.symmetric:
        return [ClaimCheck("symmetric in x and y", gap <= EXACT, f"differs by {gap:.1e}")]
    return [ClaimCheck("not symmetric in x and y", gap > DIFFERENT, f"differs by {gap:.1e}")]


def _check_direction(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    """Related features are closer than independent ones."""
    sign = 1 if metric.claims.larger_is_closer else -1
    related = np.mean([score(metric, *related_features(rng)) for _ in range(TRIES)])
    apart = np.mean([score(metric, *_independent(rng)) for _ in range(TRIES)])
    word = "larger" if sign > 0 else "smaller"
    return [
        ClaimCheck(
            f"{word} is closer",
            bool(sign * (related - apart) > 0),
            f"related {related:.4f}, independent {apart:.4f}",
        )
    ]


def _check_invariances(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    found = []
    for invariance, change in CHANGES.items():
        gap = 0.0
        for _ in range(TRIES):
            x, y = related_features(rng)
            before = score(metric, x, y)
            gap = max(
                gap,
                abs(score(metric, x, change(y, rng)) - before),
                abs(score(metric, change(x, rng), y) - before),
            )
        claimed = invariance in metric.claims.invariances
        found.append(
            ClaimCheck(
                f"{'unchanged' if claimed else 'changed'} by {invariance.value}",
                gap <= EXACT if claimed else gap > DIFFERENT,
                f"differs by {gap:.1e}",
            )
        )
    return found


def _check_reorder(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    """reorder(summarize(y), order) is summarize(y[order]), and prepare gives the same again."""
    x, y = related_features(rng)
    order = torch.randperm(len(y), generator=rng).numpy()
    one, other = metric.summarize(x), metric.summarize(y)
    expected = score(metric, x, y[torch.from_numpy(order)])
    moved = float(metric.compare([one], [metric.reorder(other, order)])[0, 0])
    prepared = metric.prepare([one], [other])
    ways = (moved - expected, float(prepared(order)[0, 0]) - expected)
    still = float(prepared(None)[0, 0]) - score(metric, x, y)
    gap = max(abs(value) for value in (*ways, still))
    changed = abs(expected - score(metric, x, y))
    return [
        ClaimCheck(
            "a reordered summary is the summary of reordered features",
            gap <= EXACT and changed > DIFFERENT,
            f"differs by {gap:.1e}; the order itself changes the score by {changed:.1e}",
        )
    ]


def _check_grid(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    """All layer pairs at once give what each pair alone gives, x down and y across."""
    pairs = [related_features(rng) for _ in range(3)]
    x = [metric.summarize(pair[0]) for pair in pairs]
    y = [metric.summarize(pair[1]) for pair in pairs[:2]]
    together = metric.compare(x, y)
    alone = np.array([[metric.compare([one], [other])[0, 0] for other in y] for one in x])
    holds = together.shape == (3, 2) and bool(np.allclose(together, alone, rtol=0, atol=EXACT))
    return [ClaimCheck("a grid of layers is its pairs", holds, f"shape {together.shape}")]


def _check_by_row(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    """The scores of the samples have the score as their mean, and belong to their samples."""
    if not metric.has_rows:
        return []
    gap, moved, varies = 0.0, 0.0, False
    for tied in (False, True):
        x, y = related_features(rng)
        if tied:  # copies of rows tie, in both models
            x[::3], y[::3] = x[:1], y[:1]
        one, other = metric.summarize(x), metric.summarize(y)
        rows = metric.by_row(one, other)
        gap = max(gap, abs(float(np.nanmean(rows)) - score(metric, x, y)))
        order = torch.randperm(len(x), generator=rng).numpy()
        again = metric.by_row(*(metric.reorder(summary, order) for summary in (one, other)))
        moved = max(moved, float(np.nanmax(np.abs(again - rows[order]))))
        varies |= len(np.unique(rows)) > 1
    return [
        ClaimCheck(
            "the score is the mean of the samples' scores, which follow their samples",
            gap <= EXACT and moved <= EXACT and varies,
            f"differs by {gap:.1e}; moved along, by {moved:.1e}",
        )
    ]


def _check_chance(metric: BoundMetric, rng: torch.Generator) -> list[ClaimCheck]:
    expected = metric.chance(SAMPLES)
    if expected is None:
        return []
    found = [score(metric, *_independent(rng)) for _ in range(CHANCE_TRIES)]
    error = float(np.std(found)) / math.sqrt(CHANCE_TRIES)
    return [
        ClaimCheck(
            f"independent features of {SAMPLES} samples score {expected:.4f}",
            abs(float(np.mean(found)) - expected) <= 4 * error,
            f"{np.mean(found):.4f} +- {error:.4f}",
        )
    ]


def _independent(rng: torch.Generator) -> tuple[Float64[Tensor, "n d_x"], Float64[Tensor, "n d_y"]]:
    return related_features(rng)[0], related_features(rng)[1]
