"""The toy world: the same everywhere; what its pictures and captions show; its networks."""

import hashlib
import io
import math
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from pydantic import ValidationError
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from platorep.errors import ConfigError, DamagedError
from platorep.parameters.toyworld import WorldParameters, parse_network
from platorep.toyworld import captions, pictures, scenes
from platorep.toyworld.attributes import attributes, place_posterior, truth_features
from platorep.toyworld.captions import caption, vocabulary
from platorep.toyworld.checkpoints import atomic_folder, write_untrained
from platorep.toyworld.draws import Draws, Purpose, urn
from platorep.toyworld.folder import (
    refuse_other_pairs,
    write_folder,
    write_kept_folder,
    write_text_file,
)
from platorep.toyworld.networks import build_language, build_timm, build_tokenizer
from platorep.toyworld.pictures import picture, png_bytes
from platorep.toyworld.scenes import (
    Scene,
    Thing,
    places,
    recorded_again,
    sample_pairs,
    sample_scene,
    told_scene,
)

WORLD = WorldParameters()
FLAT = WorldParameters(concentration=50, layout_concentration=50)


def test_the_world_is_the_same_on_every_machine() -> None:
    """A change of these numbers is a change of the world: every cached toy feature is stale."""
    hashed = hashlib.sha256()
    for scene in sample_pairs(WORLD, 40):
        hashed.update(repr(scene).encode())
        hashed.update(caption(WORLD, scene).encode())
        hashed.update(png_bytes(picture(WORLD, scene)))

    assert hashed.hexdigest()[:16] == "44c7ad798d6fbf3e"


def test_a_scene_does_not_depend_on_how_many_are_drawn() -> None:
    assert sample_pairs(WORLD, 5)[3] == sample_pairs(WORLD, 1, offset=3)[0]
    assert sample_pairs(WorldParameters(seed=1), 5) != sample_pairs(WORLD, 5)


def kinds_of(scene: Scene) -> list[int]:
    """Texture, number of objects, and shape, colour and size of the first two."""
    things = [part for t in scene.things[:2] for part in (t.shape, t.color, t.size)]
    return [scene.texture, len(scene.things), *things]


def test_a_caption_shares_as_many_attributes_with_the_picture_as_the_world_says() -> None:
    found = sample_pairs(WORLD, 400)
    shown = np.array([kinds_of(scene) for scene in found])
    same = {}
    for share in (0.0, 0.3, 0.6, 1.0):
        world = WorldParameters(shared=share)
        told = [told_scene(world, scene) for scene in found]
        same[share] = np.array([kinds_of(scene) for scene in told]) == shown
        assert all(len({(t.row, t.column) for t in s.things}) == len(s.things) for s in told)
    # what agrees by chance does so at each share alike: strangers have common habits
    chance = same[0.0].mean(axis=0)
    for share in (0.3, 0.6):
        kept = (same[share].mean(axis=0) - chance) / (1 - chance)
        assert np.abs(kept - share).max() < 0.12
        assert abs(kept.mean() - share) < 0.03
    assert same[1.0].all()
    assert (same[0.3] <= same[0.6]).all()  # what is the picture's stays the picture's


def test_what_a_world_shares_is_no_setting_of_old_worlds() -> None:
    assert "shared" not in WORLD.model_dump(mode="json")
    assert WorldParameters(shared=0.5).model_dump(mode="json")["shared"] == 0.5
    with pytest.raises(ValidationError, match=r"shared: 0\.5 needs `pairs: same_scene`"):
        WorldParameters(shared=0.5, pairs="same_place")


def test_draws_are_uniform_and_weighted() -> None:
    draws = Draws(0, 0, Purpose.SCENE)
    sixths = Counter(draws.below(6) for _ in range(6000))
    thirds = Counter(draws.choice((1, 0, 2)) for _ in range(6000))
    orders = Counter(tuple(draws.order(3)) for _ in range(6000))

    for counts, expected in ((sixths, 1000), (orders, 1000)):
        assert len(counts) == 6
        assert all(abs(count - expected) < 150 for count in counts.values())  # 5 deviations
    assert thirds[1] == 0
    assert abs(thirds[2] - 4000) < 200
    assert {draws.between(-2, 2) for _ in range(200)} == {-2, -1, 0, 1, 2}
    octets = draws.octets(100_001)
    assert len(octets) == 100_001
    assert abs(octets.mean() - 127.5) < 1.2


@pytest.mark.parametrize("concentration", [0.06, 0.8, 50.0])
def test_the_urn_is_a_dirichlet(concentration: float) -> None:
    """Sum of squared shares: (1 + a) / (1 + K a) for a Dirichlet, plus 1/size for a finite urn."""
    num, size = 8, 128
    squares = []
    for index in range(300):
        counts = urn(Draws(3, index, Purpose.PLACES), num, concentration, size=size)
        assert sum(counts) == size
        squares.append(sum((count / size) ** 2 for count in counts))

    pair = (1 + concentration) / (1 + num * concentration)
    expected = 1 / size + (1 - 1 / size) * pair
    error = 4 * np.std(squares) / math.sqrt(len(squares))
    assert np.mean(squares) == pytest.approx(expected, abs=error)


def test_frames_share_all_but_cells_and_nuisance() -> None:
    first, second = sample_scene(WORLD, 7), sample_scene(WORLD, 7, frame=1)

    def lasting(scene: Scene) -> list[tuple[int, int, int]]:
        return [(thing.shape, thing.color, thing.size) for thing in scene.things]

    assert (first.place, first.texture, lasting(first)) == (
        second.place,
        second.texture,
        lasting(second),
    )
    assert not np.array_equal(picture(WORLD, first), picture(WORLD, second))
    assert len({sample_scene(WORLD, 7, frame).things for frame in range(20)}) > 1


def test_no_two_things_share_a_cell() -> None:
    for scene in sample_pairs(WORLD, 300):
        assert len({(thing.row, thing.column) for thing in scene.things}) == len(scene.things)
        assert len(scene.things) in scenes.COUNTS


def test_places_follow_zipf_and_their_habits() -> None:
    """Frequencies of 4000 scenes against the weights they are drawn with."""
    found = sample_pairs(WORLD, 4000)
    harmonic = sum(1 / rank for rank in range(1, 33))
    often = Counter(scene.place for scene in found)
    for place in range(4):
        share = 1 / (place + 1) / harmonic
        deviation = math.sqrt(4000 * share * (1 - share))
        assert abs(often[place] - 4000 * share) < 4 * deviation

    textures = Counter(scene.texture for scene in found if scene.place == 0)
    weights = places(WORLD)[0].textures
    for texture, weight in enumerate(weights):
        share = weight / sum(weights)
        deviation = math.sqrt(often[0] * share * (1 - share)) + 1
        assert abs(textures[texture] - often[0] * share) < 4 * deviation


def test_uniform_share() -> None:
    strict = WorldParameters(uniform_share=0, concentration=0.01)
    assert any(0 in place.shapes for place in places(strict))
    assert all(min(place.shapes) > 0 for place in places(WORLD))
    blind = WorldParameters(uniform_share=1, concentration=0.01)
    assert all(len(set(place.shapes)) == 1 for place in places(blind))


# --- captions


def test_caption_worked_by_hand() -> None:
    scene = Scene(0, 0, texture=1, things=(Thing(0, 0, 2, 0, 0), Thing(1, 5, 0, 2, 1)))
    assert "disc and square" in {caption(WORLD, scene, 1, variant) for variant in range(20)}
    disc = (captions.SIZE_WORDS[2], captions.COLOR_WORDS[0], captions.SHAPE_WORDS[0])
    disc += (captions.ROW_WORDS[0], captions.COLUMN_WORDS[0])
    square = (captions.SIZE_WORDS[0], captions.COLOR_WORDS[5], captions.SHAPE_WORDS[1])
    square += (captions.ROW_WORDS[2], captions.COLUMN_WORDS[1])
    rest = (("on",), captions.TEXTURE_WORDS[1], ("ground",))
    disc_first, square_first = ((*a, ("and",), *b, *rest) for a, b in permutations((disc, square)))

    orders = Counter()
    for variant in range(400):
        words = caption(WORLD, scene, 5, variant).split()
        orders[words[2] in captions.SHAPE_WORDS[0]] += 1
        slots = disc_first if words[2] in captions.SHAPE_WORDS[0] else square_first
        assert all(word in synonyms for word, synonyms in zip(words, slots, strict=True))
    assert abs(orders[True] - 200) < 50


def test_levels_add_words_and_change_none() -> None:
    for scene in sample_pairs(WORLD, 50):
        levels = [caption(WORLD, scene, level).split() for level in range(1, 6)]
        for less, more in pairwise(levels):
            rest = iter(more)
            assert all(word in rest for word in less)  # a subsequence
            assert len(more) > len(less)
        assert caption(WORLD, scene).split() == levels[WORLD.caption_level - 1]


def test_every_concept_has_words_of_its_own() -> None:
    words = vocabulary()
    assert len(set(words)) == len(words)
    assert all(word.isalpha() and word.islower() for word in words)
    for table, names in (
        (captions.SHAPE_WORDS, scenes.SHAPES),
        (captions.COLOR_WORDS, scenes.COLORS),
        (captions.TEXTURE_WORDS, scenes.TEXTURES),
        (captions.SIZE_WORDS, scenes.SIZES),
        (captions.ROW_WORDS, scenes.ROWS),
        (captions.COLUMN_WORDS, scenes.COLUMNS),
    ):
        assert tuple(synonyms[0] for synonyms in table) == names
        assert all(len(synonyms) == len(captions.SYNONYM_WEIGHTS) for synonyms in table)


def test_tokenizer_gives_every_caption_back() -> None:
    tokenizer = build_tokenizer()
    for scene in sample_pairs(WORLD, 100):
        text = caption(WORLD, scene)
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == len(text.split()) < tokenizer.model_max_length


# --- pictures


def test_png_is_read_back_by_another_decoder() -> None:
    for size in (32, 256):  # 256: more than one stored block
        world = WorldParameters(image_size=size)
        pixels = picture(world, sample_scene(world, 0))
        with Image.open(io.BytesIO(png_bytes(pixels))) as image:
            image.verify()
        with Image.open(io.BytesIO(png_bytes(pixels))) as image:
            assert image.mode == "RGB"
            assert np.array_equal(np.asarray(image), pixels)


AREAS = {  # of radius 1, by geometry
    "disc": math.pi,
    "square": 1.6**2,
    "triangle": 1.8 * 1.8 / 2,
    "diamond": 2.0,
    "cross": 2 * 2 * 0.6 - 0.6**2,
    "ring": math.pi * 0.7,
    "bar": 2 * 0.8,
}


@pytest.mark.parametrize("shape", scenes.SHAPES)
@pytest.mark.parametrize("radius", [60, 61])
def test_shapes_have_their_area_and_stay_in_their_box(shape: str, radius: int) -> None:
    cover = pictures._coverage(shape, radius, 1, 2)
    assert cover.max() == 16
    if shape in AREAS:
        assert cover.sum() == pytest.approx(AREAS[shape] * radius**2, rel=0.03)
    assert cover.sum() == pytest.approx(pictures._coverage(shape, radius, 0, 0).sum(), rel=0.01)


def test_without_nuisance_only_the_scene_shows() -> None:
    """One object's colour on flat ground, to the pixel; nothing else depends on the frame."""
    world = WorldParameters(nuisance=0)
    scene = Scene(0, 0, texture=0, things=(Thing(shape=1, color=5, size=2, row=1, column=1),))
    pixels = picture(world, scene)

    assert pixels[16, 16].tolist() == [45, 75, 220]
    assert pixels[0, 0].tolist() == pixels[31, 31].tolist() == [128, 128, 128]
    # half a side is 0.8 * 24 subpixels = 4.8 pixels: 11.2 .. 20.8, 8 whole pixels, 10 touched
    assert (pixels == (45, 75, 220)).all(-1).sum() == 8**2
    assert (pixels == 128).all(-1).sum() == 32**2 - 10**2
    again = picture(world, Scene(9, 0, texture=0, things=scene.things, frame=5))
    assert np.array_equal(again, pixels)


def test_a_disc_at_the_border_equals_counting_points() -> None:
    """16 points per pixel, one by one: centre at 21, 21 quarter pixels, radius 24."""
    world = WorldParameters(nuisance=0)
    thing = Thing(shape=0, color=0, size=2, row=0, column=0)
    pixels = picture(world, Scene(0, 0, texture=0, things=(thing,)))
    red = (220, 40, 40)
    for i in range(32):
        for j in range(32):
            cover = sum(
                (4 * i + a + 0.5 - 21) ** 2 + (4 * j + b + 0.5 - 21) ** 2 <= 24**2
                for a in range(4)
                for b in range(4)
            )
            expected = [128 + math.floor((channel - 128) * cover / 16) for channel in red]
            assert pixels[i, j].tolist() == expected, (i, j)


def test_nuisance_moves_the_picture_and_attributes_more() -> None:
    base = sample_scene(WORLD, 0)
    calm, wild = (WorldParameters(nuisance=strength) for strength in (0.5, 2.0))

    def spread(world: WorldParameters) -> float:
        frames = [
            picture(world, Scene(0, 0, base.texture, base.things, frame)).astype(float)
            for frame in range(8)
        ]
        return float(np.std(frames, axis=0).mean())

    assert 0 < spread(calm) < spread(wild)


# --- ground truth


def test_attributes_worked_by_hand() -> None:
    scene = Scene(0, place=3, texture=1, things=(Thing(0, 2, 2, 0, 0), Thing(0, 5, 0, 2, 1)))
    layers = attributes(WORLD, [scene])
    found = {name: np.flatnonzero(layer[0]).tolist() for name, layer in layers.items()}

    assert found["texture"] == [1]
    assert found["shapes"] == [0]
    assert layers["shapes"][0, 0] == 2
    assert found["colors"] == [2, 5]
    assert found["sizes"] == [0, 2]
    assert found["cells"] == [0, 7]
    assert found["kinds"] == [2, 5]
    assert found["place"] == [3]
    assert found["all"] == [1, 6, 6 + 8 + 2, 6 + 8 + 5, 22, 24, 25, 32]
    assert layers["posterior"].shape == (1, 32)


def test_truth_features_survive_clipping_and_keep_the_geometry() -> None:
    found = sample_pairs(WORLD, 30)
    for name, layer in attributes(WORLD, found).items():
        rotated = truth_features(WORLD, found)[name]
        np.testing.assert_allclose(rotated @ rotated.T, layer @ layer.T, atol=1e-9)
        limit = np.quantile(np.abs(rotated), 0.95)
        assert (np.abs(rotated.clip(-limit, limit)).sum(1) > 0).all()
    assert np.quantile(attributes(WORLD, found)["place"], 0.95) == 0  # what would happen without


def test_posterior_is_bayes_rule() -> None:
    """Against loops over the places' weights, and its inner product against the joint."""
    found = sample_pairs(WORLD, 20)
    features = place_posterior(WORLD, found)
    prior = [1 / rank for rank in range(1, 33)]
    prior = [share / sum(prior) for share in prior]

    def likelihood(place: scenes.Place, scene: Scene) -> float:
        def share(weights: tuple[int, ...], index: int) -> float:
            return weights[index] / sum(weights)

        result = share(place.textures, scene.texture)
        result *= share(place.counts, scenes.COUNTS.index(len(scene.things)))
        for thing in scene.things:
            result *= share(place.shapes, thing.shape) * share(place.sizes, thing.size)
            result *= share(place.colors[thing.shape], thing.color)
        return result

    likelihoods = [[likelihood(place, scene) for place in places(WORLD)] for scene in found]
    evidence = [sum(p * q for p, q in zip(prior, row, strict=True)) for row in likelihoods]
    for i in range(20):
        for j in range(20):
            joint = sum(
                p * a * b for p, a, b in zip(prior, likelihoods[i], likelihoods[j], strict=True)
            )
            expected = joint / (evidence[i] * evidence[j])
            # the prior is rounded to a millionth
            assert features[i] @ features[j] == pytest.approx(expected, rel=1e-3)


def test_another_recording_is_of_the_same_scene() -> None:
    """With another nuisance and other words; without nuisance the picture is the same."""
    scene = sample_scene(WORLD, 3)
    again = recorded_again(scene, 1)

    assert replace(again, frame=scene.frame) == scene
    assert recorded_again(scene, 0) == scene
    assert (picture(WORLD, again) != picture(WORLD, scene)).any()
    assert (picture(WORLD, again) != picture(WORLD, recorded_again(scene, 2))).any()
    still = WORLD.model_copy(update={"nuisance": 0.0})
    assert (picture(still, again) == picture(still, scene)).mean() > 0.99


def test_a_folder_has_other_recordings_beside_the_first(tmp_path: Path) -> None:
    everything: Any = {"levels": (1, 5), "recordings": ("sound", "film")}
    write_folder(tmp_path / "once", WORLD, 2, **everything)
    write_folder(tmp_path / "twice", WORLD, 2, **everything, again=(1,))

    once, twice = (pd.read_csv(tmp_path / name / "captions.csv") for name in ("once", "twice"))
    assert list(twice)[: len(once.columns)] == list(once)
    pd.testing.assert_frame_equal(twice[list(once)], once)
    assert list(twice)[len(once.columns) :] == [f"{name}_again_1" for name in once]
    assert (twice["caption_again_1"] != once["caption"]).all()
    assert list(twice["caption_again_1"]) == [
        caption(WORLD, sample_scene(WORLD, i), None, 1) for i in range(2)
    ]
    for column in ("file_name", "sound", "film"):
        for first, second in zip(once[column], twice[f"{column}_again_1"], strict=True):
            assert (tmp_path / "twice" / first).read_bytes() == (
                tmp_path / "once" / first
            ).read_bytes()
            assert (tmp_path / "twice" / second).read_bytes() != (
                tmp_path / "once" / first
            ).read_bytes()


def test_flat_world_has_no_shared_statistics() -> None:
    def mean_information(world: WorldParameters) -> float:
        features = place_posterior(world, sample_pairs(world, 100))
        return float(np.log(features @ features.T).std())

    assert mean_information(FLAT) < 0.3 < 1 < mean_information(WORLD)


# --- the world as a folder, networks as checkpoints


def test_folder_is_an_ordinary_one(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_folder(
        tmp_path / "a", WORLD, 3, offset=5, progress=lambda done, num: calls.append((done, num))
    )
    write_folder(tmp_path / "b", WORLD, 3, offset=5)

    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["captions.csv", *(f"scene-{index:06d}.png" for index in (5, 6, 7))]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    lines = (tmp_path / "a" / "captions.csv").read_text().splitlines()
    assert lines[0] == "file_name,caption"
    assert lines[1] == f"scene-000005.png,{caption(WORLD, sample_scene(WORLD, 5))}"
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_text_file_holds_held_out_captions(tmp_path: Path) -> None:
    path = write_text_file(tmp_path / "text" / "held_out.txt", WORLD, 4)
    lines = path.read_text().split("\n")
    assert lines == [*(caption(WORLD, sample_scene(WORLD, 2**41 + i)) for i in range(4)), ""]


def test_network_names() -> None:
    assert parse_network("conv8").model_dump() == {"kind": "conv", "width": 8, "depth": 1}
    assert parse_network("llama16x2").model_dump() == {"kind": "llama", "width": 16, "depth": 2}
    assert parse_network("vit32").depth == 3
    for name in ("conv8", "vit32", "llama16", "llama16x2", "conv4x2"):
        assert parse_network(name).name == name
    for wrong in ("conv", "resnet8", "llama7", "conv8x99", "conv0", "vit32-2"):
        with pytest.raises(ConfigError, match=wrong):
            parse_network(wrong)


@pytest.mark.parametrize("name", ["conv4", "conv8x2", "vit16"])
def test_vision_checkpoint_is_an_ordinary_timm_folder(name: str, tmp_path: Path) -> None:
    network = parse_network(name)
    path = write_untrained(tmp_path / name, network, seed=3)
    images = torch.rand(2, 3, 32, 32)

    loaded = timm.create_model(f"local-dir:{path}", pretrained=True, num_classes=0).eval()

    assert torch.equal(loaded(images), build_timm(network, 32, 3).eval()(images))
    assert not torch.equal(loaded(images), build_timm(network, 32, 4).eval()(images))
    data = timm.data.resolve_model_data_config(loaded)
    assert tuple(data["input_size"]) == (3, 32, 32)
    assert (data["crop_pct"], tuple(data["mean"])) == (1.0, (0.5, 0.5, 0.5))
    pixels = picture(WORLD, sample_scene(WORLD, 0))
    transformed = timm.data.create_transform(**data)(Image.fromarray(pixels))
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(transformed, expected, atol=1e-6)  # the picture as it is
    _, layers = loaded.forward_intermediates(images)
    assert len(layers) == (3 if network.kind == "vit" else 5)


@pytest.mark.parametrize("name", ["llama4", "llama16x2"])
def test_language_checkpoint_is_an_ordinary_transformers_folder(name: str, tmp_path: Path) -> None:
    network = parse_network(name)
    path = write_untrained(tmp_path / name, network, seed=3)

    tokenizer = AutoTokenizer.from_pretrained(path)
    loaded = AutoModelForCausalLM.from_pretrained(path)
    bare = AutoModel.from_pretrained(path)

    texts = [caption(WORLD, scene) for scene in sample_pairs(WORLD, 3)]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    expected = build_language(network, 3)(**batch).logits
    assert torch.equal(loaded(**batch).logits, expected)
    hidden = bare(**batch, output_hidden_states=True).hidden_states
    assert len(hidden) == network.depth + 1
    assert hidden[0].shape[-1] == network.width
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == texts[0]


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build_timm(parse_network("conv4"), 32, 0)
    assert torch.equal(torch.rand(1), expected)


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"

    def fail() -> None:
        with atomic_folder(target) as partial:
            (partial / "config.json").write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []

    for content in ("first", "second"):  # who comes first wins
        with atomic_folder(target) as partial:
            (partial / "config.json").write_text(content)
    assert (target / "config.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def change_a_picture(path: Path) -> None:
    picture = path / "scene-000001.png"
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")


def lose_a_picture(path: Path) -> None:
    (path / "scene-000002.png").unlink()


def cut_the_captions(path: Path) -> None:
    table = path / "captions.csv"
    table.write_bytes(table.read_bytes()[:-9])


def damage_the_seal(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


@pytest.mark.parametrize(
    "damage", [change_a_picture, lose_a_picture, cut_the_captions, damage_the_seal]
)
def test_kept_pairs_are_mended(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = write_kept_folder(tmp_path / "pairs-x", WORLD, 3)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    damage(path)
    with pytest.raises(DamagedError):
        refuse_other_pairs(path)

    write_kept_folder(path, WORLD, 3)

    refuse_other_pairs(path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_kept_pairs_of_another_world_are_no_substitute(tmp_path: Path) -> None:
    ours, theirs = (write_kept_folder(tmp_path / f"pairs-{name}", WORLD, 2) for name in "ab")
    shutil.copyfile(theirs.with_suffix(".json"), ours.with_suffix(".json"))

    with pytest.raises(DamagedError, match="belongs to 'pairs-b', expected 'pairs-a'"):
        refuse_other_pairs(ours)
