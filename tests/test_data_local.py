"""Folders, parquet files and tar shards, through the real `datasets` where it is used."""

import csv
import io
import json
import os
import pickle
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import encoded, red

from platorep.config import DatasetConfig
from platorep.data import EventDataset, load_dataset
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError


@pytest.fixture(autouse=True)
def own_arrow_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


def load(source: Path | str, **settings: Any) -> EventDataset:
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
    assert data.views["text"].texts == tuple(f"« {name} »" for name in images)
    assert [data.views["image"].encoded(i) for i in range(3)] == list(images.values())
    assert data.views["image"][1].getpixel((0, 0)) == (2, 0, 0)


def test_several_caption_columns(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "caption_0": "one", "caption_1": "", "caption_2": "three"}]
    folder = write_folder(tmp_path, rows, {"a.png": red(0)})
    columns = ("caption_0", "caption_1", "caption_2")
    assert load(folder, text=columns, caption_index="all").views["text"].texts == ("one three",)
    assert load(folder, text=columns, caption_index=(2, 0), separator="; ").views["text"].texts == (
        "three; one",
    )
    with pytest.raises(DataError, match=r"line 2 of .*captions.csv.*'a.png'.*caption 1 is empty"):
        load(folder, text=columns, caption_index=1)


def test_an_image_on_several_lines_has_several_captions(tmp_path: Path) -> None:
    rows = [
        {"file_name": name, "text": text}
        for name, text in [("b.png", "b1"), ("a.png", "a1"), ("b.png", "b2")]
    ]
    folder = write_folder(tmp_path, rows, {"a.png": red(1), "b.png": red(2)})
    data = load(folder, caption_index="all")
    assert (data.ids, data.views["text"].texts) == (("b.png", "a.png"), ("b1 b2", "a1"))


def test_list_cells_in_csv_and_jsonl(tmp_path: Path) -> None:
    captions = ["one, two", "[three"]
    rows = [
        {"file_name": "a.png", "text": json.dumps(captions)},
        {"file_name": "b.png", "text": "[x"},
    ]
    folder = write_folder(tmp_path, rows, {"a.png": red(1), "b.png": red(2)})
    assert load(folder, caption_index="all").views["text"].texts == ("one, two [three", "[x")

    (folder / "captions.csv").rename(folder / "captions.txt")
    lines = [{"file_name": "a.png", "text": captions}, {"file_name": "b.png", "text": "plain"}]
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "metadata.jsonl").write_text(text + "\n\n")
    assert load(folder, caption_index="all").views["text"].texts == ("one, two [three", "plain")


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
        ("captions.csv", b"file_name,text\na.png,\xff\n", "is not UTF-8"),
        ("captions.csv", b"file_name,text,text\na.png,x,y\n", "names the column 'text' twice"),
        ("captions.jsonl", b'{"file_name": "a.png", "text": "x"}\n{\n', "line 2: not valid JSON"),
        ("captions.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        (
            "captions.jsonl",
            b'{"file_name": "a.png", "text": 3}\n',
            "line 1 of .*holds int, expected a string",
        ),
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
    assert data.views["text"].texts == ("zero", "three", "six")
    assert [data.views["image"][i].getpixel((0, 0))[0] for i in range(3)] == [0, 3, 6]
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
    assert (data.ids, data.views["text"].texts) == (("0", "1"), ("caption 0", "caption 2"))


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
    assert kept.duplicates["image"].count == 2
    assert kept.duplicates["image"].first == (("r2", "r0"), ("r4", "r0"))
    assert kept.duplicates["text"].count == 3
    assert kept.duplicates["text"].first == (("r3", "r1"), ("r4", "r0"), ("r5", "r2"))

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
    assert copy.views["image"].encoded(199) == red(199)


def test_an_image_that_changes_under_our_feet(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [{"file_name": "a.png", "text": "x"}], {"a.png": red(1)})
    data = load(folder)
    (folder / "a.png").write_bytes(red(2))
    with pytest.raises(IntegrityError, match="row 0"):
        data.views["image"][0]


# Parquet and folders laid out like a hub repository


def test_parquet_of_raw_bytes_and_of_paths(tmp_path: Path) -> None:
    raw = write_parquet(tmp_path / "raw.parquet", [{"image": red(5), "text": ["x", "y"]}])
    assert load(raw, caption_index=1).views["image"].encoded(0) == red(5)
    (tmp_path / "a.png").write_bytes(red(6))
    paths = write_parquet(tmp_path / "paths.parquet", [{"image": "a.png", "text": "x"}])
    assert load(paths).views["image"].encoded(0) == red(6)


def test_parquet_cells_that_are_empty_or_of_another_kind(tmp_path: Path) -> None:
    rows = numbered(3)
    rows[1]["image"], rows[2]["text"] = None, None
    data = load(write_parquet(tmp_path / "a.parquet", rows), on_bad_row="drop")
    assert [row.reason for row in data.dropped] == ["the image is missing", "caption 0 is empty"]
    numbers = write_parquet(tmp_path / "b.parquet", [{"image": red(0), "text": 3}])
    with pytest.raises(DataError, match="'text' holds int"):
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
    assert data.views["text"].texts == ("d1", "d2", "d3")
    assert data.views["image"].encoded(2) == red(3)
    assert data.provenance["format"] == "hub"
    assert load(tmp_path, split="validation").views["text"].texts == ("c4",)
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
    assert data.views["text"].texts[:3] == ("9 0", "9 1", "10 0")
    assert data.views["image"].encoded(1) == encoded((9, 0, 0), "JPEG") + bytes([1])
    assert load(tmp_path / "s-*.tar").fingerprint == data.fingerprint
    fields = load(tmp_path / "s-10.tar", text="json.long", caption_index="all", image="png;jpg")
    assert fields.views["text"].texts == ("long 10 more 0", "long 10 more 1")
    with pytest.raises(DataError, match=r"no field 'lon' \(dataset.text\). Did you mean 'long'"):
        load(tmp_path / "s-10.tar", text="json.lon")
    with pytest.raises(DataError, match=r"json\.n' holds int"):
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
    assert data.views["text"].texts == ("one", "five")
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


# What exists is itself


@pytest.mark.parametrize("name", ["x[12]", "x*", "x?", "x::y", "{x,y}", "x{0..1}", "[!a]", "**"])
@pytest.mark.parametrize("ending", [".parquet", ".tar"])
def test_a_file_is_itself_whatever_its_name(tmp_path: Path, name: str, ending: str) -> None:
    """`datasets`, and a shell, would take these for patterns, and read x1 for x[12]."""

    def write(stem: str, level: int) -> Path:
        path = tmp_path / f"{stem}{ending}"
        if ending == ".tar":
            return write_tar(path, [("1.png", red(level)), ("1.txt", b"x")])
        return write_parquet(path, [{"image": red(level), "text": "x"}])

    for other in ("x", "x1", "xy", "y", "x0"):
        write(other, 9)
    data = load(write(name, 1))
    assert [data.views["image"].encoded(i) for i in range(len(data))] == [red(1)]


@pytest.mark.parametrize("name", ["run[1]", "run*", "{run,run1}"])
def test_a_folder_in_a_pattern_is_itself(tmp_path: Path, name: str) -> None:
    for folder, level in ((name, 1), ("run", 8), ("run1", 9)):
        write_parquet(tmp_path / folder / "0.parquet", [{"image": red(level), "text": "x"}])
    data = load(tmp_path / name / "{0,?}.parquet")
    assert [data.views["image"].encoded(i) for i in range(len(data))] == [red(1), red(1)][
        : len(data)
    ]


def test_a_range_of_a_billion_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names more than"):
        load(tmp_path / "x-{0..999999999}.tar")


def test_a_folder_for_the_library_with_a_pattern_for_a_name_is_refused(tmp_path: Path) -> None:
    """It would read the folder beside it."""
    for name in ("data*", "data1"):
        write_parquet(tmp_path / name / "train.parquet", [{"image": red(1), "text": "x"}])
    with pytest.raises(ConfigError, match="takes the characters"):
        load(tmp_path / "data*")


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_folder_for_the_library_is_known_by_its_content(tmp_path: Path, ending: str) -> None:
    """Its own cache knows files by their times."""
    file, images = tmp_path / "d" / f"train.{ending}", tmp_path / "d"
    images.mkdir()
    for level in (1, 2):
        (images / f"{level}.png").write_bytes(red(level))

    def write(level: int) -> None:
        row = {"image": f"{level}.png", "text": f"t{level}"}
        lines = [json.dumps(row)] if ending == "jsonl" else [",".join(row), ",".join(row.values())]
        file.write_text("\n".join(lines) + "\n")

    write(1)
    times = file.stat()
    settings = {"format": "hub"}
    (images / "1.png").rename(tmp_path / "1.png")  # or it would be a folder of images
    (images / "2.png").rename(tmp_path / "2.png")
    for level in (1, 2):
        write(level)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert load(tmp_path / "d", **settings).views["text"].texts == (f"t{level}",)


# What a file may ask for


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "sub/../../secret.png"])
@pytest.mark.parametrize("kind", ["folder", "cell", "struct"])
def test_files_outside_the_folder_are_read_only_if_allowed(
    tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "secret.png").write_bytes(red(7))
    (tmp_path / "data" / "sub").mkdir(parents=True)
    name = f"{tmp_path}{name}" if name.startswith("/") else name
    if kind == "folder":
        source = write_folder(tmp_path / "data", [{"file_name": name, "text": "x"}], {})
    else:
        cell = name if kind == "cell" else {"bytes": None, "path": name}
        source = write_parquet(tmp_path / "data" / "a.parquet", [{"image": cell, "text": "x"}])
    with pytest.raises(DataError, match=r"outside the folder.*files_anywhere: true"):
        load(source)
    assert load(source, files_anywhere=True).views["image"].encoded(0) == red(7)


def test_links_in_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(red(7))
    folder = tmp_path / "data"
    write_folder(folder, [{"file_name": "a.png", "text": "x"}], {"b.png": red(1)})
    (folder / "a.png").symlink_to("../elsewhere.png")
    assert load(folder).views["image"].encoded(0) == red(7)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", ""])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, [{"file_name": "b.png", "text": "x"}], {"b.png": red(1)})
    lines = [{"file_name": name, "text": "x"}, {"file_name": "b.png", "text": "x"}]
    (tmp_path / "captions.csv").unlink()
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert len(str(error.value)) < 2000
    data = load(tmp_path, on_bad_row="drop")
    assert (data.ids, len(data.dropped)) == (("b.png",), 1)


def test_class_folders_with_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(red(1))
    (tmp_path / "cat" / os.fsdecode(b"\xff.png")).write_bytes(red(2))
    data = load_dataset(
        DatasetConfig(source=str(tmp_path), format="class_folders", on_bad_row="drop"), labels=True
    )
    assert data.ids == ("cat/a.png",)
    assert "Unicode" in data.dropped[0].reason
    json.dumps(data.report(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("A" * 160_000, "cannot read"),
        ([1, 2] * 50_000, "holds list, expected encoded samples"),
        ({"a": {"b": [1] * 50_000}}, "holds dict, expected encoded samples"),
        (3, "holds int, expected encoded samples"),
    ],
    ids=["base64", "list", "nested", "number"],
)
def test_image_columns_that_hold_something_else(tmp_path: Path, image: Any, problem: str) -> None:
    source = write_parquet(tmp_path / "a.parquet", [{"image": image, "text": "x"}])
    with pytest.raises(DataError, match=problem) as error:
        load(source)
    assert len(str(error.value)) < 2000


def test_text_columns_that_hold_something_else(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", [{"image": red(1), "text": {"a": ["x"] * 9999}}])
    with pytest.raises(DataError, match="holds dict") as error:
        load(source)
    assert len(str(error.value)) < 2000


def test_a_captions_file_with_very_many_columns(tmp_path: Path) -> None:
    """In time that grows as their number."""
    columns = ["file_name", *(f"c{i}" for i in range(200_000))]
    cells = ["a.png", *["x"] * 200_000]
    (tmp_path / "a.png").write_bytes(red(1))
    (tmp_path / "captions.csv").write_text(",".join(columns) + "\n" + ",".join(cells) + "\n")
    started = time.process_time()
    assert load(tmp_path, text="c7").views["text"].texts == ("x",)
    with pytest.raises(ConfigError, match="no column 'text'") as error:
        load(tmp_path)
    assert len(str(error.value)) < 5000
    assert time.process_time() - started < 20


def test_one_image_on_very_many_lines(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "text": str(i)} for i in range(10_000)]
    folder = write_folder(tmp_path, rows, {"a.png": red(1)})
    started = time.process_time()
    assert load(folder, caption_index=9_999).views["text"].texts == ("9999",)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5000, '{"a":' * 20_000])
def test_json_that_is_nested_too_deep_or_too_long(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.png").write_bytes(red(1))
    (tmp_path / "captions.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"line 1: not valid JSON"):
        load(tmp_path)
    (tmp_path / "captions.jsonl").unlink()
    csv_text = content.replace('"', '""')
    (tmp_path / "captions.csv").write_text(f'file_name,text\na.png,"{csv_text}"\n')
    assert load(tmp_path).views["text"].texts == (content,)
    shard = write_tar(tmp_path / "a.tar", [("1.png", red(1)), ("1.json", content.encode())])
    with pytest.raises(DataError, match=r"member .json: "):
        load(shard, text="json.text")


def test_a_member_that_ends_after_its_tar(tmp_path: Path) -> None:
    """Its size is not allocated because a header says so."""
    shard = write_tar(tmp_path / "a.tar", [("1.txt", b"x"), ("1.png", red(1))])
    header = tarfile.TarInfo("2.txt")
    header.size = 2**42
    content = shard.read_bytes().rstrip(b"\0")
    content += bytes(-len(content) % 512) + header.tobuf()
    shard.write_bytes(content + bytes(1024))
    with pytest.raises(DataError):
        load(shard)
