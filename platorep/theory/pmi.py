"""Learned kernels against the PMI, the log-joint and each other.

Three learners look at one world: x and y through bijections (each sees every event as a symbol of
its own), and a third that sees several events as one symbol. They are trained apart; the hypothesis
says that x and y end at the same kernel, the PMI, and that the third does not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from platorep.parameters.theory import EventsParameters, PmiConfig
from platorep.theory.events import (
    Joint,
    joint_distribution,
    kernel_condition,
    observed,
    off_diagonal_correlation,
    pmi,
)
from platorep.theory.learners import learned_kernels

Kernel = Float[np.ndarray, "n n"]
Symbols = Int[np.ndarray, " n"]


def worlds_table(config: PmiConfig) -> pd.DataFrame:
    """One row per world: whether the theorem's condition holds, and whether PMI + C is a kernel."""
    rows = []
    for world in config.worlds:
        joint = joint_distribution(world)
        condition = kernel_condition(joint)
        rows.append(
            {
                "world": world.name,
                "marginals": world.marginals,
                "num_events": world.num_events,
                "rho_min": condition.rho_min,
                "delta": condition.delta,
                "condition_holds": condition.holds,
                "constant": condition.constant,
                "smallest_eigenvalue": condition.smallest_eigenvalue,
                "is_kernel": condition.is_kernel,
                "pmi_log_joint": off_diagonal_correlation(pmi(joint), np.log(joint)),
            }
        )
    return pd.DataFrame(rows)


def kernels_table(
    config: PmiConfig, progress: Callable[[int], None] = lambda done: None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How near every learned kernel comes, and the kernels of the last step themselves.

    Returns:
        One row per world, loss, encoders, dimension, step and learner: Pearson's r over pairs of
        different events with the PMI (`pmi`), the log-joint (`log_joint`) and another learner
        (`agreement`: x with y, the third with x); and, for learner x at the largest dimension, one
        row per pair of different events: `pmi`, `learned`.

    Args:
        progress: Called with 1 after each training.
    """
    rows: list[dict[str, Any]] = []
    pairs: list[pd.DataFrame] = []
    for world in config.worlds:
        joint = joint_distribution(world)
        for loss in config.learners.losses:
            for encoders in config.learners.encoders:
                for dimension in config.learners.dimensions:
                    named = {
                        "world": world.name,
                        "loss": loss,
                        "encoders": encoders,
                        "dimension": dimension,
                    }
                    kernels = _learn(config, world, joint, loss, encoders, dimension)
                    for step, of_step in kernels.items():
                        rows += [named | {"step": step} | row for row in _compare(of_step, joint)]
                    if dimension == max(config.learners.dimensions):
                        pairs.append(_pairs(kernels[config.learners.steps]["x"], joint, named))
                    progress(1)
    return pd.DataFrame(rows), pd.concat(pairs, ignore_index=True)


def num_trainings(config: PmiConfig) -> int:
    asked = config.learners
    each = len(asked.losses) * len(asked.encoders) * len(asked.dimensions)
    return len(config.worlds) * each


def _learn(
    config: PmiConfig, world: EventsParameters, joint: Joint, loss: Any, encoders: Any, dim: int
) -> dict[int, dict[str, Kernel]]:
    """Step -> learner -> its kernel, between events in the world's own order."""
    rng = np.random.default_rng(world.seed + 1)
    num = len(joint)
    bijections = {"x": rng.permutation(num), "y": rng.permutation(num)}
    lossy = {"merged": rng.permutation(num) // config.merged}
    found: dict[int, dict[str, Kernel]] = {}
    for seen in (bijections, lossy):
        joints = np.stack([observed(joint, symbols) for symbols in seen.values()])
        learned = learned_kernels(torch.from_numpy(joints), loss, encoders, dim, config.learners)
        for step, kernels in learned.items():
            for kernel, (name, symbols) in zip(kernels.numpy(), seen.items(), strict=True):
                found.setdefault(step, {})[name] = kernel[symbols[:, None], symbols]
    return found


def _compare(kernels: dict[str, Kernel], joint: Joint) -> list[dict[str, Any]]:
    information, log_joint = pmi(joint), np.log(joint)
    other = {"x": "y", "y": "x", "merged": "x"}
    return [
        {
            "learner": name,
            "pmi": off_diagonal_correlation(kernel, information),
            "log_joint": off_diagonal_correlation(kernel, log_joint),
            "agreement": off_diagonal_correlation(kernel, kernels[other[name]]),
        }
        for name, kernel in kernels.items()
    ]


def _pairs(kernel: Kernel, joint: Joint, named: dict[str, Any]) -> pd.DataFrame:
    apart = ~np.eye(len(joint), dtype=bool)
    return pd.DataFrame(named | {"pmi": pmi(joint)[apart], "learned": kernel[apart]})
