"""The theory of contrastive learners: by hand, by oracle, at the optimum, and learned."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from platorep.cli import app
from platorep.config import config_path, load_theory
from platorep.parameters.theory import EventsParameters, LearnersParameters, PmiConfig
from platorep.theory.events import (
    joint_distribution,
    kernel_condition,
    observed,
    off_diagonal_correlation,
    pmi,
)
from platorep.theory.learners import infonce_loss, nce_loss
from platorep.theory.pmi import kernels_table, worlds_table

LEARNERS = LearnersParameters(losses=("nce",), dimensions=(8,), steps=150, checkpoints=(0,))
UNIFORM = EventsParameters(name="uniform", num_events=24, num_causes=4)
ZIPF = EventsParameters(
    name="zipf", num_events=24, num_causes=4, causes="contexts", marginals="zipf"
)


def test_pmi_by_hand() -> None:
    joint = np.array([[0.4, 0.1], [0.1, 0.4]])

    assert pmi(joint) == pytest.approx(np.log([[1.6, 0.4], [0.4, 1.6]]))


@pytest.mark.parametrize("world", [UNIFORM, ZIPF], ids=lambda w: w.name)
def test_joint_is_symmetric_with_the_asked_marginals(world: EventsParameters) -> None:
    joint = joint_distribution(world)
    weights = [1.0 if world.name == "uniform" else 1 / rank for rank in range(1, 25)]

    assert joint == pytest.approx(joint.T)
    assert joint.sum(1) == pytest.approx([w / sum(weights) for w in weights])
    assert joint.min() > 0


def test_what_is_observed_by_hand() -> None:
    """Events 0 and 2 show as one symbol."""
    joint = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]) / 45

    found = observed(joint, np.array([1, 0, 1]))

    assert found * 45 == pytest.approx(np.array([[5, 4 + 6], [2 + 8, 1 + 3 + 7 + 9]]))


def oracle_nce(g: list[list[float]], joint: list[list[float]]) -> float:
    """-E_P log sigma(g) - E_{P x P} log(1 - sigma(g)), in loops."""
    n = len(g)
    rows = [sum(joint[a]) for a in range(n)]
    columns = [sum(joint[a][b] for a in range(n)) for b in range(n)]
    total = 0.0
    for a in range(n):
        for b in range(n):
            share = 1 / (1 + math.exp(-g[a][b]))
            total -= joint[a][b] * math.log(share)
            total -= rows[a] * columns[b] * math.log(1 - share)
    return total


def oracle_infonce(g: list[list[float]], joint: list[list[float]]) -> float:
    """-E_P log of e^g over its mean under the marginal of b, and the same for a."""
    n = len(g)
    rows = [sum(joint[a]) for a in range(n)]
    columns = [sum(joint[a][b] for a in range(n)) for b in range(n)]
    total = 0.0
    for a in range(n):
        for b in range(n):
            of_a = sum(columns[c] * math.exp(g[a][c]) for c in range(n))
            of_b = sum(rows[c] * math.exp(g[c][b]) for c in range(n))
            total -= joint[a][b] * math.log(math.exp(g[a][b]) / of_a)
            total -= joint[a][b] * math.log(math.exp(g[a][b]) / of_b)
    return total


@pytest.mark.parametrize(
    ("loss", "oracle"), [(nce_loss, oracle_nce), (infonce_loss, oracle_infonce)]
)
def test_losses_equal_their_definitions(loss, oracle, rng: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    g = torch.randn(2, 4, 4, generator=rng, dtype=torch.float64)
    joints = torch.rand(2, 4, 4, generator=rng, dtype=torch.float64)
    joints /= joints.sum((1, 2), keepdim=True)

    found = loss(g, joints).tolist()

    assert found == pytest.approx([oracle(g[i].tolist(), joints[i].tolist()) for i in range(2)])


@pytest.mark.parametrize("loss", [nce_loss, infonce_loss])
@pytest.mark.parametrize("world", [UNIFORM, ZIPF], ids=lambda w: w.name)
def test_pmi_is_where_the_losses_are_flat(loss, world: EventsParameters) -> None:  # type: ignore[no-untyped-def]
    joint = joint_distribution(world)
    constant = 0.0 if loss is nce_loss else 1.3

    def steepest(scores: np.ndarray) -> float:
        g = torch.from_numpy(scores[None] + constant).requires_grad_()
        loss(g, torch.from_numpy(joint[None])).sum().backward()
        assert g.grad is not None
        return float(g.grad.abs().max())

    assert steepest(pmi(joint)) < 1e-12
    assert steepest(np.log(joint) - np.log(joint).mean()) > 1e-4 or world is UNIFORM
    assert steepest(1.1 * pmi(joint)) > 1e-5


@pytest.mark.parametrize("seed", range(8))
def test_pmi_is_a_kernel_where_the_theorem_says_so(seed: int) -> None:
    gentle = {"num_events": 8, "num_causes": 3, "strength": 0.05, "seed": seed}
    inside = kernel_condition(
        joint_distribution(EventsParameters(name="in", self_share=0.8, **gentle))
    )
    outside = kernel_condition(joint_distribution(EventsParameters(name="out", **gentle)))

    assert inside.holds
    assert inside.is_kernel
    assert not outside.holds


def test_a_joint_whose_pmi_is_no_kernel() -> None:
    """Events that avoid themselves: PMI is negative on the diagonal."""
    joint = np.full((3, 3), 0.3 / 2)
    np.fill_diagonal(joint, 0.1 / 3)

    found = kernel_condition(joint / joint.sum())

    assert not found.holds
    assert not found.is_kernel


def test_learners_end_at_the_pmi_and_at_each_other() -> None:
    """Tied encoders reach it where it is nearly a kernel, untied ones everywhere; and it is not the
    log-joint, and not what a learner finds that cannot tell events apart."""
    config = PmiConfig(name="test", worlds=(UNIFORM, ZIPF), learners=LEARNERS)
    kernels, pairs = kernels_table(config)
    last = kernels[kernels["step"] == 150].set_index(["world", "encoders", "learner"])

    assert last.loc[("uniform", "tied", "x"), "pmi"] > 0.99
    assert last.loc[("zipf", "untied", "x"), "pmi"] > 0.99
    assert last.loc[("zipf", "tied", "x"), "pmi"] < last.loc[("zipf", "untied", "x"), "pmi"]
    assert last.loc[("zipf", "untied", "x"), "log_joint"] < 0.6
    assert (last.drop("merged", level="learner")["agreement"] > 0.99).all()
    assert (last.xs("merged", level="learner")[["pmi", "agreement"]] < 0.8).all(axis=None)
    first = kernels[(kernels["step"] == 0) & (kernels["learner"] == "x")]
    assert (first["pmi"].abs() < 0.3).all()
    assert off_diagonal_correlation(*_as_kernels(pairs)) > 0.99


def _as_kernels(pairs) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    rows = pairs[(pairs["world"] == "zipf") & (pairs["encoders"] == "untied")]
    found = []
    for column in ("pmi", "learned"):
        kernel = np.zeros((24, 24))
        kernel[~np.eye(24, dtype=bool)] = rows[column]
        found.append(kernel)
    return found


def test_shipped_file_has_worlds_of_each_kind() -> None:
    worlds = worlds_table(load_theory(config_path("theory-pmi", "theory pmi"))).set_index("world")

    assert worlds.loc["condition holds", "condition_holds"]
    assert worlds.loc["condition holds", "is_kernel"]
    assert not worlds.loc["contexts, Zipf", "is_kernel"]
    assert worlds.loc["contexts, Zipf", "pmi_log_joint"] < 0.6


def test_command_writes_tables_and_the_figure(tmp_path: Path) -> None:
    sets = ["learners.steps=3", "learners.dimensions=[2]", "learners.checkpoints=[0]"]
    options = [text for value in sets for text in ("--set", value)]

    done = CliRunner().invoke(app, ["theory", "pmi", "--output", str(tmp_path), "-q", *options])

    assert done.exit_code == 0, done.output
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"worlds.csv", "kernels.csv", "pmi.png", "pmi.pdf", "pmi.csv", "run.json"} <= names


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["theory", "pmi", "--set", "learners.step=3"])

    assert done.exit_code == 2
    assert "learners.step" in done.output
    assert "'steps'" in done.output
