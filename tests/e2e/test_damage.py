"""What lies on disk and is not what it should be: exit code 5, which file, and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from processes import Ended, Forks
from small_experiment import NUM_SHARDS, Place, experiment, identities, tables


@pytest.fixture
def finished(undisturbed: Place, place: Place) -> Place:
    """A finished run that may be damaged; no part of a table is left, so that all is read again."""
    shutil.copytree(undisturbed.cache, place.cache)
    shutil.copytree(undisturbed.results, place.results)
    shutil.rmtree(place.results / "parts")
    return place


def command(forks: Forks, place: Place, *arguments: str) -> Ended:
    return forks.run(*arguments, folder=place.folder, cache=place.cache)


def align(forks: Forks, place: Place, *flags: str) -> Ended:
    return command(forks, place, "align", str(place.file), *flags)


def flip_a_byte(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)


def cut_short(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-7])


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


def swap_with_its_neighbour(shard: Path) -> None:
    other = shard.with_name("shard-00000.safetensors")
    content = shard.read_bytes()
    shard.write_bytes(other.read_bytes())
    other.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, empty, swap_with_its_neighbour])
def test_a_damaged_shard(
    forks: Forks, finished: Place, undisturbed: Place, damage: Callable[[Path], None]
) -> None:
    shard = finished.shards_of("conv4")[2]
    damage(shard)

    end = align(forks, finished)

    assert end.code == 5
    assert "Traceback" not in end.stderr
    assert str(shard.parent) in end.stderr
    assert "cache clean --broken" in end.stderr
    best = pd.read_csv(finished.results / "best.csv")
    assert set(best["y"]) == {"conv8"}, "what is whole is scored"

    verified = command(forks, finished, "cache", "verify")
    assert verified.code == 5
    assert str(shard) in verified.stdout
    whole = identities([path for path in finished.shards() if path.parent != shard.parent])
    assert command(forks, finished, "cache", "clean", "--broken").code == 0
    again = command(forks, finished, "run", str(finished.file))
    assert again.code == 0, again.stderr
    assert identities(finished.shards()).items() >= whole.items()
    assert len(finished.shards()) == NUM_SHARDS
    assert tables(finished) == tables(undisturbed)


def test_the_first_damage_ends_it_if_asked(forks: Forks, finished: Place) -> None:
    shard = finished.shards_of("conv4")[2]
    flip_a_byte(shard)

    end = align(forks, finished, "--fail-fast")

    assert end.code == 5
    assert str(shard) in end.stderr


def test_rows_in_another_order(forks: Forks, finished: Place) -> None:
    path = finished.shards_of("llama8")[0].with_name("rows.parquet")
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)

    end = align(forks, finished)

    assert end.code == 5
    assert str(path) in end.stderr
    assert "order" in end.stderr
    assert "platorep extract" in end.stderr


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("dataset.shuffle=1", "row 0 has id 'scene-"),
        ("dataset.limit=12", "12 rows, the experiment has 24"),
    ],
)
def test_the_cell_of_other_rows(forks: Forks, finished: Place, change: str, found: str) -> None:
    other = finished.folder / "other"
    extract = ("extract", str(finished.file), "--models", "llama8", "--set", change)
    assert command(forks, finished, *extract, "--output", str(other)).code == 0
    of_other = json.loads((other / "cells.json").read_text())["cells"]["llama8"]
    cells = json.loads((finished.results / "cells.json").read_text())
    cells["cells"]["llama8"] = of_other
    del cells["seal"], of_other["settings"]  # as 0.1.0 wrote it: nothing tells that it was changed
    (finished.results / "cells.json").write_text(json.dumps(cells))

    end = align(forks, finished)

    assert end.code == 5
    assert "llama8" in end.stderr
    assert found in end.stderr
    assert of_other["folder"] in end.stderr
    assert "platorep extract" in end.stderr


def test_the_text_of_a_row_changed(forks: Forks, finished: Place, material: Path) -> None:
    """A caption is mended after llama8 was extracted, and only llama16 is extracted again."""
    pairs = finished.folder / "pairs"
    shutil.copytree(material / "pairs", pairs)
    finished.write(experiment(material, dataset={"source": str(pairs), "text": "caption"}))
    table = pd.read_csv(pairs / "captions.csv")
    table.loc[3, "caption"] += " mended"
    table.to_csv(pairs / "captions.csv", index=False)
    extract = ("extract", str(finished.file), "--models", "llama16")
    assert command(forks, finished, *extract).code == 0

    end = align(forks, finished)

    assert end.code == 5
    assert "llama8" in end.stderr
    assert "row 3 has text_sha256" in end.stderr


@pytest.mark.parametrize("name", ["meta.json", "rows.parquet"])
def test_a_cell_without_its_description(forks: Forks, finished: Place, name: str) -> None:
    path = finished.shards_of("llama8")[0].with_name(name)
    path.write_text("{")

    end = align(forks, finished)

    assert end.code == 5
    assert str(path) in end.stderr
    again = command(forks, finished, "extract", str(finished.file))
    assert again.code in (0, 5)
    assert "Traceback" not in again.stderr


def test_an_orphan_is_made_again(forks: Forks, finished: Place, undisturbed: Place) -> None:
    """What a kill leaves during `cache clean`: shards that nobody describes."""
    folder = finished.shards_of("llama8")[0].parent
    (folder / "meta.json").unlink()
    assert command(forks, finished, "cache", "verify").code == 5
    assert "orphan" in command(forks, finished, "cache", "list").stdout
    assert align(forks, finished).code == 3

    again = command(forks, finished, "run", str(finished.file))

    assert again.code == 0, again.stderr
    assert command(forks, finished, "cache", "verify").code == 0
    assert tables(finished) == tables(undisturbed)


@pytest.mark.parametrize("name", ["cells.json", "rows.parquet", "run.json"])
@pytest.mark.parametrize("stage", ["extract", "align"])
def test_a_damaged_file_of_the_results(
    forks: Forks, finished: Place, name: str, stage: str
) -> None:
    path = finished.results / name
    path.write_text("{")

    end = command(forks, finished, stage, str(finished.file))

    assert "Traceback" not in end.stderr
    assert end.code == (0 if stage == "extract" else 5)  # extract writes all of them anew
    if stage == "align" or path.suffix == ".json":
        assert str(path.relative_to(finished.folder)) in end.stderr
    if stage == "align":
        assert "Run `platorep extract`" in end.stderr
        assert command(forks, finished, "extract", str(finished.file)).code == 0
    assert align(forks, finished).code == 0


@pytest.mark.parametrize("name", ["scores.parquet", "best.csv", "models.csv"])
def test_a_damaged_table_is_not_drawn(forks: Forks, finished: Place, name: str) -> None:
    (finished.results / name).write_bytes(b"")

    end = command(forks, finished, "plot", str(finished.file))

    assert end.code == 5
    assert name in end.stderr
    assert "Traceback" not in end.stderr


def test_a_damaged_part_of_a_table(forks: Forks, finished: Place, undisturbed: Place) -> None:
    shutil.copytree(undisturbed.results / "parts", finished.results / "parts")
    part = sorted((finished.results / "parts").iterdir())[0]
    part.write_bytes(part.read_bytes()[:-9])

    end = align(forks, finished)

    assert end.code == 0, end.stderr
    assert str(part.relative_to(finished.folder)) in end.stderr, "it is told"
    assert tables(finished) == tables(undisturbed)


def test_a_damaged_measurement(forks: Forks, finished: Place, undisturbed: Place) -> None:
    (path, *_) = sorted((finished.cache / "measurements").glob("*.json"))
    path.write_text("{")

    end = command(forks, finished, "measure", str(finished.file))

    assert end.code == 0, end.stderr
    assert str(path) in end.stderr, "it is told"
    name = "performance.csv"
    assert (finished.results / name).read_text() == (undisturbed.results / name).read_text()
