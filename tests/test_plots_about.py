"""What stands on a figure besides its points: data, rows, metric, what is marked, and the fonts."""

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib.font_manager
import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_plots import (
    KNN,
    about,
    assert_readable,
    layer_pairs,
    made_up,
    tables_for,
    texts,
    two_by_two,
    with_names,
)

from platorep.parameters.figures import (
    GroupsFigure,
    HeatmapFigure,
    LayerHeatmapFigure,
    ScalingFigure,
)
from platorep.plots import Tables, draw_figure, fonts, save_figure
from platorep.plots.about import data_text, write_below
from platorep.plots.heatmap import num_digits
from platorep.plots.labels import legible, text_width
from platorep.plots.style import FONTS
from platorep.plots.tables import not_above_null
from platorep.plots.words import NOT_ABOVE_NULL, alignment_text

SIGN = "\N{CUNEIFORM SIGN A}"  # no font of ours has it


def test_a_figure_without_it_is_as_much_lower() -> None:
    tall, _ = draw_figure(two_by_two(), ScalingFigure())
    low, _ = draw_figure(two_by_two(), ScalingFigure(about=False))

    assert about(tall)
    assert not about(low)
    assert low.get_figheight() < tall.get_figheight()


def test_what_was_drawn_stays_where_it_was() -> None:
    figure = Figure(figsize=(3, 2))
    ax = figure.add_axes((0.2, 0.3, 0.6, 0.6))
    figure.text(0.5, 0.93, "up", gid="up")
    ax.plot([0, 1], [0, 1], label="line")
    figure.legend(loc="upper left", bbox_to_anchor=(0.3, 0.2))

    def places() -> list[float]:
        figure.draw_without_rendering()
        own = next(text for text in figure.texts if text.get_gid() == "up")
        boxes = [ax.get_window_extent(), own.get_window_extent()]
        boxes.append(figure.legends[0].get_window_extent())
        top = figure.get_figheight() * figure.dpi  # pixels from the top
        return [end for box in boxes for end in (box.x0, box.x1, top - box.y0, top - box.y1)]

    before = places()
    write_below(figure, "some words " * 20)

    assert places() == pytest.approx(before, abs=1)
    assert figure.get_figheight() > 2.3
    assert_readable(figure)


def test_rows_and_metrics_in_words() -> None:
    assert data_text("d", [1024.0, 1024.0, float("nan")], [KNN]) == (
        "d, n = 1,024 rows; mutual_knn, k\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}10."
    )
    assert data_text("d", [900.0, 1024.0], ["a", "b"]) == "d, n = 900 to 1,024 rows; 2 metrics."
    assert data_text("d", (), ()) == "d."


def test_scaling_says_where_a_random_model_stands_if_there_is_one() -> None:
    said = "A random language model stands at the x of its trained twin."

    assert said in about(draw_figure(two_by_two(), ScalingFigure())[0])
    assert said not in about(draw_figure(two_by_two(), ScalingFigure(controls=False))[0])


def test_axes_of_scores_are_called_the_same() -> None:
    for parameters in (ScalingFigure(), HeatmapFigure()):
        figure, _ = draw_figure(two_by_two(), parameters)
        assert alignment_text(KNN) in {text.get_text().replace("\n", " ") for text in texts(figure)}


# -- the null -------------------------------------------------------------------------------------


def with_thresholds() -> Tables:
    """Two models each with its null: one score above it by .0004, one at it, others far above."""
    tables = made_up(1, 1, controls=True)
    shown = tables.best["control"] == ""
    scores = [0.1004, 0.1, *np.linspace(0.11, 0.3, shown.sum() - 2)]
    best = tables.best.assign(null_mean=0.05, threshold=0.1)
    best.loc[shown, "score"] = scores
    best["calibrated"] = ((best["score"] - 0.1) / 0.9).clip(lower=0)
    return dataclasses.replace(tables, best=best)


@pytest.mark.parametrize("value", ["score", "calibrated"])
def test_heatmap_marks_what_is_not_above_the_threshold(value: str) -> None:
    tables = with_thresholds()

    figure, points = draw_figure(tables, HeatmapFigure(value=value, values=True))  # type: ignore[arg-type]

    best = tables.best[tables.best["control"] == ""]
    below = best[best["score"] <= best["threshold"]]
    marked = {
        tuple(str(patch.get_gid()).split("|")[1:])
        for patch in figure.axes[0].patches
        if str(patch.get_gid()).startswith("null|") and patch.get_hatch()
    }
    assert marked == set(zip(below["x"], below["y"], strict=True))
    assert len(marked) == 1
    assert NOT_ABOVE_NULL in [text.get_text() for text in figure.legends[0].get_texts()]
    printed = [t.get_text() for t in figure.axes[0].texts if t.get_gid() == "value"]
    levels = {"score": ".1000", "calibrated": ".0000"}
    assert printed.count(levels[value]) == 1  # the one at it; .1004 is told from it
    assert points.frame["not_above_null"].sum() == 1
    assert_readable(figure)


def test_without_a_null_nothing_is_marked_and_two_digits_do() -> None:
    figure, _ = draw_figure(two_by_two(), HeatmapFigure(values=True))

    assert not any(patch.get_hatch() for patch in figure.axes[0].patches)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no score"]


@pytest.mark.parametrize(
    ("score", "digits"), [(0.2, 2), (0.106, 2), (0.104, 3), (0.1004, 4), (0.1, 2), (0.10001, 4)]
)
def test_as_few_digits_as_tell_a_score_from_the_threshold(score: float, digits: int) -> None:
    cells = pd.DataFrame({"value": [score, 0.3], "score": [score, 0.3], "threshold": 0.1})

    assert num_digits(cells) == digits
    assert num_digits(cells[["value", "score"]]) == 2


def test_smaller_may_be_closer() -> None:
    distances = pd.DataFrame({"score": [0.2, 0.9], "threshold": [0.5, 0.5], "null_mean": 0.8})

    assert not_above_null(distances).tolist() == [False, True]
    assert not_above_null(distances[["score"]]).tolist() == [False, False]


def test_layer_heatmap_marks_layers_and_says_why_this_pair() -> None:
    tables = layer_pairs()
    best = tables.best.assign(null_mean=0.01, threshold=0.0185)
    tables = dataclasses.replace(tables, best=best)
    pair = (str(tables.scores["x"].iloc[0]), str(tables.scores["y"].iloc[0]))

    figure, points = draw_figure(tables, LayerHeatmapFigure())
    asked, _ = draw_figure(tables, LayerHeatmapFigure(pair=pair))

    frame = points.frame
    below = frame[(frame["score"] <= 0.0185) & ~frame["degenerate"]]
    hatched = [c for c in figure.axes[0].collections if str(c.get_gid()).startswith(NOT_ABOVE_NULL)]
    num = sum(int((~np.ma.getmaskarray(c.get_array())).sum()) for c in hatched)
    assert 0 < num == len(below) < len(frame)
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key[0] == "best layers (.029)"
    assert key[1].startswith(f"{NOT_ABOVE_NULL} (.0185")
    assert key[2].startswith("degenerate")
    (line,) = [line for line in figure.axes[1].lines if line.get_gid() == "threshold"]
    assert list(line.get_ydata()) == [0.0185, 0.0185]
    assert about(figure).endswith("The only pair of trained models with scores.")
    assert about(asked).endswith("The pair is the one asked for.")
    other = tables.scores.assign(y="vit_base_patch16_224.augreg_in21k", score=0.001)
    two = dataclasses.replace(tables, scores=pd.concat([tables.scores, other]))
    assert about(draw_figure(two, LayerHeatmapFigure())[0]).endswith(
        "Of 2 pairs of trained models the one with the highest score."
    )


def test_groups_say_why_this_pair() -> None:
    tables = tables_for("groups")
    first = tables.further["groups"].iloc[0]

    chosen, asked = (
        about(draw_figure(tables, parameters)[0])
        for parameters in (GroupsFigure(), GroupsFigure(pair=(first["x"], first["y"])))
    )

    assert "with" in chosen
    assert "The pair is the one asked for." in asked
    assert "asked for" not in chosen


# -- fonts ----------------------------------------------------------------------------------------


@pytest.fixture
def one_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with a single font, and in it a single letter, one em wide."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((900, 0), (500, 800)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "sign"])
    font.setupCharacterMap({ord(SIGN): "sign"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "sign": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "sign": (1000, 100)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "One Sign", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "OneSign-Regular.ttf")
    found = [str(tmp_path / "OneSign-Regular.ttf")]
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: found)
    caches = (fonts._installed, fonts._fallback, fonts._registered, text_width)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("one_font")
def test_an_installed_font_writes_what_ours_lack(tmp_path: Path) -> None:
    name = f"{SIGN}1"
    odd = with_names(two_by_two(), lambda old, i: f"{name}{i}")

    assert legible(name) == name
    assert fonts.needed_fonts(["plain"]) == FONTS
    *ours, further = fonts.needed_fonts([name])
    assert tuple(ours) == FONTS
    assert text_width(SIGN, 72.0) == pytest.approx(1, abs=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of letters that it cannot write
        figure, points = draw_figure(odd, ScalingFigure())
        save_figure(tmp_path / "figure", odd, HeatmapFigure())
    assert any(name in text.get_text() for text in texts(figure))
    families = {family for text in figure.findobj(Text) for family in text.get_fontfamily()}
    assert further in families
    assert not points.notes or not points.notes[-1].startswith("drawn ")
    assert_readable(figure)


@pytest.mark.usefixtures("one_font")
def test_without_a_font_it_is_escaped() -> None:
    assert legible("\N{ROCKET}") == ":rocket:"
    assert legible("\N{CUNEIFORM SIGN AB}") == "\\U0001200a"


def test_fonts_of_the_machine_change_no_plain_figure(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    here = save_figure(tmp_path / "here", two_by_two(), HeatmapFigure()).paths
    request.getfixturevalue("one_font")
    there = save_figure(tmp_path / "there", two_by_two(), HeatmapFigure()).paths

    assert [path.read_bytes() for path in here] == [path.read_bytes() for path in there]
    assert fonts._installed.cache_info().misses == 0  # nobody looked


def test_a_font_that_cannot_be_read_has_no_letters(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")

    assert fonts._characters(tmp_path / "broken.ttf") == frozenset()
    assert matplotlib.font_manager.findfont("DejaVu Sans")
