"""Near copies of images: found through the index as by comparing all with all."""

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image
from test_data_local import load, write_parquet

from platorep.data.near import NearHashes
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


def test_the_index_finds_what_all_comparisons_find() -> None:
    rng = np.random.default_rng(0)
    hashes: list[int] = []
    for _ in range(3000):
        if hashes and rng.random() < 0.5:  # an earlier one with 0 to 4 bits turned
            value = hashes[rng.integers(len(hashes))]
            for bit in rng.choice(64, rng.integers(5), replace=False).tolist():
                value ^= 1 << bit
        else:
            value = int(rng.integers(0, 1 << 64, dtype=np.uint64))
        hashes.append(value)
    index, kept = NearHashes(2), list[int]()
    counts = {"near": 0, "not": 0}
    for value in hashes:
        near = [i for i, other in enumerate(kept) if (value ^ other).bit_count() <= 2]
        assert index.first_near(value) == min(near, default=None)
        counts["near" if near else "not"] += 1
        if not near:
            kept.append(value)
            index.add(value)
    assert min(counts.values()) > 500


def test_every_pair_of_turned_bits_is_found() -> None:
    value = 0x0123456789ABCDEF
    index = NearHashes(2)
    index.add(value)

    assert index.first_near(value) == 0
    for i in range(64):
        assert index.first_near(value ^ (1 << i)) == 0
        for j in range(i):
            assert index.first_near(value ^ (1 << i) ^ (1 << j)) == 0
    assert index.first_near(value ^ 0b111) is None


def test_a_hundred_thousand_hashes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    index = NearHashes(2)
    started = time.process_time()
    for value in rng.integers(0, 1 << 64, 100_000, dtype=np.uint64).tolist():
        if index.first_near(value) is None:
            index.add(value)
    assert time.process_time() - started < 30  # all with all: 5 thousand million comparisons


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

    near = load(path, id="id", deduplicate="near")

    assert near.ids == ("r0", "r1", "r5", "r6")
    assert [row.id for row in near.dropped] == ["r2", "r3", "r4"]
    assert near.dropped[0].reason.startswith("its image is nearly that of id 'r0': ")
    assert near.dropped[1].reason.startswith("its image is nearly that of id 'r1': ")
    assert load(path, id="id", deduplicate=True).ids == tuple(f"r{i}" for i in range(7))
    assert load(path, id="id", deduplicate="near", limit=3).ids == near.ids[:3]


def test_identical_texts_are_dropped_and_a_dropped_row_drops_no_other(tmp_path: Path) -> None:
    first, second = photograph(0), photograph(1)
    pairs = rows(encoded(first), encoded(second), encoded(second.resize((120, 90))))
    pairs[1]["text"] = pairs[0]["text"]
    path = write_parquet(tmp_path / "pairs.parquet", pairs)

    near = load(path, id="id", deduplicate="near")

    assert near.ids == ("r0", "r2")  # r1, which r2 looks like, is not there
    assert near.dropped[0].reason == "its text is the exact copy of that of id 'r0'"


@pytest.mark.parametrize("said", ["exact", 3])
def test_other_words_are_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="deduplicate"):
        load("anywhere", deduplicate=said)
