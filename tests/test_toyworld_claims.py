"""What the toy world is for: the hypothesis holds in it, by a margin, and not where it must not.

The smallest networks, two worlds with two seeds, and a flat one; trained here, so this takes a
while. The margins leave room for machines that round otherwise. scripts/check_toyworld.py has the
statistics.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from processes import Forks

EXPERIMENT = """
name: claims
report: {after_run: false}
dataset: {source: toyworld, limit: 512, world: {WORLD}}
families:
  - name: ResNet
    modality: vision
    backend: toyworld
    training: {steps: 70, num_scenes: 800, seed: SEED}
    models: [conv4]
  - name: Llamas
    modality: language
    backend: toyworld
    training: {steps: 300, num_scenes: 800, batch_size: 64, checkpoints: [20], seed: SEED}
    models: [llama4, llama16]
  - {name: truth, modality: truth, backend: toyworld, models: [truth]}
performance: [{name: bits_per_byte, source: captions}]
align:
  pairs: [[language, vision], [language, truth], [vision, truth]]
  null: {permutations: 100}
controls: {random_weights: true, shuffled_pairs: true}
"""


@pytest.fixture(scope="module")
def checks() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "check_toyworld.py"
    spec = importlib.util.spec_from_file_location("check_toyworld", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(forks: Forks, folder: Path, seed: int, world: str) -> Path:
    text = EXPERIMENT.replace("SEED", str(seed)).replace("WORLD", f"seed: {seed}{world}")
    (folder / "claims.yaml").write_text(text, encoding="utf-8")
    # a process of its own: checking every shape while pictures are drawn would take minutes
    ended = forks.run(
        *("run", "claims.yaml", "--offline", "--quiet", "--output", "results"),
        folder=folder,
        cache=folder / "cache",
    )
    assert ended.code == 0, ended.stderr
    return folder / "results"


@pytest.mark.parametrize("seed", [0, 1])
def test_the_hypothesis_holds_by_a_margin(
    forks: Forks, tmp_path: Path, checks: ModuleType, seed: int
) -> None:
    pairs = checks.read_pairs(run(forks, tmp_path, seed, ""))
    real = pairs[pairs["control"] == ""].set_index(["x_twin", "x_random", "y_twin", "y_random"])

    def score(x: str, y: str, x_random: bool = False, y_random: bool = False) -> float:
        return float(real.loc[(x, x_random, y, y_random), "score"])

    small, large = (name + f"-seed{seed}" * (seed > 0) for name in ("llama4", "llama16"))
    conv = "conv4" + f"-seed{seed}" * (seed > 0)
    own = score(f"{large}@300", conv)
    assert own > 1.2 * score(f"{small}@300", conv)  # with competence
    assert own > 1.2 * score(f"{large}@20", conv)
    assert own > 1.5 * score(f"{large}@300", conv, x_random=True)  # above its random copies
    assert own > 2 * score(f"{large}@300", conv, y_random=True)
    for model in (f"{small}@300", f"{large}@300"):
        assert score(model, "truth") > 1.3 * score(model, "truth", x_random=True)
    assert score(conv, "truth") > 1.5 * score(conv, "truth", x_random=True)
    trained = checks.trained(checks.language_vision(pairs))
    assert (trained["p_adjusted"] < 0.05).all()
    assert checks._spearman(trained) > 0
    shuffled = pairs[pairs["control"] == "shuffled"]
    null = real["null_mean"].mean() + 5 * real["null_sd"].mean()
    assert shuffled["score"].max() < null


def test_alignment_stays_at_chance_in_a_flat_world(
    forks: Forks, tmp_path: Path, checks: ModuleType
) -> None:
    """Although the language models get better at its captions; the control of all of the above."""
    folder = run(forks, tmp_path, 0, ", uniform_share: 1, pairs: same_place")
    pairs = checks.language_vision(checks.read_pairs(folder))
    trained = checks.trained(pairs)
    first, last = trained[trained["step"] == 20], trained[trained["step"] == 300]

    assert last["bits_per_byte"].max() < first["bits_per_byte"].min() - 0.05
    real: pd.DataFrame = pairs[pairs["control"] == ""]
    assert (real["p_adjusted"] > 0.01).all()
    assert (real["score"] < real["null_mean"] + 5 * real["null_sd"]).all()
