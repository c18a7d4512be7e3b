"""The frame of the metrics: names, labels, parameters, a user's own metric."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from platorep.errors import ConfigError, UnknownNameError
from platorep.metrics import METRICS, BoundMetric, Claims, bind, own_metric, summarize_layer
from platorep.metrics.claims import check_claims
from platorep.parameters.metrics import PARAMETERS, PRESETS, OwnMetric, parse


def test_every_metric_has_parameters_and_the_other_way_round() -> None:
    assert set(METRICS) == set(PARAMETERS)


@pytest.mark.parametrize(
    ("name", "parameters", "label"),
    [
        ("mutual_knn", {}, "mutual_knn{k: 10}"),
        ("mutual_knn", {"k": 3, "center": True}, "mutual_knn{k: 3, center: true}"),
        ("cka", {}, "cka{kernel: linear, estimator: biased}"),
        ("cka", {"estimator": "debiased"}, "cka{kernel: linear, estimator: debiased}"),
        ("cka", {"kernel": "rbf", "sigma": 0.5}, "cka{kernel: rbf, sigma: 0.5, estimator: biased}"),
        ("rv", {}, "rv"),
        ("some.module:metric", {"b": 1, "a": 2}, "some.module:metric{a: 2, b: 1}"),
    ],
)
def test_a_label_is_the_definition(name: str, parameters: dict[str, object], label: str) -> None:
    assert parse(name, parameters).label() == label


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid(preset: str) -> None:
    labels = []
    for entry in PRESETS[preset]:
        parameters = dict(entry)
        labels.append(bind(parameters.pop("name"), parameters).label)
    assert len(set(labels)) == 8


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("mutual_nn", {}, "Did you mean 'mutual_knn'"),
        ("mutual_knn", {"K": 5}, "has no parameter 'K'. Did you mean 'k'? Its parameters: k"),
        ("mutual_knn", {"k": 0}, "k: Input should be greater than or equal to 1; got 0"),
        ("mutual_knn", {"similarity": "dot"}, "'cosine', 'inner_product' or 'euclidean'"),
        ("cka", {"sigma": 2.0}, "no effect on a linear kernel"),
        ("no.such.module:f", {}, "module 'no.such.module' cannot be imported"),
        ("math:no_such", {}, "'math' has no 'no_such'"),
        ("math:pi", {}, "a function of two n d feature tensors"),
    ],
)
def test_wrong_entries_say_what_is_wrong(
    name: str, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises((ConfigError, UnknownNameError)) as caught:
        bind(name, parameters)
    assert message in str(caught.value)


def test_a_metric_that_is_none_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds may be nobody's business."""
    monkeypatch.setenv("HF_TOKEN", "a secret")

    with pytest.raises(ConfigError, match="_Environ") as caught:
        bind("os:environ")
    assert "a secret" not in str(caught.value)


OWN = """
import torch
from platorep.metrics import Claims, own_metric

def product(x, y, column=0):
    return (x[:, column] * y[:, column]).mean()

norms = own_metric(
    name="norms",
    summarize=lambda features, power=1: features.norm(dim=1) ** power,
    compare=lambda x, y, power=1: torch.corrcoef(torch.stack([x, y]))[0, 1],
    claims=Claims(low=-1.0, high=1.0, of_itself=1.0),
)
"""


def test_an_own_metric_takes_part_like_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    (tmp_path / "my_measures.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    x, y = torch.randn(30, 4, generator=rng), torch.randn(30, 6, generator=rng)
    order = torch.randperm(30, generator=rng)

    for name, parameters in (("product", {"column": 2}), ("norms", {"power": 2})):
        metric = bind(f"my_measures:{name}", parameters)
        one, two, moved = (metric.summarize(features) for features in (x, y, y[order]))
        assert metric.name == f"my_measures:{name}"
        assert metric.compare([one], [two]) != metric.compare([one], [moved])
        expected = metric.compare([one, two], [moved])
        assert np.array_equal(
            metric.compare([one, two], [metric.reorder(two, order.numpy())]), expected
        )
        assert np.array_equal(metric.prepare([one, two], [two])(order.numpy()), expected)
    assert metric.claims.high == 1
    sys.modules.pop("my_measures")


def test_rounding_is_put_back_into_the_range_and_errors_are_not(rng: torch.Generator) -> None:
    x = torch.randn(8, 2, generator=rng)
    for found, expected in ((-1e-7, 0), (1 + 1e-7, 1), (-0.1, -0.1), (1.1, 1.1), (0.5, 0.5)):
        own = own_metric(
            name="m", compare=lambda a, b, f=found: f, claims=Claims(low=0.0, high=1.0)
        )
        metric = BoundMetric(own, OwnMetric(name="m"))
        summary = metric.summarize(x)
        assert metric.compare([summary], [summary]) == expected
        assert metric.prepare([summary], [summary])(np.arange(8)) == expected


def test_summaries_come_in_the_order_of_the_metrics(rng: torch.Generator) -> None:
    x = torch.randn(30, 4, generator=rng)
    metrics = [bind("mutual_knn", {"k": k}) for k in (2, 9, 4)]

    for metric, summary in zip(metrics, summarize_layer(metrics, x), strict=True):
        assert metric.compare([summary], [metric.summarize(x)]) == 1


def test_an_unknown_claim_is_no_claim() -> None:
    metric = own_metric(name="zero", compare=lambda x, y: 0.0)
    assert metric.claims(None) == Claims()


DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"


def test_the_document_names_every_metric_and_parameter() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, parameters in PARAMETERS.items():
        assert f"| `{name}`" in text
        for key in parameters.model_fields:
            assert f"`{key}`" in text or f"`{key}:" in text, (name, key)
    for preset in PRESETS:
        assert f"`{preset}`" in text


def test_the_document_says_of_every_metric_which_published_code_agrees() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition("## Which published code agrees")[2].partition("\n## ")[0]
    entries = re.findall(r"^\| (.*?) \| (.*?) \|", section, re.MULTILINE)

    said = {name: agrees for names, agrees in entries for name in re.findall(r"`(\w+)`", names)}
    assert set(said) == set(PARAMETERS)
    assert all(said.values())


def test_the_example_of_an_own_metric_works_and_its_claims_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    code = [block for block in blocks if "def distance_correlation" in block or "dcor = " in block]
    assert len(code) == 2
    (tmp_path / "documented.py").write_text("\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    one, two = bind("documented:distance_correlation"), bind("documented:dcor", {"power": 1.0})
    x, y = (torch.randn(20, 4, generator=rng, dtype=torch.float64) for _ in range(2))

    scores = [m.compare([m.summarize(x)], [m.summarize(y)])[0, 0] for m in (one, two)]
    assert scores[0] ** 0.5 == pytest.approx(scores[1] ** 0.5)
    assert [check for check in check_claims(two) if not check.holds] == []
    failed = [check.claim for check in check_claims(one) if not check.holds]
    # a metric that claims nothing is told what it could claim
    assert set(failed) == {f"changed by {i.value}" for i in two.claims.invariances}
    sys.modules.pop("documented")
