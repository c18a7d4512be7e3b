"""Baselines by hand and by scikit-learn, and that preprocessing leaves their neighbors alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.lines import Line2D
from matplotlib.text import Text
from media import tone
from PIL import Image
from runs import run_of
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from platorep.config import ExperimentConfig, ModelSpec
from platorep.errors import ConfigError, DataError
from platorep.extraction import extract
from platorep.features import Cell
from platorep.kinds.audio import Sound
from platorep.models import Reading, baselines, open_model
from platorep.models.baselines import (
    colour_histogram,
    grey_thumbnail,
    mean_log_mel,
    rotated,
)
from platorep.parameters.baselines import BASELINES
from platorep.parameters.figures import (
    CalibrationFigure,
    HeatmapFigure,
    LayersFigure,
    MetricGridFigure,
    ScalingFigure,
)
from platorep.parameters.preprocess import PreprocessConfig
from platorep.plan import plan_table
from platorep.plots import Tables, draw_figure
from platorep.preprocess import preprocess
from platorep.results import Results
from platorep.run import Run
from platorep.toyworld.inputs import FLOOR, log_mel, mel_bands

TEXTS = (
    "A brown dog runs on the grass.",
    "a dog runs over green grass",
    "Two children play in the snow.",
    "children play football in snow, two of them",
    "A man rides a red bicycle.",
    "!!!",
)


@dataclass(frozen=True)
class Rows:
    samples: Sequence[Any]

    @property
    def ids(self) -> list[str]:
        return [f"row {i}" for i in range(len(self.samples))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int, /) -> Any:
        return self.samples[i]


def spec(name: str, **settings: object) -> ModelSpec:
    said = {"name": name, "label": name, "family": "baselines", "modality": "language"}
    kind = BASELINES.get(name, "text")
    return ModelSpec.model_validate(
        said | {"backend": "baseline", "kind": kind, "view": kind} | settings
    )


def features(name: str, samples: Sequence[Any], rows: Sequence[int] | None = None) -> torch.Tensor:
    loaded = open_model(spec(name), offline=True).load("cpu", torch.float32)
    rows = range(len(samples)) if rows is None else rows
    (layer,) = loaded.features(Reading(rows, Rows(samples), workers=0))
    loaded.close()
    return layer


def tfidf_by_hand(texts: Sequence[str]) -> np.ndarray:
    """Count times 1 + log((1 + n) / (1 + number of texts with the word)), each row of length 1."""
    letters = [[c if c.isalnum() else " " for c in text.lower()] for text in texts]
    words = [[word for word in "".join(ones).split() if len(word) > 1] for ones in letters]
    vocabulary = sorted({word for row in words for word in row})
    counts = np.array([[row.count(word) for word in vocabulary] for row in words], float)
    weighted = counts * (1 + np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=0))))
    lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
    return weighted / np.where(lengths == 0, 1, lengths)


def test_inner_products_of_words_are_those_by_hand_and_of_scikit_learn() -> None:
    found = features("bag of words", TEXTS).double().numpy()

    by_hand = tfidf_by_hand(TEXTS)
    assert found @ found.T == pytest.approx(by_hand @ by_hand.T, abs=1e-6)
    theirs = cosine_similarity(TfidfVectorizer().fit_transform(TEXTS))
    assert found @ found.T == pytest.approx(theirs, abs=1e-6)


def test_captions_of_one_event_are_neighbors_after_preprocessing() -> None:
    """Without rotation clipping would make zeros of counts, most of which are zeros."""
    paper = PreprocessConfig.model_validate("paper")
    texts = TEXTS[:5]

    (layer,) = preprocess([features("bag of words", texts)], paper)

    nearest = (layer @ layer.T).fill_diagonal_(-1).argmax(dim=1)
    assert nearest[:4].tolist() == [1, 0, 3, 2]
    of_many_words = np.pad(tfidf_by_hand(texts), ((0, 0), (0, 200)))
    with pytest.raises(DataError, match="every value into zero"):
        preprocess([torch.from_numpy(of_many_words).float()], paper)


def test_words_are_weighed_over_all_rows_whichever_are_read() -> None:
    whole = features("bag of words", TEXTS)

    assert torch.equal(features("bag of words", TEXTS, [4, 1]), whole[[4, 1]])


def test_rows_without_words_and_words_too_rare_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_WORDS", 3)  # children, dog and grass, or in: each twice
    loaded = open_model(spec("bag of words"), offline=True).load("cpu", torch.float32)

    (layer,) = loaded.features(Reading(range(6), Rows(TEXTS)))

    assert layer.shape == (6, 4)  # of the eight words that are there twice, the first three
    assert not layer[[4, 5]].any()
    assert layer[:4].any(dim=1).all()
    left_out, empty = loaded.notes
    assert "3 commonest" in left_out
    assert empty.startswith("2 rows")
    assert "'row 4'" in empty


def test_no_words_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="none of the 2 texts"):
        features("bag of words", ["!", "a b c"])


def test_a_rotation_keeps_inner_products_and_spreads_each_value() -> None:
    vectors = torch.randn(7, 21, generator=torch.Generator().manual_seed(0), dtype=torch.double)

    found = rotated(vectors)

    assert found.shape == (7, 32)
    torch.testing.assert_close(found @ found.T, vectors @ vectors.T)
    one = rotated(torch.eye(21, dtype=torch.double)[3:4])
    torch.testing.assert_close(one.abs(), torch.full((1, 32), 32**-0.5, dtype=torch.double))
    assert 8 < (rotated(torch.ones(1, 32)) > 0).sum() < 24  # no coordinate takes the whole sum
    assert torch.equal(rotated(torch.ones(1, 1)).abs(), torch.ones(1, 1).double())


def half(first: tuple[int, int, int], second: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (8, 4), first)
    image.paste(second, (4, 0, 8, 4))
    return image


def test_a_histogram_by_hand() -> None:
    """A quarter of the one image's red is the other's; 32 values of red are one box."""
    red, blue, green = (200, 0, 0), (0, 0, 255), (0, 200, 0)
    images = [half(red, blue), half((223, 31, 0), green), half(blue, red), half(green, green)]

    boxes = colour_histogram(images[0])
    assert boxes.nonzero().flatten().tolist() == [7, 6 * 64]
    assert boxes[7].item() == pytest.approx(0.5**0.5)
    found = features("colour histogram", images)
    products = (found @ found.T).numpy()
    half_each, root = 0.5, 0.5**0.5  # sqrt(1/2 * 1/2), sqrt(1/2 * 1)
    assert products == pytest.approx(
        np.array(
            [
                [1, half_each, 1, 0],
                [half_each, 1, half_each, root],
                [1, half_each, 1, 0],
                [0, root, 0, 1],
            ]
        ),
        abs=1e-6,
    )


def test_a_thumbnail_by_hand() -> None:
    """Each of its pixels is the mean of those that it covers; white is 1, black is -1."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[0, :3] = 255  # one of the two rows of the first pixel: half of its 2 x 3
    pixels[:, -3:] = 255

    small = grey_thumbnail(Image.fromarray(pixels)).reshape(16, 16)

    expected = torch.full((16, 16), -1.0, dtype=torch.double)
    expected[:, -1] = 1
    expected[0, 0] = 0
    torch.testing.assert_close(small, expected, atol=0.005, rtol=0)


def test_the_spectrum_of_a_tone_peaks_in_its_band_and_loudness_adds() -> None:
    quiet, loud = (Sound(tone(1000, loud=volume), 16_000) for volume in (0.05, 0.5))
    bands = mel_bands(400, 64, 20, 16_000)
    (own,) = (bands[:, 25] > bands[:, 25].max() * 0.5).nonzero()[:1, 0].tolist()  # 25 * 40 Hz

    spectrum = mean_log_mel(loud)

    assert abs(int(spectrum.argmax()) - own) <= 1
    peak = int(spectrum.argmax())
    assert (spectrum - mean_log_mel(quiet))[peak].item() == pytest.approx(np.log(100), rel=0.01)
    every = log_mel(torch.from_numpy(loud.waveform), bands, 400, 160) - np.log(FLOOR)
    torch.testing.assert_close(spectrum, every.double().mean(dim=1))
    halved = Sound(tone(1000, rate=32_000), 32_000)  # the same tone, recorded otherwise
    assert torch.cosine_similarity(mean_log_mel(halved), spectrum, dim=0) > 0.99
    assert mean_log_mel(Sound(loud.waveform[:50], 16_000)).isfinite().all()
    assert features("mean log-mel", [loud, quiet]).shape == (2, 64)


@pytest.mark.parametrize("name", BASELINES)
def test_each_says_what_it_is(name: str) -> None:
    model = open_model(spec(name), offline=True)

    assert model.identity()["baseline"] == name
    assert model.describe().layers == (name,)
    widths = {"colour histogram": 512, "grey thumbnail": 256, "mean log-mel": 64}
    assert model.describe().widths == ((widths[name],) if name in widths else None)


def test_settings_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_model(spec("bag of words"), offline=True).identity()
    monkeypatch.setitem(baselines.SETTINGS, "bag of words", {"max_words": 7})  # type: ignore[arg-type]

    assert open_model(spec("bag of words"), offline=True).identity() != before


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("bag of wods", {}, "Did you mean 'bag of words'"),
        ("bag of words", {"kind": "image", "view": "photo"}, "'photo' is of kind image"),
        ("bag of words", {"pool": "mean"}, "`pool` mean nothing"),
        ("grey thumbnail", {"random_init": True}, "`random_init`"),
    ],
)
def test_what_is_no_baseline_is_refused(name: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_model(spec(name, **settings), offline=True)


def test_an_experiment_makes_them_once_for_its_rows(tmp_path: Path) -> None:
    """A cell per baseline; another choice of rows weighs words otherwise, and is another cell."""
    (tmp_path / "photos").mkdir()
    lines = ["file_name,text"]
    for i, text in enumerate(TEXTS[:5]):
        image = half((40 * i, 0, 0), (0, 40 * i, 200))
        image.save(tmp_path / "photos" / f"{i}.png")
        lines.append(f'{i}.png,"{text}"')
    (tmp_path / "photos" / "captions.csv").write_text("\n".join(lines))

    def run(limit: int) -> Run:
        raw = {
            "name": "counted",
            "dataset": {"source": str(tmp_path / "photos"), "limit": limit},
            "families": [
                {"name": "readers", "modality": "language", "models": ["org/never-opened"]},
                {"name": "viewers", "modality": "vision", "models": ["resnet18"]},
            ],
            "extract": {"workers": 0, "rows_per_shard": 2},
            "controls": {"baselines": True},
        }
        config = ExperimentConfig.model_validate(raw)
        specs = [spec for spec in config.models() if spec.is_baseline]
        results = Results(tmp_path / f"results-{limit}")
        return run_of(config, results, tmp_path / "cache", specs=specs)

    found = {}
    for limit in (4, 5):
        extract(run(limit))
        cells = run(limit).results.read_json(run(limit).results.cells, "extract")["cells"]
        found[limit] = {label: tmp_path / "cache" / one["folder"] for label, one in cells.items()}

    assert set(found[5]) == {"bag of words", "colour histogram", "grey thumbnail"}
    (layer,) = Cell(found[5]["bag of words"]).read()  # from three shards
    theirs = cosine_similarity(TfidfVectorizer().fit_transform(TEXTS[:5]))
    assert (layer @ layer.T).numpy() == pytest.approx(theirs, abs=1e-6)
    assert not set(found[4].values()) & set(found[5].values())
    rows = plan_table(run(5))[1].set_index("cell")
    assert (rows.loc[list(found[5]), "state"] == "cached").all()


def two_by_two() -> Tables:
    """Language models at two x and one without, a bag of words, two images' networks, a random
    copy of each, and a colour histogram."""
    models = pd.DataFrame(
        [
            ("small", "words", "language", "", False, 1),
            ("large", "words", "language", "", False, 2),
            ("encoder", "sentences", "language", "", False, 3),
            ("bag of words", "baselines", "language", "", True, 4),
            ("conv", "images", "vision", "", False, 5),
            ("vit", "transformers", "vision", "", False, 6),
            ("conv (random)", "images", "vision", "conv", False, 7),
            ("colour histogram", "baselines", "vision", "", True, 8),
            ("small (random)", "words", "language", "small", False, 9),
        ],
        columns=["label", "family", "modality", "random_of", "baseline", "order"],
    )
    models = models.assign(random=models["random_of"] != "", num_parameters=1e6, num_layers=3)
    rows = []
    for i, x in models[models["modality"] == "language"].iterrows():
        for j, y in models[models["modality"] == "vision"].iterrows():
            row = {"x": x["label"], "y": y["label"], "control": "", "metric": "mutual_knn{k: 10}"}
            for side, model in (("x", x), ("y", y)):
                row |= {f"{side}_{name}": model[name] for name in ("family", "modality", "random")}
                row |= {f"layer_{side}": 0, f"num_layers_{side}": 3}
            row |= {"dataset": "hand", "score": (100 * int(i) + int(j)) / 1000, "chance": 0.01}
            rows.append(row | {"n": 1024, "k": 10, "p": 0.001, "calibrated": int(i) / 20})
    bits = {"small": 1.5, "large": 1.0, "small (random)": 8.0}
    performance = pd.DataFrame(
        [{"model": m, "measure": "bits_per_byte", "value": v} for m, v in bits.items()]
    ).assign(source="hand")
    return Tables(best=pd.DataFrame(rows), performance=performance, models=models)


def drawn(figure: ScalingFigure | CalibrationFigure | MetricGridFigure) -> pd.DataFrame:
    return draw_figure(two_by_two(), figure)[1].frame


def test_baselines_are_levels_and_lines_in_every_panel() -> None:
    points = drawn(ScalingFigure(references=("encoder",))).set_index("role")

    level = points.loc["level"]
    assert level["x"].isna().all()
    assert level.set_index(["point", "line"])["score"].to_dict() == {
        ("encoder", "conv"): 0.204,
        ("encoder", "vit"): 0.205,
        ("bag of words", "conv"): 0.304,
        ("bag of words", "vit"): 0.305,
    }
    line = points.loc["baseline line"]
    assert set(line["line"]) == {"colour histogram"}
    assert sorted(zip(line["line_family"], line["x"], line["score"], strict=True)) == [
        ("images", -0.5, 0.007),
        ("images", 0.0, 0.107),
        ("transformers", -0.5, 0.007),
        ("transformers", 0.0, 0.107),
    ]
    assert set(points.loc["trained", "point"]) == {"small", "large"}


def test_the_drawing_has_each_level_and_says_what_it_is() -> None:
    figure, points = draw_figure(two_by_two(), ScalingFigure(references=("encoder",)))

    drawn_at = {
        str(line.get_gid()): set(np.atleast_1d(line.get_ydata()))
        for line in figure.findobj(Line2D)
        if str(line.get_gid()).startswith("level|")
    }
    assert drawn_at == {
        f"level|{row['point']}|{row['line']}": {row["score"]}
        for _, row in points.frame[points.frame["role"] == "level"].iterrows()
    }
    told = {text.get_text() for text in figure.findobj(Text)}
    assert {"bag of words", "encoder", "colour histogram"} <= told
    assert not [note for note in points.notes if "encoder" in note or "bag" in note]


@pytest.mark.parametrize("kind", [CalibrationFigure, MetricGridFigure])
def test_metric_grids_and_calibrated_scores_have_them_too(
    kind: type[CalibrationFigure] | type[MetricGridFigure],
) -> None:
    points = drawn(kind())

    assert {"level", "baseline line"} <= set(points["role"])
    assert set(points.loc[points["role"] == "level", "point"]) == {"bag of words"}
    if kind is CalibrationFigure:
        below = points[points["facet"].str.startswith("calibrated")]
        assert below.loc[below["role"] == "level", "score"].tolist() == [0.15, 0.15]


def test_without_controls_there_are_none() -> None:
    assert set(drawn(ScalingFigure(controls=False))["role"]) == {"trained"}


def test_heatmaps_show_them_with_the_controls_and_others_leave_them_out() -> None:
    tables = two_by_two()

    shown = draw_figure(tables, HeatmapFigure())[1].frame
    assert {"bag of words", "encoder"} <= set(shown["x"])
    hidden = draw_figure(tables, HeatmapFigure(controls=False))[1].frame
    assert set(hidden["x"]) == {"small", "large", "encoder"}
    assert set(hidden["y"]) == {"conv", "vit"}
    along = draw_figure(tables, LayersFigure())[1].frame
    assert not along.isin(["bag of words", "colour histogram"]).any().any()
