"""Geometry beside alignment: the points by hand, every label readable, what is missing is said."""

import dataclasses
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from geometry_tables import LAYERS, geometry_tables
from matplotlib.lines import Line2D
from scipy.stats import spearmanr
from test_plots import assert_readable, texts

from platorep.errors import AbsentError
from platorep.parameters.figures import GeometryFigure, LayerColumn
from platorep.plots import FIGURES, Tables, draw_figure

points_of = FIGURES["geometry"].points


def test_alignment_and_geometry_worked_by_hand() -> None:
    """Half of the layer's own hubness, and half of the mean over partners of their largest."""
    tables = geometry_tables()
    frame = points_of(tables, GeometryFigure()).frame
    hubness = tables.layers.set_index(["model", "layer"])["hubness"]

    points = frame[frame["role"] == "point"].set_index(["quantity", "model", "layer"])
    quantities = ("alignment", *GeometryFigure().columns)
    assert len(points) == len(quantities) * sum(LAYERS.values())  # no random copies
    for model, num in LAYERS.items():
        others = [m for m in LAYERS if m[:4] != model[:4]]
        reach = np.mean([hubness[other].max() for other in others])
        for layer in range(num):
            value = (hubness[model, layer] + reach) / 2
            assert points.loc[("alignment", model, layer), "value"] == pytest.approx(value)
            assert points.loc[("hubness", model, layer), "value"] == hubness[model, layer]
            assert points.loc[("hubness", model, layer), "depth"] == layer / (num - 1)

    found = frame[frame["role"] == "correlation"].set_index(["modality", "quantity"])
    assert list(found["num_models"]) == [3, 2] * 5
    assert found.loc[("language", "hubness"), "rho"] == pytest.approx(1)
    assert found.loc[("language", "hubness"), "p_shifts"] < 0.02
    assert np.isnan(found.loc[("vision", "hubness"), "p_exchange"])
    rho = [spearmanr(np.arange(n), hubness[m]).statistic for m, n in LAYERS.items()]
    assert found.loc[("language", "effective_rank"), "rho"] == pytest.approx(np.mean(rho[:3]))


def test_degenerate_layers_and_all_side_by_side_are_left_out() -> None:
    tables = geometry_tables(degenerate=True)
    beside = tables.scores.iloc[[0]].assign(layer_x=LAYERS["words0"], score=1e3)
    tables = dataclasses.replace(tables, scores=pd.concat([tables.scores, beside]))

    frame = points_of(tables, GeometryFigure(columns=("hubness",))).frame
    words = frame[(frame["model"] == "words0") & (frame["quantity"] == "alignment")]
    assert list(words["layer"]) == [0, 2, 3, 4, 5, 6]
    assert words["value"].max() < 1


@pytest.mark.parametrize(
    "parameters",
    [
        GeometryFigure(),
        GeometryFigure(columns=("mean_cosine",), width="double"),
        GeometryFigure(columns=("hubness", "effective_rank"), width="single"),
    ],
)
def test_what_is_drawn_is_its_points(parameters: GeometryFigure) -> None:
    figure, points = draw_figure(geometry_tables(), parameters)

    frame = points.frame[points.frame["role"] == "point"]
    drawn = [
        (str(line.get_gid()).partition("|")[2], float(x), float(y))
        for ax in figure.axes
        for line in ax.get_children()
        if isinstance(line, Line2D) and str(line.get_gid()).startswith("points|")
        for x, y in zip(*line.get_data(), strict=True)
    ]
    wanted = zip(frame["model"], frame["depth"], frame["value"], strict=True)
    assert sorted(drawn) == sorted(wanted)
    assert_readable(figure)
    said = " ".join(text.get_text() for text in texts(figure))
    assert "language models" in said
    assert "words nets" in said


def test_one_modality_with_itself() -> None:
    tables = geometry_tables()
    models = tables.models.assign(modality="vision")
    pairs = tables.best.assign(x_modality="vision")
    same = dataclasses.replace(tables, models=models, best=pairs)

    figure, points = draw_figure(same, GeometryFigure(x="vision", y="vision"))
    frame = points.frame
    assert set(frame.loc[frame["role"] == "point", "model"]) == set(LAYERS)
    assert_readable(figure)


def test_what_is_missing_is_said() -> None:
    tables = geometry_tables()
    older = tables.layers.drop(columns="hubness")

    for layers in (pd.DataFrame(), older):
        without: Tables = dataclasses.replace(tables, layers=layers)
        with pytest.raises(AbsentError, match="platorep align"):
            points_of(without, GeometryFigure())
    with pytest.raises(AbsentError, match="no pair of a trained audio and a trained video"):
        points_of(tables, GeometryFigure(x="audio", y="video"))


def test_every_column_has_a_name_that_fits() -> None:
    columns = get_args(LayerColumn)
    tables = geometry_tables()
    layers = tables.layers.assign(**dict.fromkeys(columns, 1.0))
    tables = dataclasses.replace(tables, layers=layers)

    assert_readable(draw_figure(tables, GeometryFigure(columns=columns))[0])
