"""Shared places: the score is right, and its null has its level, however many rows are copies.

Axes: n samples.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from platorep.metrics import BoundMetric, bind
from platorep.statistics import Permutations, permutation_null

N, K = 48, 5
PERMUTATIONS = 19
"""The score is beyond all of them once in twenty times, if the null is right."""


def with_copies(rng: torch.Generator, share: float, group: int) -> Tensor:
    """Random features in which a share of the rows stand in groups of equal ones."""
    x = torch.randn(N, 6, generator=rng)
    rows = torch.randperm(N, generator=rng)[: int(share * N)]
    for start in range(0, len(rows) - group + 1, group):
        x[rows[start : start + group]] = x[rows[start]].clone()
    return x


def share_of_findings(metric: BoundMetric, rng: torch.Generator, tries: int) -> float:
    """How often independent models, both of their layers tied, are found to be alike."""
    kinds = ((0.2, 2), (0.5, 4), (1.0, 3), (1.0, 12))
    x, y = (
        [
            [metric.summarize(with_copies(rng, *kinds[i % 4])) for _ in range(2)]
            for i in range(tries)
        ]
        for _ in range(2)
    )
    pairs = [(i, i) for i in range(tries)]
    found = permutation_null(metric, x, y, Permutations(PERMUTATIONS), pairs=pairs)
    return float(np.mean([pair.best.score > pair.null.max() for pair in found]))


@pytest.fixture
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No layer is left out for its ties."""
    monkeypatch.setattr("platorep.metrics.neighbors.TIED_SHARE", 1.0)
    monkeypatch.setattr("platorep.metrics.sequences.TIED_SHARE", 1.0)


@pytest.mark.usefixtures("no_limit")
def test_the_null_has_its_level_at_any_share_of_ties(rng: torch.Generator) -> None:
    tries = 160
    found = share_of_findings(bind("mutual_knn", {"k": K}), rng, tries)

    assert found == pytest.approx(0.05, abs=3.5 * (0.05 * 0.95 / tries) ** 0.5)
    # the control: the lower row number, which x and y have in common, is found to be alike
    assert share_of_findings(bind("mutual_knn", {"k": K, "ties": "lowest"}), rng, 40) > 0.15


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_the_score_is_that_of_random_choices_among_equals(
    rng: torch.Generator, share: float
) -> None:
    """At any share of ties: the mean over features that differ in the last digits only."""
    metric = bind("mutual_knn", {"k": K})
    y = with_copies(rng, share, 4)
    x = y + torch.randn(N, 6, generator=rng) * 0.8
    expected = metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0]

    close = [
        metric.summarize(y.double() + 1e-9 * torch.randn(N, 6, generator=rng, dtype=torch.float64))
        for _ in range(150)
    ]
    found = metric.compare([metric.summarize(x)], close)[0]
    assert found.mean() == pytest.approx(expected, abs=1e-12 + 4 * found.std() / 150**0.5)


@pytest.mark.parametrize("name", ["mutual_knn", "jaccard_knn", "cycle_knn", "lcs_knn"])
def test_a_few_copies_do_not_withhold_a_score(rng: torch.Generator, name: str) -> None:
    """A layer is left out where most of its rows are tied; the reason says what to do."""
    metric = bind(name, {"k": 10})
    x = torch.randn(400, 6, generator=rng)
    few, most = x.clone(), x.clone()
    few[:180:2] = few[1:180:2]
    most[:360] = most[:24].repeat(15, 1)

    assert metric.degenerate(metric.summarize(few)) is None
    reason = str(metric.degenerate(metric.summarize(most)))
    assert "of 400 samples" in reason
    assert "deduplicate" in reason
    assert "own arrays" in reason
