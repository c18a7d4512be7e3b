"""Colour co-occurrence: counts and PMI by hand and by oracle, CIELAB by published values, geometry
by scipy and by planting it, and the command from YAML to PNG."""

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import get_named_colors_mapping
from PIL import Image
from scipy.spatial import procrustes
from scipy.spatial.distance import squareform
from scipy.stats import spearmanr
from test_language import rewrite
from test_language import save as save_language_model
from typer.testing import CliRunner

from platorep.cli import app
from platorep.config import DatasetConfig, config_path, load_color, load_config, load_theory
from platorep.config.reading import shipped_configs
from platorep.data import View, load_view
from platorep.errors import ConfigError, DataError, UnknownNameError
from platorep.parameters.color import (
    BASIC,
    WORDS,
    CooccurrenceParameters,
    GeometryParameters,
    WordConfig,
)
from platorep.theory.colorimetry import (
    cell_colors,
    hex_names,
    lab_distances,
    nearest_colors,
    perceived_differences,
    to_lab,
    word_colors,
)
from platorep.theory.cooccurrence import (
    count_pairs,
    draw_pairs,
    drawn_pixels,
    grid_cells,
    pair_pmi,
    pmi_distances,
    pool,
)
from platorep.theory.events import pmi
from platorep.theory.geometry import Agreement, agreement, embed, turn_onto

FEW = GeometryParameters(starts=4, permutations=199)
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


@pytest.fixture(autouse=True)
def own_arrow_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


def random_state(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write_images(folder: Path, images: list[np.ndarray]) -> View:
    """A folder of images without captions, read as `platorep theory color` reads it."""
    folder.mkdir()
    for number, pixels in enumerate(images):
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:05}.png")
    return load_view(DatasetConfig(source=str(folder)), "image")


# --- pairs of pixels ---


def test_grid_cells_by_hand() -> None:
    pixels = np.array([[(0, 127, 128), (255, 255, 255)]], dtype=np.uint8)

    assert grid_cells(pixels, 2).tolist() == [[1, 7]]  # 4 red + 2 green + blue
    assert grid_cells(pixels, 4).tolist() == [[1 * 4 + 2, 63]]


def test_centre_of_a_cell_lies_in_it() -> None:
    for levels in (2, 3, 8):
        pixels = np.round(cell_colors(levels) * 255).astype(np.uint8)[None]
        assert grid_cells(pixels, levels).ravel().tolist() == list(range(levels**3))
    assert cell_colors(2)[0] == pytest.approx([63.5 / 255] * 3)  # 0 to 127


def oracle_pairs(cells: list[list[int]], radius: float) -> Counter[tuple[int, int]]:
    """Every ordered pair of different places that are near enough, in loops."""
    places = [(y, x) for y in range(len(cells)) for x in range(len(cells[0]))]
    return Counter(
        (cells[a][b], cells[c][d])
        for (a, b), (c, d) in itertools.product(places, places)
        if (a, b) != (c, d) and math.hypot(a - c, b - d) <= radius
    )


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.9, 4.0, 50.0])
@pytest.mark.parametrize("shape", [(1, 7), (5, 4), (9, 9)])
def test_drawn_pairs_are_all_pairs_within_the_radius(shape: tuple[int, int], radius: float) -> None:
    cells = random_state(1).integers(0, 4, size=shape)
    num = 60_000

    first, second = draw_pairs(cells, num, radius, random_state(2))

    expected = oracle_pairs(cells.tolist(), radius)
    total = sum(expected.values())
    found = Counter(zip(first.tolist(), second.tolist(), strict=True))
    assert sum(found.values()) == num
    assert set(found) == set(expected)
    for pair, count in expected.items():
        share = count / total
        assert abs(found[pair] / num - share) < 5 * math.sqrt(share * (1 - share) / num)


def test_counts_of_images_by_hand(tmp_path: Path) -> None:
    """1 x 3 pixels, black black white, radius 1: of the four ordered pairs two are black black."""
    images = write_images(tmp_path / "images", [np.array([[BLACK, BLACK, WHITE]])] * 3)

    counts = count_pairs(images, CooccurrenceParameters(pairs=40_000, radius=1, levels=2))

    assert counts.sum() == 40_000
    assert counts[7, 7] == 0
    assert counts[[0, 0, 7], [0, 7, 0]] / 40_000 == pytest.approx([0.5, 0.25, 0.25], abs=0.015)
    assert drawn_pixels(counts)[[0, 7]] / 80_000 == pytest.approx([0.75, 0.25], abs=0.01)


def test_every_image_gives_as_many_pairs(tmp_path: Path) -> None:
    small, large = np.full((2, 2, 3), BLACK), np.full((40, 60, 3), WHITE)
    images = write_images(tmp_path / "images", [small, large])

    counts = count_pairs(images, CooccurrenceParameters(pairs=10_000, levels=2))

    assert counts[0, 0] / 10_000 == pytest.approx(0.5, abs=0.03)


def test_resolution_squashes_first(tmp_path: Path) -> None:
    """Columns of black and white, one pixel each, are grey at half the size."""
    stripes = np.tile(np.array([BLACK, WHITE]), (16, 8, 1))
    images = write_images(tmp_path / "images", [stripes])
    asked = CooccurrenceParameters(pairs=100, levels=4)

    assert set(np.flatnonzero(drawn_pixels(count_pairs(images, asked)))) == {0, 63}
    assert np.flatnonzero(drawn_pixels(count_pairs(images, asked, 8))).tolist() == [42]  # 128: 222


def test_same_seed_same_counts(tmp_path: Path) -> None:
    pixels = random_state().integers(0, 256, size=(6, 12, 12, 3))
    images = write_images(tmp_path / "images", list(pixels))
    asked = CooccurrenceParameters(pairs=500, levels=2)

    first = count_pairs(images, asked)

    assert np.array_equal(first, count_pairs(images, asked))
    assert not np.array_equal(first, count_pairs(images, asked.model_copy(update={"seed": 1})))


def test_a_single_pixel_has_no_pair(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [np.array([[BLACK]])])

    with pytest.raises(DataError, match=r"row 0 .*single pixel"):
        count_pairs(images, CooccurrenceParameters(pairs=5))


def test_copies_among_images_without_captions(tmp_path: Path) -> None:
    pixels = random_state().integers(0, 256, size=(3, 4, 4, 3))
    write_images(tmp_path / "images", [*pixels, pixels[0]])

    found = load_view(DatasetConfig(source=str(tmp_path / "images"), deduplicate=True), "image")

    assert found.ids == ("0", "1", "2")


def test_a_view_that_is_not_there_is_named() -> None:
    config = DatasetConfig.model_validate(
        {"source": "x", "views": {"text": {}, "sound": {"kind": "audio"}}}
    )

    with pytest.raises(ConfigError, match=r"x has no view 'image'\. There are: text, sound"):
        load_view(config, "image")


# --- mutual information ---


def test_pmi_by_hand() -> None:
    """8 pairs, marginals 6 and 2: expected 4.5, 1.5, 0.5."""
    counts = np.array([[4, 3], [1, 0]])

    found = pair_pmi(counts, 1.0)

    assert found == pytest.approx(np.log([[5 / 5.5, 3 / 2.5], [3 / 2.5, 1 / 1.5]]))
    largest = math.log(3 / 2.5)
    assert pmi_distances(found, "all")[0, 1] == pytest.approx(0)
    wide = np.array([[2.0, 0.5, -1.0], [0.5, 1.0, 0.0], [-1.0, 0.0, 3.0]])
    assert pmi_distances(wide, "all").tolist() == [[0, 2.5, 4], [2.5, 0, 3], [4, 3, 0]]
    assert pmi_distances(wide, "different").tolist() == [[0, 0, 1.5], [0, 0, 0.5], [1.5, 0.5, 0]]
    assert largest > 0


def test_pmi_without_smoothing_is_the_definition() -> None:
    counts = random_state().integers(1, 50, size=(6, 6))
    joint = (counts + counts.T) / (2 * counts.sum())

    assert pair_pmi(counts, 0.0) == pytest.approx(pmi(joint))
    assert pair_pmi(10_000 * counts, 1.0) == pytest.approx(pmi(joint), abs=0.01)


def test_zero_counts_need_smoothing() -> None:
    counts = np.array([[5, 0], [0, 5]])

    with pytest.raises(DataError, match=r"2 of 4 pairs .* cooccurrence.smoothing above 0"):
        pair_pmi(counts, 0.0)
    assert np.isfinite(pair_pmi(counts, 0.5)).all()
    rare = pair_pmi(np.array([[999, 1], [0, 0]]), 1.0)
    assert abs(rare[1, 1]) < 0.001  # nothing is known of what nobody expected


def test_pool_by_hand() -> None:
    counts = np.arange(9).reshape(3, 3)

    assert pool(counts, np.array([1, 0, 1]), 2).tolist() == [[4, 3 + 5], [1 + 7, 0 + 2 + 6 + 8]]


# --- colours ---


@pytest.mark.parametrize(
    ("rgb", "lab"),  # B. Lindbloom's calculator, sRGB, D65
    [
        ((1, 0, 0), (53.2408, 80.0925, 67.2032)),
        ((0, 1, 0), (87.7347, -86.1827, 83.1793)),
        ((0, 0, 1), (32.2970, 79.1875, -107.8602)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_cielab_has_the_published_values(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    assert to_lab(np.array([rgb], dtype=float))[0] == pytest.approx(lab, abs=0.05)


@pytest.mark.parametrize(
    ("x", "y", "difference"),  # Sharma, Wu and Dalal 2005, pairs 1, 7, 25
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ],
)
def test_ciede2000_has_the_published_values(
    x: tuple[float, ...], y: tuple[float, ...], difference: float
) -> None:
    found = perceived_differences(np.array([x, y], dtype=float))

    assert found == pytest.approx(np.array([[0, difference], [difference, 0]]), abs=1e-4)
    assert lab_distances(np.array([x, y], dtype=float))[0, 1] == pytest.approx(math.dist(x, y))


def test_words_are_basic_terms_and_the_survey_s_first() -> None:
    """matplotlib keeps the survey's order from the last to the first."""
    survey = [name.removeprefix("xkcd:") for name in get_named_colors_mapping() if "xkcd" in name]
    survey = survey[: survey.index("purple") + 1][::-1]  # after it: spellings with gray
    others = [name for name in survey if " " not in name and name not in (*BASIC, "grey")]

    assert WORDS[len(BASIC) + 1 :] == tuple(others[:9])
    assert len(set(WORDS)) == 20
    assert hex_names(word_colors(["purple", "teal"])) == ["#7e1e9c", "#029386"]
    assert hex_names(word_colors([WordConfig(word="x", color="#123456")])) == ["#123456"]
    with pytest.raises(UnknownNameError, match="Did you mean 'turquoise'"):
        word_colors(["turquose"])


def test_nearest_word_by_hand() -> None:
    words = to_lab(word_colors(["black", "white", "red"]))
    colors = to_lab(np.array([(0.1, 0.1, 0.1), (0.9, 0.1, 0.1), (0.8, 0.9, 0.8)]))

    assert nearest_colors(colors, words).tolist() == [0, 2, 1]


# --- geometry ---


def distances_of(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def compared(x: np.ndarray, y: np.ndarray, asked: GeometryParameters = FEW) -> Agreement:
    return agreement(x, y, distances_of(x), distances_of(y), asked)


def test_agreement_equals_scipy() -> None:
    x, y = random_state(3).normal(size=(2, 9, 3))
    y = 0.5 * x + y
    asked = GeometryParameters(permutations=60)

    found = compared(x, y, asked)

    def correlation(of_x: np.ndarray, of_y: np.ndarray) -> float:
        pairs = (squareform(distances_of(points), checks=False) for points in (of_x, of_y))
        return float(spearmanr(*pairs).statistic)

    orders = [np.random.default_rng([0, index]).permutation(9) for index in range(60)]
    residuals = [procrustes(x, y[order])[2] for order in orders]
    correlations = [correlation(x, y[order]) for order in orders]
    residual, rank = procrustes(x, y)[2], correlation(x, y)
    assert found.residual == pytest.approx(residual)
    assert found.residual_null == pytest.approx(np.mean(residuals))
    assert found.residual_low == pytest.approx(np.quantile(residuals, 0.05))
    assert found.residual_p == pytest.approx((1 + sum(r <= residual for r in residuals)) / 61)
    assert found.correlation == pytest.approx(rank)
    assert found.correlation_p == pytest.approx((1 + sum(c >= rank for c in correlations)) / 61)


def test_a_moved_turned_mirrored_scaled_copy_agrees() -> None:
    rng = random_state(4)
    x = rng.normal(size=(10, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for mirror in (1, -1):
        y = 7 * x @ (turn * np.array([1, 1, mirror])) + 3
        found = compared(x, y)
        assert found.residual == pytest.approx(0, abs=1e-12)
        assert found.correlation == pytest.approx(1)
        assert found.residual_p == found.correlation_p == 1 / 200
        assert turn_onto(y, x) == pytest.approx(x)


def test_equal_distances_have_no_order_and_no_p() -> None:
    """Five words that one token stands for: nothing is found, least of all with the smallest p."""
    x = random_state(6).normal(size=(5, 3))
    alike = np.ones((5, 5)) - np.eye(5)
    asked = GeometryParameters(permutations=99)

    found = agreement(x, x, distances_of(x), alike, asked)

    assert np.isnan(found.correlation)
    assert np.isnan(found.correlation_p)


def test_unrelated_geometries_have_uniform_p() -> None:
    found = [compared(*random_state(seed).normal(size=(2, 12, 3))) for seed in range(60)]

    for name in ("residual_p", "correlation_p"):
        p = np.array([getattr(each, name) for each in found])
        assert 0.35 < p.mean() < 0.65
        assert (p <= 0.05).sum() <= 9  # 3 expected
        assert (p <= 0.5).sum() >= 18  # 30 expected


def test_order_of_the_colours_does_not_matter() -> None:
    x, y = random_state(5).normal(size=(2, 11, 3))
    y += x
    order = random_state(6).permutation(11)

    before, after = compared(x, y), compared(x[order], y[order])

    assert after.residual == pytest.approx(before.residual)
    assert after.correlation == pytest.approx(before.correlation)
    assert after.residual_null == pytest.approx(before.residual_null, abs=0.05)
    assert compared(x, y[order]).residual > before.residual + 0.1  # but who is who does


def test_too_few_colours_to_compare() -> None:
    x = random_state().normal(size=(4, 3))

    with pytest.raises(DataError, match="share 4 colours; at least 5"):
        compared(x, x)


def test_mds_finds_points_from_their_distances() -> None:
    points = 40 * random_state(7).normal(size=(15, 3))

    found, stress = embed(distances_of(points), FEW)

    assert stress < 1e-3
    assert procrustes(points, found)[2] < 1e-5
    assert distances_of(found) == pytest.approx(distances_of(points), abs=0.5)
    assert np.array_equal(found, embed(distances_of(points), FEW)[0])
    with pytest.raises(DataError, match="no geometry"):
        embed(np.zeros((5, 5)), FEW)


def test_stress_is_kruskal_s() -> None:
    distances = squareform(random_state(8).uniform(1, 2, size=45))

    found, stress = embed(distances, FEW)

    off = squareform(distances_of(found) - distances, checks=False)
    expected = math.sqrt(
        (off**2).sum() / (squareform(distances_of(found), checks=False) ** 2).sum()
    )
    assert stress == pytest.approx(expected)
    assert stress > 0.1


PLANTED = ("red", "green", "blue", "yellow", "purple", "orange", "black", "white", "brown", "teal")


def planted_images(tmp_path: Path, meet_like: np.ndarray) -> Path:
    """4,000 images of two pixels; colours meet with probability falling with `meet_like`."""
    weights = np.exp(-meet_like / 40)
    for _ in range(500):  # equal marginals, so that PMI is what was planted
        weights /= np.sqrt(np.outer(weights.sum(1), weights.sum(1)))
    joint = weights / weights.sum()
    rgb = (word_colors(PLANTED) * 255).round().astype(np.uint8)
    rows = []
    for code in random_state(9).choice(joint.size, p=joint.ravel(), size=4000):
        stream = BytesIO()
        Image.fromarray(rgb[list(divmod(code, len(PLANTED)))][None]).save(stream, "PNG")
        rows.append({"bytes": stream.getvalue(), "path": None})
    path = tmp_path / "pairs.parquet"
    pd.DataFrame({"image": rows}).to_parquet(path)
    return path


def vision_agreement(tmp_path: Path, meet_like: np.ndarray) -> pd.DataFrame:
    """Through the command, of 20,000 pairs."""
    images = planted_images(tmp_path, meet_like)
    raw = {
        "name": "planted",
        "images": [{"name": "pairs", "dataset": {"source": str(images)}}],
        "words": list(PLANTED),
        "cooccurrence": {"pairs": 20_000, "radius": 1, "minimum_cell_count": 10},
        "geometry": {"starts": 4, "permutations": 199},
    }
    (tmp_path / "planted.yaml").write_text(json.dumps(raw))
    output = str(tmp_path / "out")
    command = ["theory", "color", str(tmp_path / "planted.yaml"), "--output", output, "-q"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return pd.read_csv(tmp_path / "out" / "agreement.csv").set_index(["items", "x", "y"])


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_planted_geometry_is_found(tmp_path: Path) -> None:
    """Colours that meet the oftener the nearer they are in CIELAB."""
    lab = to_lab(word_colors(PLANTED))

    found = vision_agreement(tmp_path, lab_distances(lab))

    for items in ("words", "cells"):
        row = found.loc[(items, "CIELAB", "pairs")]
        assert row["num_colors"] == len(PLANTED)
        assert row["residual"] < 0.1
        assert row["correlation"] > 0.85
        assert row["residual_p"] == row["correlation_p"] == 1 / 200


@pytest.mark.usefixtures("shapes_unchecked")
def test_of_shuffled_words_nothing_is_found(tmp_path: Path) -> None:
    """Colours that meet the oftener the nearer the colours of others are."""
    order = [3, 7, 0, 9, 6, 1, 8, 4, 2, 5]
    lab = to_lab(word_colors(PLANTED))[order]

    found = vision_agreement(tmp_path, lab_distances(lab)).loc[("words", "CIELAB", "pairs")]

    assert found["residual"] > 0.5
    assert found["residual_p"] > 0.05
    assert found["correlation_p"] > 0.05


# --- from YAML to PNG ---

SMALL = (
    *("families.0.training={steps: 2, num_scenes: 64}", "families.0.models=[llama4]"),
    "images.0.dataset.limit=64",
    *("cooccurrence.pairs=20000", "cooccurrence.minimum_cell_count=300"),
    *("geometry.starts=2", "geometry.permutations=99"),
)
TABLES = ("words.csv", "counts.csv", "distances.csv", "geometry.csv", "agreement.csv")


def run(config: str, output: Path, *sets: str):  # type: ignore[no-untyped-def]
    options = [text for value in sets for text in ("--set", value)]
    command = ["theory", "color", config, "--output", str(output), "-q", "--offline", *options]
    return CliRunner().invoke(app, command)


@pytest.mark.usefixtures("shapes_unchecked")
def test_the_twin_runs_from_yaml_to_png_and_again_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        done = run("toyworld-color", tmp_path / name, *SMALL, "language.layers=all")
        assert done.exit_code == 0, done.output
    first, second = tmp_path / "first", tmp_path / "second"
    files = (*TABLES, "figures/color.png", "figures/color.pdf", "figures/color.csv", "run.json")
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    with Image.open(first / "figures/color.png") as png:
        assert png.width == 2070  # 6.9 inches at 300 dpi

    words, counts, distances, geometry, agreements = (pd.read_csv(first / n) for n in TABLES)
    spaces = ["CIELAB", "CIEDE2000", "toy pictures", "llama4", "llama4 (random)"]
    assert list(words["word"])[:3] == ["red", "orange", "yellow"]
    assert list(dict.fromkeys(geometry["space"])) == spaces
    assert counts[counts["items"] == "words"]["pixels"].sum() == 2 * 20_000
    assert counts[counts["items"] == "cells"]["pixels"].sum() == 2 * 20_000
    layers = set(geometry[geometry["space"] == "llama4"]["layer"])
    assert layers == {"hidden_states.0", "hidden_states.1"}

    # CIELAB's distances are those of its own coordinates
    lab = words.set_index("word")[["L", "a", "b"]]
    own = distances[(distances["space"] == "CIELAB") & (distances["items"] == "words")]
    for row in own.itertuples():
        assert row.distance == pytest.approx(math.dist(lab.loc[row.item], lab.loc[row.other]))

    # a residual is that of the points in the table, which lie on CIELAB as best they can
    of_words = geometry[(geometry["items"] == "words")].set_index(["space", "layer"])
    of_words = of_words.rename(index={np.nan: ""})
    for row in agreements[agreements["items"] == "words"].fillna({"layer": ""}).itertuples():
        x = of_words.loc[(row.x, "")].set_index("item")[["L", "a", "b"]]
        y = of_words.loc[(row.y, row.layer)].set_index("item")[["L", "a", "b"]]
        both = [word for word in x.index if word in y.index]
        assert len(both) == row.num_colors
        assert procrustes(x.loc[both], y.loc[both])[2] == pytest.approx(row.residual)
        if row.x == "CIELAB" and len(both) == len(y):
            left = ((x - y) ** 2).to_numpy().sum() / ((x - x.mean()) ** 2).to_numpy().sum()
            assert left == pytest.approx(row.residual, rel=1e-6)

    shown = pd.read_csv(first / "figures/color.csv")
    assert set(shown["panel"]) == {"view", "residual"}
    views = shown[shown["panel"] == "view"]
    assert set(views["space"]) == {"CIELAB", "toy pictures", "llama4"}
    assert set(views["layer"].dropna()) == {"hidden_states.1"}


def test_vision_distances_are_the_largest_pmi_less_the_pmi(tmp_path: Path) -> None:
    """From pictures to the table by another way: images read by Pillow, words by numpy."""
    pixels = random_state().integers(0, 256, size=(3, 9, 9, 3)) // 128 * 255
    write_images(tmp_path / "images", list(pixels))
    named = {"black": "#000000", "red": "#ff0000", "lime": "#00ff00", "blue": "#0000ff"}
    named |= {"yellow": "#ffff00", "pink": "#ff00ff", "cyan": "#00ffff", "white": "#ffffff"}
    raw = {
        "name": "cube",
        "images": [{"name": "cube", "dataset": {"source": str(tmp_path / "images")}}],
        "words": [{"word": word, "color": color} for word, color in named.items()],
        "cooccurrence": {"pairs": 400_000, "radius": 1.5, "levels": 2, "smoothing": 0},
        "geometry": {"starts": 1, "permutations": 9},
    }
    (tmp_path / "cube.yaml").write_text(json.dumps(raw))
    assert run(str(tmp_path / "cube.yaml"), tmp_path / "out").exit_code == 0

    totals: Counter[tuple[str, str]] = Counter()
    by_color = {tuple(bytes.fromhex(c[1:])): word for word, c in named.items()}
    for image in pixels:
        names = np.array([by_color[tuple(p)] for p in image.reshape(-1, 3).tolist()]).reshape(9, 9)
        totals += oracle_pairs(names.tolist(), 1.5)  # type: ignore[arg-type]
    joint = np.array([[totals[a, b] for b in named] for a in named], dtype=float)
    expected = pmi(joint / joint.sum())
    table = pd.read_csv(tmp_path / "out" / "distances.csv")
    table = table[(table["space"] == "cube") & (table["items"] == "words")]
    order = list(named)
    found = table.set_index(["item", "other"])["distance"]
    for a, b in itertools.combinations(order, 2):
        i, j = order.index(a), order.index(b)
        assert found[a, b] == pytest.approx(expected.max() - expected[i, j], abs=0.06)


def test_one_missing_model_does_not_stop_the_rest(tmp_path: Path) -> None:
    """Exit code 3 and a line that says why; and 4 when there is nothing else."""
    missing = "families.0.models=[{name: llama4}, {name: org/none, backend: transformers}]"

    done = run("toyworld-color", tmp_path / "out", *SMALL, missing, "controls.random_weights=false")

    assert done.exit_code == 3, done.output
    (line,) = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert json.loads(line)["cell"] == "none"
    spaces = set(pd.read_csv(tmp_path / "out/geometry.csv")["space"])
    assert spaces == {"CIELAB", "CIEDE2000", "toy pictures", "llama4"}

    raw = {
        "name": "alone",
        "families": [{"name": "f", "modality": "language", "models": ["org/none"]}],
        "geometry": {"starts": 1},
    }
    (tmp_path / "alone.yaml").write_text(json.dumps(raw))
    assert run(str(tmp_path / "alone.yaml"), tmp_path / "alone").exit_code == 4


def test_a_model_of_broken_weights_is_named(tmp_path: Path) -> None:
    folder = save_language_model(tmp_path / "broken")
    rewrite(folder, lambda weights: weights["model.norm.weight"].fill_(math.nan))
    families = [{"name": "f", "modality": "language", "models": [str(folder)]}]
    raw = {"name": "alone", "families": families, "geometry": {"starts": 1}}
    (tmp_path / "alone.yaml").write_text(json.dumps(raw))

    done = run(str(tmp_path / "alone.yaml"), tmp_path / "out")

    assert done.exit_code == 5, done.output
    assert "broken: layer hidden_states.3 holds a value that is not finite" in done.output


def test_images_of_one_colour_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", [np.full((8, 8, 3), RED)] * 2)
    raw = {
        "name": "red",
        "images": [{"name": "red", "dataset": {"source": str(tmp_path / "images")}}],
        "cooccurrence": {"pairs": 1000},
        "geometry": {"starts": 1},
    }
    (tmp_path / "red.yaml").write_text(json.dumps(raw))

    done = run(str(tmp_path / "red.yaml"), tmp_path / "out")

    assert done.exit_code == 5
    assert "red: 1 of 20 words have at least 100 drawn pixels; 5 are needed" in done.output
    assert "minimum_count" in done.output


def test_too_few_counts_are_refused(tmp_path: Path) -> None:
    done = run("toyworld-color", tmp_path, *SMALL, "families=[]", "cooccurrence.pairs=60")

    assert done.exit_code == 5
    assert "Too rare: red (" in done.output

    done = run("toyworld-color", tmp_path, *SMALL, "families=[]", "cooccurrence.smoothing=0")

    assert done.exit_code == 5
    assert "Set cooccurrence.smoothing above 0" in done.output


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["images=[]", "families=[]"], "neither images nor models"),
        (["words=[red, green, blue, cyan, turquose]"], "unknown colour word"),
        (["words=[red, green, blue, cyan, red]"], "repeated word: red"),
        (["words=[red, green]"], "words"),
        (["language.templates=[a colour]"], "must hold {color}"),
        (["families.0.modality=vision", "families.0.models=[conv4]"], "language models only"),
        (["cooccurence.radius=4"], "Did you mean 'cooccurrence'?"),
        (["images.0.name=llama4", "families.0.models=[llama4]"], "repeated name"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, sets: list[str], said: str) -> None:
    done = run("toyworld-color", tmp_path / "out", *sets)

    assert done.exit_code == 2, done.output
    assert said in done.output


# --- which command a file is for ---


def test_shipped_files_are_each_for_one_command() -> None:
    color = shipped_configs("theory color")

    assert {"prh-color", "toyworld-color"} <= set(color)
    assert set(shipped_configs("theory pmi")) == {"theory-pmi"}
    assert not set(color) & set(shipped_configs())
    for name, path in color.items():
        config = load_color(path)
        assert config.name == name
        assert config.models()
    paper = load_color(color["prh-color"])
    assert (paper.cooccurrence.pairs, paper.cooccurrence.radius) == (300_000, 4)
    assert paper.geometry.starts == 1000
    assert len(paper.words) == 20


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        (["run"], "prh-color", "Run `platorep theory color prh-color`"),
        (["plan"], "theory-pmi", "Run `platorep theory pmi theory-pmi`"),
        (["theory", "color"], "smoke", "Run `platorep run|plan|extract|measure|align|plot smoke`"),
        (["theory", "color"], "theory-pmi", "Run `platorep theory pmi theory-pmi`"),
        (["theory", "pmi"], "toyworld-color", "Run `platorep theory color toyworld-color`"),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_the_right_command_is_named(
    command: list[str], name: str, said: str, own: bool, tmp_path: Path
) -> None:
    if own:  # a copy of the file, under a name that says nothing
        every = shipped_configs() | shipped_configs("theory color") | shipped_configs("theory pmi")
        copy = tmp_path / "own.yaml"
        copy.write_text(every[name].read_text())
        said, name = said.replace(f" {name}`", f" {copy}`"), str(copy)

    done = CliRunner().invoke(app, [*command, name])

    assert done.exit_code == 2
    assert said in done.output


def test_config_path_and_loaders() -> None:
    with pytest.raises(ConfigError, match="theory color"):
        load_config(config_path("prh-color", "theory color"))
    with pytest.raises(ConfigError, match="not for `platorep theory pmi`"):
        load_theory(config_path("prh-color", "theory color"))
    with pytest.raises(UnknownNameError, match="Did you mean 'prh-color'"):
        config_path("prh-colour", "theory color")


def test_the_library_of_colours_leaves_numpy_as_it_was() -> None:
    """It sets how numpy prints, and with it the digits of every CSV file of the process."""
    code = (
        "import sys, numpy as np, pandas as pd, platorep.execute\n"
        "assert 'colour' not in sys.modules\n"
        "from platorep.theory.colorimetry import to_lab\n"
        "to_lab(np.ones((1, 3)))\n"
        "assert 'colour' in sys.modules\n"
        "print(pd.DataFrame({'x': [1 / 3]}).to_csv(index=False), end='')"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == f"x\n{1 / 3!r}\n"
