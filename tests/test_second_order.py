"""Second-order cosine similarity: by oracle, by hand, at the edges."""

import math

import numpy as np
import oracles
import pytest
import torch
from metric_inputs import KINDS, N, related
from torch import Tensor

from platorep.metrics import bind


def score(x: Tensor, y: Tensor, **parameters: object) -> float:
    metric = bind("second_order_cosine", parameters)
    return float(metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0])


INPUTS = {
    **KINDS,
    "a few numbers": lambda rng: torch.randint(1, 4, (N, 2), generator=rng).double(),
    "zero rows": lambda rng: (
        torch.randn(N, 3, generator=rng).double() * (torch.arange(N) > 4)[:, None]
    ),
}


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("kind", INPUTS)
def test_second_order_cosine_equals_its_oracle(
    rng: torch.Generator, kind: str, variant: str
) -> None:
    """Ties count as likely as they are to be in either list."""
    x, y = related(rng, INPUTS[kind]) if kind in KINDS else (INPUTS[kind](rng) for _ in range(2))

    for k in (1, 4):
        expected = oracles.second_order_cosine(x.numpy(), y.numpy(), k, variant)
        # of nearly constant rows 1 - cosine is 1e-8, of which the oracle keeps four digits
        digits = 1e-3 if kind == "nearly constant" and variant == "code" else 1e-9
        assert score(x, y, k=k, variant=variant) == pytest.approx(expected, abs=digits)


def test_second_order_cosine_worked_by_hand() -> None:
    """Four directions in the plane, x at 0, 90, 180, 270 degrees and y at 0, 60, 180, 240; k = 1.

    Both hold pairs of neighbors at equal angles in x (tied), one nearest each in y.
    """
    x, y = (
        torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles])
        for angles in ([0, 90, 180, 270], [0, 60, 180, 240])
    )
    # row 0: in x rows 1 and 3 are tied (cosine 0), in y row 1 (1/2): no direction in x, left out
    assert np.isnan(score(x, y, k=1))
    # as 1 - cosine: x has 1 and 1 at rows 1 and 3, y has 1/2 and 3/2; row 1 is in a list for
    # certain, row 3 with probability 1/2: (1/2 + 3/4) / sqrt((1 + 1/2) (1/4 + 9/8))
    expected = 1.25 / math.sqrt(1.5 * 1.375)
    assert score(x.double(), y.double(), k=1, variant="code") == pytest.approx(expected, abs=1e-6)


def test_the_lists_decide_whose_similarity_is_compared(rng: torch.Generator) -> None:
    """A stretch of far samples changes nothing near: the score stays while rsa falls."""
    near = torch.randn(12, 3, generator=rng, dtype=torch.float64)
    x = torch.cat(
        [near * 0.05 + torch.tensor([5.0, 0, 0]), near * 0.05 - torch.tensor([5.0, 0, 0])]
    )
    y = torch.cat([x[:12], x[12:] @ torch.linalg.qr(torch.randn(3, 3, generator=rng).double())[0]])

    assert score(x, y, k=3, variant="code") == pytest.approx(1, abs=1e-9)
    rsa = bind("rsa", {"rdm": "cosine"})
    assert rsa.compare([rsa.summarize(x)], [rsa.summarize(y)])[0, 0] < 0.95


def test_a_constant_layer_is_left_out(rng: torch.Generator) -> None:
    metric = bind("second_order_cosine")
    constant = metric.summarize(torch.full((30, 4), 0.1))

    assert metric.degenerate(constant) == "constant: all rows are equal"
    with pytest.raises(Exception, match="k must be smaller than the number of samples"):
        metric.check(10, 5)
