"""The measure stage: what has a number gets one, once; what has none is left out."""

import json
import typing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from elsewhere import Elsewhere
from runs import run_of
from transformers import BertConfig, BertModel

from platorep.config import ExperimentConfig
from platorep.config.performance import PerformanceConfig
from platorep.errors import AbsentError, NotComputedError
from platorep.files import read_sealed, write_sealed
from platorep.parameters.toyworld import parse_network
from platorep.performance import MEASURES, measure, plan_measure
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
            {"name": "loss", "table": str(networks / "table.csv"), "better": "lower"},
        ],
        "controls": {"random_weights": True},
    }
    return ExperimentConfig.model_validate(raw | changes)


def run(config: ExperimentConfig, folder: Path, **options: Any) -> tuple[Any, pd.DataFrame]:
    return measure(run_of(config, folder / "results", folder / "cache", **options))


def test_every_kind_of_the_yaml_has_an_entry() -> None:
    union, _ = typing.get_args(PerformanceConfig)
    kinds = {tag.tag: kind for kind, tag in map(typing.get_args, typing.get_args(union))}

    assert {name: measure.settings for name, measure in MEASURES.items()} == kinds


def test_never_measures_nothing(networks: Path, tmp_path: Path) -> None:
    failures, table = run(experiment(networks), tmp_path, overwrite="never")

    assert "bits_per_byte" not in table["measure"].tolist()
    assert "score" in table["measure"].tolist()  # a table is only read
    assert len(failures.errors) == 4
    assert all(isinstance(error, NotComputedError) for error in failures.all)
    assert not list((tmp_path / "cache" / "measurements").glob("*.json"))


def test_what_has_a_number_gets_one(networks: Path, tmp_path: Path) -> None:
    failures, table = run(experiment(networks), tmp_path)

    assert not failures.errors
    found = table.set_index(["measure", "model"])
    assert list(found.index) == [
        ("bits_per_byte", "causal"),
        ("bits_per_byte", "causal (random)"),
        ("score", "causal"),
        ("loss", "causal"),
    ]
    assert found["better"].tolist() == ["lower", "lower", "higher", "lower"]
    assert found.loc[("score", "causal"), ["value", "source"]].tolist() == [0.5, "a paper"]
    assert found.loc[("bits_per_byte", "causal"), "num_bytes"] == len("a red disc") + 31
    assert found.loc[("bits_per_byte", "causal"), "dtype"] == "float32"
    written = Results(tmp_path / "results")
    pd.testing.assert_frame_equal(
        written.read_table(written.performance, "measure"), table, check_dtype=False
    )


def test_the_same_numbers_from_elsewhere(networks: Path, tmp_path: Path) -> None:
    """Of a causal network twice, which is measured once, and of one that reads ahead."""
    names = [
        {"name": str(networks / name), "label": label}
        for name, label in (("causal", "a"), ("causal", "b"), ("masked", "c"))
    ]
    family = {"name": "words", "modality": "language", "models": names}
    config = experiment(networks, families=[family], align={"pairs": []}, controls={})
    engine = Elsewhere(tmp_path / "worker")

    there = run(config, tmp_path / "there", engine=engine)
    here = run(config, tmp_path / "here")

    assert there[0].errors == here[0].errors == {}
    pd.testing.assert_frame_equal(there[1], here[1])
    assert len(there[1]) == 2
    names = [done.unit.name for done in engine.done]  # the heavier one first
    assert names == ["bits_per_byte of c", "bits_per_byte of a"]


def test_a_measurement_is_made_once(networks: Path, tmp_path: Path) -> None:
    run(experiment(networks), tmp_path)
    folder = tmp_path / "cache" / "measurements"
    files = {file: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    refused = {content["model"] for content in files.values() if "why_none" in content}
    assert refused == {"masked", "masked (random)"}  # kept as well, and asked no more
    file = next(file for file, content in files.items() if "value" in content)
    content = read_sealed(file, of=file.stem, cure="")
    write_sealed(file, content | {"value": -1.0}, of=file.stem)  # shows where the number is from

    assert -1.0 in run(experiment(networks), tmp_path)[1]["value"].tolist()
    assert -1.0 not in run(experiment(networks), tmp_path, overwrite="always")[1]["value"].tolist()


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


def test_harness_results_have_their_standard_errors(
    networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two evaluations the newer; a random copy has no number of its own."""
    for name, accuracy, date in (("a", 0.25, 2.0), ("b", 0.75, 1.0)):
        content = {
            "results": {"hellaswag": {"acc,none": accuracy, "acc_stderr,none": 0.125}},
            "config": {"model_args": {"pretrained": str(networks / "causal")}},
            "date": date,
        }
        (tmp_path / f"results_{name}.json").write_text(json.dumps(content))
    wanted = {"name": "hs", "harness": str(tmp_path), "task": "hellaswag", "metric": "acc"}
    config = experiment(networks, performance=[wanted])
    results = Results(tmp_path / "results")

    _, table = measure(run_of(config, results, tmp_path, Reporter(0)))

    assert table[["model", "value", "stderr"]].to_numpy().tolist() == [["causal", 0.25, 0.125]]
    assert "newest is taken, results_a.json, not results_b.json" in capsys.readouterr().err
    assert results.read_table(results.performance, "measure")["stderr"].tolist() == [0.125]


def test_a_plan_says_what_is_known_of_a_measure(networks: Path, tmp_path: Path) -> None:
    images = {"source": "org/images", "limit": 100, "test_split": "test"}
    wanted = [
        {"name": "score", "table": str(networks / "table.csv")},
        {"name": "none", "harness": str(tmp_path), "task": "t", "metric": "acc"},
        {"name": "last", "probe": "linear", "dataset": images},
        {"name": "all", "probe": "knn", "dataset": images, "layers": "all"},
        {"name": "solved", "tasks": ["last", "all"]},
    ]
    config = experiment(networks, performance=wanted)
    widths = {"resnet18": (64, 512), "resnet18 (random)": (64, 512)}

    found = [plan_measure(one, config.models(), widths, 4) for one in config.performance]

    assert found[0] == {"note": "1 of 3 models have a number"}
    assert "no result file of lm-evaluation-harness" in found[1]["note"]
    assert found[2]["note"] == "2 models, at most 200 images of org/images"
    assert found[2]["disk_mb"] == round(2 * 200 * 512 * 4 / 1e6, 1)
    assert found[3]["disk_mb"] == round(2 * 200 * (64 + 512) * 4 / 1e6, 1)
    assert found[4] == {"note": "from 2 other measures"}
