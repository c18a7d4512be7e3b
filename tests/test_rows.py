"""Columns of strings in Arrow: sequences like any other, without the Python objects."""

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from platorep.errors import IntegrityError
from platorep.files import canonical_json, sha256
from platorep.rows import BLOCK_ROWS, MappedTable, Strings, rows_sha256

TEXTS = ("a dog", "", "zwei \N{DOG FACE}", 'say "no"\\', "line\nend", "\x00\x7f\u2028", "a dog")


def mapped(path: Path, texts: tuple[str, ...] = TEXTS) -> MappedTable:
    """In batches of three rows."""
    table = pa.table({"id": list(map(str, range(len(texts)))), "text": list(texts)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return MappedTable(path)


@pytest.fixture(params=["mapped", "in memory"])
def strings(request: pytest.FixtureRequest, tmp_path: Path) -> Strings:
    return (
        mapped(tmp_path / "x").strings("text") if request.param == "mapped" else Strings.of(TEXTS)
    )


def test_strings_are_the_sequence_that_they_were_made_of(strings: Strings) -> None:
    assert tuple(strings) == TEXTS
    assert (len(strings), strings[2], strings[-1]) == (7, TEXTS[2], TEXTS[-1])
    assert strings == TEXTS
    assert list(TEXTS) == strings
    assert strings == Strings.of(TEXTS)
    assert strings != TEXTS[:-1]
    assert strings != (*TEXTS[:-1], "x")
    assert strings != Strings.of(TEXTS[1:])
    assert TEXTS[2] in strings
    assert strings.size_bytes == sum(len(text.encode()) for text in TEXTS)
    for part in (slice(2, 6), slice(None, None, 2), slice(5, 1, -2), slice(3, 3), slice(4, 99)):
        assert strings[part] == TEXTS[part]
    assert strings[2:6][1:3] == TEXTS[3:5]
    assert list(strings.blocks(4)) == [list(TEXTS[:4]), list(TEXTS[4:])]
    assert Strings.of(strings) is strings
    with pytest.raises(IndexError):
        strings[7]


def test_strings_are_sent_as_a_place_or_as_themselves(strings: Strings) -> None:
    for part in (strings, strings[2:6], strings[2:6][1:], strings[::2], strings[7:]):
        assert pickle.loads(pickle.dumps(part)) == tuple(part)


def test_what_is_sent_of_a_file_does_not_grow_with_it(tmp_path: Path) -> None:
    long = tuple(str(i) * 100 for i in range(1000))
    strings = mapped(tmp_path / "x", long).strings("text")
    assert len(pickle.dumps(strings)) < 500
    assert len(pickle.dumps(Strings.of(long)[10:11])) < 1000


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    sent = pickle.dumps(mapped(tmp_path / "x").strings("text"))
    mapped(tmp_path / "y", TEXTS[::-1])
    (tmp_path / "y").replace(tmp_path / "x")
    with pytest.raises(IntegrityError, match="changed while it was in use"):
        pickle.loads(sent)
    (tmp_path / "x").unlink()
    with pytest.raises(IntegrityError, match="changed while it was in use"):
        pickle.loads(sent)


def test_a_file_that_is_replaced_before_it_is_mapped_is_refused(tmp_path: Path) -> None:
    table = mapped(tmp_path / "x")
    mapped(tmp_path / "y", TEXTS[::-1])
    (tmp_path / "y").replace(tmp_path / "x")
    with pytest.raises(IntegrityError, match="changed while it was in use"):
        table.strings("text")


def test_rows_are_named_by_their_spelled_list(strings: Strings) -> None:
    others = [f"{i:064x}" for i in range(7)]
    rows = [list(row) for row in zip(TEXTS, others, strict=True)]
    assert rows_sha256(strings, others) == sha256(canonical_json(rows).encode())
    assert rows_sha256([], []) == sha256(b"[]")


@pytest.mark.parametrize("num", [0, 5, BLOCK_ROWS, 2 * BLOCK_ROWS + 1])
def test_one_string_again_and_again(num: int) -> None:
    strings = Strings.repeated("ab", num)
    assert len(strings) == num
    assert set(strings) == ({"ab"} if num else set())
    assert rows_sha256(strings) == sha256(canonical_json([["ab"]] * num).encode())
