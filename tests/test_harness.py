"""Result files of lm-evaluation-harness: two that it wrote, and old and odd ones by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from platorep.config import HarnessConfig, ModelSpec
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError, UnknownNameError
from platorep.performance.harness import Evaluation, evaluations_of, read_evaluations

WRITTEN = Path(__file__).parent / "harness"
"""By version 0.4.13 itself; its README says how."""


def wanted(place: Path | str = WRITTEN, **changes: Any) -> HarnessConfig:
    raw = {"name": "endings", "harness": str(place), "task": "tiny_endings", "metric": "acc"}
    return HarnessConfig.model_validate(raw | changes)


def spec(name: str, label: str | None = None, **settings: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        label=label or name.rsplit("/", 1)[-1],
        family="f",
        modality="language",
        backend="transformers",
        **settings,
    )


def content(model: str, **changes: Any) -> dict[str, Any]:
    """As version 0.4 writes it, with less."""
    return {
        "results": {"gsm8k": {"exact_match,strict-match": 0.5, "alias": "gsm8k"}},
        "versions": {"gsm8k": 3.0},
        "n-shot": {"gsm8k": 5},
        "config": {"model": "hf", "model_args": f"pretrained={model}", "limit": None},
        "date": 100.0,
    } | changes


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def only(config: HarnessConfig, model: ModelSpec) -> list[Evaluation]:
    return evaluations_of(config, read_evaluations(config), [model])[model.label]


@pytest.mark.parametrize(
    ("model", "metric", "value", "stderr"),
    [
        ("llama-h8-l1", "acc", 1 / 10, math.sqrt(0.1 * 0.9 / 9)),
        ("llama-h128-l4", "acc", 4 / 10, math.sqrt(0.4 * 0.6 / 9)),
        ("llama-h128-l4", "acc_norm", 1.0, 0.0),
    ],
)
def test_files_that_the_harness_wrote(model: str, metric: str, value: float, stderr: float) -> None:
    """Known by counting: right answers of ten questions, and the error of such a mean."""
    config = wanted(metric=metric)
    (found,) = only(config, spec(f"/somewhere/{model}"))

    assert found.number(config) == pytest.approx((value, stderr))
    assert found.source(config) == (
        f"{found.path.name}, task tiny_endings, version 1.0, 0-shot, metric {metric}"
    )


@pytest.mark.parametrize(
    "place", [".", "**/results_*.json", "*/results_2026-11-24T18-48-02.487939.json"]
)
def test_a_folder_a_pattern_or_a_file(place: str) -> None:
    files = read_evaluations(wanted(WRITTEN / place))

    assert len(files) == (1 if "48-02" in place else 2)
    (own,) = [file for file in files if "llama-h128-l4" in file.models]
    assert read_evaluations(wanted(own.path)) == [own]


def test_a_filter_is_part_of_the_metric(tmp_path: Path) -> None:
    write(tmp_path / "results.json", content("org/a"))
    config = wanted(tmp_path, task="gsm8k", metric="exact_match", filter="strict-match")

    (found,) = only(config, spec("org/a"))
    value, stderr = found.number(config)

    assert value == 0.5
    assert math.isnan(stderr)
    assert found.source(config).endswith("5-shot, metric exact_match, filter strict-match")
    with pytest.raises(UnknownNameError) as error:
        only(config.model_copy(update={"filter": "none"}), spec("org/a"))
    assert error.value.known == ["exact_match,strict-match"]


def test_before_version_0_4(tmp_path: Path) -> None:
    """No filters, no date, no name; model_args as text, shots in the configuration."""
    old = {
        "results": {"hellaswag": {"acc": 0.5, "acc_norm": 0.6, "acc_norm_stderr": 0.01}},
        "versions": {"hellaswag": 0},
        "config": {
            "model": "hf-causal",
            "model_args": "pretrained=org/a,revision=step3000",
            "num_fewshot": 10,
            "limit": 40,
        },
    }
    write(tmp_path / "a.json", old)
    config = wanted(tmp_path / "a.json", task="hellaswag", metric="acc_norm")

    (found,) = only(config, spec("org/a", "a@step3000", revision="step3000"))

    assert found.number(config) == (0.6, 0.01)
    assert found.source(config) == (
        "a.json, task hellaswag, version 0, 10-shot, metric acc_norm, limited to 40"
    )


@pytest.mark.parametrize(
    ("arguments", "more", "model", "same"),
    [
        ("pretrained=org/a", {}, spec("org/a"), True),
        ("pretrained=org/a,revision=main", {}, spec("org/a", "other label"), True),
        ("pretrained=org/a", {}, spec("org/a", revision="main"), True),
        ("pretrained=org/a", {}, spec("else/a"), False),
        ("pretrained=a", {}, spec("org/a"), True),  # by its label
        ("pretrained=org/a,revision=step1", {}, spec("org/a"), False),
        ("pretrained=a,revision=step1", {}, spec("org/a"), False),
        ("pretrained=org/a", {}, spec("org/a", revision="step1"), False),
        ("pretrained=org/a,revision=step1", {}, spec("org/a", revision="step1"), True),
        ("pretrained=org/a", {"model_sha": "abc123"}, spec("org/a", revision="abc1"), True),
        ("pretrained=org/a,peft=org/lora", {}, spec("org/a"), False),
        ({"pretrained": "org/a", "dtype": "float16"}, {}, spec("org/a"), True),
        ({"pretrained": "org/a", "subfolder": "x"}, {}, spec("org/a"), False),
        ("pretrained='org/a',revision=\"main\"", {}, spec("org/a"), True),
        ("pretrained=/somewhere/a/", {}, spec("/somewhere/a", "b"), True),
        ("pretrained=/somewhere/a", {}, spec("/somewhere/a/", "b"), True),
        ("", {}, spec("org/a"), False),
    ],
)
def test_whose_numbers_they_are(
    arguments: Any, more: dict[str, Any], model: ModelSpec, same: bool, tmp_path: Path
) -> None:
    config = {"model_args": arguments} | more
    write(tmp_path / "results.json", content("", config=config))
    asked = wanted(tmp_path, task="gsm8k", metric="exact_match", filter="strict-match")

    assert bool(only(asked, model)) is same


def test_the_newest_is_last(tmp_path: Path) -> None:
    """By the date inside; a file without one is as old as its name says."""
    results = {"t": {"acc,none": 0.1}}
    for name, date in (("a/results_1.json", 2e9), ("b/results_2.json", 1e9)):
        write(tmp_path / name, content("org/a", results=results, date=date))
    undated = content("org/a", results=results)
    del undated["date"]
    write(tmp_path / "c" / "results_2020-01-01T00-00-00.5.json", undated)  # 1,577,836,800 s

    found = only(wanted(tmp_path, task="t"), spec("org/a"))

    names = ["results_2.json", "results_2020-01-01T00-00-00.5.json", "results_1.json"]
    assert [one.path.name for one in found] == names


def test_groups_of_tasks(tmp_path: Path) -> None:
    groups = {"mmlu": {"acc,none": 0.25, "acc_stderr,none": "N/A"}}
    write(tmp_path / "results.json", content("org/a", groups=groups))
    config = wanted(tmp_path, task="mmlu")

    value, stderr = only(config, spec("org/a"))[0].number(config)

    assert value == 0.25
    assert math.isnan(stderr)


@pytest.mark.parametrize("empty", ["results", "groups"])
def test_a_group_whose_number_stands_in_one_of_two_tables(tmp_path: Path, empty: str) -> None:
    numbers = {"acc,none": 0.25, "alias": "mmlu"}
    tables = {"results": {"mmlu": numbers}, "groups": {"mmlu": numbers}}
    tables[empty] = {"mmlu": {" ": " ", "alias": "mmlu"}}
    write(tmp_path / "results.json", content("org/a", **tables))
    config = wanted(tmp_path, task="mmlu")

    assert only(config, spec("org/a"))[0].number(config)[0] == 0.25


def test_a_group_without_a_number_names_its_tasks(tmp_path: Path) -> None:
    results = {"mmlu": {" ": " ", "alias": "mmlu"}, "mmlu_law": {"acc,none": 0.5}}
    parts = {"mmlu": ["mmlu_law"], "mmlu_law": []}
    write(tmp_path / "results.json", content("org/a", results=results, group_subtasks=parts))

    with pytest.raises(ConfigError, match=r"mmlu is a group .* its tasks: mmlu_law\."):
        only(wanted(tmp_path, task="mmlu"), spec("org/a"))


@pytest.mark.parametrize(
    ("said", "metric", "own", "better"),
    [
        ({"t": {"word_error": False}}, "word_error", None, "lower"),
        ({"t": {"acc": True}}, "acc", None, "higher"),
        ({"t": {"ter": True}}, "ter", "lower", "lower"),  # the experiment knows better
        ({}, "byte_perplexity", None, "lower"),  # before version 0.4
        (None, "acc", None, "higher"),
    ],
)
def test_the_file_says_which_values_are_better(
    said: Any, metric: str, own: Any, better: str, tmp_path: Path
) -> None:
    results = {"t": {f"{metric},none": 0.5}}
    write(tmp_path / "r.json", content("org/a", results=results, higher_is_better=said))
    config = wanted(tmp_path / "r.json", task="t", metric=metric, better=own)

    assert read_evaluations(config)[0].better(config) == better


def test_unknown_tasks_and_metrics() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tiny_endings'"):
        only(wanted(task="tiny_ending"), spec("a"))
    with pytest.raises(UnknownNameError, match=r"Did you mean 'acc_norm'.* Known: acc, acc_norm"):
        only(wanted(metric="acc_nrm"), spec("a"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", r"x\.json is not JSON"),
        ("[" * 100_000, r"x\.json is not JSON: nested too deep"),
        ("[]", r"x\.json is no result file of lm-evaluation-harness: .* found list"),
        ('{"scores": 1}', "found scores"),
        ('{"results": {}}', "found results"),
        ('{"results": {"t": 0.5}}', "found results"),
        ('{"results": {"t": {"acc,none": 1}}, "config": "hf"}', "found results, config"),
    ],
)
def test_what_is_no_result_file(text: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path / "x.json", text)

    with pytest.raises(IntegrityError, match=problem):
        read_evaluations(wanted(tmp_path / "x.json"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"high"', "true", "null"])
def test_a_value_that_is_no_number(value: str, tmp_path: Path) -> None:
    write(tmp_path / "results.json", f'{{"results": {{"t": {{"acc,none": {value}}}}}}}')
    (found,) = read_evaluations(wanted(tmp_path))

    with pytest.raises(DataError, match=r"results\.json: t, acc,none: expected a number"):
        found.number(wanted(tmp_path, task="t"))


def test_no_file_at_all(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none.json", tmp_path / "*.json"):
        with pytest.raises(AbsentError, match="no result file"):
            read_evaluations(wanted(place))


@pytest.mark.parametrize(
    ("added", "is_it"),
    [
        ("", True),
        (",peft=None,load_in_8bit=False", True),
        (",load_in_4bit=True", False),
        (",peft=org/adapter", False),
        (",lora_local_path=/adapters/one", False),  # of vLLM
        (",steer_path=vector.pt", False),
        (",quantization=awq", False),
        (",quantization=None,tensor_parallel_size=2,gpu_memory_utilization=0.8", True),
        (",tokenizer=org/a,dtype=auto,max_model_len=4096", True),
        (",tokenizer=org/b", False),
        (",nobody_knows_what=1", False),
    ],
)
def test_what_makes_another_model_of_it(tmp_path: Path, added: str, is_it: bool) -> None:
    """Any argument that is not known to leave the weights as they are."""
    write(tmp_path / "a.json", content(f"org/a{added}"))
    config = wanted(tmp_path / "a.json", task="gsm8k", metric="exact_match", filter="strict-match")

    assert bool(only(config, spec("org/a"))) == is_it


def test_arguments_that_the_user_knows_to_be_harmless(tmp_path: Path) -> None:
    write(tmp_path / "a.json", content("org/a,nobody_knows_what=1"))
    config = wanted(tmp_path / "a.json", task="gsm8k", metric="exact_match", filter="strict-match")
    knowing = config.model_copy(update={"regardless_of": ("nobody_knows_what",)})

    assert read_evaluations(config)[0].models == ("org/a with nobody_knows_what=1",)
    assert only(knowing, spec("org/a"))


def test_files_that_say_nothing_of_shots_and_versions(tmp_path: Path) -> None:
    write(tmp_path / "a.json", content("org/a", **{"n-shot": None, "versions": None}))
    config = wanted(tmp_path / "a.json", task="gsm8k", metric="exact_match", filter="strict-match")

    (found,) = only(config, spec("org/a"))

    assert found.source(config) == "a.json, task gsm8k, metric exact_match, filter strict-match"
