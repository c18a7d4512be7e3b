"""The measure stage: what has a number gets one, once; what has none is left out."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertModel

from platorep.config import ExperimentConfig
from platorep.errors import AbsentError
from platorep.parameters.toyworld import parse_network
from platorep.performance import measure
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.toyworld.checkpoints import write_untrained


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model and a masked one, with the same tokenizer."""
    folder = tmp_path_factory.mktemp("networks")
    causal = write_untrained(folder / "causal", parse_network("llama8"))
    bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=200)
    BertModel(bert).save_pretrained(folder / "masked")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "masked" / name).write_bytes((causal / name).read_bytes())
    return folder


def experiment(networks: Path, **changes: Any) -> ExperimentConfig:
    (networks / "text.txt").write_text("a red disc\na blue square on striped ground\n")
    (networks / "table.csv").write_text("model,value,source\ncausal,0.5,a paper\nother,1,x\n")
    raw: dict[str, Any] = {
        "name": "test",
        "dataset": {"source": "toyworld", "limit": 8},
        "families": [
            {
                "name": "words",
                "modality": "language",
                "models": [str(networks / "causal"), str(networks / "masked")],
            },
            {"name": "eyes", "modality": "vision", "models": ["resnet18"]},
        ],
        "align": {"pairs": [["language", "vision"]]},
        "performance": [
            {"source": str(networks / "text.txt")},
            {"name": "score", "table": str(networks / "table.csv")},
        ],
        "controls": {"random_weights": True},
    }
    return ExperimentConfig.model_validate(raw | changes)


def run(config: ExperimentConfig, folder: Path, **options: Any) -> tuple[Any, pd.DataFrame]:
    results = Results(folder / "results")
    device = torch.device("cpu")
    return measure(
        config, config.models(), results, folder / "cache", device, Reporter(-1), **options
    )


def test_what_has_a_number_gets_one(networks: Path, tmp_path: Path) -> None:
    failures, table = run(experiment(networks), tmp_path)

    assert not failures.errors
    found = table.set_index(["measure", "model"])
    assert list(found.index) == [
        ("bits_per_byte", "causal"),
        ("bits_per_byte", "causal (random)"),
        ("score", "causal"),
    ]
    assert found.loc[("score", "causal"), ["value", "source"]].tolist() == [0.5, "a paper"]
    assert found.loc[("bits_per_byte", "causal"), "num_bytes"] == len("a red disc") + 31
    assert found.loc[("bits_per_byte", "causal"), "dtype"] == "float32"
    written = Results(tmp_path / "results")
    pd.testing.assert_frame_equal(
        written.read_table(written.performance, "measure"), table, check_dtype=False
    )


def test_a_measurement_is_made_once(networks: Path, tmp_path: Path) -> None:
    run(experiment(networks), tmp_path)
    (first, *_) = sorted((tmp_path / "cache" / "measurements").glob("*.json"))
    changed = json.loads(first.read_text()) | {"value": -1.0}  # shows where the number is from
    first.write_text(json.dumps(changed))

    assert -1.0 in run(experiment(networks), tmp_path)[1]["value"].tolist()
    assert -1.0 not in run(experiment(networks), tmp_path, overwrite=True)[1]["value"].tolist()


def test_another_rule_is_another_measurement(networks: Path, tmp_path: Path) -> None:
    text = str(networks / "text.txt")
    wanted = [{"source": text}, {"name": "with_end", "source": text, "score_end": True}]
    _, table = run(experiment(networks, performance=wanted), tmp_path)

    values = table.set_index(["measure", "model"])["value"]
    assert values["with_end", "causal"] != values["bits_per_byte", "causal"]


def test_one_failure_does_not_stop_the_rest(networks: Path, tmp_path: Path) -> None:
    families = [
        {
            "name": "words",
            "modality": "language",
            "models": [str(networks / "absent"), str(networks / "causal")],
        },
        {"name": "eyes", "modality": "vision", "models": ["resnet18"]},
    ]
    config = experiment(networks, families=families, controls={})

    failures, table = run(config, tmp_path)

    assert list(failures.errors) == ["bits_per_byte of absent"]
    assert "causal" in table["model"].tolist()
    with pytest.raises(AbsentError, match="absent"):
        run(config, tmp_path, keep_going=False)


def test_if_nothing_can_be_measured_the_error_is_the_runs(networks: Path, tmp_path: Path) -> None:
    wanted = [{"name": "score", "table": str(networks / "none.csv")}]

    with pytest.raises(AbsentError, match=r"none\.csv"):
        run(experiment(networks, performance=wanted), tmp_path)
