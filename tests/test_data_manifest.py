"""What was checked once is not checked again, and nothing that changed is served from memory."""

import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import encoded
from PIL import Image

from platorep.config import DatasetConfig
from platorep.data import EventDataset, load_dataset
from platorep.errors import IntegrityError
from platorep.features.upkeep import clean, damaged_files
from platorep.files import cache_root
from platorep.stamps import CLOCK_S, settled_stamp, stamp


def red(level: int) -> bytes:
    """Of one size, whatever the level."""
    return encoded((level, 0, 0), "BMP")


Write = Callable[[Path, dict[str, int]], str]


def write_folder(root: Path, levels: dict[str, int]) -> str:
    lines = ["file_name,text"]
    for name, level in levels.items():
        (root / f"{name}.png").write_bytes(red(level))
        lines.append(f"{name}.png,caption {level:03d}")
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return str(root)


def write_class_folders(root: Path, levels: dict[str, int]) -> str:
    for name, level in levels.items():
        (root / f"class-{name}").mkdir(exist_ok=True)
        (root / f"class-{name}" / "1.png").write_bytes(red(level))
    return str(root)


def write_parquet(root: Path, levels: dict[str, int]) -> str:
    for name, level in levels.items():
        cell = {"bytes": red(level), "path": None}
        table = pa.table({"image": [cell], "text": [f"caption {level:03d}"]})
        pq.write_table(table, root / f"{name}.parquet", compression="none", use_dictionary=False)
    return f"{root}/*.parquet"


def write_tars(root: Path, levels: dict[str, int]) -> str:
    for name, level in levels.items():
        with tarfile.open(root / f"{name}.tar", "w") as tar:
            for ending, content in (("png", red(level)), ("txt", f"caption {level:03d}".encode())):
                member = tarfile.TarInfo(f"1.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return f"{root}/*.tar"


KINDS: dict[str, tuple[Write, dict[str, Any]]] = {
    "folder": (write_folder, {}),
    "class_folders": (write_class_folders, {"format": "class_folders"}),
    "parquet": (write_parquet, {}),
    "webdataset": (write_tars, {}),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    """Grows with every image that Pillow opens."""
    opened: list[None] = []
    pillow = Image.open

    def counted(*arguments: Any, **options: Any) -> Any:
        opened.append(None)
        return pillow(*arguments, **options)

    monkeypatch.setattr(Image, "open", counted)
    return opened


def load(source: str, kind: str, **settings: Any) -> EventDataset:
    settings = KINDS[kind][1] | settings
    return load_dataset(DatasetConfig(source=source, **settings), labels=kind == "class_folders")


def test_an_image_is_decoded_once(tmp_path: Path, kind: str, decoded: list[None]) -> None:
    source = KINDS[kind][0](tmp_path, {"a": 1, "b": 2, "c": 3})
    first = load(source, kind)
    assert len(decoded) == 3

    again = load(source, kind)

    assert len(decoded) == 3
    assert again.report() == first.report()
    assert (again.ids, again.views["text"].texts, again.hashes) == (
        first.ids,
        first.views["text"].texts,
        first.hashes,
    )
    assert [again.views["image"].encoded(i) for i in range(3)] == [red(1), red(2), red(3)]
    assert pickle.loads(pickle.dumps(again)).views["image"].encoded(2) == red(3)


def rewritten_in_place(path: Path, content: bytes) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_file_of_the_same_time(path: Path, content: bytes) -> None:
    """As rsync does, and `cp -p` into a container."""
    before = path.stat()
    other = path.with_name(".other")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [rewritten_in_place, another_file_of_the_same_time])
def test_other_content_of_the_same_size_and_time_is_noticed(
    tmp_path: Path, kind: str, change: Callable[[Path, bytes], None]
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    source = KINDS[kind][0](tmp_path / "old", {"a": 1, "b": 22})
    KINDS[kind][0](tmp_path / "new", {"a": 2, "b": 22})
    before = load(source, kind)

    for path in (tmp_path / "old").rglob("*"):
        other = tmp_path / "new" / path.relative_to(tmp_path / "old")
        if path.is_file() and path.read_bytes() != other.read_bytes():
            assert path.stat().st_size == other.stat().st_size
            change(path, other.read_bytes())

    after = load(source, kind)
    assert [after.views["image"].encoded(i) for i in range(2)] == [red(2), red(22)]
    assert after.fingerprint != before.fingerprint
    if kind != "class_folders":
        assert after.views["text"].texts == ("caption 002", "caption 022")


def test_a_file_more_or_less_is_noticed(tmp_path: Path, kind: str) -> None:
    write = KINDS[kind][0]
    source = write(tmp_path, {"a": 1})
    assert len(load(source, kind)) == 1
    write(tmp_path, {"a": 1, "b": 2})
    assert len(load(source, kind)) == 2
    for path in tmp_path.rglob("*"):
        if (
            path.is_file()
            and path.name != "captions.csv"
            and ("b" in path.name or "-b" in str(path))
        ):
            path.unlink()
    assert len(load(source, kind, on_bad_row="drop")) == 1


def test_a_bad_row_that_was_mended_is_noticed(tmp_path: Path, decoded: list[None]) -> None:
    source = write_folder(tmp_path, {"a": 1, "b": 2, "c": 3})
    (tmp_path / "b.png").write_bytes(b"broken")
    (tmp_path / "c.png").unlink()
    first = load(source, "folder", on_bad_row="drop")
    assert [row.row for row in first.dropped] == [1, 2]
    tried = len(decoded)
    assert load(source, "folder", on_bad_row="drop").dropped == first.dropped
    assert len(decoded) == tried

    (tmp_path / "c.png").write_bytes(red(3))
    assert load(source, "folder", on_bad_row="drop").ids == ("a.png", "c.png")
    (tmp_path / "b.png").write_bytes(red(2))
    assert len(load(source, "folder", on_bad_row="drop")) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"limit": 2},
        {"shuffle": 0},
        {"deduplicate": True},
        {"deduplicate": "near"},
        {"id": "text", "limit": 2},
        {"caption_index": "first", "separator": "; "},
        {"views": {"one": {"of": "text", "change": "case"}}},
    ],
    ids=str,
)
def test_other_settings_have_a_manifest_of_their_own(
    tmp_path: Path, decoded: list[None], settings: dict[str, Any]
) -> None:
    source = write_folder(tmp_path, {"a": 1, "b": 200, "c": 1})
    plain = load(source, "folder")
    decoded.clear()

    first = load(source, "folder", **settings)
    assert decoded
    decoded.clear()
    again = load(source, "folder", **settings)

    assert not decoded
    assert again.report() == first.report()
    assert (again.ids, again.views["text"].texts, again.hashes) == (
        first.ids,
        first.views["text"].texts,
        first.hashes,
    )
    assert load(source, "folder").report() == plain.report()


def tables() -> list[Path]:
    return sorted(path for path in (cache_root() / "rows").iterdir() if path.suffix != ".lock")


def test_a_damaged_table_is_made_anew(tmp_path: Path, decoded: list[None]) -> None:
    source = write_folder(tmp_path, {"a": 1, "b": 2})
    texts = tuple(load(source, "folder").views["text"].texts)
    (folder,) = tables()
    rows, about = folder / "rows.arrow", folder / "about.json"
    whole, said = rows.read_bytes(), about.read_bytes()
    at = whole.index(b"caption 001")
    for path, damaged in (
        (rows, b""),
        (rows, whole[: at + 5]),
        (rows, whole[:at] + b"X" + whole[at + 1 :]),
        (about, said.replace(b'"num_rows": 2', b'"num_rows": 3')),
        (folder / "files.arrow", b"x"),
    ):
        path.write_bytes(damaged)
        assert damaged_files(cache_root())["file"].tolist() == [str(folder)]
        decoded.clear()
        assert load(source, "folder").views["text"].texts == texts
        assert len(decoded) == 2
    assert rows.read_bytes() == whole
    assert damaged_files(cache_root()).empty

    rows.unlink()
    rows.mkdir()
    (rows / "x").touch()
    assert load(source, "folder").views["text"].texts == texts
    (folder / ".x.partial").touch()
    clean(cache_root(), broken=True, partial=True, model=None)
    assert tables() == []


def test_the_same_table_that_was_moved_is_taken(tmp_path: Path, decoded: list[None]) -> None:
    """With other stamps its content is read once more, and the stamps are noted."""
    source = write_folder(tmp_path, {"a": 1})
    load(source, "folder")
    (folder,) = tables()
    content = (folder / "rows.arrow").read_bytes()
    (folder / "rows.arrow").unlink()
    (folder / "rows.arrow").write_bytes(content)
    decoded.clear()
    assert load(source, "folder").views["image"].encoded(0) == red(1)
    noted = json.loads((folder / "about.json").read_text())["tables"]["rows.arrow"]["stamp"]
    assert not decoded
    assert tuple(noted) == stamp(folder / "rows.arrow")


def test_the_table_of_other_settings_in_its_place_is_not_taken(tmp_path: Path) -> None:
    source = write_folder(tmp_path, {"a": 1, "b": 2})
    load(source, "folder", limit=1)
    (limited,) = tables()
    load(source, "folder")
    for other in tables():
        if other != limited:
            shutil.rmtree(other)
            shutil.copytree(limited, other)
    assert len(load(source, "folder")) == 2


def test_an_image_that_goes_between_the_check_and_its_use(tmp_path: Path) -> None:
    source = write_tars(tmp_path, {"a": 1})
    load(source, "webdataset")
    known = load(source, "webdataset")
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(IntegrityError, match="changed while it was in use"):
        known.views["image"].encoded(0)


def test_a_file_of_this_moment_is_waited_for(tmp_path: Path) -> None:
    """Or it could be written again in the same step of the clock, with the same stamp."""
    path = tmp_path / "x"
    path.write_bytes(b"one")
    before = settled_stamp(path)
    path.write_bytes(b"two")
    assert stamp(path) != before
    assert CLOCK_S >= 0.01  # a step of most kernels, with 100 of them a second
    assert stamp(tmp_path / "none") is None
    assert stamp("nul\0") is None
