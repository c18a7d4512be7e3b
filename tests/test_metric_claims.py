"""Every claim of every metric, with controls; driven by the table."""

import dataclasses
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from platorep.metrics import METRICS, BoundMetric, Claims, Invariance, bind
from platorep.metrics.claims import CHANGES, check_claims
from platorep.parameters.metrics import PARAMETERS

VARIANTS: list[tuple[str, dict[str, object]]] = [
    *[
        (name, {"k": 5, **more})
        for name in ("mutual_knn", "jaccard_knn", "cycle_knn", "lcs_knn", "edit_distance_knn")
        for more in (
            {},
            {"similarity": "inner_product"},
            {"similarity": "euclidean"},
            {"center": True},
        )
    ],
    ("lcs_knn", {"k": 5, "variant": "code"}),
    ("cycle_knn", {"k": 4}),
    *[
        ("rank_similarity", {"k": 5, "similarity": similarity})
        for similarity in ("cosine", "inner_product", "euclidean")
    ],
    *[("second_order_cosine", {"k": 5, "variant": variant}) for variant in ("paper", "code")],
    ("cka", {}),
    ("cka", {"estimator": "debiased"}),
    ("cka", {"kernel": "rbf"}),
    ("cka", {"kernel": "rbf", "sigma": 2.0}),
    ("cka", {"kernel": "rbf", "sigma": 2.0, "estimator": "debiased"}),
    ("rv", {}),
    *[("cknna", {"variant": variant}) for variant in ("centred", "paper", "code")],
    *[("cknna", {"variant": variant, "kernel": "rbf"}) for variant in ("centred", "code")],
    *[("rsa", {"rdm": rdm}) for rdm in ("correlation", "cosine", "euclidean")],
    ("rsa", {"compare": "pearson"}),
    ("rsa", {"compare": "kendall"}),
    *[("distance_correlation", {"estimator": kind}) for kind in ("biased", "debiased")],
    *[
        ("ordinal_triplets", {"similarity": similarity, "triplets": 20_000})
        for similarity in ("cosine", "inner_product", "euclidean")
    ],
    ("cca_mean", {}),
    ("svcca", {"rank": 3}),
    ("svcca", {"rank": 0.8}),
    ("svcca", {"rank": 3, "standardize": True}),
    ("pwcca", {}),
    ("procrustes", {}),
    ("permutation_procrustes", {}),
    ("eigenspace_overlap", {}),
    ("gulp", {}),
    *[
        ("linear_predictivity", {"direction": direction})
        for direction in ("both", "x_to_y", "y_to_x")
    ],
    ("unit_matching", {}),
]


def label(variant: tuple[str, dict[str, object]]) -> str:
    return bind(*variant).label


def test_no_metric_is_left_out() -> None:
    assert {name for name, _ in VARIANTS} == set(METRICS) == set(PARAMETERS)


def test_every_invariance_has_a_change() -> None:
    assert set(CHANGES) == set(Invariance)


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_claims_hold(variant: tuple[str, dict[str, object]]) -> None:
    checks = check_claims(bind(*variant))

    assert [check for check in checks if not check.holds] == []
    assert len(checks) >= 10


def with_claims(metric: BoundMetric, change: Callable[[Claims], Claims]) -> BoundMetric:
    before = metric.metric.claims
    changed = dataclasses.replace(metric.metric, claims=lambda p: change(before(p)))
    return BoundMetric(changed, metric.parameters)


SEES_MOST: tuple[tuple[str, dict[str, object]], ...] = (
    ("mutual_knn", {"k": 5, "similarity": "inner_product"}),
    ("cka", {"kernel": "rbf", "sigma": 2.0}),
)
WRONG: dict[str, tuple[str, dict[str, object], Callable[[Claims], Claims]]] = {
    "range": ("mutual_knn", {"k": 5}, lambda c: dataclasses.replace(c, high=0.3)),
    "itself": ("cka", {}, lambda c: dataclasses.replace(c, of_itself=0.9)),
    "symmetric": ("cycle_knn", {"k": 4}, lambda c: dataclasses.replace(c, symmetric=True)),
    "not symmetric": ("cka", {}, lambda c: dataclasses.replace(c, symmetric=False)),
    "larger": ("cka", {}, lambda c: dataclasses.replace(c, larger_is_closer=False)),
    "chance": ("mutual_knn", {"k": 5}, lambda c: dataclasses.replace(c, chance=lambda n: 0.5)),
    **{
        f"too much: {invariance.name}": (
            *SEES_MOST[invariance is Invariance.SCALING],
            lambda c, i=invariance: dataclasses.replace(c, invariances=c.invariances | {i}),
        )
        for invariance in set(Invariance) - {Invariance.ROTATION, Invariance.UNIT_PERMUTATION}
    },
    **{
        f"too little: {invariance.name}": (
            "cca_mean",
            {},
            lambda c, i=invariance: dataclasses.replace(c, invariances=c.invariances - {i}),
        )
        for invariance in set(Invariance) - {Invariance.ROW_SCALING}
    },
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_a_wrong_claim_is_found(wrong: str) -> None:
    name, parameters, change = WRONG[wrong]
    metric = bind(name, parameters)

    after = [check.claim for check in check_claims(with_claims(metric, change)) if not check.holds]
    assert len(after) == 1  # without the change none fails: test_claims_hold


def test_a_wrong_reorder_is_found() -> None:
    metric = bind("cka")
    still = dataclasses.replace(metric.metric, reorder=lambda summary, order: summary)

    failed = [c.claim for c in check_claims(BoundMetric(still, metric.parameters)) if not c.holds]
    assert failed == ["a reordered summary is the summary of reordered features"]


def test_every_choice_of_every_parameter_is_tried() -> None:
    """The guard: a new choice of a parameter must be in VARIANTS (ties are tested elsewhere)."""
    for name, parameters in PARAMETERS.items():
        for key, choices in literal_choices(parameters).items():
            if key == "ties":
                continue
            tried = {getattr(bind(*v).parameters, key) for v in VARIANTS if v[0] == name}
            assert choices <= tried, (name, key)


def literal_choices(parameters: type[BaseModel]) -> dict[str, set[object]]:
    found: dict[str, set[object]] = {}
    for key, schema in parameters.model_json_schema()["properties"].items():
        if "enum" in schema:
            found[key] = set(schema["enum"])
    return found
