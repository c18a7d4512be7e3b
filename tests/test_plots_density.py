"""The figure of caption density: its points are worked out by hand."""

import itertools
from statistics import mean, stdev
from typing import Any

import pandas as pd
import pytest
from caption_views import SCORES, WORDS, density_tables
from matplotlib.backends.backend_agg import FigureCanvasAgg

from platorep.errors import AbsentError, UnknownNameError
from platorep.parameters.figures import DensityFigure
from platorep.plots import FIGURES, Tables, draw_figure


def points_of(tables: Tables, **said: Any) -> pd.DataFrame:
    frame: pd.DataFrame = FIGURES["density"].points(tables, DensityFigure(**said)).frame
    return frame


def test_points_worked_by_hand() -> None:
    points = points_of(density_tables())

    middling = points[points["view"] == "middling"]
    (row,) = middling[middling["role"] == "mean"].to_dict("records")
    assert row["num_words"] == 8.5
    assert row["score"] == pytest.approx(0.04)  # (3 + 5 + 6 + 6 + 2 + 2) / 6 hundredths
    # squared deviations in hundredths: 1 1 4 4 4 4; 18 / 5 over 6 pairs
    assert row["high"] - 0.04 == pytest.approx(0.01 * (18 / 5 / 6) ** 0.5)
    assert 0.04 - row["low"] == pytest.approx(0.01 * (18 / 5 / 6) ** 0.5)
    families = middling[middling["role"] == "family"].set_index("family")
    assert families["score"].to_dict() == pytest.approx({"M": 0.05, "O": 0.02})
    assert families["num_pairs"].to_dict() == {"M": 4, "O": 2}
    controls = middling.set_index("role")["score"]
    assert controls["random language"] == pytest.approx(0.02)
    assert controls["random other"] == pytest.approx(0.01)
    assert controls["shuffled"] == pytest.approx(0.0103)
    assert controls["chance"] == pytest.approx(0.0098)
    pairs = points[points["role"] == "pair"]
    assert list(pairs.groupby("line")["num_words"].apply(list)) == [[4.0, 8.5, 20.0]] * 6
    in_file_order = [f"{m} x {v}" for m in ("m1", "m2", "o1") for v in ("v1", "v2")]
    assert list(dict.fromkeys(pairs["line"])) == in_file_order


def test_the_papers_bars_are_over_language_models() -> None:
    points = points_of(density_tables(), spread="models")

    mean_rows = points[points["role"] == "mean"].set_index("view")
    for view in WORDS:
        a, b, c, d, e, f = SCORES[view]
        expected = stdev([(a + b) / 2, (c + d) / 2, (e + f) / 2])
        row = mean_rows.loc[view]
        assert row["high"] - row["score"] == pytest.approx(expected)


def test_a_mean_is_over_the_same_pairs_everywhere() -> None:
    tables = density_tables()
    tables.best.loc[(tables.best["x"] == "m2 (short)") & (tables.best["y"] == "v2"), "score"] = (
        float("nan")
    )

    points = FIGURES["density"].points(tables, DensityFigure())

    trained = points.frame[points.frame["role"] == "mean"].set_index("view")
    assert list(trained["num_pairs"]) == [5, 5, 5]
    long = [score for i, score in enumerate(SCORES["long"]) if i != 3]
    assert trained.loc["long", "score"] == pytest.approx(mean(long))
    assert any("1 pairs lack a score at some view" in note for note in points.notes)
    assert any("m2 (short) x v2" in note for note in points.notes)


def test_a_view_without_any_score_is_left_out_of_the_mean() -> None:
    """As at the lowest levels of the toy world, where neighbors of equal captions mean nothing."""
    tables = density_tables()
    tables.best.loc[tables.best["x"].str.contains("short"), "score"] = float("nan")

    points = FIGURES["density"].points(tables, DensityFigure())

    trained = points.frame[points.frame["role"] == "mean"]
    assert list(trained["view"]) == ["middling", "long"]
    assert list(trained["num_pairs"]) == [6, 6]
    assert set(points.frame["view"]) == {"middling", "long"}
    assert "no model pair has a score with the captions short" in points.notes


def test_chosen_views_and_absent_controls() -> None:
    points = points_of(density_tables(), views=("long", "short"), controls=False)

    assert set(points["view"]) == {"long", "short"}
    assert set(points["role"]) == {"pair", "mean", "family", "chance"}


def test_one_family_has_no_line_of_its_own() -> None:
    tables = density_tables()
    best = tables.best[tables.best["x_family"] == "M"]

    points = points_of(Tables(best=best, performance=tables.performance, models=tables.models))

    assert "family" not in set(points["role"])


def test_sides_may_be_the_other_way_round() -> None:
    tables = density_tables()
    swapped = tables.best.rename(
        columns=lambda name: (
            {"x": "y", "y": "x"}.get(name)
            or (f"y{name[1:]}" if name.startswith("x_") else None)
            or (f"x{name[1:]}" if name.startswith("y_") else name)
        )
    )

    found = points_of(Tables(best=swapped, performance=tables.performance, models=tables.models))

    pd.testing.assert_frame_equal(found, points_of(tables))


def test_nothing_to_draw_says_what_is_missing() -> None:
    tables = density_tables()
    without = tables.models.drop(columns=["view", "num_words"])

    with pytest.raises(AbsentError, match=r"dataset\.views"):
        points_of(Tables(best=tables.best, performance=tables.performance, models=without))
    with pytest.raises(AbsentError, match="modality truth"):
        points_of(tables, lines="truth")
    with pytest.raises(UnknownNameError, match="lang"):
        points_of(tables, views=("lang", "short"))
    one = tables.best[tables.best["x"].str.contains("short")]
    with pytest.raises(AbsentError, match="fewer than two kinds"):
        points_of(Tables(best=one, performance=tables.performance, models=tables.models))


@pytest.mark.parametrize("width", [None, "double"])
@pytest.mark.parametrize("spread", ["pairs", "models"])
def test_labels_are_readable(width: Any, spread: Any) -> None:
    figure, points = draw_figure(density_tables(), DensityFigure(width=width, spread=spread))
    renderer = FigureCanvasAgg(figure).get_renderer()
    (ax,) = figure.axes

    boxes = [text.get_window_extent(renderer) for text in ax.texts]
    for box, other in itertools.combinations(boxes, 2):
        assert not box.shrunk(0.98, 0.9).overlaps(other.shrunk(0.98, 0.9))
    assert min(box.x0 for box in boxes) >= figure.bbox.x0
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    said = {text.get_text() for text in ax.texts}
    bars = {"pairs": "std. error", "models": "std. dev. over\nmodels"}[spread]
    assert {*WORDS, "M", "O", f"mean of\n6 pairs \N{PLUS-MINUS SIGN}\n{bars}"} <= said
    assert {"shuffled pairs", "chance"} <= said
    drawn = {line.get_gid(): line for line in ax.lines}
    mean_rows = points.frame[points.frame["role"] == "random language"]
    assert list(drawn["random language"].get_ydata()) == list(mean_rows["score"])
