"""Loading from a hub, over HTTP, by the real libraries in their own process; then without it."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Hub, serve
from images import red

from platorep.data.hub import Repository, find_repository
from platorep.errors import DamagedError
from platorep.files import cache_root, digest, slug, write_sealed

LOAD = """
import json, sys
from platorep.config import DatasetConfig
from platorep.data import load_dataset
from platorep.errors import PlatorepError
for config, offline in json.loads(sys.argv[1]):
    try:
        data = load_dataset(DatasetConfig(source="org/pairs", **config), offline=offline)
        texts = list(data.views["text"].texts)
        found = [data.name, data.provenance["commit"], texts, data.fingerprint]
    except PlatorepError as error:
        found = [type(error).__name__, str(error)]
    print(json.dumps(found))
"""


def parquet(*levels: int) -> bytes:
    stream = io.BytesIO()
    images = [{"bytes": red(level), "path": None} for level in levels]
    texts = [[f"caption {level}", "page"] for level in levels]
    pq.write_table(pa.table({"image": images, "text": texts}), stream)
    return stream.getvalue()


def tar(*levels: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for level in levels:
            for ending, content in (("jpg", red(level)), ("txt", f"caption {level}".encode())):
                member = tarfile.TarInfo(f"{level:04d}.{ending}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


LOOK = """
import json, sys
from platorep.starting.seeing import look
seen = look("org/pairs", offline=False)
print(json.dumps([seen.source, seen.num_rows, [[c.view, c.kind, c.several] for c in seen.columns]]))
"""


def load(hub: Hub, home: Path, *asked: tuple[dict[str, Any], bool]) -> list[list[Any]]:
    return in_process(hub, home, LOAD, json.dumps(asked))


def in_process(hub: Hub, home: Path, *script: str) -> list[list[Any]]:
    """In a process of its own, since the hub libraries read the environment at import."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "PLATOREP_CACHE": str(home / "own")}
    kept = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", *script],
        env=kept | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(split: str, *contents: bytes) -> dict[str, bytes]:
    return {
        f"data/{split}-{i:05d}-of-{len(contents):05d}.parquet": content
        for i, content in enumerate(contents)
    }


def test_a_branch_is_pinned_and_served_offline_as_it_was(hub: Hub, tmp_path: Path) -> None:
    """`datasets` itself would serve, offline, the last revision that was loaded."""
    web = {"revision": "web"}
    first = hub.commit("org/pairs", "web", files("train", parquet(1, 2), parquet(3)))
    other = hub.commit("org/pairs", "other", files("train", parquet(7)))

    pinned, another, offline = load(
        hub, tmp_path, (web, False), ({"revision": "other"}, False), (web, True)
    )

    assert pinned[:3] == ["org--pairs@web-train", first, ["caption 1", "caption 2", "caption 3"]]
    assert another[1:3] == [other, ["caption 7"]]
    assert offline == pinned

    second = hub.commit("org/pairs", "web", files("train", parquet(4)))
    hub.requests.clear()
    by_commit, offline, missing = load(
        hub, tmp_path, ({"revision": first}, True), (web, True), ({"revision": "main"}, True)
    )
    assert not [r for r in hub.requests if "org/pairs" in r]
    assert offline == pinned
    assert by_commit[1:] == pinned[1:]
    assert missing[0] == "AbsentError"
    assert "--download-only" in missing[1]

    (moved,) = load(hub, tmp_path, (web, False))
    assert moved[1:3] == [second, ["caption 4"]]


def test_with_a_limit_later_files_stay_where_they_are(hub: Hub, tmp_path: Path) -> None:
    hub.commit("org/pairs", "main", files("train", parquet(1, 2), parquet(3)) | {"README.md": b""})

    (limited,) = load(hub, tmp_path, ({"limit": 2}, False))
    assert limited[2] == ["caption 1", "caption 2"]
    assert not [r for r in hub.requests if r.startswith("GET") and "train-00001" in r]

    whole, other_split = load(hub, tmp_path, ({}, True), ({"split": "test"}, True))
    assert whole[0] == "AbsentError"  # not the two rows that are there
    assert other_split[0] == "ConfigError"


def test_a_first_look_fetches_the_first_file_alone(hub: Hub, tmp_path: Path) -> None:
    hub.commit("org/pairs", "main", files("train", parquet(1, 2), parquet(3)))

    ((source, num_rows, columns),) = in_process(hub, tmp_path, LOOK)

    assert (source, num_rows) == ("org/pairs", None)
    assert columns == [["image", "image", False], ["text", "text", True]]
    assert not [r for r in hub.requests if r.startswith("GET") and "train-00001" in r]


def test_tar_shards_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.commit("org/pairs", "main", {"train-0.tar": tar(1, 2), "train-1.tar": tar(3)})
    online, offline = load(hub, tmp_path, ({}, False), ({}, True))
    assert online[2] == ["caption 1", "caption 2", "caption 3"]
    assert offline == online


def test_image_folder_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    rows = b'{"file_name": "b.png", "text": "one"}\n{"file_name": "a.png", "text": "two"}\n'
    hub.commit(
        "org/pairs",
        "main",
        {"train/metadata.jsonl": rows, "train/a.png": red(1), "train/b.png": red(2)},
    )
    online, offline = load(hub, tmp_path, ({}, False), ({}, True))
    assert sorted(online[2]) == ["one", "two"]
    assert offline == online


def test_what_the_hub_refuses(hub: Hub, tmp_path: Path) -> None:
    hub.commit("org/pairs", "main", {"README.md": b"see the branches"})
    hub.commit("org/pairs", "web", files("train", parquet(1)) | files("test", parquet(2)))

    empty, revision, split, subset, column, unseen = load(
        hub,
        tmp_path,
        ({}, False),
        ({"revision": "wob"}, False),
        ({"revision": "web", "split": "tset"}, False),
        ({"revision": "web", "subset": "large"}, False),
        ({"revision": "web", "text": "txt"}, False),
        ({"revision": "wob"}, True),
    )

    assert [e[0] for e in (empty, revision, unseen)] == ["AbsentError"] * 3
    assert [e[0] for e in (split, subset, column)] == ["ConfigError"] * 3
    assert "another revision" in empty[1]
    assert "no revision 'wob'" in revision[1]
    assert "Did you mean 'test'? Splits: train, test." in split[1]
    assert "large" in subset[1]
    assert "Did you mean 'text'? Columns: image, text." in column[1]


def test_a_dataset_made_by_a_program(hub: Hub, tmp_path: Path) -> None:
    hub.commit("org/pairs", "main", {"pairs.py": b"raise SystemExit"})
    converted = {"default/train/0000.parquet": parquet(1)}
    hub.commit("org/pairs", "refs/convert/parquet", converted)
    refused, found, offline = load(
        hub,
        tmp_path,
        ({}, False),
        ({"revision": "refs/convert/parquet"}, False),
        ({"revision": "refs/convert/parquet"}, True),
    )
    assert refused[0] == "AbsentError"
    assert "refs/convert/parquet" in refused[1]
    assert found[2] == ["caption 1"]
    assert offline == found


def test_not_found_and_gated(hub: Hub, tmp_path: Path) -> None:
    (missing,) = load(hub, tmp_path, ({}, False))
    assert missing[0] == "AbsentError"
    assert "neither a local folder that exists nor a dataset" in missing[1]

    hub.commit("org/pairs", "main", files("train", parquet(1)))
    hub.gated.add("org/pairs")
    (gated,) = load(hub, tmp_path, ({}, False))
    assert gated[0] == "AbsentError"
    assert "Ask for access" in gated[1]


@pytest.mark.parametrize("damage", ["cut", "changed", "nested", "another's"])
def test_a_damaged_note_of_a_revision_is_not_used(damage: str) -> None:
    repository = Repository(
        source="org/x", subset=None, commit="0" * 40, builder="parquet", splits={"train": ["a"]}
    )
    note = cache_root() / "hub" / slug("org/x") / f"{digest([None, 'main'])}.json"
    write_sealed(note, asdict(repository), of="org/y" if damage == "another's" else "org/x")
    text = note.read_text()
    damaged = {"cut": text[:40], "changed": text.replace('"a"', '"b"'), "nested": "[" * 100_000}
    note.write_text(damaged.get(damage, text))

    with pytest.raises(DamagedError, match="without --offline"):
        find_repository("org/x", subset=None, revision="main", split="train", offline=True)
