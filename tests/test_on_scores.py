"""A function of the user's own that is told of scores as they come."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from runs import run_of

from platorep.align import align
from platorep.config import ExperimentConfig
from platorep.errors import ConfigError
from platorep.execute import extract_stage, run_stages
from platorep.reporting import Reporter
from platorep.run import Run

CALLS: list[dict[str, Any]] = []


def keep(scores: dict[str, Any]) -> None:
    CALLS.append(scores)


def fail(scores: dict[str, Any]) -> None:
    CALLS.append(scores)
    raise RuntimeError("no connection")


def leave(scores: dict[str, Any]) -> None:
    CALLS.append(scores)
    raise SystemExit(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two pairs of networks under two metrics, extracted."""
    toy = {"backend": "toyworld", "training": {"steps": 0}}
    config = ExperimentConfig.model_validate(
        {
            "name": "told",
            "dataset": {"source": "toyworld", "limit": 32},
            "families": [
                {"name": "L", "modality": "language", "models": ["llama8"]} | toy,
                {"name": "V", "modality": "vision", "models": ["conv4", "conv8"]} | toy,
            ],
            "align": {
                "metrics": [{"name": "mutual_knn", "k": 3}, "procrustes"],
                "null": {"permutations": 9},
            },
            "controls": {"shuffled_pairs": True},
        }
    )
    folder = tmp_path_factory.mktemp("told")
    run = run_of(config, folder / "results", folder / "cache", on_scores="test_on_scores:keep")
    extract_stage(run)
    return run


def test_it_is_told_of_each_finished_pair_and_of_the_tables(run: Run) -> None:
    CALLS.clear()
    align(run)
    *pairs, last = CALLS
    best = pd.read_csv(run.results.best)
    trained = best[best["control"].isna()].set_index(["x", "y", "metric"])

    assert len(pairs) == len(trained) == 4  # two pairs, two metrics
    for told in pairs:
        row = trained.loc[(told["x"], told["y"], told["metric"])]
        assert told["score"] == pytest.approx(row["score"])
        assert (told["layer_x"], told["n"]) == (row["layer_x"], 32)
        assert told["p"] == (None if told["metric"].startswith("procrustes") else row["p"])
        json.dumps(told)  # plain numbers
    assert last["experiment"] == "told"
    assert list(last["tables"]) == ["best", "scores", "layers"]

    CALLS.clear()
    align(run)  # nothing is scored: no pair is told of, and the tables once more
    assert [set(told) for told in CALLS] == [{"experiment", "results", "tables"}]


@pytest.mark.parametrize(
    ("name", "error"), [("fail", "RuntimeError: no connection"), ("leave", "SystemExit: 0")]
)
def test_what_fails_there_is_told_and_loses_nothing(run: Run, name: str, error: str) -> None:
    """Nor does it end the run, as if all were done."""
    report = Reporter(-1)
    options = {"on_scores": f"test_on_scores:{name}", "overwrite": "always"}
    again = run_of(run.config, run.results, run.root, report, **options)
    CALLS.clear()
    failures, best = align(again)

    assert len(CALLS) == 5
    assert not failures.errors
    assert len(best) == 8  # with shuffled pairs
    told = [warning for warning in report.warnings if "on-scores" in warning]
    assert told == [f"--on-scores test_on_scores:{name} failed, no score is lost: {error}"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("test_on_scores:keeep", "Did you mean 'keep'"), ("test_on_scores:CALLS", "found one of")],
)
def test_a_wrong_name_is_told_before_the_work(
    run: Run, tmp_path: Path, path: str, message: str
) -> None:
    wrong = run_of(run.config, tmp_path / "results", tmp_path / "cache", on_scores=path)

    with pytest.raises(ConfigError, match=message):
        run_stages(wrong)
    assert not list(tmp_path.iterdir())
