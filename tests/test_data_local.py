"""Folders, parquet files and tar shards, through the real `datasets` where it is used."""

import csv
import io
import json
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import encoded, red

from platorep.config import DatasetConfig
from platorep.data import PairedDataset, load_dataset
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError


@pytest.fixture(autouse=True)
def own_arrow_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


def load(source: Path | str, **settings: Any) -> PairedDataset:
    return load_dataset(DatasetConfig(source=str(source), **settings))


def write_folder(
    folder: Path, rows: Sequence[Mapping[str, Any]], images: Mapping[str, bytes]
) -> Path:
    for name, content in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def numbered(count: int) -> list[dict[str, Any]]:
    return [
        {"image": {"bytes": red(i), "path": f"{i}.png"}, "text": f"caption {i}"}
        for i in range(count)
    ]


# Folders


def test_folder_with_names_in_other_scripts(tmp_path: Path) -> None:
    images = {"Fotos/größe.png": red(1), "写真.png": red(2), "a, b.png": red(3)}
    rows = [{"file_name": name, "text": f"« {name} »"} for name in images]
    data = load(write_folder(tmp_path / "Bilder", rows, images))

    assert data.name == "Bilder"
    assert data.ids == tuple(images)
    assert data.texts == tuple(f"« {name} »" for name in images)
    assert [data.image_bytes(i) for i in range(3)] == list(images.values())
    assert data.image(1).getpixel((0, 0)) == (2, 0, 0)


def test_several_caption_columns(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "caption_0": "one", "caption_1": "", "caption_2": "three"}]
    folder = write_folder(tmp_path, rows, {"a.png": red(0)})
    columns = ("caption_0", "caption_1", "caption_2")
    assert load(folder, text=columns, caption_index="all").texts == ("one three",)
    assert load(folder, text=columns, caption_index=(2, 0), separator="; ").texts == ("three; one",)
    with pytest.raises(DataError, match=r"line 2 of .*captions.csv.*'a.png'.*caption 1 is empty"):
        load(folder, text=columns, caption_index=1)


def test_an_image_on_several_lines_has_several_captions(tmp_path: Path) -> None:
    rows = [
        {"file_name": name, "text": text}
        for name, text in [("b.png", "b1"), ("a.png", "a1"), ("b.png", "b2")]
    ]
    folder = write_folder(tmp_path, rows, {"a.png": red(1), "b.png": red(2)})
    data = load(folder, caption_index="all")
    assert (data.ids, data.texts) == (("b.png", "a.png"), ("b1 b2", "a1"))


def test_list_cells_in_csv_and_jsonl(tmp_path: Path) -> None:
    captions = ["one, two", "[three"]
    rows = [
        {"file_name": "a.png", "text": json.dumps(captions)},
        {"file_name": "b.png", "text": "[x"},
    ]
    folder = write_folder(tmp_path, rows, {"a.png": red(1), "b.png": red(2)})
    assert load(folder, caption_index="all").texts == ("one, two [three", "[x")

    (folder / "captions.csv").rename(folder / "captions.txt")
    lines = [{"file_name": "a.png", "text": captions}, {"file_name": "b.png", "text": "plain"}]
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "metadata.jsonl").write_text(text + "\n\n")
    assert load(folder, caption_index="all").texts == ("one, two [three", "plain")


def test_folder_of_a_split_and_an_id_column(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "text": "x", "key": "007"}]
    write_folder(tmp_path / "val", rows, {"a.png": red(1)})
    assert load(tmp_path, split="val", id="key").ids == ("007",)


def test_folder_without_captions_or_with_two_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(red(1))
    with pytest.raises(AbsentError, match="no captions file"):
        load(tmp_path, format="folder")
    for name in ("captions.csv", "metadata.csv"):
        (tmp_path / name).write_text("file_name,text\n")
    with pytest.raises(ConfigError, match=r"captions.csv, metadata.csv. Keep one"):
        load(tmp_path)
    with pytest.raises(AbsentError, match="no file or folder"):
        load(tmp_path / "nowhere")


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    rows = [{"file": "a.png", "capton": "x"}]
    folder = write_folder(tmp_path, rows, {"a.png": red(1)})
    with pytest.raises(ConfigError, match=r"'file_name' \(dataset.image\). Did you mean 'file'"):
        load(folder)
    with pytest.raises(ConfigError, match=r"'caption'.*Did you mean 'capton'.*file, capton"):
        load(folder, image="file", text="caption")
    with pytest.raises(ConfigError, match=r"'key' \(dataset.id\)"):
        load(folder, image="file", text="capton", id="key")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("captions.csv", b"file_name,text\na.png,x,y\n", "line 2: expected 2 cells"),
        ("captions.csv", b"file_name,text\na.png\n", "line 2: expected 2 cells"),
        ("captions.csv", b"file_name,text\na.png,\xff\n", "cannot be read as UTF-8 csv"),
        ("captions.csv", b"file_name,text,text\na.png,x,y\n", "names the column 'text' twice"),
        ("captions.jsonl", b'{"file_name": "a.png", "text": "x"}\n{\n', "line 2: not valid JSON"),
        ("captions.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        ("captions.jsonl", b'{"file_name": "a.png", "text": 3}\n', "line 1: text must be a string"),
    ],
)
def test_broken_captions_files(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / "a.png").write_bytes(red(1))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        load(tmp_path)


# Bad rows


def spoiled(tmp_path: Path) -> Path:
    """Rows 1, 2, 4, 5 are bad, each in its own way; 0, 3 and 6 are good."""
    texts = ["zero", "one", "  ", "three", "four", "five", "six"]
    names = [f"{i}.png" for i in range(7)]
    images = {name: red(i) for i, name in enumerate(names) if i != 4}
    images["1.png"] = encoded((9, 9, 9), "JPEG")[:-300]
    images["5.png"] = b"text"
    rows = [{"file_name": n, "text": t} for n, t in zip(names, texts, strict=True)]
    return write_folder(tmp_path, rows, images)


def test_bad_rows_are_dropped_as_pairs_and_listed(tmp_path: Path) -> None:
    data = load(spoiled(tmp_path), on_bad_row="drop")

    assert data.ids == ("0.png", "3.png", "6.png")
    assert data.texts == ("zero", "three", "six")
    assert [data.image(i).getpixel((0, 0))[0] for i in range(3)] == [0, 3, 6]
    assert [(row.row, row.file) for row in data.dropped] == [
        (1, "1.png"),
        (2, "2.png"),
        (4, "4.png"),
        (5, "5.png"),
    ]
    for row, reason in zip(
        data.dropped,
        ["does not decode", "caption 0 is empty", "there is no file", "none of the formats"],
        strict=True,
    ):
        assert reason in row.reason
    assert json.loads(json.dumps(data.report()))["num_dropped"] == 4


def test_the_first_bad_row_is_an_error_unless_the_limit_comes_before(tmp_path: Path) -> None:
    folder = spoiled(tmp_path)
    with pytest.raises(DataError, match=r"line 3 of .*captions.csv \(image '1.png'\)") as caught:
        load(folder)
    assert "on_bad_row: drop" in str(caught.value)
    assert load(folder, limit=1).ids == ("0.png",)
    assert load(folder, limit=2, on_bad_row="drop").ids == ("0.png", "3.png")


def test_no_row_left(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "text": ""}]
    folder = write_folder(tmp_path, rows, {"a.png": red(1)})
    with pytest.raises(DataError, match=r"no usable row; 1 were dropped.*caption 0 is empty"):
        load(folder, on_bad_row="drop")


def test_repeated_ids(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet", [row | {"key": i // 2} for i, row in enumerate(numbered(3))]
    )
    with pytest.raises(DataError, match=r"row 1 of .*a.parquet: the id '0' is an earlier row's"):
        load(path, id="key")
    data = load(path, id="key", on_bad_row="drop")
    assert (data.ids, data.texts) == (("0", "1"), ("caption 0", "caption 2"))


# Order, limit, duplicates, identity


def test_duplicates_are_counted_and_dropped_when_asked(tmp_path: Path) -> None:
    rows = [
        {"id": f"r{i}", "image": {"bytes": red(level), "path": None}, "text": text}
        for i, (level, text) in enumerate(
            [(0, "a"), (1, "b"), (0, "c"), (2, "b"), (0, "a"), (3, "c")]
        )
    ]
    path = write_parquet(tmp_path / "a.parquet", rows)

    kept = load(path, id="id")
    assert len(kept) == 6
    assert kept.duplicates["images"].count == 2
    assert kept.duplicates["images"].first == (("r2", "r0"), ("r4", "r0"))
    assert kept.duplicates["texts"].count == 3
    assert kept.duplicates["texts"].first == (("r3", "r1"), ("r4", "r0"), ("r5", "r2"))

    single = load(path, id="id", deduplicate=True)
    assert single.ids == ("r0", "r1", "r5")  # r2, which had the text of r5, is not there
    assert [row.id for row in single.dropped] == ["r2", "r3", "r4"]
    assert single.dropped[0].reason == "its image is the exact copy of that of id 'r0'"
    assert load(path, id="id", deduplicate=True, limit=3).ids == single.ids


def test_shuffle_comes_before_limit_and_is_the_same_everywhere(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", numbered(8))
    orders = {seed: load(path, shuffle=seed).ids for seed in (0, 1)}
    assert orders[0] == tuple("74326051")  # by sha256sum and sort
    assert sorted(orders[1]) == sorted(orders[0])
    assert orders[1] != orders[0]
    assert load(path, shuffle=0, limit=3).ids == orders[0][:3]


def test_fingerprint_names_rows_order_and_nothing_else(tmp_path: Path) -> None:
    first = load(write_parquet(tmp_path / "a" / "x.parquet", numbered(4)))
    split = [numbered(4)[:1], numbered(4)[1:]]
    for i, rows in enumerate(split):
        write_parquet(tmp_path / "b" / f"{i}.parquet", rows)
    same = load(tmp_path / "b" / "*.parquet")
    assert same.fingerprint == first.fingerprint

    others = [numbered(4) for _ in range(4)]
    others[0][2]["text"] = "other"
    others[1][2]["image"] = {"bytes": red(99), "path": None}
    others[2][0], others[2][1] = others[2][1], others[2][0]
    others[3][0]["text"], others[3][1]["text"] = others[3][1]["text"], others[3][0]["text"]
    found = {
        load(write_parquet(tmp_path / f"{i}.parquet", o)).fingerprint for i, o in enumerate(others)
    }
    assert len(found | {first.fingerprint}) == 5


def test_pickles_small_and_works_afterwards(tmp_path: Path) -> None:
    data = load(write_parquet(tmp_path / "a.parquet", numbered(200)))
    sent = pickle.dumps(data)
    assert len(sent) < 200 * 400
    copy = pickle.loads(sent)
    assert copy.fingerprint == data.fingerprint
    assert copy.image_bytes(199) == red(199)


def test_an_image_that_changes_under_our_feet(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [{"file_name": "a.png", "text": "x"}], {"a.png": red(1)})
    data = load(folder)
    (folder / "a.png").write_bytes(red(2))
    with pytest.raises(IntegrityError, match="row 0"):
        data.image(0)


# Parquet and folders laid out like a hub repository


def test_parquet_of_raw_bytes_and_of_paths(tmp_path: Path) -> None:
    raw = write_parquet(tmp_path / "raw.parquet", [{"image": red(5), "text": ["x", "y"]}])
    assert load(raw, caption_index=1).image_bytes(0) == red(5)
    (tmp_path / "a.png").write_bytes(red(6))
    paths = write_parquet(tmp_path / "paths.parquet", [{"image": "a.png", "text": "x"}])
    assert load(paths).image_bytes(0) == red(6)


def test_parquet_cells_that_are_empty_or_of_another_kind(tmp_path: Path) -> None:
    rows = numbered(3)
    rows[1]["image"], rows[2]["text"] = None, None
    data = load(write_parquet(tmp_path / "a.parquet", rows), on_bad_row="drop")
    assert [row.reason for row in data.dropped] == ["the image is missing", "caption 0 is empty"]
    numbers = write_parquet(tmp_path / "b.parquet", [{"image": red(0), "text": 3}])
    with pytest.raises(ConfigError, match="'text', which holds int"):
        load(numbers)


def test_broken_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"a.parquet cannot be read"):
        load(tmp_path / "a.parquet")
    with pytest.raises(AbsentError, match="no file matches"):
        load(tmp_path / "b*.parquet")


def test_with_a_limit_later_files_are_not_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "0.parquet", numbered(3))
    (tmp_path / "1.parquet").write_bytes(b"broken")
    assert len(load(tmp_path / "*.parquet", limit=3)) == 3
    with pytest.raises(DataError):
        load(tmp_path / "*.parquet", limit=4)
    with pytest.raises(DataError):
        load(tmp_path / "*.parquet", limit=3, shuffle=0)


def test_folder_like_a_hub_repository(tmp_path: Path) -> None:
    """The images were encoded by `datasets` itself; splits are found by their file names."""
    features = datasets.Features(
        {"image": datasets.Image(), "text": datasets.List(datasets.Value("string"))}
    )
    (tmp_path / "data").mkdir()
    for split, levels in (("train", [1, 2, 3]), ("validation", [4])):
        columns = {
            "image": [{"bytes": red(i), "path": None} for i in levels],
            "text": [[f"c{i}", f"d{i}"] for i in levels],
        }
        table = datasets.Dataset.from_dict(columns, features=features)
        table.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")

    data = load(tmp_path, caption_index=1)
    assert data.texts == ("d1", "d2", "d3")
    assert data.image_bytes(2) == red(3)
    assert data.provenance["format"] == "hub"
    assert load(tmp_path, split="validation").texts == ("c4",)
    with pytest.raises(ConfigError, match=r"Did you mean 'validation'\? Splits: train, validation"):
        load(tmp_path, split="valid")


# Tar shards


def test_tar_shards_by_brace_pattern(tmp_path: Path) -> None:
    for shard in (9, 10, 11):
        members = [
            (f"{i:03d}.{ending}", content)
            for i in range(2)
            for ending, content in (
                ("JPG", encoded((shard, 0, 0), "JPEG") + bytes([i])),
                ("txt", f"{shard} {i}\n".encode()),
                ("json", json.dumps({"long": [f"long {shard}", f"more {i}"], "n": 3}).encode()),
            )
        ]
        write_tar(tmp_path / f"s-{shard:02d}.tar", members)

    data = load(tmp_path / "s-{09..11}.tar")
    assert data.ids[:3] == ("s-09/000", "s-09/001", "s-10/000")
    assert data.texts[:3] == ("9 0", "9 1", "10 0")
    assert data.image_bytes(1) == encoded((9, 0, 0), "JPEG") + bytes([1])
    assert load(tmp_path / "s-*.tar").fingerprint == data.fingerprint
    fields = load(tmp_path / "s-10.tar", text="json.long", caption_index="all", image="png;jpg")
    assert fields.texts == ("long 10 more 0", "long 10 more 1")
    with pytest.raises(DataError, match=r"no field 'lon' \(dataset.text\). Did you mean 'long'"):
        load(tmp_path / "s-10.tar", text="json.lon")
    with pytest.raises(DataError, match=r"json\.n holds int"):
        load(tmp_path / "s-10.tar", text="json.n")
    with pytest.raises(AbsentError, match="s-12"):
        load(tmp_path / "s-{11..12}.tar")


def test_tar_samples_without_image_or_text(tmp_path: Path) -> None:
    shard = write_tar(
        tmp_path / "a.tar",
        [
            ("x/1.png", red(1)),
            ("x/1.txt", b"one"),
            ("x/2.png", red(2)),
            ("x/3.txt", b"three"),
            ("x/4.png", red(4)),
            ("x/4.txt", b"\xff"),
            ("x/5.png", red(5)),
            ("x/5.txt", b"five"),
        ],
    )
    with pytest.raises(DataError, match=r"sample 'x/2' of .*a.tar: no member ends in .txt"):
        load(shard)
    data = load(shard, on_bad_row="drop")
    assert data.texts == ("one", "five")
    assert [row.id for row in data.dropped] == ["a/x/2", "a/x/3", "a/x/4"]


def test_tar_that_is_none_or_ends_early(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [("1.png", red(1)), ("1.txt", b"x" * 5000)])
    (tmp_path / "b.tar").write_bytes(whole.read_bytes()[:2500])
    (tmp_path / "c.tar").write_bytes(b"no tar")
    for name in ("b.tar", "c.tar"):
        with pytest.raises(DataError, match=name):
            load(tmp_path / name)


def test_with_a_limit_later_shards_are_not_opened(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("1.png", red(1)), ("1.txt", b"x"), ("2.png", red(2))])
    (tmp_path / "1.tar").write_bytes(b"broken")
    assert len(load(tmp_path / "*.tar", limit=1)) == 1
