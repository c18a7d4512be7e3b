"""Rows are known by hashes: compared without being read, and read no further than needed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from platorep.align.models import refuse_other_rows
from platorep.errors import DamagedError, IntegrityError
from platorep.experiment_rows import open_rows, record_rows
from platorep.features import Cell, CellKey, cell_of
from platorep.files import canonical_json, sha256
from platorep.identities import (
    BLOCK_ROWS,
    GROUP_ROWS,
    Identity,
    RowIdentities,
    identify,
    other_block,
)
from platorep.results import Results

N = GROUP_ROWS + BLOCK_ROWS + 5
ODD = ("a b", "", 'say "no"\\', "line\nend", "\x00\x7f\u2028", "\N{DOG FACE}")


@cache
def ids(num_rows: int = N) -> list[str]:
    return [f"{ODD[i % len(ODD)]}{i}" for i in range(num_rows)]


@cache
def hashes(num_rows: int = N, changed: tuple[int, ...] = ()) -> list[str]:
    return [f"{i:064x}" if i not in changed else f"{'f' * 60}{i % 7:04x}" for i in range(num_rows)]


def cell_with(root: Path, rows: RowIdentities, *, older: bool = False) -> Cell:
    """A described cell without shards.

    Args:
        older: As it was written until blocks had hashes.
    """
    key = CellKey(
        model={"name": "m"}, rows=rows.fingerprint, compute_dtype="float32", store_dtype="float32"
    )
    cell = cell_of(root, "data", "m", key)
    cell.create(key, rows, [("first", 2)], 1000, {})
    if older:
        path = cell.folder / "meta.json"
        content = json.loads(path.read_text())
        del content["blocks"], content["seal"]
        path.write_text(json.dumps(content))
        table = pq.read_table(cell.rows_path).to_pandas()
        table.to_parquet(cell.rows_path, index=False)
    return Cell(cell.folder)


def experiment(folder: Path, num_rows: int = N, *, again: bool = False) -> Results:
    """Rows that were recorded.

    Args:
        again: They are known by what was kept of them in JSON.
    """
    results = Results(folder, "x")
    columns = {"": [""] * num_rows, "text_sha256": hashes(num_rows)}
    rows = {name: RowIdentities(ids=ids(num_rows), hashes=of) for name, of in columns.items()}
    if again:
        kept = {name: json.loads(json.dumps(asdict(of.identity))) for name, of in rows.items()}
        rows = {name: replace(of, known=Identity(**kept[name])) for name, of in rows.items()}
    record_rows(results, rows, "f")
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return experiment(tmp_path_factory.mktemp("results"))


def scribble(path: Path, place: int) -> None:
    """Damage a place of the data, and not what the file says of itself at its end."""
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("num_rows", [1, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 1])
def test_identities_are_what_the_format_says(num_rows: int) -> None:
    names, of = ids(num_rows), hashes(num_rows)

    found = identify(names, {"": [""] * num_rows, "text_sha256": of})

    for name, column in (("", [""] * num_rows), ("text_sha256", of)):
        # as 0.1.0 worked it out: it is in the key of every cell
        assert found[name].fingerprint == sha256(canonical_json([names, column]).encode())
        for blocks, values in ((found[name].ids, names), (found[name].hashes, column)):
            parts = [values[i : i + BLOCK_ROWS] for i in range(0, num_rows, BLOCK_ROWS)]
            assert list(blocks) == [sha256(canonical_json(part).encode()) for part in parts]


@pytest.mark.parametrize("row", [0, BLOCK_ROWS - 1, BLOCK_ROWS, N - 1])
def test_a_changed_row_changes_its_block_alone(row: int) -> None:
    before, after = (RowIdentities(ids=ids(), hashes=hashes(changed=c)) for c in ((), (row,)))

    assert before.fingerprint != after.fingerprint
    assert before.identity.ids == after.identity.ids
    block = other_block(after.identity.hashes, before.identity.hashes)
    assert block is not None
    assert row in block
    assert sum(map(str.__ne__, after.identity.hashes, before.identity.hashes)) == 1


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (range(N - 1), f"{N - 1} rows, the experiment has {N}"),
        ([*range(BLOCK_ROWS), BLOCK_ROWS + 1, BLOCK_ROWS, *range(BLOCK_ROWS + 2, N)], "row 4096"),
        ([*range(N - 2), N - 1, N - 2], f"row {N - 2} has id '{ODD[(N - 1) % 6]}"),
    ],
)
def test_the_first_row_that_differs_is_named(
    results: Results, rows: Sequence[int], message: str, older: bool, tmp_path: Path
) -> None:
    names, of = ids(), hashes()
    others = RowIdentities(ids=[names[i] for i in rows], hashes=[of[i] for i in rows])
    cell = cell_with(tmp_path, others, older=older)

    with pytest.raises(IntegrityError, match=rf"features of m belong to other rows: {message}"):
        refuse_other_rows("m", "text_sha256", cell, open_rows(results))


def test_the_first_hash_that_differs_is_named(results: Results, tmp_path: Path) -> None:
    row = GROUP_ROWS + 1
    cell = cell_with(tmp_path, RowIdentities(ids=ids(), hashes=hashes(changed=(row, N - 1))))

    with pytest.raises(
        IntegrityError, match=rf"row {row} has text_sha256 'ff.*, the experiment has '0{{60}}4001"
    ):
        refuse_other_rows("m", "text_sha256", cell, open_rows(results))


def test_equal_rows_are_not_read(results: Results, tmp_path: Path) -> None:
    cell = cell_with(tmp_path, RowIdentities(ids=ids(), hashes=hashes()))
    scribble(cell.rows_path, 1000)

    refuse_other_rows("m", "text_sha256", cell, open_rows(results))
    cell.check_rows()

    with pytest.raises(DamagedError, match="cache clean --broken"):
        cell.rows()


def test_some_rows_are_read_without_the_others(tmp_path: Path) -> None:
    cell = cell_with(tmp_path, RowIdentities(ids=ids(), hashes=hashes()))
    scribble(cell.rows_path, 1000)  # among the ids of the first rows

    last = range(N - 3, N)
    found = cell.some_rows(last)

    assert (found.ids, found.hashes) == (ids()[-3:], hashes()[-3:])
    with pytest.raises(DamagedError, match="cache clean --broken"):
        cell.some_rows(range(3))


@pytest.mark.parametrize("rows", [range(1), range(4090, 4100), range(GROUP_ROWS - 1, N), range(N)])
def test_rows_of_an_experiment_are_verified(results: Results, rows: range) -> None:
    found = open_rows(results).at(["text_sha256"], rows)

    expected = {"id": ids()[rows.start : rows.stop]}
    expected |= {"text_sha256": hashes()[rows.start : rows.stop]}
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected), check_dtype=False)


def test_rows_that_are_swapped_are_no_rows(tmp_path: Path) -> None:
    results = experiment(tmp_path, 100)
    known = open_rows(results)
    table = pq.read_table(results.rows)
    order = [1, 0, *range(2, 100)]
    pq.write_table(table.take(order), results.rows)

    with pytest.raises(DamagedError, match=r"Delete it\. Run `platorep extract`"):
        known.read()
    results.rows.unlink()
    experiment(tmp_path, 100)
    assert list(open_rows(results).read()["id"]) == ids(100)


def test_rows_are_written_once(tmp_path: Path) -> None:
    results = experiment(tmp_path, 100)
    before = results.rows.stat().st_ino, results.rows_known.stat().st_ino

    experiment(tmp_path, 100, again=True)
    assert (results.rows.stat().st_ino, results.rows_known.stat().st_ino) == before

    experiment(tmp_path, 99)
    assert open_rows(results).num_rows == 99
    assert list(open_rows(results).read(stop=2)["id"]) == ids(2)
    assert pd.read_parquet(results.rows).columns.tolist() == ["id", "text_sha256"]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.json"])
def test_damaged_rows_are_refused_and_written_anew(name: str, tmp_path: Path) -> None:
    path = experiment(tmp_path, 100).folder / name
    path.write_text("{")

    with pytest.raises(DamagedError, match=r"Run `platorep extract`"):
        open_rows(Results(tmp_path, "x"))
    assert len(open_rows(experiment(tmp_path, 100)).read()) == 100


def test_rows_and_what_they_are_known_by_go_together(tmp_path: Path) -> None:
    results, other = experiment(tmp_path / "a", 100), experiment(tmp_path / "b", 99)
    results.rows.write_bytes(other.rows.read_bytes())

    with pytest.raises(DamagedError, match="holds other rows than"):
        open_rows(results)


def test_results_of_older_versions_are_read_whole(results: Results, tmp_path: Path) -> None:
    older = Results(tmp_path, "x")
    frame = pd.DataFrame({"id": ids(), "text_sha256": hashes()})
    older.write_table(older.rows, frame, {"rows": "f"})

    found = open_rows(older)

    assert found.identities == open_rows(results).identities
    pd.testing.assert_frame_equal(found.at(["text_sha256"], range(3)), frame[:3], check_dtype=False)
