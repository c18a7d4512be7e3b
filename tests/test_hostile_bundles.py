"""Bundles by people who mean harm, and damaged ones: refused with exit code 5, nothing written."""

import json
import os
import shutil
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from platorep.bundles import find_bundle
from platorep.bundles.about import is_allowed
from platorep.cli import app
from platorep.errors import IntegrityError, PlatorepError
from platorep.features.upkeep import clean
from platorep.files import (
    cache_root,
    canonical_json,
    sha256,
    sha256_file,
    write_json,
    write_sealed,
)
from platorep.packing import open_bundle
from platorep.packing.opening import bundled_run
from platorep.report.pairs import pairs_of, pairs_table
from platorep.reporting import Reporter
from platorep.run import Options
from platorep.tensors import write_tensors

GOOD = Path(__file__).parent / "data" / "bundle-1"
LISTS = "neighbors/000-llama8.safetensors"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A good one, to be changed."""
    return Path(shutil.copytree(GOOD, tmp_path / "inside" / "bundle"))


def about_of(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    del content["seal"]
    return content


def seal(bundle: Path, content: dict[str, Any]) -> None:
    write_sealed(bundle / "bundle.json", content, of="smoke")


def listed_anew(bundle: Path) -> None:
    """What whoever makes a bundle can always do: checksums that fit what is in it."""
    content = about_of(bundle)
    paths = [path for path in bundle.rglob("*") if path.is_file()]
    names = {path.relative_to(bundle).as_posix(): path for path in paths}
    content["files"] = [
        {"path": name, "size": path.stat().st_size, "sha256": sha256_file(path)}
        for name, path in sorted(names.items())
        if name not in ("bundle.json", "README.md")
    ]
    seal(bundle, content)


def resealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    content.pop("seal")
    change(content)
    write_sealed(path, content, of="smoke")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def entry(bundle: Path, **changes: Any) -> None:
    """Change what bundle.json says of its first file."""
    content = about_of(bundle)
    content["files"][0] |= changes
    seal(bundle, content)


def says(bundle: Path, **changes: Any) -> None:
    seal(bundle, about_of(bundle) | changes)


def twice(bundle: Path) -> None:
    content = about_of(bundle)
    one = next(file for file in content["files"] if file["path"] == "results/best.csv")
    content["files"].append(one | {"path": "results/BEST.csv"})
    seal(bundle, content)


def link(bundle: Path, to: Path) -> None:
    (bundle / "results/best.csv").unlink()
    (bundle / "results/best.csv").symlink_to(to)


def cell_elsewhere(bundle: Path, folder: str) -> None:
    def change(cells: dict[str, Any]) -> None:
        cells["cells"]["llama8"]["folder"] = folder

    resealed(bundle / "results/cells.json", change)
    listed_anew(bundle)


def run_is_a_list(bundle: Path) -> None:
    resealed(bundle / "results/run.json", lambda run: run.update(dataset=[1, 2]))
    listed_anew(bundle)


def guards_elsewhere(bundle: Path) -> None:
    """A seal over a file outside, with its right checksum: whoever reads it would read that."""
    secret = bundle.parent.parent / "secret"
    content, beside = about_of(bundle), {str(secret): sha256_file(secret)}
    checksum = sha256(canonical_json([content, "smoke", beside]).encode())
    seal = {"of": "smoke", "files": beside, "sha256": checksum}
    write_json(bundle / "bundle.json", content | {"seal": seal})


def deep(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("[" * 200_000, encoding="utf-8")


def yaml_with_code(bundle: Path) -> None:
    path = bundle / "experiment.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\nx: !!python/object/apply:os.mkdir [{bundle.parent}/made]\n")
    listed_anew(bundle)


def vast_table(bundle: Path) -> None:
    """Twenty million values in a few thousand bytes."""
    table = pa.table({"id": pa.array(["x"] * 1000).dictionary_encode()})
    with pq.ParquetWriter(bundle / "results/scores.parquet", table.schema) as file:
        for _ in range(20):
            file.write_table(pa.table({"id": pa.concat_arrays([table["id"].chunk(0)] * 1000)}))
    listed_anew(bundle)


def strange_types(bundle: Path) -> None:
    field = pa.field("x", pa.binary(), metadata={"ARROW:extension:name": "arrow.py_extension_type"})
    pq.write_table(pa.table([[b"."]], schema=pa.schema([field])), bundle / "results/x.parquet")
    listed_anew(bundle)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bit": (lambda b: flip(b / "results/best.csv"), "checksum is another"),
    "cut file": (
        lambda b: (b / LISTS).write_bytes((b / LISTS).read_bytes()[:-1]),
        "bytes, expected",
    ),
    "missing file": (lambda b: (b / "results/models.csv").unlink(), "models.csv is missing"),
    "file that is not listed": (lambda b: (b / "results/x.csv").touch(), "does not list"),
    "hidden file": (lambda b: (b / "results/.x").touch(), "does not list"),
    "folder for a file": (
        lambda b: ((b / LISTS).unlink(), (b / LISTS).mkdir()),
        "bytes, expected|is a folder",
    ),
    "link to a secret": (lambda b: link(b, b.parent.parent / "secret"), "is a link"),
    "link to itself": (lambda b: link(b, b / "results/best.csv"), "is a link"),
    "folders without end": (
        lambda b: (b / "results" / "/".join("x" * 50)).mkdir(parents=True),
        "folders too deep",
    ),
    "pipe": (lambda b: os.mkfifo(b / "results/x.csv"), "no file"),
    "name that leads up": (lambda b: entry(b, path="../secret"), "which no bundle has"),
    "name within that leads up": (
        lambda b: entry(b, path="features/../../x/0123456789abcdef/meta.json"),
        "which no bundle has",
    ),
    "absolute name": (lambda b: entry(b, path="/etc/passwd"), "which no bundle has"),
    "name of a device": (lambda b: entry(b, path="neighbors/NUL.safetensors"), "no bundle has"),
    "one name in two cases": (twice, "one file on some systems"),
    "size below 0": (lambda b: entry(b, size=-1), r"files\.0\.size"),
    "size that is a text": (lambda b: entry(b, size="1"), r"files\.0\.size"),
    "checksum that is none": (lambda b: entry(b, sha256="../x"), r"files\.0\.sha256"),
    "files that are no list": (lambda b: says(b, files={"a": 1}), "files"),
    "more than one may want": (lambda b: entry(b, size=2**60), "PLATOREP_BUNDLE_LIMIT"),
    "format of the future": (lambda b: says(b, format_version=2), "Update platorep"),
    "format of no number": (lambda b: says(b, format_version=[2]), "format_version"),
    "another kind": (lambda b: says(b, kind="a bundle of joy"), "kind"),
    "experiment that leads up": (lambda b: says(b, experiment="../../x"), "experiment"),
    "lists of a file elsewhere": (
        lambda b: says(b, neighbors=[{"label": "x", "file": "/etc/passwd"}]),
        "no such file of it",
    ),
    "another's seal": (lambda b: write_json(b / "bundle.json", {"seal": {"of": 1}}), "seal"),
    "a seal over a file elsewhere": (guards_elsewhere, "its seal is none"),
    "depth": (deep, "not JSON as expected"),
    "features elsewhere": (lambda b: cell_elsewhere(b, "/etc/x"), "lies in '/etc/x'"),
    "features above": (lambda b: cell_elsewhere(b, "features/../../a"), "lies in"),
    "results of other types": (run_is_a_list, "are not those of an experiment"),
    "code in the settings": (yaml_with_code, "not valid YAML"),
    "vast table": (vast_table, "20000000 values"),
    "strange types": (strange_types, "no plain ones"),
}


@pytest.mark.parametrize("how", BAD)
def test_bad_folders_are_refused_and_nothing_is_written(how: str, bundle: Path) -> None:
    change, why = BAD[how]
    (bundle.parent.parent / "secret").write_text("secret", encoding="utf-8")
    change(bundle)
    with nothing_written(bundle.parent.parent), pytest.raises(IntegrityError, match=why) as told:
        open_bundle(bundle)
    assert told.value.exit_code == 5
    assert "secret" not in str(told.value).replace("../secret", "")


def nothing_written(*folders: Path) -> "Unchanged":
    return Unchanged((*folders, cache_root()))


class Unchanged:
    """Fails where a file was made, changed or removed meanwhile."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders

    def state(self) -> set[tuple[str, int]]:
        return {
            (str(path), path.lstat().st_mtime_ns if path.is_file() else 0)
            for folder in self.folders
            for path in folder.rglob("*")
            if path.name != "bundles" and path.suffix != ".lock"
        }

    def __enter__(self) -> None:
        self.before = self.state()

    def __exit__(self, *_: object) -> None:
        assert self.state() == self.before


Entries = list[tuple[zipfile.ZipInfo, bytes]]


def entries_of(bundle: Path) -> Entries:
    paths = [path for path in sorted(bundle.rglob("*")) if path.is_file()]
    return [
        (zipfile.ZipInfo(path.relative_to(bundle).as_posix()), path.read_bytes()) for path in paths
    ]


def write_zip(target: Path, entries: Entries) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return target


def named(name: str, **attributes: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def bomb(entries: Entries) -> Entries:
    info = named("results/bomb.csv", compress_type=zipfile.ZIP_DEFLATED)
    return [*entries, (info, b"\0" * 50_000_000)]


def without(name: str) -> Callable[[Entries], Entries]:
    return lambda entries: [one for one in entries if one[0].filename != name]


def with_other(name: str, content: bytes) -> Callable[[Entries], Entries]:
    return lambda entries: [(i, content if i.filename == name else c) for i, c in entries]


LINK = named("results/x.csv", create_system=3, external_attr=(stat.S_IFLNK | 0o777) << 16)
BAD_ZIPS: dict[str, tuple[Callable[[Entries], Entries], str]] = {
    "leads up": (lambda e: [*e, (named("../made"), b"x")], "no name of a bundle's file"),
    "leads up within": (lambda e: [*e, (named("results/../../made"), b"x")], "no name of"),
    "absolute": (lambda e: [*e, (named("/tmp/made"), b"x")], "no name of a bundle's file"),
    "backslashes": (lambda e: [*e, (named("results\\..\\made.csv"), b"x")], "no name of"),
    "link": (lambda e: [*e, (LINK, b"/etc/passwd")], "is a link"),
    "bomb": (bomb, "would become"),
    "not listed": (lambda e: [*e, (named("results/x.csv"), b"x")], "does not list"),
    "missing": (without("results/best.csv"), "best.csv is missing"),
    "other content of the same size": (
        with_other(LISTS, bytes((GOOD / LISTS).stat().st_size)),
        "not the file that is listed",
    ),
    "other size": (with_other(LISTS, b"x"), "has 1 bytes, expected"),
    "no bundle": (without("bundle.json"), r"no bundle\.json at its top"),
    "one level down": (lambda e: [(named(f"x/{i.filename}"), c) for i, c in e], "no name of"),
}


@pytest.mark.parametrize("how", BAD_ZIPS)
def test_bad_archives_are_refused_and_nothing_is_unpacked(how: str, bundle: Path) -> None:
    change, why = BAD_ZIPS[how]
    archive = write_zip(bundle.parent / "b.zip", change(entries_of(bundle)))
    with nothing_written(bundle.parent.parent), pytest.raises(IntegrityError, match=why):
        find_bundle(archive)
    assert not list((cache_root() / "bundles").glob("*[!k]"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(bundle: Path) -> None:
    entries = entries_of(bundle)
    archive = write_zip(bundle.parent / "b.zip", [*entries, entries[-1]])
    with pytest.raises(IntegrityError, match="is there twice"):
        find_bundle(archive)


def test_a_table_of_contents_that_lies_is_refused(bundle: Path) -> None:
    """It says that a file is small, and its content goes on."""
    archive = write_zip(bundle.parent / "b.zip", entries_of(bundle))
    content = bytearray(archive.read_bytes())
    size = (GOOD / LISTS).stat().st_size
    place = content.rindex(LISTS.encode()) - 46 + 24  # of the size in the central directory
    assert struct.unpack_from("<I", content, place) == (size,)
    struct.pack_into("<I", content, place, size - 8)
    archive.write_bytes(content)
    with pytest.raises(IntegrityError, match="bytes, expected"):
        find_bundle(archive)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_cut_archive_is_damaged(bundle: Path, share: float) -> None:
    archive = write_zip(bundle.parent / "b.zip", entries_of(bundle))
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(IntegrityError, match="no whole zip archive"):
        find_bundle(archive)


def test_the_command_says_so_with_exit_code_5(bundle: Path, tmp_path: Path) -> None:
    flip(bundle / "results/best.csv")
    for command in (["plot"], ["report"], ["score", str(tmp_path / "mine.npz")]):
        ended = CliRunner().invoke(app, [*command, str(bundle)])
        assert ended.exit_code == 5
        assert "results/best.csv is damaged" in ended.stderr


def test_a_good_archive_is_unpacked_once(bundle: Path) -> None:
    archive = write_zip(bundle.parent / "b.zip", entries_of(bundle))
    first = find_bundle(archive).folder
    assert first.parent == cache_root() / "bundles"
    before = (first / "bundle.json").stat().st_mtime_ns
    assert find_bundle(archive).folder == first
    assert (first / "bundle.json").stat().st_mtime_ns == before


def test_what_somebody_changed_in_the_cache_is_unpacked_anew(bundle: Path) -> None:
    archive = write_zip(bundle.parent / "b.zip", entries_of(bundle))
    first = find_bundle(archive).folder
    flip(first / "results/best.csv")
    (first / "results/models.csv").unlink()
    (first / "results/x.csv").touch()

    assert find_bundle(archive).folder == first

    assert find_bundle(first).about.experiment == "smoke"


def test_a_cache_to_read_only_serves_what_is_unpacked(bundle: Path) -> None:
    archive = write_zip(bundle.parent / "b.zip", entries_of(bundle))
    lock = find_bundle(archive).folder.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()  # no lock can be taken, whoever runs this
    assert find_bundle(archive).about.experiment == "smoke"


def test_what_a_kill_left_while_unpacking_is_cleaned(bundle: Path) -> None:
    archive = write_zip(bundle.parent / "b.zip", entries_of(bundle))
    whole = find_bundle(archive).folder
    left = whole.with_name(f".{whole.name}.0123.partial")
    shutil.copytree(whole, left)
    clean(cache_root(), broken=False, partial=True, model=None)
    assert (whole.exists(), left.exists()) == (True, False)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a trace when it is imported."""
    (tmp_path / "trap_module.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "sprung"


def test_a_metric_of_the_author_s_own_code_is_not_imported(
    bundle: Path, own_module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle / "experiment.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  metrics:\n", "  metrics:\n  - name: trap_module:metric\n"))
    listed_anew(bundle)
    run = bundled_run(find_bundle(bundle), options=Options(), report=Reporter(-1))
    assert [entry.name for entry in run.config.align.metrics] == ["mutual_knn"]
    assert "which is not run from a bundle" in capsys.readouterr().err
    assert not own_module.exists()


def test_code_beside_a_bundle_is_not_on_the_path(bundle: Path, tmp_path: Path) -> None:
    before = list(sys.path)
    ended = CliRunner().invoke(app, ["score", str(tmp_path / "absent.npz"), str(bundle)])
    assert ended.exit_code == 4
    assert sys.path == before


def test_files_that_a_bundle_names_are_not_read_into_a_page(bundle: Path, tmp_path: Path) -> None:
    """The settings of a bundle may say that its data are a folder of whoever reads it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "captions.csv").write_text("file_name,text\na.png,my secret diary\n")
    path = bundle / "experiment.yaml"
    text = path.read_text(encoding="utf-8").replace("source: toyworld", f"source: {photos}")
    text = text.replace("backend: toyworld\n  training:\n    steps: 0", "backend: timm")
    path.write_text(text)
    listed_anew(bundle)
    ended = CliRunner().invoke(app, ["report", str(bundle), "--output", str(tmp_path / "out")])
    assert ended.exit_code == 0, ended.stderr
    assert "secret diary" not in (tmp_path / "out/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("said", [None, {"a": 1}, {"settings": {"preprocess": {"center": [1]}}}])
def test_settings_of_scores_that_are_none_are_refused(bundle: Path, said: object) -> None:
    resealed(bundle / "results/run.json", lambda run: run.update(align=said))
    listed_anew(bundle)
    with pytest.raises(IntegrityError, match="does not say how layers were scored"):
        assert open_bundle(bundle).align


@pytest.mark.parametrize("said", [1, {"best.csv": None}, {"best.csv": [{"sha256": "a"}]}])
def test_checksums_of_tables_that_are_none_are_refused(bundle: Path, said: object) -> None:
    resealed(bundle / "results/checksums.json", lambda known: known.update(tables=said))
    listed_anew(bundle)
    with pytest.raises(IntegrityError, match="does not say which"):
        assert open_bundle(bundle).tables


def with_layer(bundle: Path, table: str, number: float) -> None:
    path = bundle / "results" / table
    is_csv = path.suffix == ".csv"
    frame = pd.read_csv(path) if is_csv else pd.read_parquet(path)
    frame["layer_x"] = number
    frame.to_csv(path, index=False) if is_csv else frame.to_parquet(path)
    (bundle / "results/checksums.json").unlink()
    listed_anew(bundle)


@pytest.mark.parametrize("table", ["best.csv", "scores.parquet"])
@pytest.mark.parametrize("number", [-2, 0.5, float("nan"), 2.0**40])
def test_what_is_no_number_of_a_layer_is_refused(bundle: Path, table: str, number: float) -> None:
    with_layer(bundle, table, number)
    with pytest.raises(IntegrityError, match="layer_x holds what is no number of a layer"):
        assert open_bundle(bundle).tables


def test_maps_of_layers_that_nobody_has_stay_off_the_page(bundle: Path) -> None:
    """A map has a cell per pair of layers: one row can ask for a thousand million."""
    with_layer(bundle, "scores.parquet", 10**9)
    tables = open_bundle(bundle).tables
    found, note = pairs_of(tables, pairs_table(tables))
    assert {pair.map for pair in found} == {None}
    assert "maps of layers are not on the page" in note


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("neighbors", torch.full((48, 5), 48), "none of 48 rows"),
        ("neighbors", torch.zeros(48, 5), "its own neighbor"),
        ("neighbors", torch.zeros(48, 0), "shapes"),
        ("neighbors", torch.zeros(48), "shapes"),
        ("tied", torch.tensor([50]), "shapes|none of"),
        ("beyond", torch.tensor([[1, 2]]), "not tied"),
    ],
)
def test_lists_that_are_none_are_refused(
    bundle: Path, name: str, values: torch.Tensor, why: str
) -> None:
    run = find_bundle(bundle)
    good = run.lists("llama8").of_layer(0, "cosine", center=False)
    tensors = {"cosine/000/neighbors": torch.from_numpy(good.neighbors)}
    tensors[f"cosine/000/{name}"] = values
    metadata = {"layers": json.dumps(run.lists("llama8").layers)}
    write_tensors(bundle / LISTS, {n: t.to(torch.uint16) for n, t in tensors.items()}, metadata)
    listed_anew(bundle)
    with pytest.raises(IntegrityError, match=why):
        open_bundle(bundle).nearest("llama8", 0, parameters_of(bundle))


def parameters_of(bundle: Path) -> Any:
    return open_bundle(bundle).run.config.align.metrics[0].parameters


def test_a_header_that_claims_gigabytes_is_damage(bundle: Path) -> None:
    (bundle / LISTS).write_bytes((2**40).to_bytes(8, "little") + b"{}")
    listed_anew(bundle)
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        open_bundle(bundle).nearest("llama8", 0, parameters_of(bundle))


def test_what_the_hub_and_people_put_beside_a_bundle_is_passed_over(bundle: Path) -> None:
    (bundle / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (bundle / ".cache/huggingface").mkdir(parents=True)
    (bundle / "README.md").write_text("my own words")
    assert find_bundle(bundle).about.experiment == "smoke"


def test_a_larger_bundle_can_be_allowed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATOREP_BUNDLE_LIMIT", "0.00001")
    with pytest.raises(IntegrityError, match=r"at most 200000 of 0\.0 GiB"):
        find_bundle(bundle)
    monkeypatch.setenv("PLATOREP_BUNDLE_LIMIT", "1")
    assert find_bundle(bundle).about.experiment == "smoke"
    monkeypatch.setenv("PLATOREP_BUNDLE_LIMIT", "much")
    with pytest.raises(PlatorepError, match="number of GiB"):
        find_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("results/best.csv", True),
        ("features/data/a--b/0123456789abcdef/shard-00001.safetensors", True),
        ("features/데이터/모델/0123456789abcdef/meta.json", True),
        ("neighbors/000-llama8@22__random_.safetensors", True),
        ("results/../x.csv", False),
        ("results/x.py", False),
        ("results/x.pkl", False),
        ("features/aux/m/0123456789abcdef/meta.json", False),
        ("features/a./m/0123456789abcdef/meta.json", False),
        ("features/a/m/0123456789abcdef/meta.json\n", False),
        ("features/a/\u202em/0123456789abcdef/meta.json", False),
        ("experiment.yaml", True),
        ("conftest.py", False),
    ],
)
def test_names(name: str, allowed: bool) -> None:
    assert is_allowed(name) is allowed
