"""The figure of galleries: what is drawn is its CSV, and its CSV is worked out by hand."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from test_plots import assert_readable

from platorep.errors import AbsentError
from platorep.parameters.figures import GalleryFigure
from platorep.plots import Tables, draw_figure

SIZES = [1024, 4096, 16384, 65536, 262144, 1048576]
RULES = ["1", "10", "1%"]


def row(x: str, y: str, n: int, rule: str, score: float, **said: Any) -> dict[str, Any]:
    k = max(1, round(n / 100)) if rule == "1%" else int(rule)
    return {
        **{"dataset": "d", "x": x, "y": y, "x_random": False, "y_random": False, "control": ""},
        **{"metric": "mutual_knn{k: 10}", "queries": 1024, "n": n, "k_rule": rule, "k": k},
        **{"score": score, "se": 0.004, "chance": k / (n - 1)},
    } | said


def tables(rows: list[dict[str, Any]]) -> Tables:
    nothing = pd.DataFrame()
    return Tables(best=nothing, performance=nothing, models=nothing, gallery=pd.DataFrame(rows))


def made_up(num_x: int, num_y: int, *, controls: bool) -> Tables:
    rows = []
    for (i, j), n, rule in itertools.product(np.ndindex(num_x, num_y), SIZES, RULES):
        fall = 1.0 if rule == "1%" else (1024 / n) ** 0.3
        score = (0.06 if rule == "1" else 0.13) * fall * (1 + 0.1 * i + 0.05 * j)
        rows.append(row(f"x{i}", f"y{j}", n, rule, score))
        if controls:
            shuffled = rows[-1]["chance"] * 1.1
            rows.append(row(f"x{i}", f"y{j}", n, rule, shuffled, control="shuffled"))
            rows.append(row(f"x{i}", f"y{j} (random)", n, rule, score / 4, y_random=True))
    return tables(rows)


def test_points_by_hand() -> None:
    frame = (
        draw_figure(
            tables(
                [
                    row("a", "v", 100, "10", 0.2),
                    row("b", "v", 100, "10", 0.4),
                    row("a", "w (random)", 100, "10", 0.1, y_random=True),
                    row("a", "v", 100, "10", 0.11, control="shuffled"),
                    row("b", "v", 100, "10", 0.13, control="shuffled"),
                ]
            ),
            GalleryFigure(),
        )[1]
        .frame.set_index(["role", "pair"])
        .sort_index()
    )

    values = {key: (r["value"], r["se"], r["num_pairs"]) for key, r in frame.iterrows()}
    assert values["trained", ""] == pytest.approx((0.3, 0.1, 2))  # sd .1414 over the root of 2
    assert values["pair", "a x v"] == pytest.approx((0.2, 0.004, 1))
    assert values["random weights", ""] == pytest.approx((0.1, 0.004, 1))
    assert values["shuffled", ""] == pytest.approx((0.12, 0.01, 2))
    assert values["chance", ""][0] == pytest.approx(10 / 99)
    assert set(frame["panel"]) == {"fixed k"}
    assert len(frame) == 6


@pytest.mark.parametrize("width", [None, "single"])
@pytest.mark.parametrize(
    ("num_x", "num_y", "controls"), [(1, 1, False), (2, 3, True), (4, 4, True)]
)
def test_every_point_is_drawn_and_every_text_is_readable(
    num_x: int, num_y: int, controls: bool, width: Any
) -> None:
    figure, points = draw_figure(
        made_up(num_x, num_y, controls=controls), GalleryFigure(width=width)
    )

    drawn = [
        (*str(line.get_gid()).split("|"), float(n), float(value))
        for ax in figure.axes
        for line in ax.get_children()
        if isinstance(line, Line2D) and str(line.get_gid()).count("|") == 2
        for n, value in zip(*line.get_data(), strict=True)
    ]
    frame = points.frame
    wanted = zip(*(frame[c] for c in ("role", "rule", "pair", "n", "value")), strict=True)
    assert sorted(drawn) == sorted((r, k, p, float(n), float(v)) for r, k, p, n, v in wanted)
    few = 1 < num_x * num_y <= 6
    assert ("pair" in set(frame["role"])) == few
    assert_readable(figure)


def test_controls_can_be_left_out() -> None:
    _, points = draw_figure(made_up(2, 2, controls=True), GalleryFigure(controls=False))

    assert set(points.frame["role"]) == {"trained", "pair", "chance"}


def test_shares_are_dashed_and_in_a_panel_of_their_own() -> None:
    figure, _ = draw_figure(made_up(1, 1, controls=False), GalleryFigure())

    fixed, share = figure.axes
    assert (fixed.get_title(loc="left"), share.get_title(loc="left")) == (
        "fixed k",
        "k a share of n",
    )
    styles = {
        str(line.get_gid()): line.get_linestyle()
        for ax in (fixed, share)
        for line in ax.get_lines()
    }
    assert styles["trained|10|"] == "-"
    assert styles["trained|1%|"] == "--"
    assert {ax.get_xscale() for ax in (fixed, share)} == {"log"}


def test_no_gallery_is_said() -> None:
    with pytest.raises(AbsentError, match="no gallery was scored"):
        draw_figure(tables([]), GalleryFigure())
