"""What is changed in a text or an image is what was meant, and nothing else."""

import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from platorep.kinds import KINDS
from platorep.kinds.audio import Sound
from platorep.kinds.changes_image import blur, crop, grey, patches, rotate
from platorep.kinds.changes_text import STOP_WORDS, content_words, word_order
from platorep.kinds.text import cut_after
from platorep.kinds.video import film_of
from platorep.parameters.views import CHANGES

TEXTS = [
    "a dog sits on a red chair.",
    "two  cats,\n and a\tdog ",
    " leading and trailing white space\n",
    "a b",
    "the the the cat",
    "Straße über Öl 名前 名 前",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("seed", [0, 1, 2**255])
def test_word_order_keeps_the_words_and_differs(text: str, seed: int) -> None:
    changed = word_order(text, seed)
    assert Counter(changed.split()) == Counter(text.split())
    assert changed.split() != text.split()
    assert re.findall(r"\s+", changed.strip()) == re.findall(r"\s+", text.strip())
    assert word_order(text, seed) == changed


@pytest.mark.parametrize("text", ["dog", "dog dog  dog", " dog ", "Dog"])
def test_word_order_of_one_word(text: str) -> None:
    assert word_order(text, 0) == text


def test_every_order_but_the_first_is_drawn_alike() -> None:
    drawn = Counter(word_order("a b c", seed) for seed in range(3000))
    assert set(drawn) == {"a c b", "b a c", "b c a", "c a b", "c b a"}
    assert max(abs(number - 600) for number in drawn.values()) < 100  # 22 is one deviation


def test_two_words_change_places() -> None:
    assert {word_order("red chair", seed) for seed in range(50)} == {"chair red"}


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, "  a"), (2, "  a  dog,"), (3, None), (9, None)],
)
def test_first_words_by_hand(n: int, expected: str | None) -> None:
    text = "  a  dog,\nsits "
    assert cut_after(text, n) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog is sitting on the red chair.", "dog sitting red chair."),
        ("there isn't a dog, and it's raining", "dog, raining"),
        ("THE cat's whiskers", "cat's whiskers"),
        ("a man with his dog - and a 2nd one", "man dog 2nd"),
        ("it is what it is", "it is what it is"),
        ("quick brown fox", "quick brown fox"),
        ("(the) \u201cthe\u201d don\u2019t run", "run"),
    ],
)
def test_content_words_by_hand(text: str, expected: str) -> None:
    assert content_words(text) == expected


def test_stop_words_are_words() -> None:
    assert all(re.fullmatch("[a-z]+", word) for word in STOP_WORDS)
    assert not STOP_WORDS & {"dog", "red", "two", "left", "right", "large", "no"} - {"no"}


SAMPLES = {
    "text": "A dog on a red Chair",
    "image": Image.fromarray(np.arange(48 * 32 * 3, dtype=np.uint8).reshape(48, 32, 3)),
    "audio": Sound(np.sin(np.arange(100) ** 1.1).astype(np.float32), 8000),
    "video": film_of(np.arange(4 * 3 * 2 * 3, dtype=np.uint8).reshape(4, 3, 2, 3), 10.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_known_to_its_kind_and_changes(name: str) -> None:
    settings = {"first_words": {"n": 2}, "patches": {"size": 8}}.get(name, {})
    change = CHANGES[name].model_validate({"of": "it", "change": name, **settings})
    kind = KINDS[change.kind]
    assert pickle.loads(pickle.dumps(kind)) is kind  # worker processes are sent it
    sample = SAMPLES[kind.name]

    changed = kind.changes[type(change)](sample, change, 2**63)

    assert type(changed) is type(sample)
    assert not kind.same(sample, changed)
    assert kind.same(changed, kind.changes[type(change)](sample, change, 2**63))


def test_no_kind_knows_other_changes() -> None:
    for kind in KINDS.values():
        assert all(change.kind == kind.name for change in kind.changes)
    assert {c for kind in KINDS.values() for c in kind.changes} == set(CHANGES.values())


def picture(height: int = 20, width: int = 30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def colors(image: Image.Image) -> Counter[tuple[int, ...]]:
    return Counter(map(tuple, np.asarray(image).reshape(-1, 3).tolist()))


def test_grey_by_hand() -> None:
    image = Image.new("RGB", (4, 1))
    for x, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)]):
        image.putpixel((x, 0), color)
    found = grey(image)
    assert found.mode == "RGB"
    expected = [round(0.299 * 255), round(0.587 * 255), round(0.114 * 255), 18]
    assert np.asarray(found)[0].tolist() == [[value] * 3 for value in expected]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_moves_pixels_counterclockwise(degrees: int) -> None:
    image = picture()
    found = np.asarray(rotate(image, degrees))
    assert np.array_equal(found, np.rot90(np.asarray(image), degrees // 90))


@pytest.mark.parametrize("size", [(20, 30), (23, 31), (7, 40)])
@pytest.mark.parametrize("block", [1, 3, 5, 7])
def test_patches_keep_blocks_and_border(size: tuple[int, int], block: int) -> None:
    image = picture(*size)
    before, after = np.asarray(image), np.asarray(patches(image, block, seed=5))
    rows, columns = size[0] // block, size[1] // block
    top, left = (size[0] - rows * block) // 2, (size[1] - columns * block) // 2

    def blocks(pixels: np.ndarray) -> list[bytes]:
        return [
            pixels[y : y + block, x : x + block].tobytes()
            for y in range(top, top + rows * block, block)
            for x in range(left, left + columns * block, block)
        ]

    assert Counter(blocks(after)) == Counter(blocks(before))
    assert blocks(after) != blocks(before)
    border = np.ones(size, bool)
    border[top : top + rows * block, left : left + columns * block] = False
    assert np.array_equal(after[border], before[border])
    assert np.array_equal(after, np.asarray(patches(image, block, seed=5)))
    assert np.array_equal(before, np.asarray(image))  # the image itself is left alone


def test_patches_that_cannot_differ() -> None:
    image = picture()
    assert patches(image, 16, seed=0) == image  # one block
    assert patches(image, 100, seed=0) == image  # none
    flat = Image.new("RGB", (20, 20), "red")
    assert patches(flat, 5, seed=0) == flat


def test_two_blocks_change_places() -> None:
    image = Image.new("RGB", (4, 2))
    image.paste("red", (0, 0, 2, 2))
    swapped = Image.new("RGB", (4, 2))
    swapped.paste("red", (2, 0, 4, 2))
    assert all(patches(image, 2, seed) == swapped for seed in range(20))


def test_blur_keeps_the_mean_and_takes_the_detail() -> None:
    image = picture(60, 60)
    before = np.asarray(image, float)
    soft, softer = (np.asarray(blur(image, radius), float) for radius in (1.0, 4.0))
    assert soft.shape == before.shape
    assert abs(soft.mean() - before.mean()) < 2
    assert before.std() > 2 * soft.std() > 4 * softer.std()
    flat = Image.new("RGB", (20, 20), (10, 200, 30))
    assert blur(flat, 3.0) == flat


@pytest.mark.parametrize("scale", [0.01, 0.3, 0.7, 0.99])
def test_crop_is_a_part_at_a_drawn_place(scale: float) -> None:
    image = picture(20, 30)
    whole = np.asarray(image)
    height, width = max(1, int(20 * scale)), max(1, int(30 * scale))
    places = set()
    for seed in range(40):
        part = np.asarray(crop(image, scale, seed))
        assert part.shape == (height, width, 3)
        windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)[:, :, 0]
        hits = np.argwhere((windows == part).all(axis=(2, 3, 4)))
        places |= {tuple(hit) for hit in hits.tolist()}
        assert len(hits) >= 1
    assert len(places) > min(1, (20 - height) * (30 - width))
    assert crop(image, scale, 3) == crop(image, scale, 3)


def test_the_documentation_names_every_kind_and_change() -> None:
    text = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    for name in (*KINDS, *CHANGES):
        assert f"| `{name}`" in text, name
    assert f"without {len(STOP_WORDS)} function words" in text
