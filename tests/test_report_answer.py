"""The sentences of the page, held to cases that are worked by hand."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from platorep.plots.tables import Tables
from platorep.report.answer import Rules, answer, best_trained
from platorep.report.pairs import pairs_table
from platorep.report.rise import CAVEAT, UNMEASURED

KNN, CKA = "mutual_knn{k: 10}", "cka{kernel: linear}"
RULES = Rules(
    alpha=0.05,
    larger_is_closer={KNN: True, CKA: True, "distance": False},
    layers={"l1": ["embedding", "layer 1"], "v1": ["stem", "block", "pool"]},
)


def model(label: str, modality: str, **more: Any) -> dict[str, Any]:
    row = {"label": label, "family": label[0], "modality": modality, "random": False}
    return row | {"random_of": "", "num_parameters": 10, "order": 0, "num_layers": 2} | more


MODELS = [
    *(model(f"l{i}", "language", family=f"L{i % 2}") for i in range(1, 7)),
    *(model(f"v{i}", "vision") for i in (1, 2)),
    model("truth", "truth"),
    model("l1 (random)", "language", random=True, random_of="l1"),
    model("words", "language", baseline=True),
    model("l1 [grey]", "language", changed_of="l1"),
]
MODALITY = {row["label"]: row["modality"] for row in MODELS}


def pair(x: str, y: str, score: float | None, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"dataset": "d", "x": x, "y": y, "metric": KNN, "control": ""}
    row |= {"x_modality": MODALITY[x], "y_modality": MODALITY[y], "score": score, "reason": ""}
    row |= {"x_family": x, "y_family": y, "layer_x": 0, "layer_y": 1, "chance": 0.01}
    return row | {"n": 1024, "k": 10} | more


def said(pairs: Sequence[dict[str, Any]], skill: dict[str, float] | None = None) -> list[str]:
    performance = pd.DataFrame(
        [{"model": m, "measure": "skill", "value": v, "better": "higher", "source": "a table"}
         for m, v in (skill or {}).items()],
        columns=["model", "measure", "value", "better", "source"],
    )  # fmt: skip
    tables = Tables(best=pd.DataFrame(pairs), performance=performance, models=pd.DataFrame(MODELS))
    return answer(tables, pairs_table(tables), RULES)


def test_the_best_pair_is_told_with_all_that_belongs_to_it() -> None:
    null = {"threshold": 0.0131, "p": 0.001}
    ceiling = {"share_of_ceiling": 0.334, "share_of_ceiling_low": 0.29,
               "share_of_ceiling_high": 0.375}  # fmt: skip
    best = pair("l1", "v1", 0.12345, low=0.11, high=0.13, p_adjusted=0.002, **null, **ceiling)
    found = said([pair("l2", "v1", 0.1, p_adjusted=0.2, **null), best,
                  pair("l3", "v1", 0.11, p_adjusted=0.03, **null)])  # fmt: skip
    assert found == [
        "Of 3 language \xd7 vision pairs of trained models, l1 and v1 agree most: 0.123 "
        "[0.110, 0.130] by mutual_knn, k\xa0=\xa010, over 1,024 rows, at layer 0 of 2 (embedding) "
        "and layer 1 of 3 (block) (chance: 0.0100; 95 % of permuted pairs stay below 0.0131). "
        "It is above the null (p = 0.002, corrected over pairs); of the 2 others, 1 is. "
        "It is 33 % [29, 38] of the way from chance to the noise ceiling.",
        UNMEASURED,
        "Whether alignment rises with the number of parameters cannot be said from 3 language "
        "models.",
    ]


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        ({}, "There is no null to hold it against."),
        ({"p": 0.04}, "It is above the null (p = 0.04)."),
        ({"p": 0.04, "p_adjusted": 0.06}, "not above the null (p = 0.06, corrected over pairs)."),
        ({"p": 0.051}, "It is not above the null (p = 0.051)."),
    ],
)
def test_one_pair_and_its_null(known: dict[str, float], verdict: str) -> None:
    sentence = said([pair("l1", "v1", 0.2, chance=None, **known)])[0]
    assert sentence.startswith(
        "l1 and v1 are the one language \xd7 vision pair of trained models: 0.200 by"
    )
    assert "over 1,024 rows, at layer 0 of 2 (embedding) and layer 1 of 3 (block). " in sentence
    assert sentence.endswith(verdict)
    assert "chance" not in sentence


def test_what_is_below_the_null_while_others_are_above() -> None:
    found = said([pair("l1", "v1", 0.3, p=0.4), pair("l2", "v1", 0.2, p=0.01)])
    assert "It is not above the null (p = 0.4); the other pair is." in found[0]


def test_all_others_are_told_as_all() -> None:
    found = said([pair(f"l{i}", "v1", i / 10, p=0.01) for i in (1, 2, 3)])
    assert "It is above the null (p = 0.01); so are all 2 others." in found[0]
    found = said([pair(f"l{i}", "v1", i / 10, p=0.01 if i == 2 else 0.3) for i in (1, 2, 3)])
    assert "It is not above the null (p = 0.3); of the 2 others, 1 is." in found[0]


def test_nothing_to_tell_is_told() -> None:
    no_score = {"score": None, "reason": "all layers of x are degenerate"}
    assert said([pair("l1 (random)", "v1", 0.2)]) == [
        "There is no pair of two trained models: whatever was scored is a control."
    ]
    assert said([pair("l1", "v1", **no_score), pair("l2", "v1", **no_score)])[0] == (
        "None of 2 language \xd7 vision pairs of trained models has a score; of the first: all "
        "layers of x are degenerate."
    )
    assert said([pair("l1", "v1", **no_score)])[0].startswith("The one language \xd7 vision pair")


def test_controls_in_the_place_of_the_best_pair() -> None:
    """Shuffled rows are those of the best pair itself: not of its copy, 0.012, nor of others."""
    found = said(
        [
            pair("l1", "v1", 0.3),
            pair("l2", "v1", 0.1),
            pair("l1 (random)", "v1", 0.15),
            pair("l1 (random)", "v2", 0.9),  # another partner
            pair("l1 [grey]", "v1", 0.2),
            pair("l1", "v1", 0.011, control="shuffled"),
            pair("l1 (random)", "v1", 0.012, control="shuffled"),
            pair("l2", "v1", 0.8, control="shuffled"),
            pair("words", "v1", 0.25),
        ]
    )
    assert found[3] == (
        "Controls in its place reach 0.150 with random weights (l1 (random) \xd7 v1), 0.200 on "
        "changed views (l1 [grey] \xd7 v1), 0.0110 with shuffled rows, 0.250 as the best baseline "
        "(words \xd7 v1); the closest of these lies 0.0500 below the best pair."
    )


@pytest.mark.parametrize(
    ("control", "where"),
    [(0.3, "where the best pair does."), (0.4, "0.100 above the best pair.")],
)
def test_a_control_that_is_no_worse_is_told(control: float, where: str) -> None:
    found = said([pair("l1", "v1", 0.3), pair("words", "v1", control)])
    assert found[3].endswith(f"(words \xd7 v1); the closest of these lies {where}")


def test_of_a_distance_the_closest_control_is_the_smallest() -> None:
    more = {"metric": "distance"}
    found = said([pair("l1", "v1", 2.0, **more), pair("words", "v1", 4.0, **more),
                  pair("l1", "v1", 3.0, control="shuffled", **more)])  # fmt: skip
    assert found[3].endswith("the closest of these lies 1.00 above the best pair.")


@pytest.mark.parametrize(
    ("ps", "told"),
    [
        ((0.01,), "The one pair with random weights is above its null."),
        ((0.06,), "The one pair with random weights is not above its null."),
        ((0.01, 0.05), "All 2 pairs with random weights are above their null."),
        ((0.01, 0.2), "Of 2 pairs with random weights, 1 is above its null."),
        ((0.2, 0.2), "Of 2 pairs with random weights, none is above its null."),
    ],
)
def test_controls_that_are_above_their_null_are_counted(ps: Sequence[float], told: str) -> None:
    """By the corrected p, of the same senses, and not with shuffled rows."""
    copies = [
        pair("l1 (random)", f"v{place}", 0.1, p=0.001, p_adjusted=p)
        for place, p in enumerate(ps, 1)
    ]
    others = [pair("truth", "l1 (random)", 0.1, p=0.001),
              pair("l1 (random)", "v1", 0.1, p=0.001, control="shuffled")]  # fmt: skip
    found = said([pair("l1", "v1", 0.3, p=0.01), *copies, *others])
    assert found[4] == told


SCORES = {f"l{i}": i / 10 for i in range(1, 7)}


def rising(skill: dict[str, float]) -> str:
    """Of scores that rise from l1 to l6, with each of two viewers."""
    pairs = [pair(x, y, s + (y == "v2")) for x, s in SCORES.items() for y in ("v1", "v2")]
    return said(pairs, skill)[1]


def test_alignment_that_rises() -> None:
    """Order 1 2 3 4 6 5: rho = 1 - 6 * 2 / (6 * 35) = .943; atanh(.943) = 1.764, its error
    sqrt((1 + .943^2 / 2) / 3) = .694: tanh(1.764 -+ 1.96 * .694) = .383, .996. The ranks less
    the means of their families: (-7, -1, 8, -5, 1, 4) / 3 and (-2, 0, 2, -2, 0, 2), whose
    correlation is 16 / sqrt(17.33 * 16) = .961."""
    sentence = rising(dict(zip(SCORES, (1, 2, 3, 4, 6, 5), strict=True)))
    assert sentence == (
        "Alignment rises with performance (skill): Spearman's rho is 0.94 [0.38, 1.00] over 6 "
        "language models, of the mean score with the 2 vision models. "
        f"Within families it is 0.96. {CAVEAT}"
    )
    falls = rising(dict(zip(SCORES, (6, 5, 4, 3, 1, 2), strict=True)))
    assert falls.startswith(
        "Alignment falls with performance (skill): Spearman's rho is \u22120.94 [\u22121"
    )


def test_what_a_handful_of_models_cannot_tell_is_not_told() -> None:
    assert rising({"l1": 1, "l2": 2, "l3": 3}) == (
        "Whether alignment rises with performance (skill) cannot be said from 3 language models."
    )
    assert rising(dict.fromkeys(SCORES, 1.0)).endswith("cannot be said from 6 language models.")
    unclear = rising(dict(zip(SCORES, (2, 5, 1, 6, 3, 4), strict=True)))
    assert "cannot be said: Spearman's rho is 0.26 [" in unclear
    assert unclear.endswith("an interval that holds 0.")


def test_size_is_asked_where_no_performance_is_known() -> None:
    """Sizes 1 to 6 in the order of the scores: rho 1; of one partner the score itself. Earlier
    checkpoints of l1, all of its size, would bring it down: they take no part."""
    sizes = {label: i for i, label in enumerate(SCORES, 1)}
    steps = [model(f"l1@{step}", "language", num_parameters=1) for step in (8, 64)]
    models = [row | {"num_parameters": sizes.get(row["label"], 9)} for row in MODELS] + steps
    pairs = [pair(x, "v1", s) for x, s in SCORES.items()]
    pairs += [pairs[0] | {"x": row["label"], "score": 0.9 - i} for i, row in enumerate(steps)]
    tables = Tables(
        best=pd.DataFrame(pairs),
        performance=pd.DataFrame(columns=["model", "measure", "value", "better", "source"]),
        models=pd.DataFrame(models),
    )
    found = answer(tables, pairs_table(tables), RULES)
    assert found[1] == UNMEASURED
    assert found[2].startswith(
        "Alignment rises with the number of parameters: Spearman's rho is 1.00 ["
    )
    assert " over 6 language models, of the score with v1. " in found[2]


def test_performance_of_the_other_side_counts_where_only_that_is_known() -> None:
    pairs = [pair(f"l{i}", "v1", s) for i, s in ((1, 0.1), (2, 0.2))]
    assert "from 1 vision model." in said(pairs, {"v1": 1.0})[1]


def test_other_modalities_and_metrics() -> None:
    found = said(
        [
            pair("l1", "v1", 0.2),
            pair("l2", "v1", 0.1),
            pair("truth", "l1", 0.5, p=0.9),
            pair("truth", "l2", 0.4, p=0.01),
            pair("v1", "truth", 0.7, p=0.01),
            pair("l1", "v1", 0.3, metric=CKA),
            pair("l2", "v1", 0.4, metric=CKA),
            pair("l1", "v1", 2.0, metric="distance"),
            pair("l2", "v1", 3.0, metric="distance"),
        ]
    )
    assert found[3:] == [
        "The best of other modalities: truth \xd7 language 0.500 (truth, l1, not above the null); "
        "vision \xd7 truth 0.700 (v1, truth).",
        "By other metrics another pair is the best: cka, kernel\xa0=\xa0linear 0.400 (l2, v1).",
    ]


def test_metrics_that_agree_say_so() -> None:
    found = said([pair("l1", "v1", 0.2), pair("l1", "v1", 0.3, metric=CKA)])
    assert found[-1] == "The other metric names the same pair."


def test_a_distance_is_closer_where_it_is_smaller() -> None:
    """Scores that fall with skill are alignment that rises; the null lies above."""
    distance = {"metric": "distance", "threshold": 0.7, "p": 0.01, "chance": None}
    pairs = [pair(x, "v1", 1 - s, **distance) for x, s in SCORES.items()]
    found = said(pairs, dict(zip(SCORES, (1, 2, 3, 4, 6, 5), strict=True)))
    assert "l6 and v1 agree most: 0.400 by distance" in found[0]
    assert "95 % of permuted pairs stay above 0.700" in found[0]
    assert found[1].startswith(
        "Alignment rises with performance (skill): Spearman's rho is 0.94 [0.38, 1.00]"
    )


def test_the_pair_that_the_answer_names() -> None:
    """Of the first metric and the first modalities, the closest as its metric has it."""
    near = {"metric": "distance"}
    found = said_of([pair("l1", "v1", 0.2, **near), pair("l2", "v1", 0.1, **near),
                     pair("truth", "l1", 0.0, **near), pair("l3", "v1", 0.9)])  # fmt: skip
    assert found == ("l2", "v1", "distance")
    assert said_of([pair("l1 (random)", "v1", 0.2)]) is None
    assert said_of([pair("l1", "v1", None)]) is None


def said_of(pairs: Sequence[dict[str, Any]]) -> tuple[str, ...] | None:
    tables = Tables(best=pd.DataFrame(pairs), performance=pd.DataFrame(),
                    models=pd.DataFrame(MODELS))  # fmt: skip
    best = best_trained(pairs_table(tables), RULES)
    return None if best is None else tuple(best[["x", "y", "metric"]])
