"""The table of checked rows: one pass in parts, killed and taken up again, the same to the byte."""

import hashlib
import io
import json
import pickle
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import red

from platorep.config import DatasetConfig
from platorep.data import Copies, EventDataset, checks, load_dataset, passes, table
from platorep.data.seen import FirstSeen
from platorep.data.select import shuffled
from platorep.errors import DataError
from platorep.features.upkeep import clean, damaged_files
from platorep.files import cache_root, canonical_json, sha256
from platorep.reporting import Reporter

Write = Callable[[Path, Sequence[dict[str, Any]]], str]


def write_parquet(root: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Strings: whole blocks are checked at once."""
    half = len(rows) // 2
    for name, part in (("a", rows[:half]), ("b", rows[half:])):
        pq.write_table(pa.Table.from_pylist(list(part)), root / f"{name}.parquet")
    return f"{root}/*.parquet"


def write_lists(root: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Lists of captions: row by row."""
    return write_parquet(root, [row | {"text": [row["text"], "other"]} for row in rows])


def write_csv(root: Path, rows: Sequence[dict[str, Any]]) -> str:
    lines = [json.dumps(row) for row in rows]
    (root / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return str(root)


def write_tar(root: Path, rows: Sequence[dict[str, Any]]) -> str:
    with tarfile.open(root / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for i, row in enumerate(rows):
            members = {"json": json.dumps(row).encode(), "txt": (row["text"] or "").encode()}
            for ending, content in members.items():
                member = tarfile.TarInfo(f"{'long' * 40 if i % 3 == 1 else ''}{i:04d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return str(root / "x.tar")


SOURCES: dict[str, tuple[Write, dict[str, Any]]] = {
    "parquet": (write_parquet, {"id": "id"}),
    "lists": (write_lists, {"id": "id"}),
    "jsonl": (write_csv, {"id": "id"}),
    "tar": (write_tar, {"id": "json.id"}),
}


def load(source: str, **settings: Any) -> EventDataset:
    config = {"source": source, "views": {"text": {}}, "on_bad_row": "drop"} | settings
    return load_dataset(DatasetConfig.model_validate(config))


def few(num: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of which many share an id or a text, and some have none."""
    draw = random.Random(seed)
    texts = [*(f"text {draw.randrange(num)}" for _ in range(num)), "", None, " \t"]
    return [{"id": f"r{draw.randrange(2 * num)}", "text": draw.choice(texts)} for _ in range(num)]


def oracle(
    rows: Sequence[dict[str, Any]], order: Sequence[int], limit: int | None, drop: bool
) -> tuple[list[int], list[tuple[int, str]], Copies]:
    """One row after the other, with dictionaries: kept, dropped with a word of why, copies."""
    kept, dropped, copies = list[int](), list[tuple[int, str]](), list[tuple[str, str]]()
    ids, first = set[str](), dict[str, str]()
    for number in order:
        if len(kept) == limit:
            break
        row_id, text = rows[number]["id"], rows[number]["text"]
        if row_id in ids:
            dropped.append((number, "is an earlier row's"))
        elif not (text or "").strip():
            dropped.append((number, "empty"))
        else:
            if text in first:
                copies.append((row_id, first[text]))
                if drop:
                    dropped.append((number, f"exact copy of that of id {first[text]!r}"))
                    continue
            first.setdefault(text, row_id)
            ids.add(row_id)
            kept.append(number)
    return kept, dropped, Copies(len(copies), tuple(copies[:5]))


def test_of_many_dropped_rows_the_first_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MOST_LISTED", 2)
    rows = few(40)
    write, own = SOURCES["parquet"]

    data = load(write(tmp_path, rows), **own)

    dropped = oracle(rows, range(40), None, False)[1]
    assert [row.row for row in data.dropped] == [number for number, _ in dropped[:2]]
    told = data.report()
    assert (len(told["dropped"]), told["num_dropped"]) == (2, len(dropped))
    assert len(dropped) > 2


@pytest.mark.parametrize(
    "settings", [{}, {"deduplicate": True, "shuffle": 3, "limit": 20}], ids=str
)
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("at_once", [7, 4096])
def test_rows_are_kept_and_dropped_as_one_by_one(
    kind: str,
    at_once: int,
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "TEXTS_AT_ONCE", at_once)
    write, own = SOURCES[kind]
    rows = few(40)
    order = range(40) if "shuffle" not in settings else shuffled(40, 3).tolist()

    data = load(write(tmp_path, rows), **own, **settings)

    kept, dropped, copies = oracle(rows, order, settings.get("limit"), "deduplicate" in settings)
    assert data.ids == [rows[i]["id"] for i in kept]
    assert data.views["text"].texts == [rows[i]["text"] for i in kept]
    hashes = [sha256(rows[i]["text"].encode()) for i in kept]
    assert data.views["text"].hashes == hashes
    assert [row.row for row in data.dropped] == [number for number, _ in dropped]
    assert all(why in row.reason for row, (_, why) in zip(data.dropped, dropped, strict=True))
    assert data.duplicates == {"text": copies}
    assert data.views["text"].mean_words == np.mean([len(rows[i]["text"].split()) for i in kept])
    pairs = [list(pair) for pair in zip(data.ids, hashes, strict=True)]
    assert data.fingerprint == sha256(canonical_json(pairs).encode())
    assert {column: data.rows_of(column).fingerprint for column in ("", "text_sha256")} == {
        "": sha256(canonical_json([list(data.ids), [""] * len(kept)]).encode()),
        "text_sha256": sha256(canonical_json([list(data.ids), hashes]).encode()),
    }


def write_images(root: Path, rows: Sequence[dict[str, Any]]) -> str:
    for i, row in enumerate(rows):
        if row["text"]:
            (root / f"{i}.png").write_bytes(red(i % 7))
    lines = [json.dumps({"file_name": f"{i}.png"} | row) for i, row in enumerate(rows)]
    (root / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return str(root)


def test_changes_pass_over_rows_without_a_text(tmp_path: Path) -> None:
    """Of whole blocks as one by one."""
    changes: dict[str, Any] = {
        "order": {"of": "text", "change": "word_order"},
        "first": {"of": "order", "change": "first_words", "n": 1},
        "lower": {"of": "text", "change": "case"},
        "content": {"of": "text", "change": "content_words"},
    }
    found = []
    for name, (write, own) in SOURCES.items():
        (tmp_path / name).mkdir()
        data = load(write(tmp_path / name, few(12)), views={"text": {}} | changes, **own)
        assert data.dropped
        views = {view: tuple(of.texts or ()) for view, of in data.views.items()}
        found.append((views, dict(data.unchanged), [tuple(of) for of in data.hashes.values()]))
    assert all(of_source == found[0] for of_source in found)


class Killed(BaseException):
    pass


def kill_after(monkeypatch: pytest.MonkeyPatch, num_blocks: int) -> list[list[int]]:
    """Let a pass die in its block of that number; grows with the numbers of all rows it checks."""
    checked: list[list[int]] = []
    whole = checks.Checks.block

    def block(self: checks.Checks, numbers: Sequence[int]) -> Any:
        if len(checked) == num_blocks:
            raise Killed
        checked.append(list(numbers))
        return whole(self, numbers)

    monkeypatch.setattr(checks.Checks, "block", block)
    return checked


@pytest.mark.parametrize(
    "settings",
    [
        {"deduplicate": True, "shuffle": 1, "limit": 15},
        {"views": {"image": {}, "text": {}, "grey": {"of": "image", "change": "grey"}}},
        {"views": {"image": {}}, "deduplicate": "near"},
    ],
    ids=str,
)
def test_a_killed_pass_goes_on_to_the_same_bytes(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows").mkdir()
    source = write_images(tmp_path / "rows", few(40))
    monkeypatch.setattr(checks, "TEXTS_AT_ONCE", 5)
    monkeypatch.setattr(checks, "DECODED_AT_ONCE", 5)
    monkeypatch.setattr(passes, "BLOCK_ROWS", 4)
    monkeypatch.setenv("PLATOREP_CACHE", str(tmp_path / "undisturbed"))
    expected = load(source, id="id", **settings)
    (undisturbed,) = (tmp_path / "undisturbed" / "rows").glob("*/")

    monkeypatch.setenv("PLATOREP_CACHE", str(tmp_path / "killed"))
    monkeypatch.setattr(passes, "PART_BYTES", 1)
    with monkeypatch.context() as dying:
        kill_after(dying, 3)
        with pytest.raises(Killed):
            load(source, id="id", **settings)
    (folder,) = (tmp_path / "killed" / "rows").glob("*/")
    parts = sorted((folder / "parts").iterdir())
    assert [path.name for path in parts] == ["part-00000", "part-00001", "part-00002"]
    with monkeypatch.context() as watched:
        checked = kill_after(watched, -1)
        data = load(source, id="id", **settings)

    if settings.get("shuffle") is None:
        assert checked[0][0] == 15  # what was sealed is not checked again
    assert data.report() == expected.report()
    for name in ("rows.arrow", "dropped.arrow"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not (folder / "parts").exists()


def test_parts_stay_until_the_table_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_parquet(tmp_path, few(20))
    monkeypatch.setattr(checks, "TEXTS_AT_ONCE", 5)
    monkeypatch.setattr(passes, "PART_BYTES", 1)

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(table, "write_sealed", dies)
        with pytest.raises(Killed):
            load(source)
    checked = kill_after(monkeypatch, -1)
    load(source)
    assert [numbers[0] for numbers in checked] == [20]  # what is behind the last part: nothing


def test_texts_of_many_bytes_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of Arrow has no room for 2 GiB of text."""
    texts = [f"{'long' * (i % 3)} {i}" for i in range(9)]
    source = write_parquet(tmp_path, [{"text": text} for text in texts])
    monkeypatch.setattr(passes, "BATCH_BYTES", 20)
    column = load(source).views["text"].texts

    assert column == texts
    sizes = [sum(map(len, chunk.to_pylist())) for chunk in column.arrow.chunks]
    assert len(sizes) > 4
    assert max(sizes) <= 20


def test_a_text_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    ends, content = np.array([0, 1, 2, 3], np.int32), b"\xffab"
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(ends), pa.py_buffer(content)]
    )
    whole = pa.array(["x", "y", "z"])
    for number, (text, row_id) in enumerate([(broken, whole), (whole, broken)]):
        source = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"text": text, "id": row_id}), source)
        data = load(str(source), id="id")
        (dropped,) = data.dropped
        assert (dropped.row, len(data)) == (0, 2)
        assert "not UTF-8" in dropped.reason
        with pytest.raises(DataError, match=r"row 0 of .*not UTF-8.*on_bad_row: drop"):
            load(str(source), id="id", on_bad_row="error")


def test_a_parquet_file_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    column = pa.array(["x"])
    names = ["text", "other", "other"]
    pq.write_table(pa.Table.from_arrays([column] * 3, names=names), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x.parquet names the column 'other' twice"):
        load(str(tmp_path / "x.parquet"))


def test_parts_of_other_or_damaged_files_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_parquet(tmp_path, few(40))
    monkeypatch.setattr(checks, "TEXTS_AT_ONCE", 5)
    monkeypatch.setattr(passes, "PART_BYTES", 1)

    def first_checked(killed: int) -> int:
        with monkeypatch.context() as dying:
            checked = kill_after(dying, killed)
            with pytest.raises(Killed):
                load(source)
        return checked[0][0]

    assert first_checked(3) == 0
    assert damaged_files(cache_root()).empty
    assert first_checked(1) == 15
    (part, *_) = sorted((cache_root() / "rows").glob("*/parts/part-00003"))
    part.write_bytes(part.read_bytes()[:-1])
    assert first_checked(1) == 0
    assert first_checked(1) == 5
    assert first_checked(1) == 10
    clean(cache_root(), broken=False, partial=True, model=None)
    assert first_checked(1) == 0
    assert first_checked(1) == 5
    write_parquet(tmp_path, few(40, seed=1))
    assert first_checked(1) == 0
    texts = [row["text"] for row in few(40, seed=1)]
    assert load(source).views["text"].texts == [text for text in texts if text and text.strip()]


def coarse(values: Sequence[str]) -> Any:
    """Many values share a hash."""
    return np.array([int(sha256(value.encode())[:1], 16) for value in values], np.uint64)


@pytest.mark.parametrize("own", [{}, {"hashed": coarse}], ids=["wide", "coarse"])
def test_first_seen_is_a_dictionary(own: dict[str, Any]) -> None:
    draw, rows = random.Random(0), list[str]()
    seen, first = FirstSeen(rows.__getitem__, **own), dict[str, int]()
    for _ in range(40):
        block = [f"v{draw.randrange(200)}" for _ in range(draw.randrange(12))]
        found = seen.find(block)
        assert found.first.tolist() == [first.get(value, -1) for value in block]
        places = [place for place in range(len(block)) if draw.random() < 0.8]
        block = [block[place] for place in places]
        seen.add(block, found.at(places))
        for value in block:
            first.setdefault(value, len(rows))
            rows.append(value)


def test_the_shuffled_order_is_that_of_the_digests() -> None:
    for seed, num in ((0, 0), (0, 1), (7, 300)):
        expected = sorted(range(num), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
        assert shuffled(num, seed).tolist() == expected


def test_a_view_is_sent_in_few_bytes(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "text": f"text {i}"} for i in range(100)]
    for name, source in (("a", write_csv), ("b", write_parquet), ("c", write_tar)):
        (tmp_path / name).mkdir()
        data = load(source(tmp_path / name, rows))
        sent = pickle.dumps(data.views["text"])
        assert len(sent) < 3000
        view = pickle.loads(sent)
        assert (len(view), view[99], view.ids) == (100, "text 99", data.ids)


def test_a_first_pass_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, report = write_parquet(tmp_path, few(10)), Reporter(0)
    config = DatasetConfig.model_validate(
        {"source": source, "views": {"text": {}}, "on_bad_row": "drop"}
    )
    for _ in range(2):
        load_dataset(config, report=report)
    assert capsys.readouterr().err.count(f"check {source}: ") == 1


def test_a_bad_row_far_on_is_named(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "text": f"text {i}"} for i in range(100)]
    rows[70]["text"] = " "
    source = write_parquet(tmp_path, rows)
    with pytest.raises(DataError, match=r"row 20 of .*b\.parquet: caption 0 is empty"):
        load(source, on_bad_row="error")
    rows[70]["text"], rows[71]["id"] = "x", "r3"
    write_parquet(tmp_path, rows)
    with pytest.raises(DataError, match=r"row 21 of .*b\.parquet: the id 'r3' is an earlier row's"):
        load(source, on_bad_row="error", id="id")
