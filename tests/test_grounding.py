"""Metrics tried where the answer is known: the dial, the designs of ReSi, and the command."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from jaxtyping import Float
from sklearn.linear_model import Ridge
from torch import Tensor
from typer.testing import CliRunner

from platorep.cli import app
from platorep.failures import Errors
from platorep.grounding import in_short
from platorep.grounding.designs import (
    PENALTY,
    layer_correlation,
    layer_violations,
    output_correlation,
    output_similarity,
    probe_outputs,
    separation,
)
from platorep.grounding.dial import APART, DETECTED, REPETITIONS, SHARES, Turned, turn
from platorep.grounding.latent import CAUSES, LatentWorld
from platorep.grounding.scoring import Metrics
from platorep.grounding.stage import dial_columns, in_order
from platorep.metrics import BoundMetric, Claims, bind, own_metric
from platorep.parameters.metrics import OwnMetric
from platorep.parameters.toyworld import WorldParameters
from platorep.toyworld.attributes import attributes
from platorep.toyworld.scenes import sample_pairs, told_scene

LATENT, LINEAR = LatentWorld(), LatentWorld(linear=True)


def share_of_equal_causes(x: Tensor, y: Tensor) -> float:
    """The truth of a linear world."""
    return float((x == y).all(dim=0).float().mean())


def noise(x: Tensor, y: Tensor) -> float:
    """Depends on every bit, and on nothing that means something."""
    return float(np.random.default_rng(abs(hash((x.sum().item(), y.sum().item())))).uniform())


def own(name: str, compare: Any, **claims: Any) -> BoundMetric:
    """A metric of a user's own, of one function."""
    metric = own_metric(name=name, compare=compare, claims=Claims(**claims))
    return BoundMetric(metric, OwnMetric(name=name))


def turned(world: Any, *metrics: BoundMetric, n: int = 64) -> Mapping[str, Turned]:
    return turn(world, Metrics(metrics, Errors(keep_going=False)), n, lambda count: None)


# --- the dial ---


def test_what_the_dial_says_by_hand() -> None:
    """Scores .2 + .6 s, give or take .03; a null of .1 and .3; perfect is 1.2."""
    means = 0.2 + 0.6 * np.array(SHARES)
    away = np.resize([0.03, -0.03], REPETITIONS)
    null = np.tile([0.1, 0.3], (REPETITIONS, 10))
    found = Turned(means[:, None] + away, null, perfect=1.2)

    deviation = 0.03 * np.sqrt(REPETITIONS / (REPETITIONS - 1))
    assert found.calibrated.mean(axis=1) == pytest.approx(0.6 * np.array(SHARES))
    assert found.tracks == pytest.approx(1)
    assert found.half == pytest.approx(0.3)
    assert found.noise == pytest.approx(deviation)
    assert found.resolution == pytest.approx(APART * deviation / 0.6)
    assert found.seen_from == pytest.approx(DETECTED * deviation / 0.6)  # the mean is a line
    assert found.at_zero == pytest.approx(0, abs=1e-9)
    falling = Turned(found.scores[::-1], null, perfect=1.2)
    assert falling.tracks == pytest.approx(-1)
    assert np.isnan(falling.resolution)


def test_in_a_linear_world_explained_variance_is_what_is_shared() -> None:
    """Each of these is s itself, in the limit; the causes are whole numbers of sixteen."""
    names = ("cka", "procrustes", "linear_predictivity")
    found = turned(LINEAR, *map(bind, names), n=128)

    assert all((share * CAUSES).is_integer() for share in SHARES)
    for label, one in found.items():
        assert np.abs(one.calibrated.mean(axis=1) - SHARES).max() < 0.1, label
    assert len(found) == len(names)


def test_the_truth_comes_first_and_noise_last() -> None:
    metrics = (
        own("noise", noise),
        bind("mutual_knn"),
        own("truth", share_of_equal_causes),
        bind("cka", {"estimator": "debiased"}),
    )
    found = turned(LINEAR, *metrics)
    rows = [
        {"metric": label, **dial_columns("linear", 64, one, last=True)}
        for label, one in found.items()
    ]
    table = in_order(rows, [64]).set_index("metric")

    assert table.index[0] == "truth"
    assert table.index[-1] == "noise"
    assert table.loc["truth", "linear_resolution_64"] == 0
    assert table.loc["truth", "linear_half"] == 0.5
    assert abs(table.loc["noise", "linear_at_zero"]) < 3


def test_a_distance_is_turned_round() -> None:
    def distance(x: Tensor, y: Tensor) -> float:
        return 1 - share_of_equal_causes(x, y)

    claims = {"low": 0.0, "high": 1.0, "perfect": 0.0, "larger_is_closer": False}
    found = turned(LINEAR, own("distance", distance, **claims))["distance"]

    assert np.abs(found.calibrated.mean(axis=1) - SHARES).max() < 1e-6


@dataclass(frozen=True)
class Unpaired:
    """Rows of both sides in orders that have nothing to do with each other."""

    name: str = "unpaired"

    def x(self, n: int, repetition: int) -> Float[Tensor, "n d"]:
        return LATENT.x(n, repetition)

    def y(self, share: float, n: int, repetition: int) -> Float[Tensor, "n d"]:
        order = torch.Generator().manual_seed(round(1000 * share) + repetition)
        return LATENT.y(share, n, repetition)[torch.randperm(n, generator=order)]


def test_pairs_that_are_none_show_nothing() -> None:
    found = turned(Unpaired(), bind("cka"))["cka{kernel: linear, estimator: biased}"]
    paired = turned(LATENT, bind("cka"))["cka{kernel: linear, estimator: biased}"]

    assert np.abs(found.calibrated.mean(axis=1)).max() < 0.05
    assert abs(found.at_zero) < 3
    assert found.tracks < 1
    assert paired.tracks == pytest.approx(1)
    assert abs(paired.at_zero) < 3
    assert paired.half > 0.1


def test_the_dial_turns_to_the_same_numbers_again() -> None:
    first, second = (turned(LATENT, bind("mutual_knn"), n=32) for _ in range(2))

    for one, other in zip(first.values(), second.values(), strict=True):
        assert (one.scores == other.scores).all()
        assert (one.null == other.null).all()


def test_what_refuses_so_few_samples_is_left_out_and_what_fails_is_noted_once() -> None:
    calls = []

    def fails(x: Tensor, y: Tensor) -> float:
        calls.append(1)
        raise ValueError("of its own")

    errors = Errors()
    metrics = Metrics([own("fails", fails), bind("cca_mean"), bind("rv")], errors)
    found = turn(LATENT, metrics, 32, lambda count: None)

    assert set(found) == {"rv"}  # of up to 256 dimensions
    assert list(errors.errors) == ["fails"]
    assert len(calls) == 1


def test_what_captions_tell_of_pictures_rises_with_the_dial() -> None:
    scenes = sample_pairs(WorldParameters(), 96)
    shown = torch.from_numpy(attributes(WorldParameters(), scenes)["all"])
    cka, found = bind("cka", {"estimator": "debiased"}), []
    for share in SHARES:
        world = WorldParameters(shared=share)
        told = attributes(world, [told_scene(world, scene) for scene in scenes])["all"]
        found.append(cka.compare([cka.summarize(shown)], [cka.summarize(torch.from_numpy(told))]))

    assert list(np.ravel(found)) == sorted(np.ravel(found))
    assert abs(float(found[0][0, 0])) < 0.05
    assert float(found[-1][0, 0]) == pytest.approx(1)


# --- layers ---


def nearness(num: int) -> Float[np.ndarray, "l l"]:
    return -np.abs(np.subtract.outer(np.arange(num), np.arange(num))).astype(float)


def test_layers_by_hand() -> None:
    assert layer_violations(nearness(5)) == 0
    assert layer_correlation(nearness(5)) == pytest.approx(1)
    assert layer_violations(-nearness(5)) == 1
    assert layer_correlation(-nearness(5)) == pytest.approx(-1)
    # from 0 on 1 before 2 (right), from 2 on 1 before 0 (wrong)
    three = np.array([[1.0, 0.6, 0.5], [0.6, 1.0, 0.4], [0.5, 0.4, 1.0]])
    assert layer_violations(three) == 0.5
    assert np.isnan(layer_violations(nearness(2)))
    assert np.isnan(layer_correlation(nearness(3)))


def test_layers_of_a_chain_are_in_order_and_shuffled_ones_are_not(rng: torch.Generator) -> None:
    layers = [torch.randn(48, 12, generator=rng)]
    for _ in range(6):
        layers.append(layers[-1] + 0.7 * torch.randn(48, 12, generator=rng))
    metrics = Metrics([bind("cka"), bind("mutual_knn"), bind("procrustes")], Errors())
    made = metrics.summarize(layers)
    order = [3, 0, 5, 1, 6, 2, 4]

    for label, scores in metrics.compare(made, made).items():
        shuffled = scores[order][:, order]
        assert layer_violations(scores) < 0.1, label
        assert layer_violations(shuffled) > 0.3, label
        assert layer_correlation(scores) > 0.85 > layer_correlation(shuffled) + 0.4, label


# --- kinds ---


def test_kinds_by_hand() -> None:
    """Within a: .5. Across: .3 (a0 b), .6 (a1 b). So one of two pairs is right."""
    scores = np.array([[1.0, 0.5, 0.3], [0.5, 1.0, 0.6], [0.3, 0.6, 1.0]])

    assert separation(scores, ["a", "a", "b"]) == pytest.approx((0.5, 0.5))
    assert np.isnan(separation(scores, ["a", "b", "c"])).all()
    assert np.isnan(separation(scores, ["a", "a", "a"])).all()


def test_kinds_are_told_apart_and_permuted_labels_are_not(rng: torch.Generator) -> None:
    causes = torch.randn(3, 48, 12, generator=rng)
    networks = [
        causes[kind] @ torch.randn(12, 16, generator=rng) + torch.randn(48, 16, generator=rng)
        for kind in (0, 0, 0, 1, 1, 1, 2, 2, 2)
    ]
    metrics = Metrics([bind("cka"), bind("mutual_knn", {"k": 5})], Errors())
    made = metrics.summarize(networks)

    for label, scores in metrics.compare(made, made).items():
        assert separation(scores, [*"aaabbbccc"]) == (1.0, 1.0), label
        auc, auprc = separation(scores, [*"abcabcabc"])
        assert max(auc, auprc) < 0.5, label  # each kind is made of three


# --- outputs ---


def test_probes_say_what_scikit_learn_says(rng: torch.Generator) -> None:
    features = (torch.randn(40, 6, generator=rng) + 3).double().numpy()
    answers = torch.randn(40, 2, generator=rng).double().numpy()
    even = features[::2]
    penalty = PENALTY * ((even - even.mean(axis=0)) ** 2).sum(axis=1).mean()
    oracle = Ridge(alpha=penalty).fit(even, answers[::2])

    said = probe_outputs(features, answers)
    expected = oracle.predict(features[1::2]) - answers[::2].mean(axis=0)
    assert said == pytest.approx(expected)
    assert output_similarity([said, -2 * said + 1])[0, 1] == pytest.approx(-1)


def test_networks_that_are_alike_answer_alike_and_permuted_outputs_do_not(
    rng: torch.Generator,
) -> None:
    """Each network hears the truth through another amount of noise."""
    truth = torch.randn(256, 6, generator=rng)
    networks = [
        truth @ torch.randn(6, 8, generator=rng) + level * torch.randn(256, 8, generator=rng)
        for level in (0.5, 1.0, 2.0, 3.0, 4.5, 6.0, 9.0, 12.0)
    ]
    said = [probe_outputs(network.double().numpy(), truth.double().numpy()) for network in networks]
    outputs = output_similarity(said)
    metrics = Metrics([bind("cka")], Errors())
    made = metrics.summarize([network[1::2] for network in networks])
    (scores,) = metrics.compare(made, made).values()
    order = [4, 0, 6, 2, 7, 1, 5, 3]

    assert output_correlation(scores, outputs) > 0.8
    assert output_correlation(scores, outputs[order][:, order]) < 0.4


# --- what the documentation recommends ---


def recommended() -> list[str]:
    """The entries of the first column under "Which metric when"."""
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = text.partition("## Which metric when")[2].partition("\n## ")[0]
    entries = [line.split("|")[1].strip() for line in section.splitlines() if "| `{" in line]
    return [entry.strip("`") for entry in entries]


def test_what_the_documentation_recommends_follows_the_dial() -> None:
    entries = [yaml.safe_load(entry) for entry in recommended()]
    metrics = [bind(entry.pop("name"), entry) for entry in entries]
    found = turned(LATENT, *metrics, n=128)

    assert len(metrics) >= 3
    assert len(found) == len(metrics)
    assert [one.tracks for one in found.values()] == pytest.approx([1.0] * len(metrics))
    assert all(abs(one.at_zero) < 4 for one in found.values())


# --- the command ---


def test_a_person_sees_the_sizes_in_one_cell_and_few_digits() -> None:
    columns = {"latent_resolution_128": [np.nan, 0.5], "latent_resolution_512": [0.1234, 0.25]}
    table = pd.DataFrame({"metric": ["a", "b"], **columns, "latent_half": [1.0, 1.0]})

    assert in_short(table).to_dict("list") == {
        "metric": ["a", "b"],
        "latent_resolution": ["-, 0.12", "0.5, 0.25"],
    }


TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"source": "toyworld", "limit": 16, "world": {"image_size": 16}},
    "families": [
        {
            "name": "eyes",
            "modality": "vision",
            "backend": "toyworld",
            "training": {"steps": 0},
            "models": [
                {"name": name, "label": f"{name}-{seed}", "training": {"seed": seed}}
                for name, seed in (("conv2", 0), ("conv2", 1), ("conv4", 2))
            ],
        },
        {
            "name": "readers",
            "modality": "language",
            "backend": "toyworld",
            "training": {"steps": 0},
            "models": ["llama4"],
        },
    ],
    "align": {
        "metrics": [{"name": "mutual_knn", "k": 3}, "own_measures:same", "own_measures:breaks"]
    },
}
OWN = """
def same(x, y):
    return float((x[:, :1] * y[:, :1]).mean())

def breaks(x, y):
    raise RuntimeError("no good")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY))
    (tmp_path / "own_measures.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("shapes_unchecked")
def test_the_command_tries_metrics_and_keeps_what_it_found(folder: Path) -> None:
    arguments = ["list", "metrics", "[mo][uw]*", "--ground", "tiny.yaml", "--json"]
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 3, result.stderr  # one of the metrics breaks
    assert "ground own_measures:breaks failed: RuntimeError: no good" in result.stderr
    found = {row["metric"]: row for row in json.loads(result.stdout)}
    assert {"mutual_knn{k: 10}", "own_measures:same", "own_measures:breaks"} <= set(found)
    row = found["mutual_knn{k: 3}"]
    for column in (
        "latent_tracks",
        "toy_tracks",
        "toy_half",
        "layers_wrong",
        "layers_order",
        "kinds_auc",
        "kinds_auprc",
        "outputs",
    ):
        assert -1 <= row[column] <= 1, column
    assert 0 < row["seconds"] < 60
    assert found["own_measures:breaks"]["latent_tracks"] is None
    dial = pd.read_csv(folder / "results" / "tiny" / "dial.csv")
    assert set(dial["world"]) == {"latent", "toy"}
    assert set(dial["n"]) == {16}
    of_one = dial[(dial["metric"] == "mutual_knn{k: 10}") & (dial["world"] == "toy")]
    assert tuple(of_one["share"]) == SHARES
    table = pd.read_csv(folder / "results" / "tiny" / "metrics.csv")
    assert set(table["metric"]) == set(found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["metrics", "--ground", "nothing.yaml"], "nothing.yaml"),
        (["figures", "--ground", "tiny.yaml"], "--ground tries metrics; found figures"),
        (["metrics", "nothing*", "--ground", "tiny.yaml"], "no metric matches. There are: mutual"),
    ],
)
def test_what_cannot_be_tried_is_refused(arguments: list[str], words: str, folder: Path) -> None:
    result = CliRunner().invoke(app, ["list", *arguments])

    assert result.exit_code in (2, 4)
    assert words in result.stderr
    assert not (folder / "results" / "tiny" / "metrics.csv").exists()
