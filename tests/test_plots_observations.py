"""The figure of observations: its points by hand, and what is drawn is its CSV."""

import dataclasses
from typing import Any

import pytest
from matplotlib.lines import Line2D
from observation_tables import observation_tables, score
from test_plots import assert_readable

from platorep.errors import AbsentError
from platorep.parameters.figures import ObservationsFigure
from platorep.plots import draw_figure


def test_points_by_hand() -> None:
    points = draw_figure(observation_tables(), ObservationsFigure(law="power"))[1]

    frame = points.frame
    assert list(dict.fromkeys(frame["line"])) == [
        *("reader", "writer", "reader (random)", "bag of words", ""),
    ]
    reader = frame[frame["line"] == "reader"]
    average = reader[reader["what"] == "average"].set_index("m")["value"]
    assert average[1] == pytest.approx(score("reader", 1) + 0.0055)  # of looker, of b
    assert average[5] == pytest.approx(score("reader", 5) + 0.005)
    assert set(reader["num_pairs"]) == {2}  # never with the random viewer
    assert reader.loc[reader["what"] == "joined", "value"].tolist() == [pytest.approx(0.125)]
    (end,) = reader[reader["what"] == "end"].to_dict("records")
    assert (end["value"], end["low"], end["high"]) == pytest.approx((0.185, 0.165, 0.205), abs=1e-5)
    assert not ((frame["line"] == "writer") & (frame["what"] == "end")).any()
    assert any("writer: no end by the power law with 1 of 2" in note for note in points.notes)
    assert frame.loc[frame["what"] == "chance", "value"].tolist() == [pytest.approx(0.01)]
    bag = frame[frame["line"] == "bag of words"]
    assert list(zip(bag["what"], bag["m"], strict=True)) == [("average", 1), ("joined", 5)]


@pytest.mark.parametrize("said", [{}, {"law": "power"}, {"controls": False}, {"width": "double"}])
def test_every_point_is_drawn_and_every_text_is_readable(said: dict[str, Any]) -> None:
    figure, points = draw_figure(observation_tables(), ObservationsFigure(**said))

    drawn = [
        (*str(line.get_gid()).split("|"), round(float(value), 9))
        for line in figure.axes[0].get_children()
        if isinstance(line, Line2D) and "|" in str(line.get_gid())
        for value in line.get_ydata()  # type: ignore[union-attr]
    ]
    shown = points.frame[points.frame["what"] != "chance"]
    wanted = zip(shown["what"], shown["line"], shown["value"].round(9), strict=True)
    assert sorted(drawn) == sorted(wanted)
    assert ("bag of words" in set(shown["line"])) == said.get("controls", True)
    assert_readable(figure)


def test_what_is_never_averaged_has_no_asymptotes_and_is_drawn() -> None:
    tables = observation_tables()
    found = tables.further["observations"]
    further = {
        "observations": found[found["x"] == "bag of words"],
        "asymptotes": tables.further["asymptotes"][:0].astype(str),
    }

    points = draw_figure(dataclasses.replace(tables, further=further), ObservationsFigure())[1]

    assert set(points.frame["line"]) == {"bag of words"}
    assert set(points.frame["num_pairs"]) == {2}


def test_without_the_table_it_says_what_to_set() -> None:
    tables = dataclasses.replace(observation_tables(), further={})

    with pytest.raises(AbsentError, match=r"align\.observations"):
        draw_figure(tables, ObservationsFigure())
