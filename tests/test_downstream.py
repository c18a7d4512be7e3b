"""Figure 4: alignments and curves by hand, planted shapes are told apart, gaps are said."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import Forks
from scipy.special import expit
from scipy.stats import linregress
from sklearn.metrics import r2_score
from test_plots import KNN, assert_readable

from platorep.errors import AbsentError, UnknownNameError
from platorep.parameters.figures import DownstreamFigure, ReferenceModels
from platorep.plots import Tables, draw_figure
from platorep.plots.downstream import downstream_points

TWIN = Path(__file__).parent / "twins" / "downstream.yaml"


def planted(x: np.ndarray, y: np.ndarray, *, families: int = 2, stderr: bool = False) -> Tables:
    """Language models at `x` with an eye, at `x` + .02 with another, that score `y` on gsm8k."""
    labels = [f"lm{i}" for i in range(len(x))]
    eyes = ["eye0", "eye1"]
    models = pd.DataFrame(
        {
            "label": [*labels, *eyes],
            "family": [f"LM {i % families}" for i in range(len(x))] + ["net"] * 2,
            "modality": ["language"] * len(x) + ["vision"] * 2,
            "num_parameters": [1e6 * (i + 1) for i in range(len(x))] + [1e6] * 2,
            "order": range(len(x) + 2),
        }
    ).assign(random=False, random_of="", num_layers=3)
    rows = [
        {"x": label, "y": eye, "score": float(place) + shift, "low": float(place) + shift - 0.01,
         "high": float(place) + shift + 0.03}
        for label, place in zip(labels, x, strict=True)
        for eye, shift in (("eye0", 0.0), ("eye1", 0.02))
    ]  # fmt: skip
    best = pd.DataFrame(rows).assign(
        dataset="d", control="", metric=KNN, chance=0.01, n=1001, k=10, reason="",
        x_modality="language", y_modality="vision", x_random=False, y_random=False,
    )  # fmt: skip
    performance = pd.DataFrame({"model": labels, "measure": "gsm8k", "value": y, "source": "made"})
    if stderr:
        performance["stderr"] = 0.02
    return Tables(best=best, performance=performance, models=models)


def of_role(frame: pd.DataFrame, role: str) -> pd.DataFrame:
    return frame[frame["role"] == role].reset_index(drop=True)


PLACES = np.linspace(0.05, 0.16, 12)


def test_points_and_line_worked_by_hand() -> None:
    y = np.array([0.1, 0.3, 0.2, 0.5, 0.4, 0.6, 0.5, 0.7, 0.9, 0.7, 0.8, 0.9])

    points = downstream_points(planted(PLACES, y, stderr=True), DownstreamFigure(y="gsm8k"))

    models, line = of_role(points.frame, "model"), of_role(points.frame, "linear")
    assert list(models["x"]) == pytest.approx(list(PLACES + 0.01))  # mean of two eyes
    assert list(models["low"]) == pytest.approx(list(PLACES))
    assert list(models["high"]) == pytest.approx(list(PLACES + 0.04))
    assert list(models["y"]) == list(y)
    assert set(models["stderr"]) == {0.02}
    theirs = linregress(PLACES + 0.01, y)
    assert line["slope"].iloc[0] == pytest.approx(theirs.slope)
    assert line["intercept"].iloc[0] == pytest.approx(theirs.intercept)
    assert line["r2"].iloc[0] == pytest.approx(theirs.rvalue**2)
    assert list(line["y"]) == pytest.approx(list(theirs.intercept + theirs.slope * line["x"]))
    rss = np.sum((y - theirs.intercept - theirs.slope * (PLACES + 0.01)) ** 2)
    assert line["aicc"].iloc[0] == pytest.approx(12 * np.log(rss / 12) + 6 + 24 / 8)


@pytest.mark.parametrize("shape", ["linear", "sigmoid"])
def test_a_planted_shape_is_preferred_and_solid(shape: str) -> None:
    noise = 0.01 * np.random.default_rng(1).standard_normal(12)
    y = (5 * PLACES if shape == "linear" else 0.6 * expit((PLACES - 0.12) / 0.004)) + noise
    tables = planted(PLACES, y)

    figure, points = draw_figure(tables, DownstreamFigure(y="gsm8k"))

    curves = points.frame[points.frame["role"] != "model"].drop_duplicates("role")
    assert set(curves["role"]) == {"linear", "sigmoid"}
    assert list(curves.loc[curves["preferred"].astype(bool), "role"]) == [shape]
    assert any(note.startswith(f"{shape} preferred over 12 models") for note in points.notes)
    solid = {str(c.get_gid()) for c in figure.axes[0].lines
             if str(c.get_gid()).startswith("curve|") and c.get_linestyle() == "-"}  # fmt: skip
    assert solid == {f"curve|{shape}"}
    assert_readable(figure)


def test_a_measure_that_follows_alignment_is_told_from_shuffled_rows() -> None:
    tables = planted(PLACES[:6], PLACES[:6] ** 2)
    shuffled = tables.best.assign(control="shuffled")
    shuffled["score"] = shuffled["x"].map({f"lm{i}": z for i, z in enumerate([3, 1, 5, 2, 6, 4])})
    tables = dataclasses.replace(tables, best=pd.concat([tables.best, shuffled]))

    points = downstream_points(tables, DownstreamFigure(y="gsm8k"))

    first = points.frame.iloc[0]
    assert (first["spearman"], first["spearman_p"]) == (pytest.approx(1), pytest.approx(2 / 720))
    assert first["spearman_shuffled"] == pytest.approx(1 - 6 * 18 / (6 * 35))
    assert first["spearman_shuffled_p"] > 0.05
    assert any("over 6 models, p 0.0028 over orders" in note for note in points.notes)


def test_the_reference_is_a_family_a_model_or_a_modality() -> None:
    tables = planted(PLACES, PLACES)

    def places(**reference: str) -> list[float]:
        chosen = DownstreamFigure(y="gsm8k", reference=ReferenceModels(**reference))
        return list(of_role(downstream_points(tables, chosen).frame, "model")["x"])

    assert places(family="net") == places(modality="vision") == pytest.approx(PLACES + 0.01)
    assert places(model="eye1") == pytest.approx(PLACES + 0.02)
    turned = {"x": "y", "y": "x", "x_modality": "y_modality", "y_modality": "x_modality"}
    tables = dataclasses.replace(tables, best=tables.best.rename(columns=turned))
    assert places(model="eye1") == pytest.approx(PLACES + 0.02)
    with pytest.raises(AbsentError, match="no trained model matches the reference"):
        places(family="DINOv2")


def test_held_out_families_take_no_part_in_the_fit() -> None:
    """The new family lies off the line of the old by a step: R2 on it by scikit-learn."""
    y = 5 * PLACES + np.where(np.arange(12) % 2 == 1, 0.8, 0.0)
    tables = planted(PLACES, y)

    figure, points = draw_figure(tables, DownstreamFigure(y="gsm8k", held_out=("LM 1",)))

    models, line = of_role(points.frame, "model"), of_role(points.frame, "linear").iloc[0]
    old, new = (models[models["held_out"].astype(bool) == out] for out in (False, True))
    theirs = linregress(old["x"], old["y"])
    assert line["slope"] == pytest.approx(theirs.slope)
    assert line["r2_held_out"] == pytest.approx(
        r2_score(new["y"], theirs.intercept + theirs.slope * new["x"])
    )
    assert line["r2_held_out"] < 0  # worse than the mean of the new ones: a finding
    assert (line["num_points"], line["num_held_out"]) == (6, 6)
    shown = [line for line in figure.axes[0].lines if str(line.get_gid()).startswith("model|")]
    open_markers = {line.get_gid() for line in shown if line.get_markerfacecolor() == "white"}
    assert open_markers == {"model|LM 1"}
    assert any("linear, held out (LM 1, 6 models): R2 " in note for note in points.notes)
    assert_readable(figure)
    with pytest.raises(UnknownNameError, match="LM 0"):
        downstream_points(tables, DownstreamFigure(y="gsm8k", held_out=("LM0",)))


def test_one_model_held_out_has_an_error_but_no_r2() -> None:
    tables = planted(PLACES[:7], 5 * PLACES[:7], families=7)

    points = downstream_points(tables, DownstreamFigure(y="gsm8k", held_out=("LM 6",)))

    assert np.isnan(of_role(points.frame, "linear")["r2_held_out"]).all()
    assert any("none of one model, root mean square error" in note for note in points.notes)


@pytest.mark.parametrize(
    ("y", "note"),
    [
        ([0.1, 0.2, 0.4], "linear only: a sigmoid needs 4 models, found 3"),
        ([0.25] * 6, "linear only: gsm8k is the same in all 6 models"),
        ([-0.5, -0.4, -0.3, -0.2, -0.3], "linear only: no sigmoid from floor 0 fits gsm8k"),
        ([0.1, 0.2, 0.4, 0.5, 0.5], "5 models are too few for AICc"),
    ],
)
def test_where_the_curves_cannot_be_compared(y: list[float], note: str) -> None:
    tables = planted(PLACES[: len(y)], np.array(y))

    figure, points = draw_figure(tables, DownstreamFigure(y="gsm8k"))

    assert any(note in said for said in points.notes), points.notes
    line = of_role(points.frame, "linear")
    assert line["preferred"].all()
    assert not np.isnan(line["y"]).any()
    assert_readable(figure)


def test_equal_alignment_has_no_curve() -> None:
    tables = planted(np.full(5, 0.1), np.arange(5.0))

    figure, points = draw_figure(tables, DownstreamFigure(y="gsm8k"))

    assert set(points.frame["role"]) == {"model"}
    assert "no curve: over 5 models alignment does not vary" in points.notes
    assert_readable(figure)


def test_what_is_missing_is_said_in_the_figure() -> None:
    tables = planted(PLACES, 5 * PLACES)
    gap = tables.best.index[(tables.best["x"] == "lm3") & (tables.best["y"] == "eye1")]
    tables.best.loc[gap, "score"] = np.nan
    few = dataclasses.replace(tables, performance=tables.performance.iloc[2:])

    figure, points = draw_figure(few, DownstreamFigure(y="gsm8k"))

    assert "no gsm8k, so not shown: lm0, lm1" in points.notes
    assert "no score with all of the 2 reference models, so not shown: lm3" in points.notes
    assert len(of_role(points.frame, "model")) == 9
    assert any("9 of 12 models have a number" in t.get_text() for t in figure.texts)
    assert_readable(figure)
    none = dataclasses.replace(tables, performance=tables.performance.iloc[:0])
    with pytest.raises(AbsentError, match="no language model has both gsm8k"):
        draw_figure(none, DownstreamFigure(y="gsm8k"))


@pytest.mark.parametrize("num", [1, 20])
def test_drawn_at_both_widths_with_and_without_names(num: int) -> None:
    rng = np.random.default_rng(num)
    x = np.sort(rng.uniform(0.05, 0.16, num))
    tables = planted(x, 0.25 + 3 * x, families=7, stderr=True)

    for width in ("single", "double"):
        for names in (True, False):
            figure, _ = draw_figure(
                tables, DownstreamFigure(y="gsm8k", width=width, names=names, floor=0.25)
            )
            assert_readable(figure)


@pytest.mark.usefixtures("shapes_unchecked")
def test_the_twin_of_prh_downstream(forks: Forks, tmp_path: Path) -> None:
    ended = forks.run(
        *("run", str(TWIN), "--offline", "--quiet", "--output", "results"),
        folder=tmp_path,
        cache=tmp_path / "cache",
    )
    assert ended.code == 0, ended.stderr

    figures = tmp_path / "results" / "figures"
    for name in ("downstream", "held-out", "scaling", "layers"):
        assert (figures / f"{name}.png").stat().st_size > 10_000
    best = pd.read_csv(tmp_path / "results" / "best.csv", keep_default_na=False)
    table = pd.read_csv(TWIN.with_suffix(".csv")).set_index("model")["value"]
    frame = pd.read_csv(figures / "downstream.csv")
    models = of_role(frame, "model").set_index("model")
    for label, rows in best.groupby("x"):
        assert models.loc[label, "x"] == pytest.approx(rows["score"].mean())
        assert models.loc[label, "y"] == pytest.approx(table[label])
    theirs = linregress(models["x"], models["y"])
    assert of_role(frame, "linear")["slope"].iloc[0] == pytest.approx(theirs.slope)
    held_out = of_role(pd.read_csv(figures / "held-out.csv"), "model")
    assert set(held_out.loc[held_out["held_out"].astype(bool), "family"]) == {"new Llamas"}
