"""The feature cache: round trip, every field of the key separates, damage is seen."""

import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from platorep import tensors
from platorep.errors import AbsentError, ConfigError, DamagedError, DataError, IntegrityError
from platorep.features import (
    Cell,
    CellKey,
    RowIdentities,
    all_cells,
    cell_of,
)
from platorep.features.upkeep import cell_table, clean, damaged_files
from platorep.files import write_sealed
from platorep.tensors import Verified

ROWS = RowIdentities(ids=("a", "b", "c"), hashes=("1", "2", "3"))
LAYERS = [torch.arange(6.0).reshape(3, 2), torch.arange(12.0).reshape(3, 4) / 7]


def key(**changes: object) -> CellKey:
    fields = {"model": {"name": "m"}, "rows": ROWS.fingerprint}
    fields |= {"compute_dtype": "float32", "store_dtype": "float32"}
    return CellKey(**(fields | changes))


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    """Three rows in shards of two, both written."""
    cell = cell_of(tmp_path, "data/set", "org/model", key())
    cell.create(key(), ROWS, [("first", 2), ("second", 4)], 2, {"label": "m"})
    for shard in (0, 1):
        rows = cell.shard_range(shard)
        cell.write_shard(shard, [layer[rows.start : rows.stop] for layer in LAYERS])
    return cell


def test_round_trip(cell: Cell) -> None:
    found = Cell(cell.folder)

    assert [torch.equal(a, b) for a, b in zip(found.read(), LAYERS, strict=True)] == [True, True]
    assert found.rows() == ROWS
    assert found.layers == ["first", "second"]
    assert found.is_complete()


@pytest.mark.parametrize(
    ("value", "dtypes", "cure"),
    [
        (
            1e5,
            ("float32", "float16"),
            r"reaches 1e\+05, and `extract.store: float16` holds no",
        ),
        (
            3.4e38,
            ("float32", "bfloat16"),
            r"`extract.store: bfloat16` holds no more than 3.39e",
        ),
        (math.inf, ("float16", "float16"), "overflow of `dtype: float16`.*`dtype: float32`"),
        (math.nan, ("float32", "float16"), "weights are broken, or it cannot read this row"),
        (-math.inf, ("bfloat16", "float32"), "though it is computed in bfloat16"),
    ],
)
def test_a_value_that_is_not_finite_is_never_written(
    value: float, dtypes: tuple[str, str], cure: str, tmp_path: Path
) -> None:
    of = key(compute_dtype=dtypes[0], store_dtype=dtypes[1])
    cell = cell_of(tmp_path, "data", "model", of)
    cell.create(of, ROWS, [("first", 2), ("second", 4)], 3, {"label": "m"})
    features = [layer.clone() for layer in LAYERS]
    features[1][1, 2] = value
    with pytest.raises(DataError, match=rf"m: layer 'second' of row 'b' .*{cure}"):
        cell.write_shard(0, features)
    assert list(cell.folder.glob("*shard*")) == []


def test_large_values_are_finite_though_their_sum_is_not(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "data", "model", key())
    cell.create(key(), ROWS, [("first", 2)], 3, {"label": "m"})
    large = torch.full((3, 2), 3e38)
    cell.write_shard(0, [large])
    assert torch.equal(cell.read_shard(0)[0], large)


def test_the_folder_is_readable_for_people(cell: Cell, tmp_path: Path) -> None:
    assert cell.folder.relative_to(tmp_path / "features").parts[:2] == ("data--set", "org--model")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "m", "pool": "cls"}},
        {"rows": RowIdentities(ids=("b", "a", "c"), hashes=("2", "1", "3")).fingerprint},
        {"compute_dtype": "bfloat16"},
        {"store_dtype": "float16"},
    ],
)
def test_every_field_separates(change: dict[str, object]) -> None:
    assert key(**change).digest() != key().digest()


def test_rows_know_their_order_and_content() -> None:
    prints = {
        RowIdentities(ids=("a", "b"), hashes=("1", "2")).fingerprint,
        RowIdentities(ids=("b", "a"), hashes=("2", "1")).fingerprint,
        RowIdentities(ids=("a", "b"), hashes=("1", "3")).fingerprint,
        RowIdentities(ids=("a", "b1"), hashes=("", "2")).fingerprint,
    }
    assert len(prints) == 4


def test_a_missing_shard_is_absent(cell: Cell) -> None:
    cell.shard_path(1).unlink()

    assert cell.missing_shards() == [1]
    with pytest.raises(AbsentError, match="rows 2 to 2"):
        cell.read()


@pytest.mark.parametrize("layers", [None, [1]])
def test_no_flipped_byte_changes_a_number_unseen(cell: Cell, layers: list[int] | None) -> None:
    path = cell.shard_path(0)
    content = path.read_bytes()
    expected = [LAYERS[i][:2] for i in layers or (0, 1)]
    seen = 0
    for place in range(0, len(content), 1 if layers else 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = cell.read_shard(0, layers)
        except IntegrityError:
            seen += 1
        else:
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert seen > 0.3 * (len(content) if layers else len(content) / 3)


def test_a_shard_is_verified_once_as_long_as_its_file_is_the_same(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: Verified = set()
    hashed: list[int] = []
    whole = cell.read_shard(0, [1], verified=verified)[0]
    checks = tensors._checks
    monkeypatch.setattr(tensors, "_checks", lambda found: hashed.append(1) or checks(found))

    one = cell.read_shard(0, [1], places=torch.tensor([1]), verified=verified)[0]

    assert torch.equal(one, whole[[1]])
    assert not hashed
    cell.read_shard(0, [0], verified=verified)  # another layer
    assert len(hashed) == 1
    path = cell.shard_path(0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError):
        cell.read_shard(0, [1], places=torch.tensor([1]), verified=verified)


def test_a_truncated_shard_is_seen(cell: Cell) -> None:
    path = cell.shard_path(1)
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(IntegrityError, match="damaged"):
        cell.read()


def test_a_shard_of_other_rows_is_seen(cell: Cell) -> None:
    content = safetensors.torch.load(cell.shard_path(1).read_bytes())
    assert content  # a whole file, only in the wrong place
    cell.shard_path(0).write_bytes(cell.shard_path(1).read_bytes())

    with pytest.raises(IntegrityError, match="rows is '2:3' in the file, expected '0:2'"):
        cell.read()


def test_rows_in_another_order_are_seen(cell: Cell) -> None:
    import pandas as pd

    frame = pd.read_parquet(cell.folder / "rows.parquet")
    frame.iloc[::-1].to_parquet(cell.folder / "rows.parquet", index=False)

    with pytest.raises(IntegrityError, match="order"):
        cell.rows()


def test_a_format_of_the_future_is_refused(cell: Cell) -> None:
    path = cell.folder / "meta.json"
    write_sealed(path, cell.meta | {"format_version": 9}, of=cell.folder.name)

    with pytest.raises(IntegrityError, match="format 9"):
        _ = Cell(cell.folder).meta


def test_upkeep_lists_finds_and_removes_damage(cell: Cell, tmp_path: Path) -> None:
    cell.shard_path(0).write_bytes(b"nothing")
    left_over = cell.folder / ".shard-00000.safetensors.0.partial"
    left_over.write_bytes(b"half")

    assert cell_table(tmp_path)["state"].tolist() == ["2/2 shards"]
    assert damaged_files(tmp_path)["file"].tolist() == [str(cell.shard_path(0))]
    removed = clean(tmp_path, broken=True, partial=True, model=None)["removed"].tolist()

    assert sorted(removed) == sorted([str(left_over), str(cell.shard_path(0))])
    assert cell.missing_shards() == [0]
    assert damaged_files(tmp_path).empty


def test_without_its_description_a_cell_is_nothing(cell: Cell, tmp_path: Path) -> None:
    (cell.folder / "meta.json").unlink()
    orphan = Cell(cell.folder)

    assert not orphan.is_complete()
    assert cell_table(tmp_path)["state"].tolist() == ["orphan"]
    assert len(damaged_files(tmp_path)) == 3
    orphan.create(key(), ROWS, [("first", 2), ("second", 4)], 2, {})
    assert orphan.missing_shards() == [0, 1], "orphans do not become features of a new cell"


def test_orphans_can_be_removed(cell: Cell, tmp_path: Path) -> None:
    (cell.folder / "meta.json").unlink()

    clean(tmp_path, broken=True, partial=False, model=None)

    assert list(all_cells(tmp_path)) == []
    assert damaged_files(tmp_path).empty


def test_the_description_goes_first(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a removal is killed, what is left passes for no cell."""
    removed: list[Path] = []
    monkeypatch.setattr("platorep.features.cells.remove", removed.append)

    cell.remove()

    assert removed[0].name == "meta.json"
    assert {path.name for path in removed} == {path.name for path in cell.files()}


def test_rows_are_mended_from_the_experiment(cell: Cell, tmp_path: Path) -> None:
    cell.rows_path.unlink()
    assert damaged_files(tmp_path)["file"].tolist() == [str(cell.rows_path)]

    assert cell.mend_rows(ROWS)

    assert cell.rows() == ROWS
    assert not cell.mend_rows(ROWS)


def test_facts_are_guarded(cell: Cell) -> None:
    path = cell.folder / "meta.json"
    path.write_text(path.read_text().replace('"label": "m"', '"label": "n"'))

    with pytest.raises(DamagedError, match="checksum"):
        _ = Cell(cell.folder).meta


def test_the_description_of_another_cell_is_seen(cell: Cell, tmp_path: Path) -> None:
    other = cell_of(tmp_path, "data/set", "org/model", key(store_dtype="float16"))
    other.create(key(store_dtype="float16"), ROWS, [("first", 2)], 2, {})
    content = (other.folder / "meta.json").read_text()

    for text in (content, json.dumps({k: v for k, v in other.meta.items() if k != "seal"})):
        (cell.folder / "meta.json").write_text(text)
        with pytest.raises(DamagedError, match=other.folder.name):
            _ = Cell(cell.folder).meta


def test_only_damage_is_removed(cell: Cell, tmp_path: Path) -> None:
    """A cell of a later version is whole; so is one that may not be read."""
    write_sealed(cell.folder / "meta.json", cell.meta | {"format_version": 9}, of=cell.folder.name)
    before = cell.files()

    assert clean(tmp_path, broken=True, partial=False, model=None).empty

    assert cell.files() == before
    assert len(damaged_files(tmp_path)) == 1


def test_cells_go_by_model(cell: Cell, tmp_path: Path) -> None:
    clean(tmp_path, broken=False, partial=False, model="other*")
    assert list(all_cells(tmp_path)) == [cell]
    clean(tmp_path, broken=False, partial=False, model="org--*")
    assert list(all_cells(tmp_path)) == []
    with pytest.raises(ConfigError):
        clean(tmp_path, broken=False, partial=False, model=None)
