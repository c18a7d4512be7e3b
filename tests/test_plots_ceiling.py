"""Noise ceilings in scaling figures: a band where the axis can hold it, and always the numbers."""

import dataclasses

import numpy as np
import pytest
from matplotlib.axes import Axes
from test_plots import assert_readable, made_up, texts

from platorep.parameters.figures import MetricGridFigure, ScalingFigure
from platorep.plots import draw_figure
from platorep.plots.tables import Tables


def with_ceilings(factor: float, without: str = "") -> Tables:
    """Every pair's ceiling is so many times its score."""
    tables = made_up(3, 2, controls=True)
    best = tables.best.assign(
        ceiling=lambda b: factor * b["score"], without_repeats=without, share_of_ceiling=0.5
    )
    return dataclasses.replace(tables, best=best)


def bands(ax: Axes) -> list[np.ndarray]:
    found = [artist for artist in ax.get_children() if artist.get_gid() == "ceiling"]
    return [np.asarray(artist.get_paths()[0].vertices) for artist in found]


def test_the_band_is_from_the_lowest_to_the_highest_ceiling_of_the_panels_lines() -> None:
    figure, points = draw_figure(with_ceilings(1.5), ScalingFigure())

    trained = points.frame[points.frame["role"] == "trained"]
    assert (trained["ceiling"] == 1.5 * trained["score"]).all()  # and its CSV has them
    for ax, (_, rows) in zip(figure.axes, trained.groupby("line_family", sort=False), strict=True):
        (band,) = bands(ax)
        for x, at in rows.groupby("x"):
            heights = band[np.isclose(band[:, 0], x), 1]
            assert heights.min() == pytest.approx(at["ceiling"].min())
            assert heights.max() == pytest.approx(at["ceiling"].max())
        low, high = ax.get_xlim()
        assert (band[:, 0].min(), band[:, 0].max()) == pytest.approx((low, high))
        assert ax.get_ylim()[1] > trained["ceiling"].max()
    assert sum(text.get_text() == "ceiling" for text in texts(figure)) == len(figure.axes)
    assert_readable(figure)


def test_a_ceiling_far_above_the_scores_is_told_and_not_drawn() -> None:
    plain, _ = draw_figure(made_up(3, 2, controls=True), ScalingFigure())

    figure, points = draw_figure(with_ceilings(4, "y"), ScalingFigure())

    assert not any(bands(ax) for ax in figure.axes)
    top = points.frame.loc[points.frame["role"] == "trained", "score"].max()
    assert figure.axes[0].get_ylim()[1] < 2 * top
    assert plain.axes[0].get_ylim()[0] == figure.axes[0].get_ylim()[0]
    told = [t.get_text() for t in texts(figure) if "noise ceiling" in t.get_text()]
    assert len(told) == len(figure.axes)
    assert all(text.endswith("or less") for text in told)
    assert_readable(figure)


def test_one_ceiling_is_one_number_and_none_says_nothing() -> None:
    tables = with_ceilings(1.5)
    same = dataclasses.replace(tables, best=tables.best.assign(ceiling=0.2))
    figure, _ = draw_figure(same, ScalingFigure(correlation=False))
    assert any(text.get_text() == "noise ceiling .20" for text in texts(figure))

    none = dataclasses.replace(tables, best=tables.best.assign(ceiling=np.nan))
    figure, _ = draw_figure(none, ScalingFigure())
    assert not any("ceiling" in text.get_text() for text in texts(figure))


def test_a_grid_of_metrics_has_the_band_too() -> None:
    figure, _ = draw_figure(with_ceilings(1.5), MetricGridFigure())

    assert all(len(bands(ax)) == 1 for ax in figure.axes)
    assert_readable(figure)
