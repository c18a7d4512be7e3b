"""Labelled images: every layout, and their division into three parts."""

import io
import tarfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import encoded, red

from platorep.config import DatasetConfig, LabelledConfig
from platorep.data import load_dataset
from platorep.errors import AbsentError, DataError
from platorep.performance.labelled import Labelled, read_labelled

NUM = 20


@pytest.fixture(autouse=True)
def own_arrow_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


def read(source: Path | str, **settings: Any) -> Labelled:
    return read_labelled(LabelledConfig(source=str(source), **settings), offline=True)


def class_folders(folder: Path, first: int = 0) -> Path:
    for i in range(first, first + NUM):
        path = folder / ("cat", "train")[i % 2] / f"{i:02d}.png"  # a class may be called so
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(red(i))
    return folder


def rows_of(labelled: Labelled) -> dict[str, str]:
    """Hash of each image -> its label, over all parts."""
    parts = (labelled.train, labelled.validation, labelled.test)
    pairs = [pair for p in parts for pair in zip(p.image_hashes, p.labels, strict=True)]
    assert len(dict(pairs)) == len(pairs), "parts overlap"
    return dict(pairs)


def write_table(path: Path, labels: Any, first: int = 0) -> Path:
    """Numbers as they are, or with the names that `datasets` keeps beside a ClassLabel."""
    images = [{"bytes": red(first + i), "path": f"{i}.png"} for i in range(len(labels))]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": labels}), path)
    return path


def test_a_folder_per_class(tmp_path: Path) -> None:
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "cat" / "notes.txt").write_text("no image")
    found = read(class_folders(tmp_path / "set"))

    sizes = [len(part.rows) for part in (found.train, found.validation, found.test)]
    assert sizes == [12, 4, 4]
    assert sorted(rows_of(found).values()) == ["cat"] * 10 + ["train"] * 10
    assert set(found.train.dataset.ids) == {
        f"{('cat', 'train')[i % 2]}/{i:02d}.png" for i in range(NUM)
    }
    assert len(found.datasets) == 1


def test_a_folder_per_split_and_class(tmp_path: Path) -> None:
    for i, split in enumerate(("train", "val", "test")):
        class_folders(tmp_path / "set" / split, first=NUM * i)
    found = read(tmp_path / "set", validation_split="val", test_split="test", limit=8)

    assert [len(part.rows) for part in (found.train, found.validation, found.test)] == [8, 8, 8]
    assert len(found.datasets) == 3
    assert len(rows_of(found)) == 24


def test_a_folder_with_a_table(tmp_path: Path) -> None:
    lines = ["file_name,kind"] + [f"{i}.png,{i % 2}" for i in range(NUM)]
    for i in range(NUM):
        (tmp_path / f"{i}.png").write_bytes(red(i))
    (tmp_path / "metadata.csv").write_text("\n".join(lines))

    assert sorted(rows_of(read(tmp_path, label="kind")).values()) == ["0"] * 10 + ["1"] * 10


def test_numbers_and_names_in_parquet_files(tmp_path: Path) -> None:
    numbers = write_table(tmp_path / "a" / "numbers.parquet", [i % 2 for i in range(NUM)])
    names = write_table(tmp_path / "a" / "names.parquet", ["no", "yes"] * (NUM // 2))

    assert set(rows_of(read(numbers)).values()) == {"0", "1"}
    assert set(rows_of(read(names)).values()) == {"no", "yes"}


def test_numbered_classes_of_a_dataset_repository_have_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    for i, split in enumerate(("train", "test")):
        images = [{"bytes": red(NUM * i + j), "path": None} for j in range(NUM)]
        table = datasets.Dataset.from_dict(
            {"image": images, "label": [j % 2 for j in range(NUM)]}, features=features
        )
        table.to_parquet(tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet")
    found = read(tmp_path / "set", test_split="test")

    assert set(found.train.labels) == set(found.test.labels) == {"cat", "dog"}
    even = {red(2 * i) for i in range(NUM)}
    for part in (found.train, found.validation, found.test):
        for row, label in zip(part.rows, part.labels, strict=True):
            assert (label == "cat") == (part.dataset.views["image"].encoded(row) in even)


def test_captions_are_still_no_numbers(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a" / "numbers.parquet", [1, 2])

    with pytest.raises(DataError, match="holds int"):
        load_dataset(DatasetConfig(source=str(path), text="label"))


def test_the_division_depends_on_the_seed_alone(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "set")
    first, again, other = read(folder), read(folder), read(folder, seed=1)

    assert first.sha256 == again.sha256 != other.sha256
    assert set(rows_of(first)) == set(rows_of(other))
    assert read(folder, test_share=0.1).sha256 != first.sha256


def test_chance_is_the_most_frequent_class_of_training(tmp_path: Path) -> None:
    labels = [str(int(i < 5)) for i in range(NUM)]  # mostly 0
    found = read(write_table(tmp_path / "a" / "t.parquet", labels))

    assert found.chance == found.test.labels.count("0") / len(found.test.labels)


def test_copies_are_counted(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "set")
    for i in range(NUM):
        (folder / "cat" / f"copy-{i:02d}.png").write_bytes(red(i))
    found = read(folder)

    seen = {*found.train.image_hashes, *found.validation.image_hashes}
    assert found.num_leaked == sum(h in seen for h in found.test.image_hashes) > 0


def test_what_is_no_labelled_dataset(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "set")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    for i in range(NUM):
        (tmp_path / "one" / "cat" / f"{i}.png").write_bytes(encoded((0, i, 0)))

    with pytest.raises(DataError, match="all 12 training images have the label 'cat'"):
        read(tmp_path / "one")
    with pytest.raises(AbsentError, match=r"no subfolder for the split 'other'.*: cat, train"):
        read(folder, test_split="other")
    with pytest.raises(DataError, match="a part has no images"):
        read(folder, test_share=0.01)
    with pytest.raises(AbsentError, match="no class folders"):
        read(tmp_path / "set" / "cat", format="class_folders")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"test_split": "train"}, "three different"),
        ({"validation_share": 0.5, "test_share": 0.5}, "none to train on"),
        ({"test_split": "test", "test_share": 0.1}, "no effect with `test_split`"),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        LabelledConfig(source="org/set", **settings)


def test_numbered_classes_in_tar_shards_of_a_repository(tmp_path: Path) -> None:
    """The layout of the VTAB tasks that configs/prh-vision.yaml reads."""
    for split, first in (("train", 0), ("test", NUM)):
        shard = tmp_path / "tasks" / split / "0.tar"
        shard.parent.mkdir(parents=True)
        with tarfile.open(shard, "w") as tar:
            for i in range(first, first + NUM):
                members = {"webp": encoded((6 * i, 0, 0), "webp")}
                for ending, content in (members | {"cls": str(i % 3).encode()}).items():
                    info = tarfile.TarInfo(f"s{i:04d}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))

    found = read(tmp_path / "tasks", label="cls", split="train", test_split="test")

    assert (len(found.train.rows), len(found.validation.rows), len(found.test.rows)) == (16, 4, 20)
    assert sorted(found.test.labels) == sorted(str(i % 3) for i in range(NUM, 2 * NUM))
