"""What a scaling figure says of its points as a whole, and alignment along depth, by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from scipy import stats
from test_plots import assert_readable, made_up, many_metrics

from platorep.parameters.figures import LayersFigure, ScalingFigure
from platorep.plots import Tables, draw_figure
from platorep.plots.depth import layers_points
from platorep.plots.scaling import scaling_points
from platorep.statistics import partial_spearman


def checkpoints() -> Tables:
    """Two families, each one network at three steps, with one vision model."""
    tables = made_up(2, 1)
    names = [f"{net}@{step}" for net in ("a", "b") for step in (1, 2, 4)]
    old = tables.models.loc[tables.models["modality"] == "language", "label"].iloc[: len(names)]
    renamed = dict(zip(old, names, strict=True))
    models = tables.models.assign(label=tables.models["label"].replace(renamed))
    models = models[models["label"].isin(names) | (models["modality"] == "vision")]
    first = models["label"].str.startswith("a@")
    models.loc[models["modality"] == "language", "family"] = np.where(
        first[models["modality"] == "language"], "a", "b"
    )
    best = tables.best.assign(x=tables.best["x"].replace(renamed))
    performance = tables.performance.assign(model=tables.performance["model"].replace(renamed))
    return Tables(best=best[best["x"].isin(names)], performance=performance, models=models)


def test_correlations_of_lines_and_of_their_mean() -> None:
    points = scaling_points(made_up(3, 1), ScalingFigure()).frame

    trained = points[points["role"] == "trained"]
    found = points[points["role"] == "correlation"].set_index(["line", "statistic"])
    for line, rows in trained.groupby("line"):
        own = found.loc[(line, "pearson")]
        theirs = stats.pearsonr(rows["x"], rows["score"])
        interval = theirs.confidence_interval()
        assert (own["value"], own["low"], own["high"]) == pytest.approx(
            (theirs.statistic, interval.low, interval.high)
        )
        assert own["num_points"] == 12
    mean = trained.groupby("point").agg({"x": "first", "score": "mean", "point_family": "first"})
    assert found.loc[("", "spearman"), "value"] == pytest.approx(
        stats.spearmanr(mean["x"], mean["score"]).statistic
    )
    x, score = mean["x"].to_numpy(float), mean["score"].to_numpy(float)
    held = partial_spearman(x, score, list(mean["point_family"]))
    assert found.loc[("", "spearman at fixed family"), "value"] == pytest.approx(held.value)
    assert ("", "spearman at fixed step") not in found.index


def test_a_point_that_lacks_a_line_is_not_in_the_mean_of_the_panel() -> None:
    tables = made_up(3, 1)
    tables.best.loc[0, "score"] = np.nan

    found = scaling_points(tables, ScalingFigure()).frame
    found = found[(found["role"] == "correlation") & (found["statistic"] == "spearman")]

    assert list(found["num_points"]) == [11, 11, 12]  # the panel, the line that lacks it, the other


def test_checkpoints_are_compared_at_their_step() -> None:
    figure, points = draw_figure(checkpoints(), ScalingFigure())

    found = points.frame[points.frame["role"] == "correlation"]
    panel = found[found["line"] == ""].set_index("statistic")["value"]
    trained = points.frame[points.frame["role"] == "trained"]
    mean = trained.groupby("point").agg({"x": "first", "score": "mean"})
    steps = np.array([float(label.split("@")[1]) for label in mean.index])
    wanted = partial_spearman(mean["x"].to_numpy(float), mean["score"].to_numpy(float), steps)
    assert panel["spearman at fixed step"] == pytest.approx(wanted.value)
    (printed,) = [t.get_text() for t in figure.axes[0].texts if t.get_gid() == "correlation"]
    assert printed.splitlines()[1].startswith("fixed step: ")
    assert any("spearman at fixed step" in note for note in points.notes)
    plain, _ = draw_figure(checkpoints(), ScalingFigure(correlation=False))
    assert not any(t.get_text() for t in plain.axes[0].texts if t.get_gid() == "correlation")


def test_trends_are_lines_of_least_squares_within_a_family() -> None:
    points = scaling_points(made_up(2, 1), ScalingFigure(x="num_parameters")).frame

    trained, trends = points[points["role"] == "trained"], points[points["role"] == "trend"]
    assert len(trends) == 2 * trends.groupby(["line", "point_family"]).ngroups == 8
    for (line, family), ends in trends.groupby(["line", "point_family"]):
        rows = trained[(trained["line"] == line) & (trained["point_family"] == family)]
        theirs = stats.linregress(np.log10(rows["x"].astype(float)), rows["score"])
        assert ends["slope"].iloc[0] == pytest.approx(theirs.slope)
        assert list(ends["score"]) == pytest.approx(
            list(theirs.intercept + theirs.slope * np.log10(ends["x"].astype(float)))
        )
        assert list(ends["x"]) == [rows["x"].min(), rows["x"].max()]


def test_one_model_of_a_family_has_no_trend_and_no_correlation() -> None:
    tables = made_up(1, 1)
    one = dataclasses.replace(tables, best=tables.best[tables.best["x"] == "bloomz-3b"])

    figure, points = draw_figure(one, ScalingFigure(x="num_parameters"))

    assert set(points.frame["role"]) == {"trained"}
    assert points.notes == ()
    assert_readable(figure)


def test_the_null_band_spans_the_axis_of_sizes() -> None:
    figure, _ = draw_figure(made_up(3, 1, controls=True), ScalingFigure(x="num_parameters"))

    ax = figure.axes[0]
    (band,) = [c for c in ax.collections if c.get_gid() == "null"]
    assert isinstance(band, PolyCollection)
    corners = band.get_paths()[0].vertices
    assert (corners[:, 0].min(), corners[:, 0].max()) == pytest.approx(ax.get_xlim())
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((0.013, 0.016))


# -- layers ---------------------------------------------------------------------------------------


def test_layers_do_not_mix_modalities() -> None:
    tables = many_metrics(2, 2)
    extra = tables.best.iloc[:3].assign(
        x=["conv4", "conv8", "conv16"],
        y="other eye",
        x_modality="vision",
        y_modality="vision",
        control="",
        x_random=False,
        y_random=False,
    )
    more = dataclasses.replace(tables, best=pd.concat([tables.best, extra], ignore_index=True))

    pd.testing.assert_frame_equal(
        layers_points(more, LayersFigure()).frame, layers_points(tables, LayersFigure()).frame
    )
    within = layers_points(more, LayersFigure(x="vision", y="vision")).frame
    assert set(within.loc[within["panel"] == "best layers", "model"]) == {
        "conv4", "conv8", "conv16"
    }  # fmt: skip


def test_layers_do_not_care_which_model_is_x() -> None:
    tables = many_metrics(2, 2)
    turned = dataclasses.replace(
        tables,
        best=tables.best.rename(columns=_swap(tables.best)),
        scores=tables.scores.rename(columns=_swap(tables.scores)),
    )

    here, there = (layers_points(t, LayersFigure()).frame for t in (tables, turned))

    keys = ["panel", "model", "other", "depth"]
    pd.testing.assert_frame_equal(
        *(f.sort_values(keys).reset_index(drop=True) for f in (here, there)), check_like=True
    )


def _swap(table: pd.DataFrame) -> dict[str, str]:
    ends = ("", "_family", "_modality", "_random")
    pairs = [(f"x{end}", f"y{end}") for end in ends]
    pairs += [("layer_x", "layer_y"), ("num_layers_x", "num_layers_y")]
    both = dict(pairs) | {y: x for x, y in pairs}
    return {name: other for name, other in both.items() if name in table}


def test_all_layers_side_by_side_are_at_no_depth() -> None:
    tables = many_metrics(1, 1)
    tables.best.loc[0, "layer_x"] = 12  # of 12: the candidate after the last

    points = layers_points(tables, LayersFigure())

    assert points.frame["depth"].max() <= 1
    assert "1 pairs are best where all layers stand side by side" in " ".join(points.notes)


def test_pairs_in_one_place_are_counted() -> None:
    frame = layers_points(many_metrics(2, 2), LayersFigure()).frame

    dots = frame[frame["panel"] == "best layers"]
    assert (dots["num_pairs"] == dots.groupby("family")["model"].transform("size")).all()
