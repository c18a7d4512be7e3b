"""Figure 2: bins and their errors by hand, the map as planted, and what is not shown is said."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import BarContainer
from processes import Forks
from pydantic import ValidationError
from scipy.spatial import procrustes
from test_plots import assert_readable, vision_pairs

from platorep.errors import AbsentError
from platorep.parameters.figures import ConvergenceFigure
from platorep.plots import Tables, draw_figure
from platorep.plots.convergence import convergence_points

TWIN = Path(__file__).parent / "twins" / "convergence.yaml"


def bins_of(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["panel"] == "bin"].reset_index(drop=True)


def map_of(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["panel"] == "map"].reset_index(drop=True)


def test_bins_worked_by_hand() -> None:
    """eye0, eye1 at .1 and .15; eye2 at exactly .2, alone; eye3 ... eye5; none; eye6, eye7."""
    points = convergence_points(vision_pairs(), ConvergenceFigure())

    bins = bins_of(points.frame)
    assert list(bins["num_models"]) == [2, 1, 3, 0, 2]
    assert list(bins["num_pairs"]) == [1, 0, 3, 0, 1]
    pairs = [0.02 + s / 40 for s in (3 + 4, 3 + 5, 4 + 5)]
    assert list(bins["value"]) == pytest.approx(
        [0.02 + 1 / 40, np.nan, np.mean(pairs), np.nan, 0.02 + 13 / 40], nan_ok=True
    )
    # leaving one of three models out leaves one pair
    spread = np.sqrt(2 / 3 * np.sum((np.array(pairs) - np.mean(pairs)) ** 2))
    assert bins["stderr"].dropna().to_list() == pytest.approx([spread])
    assert list(bins["low"]) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert "no pair, so no alignment, in the bin from 0.2: one model" in points.notes
    assert "no standard error of the two models in the bin from 0" in points.notes


@pytest.mark.parametrize(
    ("share", "place"), [(0.0, 0), (0.2, 1), (0.6, 3), (3 / 5, 3), (0.8, 4), (1.0, 4), (0.1999, 0)]
)
def test_a_value_on_an_edge_belongs_to_the_upper_bin(share: float, place: int) -> None:
    points = convergence_points(vision_pairs((share, share, 0.5)), ConvergenceFigure())

    assert bins_of(points.frame)["num_models"].iloc[place] >= 2


def test_any_measure_and_any_range() -> None:
    tables = vision_pairs((-3.0, -2.0, -1.0, 0.0))

    outside = convergence_points(tables, ConvergenceFigure(range=(-2, 0), bins=2))
    own = convergence_points(tables, ConvergenceFigure(range=None, bins=3))

    assert list(bins_of(outside.frame)["num_models"]) == [1, 2]
    assert "outside of -2 ... 0, so in no bin: eye0" in outside.notes
    assert list(bins_of(own.frame)["num_models"]) == [1, 1, 2]
    same = convergence_points(vision_pairs((0.3,) * 3), ConvergenceFigure(range=None))
    assert list(bins_of(same.frame)["num_models"]) == [3]
    with pytest.raises(ValidationError, match="first end must be the lower"):
        ConvergenceFigure(range=(1, 0))


def test_the_figure_shows_the_bins_and_counts_them() -> None:
    figure, points = draw_figure(vision_pairs(), ConvergenceFigure())

    ax = figure.axes[0]
    bins = bins_of(points.frame)
    (bars,) = [c for c in ax.containers if isinstance(c, BarContainer)]
    assert [bar.get_height() for bar in bars] == pytest.approx(list(bins["value"].dropna()))
    counts = [text.get_text() for text in ax.texts if text.get_gid() == "count"]
    assert counts == ["2 models", "1 model,\nno pair", "3 models", "0 models", "2 models"]
    shown = {str(line.get_gid()): line.get_xydata()[0] for line in figure.axes[1].lines}
    for _, model in map_of(points.frame).iterrows():
        assert list(shown[f"model|{model['model']}"]) == [model["x"], model["y"]]
    assert_readable(figure)


def planted(places: np.ndarray) -> Tables:
    """Models whose -log(score) are the distances of `places`."""
    tables = vision_pairs((0.1,) * len(places))
    apart = np.linalg.norm(places[:, None] - places[None, :], axis=-1)
    number = {label: i for i, label in enumerate(tables.models["label"])}
    i, j = (tables.best[side].map(number).to_numpy() for side in ("x", "y"))
    return dataclasses.replace(tables, best=tables.best.assign(score=np.exp(-apart[i, j])))


def test_the_map_is_the_planted_plane() -> None:
    places = np.random.default_rng(0).normal(size=(9, 2))

    points = convergence_points(planted(places), ConvergenceFigure(layout="mds"))

    found = map_of(points.frame)
    assert procrustes(places, found[["x", "y"]].to_numpy())[2] < 1e-4
    assert found["stress"].iloc[0] < 1e-3
    again = convergence_points(planted(places), ConvergenceFigure(layout="mds")).frame
    pd.testing.assert_frame_equal(again, points.frame, check_exact=True)


def test_scores_that_are_not_positive_have_a_written_distance() -> None:
    """eye0 x eye1 below 0, the smallest positive score .3: -log(.15), the largest distance."""
    tables = planted(np.array([[0.0, 0], [1, 0], [0.5, 0.5]]))
    tables.best["score"] = [-0.2, 0.3, 0.6]

    points = convergence_points(tables, ConvergenceFigure())

    assert any("1 scores are not positive" in note and "0.15" in note for note in points.notes)
    found = map_of(points.frame)[["x", "y"]].to_numpy()
    # .6 and .3 are -log = .51 and 1.20 away; their sum is less than -log .15 = 1.90: a line
    assert np.ptp(found[:, 0]) == pytest.approx(1.87, abs=0.05)
    assert np.ptp(found[:, 1]) < 0.1
    tables.best["score"] = 0.0
    none = convergence_points(tables, ConvergenceFigure())
    assert "no map: no score is positive, so none has a distance" in none.notes
    figure, _ = draw_figure(tables, ConvergenceFigure())
    assert len(figure.axes) == 1
    assert_readable(figure)


def test_both_ways_round_are_one_pair() -> None:
    tables = vision_pairs((0.1, 0.1, 0.1))
    turned = tables.best.rename(columns={"x": "y", "y": "x"}).assign(score=tables.best["score"] + 1)
    both = dataclasses.replace(tables, best=pd.concat([tables.best, turned], ignore_index=True))

    one, two = (bins_of(convergence_points(t, ConvergenceFigure()).frame) for t in (tables, both))

    assert list(two["num_pairs"]) == list(one["num_pairs"])
    assert two["value"].iloc[0] == pytest.approx(one["value"].iloc[0] + 0.5)


def test_what_is_missing_is_said() -> None:
    tables = vision_pairs((0.1, 0.1, 0.1, 0.1, None))
    best = tables.best.copy()
    lacks = (best["x"] == "eye0") & (best["y"] == "eye1")
    best.loc[lacks, ["score", "reason"]] = [np.nan, "a layer holds NaN"]

    figure, points = draw_figure(dataclasses.replace(tables, best=best), ConvergenceFigure())

    said = " | ".join(points.notes)
    assert "no score, so not shown: eye0 x eye1 (a layer holds NaN)" in said
    assert "no tasks_solved, so in no bin: eye4" in said
    assert "bin from 0: 5 of 6 pairs scored" in said
    assert "not scored with all others, so not on the map: eye0" in said
    found = map_of(points.frame).set_index("model")
    assert set(found.index) == {"eye1", "eye2", "eye3", "eye4"}
    assert np.isnan(found.loc["eye4", "value"])
    assert_readable(figure)


def test_random_copies_take_part_only_if_asked() -> None:
    tables = vision_pairs()
    copy = tables.models["label"] == "eye7"
    tables.models.loc[copy, ["random", "random_of"]] = [True, "eye6"]
    own = tables.models["label"] == "eye0"  # listed by the user, a copy of nothing
    tables.models.loc[own, "random"] = True

    without = map_of(convergence_points(tables, ConvergenceFigure()).frame).set_index("model")
    figure, points = draw_figure(tables, ConvergenceFigure(controls=True))

    assert "eye7" not in without.index
    assert without.loc["eye0", "random"]
    assert map_of(points.frame).set_index("model").loc["eye7", "random"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "random weights" in legend
    assert_readable(figure)


def test_nothing_to_draw_says_why() -> None:
    tables = vision_pairs((0.1, 0.2))
    with pytest.raises(AbsentError, match=r"pairs: \[\[language, language\]\]"):
        convergence_points(tables, ConvergenceFigure(models="language"))
    with pytest.raises(AbsentError, match="no vision model has a hellaswag"):
        convergence_points(tables, ConvergenceFigure(measure="hellaswag"))
    two = convergence_points(tables, ConvergenceFigure())
    assert "no map: it needs 3 models that were scored with each other" in two.notes


@pytest.fixture(scope="module")
def twin(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of the offline twin of prh-vision, from its YAML through the command line."""
    folder = tmp_path_factory.mktemp("twin")
    ended = forks.run(
        *("run", str(TWIN), "--offline", "--quiet", "--output", "results"),
        folder=folder,
        cache=folder / "cache",
    )
    assert ended.code == 0, ended.stderr
    return folder / "results"


def test_the_twin_of_prh_vision(twin: Path) -> None:
    for name in ("convergence", "with-controls"):
        assert (twin / "figures" / f"{name}.png").stat().st_size > 10_000
    frame = pd.read_csv(twin / "figures" / "convergence.csv")
    best = pd.read_csv(twin / "best.csv", keep_default_na=False)
    narrow = ["conv4", "conv4-seed1", "conv4-seed2"]  # .05, .1 and .19
    pairs = best[best["x"].isin(narrow) & best["y"].isin(narrow)]
    bins = bins_of(frame)
    assert list(bins["num_models"]) == [3, 1, 0, 0, 1]
    assert bins["value"].iloc[0] == pytest.approx(pairs["score"].mean())
    assert bins["value"].iloc[1:].isna().all()
    controls = map_of(pd.read_csv(twin / "figures" / "with-controls.csv"))
    assert controls["random"].sum() == 5
    assert len(map_of(frame)) == 5


def test_a_measure_on_another_scale_is_said() -> None:
    with pytest.raises(AbsentError, match=r"outside of 0 \.\.\. 1 \(from 50 to 70\)"):
        convergence_points(vision_pairs((50.0, 60.0, 70.0)), ConvergenceFigure())
