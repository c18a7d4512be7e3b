"""Figures: what is drawn is what the CSV says, no label covers another, odd tables are drawn."""

import dataclasses
import itertools
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from caption_views import density_tables
from changed_views import changed_tables
from difference_tables import difference_tables
from geometry_tables import geometry_tables
from group_tables import group_tables
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from observation_tables import observation_tables
from pydantic import TypeAdapter, ValidationError
from sense_tables import sense_tables

from platorep.errors import AbsentError, ConfigError, UnknownNameError
from platorep.parameters.figures import (
    CalibrationFigure,
    ConvergenceFigure,
    FigureConfig,
    HeatmapFigure,
    KSweepFigure,
    LayerHeatmapFigure,
    LayersFigure,
    MetricCorrelationFigure,
    MetricGridFigure,
    ScalingFigure,
    figure_names,
)
from platorep.plots import FIGURES, Tables, draw_figure, save_figure
from platorep.plots.fonts import can_write
from platorep.plots.labels import (
    format_count,
    legible_frame,
    name_and_size,
    short_names,
    spread,
    text_width,
    wrap,
)
from platorep.plots.measures import values_of
from platorep.plots.saving import write_figure
from platorep.plots.style import figure_style

KNN = "mutual_knn{k: 10}"
VISION = {
    "IN21k": ["vit_tiny_patch16_224.augreg_in21k", "vit_base_patch16_224.augreg_in21k"],
    "MAE": ["vit_base_patch16_224.mae", "vit_large_patch16_224.mae", "vit_huge_patch14_224.mae"],
    "DINOv2": [f"vit_{s}_patch14_dinov2.lvd142m" for s in ("small", "base", "large", "giant")],
    "CLIP": ["vit_base_patch16_clip_224.laion2b", "vit_large_patch14_clip_224.laion2b"],
    "CLIP, fine-tuned on ImageNet": ["vit_base_patch16_clip_224.laion2b_ft_in12k"],
    "ConvNeXt": ["convnext_base.fb_in22k"],
    "toy": ["conv4", "conv8"],
}
LANGUAGE = {
    "bloomz": [f"bloomz-{s}" for s in ("560m", "1b1", "1b7", "3b", "7b1")],
    "llama": [f"llama-{s}" for s in ("7b", "13b", "30b", "65b")],
    "open_llama": [f"open_llama_{s}" for s in ("3b", "7b", "13b")],
    "OLMo": ["OLMo-1B-hf", "OLMo-7B-hf"],
    "gemma": ["gemma-2b", "gemma-7b"],
    "Mistral": ["Mistral-7B-v0.1", "Mixtral-8x7B-v0.1"],
    "Meta-Llama-3": ["Meta-Llama-3-8B", "Meta-Llama-3-70B"],
}


def made_up(
    num_language: int = 7, num_vision: int = 3, *, controls: bool = False, shift: float = 0.0
) -> Tables:
    """Tables of the first families; `controls` adds every kind of control, and a null."""
    rng = np.random.default_rng(0)
    models = []
    for modality, families in (("language", LANGUAGE), ("vision", VISION)):
        chosen = list(families.items())[: num_language if modality == "language" else num_vision]
        for family, labels in chosen:
            for size, label in enumerate(labels):
                row = {
                    "label": label,
                    "family": family,
                    "modality": modality,
                    "random": False,
                    "random_of": "",
                    "num_parameters": 10.0 ** (7 + size / 2),
                    "order": len(models),
                    "num_layers": 12,
                }
                models.append(row)
                if controls:
                    models.append(row | {"label": f"{label} (random)", "random": True,
                                         "random_of": label, "order": len(models)})  # fmt: skip
    performance = [
        {"model": m["label"], "measure": "bits_per_byte", "value": v, "source": "made up"}
        for m in models
        if m["modality"] == "language" and not m["random"]
        for v in [1.2 - 0.03 * len(models) / 40 - rng.uniform(0, 0.6)]
    ]
    best = []
    for x, y in itertools.product(models, models):
        if (x["modality"], y["modality"]) != ("language", "vision"):
            continue
        for control in ("", "shuffled") if controls else ("",):
            row = {"dataset": "made-up", "control": control, "metric": KNN}
            for side, model in (("x", x), ("y", y)):
                row |= {
                    side: model["label"],
                    f"{side}_family": model["family"],
                    f"{side}_modality": model["modality"],
                    f"{side}_random": model["random"],
                    f"layer_{side}": 3,
                    f"num_layers_{side}": 12,
                }
            score = 0.014 if control else 0.1 + rng.uniform(0, 0.05) + shift
            row |= {"score": score, "chance": 10 / 1023, "n": 1024, "k": 10, "reason": ""}
            if controls:
                row |= {"null_mean": 0.013, "threshold": 0.016, "p": 0.001, "calibrated": score / 2}
            best.append(row)
    return Tables(
        best=pd.DataFrame(best),
        performance=pd.DataFrame(performance),
        models=pd.DataFrame(models),
    )


def layer_pairs(num_x: int = 3, num_y: int = 4) -> Tables:
    """One pair with its best score in a degenerate layer, the second best at (2, 1)."""
    tables = made_up(1, 1)
    rows = [
        {"x": "bloomz-560m", "y": VISION["IN21k"][0], "control": "", "metric": KNN,
         "layer_x": i, "layer_y": j, "score": 0.01 * (i + 1) - 0.001 * j, "degenerate": j == 0}
        for i in range(num_x)
        for j in range(num_y)
    ]  # fmt: skip
    return Tables(
        best=tables.best,
        performance=tables.performance,
        models=tables.models,
        scores=pd.DataFrame(rows),
    )


def vision_pairs(
    solved: tuple[float | None, ...] = (0.1, 0.15, 0.2, 0.5, 0.55, 0.59, 0.95, 1.0),
) -> Tables:
    """Vision models, two of a family, with the share of tasks that they solve; all pairs scored."""
    labels = [f"eye{i}" for i in range(len(solved))]
    models = pd.DataFrame(
        {"label": labels, "family": [f"family {i // 2}" for i in range(len(labels))]}
    ).assign(modality="vision", random=False, random_of="", num_parameters=1e6, num_layers=3)
    rows = [
        {"x": labels[i], "y": labels[j], "score": 0.02 + (i + j) / 40}
        for i, j in itertools.combinations(range(len(labels)), 2)
    ]
    best = pd.DataFrame(rows).assign(
        dataset="d", control="", metric=KNN, chance=0.01, n=1001, k=10, reason="",
        x_modality="vision", y_modality="vision", x_random=False, y_random=False,
        x_family="", y_family="",
    )  # fmt: skip
    performance = pd.DataFrame({"model": labels, "measure": "tasks_solved", "value": solved})
    return Tables(
        best=best,
        performance=performance.dropna(),
        models=models.assign(order=range(len(labels))),
    )


def texts(figure: Figure) -> Iterator[Text]:
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            yield text


def about(figure: Figure) -> str:
    """What stands below."""
    found = [text.get_text() for text in figure.texts if text.get_gid() == "about"]
    return " ".join(found).replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


def assert_readable(figure: Figure) -> None:
    """Every text is at least 6 points, inside the figure, and covers no other."""
    figure.set_dpi(300)
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.get_size_inches() * 300
    drawn = []
    for ax in figure.axes:  # ticks outside the limits are never drawn, but findobj lists them
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not min(low, high) - 1e-9 <= tick.get_loc() <= max(low, high) + 1e-9:
                    tick.label1.set_visible(False)
                    tick.label2.set_visible(False)
    for text in texts(figure):
        box = text.get_window_extent(renderer)
        assert text.get_fontsize() >= 6, text
        outside = min(box.x0, box.y0, width - box.x1, height - box.y1)
        assert outside >= -1, (text, box, width, height)
        drawn.append((text, box))
    for (one, a), (other, b) in itertools.combinations(drawn, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or down <= 1, (one, other, a, b)


def points_on(axes: list[Axes]) -> list[tuple[str, str, float, float]]:
    """Role, line, x and y of every point that a scaling figure's artists hold."""
    found = []
    for line in (artist for ax in axes for artist in ax.get_children()):
        role, _, label = str(line.get_gid()).partition("|")
        if isinstance(line, Line2D) and label and role != "join":
            x, y = line.get_data()
            found += [(role, label, float(a), float(b)) for a, b in zip(x, y, strict=True)]
    return sorted(found)


SIZES = [(1, 1, False), (7, 1, True), (1, 7, True), (3, 5, False), (7, 7, True)]


@pytest.mark.parametrize("x", ["bits_per_byte", "num_parameters"])
@pytest.mark.parametrize(("num_language", "num_vision", "controls"), SIZES)
def test_scaling_shows_its_points_and_every_label(
    num_language: int, num_vision: int, controls: bool, x: str
) -> None:
    tables = made_up(num_language, num_vision, controls=controls)

    figure, points = draw_figure(tables, ScalingFigure(x=x))

    frame = points.frame[points.frame["role"] != "correlation"]
    wanted = zip(frame["role"], frame["line"], frame["x"], frame["score"], strict=True)
    assert points_on(figure.axes) == sorted(wanted)
    assert set(frame["role"]) - {"trend"} == (
        {"trained", "random line", "random point", "shuffled"} if controls else {"trained"}
    )
    assert_readable(figure)


@pytest.mark.parametrize("width", ["single", "double"])
def test_scaling_at_both_widths_of_print(width: typing.Literal["single", "double"]) -> None:
    figure, _ = draw_figure(made_up(3, 3, controls=True), ScalingFigure(width=width))

    assert figure.get_figwidth() == pytest.approx({"single": 3.3, "double": 6.9}[width])
    assert_readable(figure)


def test_the_joining_line_goes_through_the_points_in_order() -> None:
    figure, points = draw_figure(made_up(3, 1), ScalingFigure())

    trained = points.frame[points.frame["role"] == "trained"]
    for label, rows in trained.groupby("line"):
        (joined,) = [line for line in figure.axes[0].lines if line.get_gid() == f"join|{label}"]
        assert list(joined.get_xdata()) == sorted(rows["x"])
        assert sorted(joined.get_ydata()) == sorted(rows["score"])


def test_connect_family_joins_no_two_families() -> None:
    figure, points = draw_figure(made_up(2, 1), ScalingFigure(connect="family"))

    families = points.frame.set_index("x")["point_family"]
    for line in figure.axes[0].lines:
        if str(line.get_gid()).startswith("join"):
            assert families[list(line.get_xdata())].nunique() == 1


@pytest.mark.parametrize("num_vision", [1, 3])
def test_points_without_names(num_vision: int) -> None:
    """For many checkpoints: the points stay, their names and guides do not."""
    tables = made_up(4, num_vision, controls=True)

    figure, points = draw_figure(tables, ScalingFigure(names=False))

    assert len(points_on(figure.axes)) == (points.frame["role"] != "correlation").sum()
    shown = {text.get_text().split()[0] for text in texts(figure) if text.get_text().strip()}
    assert not shown & set(points.frame["point"].dropna())
    assert not any(line.get_gid() == "guide" for ax in figure.axes for line in ax.lines)
    assert_readable(figure)


def two_by_two() -> Tables:
    """Two language models (0.9 and 0.7 bits per byte), one vision model, a random copy of each."""
    models = pd.DataFrame(
        [
            ("small", "lm", "language", False, "", 1e6, 0),
            ("large", "lm", "language", False, "", 1e7, 1),
            ("eye", "net", "vision", False, "", 1e6, 2),
            ("large (random)", "lm", "language", True, "large", 1e7, 3),
            ("eye (random)", "net", "vision", True, "eye", 1e6, 4),
        ],
        columns=["label", "family", "modality", "random", "random_of", "num_parameters", "order"],
    ).assign(num_layers=3)
    performance = pd.DataFrame(
        {"model": ["small", "large"], "measure": "bits_per_byte", "value": [0.9, 0.7], "source": ""}
    )
    traits = models.set_index("label")
    rows = [
        ("small", "eye", "", 0.1),
        ("large", "eye", "", 0.2),
        ("large (random)", "eye", "", 0.05),
        ("large", "eye (random)", "", 0.03),
        ("large (random)", "eye (random)", "", 0.02),
        ("large", "eye", "shuffled", 0.01),
    ]
    best = pd.DataFrame(rows, columns=["x", "y", "control", "score"])
    for side in ("x", "y"):
        for trait in ("family", "modality", "random"):
            best[f"{side}_{trait}"] = best[side].map(traits[trait])
        best[f"layer_{side}"] = 1
    best = best.assign(dataset="d", metric=KNN, chance=0.01, n=1001, k=10, reason="")
    return Tables(best=best, performance=performance, models=models)


def test_scaling_worked_by_hand() -> None:
    points = FIGURES["scaling"].points(two_by_two(), ScalingFigure()).frame

    found = {
        (r["role"], r["line"], r["point"], round(r["x"], 9), r["score"])
        for _, r in points.iterrows()
    }
    assert found == {
        ("trained", "eye", "small", 0.1, 0.1),
        ("trained", "eye", "large", 0.3, 0.2),
        ("random point", "eye", "large (random)", 0.3, 0.05),  # at the x of its trained twin
        ("random line", "eye (random)", "large", 0.3, 0.03),
        ("shuffled", "eye", "large", 0.3, 0.01),
    }


@pytest.mark.parametrize(
    ("measure", "better", "turned"),
    [
        ("bits_per_byte_of_captions", "lower", True),  # the measure says it, not its name
        ("error", "lower", True),
        ("bits_per_byte", "higher", False),
        ("accuracy", "higher", False),
        ("bits_per_byte", None, True),  # tables from before 0.2.0 do not say it
        ("accuracy", None, False),
    ],
)
def test_a_measure_says_itself_what_is_better(
    measure: str, better: str | None, turned: bool
) -> None:
    tables = two_by_two()
    performance = tables.performance.assign(measure=measure)
    if better:
        performance = performance.assign(better=better)
    measured = dataclasses.replace(tables, performance=performance)

    figure, points = draw_figure(measured, ScalingFigure(x=measure))

    trained = points.frame[points.frame["role"] == "trained"].set_index("point")["x"]
    assert dict(trained.round(9)) == (
        {"small": 0.1, "large": 0.3} if turned else {"small": 0.9, "large": 0.7}
    )
    (label,) = [text for text in texts(figure) if "performance" in text.get_text()]
    name = ("1 \N{MINUS SIGN} " if turned else "") + measure.replace("_", " ")
    assert f"({name})" in label.get_text()
    value = pd.Series([0.9, 0.7], ["small", "large"])
    assert (values_of(measure, measured) == (1 - value if turned else value)).all()


def test_every_figure_over_a_measure_turns_it() -> None:
    """The same pictures, but for the name, of captions' bits per byte as of a corpus'."""
    tables = many_metrics(2, 2)
    renamed = tables.performance.assign(measure="bits_per_byte_of_captions", better="lower")
    other = dataclasses.replace(tables, performance=renamed)
    for kind in (MetricGridFigure, CalibrationFigure, KSweepFigure):
        plain, own = (
            FIGURES[kind().kind].points(of, kind(x=x)).frame
            for of, x in ((tables, "bits_per_byte"), (other, "bits_per_byte_of_captions"))
        )
        pd.testing.assert_frame_equal(plain.drop(columns="measure"), own.drop(columns="measure"))
        assert set(own["measure"]) == {"1 \N{MINUS SIGN} bits per byte of captions"}


def test_scaling_does_not_care_which_model_is_x() -> None:
    tables = two_by_two()
    ends = ("", "_family", "_modality", "_random")
    pairs = [(f"x{end}", f"y{end}") for end in ends] + [("layer_x", "layer_y")]
    swapped = dict(pairs) | {y: x for x, y in pairs}
    turned = Tables(
        best=tables.best.rename(columns=swapped),
        performance=tables.performance,
        models=tables.models,
    )

    points = FIGURES["scaling"].points

    pd.testing.assert_frame_equal(
        points(turned, ScalingFigure()).frame, points(tables, ScalingFigure()).frame
    )


def test_scaling_within_one_modality_uses_a_pair_for_both_models() -> None:
    tables = two_by_two()
    best = tables.best.iloc[[0]].assign(x="small", y="large", y_family="lm", y_modality="language")
    within = Tables(best=best, performance=tables.performance, models=tables.models)

    points = FIGURES["scaling"].points(within, ScalingFigure(lines="language")).frame

    assert set(zip(points["line"], points["point"], strict=True)) == {
        ("small", "large"),
        ("large", "small"),
    }


def test_what_is_left_out_is_said() -> None:
    tables = two_by_two()
    tables.best.loc[1, ["score", "reason"]] = [float("nan"), "a layer holds NaN"]
    incomplete = Tables(
        best=tables.best, performance=tables.performance.iloc[:1], models=tables.models
    )

    figure, points = draw_figure(incomplete, ScalingFigure())

    assert points.notes == (
        "no score, so not shown: large x eye (a layer holds NaN)",
        "no bits_per_byte, so not shown: large",
    )
    assert len(points.frame) == 1
    assert_readable(figure)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 5.0])
@pytest.mark.parametrize("kind", [ScalingFigure, HeatmapFigure])
def test_negative_and_large_scores(shift: float, kind: type[FigureConfig]) -> None:
    figure, _ = draw_figure(made_up(3, 3, controls=True, shift=shift), kind())

    assert_readable(figure)


def test_equal_scores_and_no_chance() -> None:
    tables = made_up(2, 2)
    tables.best[["score", "chance"]] = [0.5, float("nan")]

    for kind in (ScalingFigure(), HeatmapFigure()):
        figure, _ = draw_figure(tables, kind)
        assert_readable(figure)


def test_models_without_a_known_size() -> None:
    tables = made_up(2, 2)
    tables.models["num_parameters"] = float("nan")

    figure, _ = draw_figure(tables, ScalingFigure())

    assert points_on(figure.axes)
    with pytest.raises(AbsentError, match="num_parameters"):
        draw_figure(tables, ScalingFigure(x="num_parameters"))


def test_nothing_to_draw_says_why() -> None:
    tables = made_up(1, 1)
    with pytest.raises(AbsentError, match="no hellaswag, so not shown: bloomz-1b1"):
        draw_figure(tables, ScalingFigure(x="hellaswag"))
    with pytest.raises(AbsentError, match="no such pair was scored"):
        draw_figure(tables, ScalingFigure(points="truth"))
    with pytest.raises(AbsentError, match="no model pair has a calibrated"):
        draw_figure(tables, HeatmapFigure(value="calibrated"))
    empty = Tables(best=tables.best[:0], performance=tables.performance, models=tables.models)
    for kind in (ScalingFigure(), HeatmapFigure(), LayerHeatmapFigure()):
        with pytest.raises(AbsentError, match="platorep align"):
            draw_figure(empty, kind)


def test_a_metric_is_chosen_by_label_or_bare_name() -> None:
    tables = two_by_two()
    other = tables.best.assign(metric="cka{kernel: linear}", score=0.9)
    both = Tables(
        best=pd.concat([tables.best, other], ignore_index=True),
        performance=tables.performance,
        models=tables.models,
    )

    def scores(metric: str | None) -> set[float]:
        return set(FIGURES["scaling"].points(both, ScalingFigure(metric=metric)).frame["score"])

    assert scores(None) == scores(KNN) == scores("mutual_knn") != {0.9}
    assert scores("cka") == {0.9}
    with pytest.raises(UnknownNameError, match="mutual_knn"):
        scores("mutual_kn")


# -- matrix ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_language", "num_vision", "controls"), SIZES)
def test_heatmap_cells_are_its_points(num_language: int, num_vision: int, controls: bool) -> None:
    tables = made_up(num_language, num_vision, controls=controls)
    tables.best.loc[0, ["score", "reason"]] = [float("nan"), "a layer holds NaN"]
    tables.best.loc[1, "score"] = -0.2

    figure, points = draw_figure(tables, HeatmapFigure())

    ax, bar = figure.axes
    found = {
        str(patch.get_gid()): patch.get_facecolor()
        for patch in ax.patches
        if isinstance(patch, Rectangle) and str(patch.get_gid()).startswith("cell|")
    }
    frame = points.frame.dropna(subset="value")
    low, high = bar.get_ylim()
    if len(frame) > 1:
        assert (low, high) == pytest.approx((frame["value"].min(), frame["value"].max()))
    viridis = mpl.colormaps["viridis"]
    wanted = {
        f"cell|{r['x']}|{r['y']}": viridis((r["value"] - low) / (high - low))
        for _, r in frame.iterrows()
    }
    assert found.keys() == wanted.keys()
    assert all(found[cell] == pytest.approx(wanted[cell], abs=1 / 255) for cell in wanted)
    centre = {str(p.get_gid()): (p.get_x() + 0.5, p.get_y() + 0.5) for p in ax.patches}
    for _, r in frame.iterrows():  # under the name of its column, beside that of its row
        place = ax.get_xticks()[r["column"]], ax.get_yticks()[r["row"]]
        assert centre[f"cell|{r['x']}|{r['y']}"] == pytest.approx(place)
    assert_readable(figure)


def test_heatmap_prints_each_value_in_its_cell_and_names_every_model() -> None:
    tables = two_by_two()

    figure, points = draw_figure(tables, HeatmapFigure(values=True))

    ax = figure.axes[0]
    assert list(points.frame["value"]) == [0.1, 0.2, 0.03, 0.05, 0.02]  # shuffled is not shown
    printed = [t.get_text() for t in ax.texts if t.get_gid() == "value"]
    assert printed == [".10", ".20", ".03", ".05", ".02"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["small 1M", "large 10M", "large 10M"]
    groups = [t.get_text() for t in ax.texts if t.get_gid() == "label"]
    assert groups == ["lm", "lm\nrandom weights", "net", "net\nrandom weights"]
    width, (left, right) = ax.get_window_extent().width / figure.dpi, ax.get_xlim()
    assert width / (right - left) == pytest.approx(0.36)  # what the names below are fitted to


def test_heatmap_without_controls() -> None:
    points = FIGURES["heatmap"].points(two_by_two(), HeatmapFigure(controls=False)).frame

    assert list(points["x"]) == ["small", "large"]


# -- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_x", "num_y"), [(1, 1), (3, 4), (5, 40), (81, 13)])
def test_layer_heatmap_shows_its_points(num_x: int, num_y: int) -> None:
    figure, points = draw_figure(layer_pairs(num_x, num_y + 1), LayerHeatmapFigure())

    ax = figure.axes[0]
    (mesh,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    grid = points.frame.pivot(index="layer_x", columns="layer_y", values="score").to_numpy()
    shown = np.ma.masked_invalid(mesh.get_array())
    assert shown.mask[:, 0].all()  # degenerate
    assert not shown.mask[:, 1:].any()
    assert (shown[:, 1:] == grid[:, 1:]).all()
    (ring,) = [line for line in ax.lines if line.get_gid() == "best"]
    assert ring.get_xydata().tolist() == [[1, num_x - 1]]  # not the degenerate layer 0
    assert points.frame.loc[points.frame["best"], ["layer_x", "layer_y"]].to_numpy().tolist() == [
        [num_x - 1, 1]
    ]
    assert_readable(figure)


def test_layer_heatmap_of_a_named_pair_in_either_order() -> None:
    tables = layer_pairs()
    points = FIGURES["layer_heatmap"].points
    pair = ("bloomz-560m", VISION["IN21k"][0])

    here = points(tables, LayerHeatmapFigure(pair=pair)).frame
    turned = points(tables, LayerHeatmapFigure(pair=pair[::-1])).frame

    pd.testing.assert_frame_equal(here, turned)
    with pytest.raises(ConfigError, match=r"\[a, b\] was not scored.*bloomz-560m"):
        points(tables, LayerHeatmapFigure(pair=("a", "b")))


def test_layer_axes_say_where_the_embedding_is() -> None:
    figure, _ = draw_figure(layer_pairs(9, 9), LayerHeatmapFigure())

    ax = figure.axes[0]
    assert ax.get_ylabel().replace("\n", " ") == "layer of bloomz-560m (0: embedding)"
    assert "embedding" not in ax.get_xlabel()


# -- many metrics, many k, depth ------------------------------------------------------------------


def many_metrics(num_language: int = 3, num_vision: int = 5) -> Tables:
    """Four metrics: k-NN at two k, one that is its negative, and one of noise; with a null."""
    tables = made_up(num_language, num_vision, controls=True)
    rng = np.random.default_rng(1)
    best = tables.best
    half = pd.Series(rng.integers(0, 2, len(best)), index=best.index)
    others = [
        best.assign(p_adjusted=half),
        best.assign(metric="mutual_knn{k: 100}", k=100, score=best["score"] * 3, chance=100 / 1023),
        best.assign(
            metric="cka{kernel: linear, estimator: debiased}",
            k=np.nan,
            chance=np.nan,
            score=-best["score"],
        ),
        best.assign(metric="svcca{rank: 10}", k=np.nan, score=rng.uniform(0, 1, len(best))),
    ]
    rows = [
        {
            "x": x,
            "y": y,
            "control": "",
            "metric": KNN,
            "layer_x": i,
            "layer_y": j,
            "score": 0.1 + 0.01 * i - 0.002 * j,
            "degenerate": False,
        }
        for x, y in zip(best["x"], best["y"], strict=True)
        for i in (0, 5, 11)
        for j in (0, 11)
    ]
    return Tables(
        best=pd.concat(others, ignore_index=True),
        performance=tables.performance,
        models=tables.models,
        scores=pd.DataFrame(rows).drop_duplicates(["x", "y", "layer_x", "layer_y"]),
    )


def lines_with(ax: Axes, prefix: str) -> list[tuple[float, float]]:
    found = [line for line in ax.lines if str(line.get_gid()).startswith(prefix)]
    return sorted((float(x), float(y)) for line in found for x, y in line.get_xydata())


@pytest.mark.parametrize("parameters", [MetricGridFigure(controls=True), CalibrationFigure()])
@pytest.mark.parametrize("size", [(3, 5), (7, 2), (1, 1)])
def test_facets_show_their_points(
    parameters: MetricGridFigure | CalibrationFigure, size: tuple[int, int]
) -> None:
    figure, points = draw_figure(many_metrics(*size), parameters)

    frame = points.frame
    wanted = zip(frame["role"], frame["line"], frame["x"], frame["score"], strict=True)
    assert points_on(figure.axes) == sorted(wanted)
    assert frame["facet"].nunique() == (4 if isinstance(parameters, MetricGridFigure) else 2)
    assert_readable(figure)


def test_calibration_marks_p_and_leaves_the_raw_level_out_below() -> None:
    figure, points = draw_figure(many_metrics(), CalibrationFigure(alpha=0.05))

    frame = points.frame
    assert (frame["significant"] == (frame["p_adjusted"] <= 0.05)).all()
    open_markers = [
        line
        for ax in figure.axes
        for line in ax.lines
        if str(line.get_gid()).startswith("trained") and line.get_markerfacecolor() == "white"
    ]
    shown = sum(len(line.get_xdata()) for line in open_markers)
    assert shown == (~frame["significant"]).sum() > 0
    below = frame[frame["facet"].str.startswith("calibrated")]
    assert (below["score"] == below["calibrated"]).all()
    assert below[["chance", "threshold"]].isna().all(axis=None)
    with pytest.raises(AbsentError, match="no null"):
        draw_figure(made_up(2, 2), CalibrationFigure())


def test_metric_grid_names_the_metric_that_it_cannot_draw() -> None:
    tables = many_metrics()
    tables.best.loc[tables.best["metric"].str.startswith("svcca"), "score"] = np.nan

    points = FIGURES["metric_grid"].points(tables, MetricGridFigure())

    assert points.frame["facet"].nunique() == 3
    assert any(note.startswith("svcca{rank: 10}: nothing to draw") for note in points.notes)


def test_k_sweep_worked_by_hand() -> None:
    tables = many_metrics(1, 1)

    figure, points = draw_figure(tables, KSweepFigure())

    frame = points.frame.set_index(["panel", "family", "k"])["value"]
    best = tables.best[(tables.best["control"] == "") & (tables.best["metric"] == KNN)]
    trained = best[~best["x_random"] & ~best["y_random"]]
    assert frame["score", "IN21k", 10] == pytest.approx(np.mean(trained["score"]))
    assert frame["score", "IN21k", 100] == pytest.approx(3 * np.mean(trained["score"]))
    assert frame["score", "chance", 100] == pytest.approx(100 / 1023)
    better = -tables.performance.set_index("model")["value"]
    trends = []
    for _, line in trained.groupby("y"):
        x, y = better[line["x"]].to_numpy(), line["score"].to_numpy()
        squares = np.sum((x.argsort().argsort() - y.argsort().argsort()) ** 2)
        trends.append(1 - 6 * squares / (5 * 24))  # Spearman's formula without ties, n = 5
    assert frame["trend", "IN21k", 10] == pytest.approx(np.mean(trends))
    drawn = [point for ax in figure.axes for point in lines_with(ax, "line|")]
    assert sorted(drawn) == sorted(zip(points.frame["k"], points.frame["value"], strict=True))
    assert_readable(figure)


def test_k_sweep_with_many_families_and_without_a_trend() -> None:
    for size, width in (((3, 7), None), ((1, 7), None), ((1, 2), "single")):
        figure, _ = draw_figure(many_metrics(*size), KSweepFigure(width=width))
        assert_readable(figure)
    tables = many_metrics(3, 2)
    few = tables.performance.iloc[:2]  # no trend from two points
    two = Tables(best=tables.best, performance=few, models=tables.models)
    figure, points = draw_figure(two, KSweepFigure())
    assert set(points.frame["panel"]) == {"score"}
    assert_readable(figure)
    with pytest.raises(AbsentError, match="no metric was scored at several k"):
        draw_figure(made_up(2, 2), KSweepFigure())


def test_metric_correlation_worked_by_hand() -> None:
    tables = many_metrics()
    figure, points = draw_figure(tables, MetricCorrelationFigure())

    value = points.frame.set_index(["x", "y"])["value"]
    cka = "cka{kernel: linear, estimator: debiased}"
    assert value[KNN, KNN] == pytest.approx(1)
    assert value[KNN, "mutual_knn{k: 100}"] == pytest.approx(1)
    assert value[KNN, cka] == value[cka, KNN] == pytest.approx(-1)
    assert abs(value[KNN, "svcca{rank: 10}"]) < 0.5
    trained = tables.models[~tables.models["random"]]["modality"].value_counts()
    assert (points.frame["num_pairs"] == trained["language"] * trained["vision"]).all()
    names = [t.get_text().replace("\n", " ") for t in figure.axes[0].get_yticklabels()]
    assert names[0] == "mutual_knn, k\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}10"
    assert_readable(figure)
    with pytest.raises(AbsentError, match="needs two metrics"):
        draw_figure(made_up(2, 2), MetricCorrelationFigure())


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7)])
def test_layers_show_their_points(size: tuple[int, int]) -> None:
    figure, points = draw_figure(many_metrics(*size), LayersFigure())

    for ax, (panel, rows) in zip(
        figure.axes, points.frame.groupby("panel", sort=False), strict=True
    ):
        if panel == "best layers":  # a disc stands for the pairs of one family in one place
            assert rows["num_pairs"].sum() >= len(rows)
            rows = rows.drop_duplicates(["family", "depth", "value"])
        assert lines_with(ax, "points|") == sorted(zip(rows["depth"], rows["value"], strict=True))
    assert_readable(figure)


def test_layers_worked_by_hand() -> None:
    points = FIGURES["layers"].points(many_metrics(2, 2), LayersFigure()).frame

    best = points[points["panel"] == "best layers"]
    assert set(best["depth"]) == set(best["value"]) == {3 / 11}
    along_x = points[(points["panel"] == "along x") & (points["model"] == "bloomz-560m")]
    assert list(along_x["depth"]) == [0, 5 / 11, 1]
    assert list(along_x["value"]) == pytest.approx([0.1, 0.15, 0.21])  # best layer of y is 0
    along_y = points[(points["panel"] == "along y") & (points["model"] == VISION["MAE"][0])]
    assert list(along_y["value"]) == pytest.approx([0.21, 0.21 - 0.022])  # best layer of x is 11
    assert not points["model"].str.contains("random").any()


def test_no_two_of_many_families_look_alike() -> None:
    """A second dozen has the markers of the first, half filled."""
    tables = made_up(7, 1)
    labels = list(tables.models.loc[tables.models["modality"] == "language", "label"])
    own = {label: f"family of {label}" for label in labels}
    many = dataclasses.replace(
        tables,
        best=tables.best.assign(x_family=tables.best["x"].map(own)),
        models=tables.models.assign(
            family=tables.models["label"].map(own).fillna(tables.models["family"])
        ),
    )

    figure, _ = draw_figure(many, ScalingFigure())

    looks = [
        (str(line.get_marker()), line.get_fillstyle())
        for line in figure.legends[0].legend_handles
        if isinstance(line, Line2D) and line.get_marker() not in ("", "None")
    ]
    assert len(looks) == len(labels) > 12
    assert len(set(looks)) == len(labels)
    drawn = {
        (str(line.get_marker()), line.get_fillstyle())
        for line in figure.axes[0].lines
        if str(line.get_gid()) == f"trained|{VISION['IN21k'][0]}"
    }
    assert drawn == set(looks)
    assert_readable(figure)


# -- odd names ------------------------------------------------------------------------------------


def with_names(tables: Tables, name: Callable[[str, int], str]) -> Tables:
    """The same tables, with models and families called otherwise."""
    kinds = {"family", "x_family", "y_family"}
    labels = {old: name(old, i) for i, old in enumerate(tables.models["label"])}
    families = {old: name(old, i) for i, old in enumerate(tables.models["family"].unique())}

    def renamed(frame: pd.DataFrame) -> pd.DataFrame:
        own = {c: frame[c].replace(families) for c in kinds & set(frame)}
        for column in {"x", "y", "label", "model", "random_of"} & set(frame):
            own[column] = frame[column].replace(labels)
        return frame.assign(**own)

    return dataclasses.replace(
        tables,
        **{
            name: renamed(frame)
            for name, frame in vars(tables).items()
            if isinstance(frame, pd.DataFrame)
        },
    )


ODD: tuple[Callable[[str, int], str], ...] = (
    lambda old, i: f"{old}-{'a_very_long_name-' * 8}{i}",
    lambda old, i: "w" * 120 + str(i),
    lambda old, i: f"\N{CJK UNIFIED IDEOGRAPH-6A21}{i}\N{CJK UNIFIED IDEOGRAPH-578B}",
    lambda old, i: f"{old} \N{ROCKET}",
    lambda old, i: f"{old}\n\x1b[31m\u202e{i}",
    lambda old, i: f"[bold]{old}$_{i}",
)


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        (ScalingFigure(), many_metrics),
        (HeatmapFigure(), many_metrics),
        (HeatmapFigure(width="single"), many_metrics),
        (KSweepFigure(), many_metrics),
        (LayersFigure(), many_metrics),
        (CalibrationFigure(), many_metrics),
        (LayerHeatmapFigure(), layer_pairs),
        (ConvergenceFigure(), vision_pairs),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_odd_names_are_drawn_and_stay_apart(
    kind: FigureConfig, tables: Callable[..., Tables]
) -> None:
    """No crash, no box in place of a letter, no label over another."""
    size = ((0.1, 0.3, 0.5),) if tables is vision_pairs else (2, 2)
    odd = with_names(tables(*size), lambda old, i: ODD[i % len(ODD)](old, i))

    figure, points = draw_figure(odd, kind)

    assert_readable(figure)
    assert all(can_write(c) for text in texts(figure) for c in text.get_text() if c != "\n")
    assert points.notes[-1].startswith("drawn ")


def test_names_that_no_font_has_are_escaped_and_stay_apart() -> None:
    frame = pd.DataFrame(
        {"x": ["\ue000", "\\ue000", "a\nb", "\N{ROCKET}", "w" * 99 + "1", "w" * 99 + "1w", "ok"]}
    )

    shown, changed = legible_frame(frame)

    assert shown["x"].nunique() == len(frame)
    assert changed["a\nb"] == "a\\nb"
    assert changed.get("\N{ROCKET}") == (None if can_write("\N{ROCKET}") else ":rocket:")
    assert "ok" not in changed
    assert "\\ue000" not in changed
    assert changed["\ue000"] == "\\ue000 (2)"
    assert max(map(text_width, shown["x"])) <= 2.5
    assert frame["x"][0] == "\ue000"  # the CSV keeps it


def test_layers_say_when_families_share_a_colour() -> None:
    tables = with_names(many_metrics(1, 3), lambda old, i: f"{old}{i}")
    labels = list(tables.models.loc[tables.models["modality"] == "vision", "label"])
    own = dict(zip(labels, [f"f{i}" for i in range(len(labels))], strict=True))
    many = dataclasses.replace(
        tables,
        best=tables.best.assign(y_family=tables.best["y"].map(own)),
        models=tables.models.assign(
            family=tables.models["label"].map(own).fillna(tables.models["family"])
        ),
    )

    few = FIGURES["layers"].points(tables, LayersFigure()).notes
    notes = FIGURES["layers"].points(many, LayersFigure()).notes

    assert not any("colours for" in note for note in few)
    assert any("7 colours for" in note for note in notes)


# -- files ----------------------------------------------------------------------------------------


def tables_for(kind: str) -> Tables:
    """Small tables that this kind of figure can be drawn from."""
    own = {
        "layer_heatmap": layer_pairs,
        "convergence": vision_pairs,
        "density": density_tables,
        "senses": sense_tables,
        "changes": changed_tables,
        "geometry": geometry_tables,
        "observations": observation_tables,
        "groups": group_tables,
        "differences": difference_tables,
    }
    tables = own[kind]() if kind in own else many_metrics(2, 2)
    if kind == "gallery":
        tables = dataclasses.replace(tables, gallery=tables.best.assign(k_rule="10", se=0.004))
    return tables


def assert_says(kind: str, said: str, tables: Tables, frame: pd.DataFrame) -> None:
    """Data, number of rows, metric with its k, and what is drawn where."""
    entry = FIGURES[kind]
    if len(tables.best):
        assert said.startswith(str(tables.best["dataset"].iloc[0]))
        rows = {f"{int(n):,}" for n in tables.best.get("n", pd.Series(dtype=float)).dropna()}
        assert entry.sweeps or not rows or any(f"n = {n} rows" in said for n in rows)
    metrics = frame["metric"].dropna().unique() if "metric" in frame else []
    if len(metrics) == 1:
        name, _, k = str(metrics[0]).partition("{k: ")
        assert name in said
        assert not k or (f"k = {k[:-1]}" in said) != entry.sweeps
    drawn_where = entry.says(frame, entry.parameters())
    assert drawn_where
    assert said.endswith(drawn_where.replace("\N{NO-BREAK SPACE}", " "))


@pytest.mark.parametrize("kind", list(FIGURES))
def test_saved_files(tmp_path: Path, kind: str) -> None:
    tables = tables_for(kind)
    parameters = FIGURES[kind].parameters()
    before = dict(mpl.rcParams)

    first = save_figure(tmp_path / "a" / "figure", tables, parameters)
    figure, points = draw_figure(tables, parameters)
    with figure_style():
        second = write_figure(tmp_path / "b" / "figure", figure, points.frame)

    assert_says(kind, about(figure), tables, points.frame)
    assert [path.name for path in first.paths] == ["figure.pdf", "figure.png", "figure.csv"]
    for one, other in zip(first.paths, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"CreationDate" not in first.paths[0].read_bytes()
    frame = FIGURES[kind].points(tables, parameters).frame
    read = pd.read_csv(first.paths[2], keep_default_na=True)
    assert list(read.columns) == list(frame.columns)
    numbers = frame.select_dtypes("number").columns
    pd.testing.assert_frame_equal(
        read[numbers], frame[numbers], check_exact=True, check_dtype=False
    )
    assert dict(mpl.rcParams) == before
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "figure.pdf", "figure.png", "figure.csv"
    }  # fmt: skip


def test_drawing_ignores_the_users_own_settings(tmp_path: Path) -> None:
    tables = made_up(2, 2)
    plain = save_figure(tmp_path / "plain", tables, ScalingFigure()).paths[1].read_bytes()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        own = save_figure(tmp_path / "own", tables, ScalingFigure()).paths[1].read_bytes()

    assert own == plain


def test_plots_leave_pyplot_alone() -> None:
    code = "import sys, platorep.plots; print('matplotlib.pyplot' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


# -- parameters -----------------------------------------------------------------------------------


def test_every_kind_of_the_yaml_has_an_entry() -> None:
    union, _ = typing.get_args(FigureConfig)
    kinds = {p.model_fields["kind"].default: p for p in typing.get_args(union)}

    assert {name: entry.parameters for name, entry in FIGURES.items()} == kinds


@pytest.mark.parametrize(
    "value",
    [{"kind": "pie"}, {"kind": "heatmap", "colour": "red"}, {"x": "bits_per_byte"},
     {"kind": "scaling", "name": "../up"}, {"kind": "scaling", "width": 3}],
)  # fmt: skip
def test_unknown_kinds_and_keys_are_refused(value: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(FigureConfig).validate_python(value)


def test_file_names_do_not_collide() -> None:
    figures = [ScalingFigure(), ScalingFigure(x="num_parameters"), HeatmapFigure(name="scaling-2")]

    assert figure_names(figures) == ["scaling", "scaling-2", "scaling-2-2"]


# -- labels ---------------------------------------------------------------------------------------


def test_spread_leaves_alone_what_does_not_overlap() -> None:
    assert spread([5.0, 1.0, 9.0], [2.0, 2.0, 2.0], 0.0, 10.0) == pytest.approx([5, 1, 9])


def test_spread_worked_by_hand() -> None:
    assert spread([5.0, 5.0], [2.0, 2.0], 0.0, 10.0) == pytest.approx([4, 6])
    assert spread([0.0, 0.0], [2.0, 2.0], 0.0, 10.0) == pytest.approx([1, 3])
    assert spread([10.0, 9.0], [2.0, 2.0], 0.0, 10.0) == pytest.approx([9, 7])
    assert spread([], [], 0.0, 1.0) == []


@pytest.mark.parametrize("seed", range(5))
def test_spread_is_apart_inside_and_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted, sizes = rng.uniform(0, 10, 3), rng.uniform(0.5, 3, 3)

    found = np.array(spread(list(wanted), list(sizes), 0.0, 10.0))

    order = np.argsort(wanted)
    steps = np.linspace(0, 10, 21)

    def fits(places: np.ndarray, slack: float = 1e-9) -> bool:
        low, high = places - sizes[order] / 2, places + sizes[order] / 2
        return low[0] >= -slack and high[-1] <= 10 + slack and (low[1:] >= high[:-1] - slack).all()

    cost = np.sum((found - wanted) ** 2)
    others = (np.array(p) for p in itertools.product(steps, repeat=3))
    assert fits(found[order])
    assert cost <= min(np.sum((p - wanted[order]) ** 2) for p in others if fits(p)) + 1e-9


@pytest.mark.parametrize(
    ("labels", "short"),
    [
        (VISION["DINOv2"], ["small", "base", "large", "giant"]),
        (VISION["MAE"], ["base", "large", "huge"]),
        (["only_one"], ["only_one"]),
        (["conv4", "conv8"], ["conv4", "conv8"]),
        (["a-x-1", "a-x-2", "a-y-1"], ["x-1", "x-2", "y-1"]),
        (["b", "b-c"], ["b", "b-c"]),
    ],
)
def test_short_names(labels: list[str], short: list[str]) -> None:
    assert list(short_names(labels).values()) == short


def test_sizes_are_added_only_where_the_name_has_none() -> None:
    for label in ("bloomz-1b1", "open_llama_3b", "Mixtral-8x7B-v0.1", "gemma-2b"):
        assert name_and_size(label, 1e9) == label
    assert name_and_size("llama-h8-l1", 17e3) == "llama-h8-l1 17k"
    assert name_and_size("a formula", 0.0) == "a formula"
    assert name_and_size("gpt2-medium", 354_823_168.0) == "gpt2-medium 355M"
    assert name_and_size("gpt2-medium", float("nan")) == "gpt2-medium"
    assert [format_count(c) for c in (7.0, 999_900.0, 1e9, 1.13e9, 65e9, 2e12)] == [
        "7", "1M", "1B", "1.1B", "65B", "2T"
    ]  # fmt: skip


def test_wrap_breaks_at_spaces_first() -> None:
    assert wrap("one two", 10.0) == "one two"
    assert wrap("one two", 0.3) == "one\ntwo"
    assert wrap("a_long_name of it", 0.5) == "a_long_\nname of it"
