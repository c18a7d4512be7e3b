"""Near copies of images: found through the index as by comparing all with all."""

import time
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image
from test_data_local import load, write_parquet

from platorep.data import near
from platorep.data.near import NearHashes, Newcomers
from platorep.kinds.image import perceptual_hash


def photograph(seed: int) -> Image.Image:
    """Smooth patches and a gradient, as in a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return coarse.resize((160, 120), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "png", **how: Any) -> bytes:
    content = BytesIO()
    image.save(content, kind, **how)
    return content.getvalue()


def rows(*images: bytes) -> list[dict[str, Any]]:
    return [
        {"id": f"r{i}", "image": {"bytes": content, "path": None}, "text": f"caption {i}"}
        for i, content in enumerate(images)
    ]


def test_the_hash_is_that_of_imagehash() -> None:
    image = photograph(0)

    assert f"{perceptual_hash(image):016x}" == str(imagehash.phash(image, hash_size=8))


def one_by_one(hashes: np.ndarray, unwanted: np.ndarray) -> tuple[list[int | None], list[int]]:
    """Of each hash the number of the first kept one that is near, and which are kept."""
    found: list[int | None] = []
    kept: list[int] = []
    for place, value in enumerate(hashes):
        near = np.flatnonzero(np.bitwise_count(hashes[kept] ^ value) <= 2) if kept else ()
        found.append(int(near[0]) if len(near) else None)
        if found[-1] is None and not unwanted[place]:
            kept.append(place)
    return found, kept


def in_blocks(
    hashes: np.ndarray, unwanted: np.ndarray, sizes: Iterable[int]
) -> tuple[list[int | None], list[int]]:
    index, start = NearHashes(2), 0
    found: list[int | None] = []
    kept: list[int] = []
    for size in sizes:
        block = Newcomers(index, hashes[start : start + size])
        for place in range(min(size, len(hashes) - start)):
            found.append(block.first_near(place))
            if found[-1] is None and not unwanted[start + place]:
                block.keep(place)
                kept.append(start + place)
        block.finish()
        start += size
    return found, kept


def turned(hashes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of them as an earlier one with 0 to 4 bits turned."""
    for place in rng.choice(np.arange(1, len(hashes)), len(hashes) // 2, replace=False):
        value = int(hashes[rng.integers(place)])
        for bit in rng.choice(64, rng.integers(5), replace=False).tolist():
            value ^= 1 << bit
        hashes[place] = value
    return hashes


def bits(*places: int) -> np.uint64:
    return np.uint64(sum(1 << place for place in places))


ADVERSE = {
    "random": bits(*range(64)),
    "one part of three the same in all": bits(*(i for i in range(64) if i % 3)),
    "two parts the same": bits(*range(0, 64, 3)),
    "dense": bits(*range(14)),
    "equal": bits(),
}
"""The bits that differ at all."""


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("free", ADVERSE.values(), ids=ADVERSE)
def test_blocks_find_what_all_comparisons_find(
    free: np.uint64, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "LONG", 20)  # chains of so few are long already
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 1 << 64, 3000, dtype=np.uint64) & free
    hashes = hashes if seed == 0 else turned(hashes, rng)
    unwanted = rng.random(len(hashes)) < 0.2  # for another reason
    sizes = (1, 2, 500, near.AT_ONCE, near.AT_ONCE + 1, 3, 2000)

    assert in_blocks(hashes, unwanted, sizes) == one_by_one(hashes, unwanted)


def test_every_pair_of_turned_bits_is_found() -> None:
    value = 0x0123456789ABCDEF
    index = NearHashes(2)
    index.extend(np.array([value], dtype=np.uint64))
    turns = [1 << i | 1 << j for i in range(64) for j in range(i + 1)]

    assert (index.find(np.array([value ^ turn for turn in turns], dtype=np.uint64)) == 0).all()
    assert index.find(np.array([value ^ 0b111], dtype=np.uint64)).tolist() == [-1]


def test_a_part_that_is_the_same_in_all_takes_seconds() -> None:
    rng = np.random.default_rng(0)
    free = ADVERSE["one part of three the same in all"]
    hashes = rng.integers(0, 1 << 64, 100_000, dtype=np.uint64) & free
    started = time.process_time()
    in_blocks(hashes, np.zeros(len(hashes), dtype=bool), [len(hashes)])
    assert time.process_time() - started < 12  # all with all: 5 thousand million comparisons


def test_images_encoded_again_or_resized_are_dropped(tmp_path: Path) -> None:
    first, second = photograph(0), photograph(1)
    images = [
        encoded(first),
        encoded(second),
        encoded(first, "jpeg", quality=60),
        encoded(second.resize((120, 90))),
        encoded(second.resize((400, 300)), "webp", quality=80),
        encoded(photograph(2)),
        encoded(first.rotate(90, expand=True)),  # another picture
    ]
    path = write_parquet(tmp_path / "pairs.parquet", rows(*images))

    found = load(path, id="id", deduplicate="near")

    assert found.ids == ("r0", "r1", "r5", "r6")
    assert [row.id for row in found.dropped] == ["r2", "r3", "r4"]
    assert found.dropped[0].reason.startswith("its image is nearly that of id 'r0': ")
    assert found.dropped[1].reason.startswith("its image is nearly that of id 'r1': ")
    assert load(path, id="id", deduplicate=True).ids == tuple(f"r{i}" for i in range(7))
    assert load(path, id="id", deduplicate="near", limit=3).ids == found.ids[:3]


def test_identical_texts_are_dropped_and_a_dropped_row_drops_no_other(tmp_path: Path) -> None:
    first, second = photograph(0), photograph(1)
    pairs = rows(encoded(first), encoded(second), encoded(second.resize((120, 90))))
    pairs[1]["text"] = pairs[0]["text"]
    path = write_parquet(tmp_path / "pairs.parquet", pairs)

    found = load(path, id="id", deduplicate="near")

    assert found.ids == ("r0", "r2")  # r1, which r2 looks like, is not there
    assert found.dropped[0].reason == "its text is the exact copy of that of id 'r0'"


@pytest.mark.parametrize("said", ["exact", 3])
def test_other_words_are_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="deduplicate"):
        load("anywhere", deduplicate=said)
