"""The extract stage: what lands in the cache, what is left alone, and who makes what."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import run_of

from platorep.config import ExperimentConfig
from platorep.errors import AbsentError, DataError, IntegrityError, StorageError
from platorep.extraction import extract
from platorep.failures import Failures
from platorep.features import Cell
from platorep.parameters.toyworld import WorldParameters
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.toyworld.folder import write_folder

N, PER_SHARD = 10, 4


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(
        tmp_path_factory.mktemp("data") / "pairs", WorldParameters(image_size=16), N
    )


class Bench:
    """An experiment with three models that are files of arrays: nothing to load."""

    def __init__(self, folder: Path, pairs: Path) -> None:
        self.folder, self.pairs = folder, pairs
        self.root = folder / "cache"
        self.results = Results(folder / "results")
        self.report = Reporter(-1)
        ids = [f"scene-{i:06d}.png" for i in range(N)]
        self.arrays: dict[str, list[np.ndarray]] = {}
        for number, name in enumerate(("a", "b", "c")):
            rng = np.random.default_rng(number)
            layers = [rng.normal(size=(N, 2 + number + i)).astype("f4") for i in range(2)]
            self.arrays[name] = layers
            backwards = {f"layer{i}": layer[::-1] for i, layer in enumerate(layers)}
            np.savez(folder / f"{name}.npz", ids=ids[::-1], **backwards)  # found by their ids

    def config(self, *, models: Sequence[str] = ("a", "b", "c"), **said: Any) -> ExperimentConfig:
        entries = [{"name": str(self.folder / f"{name}.npz"), "label": name} for name in models]
        raw: dict[str, Any] = {
            "name": "test",
            "dataset": {"source": str(self.pairs), "text": "caption"},
            "families": [{"name": "arrays", "modality": "other", "models": entries}],
            "align": {"pairs": [["other", "other"]]},
            "extract": {"rows_per_shard": PER_SHARD},
        }
        return ExperimentConfig.model_validate(raw | said)

    def extract(
        self, config: ExperimentConfig | None = None, only: str = "abc", **options: Any
    ) -> Failures:
        config = config or self.config()
        specs = [spec for spec in config.models() if spec.label in only]
        return extract(run_of(config, self.results, self.root, self.report, specs, **options))

    def entries(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.results.cells.read_text())["cells"]
        return found

    def cell(self, label: str) -> Cell:
        return Cell(self.root / self.entries()[label]["folder"])

    def times(self) -> dict[str, int]:
        paths = sorted(self.root.rglob("shard-*"))
        return {f"{p.parent.parent.name}/{p.name}": p.stat().st_mtime_ns for p in paths}


@pytest.fixture
def bench(tmp_path: Path, pairs: Path) -> Bench:
    return Bench(tmp_path, pairs)


def test_every_row_of_every_layer_is_in_the_cache(bench: Bench) -> None:
    failures = bench.extract()

    assert failures.errors == {}
    for label, layers in bench.arrays.items():
        cell = bench.cell(label)
        assert cell.is_complete()
        assert cell.num_shards == 3
        assert cell.layers == ["layer0", "layer1"]
        for found, expected in zip(cell.read(), layers, strict=True):
            assert np.array_equal(found.numpy(), expected)
        assert cell.rows().ids == tuple(f"scene-{i:06d}.png" for i in range(N))


def test_what_the_later_stages_read(bench: Bench) -> None:
    bench.extract()

    rows = bench.results.read_table(bench.results.rows, "extract")
    assert rows["id"].tolist() == [f"scene-{i:06d}.png" for i in range(N)]
    assert rows["image_sha256"].str.len().eq(64).all()
    models = bench.results.read_table(bench.results.models, "extract")
    assert models["label"].tolist() == ["a", "b", "c"]
    assert models["num_layers"].tolist() == [2, 2, 2]
    assert models["num_parameters"].isna().all()
    run = json.loads(bench.results.run.read_text())
    assert run["dataset"]["num_rows"] == N
    assert run["dataset"]["name"] == "pairs"
    assert run["extract"]["failed"] == []
    assert run["extract"]["environment"]["versions"]["torch"] == version("torch")
    others = {"bridge", "units"}  # of studies, which write down their own
    assert run["config"] == bench.config().model_dump(mode="json", exclude=others)
    entry = bench.entries()["a"]
    assert not Path(entry["folder"]).is_absolute()
    assert entry["compute_dtype"] == "float32"
    assert bench.cell("a").meta["facts"]["label"] == "a"


def test_a_second_run_computes_nothing(bench: Bench) -> None:
    bench.extract()
    before = bench.times()
    assert len(before) == 9

    bench.extract()

    assert bench.times() == before


def test_only_the_missing_shard_is_made(bench: Bench) -> None:
    bench.extract()
    before = bench.times()
    bench.cell("b").shard_path(1).unlink()

    bench.extract()

    changed = {name for name, time in bench.times().items() if before[name] != time}
    assert changed == {"b.npz/shard-00001.safetensors"}
    assert np.array_equal(bench.cell("b").read()[0].numpy(), bench.arrays["b"][0])


def test_a_cell_goes_on_with_the_shards_it_was_begun_with(bench: Bench) -> None:
    bench.extract()
    bench.cell("b").shard_path(2).unlink()

    bench.extract(bench.config(extract={"rows_per_shard": 7}))

    assert bench.cell("b").num_shards == 3
    assert np.array_equal(bench.cell("b").read()[1].numpy(), bench.arrays["b"][1])


def test_anew_if_asked(bench: Bench) -> None:
    bench.extract()
    before = bench.times()

    bench.extract(overwrite="always", only="b")

    changed = {name.split("/")[0] for name, time in bench.times().items() if before[name] != time}
    assert changed == {"b.npz"}


def test_the_old_stands_until_the_new_does(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.extract()
    before = bench.times()

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("platorep.features.cells.write_tensors", full)
    with pytest.raises(StorageError):
        bench.extract(overwrite="always")

    assert bench.times() == before
    assert np.array_equal(bench.cell("b").read()[0].numpy(), bench.arrays["b"][0])


def test_never_if_asked(bench: Bench) -> None:
    bench.extract(only="a")

    failures = bench.extract(overwrite="never")

    assert list(failures.errors) == ["b", "c"]
    assert all(isinstance(error, AbsentError) for error in failures.errors.values())
    assert bench.extract(overwrite="never", only="a").errors == {}


def test_models_that_were_not_asked_for_keep_their_place(bench: Bench) -> None:
    bench.extract(only="bc")
    bench.extract(only="a")

    models = bench.results.read_table(bench.results.models, "extract")
    assert models["label"].tolist() == ["a", "b", "c"], "in the order of the file"
    assert set(bench.entries()) == {"a", "b", "c"}


def test_models_that_left_the_experiment_are_forgotten(bench: Bench) -> None:
    bench.extract()

    bench.extract(bench.config(models=["c", "a"]))

    models = bench.results.read_table(bench.results.models, "extract")
    assert models["label"].tolist() == ["c", "a"]


def test_other_rows_are_another_cell(bench: Bench) -> None:
    bench.extract()
    whole = bench.entries()["a"]["folder"]
    few = {"source": str(bench.pairs), "text": "caption", "limit": 6}

    bench.extract(bench.config(dataset=few))

    assert bench.entries()["a"]["folder"] != whole
    assert bench.cell("a").num_rows == 6
    assert (bench.root / whole).exists()


def test_other_content_is_another_cell_whatever_its_name(bench: Bench) -> None:
    bench.extract()
    first = bench.entries()["a"]["folder"]
    (bench.folder / "a.npz").write_bytes((bench.folder / "b.npz").read_bytes())

    bench.extract()

    assert bench.entries()["a"]["folder"] != first
    assert np.array_equal(bench.cell("a").read()[0].numpy(), bench.arrays["b"][0])


def test_one_failure_does_not_stop_the_rest(bench: Bench) -> None:
    (bench.folder / "b.npz").unlink()
    broken = [layer.copy() for layer in bench.arrays["c"]]
    broken[1][5] = np.nan
    np.savez(bench.folder / "c.npz", layer0=broken[0], layer1=broken[1])

    failures = bench.extract()

    assert {cell: type(error) for cell, error in failures.errors.items()} == {
        "b": AbsentError,
        "c": DataError,
    }
    assert "scene-000005.png" in str(failures.errors["c"])
    assert bench.cell("a").is_complete()
    assert sorted(path.name for path in bench.root.rglob("c.npz/*/shard-*")) == [
        "shard-00000.safetensors"  # of rows 0 to 3
    ]
    assert json.loads(bench.results.run.read_text())["extract"]["failed"] == ["b", "c"]
    with pytest.raises(AbsentError):
        bench.extract(keep_going=False)
    with pytest.raises(AbsentError, match=r"b\.npz"):
        bench.extract(only="b")


def test_what_overflows_on_the_disk_is_not_written(bench: Bench) -> None:
    bench.arrays["a"][1][5] = 1e5
    np.savez(bench.folder / "a.npz", layer0=bench.arrays["a"][0], layer1=bench.arrays["a"][1])
    extract = {"rows_per_shard": PER_SHARD, "store": "float16"}

    failures = bench.extract(bench.config(extract=extract))

    assert list(failures.errors) == ["a"]
    message = str(failures.errors["a"])
    for part in ("a: layer 'layer1'", "'scene-000005.png'", "`extract.store: float32`"):
        assert part in message
    assert bench.cell("a").missing_shards() == [1, 2]
    assert bench.cell("b").is_complete()


def test_a_damaged_description_is_named(bench: Bench) -> None:
    bench.extract()
    path = bench.cell("b").folder / "meta.json"
    path.write_text("{}")

    failures = bench.extract()

    assert isinstance(failures.errors["b"], IntegrityError)
    assert str(path) in str(failures.errors["b"])


def test_the_place_in_the_cache_does_not_name_the_machine(
    bench: Bench, tmp_path: Path, pairs: Path
) -> None:
    bench.extract()
    (tmp_path / "elsewhere").mkdir()
    other = Bench(tmp_path / "elsewhere", pairs)

    other.extract()

    assert {label: entry["folder"] for label, entry in other.entries().items()} == {
        label: entry["folder"] for label, entry in bench.entries().items()
    }
