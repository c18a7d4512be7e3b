"""A discrete world with a known joint distribution of the events that occur together.

Axes: a and b are events (n of them), s and t the symbols by which they are observed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from platorep.parameters.theory import EventsParameters

Joint = Float[np.ndarray, "n n"]


def joint_distribution(parameters: EventsParameters) -> Joint:
    """P(a, b) of two events that occur together: symmetric, positive, with the asked marginals."""
    num = parameters.num_events
    rng = np.random.default_rng(parameters.seed)
    if parameters.causes == "factors":
        vectors = rng.normal(size=(num, parameters.num_causes))
        scale = parameters.strength / np.sqrt(parameters.num_causes)
        together = np.exp(scale * vectors @ vectors.T)
    else:
        shares = rng.dirichlet([parameters.concentration] * parameters.num_causes, size=num)
        together = shares @ shares.T
        together = together / together.mean() + parameters.floor
    weights = np.ones(num) if parameters.marginals == "uniform" else 1 / np.arange(1, num + 1)
    marginal = weights / weights.sum()
    joint = _with_marginals(together, marginal)
    mixed: Joint = (1 - parameters.self_share) * joint + parameters.self_share * np.diag(marginal)
    return mixed


def _with_marginals(weights: Joint, marginal: Float[np.ndarray, " n"]) -> Joint:
    """The symmetric joint `scale_a scale_b weights_ab` with these marginals (Sinkhorn)."""
    scale = np.ones(len(marginal))
    for _ in range(10_000):
        found = scale * (weights @ scale)
        if np.abs(found / marginal - 1).max() < 1e-12:
            break
        scale = scale * np.sqrt(marginal / found)
    joint: Joint = scale[:, None] * weights * scale
    joint /= joint.sum()
    return joint


def pmi(joint: Joint) -> Joint:
    """log P(a, b) / (P(a) P(b)): 0 where two events are independent, in nats."""
    found: Joint = np.log(joint) - np.log(joint.sum(1))[:, None] - np.log(joint.sum(0))
    return found


def observed(joint: Joint, symbols: Int[np.ndarray, " n"]) -> Float[np.ndarray, "s s"]:
    """The joint of what is seen when event a shows as `symbols[a]`, a number below s."""
    num = int(symbols.max()) + 1
    found = np.zeros((num, num))
    np.add.at(found, (symbols[:, None], symbols), joint)
    return found


@dataclass(frozen=True)
class KernelCondition:
    """Whether PMI + C is positive semidefinite, so that one table of vectors can reach it.

    Source: arXiv:2405.07987, appendix F: it is when P(z|z) / P(z) >= exp(n delta) rho_min for all
    events z, where the off-diagonal PMI lies in [log rho_min, log rho_min + delta]. The condition
    is sufficient, not necessary.
    """

    rho_min: float
    delta: float
    holds: bool
    constant: float
    """C = -min over rows of the mean PMI."""
    smallest_eigenvalue: float
    """Of PMI + C; not below 0 (to rounding) if and only if it is a kernel."""

    @property
    def is_kernel(self) -> bool:
        return self.smallest_eigenvalue > -1e-9


def kernel_condition(joint: Joint) -> KernelCondition:
    """The condition of the theorem, and what it is to ensure."""
    information = pmi(joint)
    num = len(joint)
    apart = information[~np.eye(num, dtype=bool)]
    low, delta = float(apart.min()), float(apart.max() - apart.min())
    constant = float(-information.mean(1).min())
    return KernelCondition(
        rho_min=float(np.exp(low)),
        delta=delta,
        holds=bool((np.diag(information) >= num * delta + low).all()),
        constant=constant,
        smallest_eigenvalue=float(np.linalg.eigvalsh(information + constant)[0]),
    )


def off_diagonal_correlation(x: Joint, y: Joint) -> float:
    """Pearson's r over the pairs of different events, -1 to 1; NaN where one is constant."""
    apart = ~np.eye(len(x), dtype=bool)
    if np.ptp(x[apart]) == 0 or np.ptp(y[apart]) == 0:
        return float("nan")
    return float(np.corrcoef(x[apart], y[apart])[0, 1])
