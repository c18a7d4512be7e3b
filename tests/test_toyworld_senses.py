"""The toy world heard and filmed: the same everywhere, of the scene, and readable by anybody."""

import hashlib
import io
import json
import runpy
import wave
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image, ImageSequence
from pydantic import ValidationError
from runs import run_of
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from platorep.config import DatasetConfig, ExperimentConfig, ModelSpec, config_path, load_config
from platorep.data import load_dataset
from platorep.errors import ConfigError
from platorep.execute import run_stages
from platorep.files import cache_root
from platorep.models import Reading, open_model
from platorep.opened import Opened
from platorep.parameters.toyworld import ToyTraining, WorldParameters, parse_network
from platorep.report.building import build_content
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.toyworld import films, sounds
from platorep.toyworld.attributes import attributes, truth_features
from platorep.toyworld.checkpoints import write_untrained
from platorep.toyworld.films import NUM_FRAMES, film, gif_bytes
from platorep.toyworld.folder import write_folder
from platorep.toyworld.inputs import as_channels, pixel_input, sound_input, to_waveform
from platorep.toyworld.lessons import augment, training_films, training_sounds
from platorep.toyworld.networks import build_timm
from platorep.toyworld.pictures import COLOR_RGB
from platorep.toyworld.scenes import (
    TRAINING_OFFSET,
    Scene,
    Thing,
    sample_frames,
    sample_pairs,
    sample_scene,
)
from platorep.toyworld.sounds import NUM_SAMPLES, RATE, sound, wav_bytes
from platorep.toyworld.training import train

WORLD = WorldParameters()
CALM = WorldParameters(nuisance=0)
VIEWS = {"image": {}, "text": {}, "sound": {"kind": "audio"}, "film": {"kind": "video"}}
SHORT = ToyTraining(steps=2, num_scenes=12, num_frames=2, batch_size=6, checkpoints=(0,))


def one(thing: Thing, texture: int = 0) -> Scene:
    return Scene(0, 0, texture=texture, things=(thing,))


def test_sounds_and_films_are_the_same_on_every_machine() -> None:
    """A change of these numbers is a change of the world: every cached toy feature is stale."""
    heard, seen = hashlib.sha256(), hashlib.sha256()
    for scene in sample_pairs(WORLD, 40):
        heard.update(wav_bytes(sound(WORLD, scene)))
        seen.update(gif_bytes(film(WORLD, scene)))

    assert heard.hexdigest()[:16] == "5f75221de42aac79"
    assert seen.hexdigest()[:16] == "1937adb6d7aa51f4"


def test_no_sine_lies_near_a_half() -> None:
    """So that machines whose sines differ in the last bit round them alike."""
    for k in range(1, 6):
        sines = 1000 * np.sin(2 * np.pi * (k * np.arange(sounds.TABLE) / sounds.TABLE % 1))
        from_half = abs(abs(sines) % 1 - 0.5)
        assert from_half[abs(sines) % 1 != 0.5].min() > 1e-6
        assert not (abs(sines) % 1 == 0.5).any()


# --- sounds


def power(samples: np.ndarray) -> np.ndarray:
    """Of a second of sound: the n-th is at n Hz."""
    spectrum: np.ndarray = abs(np.fft.rfft(samples.astype(float))) ** 2
    return spectrum


@pytest.mark.parametrize("color", range(8))
def test_color_is_timbre_and_shape_is_pitch(color: int) -> None:
    """The power of a tone lies at the harmonics of its colour, in equal shares."""
    thing = Thing(shape=color, color=color, size=2, row=2, column=0)
    silent = sound(CALM, Scene(0, 0, texture=0, things=()))
    found = power(sound(CALM, one(thing)).astype(int) - silent)
    pitch, harmonics = sounds.PITCH_HZ[color], sounds.HARMONICS[color]
    shares = [found[k * pitch - 10 : k * pitch + 11].sum() / found.sum() for k in range(1, 6)]
    expected = [1 / len(harmonics) if k in harmonics else 0 for k in range(1, 6)]
    np.testing.assert_allclose(shares, expected, atol=0.05)


def test_size_is_length_column_is_beginning_and_row_is_loudness() -> None:
    silent = sound(CALM, Scene(0, 0, texture=0, things=())).astype(int)

    def heard(size: int, row: int, column: int) -> tuple[float, float, float]:
        tone = sound(CALM, one(Thing(3, 0, size, row, column))) - silent
        there = np.flatnonzero(tone) * 1000 / RATE
        return there[0], there[-1] - there[0], abs(tone).max()

    for column, onset in enumerate(sounds.ONSET_MS):
        assert heard(0, 2, column)[0] == pytest.approx(onset, abs=2)
    for size, ring in enumerate(sounds.RING_MS):
        assert heard(size, 2, 0)[1] == pytest.approx(ring, abs=4)
    loudest = [heard(2, row, 0)[2] for row in range(3)]
    np.testing.assert_allclose(np.array(loudest) / loudest[2], [0.6, 0.8, 1], atol=0.01)


def test_texture_is_a_hum_steady_or_beating() -> None:
    """A beat of f Hz is two more lines, f beside the first, each a quarter of its power."""
    for texture, (pitch, beats) in enumerate(sounds.HUMS):
        found = power(sound(CALM, Scene(0, 0, texture=texture, things=())))
        assert found[1:].argmax() + 1 in (pitch, 2 * pitch)
        if beats:
            assert found[pitch - beats] / found[pitch] == pytest.approx(0.25, abs=0.02)
        else:
            assert found[pitch - 7] < 1e-3 * found[pitch]


def test_wav_is_read_back() -> None:
    samples = sound(WORLD, sample_scene(WORLD, 0))
    with wave.open(io.BytesIO(wav_bytes(samples))) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, RATE)
        assert np.array_equal(np.frombuffer(file.readframes(RATE + 1), "<i2"), samples)
    assert samples.shape == (NUM_SAMPLES,)
    peaks = [abs(sound(WORLD, scene).astype(int)).max() for scene in sample_pairs(WORLD, 300)]
    assert max(peaks) < 2**15 - 1  # nothing is clipped


# --- films


def test_gif_is_read_back_by_another_decoder() -> None:
    frames = film(WORLD, sample_scene(WORLD, 0))
    with Image.open(io.BytesIO(gif_bytes(frames))) as file:
        read = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]
        assert file.info["duration"] == 10 * films.HUNDREDTHS
    assert np.array_equal(np.stack(read), frames)
    assert frames.shape == (NUM_FRAMES, 32, 32, 3)


def test_a_calm_film_is_still_and_of_the_nearest_colors() -> None:
    square = Thing(shape=1, color=5, size=2, row=1, column=1)
    frames = film(CALM, one(square))
    assert (frames == frames[0]).all()
    nearest = [round(value * n / 255) * 255 // n for value, n in
               zip(COLOR_RGB[5], films.STEPS, strict=True)]  # fmt: skip
    assert frames[0, 16, 16].tolist() == nearest


def test_grain_averages_to_the_color() -> None:
    """Dithering is unbiased: over many films, ground of one colour has its mean."""
    plain = [Scene(index, 0, texture=0, things=()) for index in range(400)]
    mean = np.mean([film(WORLD, scene).mean((0, 1, 2)) for scene in plain], axis=0)
    np.testing.assert_allclose(mean, 127, atol=3)  # tints of +-15 around 128


def test_things_drift_through_their_cell() -> None:
    """The middle of what is red goes in a straight line, through the middle of its cell."""
    ways = []
    for frame in range(12):
        scene = Scene(0, 0, texture=0, things=(Thing(1, 0, 1, 1, 1),), frame=frame)
        frames = film(WORLD, scene).astype(int)
        red = frames[..., 0] - frames[..., 1:].max(-1) > 60
        middles = np.array([np.argwhere(one_frame).mean(0) + 0.5 for one_frame in red])
        assert abs(middles.mean(0) - 16).max() < 0.6
        ways.append(middles[-1] - middles[0])
        straight = np.linspace(middles[0], middles[-1], NUM_FRAMES)
        assert abs(middles - straight).mean() < 0.6  # grain hides some of its pixels
    assert np.std(ways, axis=0).min() > 1


# --- what both tell


@pytest.mark.parametrize("sense", [sound, film])
def test_another_recording_of_a_scene_is_another(sense: Callable[..., np.ndarray]) -> None:
    first, again, other = sample_scene(WORLD, 7), sample_scene(WORLD, 7, 1), sample_scene(WORLD, 8)
    assert np.array_equal(sense(WORLD, first), sense(WORLD, first))
    same_cells = Scene(7, first.place, first.texture, first.things, frame=1)
    for scene in (same_cells, again, other):
        assert not np.array_equal(sense(WORLD, first), sense(WORLD, scene))


@lru_cache
def statistics(sense: Callable[..., np.ndarray], num: int) -> np.ndarray:
    """A histogram of a film's colours, mean and greatest loudness of each band of a sound."""
    scenes = sample_pairs(WORLD, num)
    if sense is film:
        steps = np.array(films.STEPS) + 1
        codes = [np.rint(film(WORLD, s) * np.array(films.STEPS) / 255).astype(int) for s in scenes]
        flat = [np.ravel_multi_index(c.reshape(-1, 3).T, steps) for c in codes]
        return np.sqrt([np.bincount(row, minlength=steps.prod()) for row in flat])
    heard = torch.stack([sound_input(to_waveform(sound(WORLD, s))) for s in scenes])[:, 0]
    return torch.cat([heard.mean(-1), heard.amax(-1)], dim=1).double().numpy()


@pytest.mark.parametrize(
    ("sense", "layer"), [(sound, "shapes"), (sound, "texture"), (film, "colors")]
)
def test_simple_statistics_tell_what_is_true(sense: Callable[..., np.ndarray], layer: str) -> None:
    """A linear probe, above the more frequent answer on other scenes than it has learned from."""
    seen = statistics(sense, 600)
    seen = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
    answers = np.minimum(attributes(WORLD, sample_pairs(WORLD, 600))[layer], 1)
    gains = []
    for answer in answers.T[answers.mean(0) > 0.1]:
        probe = LogisticRegression(C=0.03).fit(seen[:400], answer[:400])
        frequent = max(answer[400:].mean(), 1 - answer[400:].mean())
        gains.append(probe.score(seen[400:], answer[400:]) - frequent)
    assert np.mean(gains) > 0.05


# --- files and networks


def test_a_folder_with_sounds_and_films(tmp_path: Path) -> None:
    bare = write_folder(tmp_path / "bare", WORLD, 2)
    path = write_folder(tmp_path / "all", WORLD, 2, recordings=("sound", "film"))
    header, first, _ = (path / "captions.csv").read_text().splitlines()
    assert header == "file_name,caption,sound,film"
    assert first.endswith(",scene-000000.wav,scene-000000.gif")
    scene = sample_scene(WORLD, 0)
    assert (path / "scene-000000.wav").read_bytes() == wav_bytes(sound(WORLD, scene))
    assert (path / "scene-000000.gif").read_bytes() == gif_bytes(film(WORLD, scene))
    assert sorted(file.name for file in bare.iterdir()) == [
        "captions.csv",
        "scene-000000.png",
        "scene-000001.png",
    ]


def test_input_of_a_sound() -> None:
    """A tone of 500 Hz is loudest in the band around it; what is short goes on in silence."""
    at = torch.arange(NUM_SAMPLES) / RATE
    tone = sound_input(torch.sin(2 * torch.pi * 500 * at) / 2)
    assert tone.shape == (1, 32, 32)
    edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 2000 / 700), 34)
    middles = 700 * (10 ** (edges[1:-1] / 2595) - 1)
    assert (tone[0, :, 1:-1].argmax(0) == abs(middles - 500).argmin()).all()
    short = sound_input(tone.new_zeros(10))
    assert torch.equal(short, sound_input(torch.zeros(2 * NUM_SAMPLES)))


def test_lessons_are_the_training_scenes() -> None:
    heard, seen = training_sounds(WORLD, 2, 2), training_films(WORLD, 2, 2)
    for frame in sample_frames(WORLD, TRAINING_OFFSET + 1, 2):
        expected = sound_input(to_waveform(sound(WORLD, frame)))
        assert torch.equal(heard[1, frame.frame], expected)
        frames = torch.from_numpy(film(WORLD, frame))
        assert torch.equal(seen[1, frame.frame, 3:6], frames[1].permute(2, 0, 1))
    assert seen.shape == (2, 2, 3 * NUM_FRAMES, 32, 32)


def test_frames_of_a_film_are_augmented_alike() -> None:
    still = pixel_input(as_channels(torch.from_numpy(film(CALM, sample_scene(CALM, 0)))))[None]
    changed = augment(still.repeat(3, 1, 1, 1), torch.Generator().manual_seed(0))
    frames = changed.unflatten(1, (NUM_FRAMES, 3))
    assert torch.equal(frames, frames[:, :1].expand_as(frames))
    assert not torch.allclose(frames[0], frames[1])


@pytest.mark.parametrize(("name", "channels"), [("sound4", 1), ("film4", 3 * NUM_FRAMES)])
def test_checkpoint_is_an_ordinary_timm_folder(name: str, channels: int, tmp_path: Path) -> None:
    network = parse_network(name)
    path = write_untrained(tmp_path / name, network, seed=3)
    loaded = timm.create_model(f"local-dir:{path}", pretrained=True, num_classes=0).eval()
    inputs = torch.rand(2, channels, 32, 32)
    assert torch.equal(loaded(inputs), build_timm(network, 32, 3).eval()(inputs))
    assert tuple(timm.data.resolve_model_data_config(loaded)["input_size"]) == (channels, 32, 32)
    config = json.loads((path / "config.json").read_text())
    assert config["pretrained_cfg"]["first_conv"] is None  # older releases of timm would adapt it


def test_names_say_the_sense() -> None:
    assert [parse_network(name).modality for name in ("sound8", "film8x2")] == ["audio", "video"]
    assert parse_network("film8x2").name == "film8x2"
    for wrong in ("sounds8", "film", "smell8"):
        with pytest.raises(ConfigError, match=wrong):
            parse_network(wrong)


@pytest.mark.parametrize("name", ["sound4", "film4"])
@pytest.mark.parametrize("tasks", [(), ("striped", "disc")])
def test_training_moves_the_network_and_repeats(
    name: str, tasks: tuple[str, ...], tmp_path: Path
) -> None:
    network, plan = parse_network(name), SHORT.model_copy(update={"tasks": tasks})
    first, again = (train(tmp_path / place, network, WORLD, plan) for place in "ab")
    before, after, repeated = (
        load_file(path / "model.safetensors") for path in (first[0], first[2], again[2])
    )
    assert all(torch.equal(after[key], repeated[key]) for key in after)
    moved = [key for key in after if not torch.equal(after[key], before[key])]
    assert set(moved) >= {key for key in after if key.endswith("conv1.0.weight")}
    assert json.loads((first[2] / "training.json").read_text())["step"] == 2


# --- in an experiment


def senses(**settings: object) -> ExperimentConfig:
    """All four senses and the truth, each by the smallest network, hardly trained."""
    short = {"steps": 2, "num_scenes": 12, "num_frames": 2, "batch_size": 6}
    names = {"vision": "conv2", "language": "llama4", "audio": "sound2", "video": "film2"}
    families = [
        {"name": m, "modality": m, "backend": "toyworld", "models": [n], "training": short}
        for m, n in names.items()
    ]
    truth = {"name": "truth", "modality": "truth", "backend": "toyworld", "models": ["truth"]}
    modalities = [*names, "truth"]
    return ExperimentConfig.model_validate(
        {
            "name": "senses",
            "dataset": {"source": "toyworld", "limit": 24, "views": VIEWS},
            "families": [*families, truth],
            "align": {
                "pairs": list(combinations(modalities, 2)),
                "metrics": [{"name": "mutual_knn", "k": 3}],
                "null": {"permutations": 20},
            },
            "figures": [{"kind": "senses"}],
            "report": {"after_run": False},
        }
        | settings
    )


@pytest.mark.parametrize(("modality", "view"), [("audio", "sound"), ("video", "film")])
def test_features_are_those_of_a_forward_pass_by_hand(modality: str, view: str) -> None:
    """Of the network in its checkpoint, on the scene itself and not on its file."""
    dataset = load_dataset(senses().dataset, offline=True)
    (spec,) = (spec for spec in senses().models() if spec.modality == modality)
    model = open_model(spec, offline=True)
    model.prepare(Reporter(-1))
    found = model.load("cpu", torch.float32).features(Reading([3, 0], dataset.views[view]))

    scenes = [sample_scene(WORLD, index) for index in (3, 0)]
    if view == "sound":
        inputs = [sound_input(to_waveform(sound(WORLD, scene))) for scene in scenes]
    else:
        frames = [torch.from_numpy(film(WORLD, scene)) for scene in scenes]
        inputs = [pixel_input(as_channels(one)) for one in frames]
    (folder,) = train(
        cache_root() / "toyworld", parse_network(spec.name), WORLD, spec.training
    ).values()
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    with torch.no_grad():
        _, layers = network.forward_intermediates(torch.stack(inputs))
    assert len(found) == len(layers) == len(model.describe().layers or ())
    for ours, theirs in zip(found, layers, strict=True):
        torch.testing.assert_close(ours, theirs.mean((2, 3)), atol=1e-5, rtol=1e-5)


def test_a_dataset_without_recordings_has_the_folder_that_it_had() -> None:
    """And its key; one that sounds has a folder of its own, with the same pictures."""
    pair = DatasetConfig(source="toyworld", limit=3)
    for config in (pair, pair.model_copy(update={"views": senses().dataset.views})):
        load_dataset(config, offline=True)
    plain, sounding = sorted(
        (path for path in (cache_root() / "toyworld").glob("pairs-*") if path.is_dir()),
        key=lambda path: len(list(path.iterdir())),
    )
    assert plain.name == "pairs-2564993f2a1a1039"
    assert {path.suffix for path in plain.iterdir()} == {".csv", ".png"}
    assert {path.suffix for path in sounding.iterdir()} == {".csv", ".png", ".wav", ".gif"}
    for picture in plain.glob("*.png"):
        assert (sounding / picture.name).read_bytes() == picture.read_bytes()


def test_a_world_without_pictures() -> None:
    """The truth knows the scene of a row by the name of its sound, or by its number."""
    for views, reads in (({"sound": {"kind": "audio"}}, "sound"), ({"text": {}}, "text")):
        dataset = load_dataset(DatasetConfig(source="toyworld", limit=4, views=views), offline=True)
        settings = {"name": "truth", "label": "t", "family": "t", "backend": "toyworld"}
        spec = ModelSpec.model_validate(settings | {"modality": "truth", "view": reads})
        layers = open_model(spec, offline=True).load("cpu", torch.float32)
        found = layers.features(Reading([2], dataset.views[reads]))
        expected = truth_features(WORLD, [sample_scene(WORLD, 2)])["all"]
        np.testing.assert_allclose(found[layers.layers.index("all")], expected, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "sound2", "modality": "video"}, "is a audio network; found modality 'video'"),
        ({"name": "film2", "modality": "video", "transform": {"crop_pct": 0.5}}, "`transform`"),
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    settings = {"label": "x", "family": "f", "backend": "toyworld", "step": 0}
    with pytest.raises(ConfigError, match=message):
        open_model(ModelSpec.model_validate(settings | changes), offline=True)


@pytest.mark.parametrize(("name", "modality"), [("sound2", "audio"), ("film2", "video")])
def test_settings_of_sounds_and_films_are_in_the_key(name: str, modality: str) -> None:
    settings = {"name": name, "modality": modality, "training": ToyTraining(steps=0), "step": 0}
    settings |= {"label": "x", "family": "f", "backend": "toyworld"}
    model = open_model(ModelSpec.model_validate(settings), offline=True)
    model.prepare(Reporter(-1))
    plain = model.identity()
    assert plain["transform"] == {f"{name[:-1]}_input": 1}
    for changes in ({"layers": (0,)}, {"random_init": True}):
        changed = ModelSpec.model_validate(settings | changes)
        assert open_model(changed, offline=True).identity() != plain


def test_a_scene_has_no_arrays() -> None:
    with pytest.raises(ValidationError, match="a scene of the toy world has none"):
        DatasetConfig.model_validate({"source": "toyworld", "views": {"array": {}}})


@pytest.mark.usefixtures("shapes_unchecked")
def test_all_pairs_of_senses_are_scored_drawn_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platorep.toyworld.objectives.NUM_HELD_OUT", 5)
    config, results = senses(), Results(tmp_path)
    run = run_of(config, results, cache_root())
    errors, _ = run_stages(run)

    assert errors == []
    page = build_content(Opened(run))
    assert page.answer[0].startswith("conv2 and llama4 are the one vision \xd7 language pair")
    assert all(row.pictures.keys() == {"image", "sound", "film"} for row in page.rows)
    assert all(row.texts["text"] for row in page.rows)
    best = pd.read_csv(results.best)
    scored = best[~best["x_random"] & ~best["y_random"] & best["control"].isna()]
    found = set(zip(scored["x_modality"], scored["y_modality"], strict=True))
    assert len(set(map(frozenset, found))) == len(scored) == 10
    assert scored["score"].notna().all()
    assert list((tmp_path / "figures").glob("senses*.png"))

    check = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "check_toyworld.py"))
    check["main"]([str(tmp_path)])
    told = capsys.readouterr().out
    for row in scored.itertuples():
        title = f"{row.x_modality} x {row.y_modality}: mean, smallest to largest networks"
        (line,) = (line for line in told.splitlines() if line.startswith(title))
        assert f"{row.score:.3f}, {row.score:.3f} to {row.score:.3f}" in line


def test_the_shipped_experiment_has_each_sense_in_several_sizes() -> None:
    config = load_config(config_path("toyworld-senses"))
    models = config.models()
    for modality in ("vision", "language", "audio", "video"):
        own = [spec for spec in models if spec.modality == modality and not spec.random_init]
        assert len(own) == 4
        assert len([spec for spec in models if spec.random_of in {s.label for s in own}]) == 4
    pairs = {(pair.x.modality, pair.y.modality) for pair in config.align.pairs}
    assert len({frozenset(pair) for pair in pairs}) == 10
