"""The matrix of senses: its points are worked out by hand, what it draws is its points."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sense_tables import TELLS, sense_tables
from test_plots import assert_readable, texts

from platorep.errors import AbsentError
from platorep.parameters.figures import SensesFigure
from platorep.plots import FIGURES, Tables, draw_figure


def points_of(tables: Tables, **said: Any) -> pd.DataFrame:
    frame: pd.DataFrame = FIGURES["senses"].points(tables, SensesFigure(**said)).frame
    return frame


def test_worked_by_hand() -> None:
    frame = points_of(sense_tables())

    senses = frame[frame["role"] == "sense"].set_index("row")
    assert list(senses.index) == ["language", "vision", "other", "truth"]
    # With sizes 1/2 and 1: a model against the truth has 3/4 of what its sense tells on average,
    # two senses 9/16 of the product.
    assert dict(senses["with_truth"].dropna()) == pytest.approx(
        {"language": 0.6, "vision": 0.375, "other": 0.225}
    )
    language = 9 / 16 * (0.8 * 0.5 + 0.8 * 0.3) / 2
    assert senses["score"]["language"] == pytest.approx(language)
    assert senses["score"]["truth"] == pytest.approx(0.75 * (0.5 + 0.8 + 0.3) / 3)
    assert senses["within"]["vision"] == pytest.approx(0.25 * 0.5)  # one pair: of both sizes
    assert senses["within"].notna().sum() == 1

    pairs = frame[frame["role"] == "pair of senses"].set_index(["column", "row"])
    assert len(pairs) == 6
    seen = pairs.loc[("language", "vision")]
    assert seen["score"] == pytest.approx(9 / 16 * 0.4)
    assert (seen["smallest"], seen["largest"]) == pytest.approx((0.1, 0.4))
    assert (seen["num_pairs"], seen["num_above"]) == (4, 4)
    assert np.isnan(seen["rho_column"])  # of two models
    true = pairs.loc[("other", "truth")]
    assert (true["smallest"], true["largest"]) == pytest.approx((0.15, 0.3))

    panel = frame[(frame["row"] == "vision") & (frame["column"] == "language")]
    found = {
        (r["role"], r["line"], r["x"]): r["score"]
        for _, r in panel[panel["x"].notna()].fillna({"line": ""}).iterrows()
    }
    assert found == pytest.approx(
        {("trained", f"vision{i}", 100.0 * 4**j): 0.1 * (i + 1) * (j + 1)
         for i in range(2) for j in range(2)}
        | {(role, "", x): 0.02 for role in ("random line", "random point") for x in (100, 400)}
    )  # fmt: skip


def test_correlations_are_over_the_models_of_one_sense() -> None:
    tables = sense_tables(4)
    best = tables.best
    best.loc[best["y"] == "language3", "score"] = 0.0  # the largest one agrees with nobody
    best.loc[best["x"] == "language3", "score"] = 0.0

    pairs = points_of(tables)
    pairs = pairs[pairs["role"] == "pair of senses"].set_index(["column", "row"])
    seen = pairs.loc[("vision", "language")]  # now vision agrees most with the truth
    # Ranks 1 2 3 4 of size, 2 3 4 1 of agreement: 1 - 6 * 12 / (4 * 15).
    assert (seen["rho_row"], seen["rho_column"]) == pytest.approx((-0.2, 1))
    assert seen["largest"] == 0
    assert np.isnan(pairs.loc[("language", "truth"), "rho_row"])


def test_without_the_truth_the_sense_comes_first_that_agrees_most_with_the_others() -> None:
    frame = points_of(sense_tables(), senses=["other", "language", "vision"])

    senses = frame[frame["role"] == "sense"]
    assert list(senses["row"]) == ["language", "vision", "other"]
    assert senses["score"].is_monotonic_decreasing
    assert senses["with_truth"].isna().all()


def test_random_copies_move_no_mean_and_no_order() -> None:
    tables = sense_tables()
    louder = tables.best.assign(
        score=tables.best["score"].where(~(tables.best["x_random"] | tables.best["y_random"]), 0.9)
    )

    kept = ["sense", "pair of senses"]
    plain, loud = (
        frame[frame["role"].isin(kept)]
        for frame in (points_of(tables), points_of(dataclasses.replace(tables, best=louder)))
    )
    pd.testing.assert_frame_equal(plain, loud)


def drawn(figure: Figure) -> list[tuple[str, float, float]]:
    """What the artists of the panels hold, of what has a name."""
    found = []
    for line in (line for ax in figure.axes for line in ax.lines):
        role = str(line.get_gid()).partition("|")[0]
        if role in ("trained", "random line", "random point"):
            x, y = line.get_data()
            found += [(role, float(a), float(b)) for a, b in zip(x, y, strict=True)]
    return sorted(found)


@pytest.mark.parametrize(
    ("senses", "num_sizes"),
    [(("vision", "language"), 1), (("vision", "language", "truth"), 3), (tuple(TELLS), 5)],
)
def test_what_is_drawn_is_the_points_and_every_text_can_be_read(
    senses: tuple[str, ...], num_sizes: int
) -> None:
    figure, points = draw_figure(sense_tables(num_sizes, senses), SensesFigure())

    shown = points.frame[points.frame["x"].notna()]
    assert drawn(figure) == sorted(zip(shown["role"], shown["x"], shown["score"], strict=True))
    said = [text.get_text() for text in texts(figure)]
    assert all(said.count(sense) >= 2 for sense in senses)  # on the diagonal, along an edge
    assert_readable(figure)


def test_one_size_alone_has_ticks_apart_and_a_level_of_chance() -> None:
    tables = sense_tables(1, ("vision", "language"))
    models = tables.models.assign(num_parameters=42e3)

    figure, _ = draw_figure(dataclasses.replace(tables, models=models), SensesFigure())

    (chance,) = (x for ax in figure.axes for x in ax.lines if x.get_gid() == "chance")
    assert np.ptp(np.asarray(chance.get_xdata(), dtype=float)) > 0
    assert_readable(figure)


def test_a_pair_that_was_not_scored_is_said() -> None:
    tables = sense_tables()
    best = tables.best
    gone = (best["x_modality"] == "language") & (best["y_modality"] == "other")

    figure, points = draw_figure(dataclasses.replace(tables, best=best[~gone]), SensesFigure())

    assert points.notes == ("language x other: no pair of models has a score, so no panel",)
    said = [text.get_text() for text in texts(figure)]
    assert said.count("not scored") == said.count("no panel") == 1
    assert_readable(figure)


def test_a_sense_without_the_measure_is_in_rows_only() -> None:
    tables = sense_tables()
    value = pd.DataFrame({"model": ["vision0", "vision1"], "measure": "probe", "value": [0.2, 0.7]})
    measured = dataclasses.replace(tables, performance=value.assign(source="", better="higher"))

    figure, points = draw_figure(measured, SensesFigure(x="probe"))

    trained = points.frame[points.frame["role"] == "trained"]
    assert set(trained["column"]) == {"vision"}
    assert set(trained["row"]) == {"language", "other", "truth"}
    assert set(trained["x"]) == {0.2, 0.7}
    assert len(points.notes) == 3
    assert_readable(figure)


def test_fewer_than_two_senses_are_refused() -> None:
    tables = sense_tables(senses=("vision",))

    with pytest.raises(AbsentError, match=r"different modalities.*align\.pairs"):
        draw_figure(tables, SensesFigure())
