"""Copies on changed views: controls beside their originals, and a figure of their own."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from caption_views import density_tables
from changed_views import SCORES, changed_tables
from sense_tables import sense_tables
from test_plots import assert_readable, points_on, texts

from platorep.errors import AbsentError
from platorep.parameters.figures import ChangesFigure, ScalingFigure
from platorep.plots import FIGURES, draw_figure


def test_changes_worked_by_hand() -> None:
    frame = FIGURES["changes"].points(changed_tables(), ChangesFigure()).frame

    means = frame[frame["role"] == "mean"].set_index(["panel", "view"])
    found = means[["score", "original", "null", "kept", "num_pairs"]].T.to_dict("list")
    assert found == {
        ("language x vision", "scrambled"): pytest.approx([0.15, 0.3, 0.02, 0.13 / 0.28, 2]),
        ("vision x language", "grey"): pytest.approx([0.25, 0.3, 0.02, 0.23 / 0.28, 2]),
        ("language x vision", "random weights"): pytest.approx([0.05, 0.2, 0.02, 0.03 / 0.18, 1]),
    }
    pairs = frame[frame["role"] == "pair"]
    assert {(r["copy"], r["other"]): (r["score"], r["original"]) for _, r in pairs.iterrows()} == {
        ("m1 (scrambled)", "v"): (0.1, 0.2),
        ("m2 (scrambled)", "v"): (0.2, 0.4),
        ("v (grey)", "m1"): (0.15, 0.2),
        ("v (grey)", "m2"): (0.35, 0.4),
        ("m1 (random)", "v"): (0.05, 0.2),
    }


def test_changes_without_controls_or_a_null() -> None:
    tables = changed_tables()
    tables = dataclasses.replace(tables, best=tables.best.drop(columns=["null_mean", "threshold"]))

    figure, points = draw_figure(tables, ChangesFigure(controls=False))

    assert set(points.frame["view"]) == {"scrambled", "grey"}
    assert set(points.frame["null"]) == {0.01}
    assert any(text.get_text() == "chance" for text in texts(figure))
    assert_readable(figure)


def test_nothing_is_kept_of_what_was_not_above_the_null() -> None:
    tables = changed_tables()
    low = tables.best.assign(threshold=0.5)

    figure, points = draw_figure(dataclasses.replace(tables, best=low), ChangesFigure())

    means = points.frame[points.frame["role"] == "mean"]
    assert means["kept"].isna().all()
    said = [text.get_text() for text in texts(figure) if text.get_gid() == "kept"]
    assert said == ["\N{EN DASH}"] * 3


def test_changes_show_their_points() -> None:
    figure, points = draw_figure(changed_tables(), ChangesFigure())

    for role, column in (("pair", "score"), ("mean", "score"), ("original", "original")):
        drawn = [
            value
            for ax in figure.axes
            for line in ax.lines
            if line.get_gid() == role
            for value in np.atleast_1d(line.get_xdata())
        ]
        rows = points.frame[points.frame["role"] == ("pair" if role == "pair" else "mean")]
        assert sorted(drawn) == sorted(rows[column])
    said = [text.get_text() for text in texts(figure)]
    assert {"46 %", "82 %", "17 %", "scrambled", "grey"} <= set(said)
    assert_readable(figure)


def test_a_copy_whose_original_has_no_score_is_left_out_and_said() -> None:
    tables = changed_tables()
    tables.best.loc[0, ["score", "reason"]] = [np.nan, "a layer holds NaN"]

    points = FIGURES["changes"].points(tables, ChangesFigure())

    assert "m1 (scrambled)" not in set(points.frame["copy"])
    assert points.notes == ("no score, so not shown: m1 x v (a layer holds NaN)",)


def test_without_a_changed_view_the_way_to_one_is_told() -> None:
    with pytest.raises(AbsentError, match=r"dataset\.views.*changed_views: true"):
        draw_figure(sense_tables(), ChangesFigure())


def test_scaling_draws_copies_beside_their_originals() -> None:
    figure, points = draw_figure(changed_tables(), ScalingFigure())

    shown = points.frame[points.frame["role"].str.startswith("changed", na=False)]
    assert {
        (r["role"], r["view"], r["line"], r["line_twin"], r["point"], round(r["x"], 9), r["score"])
        for _, r in shown.iterrows()
    } == {
        ("changed point", "scrambled", "v", "v", "m1 (scrambled)", 0.1, 0.1),
        ("changed point", "scrambled", "v", "v", "m2 (scrambled)", 0.3, 0.2),
        ("changed line", "grey", "v (grey)", "v", "m1", 0.1, 0.15),
        ("changed line", "grey", "v (grey)", "v", "m2", 0.3, 0.35),
    }
    everything = points.frame[points.frame["role"] != "correlation"]
    wanted = zip(everything["role"], everything["line"], everything["x"], everything["score"],
                 strict=True)  # fmt: skip
    assert points_on(figure.axes) == sorted(wanted)
    said = {text.get_text() for text in texts(figure)}
    assert {"language models read scrambled", "vision models read grey"} <= said
    markers = {line.get_marker() for ax in figure.axes for line in ax.lines
               if str(line.get_gid()).startswith("changed")}  # fmt: skip
    assert len(markers) == 2  # one per view
    assert_readable(figure)


@pytest.mark.parametrize("parameters", [ChangesFigure(), ScalingFigure()])
def test_long_names_of_views_stay_inside(parameters: ChangesFigure | ScalingFigure) -> None:
    tables = changed_tables()
    name = "all captions joined, their words in an order that is not theirs, $x$"
    models = tables.models.replace({"view": {"scrambled": name}})

    figure, _ = draw_figure(dataclasses.replace(tables, models=models), parameters)

    assert_readable(figure)


def test_copies_move_no_correlation_and_can_be_left_out() -> None:
    tables = changed_tables()
    plain = tables.without_changed_views()

    for parameters in (ScalingFigure(x="num_parameters"), ScalingFigure(controls=False)):
        frames = [
            FIGURES["scaling"].points(some, parameters).frame.reset_index(drop=True)
            for some in (tables, plain)
        ]
        if parameters.controls:
            frames = [f[f["role"].isin(["trained", "trend", "correlation"])] for f in frames]
        one, other = (f.reset_index(drop=True) for f in frames)
        pd.testing.assert_frame_equal(one[other.columns], other)


@pytest.mark.parametrize("kind", [n for n, figure in FIGURES.items() if not figure.changed_views])
def test_for_all_other_figures_they_are_not_there(kind: str) -> None:
    """Also where a copy would be the best pair, or the largest model."""
    tables = density_tables() if kind == "density" else changed_tables()
    models, best = tables.models, tables.best
    copy = models.iloc[[0]].assign(label="copy", changed_of=models["label"].iloc[0], view="grey")
    first = str(models["label"].iloc[0])
    pairs = best[(best["x"] == first) | (best["y"] == first)]
    pairs = pairs.assign(x=pairs["x"].replace(first, "copy"), y=pairs["y"].replace(first, "copy"))
    scores = best.assign(degenerate=False)
    full = dataclasses.replace(
        tables,
        models=pd.concat([models, copy.assign(num_parameters=1e12)], ignore_index=True),
        best=pd.concat([best, pairs.assign(score=0.99)], ignore_index=True),
        scores=pd.concat([scores, pairs.assign(score=0.99, degenerate=False)], ignore_index=True),
        gallery=pd.concat([best, pairs]).assign(k_rule="10", se=0.004),
    )
    plain = dataclasses.replace(full.without_changed_views())
    parameters = FIGURES[kind].parameters()

    def drawn(of: object) -> pd.DataFrame | str:
        try:
            return draw_figure(of, parameters)[1].frame  # type: ignore[arg-type]
        except AbsentError as error:  # too few models for this kind
            return str(error)

    found, wanted = drawn(full), drawn(plain)
    if isinstance(wanted, str) or isinstance(found, str):
        assert found == wanted
    else:
        assert "copy" not in found.to_string()
        pd.testing.assert_frame_equal(found, wanted)


def test_the_tables_hold_what_is_compared() -> None:
    plain = changed_tables().without_changed_views()

    kept = {pair for pair in SCORES if not any("(s" in m or "(g" in m for m in pair)}
    assert set(zip(plain.best["x"], plain.best["y"], strict=True)) == kept
    assert len(plain.models) == 4
